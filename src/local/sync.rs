//! Brings the catalog in line with what this agent has registered.
//!
//! One task gathers what is pending while a write is under way and sends it as one command. Every
//! so often it compares everything the catalog has for this node (anti-entropy), the less often the
//! more nodes there are, and soon after a server has joined, which may know nothing of this node.
//! Failed rounds are repeated with growing pauses; what is pending stays so until the catalog has
//! it. The log says once that rounds fail, and for which reason, and once that they do no more.

mod compare;
mod pace;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::catalog::{Operation, WatchKey};
use crate::clock;
use crate::directory::{Directory, ReadError, WriteError};
use crate::metrics::Metrics;
use crate::types::{Consistency, RequestContext};

use super::pending::Pending;
use super::state::LocalState;
use super::{Shared, SyncConfig};
pub use pace::NodeCount;

/// Operations in one command: bounds its size in the log.
const OPERATIONS_MAX: usize = 128;

/// Sends differences to the catalog.
pub(super) struct Sync {
    pub(super) shared: Arc<Shared>,
    pub(super) directory: Directory,
    pub(super) config: SyncConfig,
    pub(super) counts: Counts,
}

/// What the task counts.
pub(super) struct Counts {
    commands: Counter,
    failures: Counter,
    refusals: Counter,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        Self {
            commands: counter("local_sync_commands", "Commands sent to the catalog"),
            failures: counter(
                "local_sync_failures",
                "Rounds that failed and were repeated",
            ),
            refusals: counter("local_sync_refusals", "Operations that the catalog refused"),
        }
    }
}

/// What the log says of failures: not the same thing again and again.
#[derive(Debug, Default)]
struct Told(Option<RoundError>);

impl Told {
    /// A round has failed. Whether that is to be told: it is the first time, or for another reason.
    fn failure(&mut self, error: &RoundError) -> bool {
        let before = self.0.replace(error.clone());
        before.as_ref() != Some(error)
    }

    /// A round has succeeded. Whether that is to be told: those before have not.
    fn success(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Why a round failed; what it was to tell is still pending.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Sync {
    /// Runs for as long as the agent does. The first comparison comes at once.
    pub(super) async fn run(self) {
        let mut compare_at = clock::now();
        let mut pause = self.config.retry_min;
        let mut told = Told::default();
        loop {
            tokio::select! {
                () = self.shared.sync_wake.notified() => {}
                () = tokio::time::sleep_until(compare_at) => {}
                () = self.shared.servers_wake.notified() => {
                    compare_at = compare_at.min(clock::now() + pace::after_server());
                    continue;
                }
            }
            match self.round(compare_at).await {
                Ok(compared) => {
                    if told.success() {
                        tracing::info!("the catalog is told again");
                    }
                    if compared {
                        let nodes = self.config.nodes.get();
                        compare_at = clock::now() + pace::next(self.config.interval, nodes);
                    }
                    pause = self.config.retry_min;
                }
                Err(error) => {
                    self.counts.failures.inc();
                    if told.failure(&error) {
                        tracing::warn!("telling the catalog failed, will retry: {error}");
                    }
                    self.pause(pause).await;
                    pause = (pause * 2).min(self.config.retry_max);
                    self.shared.sync_wake.notify_one();
                }
            }
        }
    }

    /// Waits after a failure: until then, or until soon after there is another server to ask.
    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pace::staggered(pause)) => {}
            () = self.shared.servers_wake.notified() => {
                tokio::time::sleep(pace::after_server().min(pause)).await;
            }
        }
    }

    /// Compares if it is time to, and tells what is pending. Whether it compared.
    async fn round(&self, compare_at: Instant) -> Result<bool, RoundError> {
        let compare = compare_at <= clock::now() || self.shared.core().pending().compare;
        let (work, state, generation) = self.gather(compare).await?;
        match self.tell(&work, &state).await {
            Ok(all) => {
                self.shared.synced.send_replace(generation);
                if !all && !compare {
                    // Most likely the catalog lost the service of a check: a comparison tells.
                    self.shared.core().pending().compare = true;
                    self.shared.sync_wake.notify_one();
                }
                Ok(compare)
            }
            Err(error) => {
                let mut core = self.shared.core();
                core.pending().merge(work);
                self.shared.publish(&mut core);
                Err(error.into())
            }
        }
    }

    /// What is to be told, the state to tell it from, and the generation that is complete then.
    async fn gather(&self, compare: bool) -> Result<(Pending, LocalState, u64), ReadError> {
        let node = self.shared.node.load_full();
        let catalog = if compare {
            let context = RequestContext {
                consistency: Consistency::Stale,
                ..RequestContext::default()
            };
            // Both: what a client agent reads is no more than what it asked for.
            let keys = [
                WatchKey::NodeServices(node.name.clone()),
                WatchKey::NodeChecks(node.name.clone()),
            ];
            Some(self.directory.read_several(&context, &keys).await?)
        } else {
            None
        };
        let mut core = self.shared.core();
        let mut work = core.pending().take();
        if let Some(catalog) = catalog {
            let entry = catalog.state.node(&node.name);
            let found = compare::differences(&mut core, &node, entry.map(AsRef::as_ref));
            work.merge_unbounded(found);
            work.compare = false;
        }
        self.shared.publish(&mut core);
        Ok((work, core.state().clone(), core.generation()))
    }

    /// Whether the catalog took all of it. A refusal of one operation must not hold up the others:
    /// they are then sent one by one. What may not be told counts as told until the next
    /// comparison.
    async fn tell(&self, work: &Pending, state: &LocalState) -> Result<bool, WriteError> {
        let operations = plan::operations(&self.shared.node.load(), state, work);
        let context = RequestContext::default();
        let mut refused = false;
        let mut denied = None;
        for chunk in operations.chunks(OPERATIONS_MAX) {
            if self.write(&context, chunk).await?.is_none() {
                continue;
            }
            for operation in chunk {
                let one = std::slice::from_ref(operation);
                let Some(refusal) = self.write(&context, one).await? else {
                    continue;
                };
                self.counts.refusals.inc();
                if is_denied(&refusal) {
                    denied = Some(refusal);
                } else {
                    tracing::error!("the catalog refused an entry of this node: {refusal}");
                    refused = true;
                }
            }
        }
        if let Some(denied) = denied {
            tracing::warn!("this agent may not tell the catalog all of its entries: {denied}");
        }
        Ok(!refused)
    }

    /// Sends one command. The catalog's reason if it refused it.
    async fn write(
        &self,
        context: &RequestContext,
        operations: &[Operation],
    ) -> Result<Option<WriteError>, WriteError> {
        self.counts.commands.inc();
        match self.directory.write(context, operations.to_vec()).await {
            Ok(_) => Ok(None),
            Err(error) if is_refusal(&error) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }
}

/// Whether the same write would fail again, wherever it is sent. The one place that decides it.
fn is_refusal(error: &WriteError) -> bool {
    error.is_refusal() || is_denied(error)
}

/// Whether a server says that this agent may not write this. Servers of other kinds say it in texts.
fn is_denied(error: &WriteError) -> bool {
    let text = error.to_string();
    ["Permission denied", "ACL not found"]
        .iter()
        .any(|words| text.contains(words))
}

#[cfg(test)]
mod tests;

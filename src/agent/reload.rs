//! Takes on another configuration while the agent runs: services, checks, metadata of the node,
//! answers of DNS, limits, log level.
//!
//! **Invariant**: a configuration is taken on whole or not at all. What fails, fails before the
//! first change; what only a restart can change is named in the log and stays as it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore, oneshot};

use super::effective::effective;
use super::logging::Dial;
use crate::config::{Config, ConfigError, Written};
use crate::control::{ReloadError, Reloading};
use crate::local::{FilesError, Local};
use crate::task::Tasks;
use crate::types::Datacenter;
use crate::{dns, http};

/// Reloads that may be under way or wait for the one that is.
const RELOADS_MAX: usize = 16;

/// How DNS answers, where it runs.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    /// What all workers follow.
    pub(super) settings: Arc<ArcSwap<dns::Settings>>,
    /// Origins of the static zones, which are loaded once.
    pub(super) slow_zones: Vec<String>,
}

/// What a reload changes.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) local: Local,
    pub(super) answers: Option<Answers>,
    /// Connections of one address to the agent RPC, on a server.
    pub(super) rpc_connections_of_client_max: Option<Arc<AtomicUsize>>,
    /// The log, where this agent has the process for itself.
    pub(super) dial: Option<Dial>,
    /// Runs the reloads.
    pub(super) tasks: Tasks,
}

/// Reloads the configuration, one at a time.
#[derive(Debug)]
pub(super) struct Reloader {
    parts: Parts,
    /// Set once HTTP has started, which is last.
    http: OnceLock<http::Handle>,
    /// What was written when the agent started.
    started: Written,
    running: Mutex<Config>,
    shown: ArcSwap<Value>,
    turns: Arc<Semaphore>,
}

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Definitions(#[from] FilesError),
    #[error(transparent)]
    Answers(#[from] dns::SettingsError),
    #[error("the agent is still starting")]
    Starting,
    #[error("reading the configuration was given up")]
    GivenUp,
}

impl Reloader {
    /// For an agent that runs with `config`.
    pub(super) fn new(config: &Config, parts: Parts) -> Self {
        Self {
            parts,
            http: OnceLock::new(),
            started: config.written.clone(),
            shown: ArcSwap::from_pointee(effective(config)),
            running: Mutex::new(config.clone()),
            turns: Arc::new(Semaphore::new(RELOADS_MAX)),
        }
    }

    /// HTTP runs: from here on reloads are taken.
    pub(super) fn started(&self, http: http::Handle) {
        drop(self.http.set(http));
    }

    /// The configuration in force, for people to read.
    pub(super) fn shown(&self) -> Arc<Value> {
        self.shown.load_full()
    }

    /// Begins a reload, which goes on though nobody waits for it: it must not stop half-way with
    /// the request that asked for it. The result, which is also logged.
    pub(super) fn begin(self: &Arc<Self>) -> Reloading {
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
            let reason = format!("{RELOADS_MAX} reloads are under way, which is the limit");
            return Box::pin(std::future::ready(Err(ReloadError { reason })));
        };
        let (tell, told) = oneshot::channel();
        let reloader = Arc::clone(self);
        self.parts.tasks.spawn(async move {
            let result = reloader.reload().await;
            match &result {
                Ok(()) => tracing::info!(target: "herald::agent", "configuration reloaded"),
                Err(reason) => tracing::error!(
                    target: "herald::agent",
                    "the configuration was not reloaded, nothing changed: {reason}"
                ),
            }
            let result = result.map_err(|reason| ReloadError {
                reason: reason.to_string(),
            });
            drop(tell.send(result));
            drop(turn);
        });
        let stopping = || ReloadError {
            reason: "agent is stopping".to_owned(),
        };
        Box::pin(async move { told.await.unwrap_or_else(|_| Err(stopping())) })
    }

    async fn reload(&self) -> Result<(), Refused> {
        let mut running = self.running.lock().await;
        let http = self.http.get().ok_or(Refused::Starting)?;
        let flags = running.flags.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&flags));
        let new = read.await.map_err(|_| Refused::GivenUp)??;
        let keys = self.started.needing_restart(&new.written).join(", ");
        let next = taken_on(&running, new);
        let answers = self.answers(&next)?;
        let limits = next.local.limits.clone();
        self.parts.local.load(&next.definitions, limits).await?;
        if let (Some(running), Some(settings)) = (&self.parts.answers, answers) {
            running.settings.store(Arc::new(settings));
        }
        http.set_client_connections_max(next.http.client_connections_max);
        if let (Some(max), Some(rpc)) = (&self.parts.rpc_connections_of_client_max, &next.rpc) {
            max.store(rpc.connections_of_client_max, Ordering::Relaxed);
        }
        if let Some(dial) = &self.parts.dial {
            dial.set(next.log.level);
        }
        self.shown.store(Arc::new(effective(&next)));
        let meta = next.local.node.meta.clone();
        *running = next;
        self.parts.local.set_meta(meta).await;
        if !keys.is_empty() {
            tracing::warn!(
                target: "herald::agent",
                "these keys are not what this agent was started with, and take a restart to change: {keys}"
            );
        }
        Ok(())
    }

    /// Has DNS know these datacenters besides its own, also after reloads.
    pub(super) async fn set_other_datacenters(&self, others: Vec<Datacenter>) {
        let mut running = self.running.lock().await;
        if running.answers.unreachable_datacenters == others {
            return;
        }
        running.answers.unreachable_datacenters = others;
        match self.answers(&running) {
            Ok(None) => {}
            Ok(Some(settings)) => {
                if let Some(answers) = &self.parts.answers {
                    answers.settings.store(Arc::new(settings));
                }
            }
            Err(error) => tracing::error!(
                target: "herald::agent",
                "DNS does not follow the datacenters: {error}"
            ),
        }
    }

    fn answers(&self, next: &Config) -> Result<Option<dns::Settings>, dns::SettingsError> {
        let Some(answers) = &self.parts.answers else {
            return Ok(None);
        };
        let mut options = next.answers.clone();
        options.slow_zones.clone_from(&answers.slow_zones);
        dns::Settings::new(options).map(Some)
    }
}

/// The configuration that is in force once `new` is taken on.
fn taken_on(running: &Config, new: Config) -> Config {
    let mut next = running.clone();
    let fixed = &running.answers;
    next.answers = dns::Options {
        domain: fixed.domain.clone(),
        alt_domain: fixed.alt_domain.clone(),
        datacenter: fixed.datacenter.clone(),
        node_name: fixed.node_name.clone(),
        unreachable_datacenters: fixed.unreachable_datacenters.clone(),
        ..new.answers
    };
    next.definitions = new.definitions;
    next.http.client_connections_max = new.http.client_connections_max;
    if let (Some(next), Some(new)) = (&mut next.rpc, &new.rpc) {
        next.connections_of_client_max = new.connections_of_client_max;
    }
    next.identity.meta = new.identity.meta;
    next.local.limits = new.local.limits;
    next.local.node.meta = new.local.node.meta;
    next.log.level = new.log.level;
    next
}

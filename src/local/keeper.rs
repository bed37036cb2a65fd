//! Carries out what must be on the disk first, and writes down later what may be late.
//!
//! One task has the files. Changes that wait while a write is under way share the next one: each is
//! planned (a mistake is told without a write), all plans are written and synced at once, then the
//! changes are carried out in the order in which they came. If the write fails, none is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::metrics::Metrics;

use super::Shared;
use super::core::{Changes, Core};
use super::error::{ChangeError, KeepError};
use super::kept::{FileError, Kept, Record};

/// Most changes that wait for the disk.
pub(super) const WAITING_MAX: usize = 4_096;
/// Most changes in one write.
const TOGETHER_MAX: usize = 512;
/// How late what checks say may be written.
const LATENESS: Duration = Duration::from_secs(1);

/// A change that waits for its turn.
pub(super) trait Change: Send {
    /// What the disk must have first; nothing where it is refused.
    fn plan(&mut self, core: &Core) -> Vec<Record>;
    /// Carries it out, unless the disk has failed, and tells whoever waits.
    fn finish(self: Box<Self>, kept: Result<(), KeepError>, shared: &Shared);
}

/// The result of a change, with the generation that the catalog is to be told.
type Told<T, E> = Result<(T, Option<u64>), ChangeError<E>>;

struct Asked<P, A, T, E> {
    plan: Option<P>,
    apply: A,
    refused: Option<E>,
    tell: oneshot::Sender<Told<T, E>>,
}

/// A change, and where its result will be told. `plan` must refuse what `apply` would.
pub(super) fn change<P, A, T, E>(
    plan: P,
    apply: A,
) -> (Box<dyn Change>, oneshot::Receiver<Told<T, E>>)
where
    P: FnOnce(&Core) -> Result<Vec<Record>, E> + Send + 'static,
    A: FnOnce(&mut Core, Instant) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let asked = Asked {
        plan: Some(plan),
        apply,
        refused: None,
        tell,
    };
    (Box::new(asked), told)
}

impl<P, A, T, E> Change for Asked<P, A, T, E>
where
    P: FnOnce(&Core) -> Result<Vec<Record>, E> + Send,
    A: FnOnce(&mut Core, Instant) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn plan(&mut self, core: &Core) -> Vec<Record> {
        match self.plan.take().map(|plan| plan(core)) {
            Some(Ok(records)) => records,
            Some(Err(refused)) => {
                self.refused = Some(refused);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn finish(self: Box<Self>, kept: Result<(), KeepError>, shared: &Shared) {
        let result = match (self.refused, kept) {
            (Some(refused), _) => Err(ChangeError::Refused(refused)),
            (None, Err(error)) => Err(ChangeError::Keep(error)),
            (None, Ok(())) => {
                let (result, generation) = shared.change(self.apply);
                result
                    .map(|result| (result, generation))
                    .map_err(ChangeError::Refused)
            }
        };
        // Whoever asked may have gone; the change stands all the same.
        drop(self.tell.send(result));
    }
}

/// What the task counts.
#[derive(Debug)]
pub(super) struct Counts {
    writes: Counter,
    failures: Counter,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        Self {
            writes: counter("local_kept_writes", "Writes of registrations to the disk"),
            failures: counter("local_kept_failures", "Writes to the disk that failed"),
        }
    }
}

/// The task and its files.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    kept: Arc<Mutex<Kept>>,
    counts: Counts,
    /// Whether the log says that checks cannot be written.
    failing: bool,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, kept: Kept, counts: Counts) -> Self {
        Self {
            shared,
            kept: Arc::new(Mutex::new(kept)),
            counts,
            failing: false,
        }
    }

    /// Runs until the agent stops; what is late is written then.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Box<dyn Change>>,
        stopping: CancellationToken,
    ) {
        let mut write_at = None;
        loop {
            tokio::select! {
                Some(first) = queue.recv() => {
                    let mut together = vec![first];
                    while together.len() < TOGETHER_MAX
                        && let Ok(next) = queue.try_recv()
                    {
                        together.push(next);
                    }
                    self.carry_out(together).await;
                }
                () = self.shared.keep_wake.notified() => {
                    write_at.get_or_insert_with(|| clock::now() + LATENESS);
                }
                () = super::sleep_until(write_at) => {
                    write_at = self.write_late().await.then(|| clock::now() + LATENESS);
                }
                () = stopping.cancelled() => break,
            }
        }
        self.write_late().await;
    }

    async fn carry_out(&mut self, mut changes: Vec<Box<dyn Change>>) {
        let plans: Vec<Vec<Record>> = {
            let core = self.shared.core();
            changes
                .iter_mut()
                .map(|change| change.plan(&core))
                .collect()
        };
        let records: Vec<Record> = plans.iter().flatten().cloned().collect();
        let kept = if records.is_empty() {
            Ok(())
        } else {
            self.counts.writes.inc();
            self.keep(plans).await
        };
        let kept = kept.map_err(|reason| {
            self.counts.failures.inc();
            tracing::error!("registrations are refused: {reason}");
            KeepError::Disk { reason }
        });
        for change in changes {
            change.finish(kept.clone(), &self.shared);
        }
        if kept.is_ok() {
            self.shared.core().settle(&records);
        }
    }

    /// Writes what has changed besides. Whether it is to be tried again.
    async fn write_late(&mut self) -> bool {
        let (now, wall) = (clock::now(), clock::since_epoch());
        let changes = self.shared.core().take_changes(now, wall);
        let Changes {
            registrations,
            states,
        } = changes;
        let mut failure = None;
        if !registrations.is_empty()
            && let Err(reason) = self.keep(vec![registrations.clone()]).await
        {
            self.shared.core().put_back(&registrations);
            failure = Some(reason);
        }
        if !states.is_empty()
            && let Err(reason) = self.note(states.clone()).await
        {
            self.shared.core().put_back(&states);
            failure = Some(reason);
        }
        let failed = failure.is_some();
        if let Some(reason) = failure {
            self.counts.failures.inc();
            if !self.failing {
                tracing::error!("what checks say is not kept, will retry: {reason}");
            }
        } else if self.failing {
            tracing::info!("what checks say is kept again");
        }
        self.failing = failed;
        failed
    }

    async fn keep(&self, registrations: Vec<Vec<Record>>) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let all = move || shared.core().all_registrations();
        self.write(move |kept| kept.keep(registrations, all)).await
    }

    async fn note(&self, states: Vec<Record>) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let all = move || {
            let (now, wall) = (clock::now(), clock::since_epoch());
            shared.core().all_states(now, wall)
        };
        self.write(move |kept| kept.note(states, all)).await
    }

    /// Waits for the disk on a thread that may.
    async fn write(
        &self,
        write: impl FnOnce(&mut Kept) -> Result<(), FileError> + Send + 'static,
    ) -> Result<(), String> {
        let kept = Arc::clone(&self.kept);
        let written = tokio::task::spawn_blocking(move || {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            write(&mut kept)
        });
        match written.await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

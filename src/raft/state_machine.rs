//! The end of the log: hands what is decided to the catalog's one writer, in batches, and makes and
//! takes in snapshots.
//!
//! Owns what is applied here; `thread` has the catalog's writer on a thread of its own, since
//! applying is pure computation that must hold up nobody. What lasts is the log and the snapshots:
//! the catalog itself is in memory, so a start reads the newest snapshot and applies the log behind
//! it (`recovery`).
//!
//! **Invariant**: a batch is published whole, then its index, then its outcomes.
//! **Invariant**: an entry that cannot be applied stops Raft on this server with nothing of its
//! batch published; reads go on.

mod recovery;
mod thread;
mod volume;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, RaftSnapshotBuilder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{Notify, watch};

use crate::catalog::State;
use crate::clock;
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::Index;

use super::log_store::is_full;
use super::snapshots::{Image, Kept, Loaded, write};
use super::types::{Reply, Types};
use thread::{ApplyThread, Decided};
use volume::Volume;

pub(super) use recovery::{Recovered, recover};

/// Entries that are applied and published together, at most.
const BATCH_LENGTH_MAX: usize = 512;
/// First pause before what had no room is tried again; each further one is twice as long.
const ROOM_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest such pause.
const ROOM_PAUSE_MAX: Duration = Duration::from_secs(300);

/// What the state machine tells others.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Position up to which everything is applied and published.
    pub(super) applied: watch::Sender<Index>,
    /// So much was applied that it is time to look whether a snapshot is due.
    pub(super) grown: Arc<Notify>,
    volume: Arc<Mutex<Volume>>,
    snapshot_seconds: Histogram,
    snapshot_octets: Arc<AtomicU64>,
    commands: Counter,
    apply_seconds: Histogram,
}

impl Told {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let snapshot_octets = Arc::<AtomicU64>::default();
        let shown = Arc::clone(&snapshot_octets);
        #[expect(clippy::cast_precision_loss, reason = "a figure to be shown")]
        metrics.show(
            "raft_snapshot_octets",
            "Length of the newest snapshot that was made here",
            move || shown.load(Ordering::Relaxed) as f64,
        );
        Self {
            applied: watch::channel(Index::ZERO).0,
            grown: Arc::default(),
            volume: Arc::default(),
            snapshot_seconds: metrics.register(
                "raft_snapshot_seconds",
                "Time to make one snapshot",
                Histogram::new(exponential_buckets(0.001, 4.0, 10)),
            ),
            snapshot_octets,
            commands: metrics.register(
                "raft_commands_applied",
                "Commands applied to the catalog",
                Counter::default(),
            ),
            apply_seconds: metrics.register(
                "raft_apply_seconds",
                "Time to apply and publish one batch of commands",
                Histogram::new(exponential_buckets(0.000_01, 4.0, 10)),
            ),
        }
    }
}

impl Told {
    /// Whether so much was applied since the last snapshot that another one is due. Asked again and
    /// again: the library does not listen while it makes one.
    pub(super) fn wants_snapshot(&self) -> bool {
        self.volume().wants_snapshot()
    }

    /// Up to where the log is longer, in octets, than it is to be behind a snapshot.
    pub(super) fn beyond(&self) -> Option<Index> {
        self.volume().beyond()
    }

    /// A panic elsewhere does not make the figures useless.
    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The catalog as the log sees it.
#[derive(Debug)]
pub(super) struct StateMachine {
    thread: ApplyThread,
    kept: Kept,
    told: Told,
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
}

impl StateMachine {
    /// Starts the thread around the writer, behind what a start has applied.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(
        recovered: Recovered,
        kept: Kept,
        told: Told,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let Recovered { writer, position } = recovered;
        let thread = ApplyThread::start(writer, told.clone(), tasks)?;
        let machine = Self {
            thread,
            kept,
            told,
            applied: position.applied,
            membership: position.membership,
        };
        let index = Index(position.applied.map_or(0, |id| id.index));
        machine.told.applied.send_replace(index);
        machine.told.commands.inc_by(position.commands);
        *machine.told.volume() = position.volume;
        machine.told.grown.notify_one();
        Ok(machine)
    }

    async fn take(&mut self, meta: &SnapshotMetaOf<Types>, state: State) -> io::Result<()> {
        let index = Index(meta.last_log_id.map_or(0, |id| id.index));
        self.thread.install(index, state).await?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.told.volume().begin_snapshot();
        Ok(())
    }

    async fn apply_batch(
        &mut self,
        batch: Vec<Result<EntryResponder<Types>, io::Error>>,
    ) -> io::Result<()> {
        let mut decided = Vec::with_capacity(batch.len());
        let mut responders = Vec::with_capacity(batch.len());
        let (mut last, mut membership, mut octets) = (self.applied, None, 0);
        for item in batch {
            let (entry, responder) = item?;
            let command = match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Membership(changed) => {
                    membership = Some(StoredMembershipOf::<Types>::new(
                        Some(entry.log_id),
                        changed,
                    ));
                    None
                }
                EntryPayload::Normal(proposal) => {
                    octets += proposal.0.len() as u64;
                    Some(proposal.0)
                }
            };
            last = Some(entry.log_id);
            let index = Index(entry.log_id.index);
            decided.push(Decided { index, command });
            responders.push(responder);
        }
        let outcomes = self.thread.apply(decided).await?;
        self.applied = last;
        if let Some(membership) = membership {
            self.membership = membership;
        }
        for (responder, outcome) in responders.into_iter().zip(outcomes) {
            if let Some(responder) = responder {
                responder.send(Reply(outcome));
            }
        }
        self.count(octets);
        Ok(())
    }

    fn count(&self, octets: u64) {
        let index = Index(self.applied.map_or(0, |id| id.index));
        if self.told.volume().add(index, octets) {
            self.told.grown.notify_one();
        }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Image;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        let mut batches = entries.ready_chunks(BATCH_LENGTH_MAX);
        while let Some(batch) = batches.next().await {
            self.apply_batch(batch).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            meta: SnapshotMetaOf::<Types> {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            // The same instant as `applied`: nothing is applied while this runs.
            state: self.thread.state().await,
            kept: self.kept.clone(),
            told: self.told.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: Image,
    ) -> Result<(), io::Error> {
        let (kept, expected) = (self.kept.clone(), meta.clone());
        let image = snapshot.clone();
        let load = move || {
            let (meta, state) = match kept.take_checked(&expected) {
                Some(Loaded { meta, state }) => (meta, state),
                None => image.read().map_err(io::Error::other)?,
            };
            if meta.last_log_id != expected.last_log_id {
                return Err(io::Error::other("it is a snapshot of another position"));
            }
            Ok((meta, state))
        };
        let (read, state) = tokio::task::spawn_blocking(load).await??;
        let kept = self.kept.clone();
        with_room(Arc::new(move || kept.keep(&read, snapshot.clone()))).await?;
        self.take(meta, state).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<Types, Image>>, io::Error> {
        let newest = self.kept.newest();
        Ok(newest.map(|(meta, snapshot)| SnapshotOf::<Types, Image> { meta, snapshot }))
    }
}

/// Writes the picture of one instant, beside all that goes on.
#[derive(Debug)]
pub(super) struct Builder {
    meta: SnapshotMetaOf<Types>,
    /// `None` if the thread is gone.
    state: Option<Arc<State>>,
    kept: Kept,
    told: Told,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Image>, io::Error> {
        let stopped = || io::Error::other("the thread that applies has ended");
        let state = self.state.take().ok_or_else(stopped)?;
        let (meta, kept, told) = (self.meta.clone(), self.kept.clone(), self.told.clone());
        // Counted from when the picture was taken, but for what was applied since: that is little.
        told.volume().begin_snapshot();
        let build = Arc::new(move || {
            let start = clock::monotonic();
            kept.check_room()?;
            let image = write(&meta, &state, kept.outgoing()?)?;
            let snapshot = kept.keep(&meta, image)?;
            let octets = snapshot.octets()?;
            told.snapshot_octets.store(octets, Ordering::Relaxed);
            told.snapshot_seconds.observe(start.elapsed().as_secs_f64());
            let meta = meta.clone();
            Ok::<_, io::Error>(SnapshotOf::<Types, Image> { meta, snapshot })
        });
        with_room(build).await
    }
}

/// Does something with the disk, again and again while there is no room: the library would stop for
/// good.
async fn with_room<T: Send + 'static>(
    work: Arc<impl Fn() -> io::Result<T> + Send + Sync + 'static>,
) -> io::Result<T> {
    let mut pause = ROOM_PAUSE_MIN;
    loop {
        let work = Arc::clone(&work);
        match tokio::task::spawn_blocking(move || work()).await? {
            Err(error) if is_full(&error) => {
                tracing::warn!("a snapshot waits for room: {error}");
                tokio::time::sleep(pause).await;
                pause = ROOM_PAUSE_MAX.min(pause * 2);
            }
            done => return done,
        }
    }
}

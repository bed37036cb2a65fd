//! The log and the vote, on disk or in memory.
//!
//! `window` is the log as it was accepted, `disk` the file and `writer` the way from one to the
//! other; `record` and `facts` say how it looks there. Entries are readable as soon as they are
//! accepted, and acknowledged once they last. `decided` bridges the time until the log says itself
//! how far it is decided.
//!
//! **Invariant**: whatever was acknowledged is there after the power fails.
//! **Invariant**: what is read is what was written, or an error.

mod claim;
mod condition;
mod decided;
mod disk;
mod facts;
mod load;
mod record;
#[cfg(test)]
mod tests;
mod view;
mod window;
mod writer;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use openraft::alias::{EntryOf, LeaderIdOf, LogIdOf, VoteOf};
use openraft::errors::LeaderChanged;
use openraft::storage::{
    IOFlushed, LeaderBoundedStreamError, LeaderBoundedStreamResult, RaftLogReader, RaftLogStorage,
};
use openraft::{LogState, OptionalSend};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::task::Tasks;

use self::disk::{Change, Disk};
use self::facts::{Fact, Facts};
use self::window::Window;
use self::writer::{Shared, Waiter};
use super::types::{ServerId, Types};

pub(super) use self::claim::Claim;
pub(super) use self::condition::{Condition, is_full, room};
pub(super) use self::disk::{OpenError, remedy};
pub use self::load::{Load, LoadError, open as open_load, run as run_load};

/// Entries of at most so many octets stay in memory for those who follow closely.
const RECENT_OCTETS_MAX: usize = 16 << 20;
/// So much of the log goes into one message to another server, or is read at once.
const READ_OCTETS_MAX: usize = 1 << 20;

/// Longest wait, after a read has failed, for the reason to be told.
const TOLD: Duration = Duration::from_secs(1);

/// The log of one server. Clones are the same; it ends, and its file is closed, after the last one.
#[derive(Clone)]
pub(super) struct LogStore {
    handle: Arc<Handle>,
}

impl Debug for LogStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = self.shared().look(Window::last);
        let mut text = formatter.debug_struct("LogStore");
        text.field("last", &last).finish_non_exhaustive()
    }
}

/// Tells the writer when it goes.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl LogStore {
    /// Opens the log in `directory`, where it is made if there is none; without a directory it is in
    /// memory. All of it is read and checked: this takes time, and blocks. To be called in a runtime.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(directory: Option<&Path>, tasks: &Tasks) -> Result<Self, OpenError> {
        Self::open_with(directory, RECENT_OCTETS_MAX, tasks)
    }

    fn open_with(
        directory: Option<&Path>,
        recent_max: usize,
        tasks: &Tasks,
    ) -> Result<Self, OpenError> {
        let claim = directory.map(Claim::take).transpose()?;
        Self::open_in(claim, recent_max, tasks)
    }

    /// Opens the log in a directory that was taken before, so that what is beside the log can be
    /// read at the same time.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open_claimed(claim: Option<Claim>, tasks: &Tasks) -> Result<Self, OpenError> {
        Self::open_in(claim, RECENT_OCTETS_MAX, tasks)
    }

    fn open_in(claim: Option<Claim>, recent_max: usize, tasks: &Tasks) -> Result<Self, OpenError> {
        let (disk, window) = match claim {
            None => (None, Window::new(Facts::default(), None)),
            Some(claim) => {
                let (disk, window) = Disk::open(claim, recent_max)?;
                (Some(disk), window)
            }
        };
        let on_disk = disk.is_some();
        let shared = Arc::new(Shared::new(window, disk));
        if on_disk {
            let writer = Arc::clone(&shared);
            let spawned = tasks.spawn_thread("herald-log", move || writer.write());
            spawned.map_err(OpenError::Thread)?;
            let (stopping, stopped) = (tasks.stopping(), Arc::clone(&shared));
            tasks.spawn_draining(async move {
                let mut condition = stopped.condition();
                tokio::select! {
                    () = stopping.cancelled() => stopped.stop(),
                    _ = condition.wait_for(Condition::is_over) => {}
                }
            });
        }
        let handle = Arc::new(Handle { shared });
        Ok(Self { handle })
    }

    /// Whether the log can be used. It ends with the first write that fails, unless the disk is just
    /// full, and so does the consensus around it; once that shows here, it may be opened again.
    pub(super) fn condition(&self) -> watch::Receiver<Condition> {
        self.shared().condition()
    }

    /// Whether there is a log: an entry, even if it is purged. A vote alone makes none: whoever asks
    /// for one need not be of any cluster. A server without entries holds nothing that another
    /// cluster could lose, so to take it for free is safe for all data; that it does not help to
    /// found two clusters at once is looked after where votes are asked for (`network::server`).
    pub(super) fn is_initialized(&self) -> bool {
        self.shared().look(Window::last).is_some()
    }

    /// Whether this server may have promised anything to a leader: it has voted, or has a log.
    pub(super) fn has_promised(&self) -> bool {
        let (vote, last) = self.shared().look(|log| (log.facts().vote, log.last()));
        vote.is_some() || last.is_some()
    }

    /// Nothing more comes: what waits is written, then the file is closed.
    pub(super) fn end(&self) {
        self.shared().abandon();
    }

    /// The term that this server is in, and the position of the last entry.
    pub(super) fn newest(&self) -> (u64, u64) {
        self.shared().look(|log| {
            let (vote, last) = (log.facts().vote, log.last());
            let term = vote.map_or(0, |vote| vote.leader_id.term);
            (term, last.map_or(0, |last| last.index))
        })
    }

    /// Who this server takes for the leader.
    pub(super) fn leader(&self) -> Option<ServerId> {
        let vote = self.shared().look(|log| log.facts().vote);
        vote.filter(|vote| vote.committed)
            .map(|vote| vote.leader_id.node_id)
    }

    /// The cluster that this server is in.
    pub(super) fn cluster(&self) -> Option<u128> {
        self.shared().look(|log| log.facts().cluster)
    }

    /// Keeps in which cluster this server is; returns once that lasts.
    ///
    /// # Errors
    /// The disk fails, or has failed.
    pub(super) async fn set_cluster(&self, cluster: u128) -> io::Result<()> {
        self.shared().set(Fact::Cluster(cluster)).await
    }

    /// The server whose log this is.
    pub(super) fn owner(&self) -> Option<ServerId> {
        self.shared().look(|log| log.facts().owner)
    }

    /// Keeps whose log this is; returns once that lasts.
    ///
    /// # Errors
    /// The disk fails, or has failed.
    pub(super) async fn set_owner(&self, owner: ServerId) -> io::Result<()> {
        self.shared().set(Fact::Owner(owner)).await
    }

    /// What the keeper of snapshots had kept here.
    #[cfg(test)]
    pub(super) fn snapshot_record(&self) -> Option<bytes::Bytes> {
        self.shared().look(|log| log.facts().snapshot.clone())
    }

    /// Keeps `record` for the keeper of snapshots; returns once that lasts.
    ///
    /// # Errors
    /// The disk fails, or has failed.
    #[cfg(test)]
    pub(super) async fn set_snapshot_record(&self, record: bytes::Bytes) -> io::Result<()> {
        self.shared().set(Fact::Snapshot(record)).await
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// The entries of `range`, as many as there are; where `octets_max` is reached, the first ones.
    /// What cannot be read while the disk is full is read once there is room.
    async fn entries(
        &self,
        range: Range<u64>,
        octets_max: usize,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let mut condition = self.condition();
        loop {
            let error = match self.read(range.clone(), octets_max).await {
                Ok(entries) => return Ok(entries),
                Err(error) => error,
            };
            // The reader may have met the failure before the writer has told of it.
            let told = condition.wait_for(|now| *now != Condition::Open);
            match timeout(TOLD, told).await {
                Ok(Ok(now)) if *now == Condition::Full => {}
                _ => return Err(error),
            }
            let over = condition.wait_for(|now| *now != Condition::Full).await;
            over.map_err(io::Error::other)?;
        }
    }

    /// The same, once.
    async fn read(&self, range: Range<u64>, octets_max: usize) -> io::Result<Vec<EntryOf<Types>>> {
        let (recent, old) = self.shared().find(&range, octets_max)?;
        let Some((view, range)) = old else {
            return Ok(recent);
        };
        // The disk may take its time, which must not hold up the runtime.
        let read = tokio::task::spawn_blocking(move || view.entries(range, octets_max));
        let mut entries = read.await.map_err(io::Error::other)??;
        entries.extend(recent);
        Ok(entries)
    }

    /// The entries of `range` in portions; after each, `holds` says whether it counts.
    fn portions<'a, E: From<io::Error> + Send + 'a>(
        &'a self,
        range: Range<u64>,
        holds: impl Fn(&Self) -> Result<(), E> + Send + 'a,
    ) -> impl Stream<Item = Result<EntryOf<Types>, E>> + Send + 'a {
        let portions = stream::unfold(
            (self, Some(range), holds),
            |(log, range, holds)| async move {
                let mut range = range?;
                let read = log.entries(range.clone(), READ_OCTETS_MAX).await;
                let read = read
                    .map_err(E::from)
                    .and_then(|entries| holds(log).map(|()| entries));
                let (items, left) = match read {
                    Err(error) => (vec![Err(error)], None),
                    Ok(entries) => {
                        let left = entries.last().map(|last| {
                            range.start = last.log_id.index + 1;
                            range
                        });
                        (entries.into_iter().map(Ok).collect(), left)
                    }
                };
                Some((stream::iter(items), (log, left, holds)))
            },
        );
        Box::pin(portions.flatten())
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<EntryOf<Types>>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.entries(half_open(&range), usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        self.entries(start..end, READ_OCTETS_MAX).await
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<EntryOf<Types>>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.portions(half_open(&range), |_| Ok(()))
    }

    async fn leader_bounded_stream<R>(
        &mut self,
        leader: LeaderIdOf<Types>,
        range: R,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<Types>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // Asked after each portion: the vote changes before anything of the old leader is cut off.
        self.portions(half_open(&range), move |log: &Self| {
            match log.shared().look(|log| log.facts().vote) {
                Some(vote) if vote.committed && vote.leader_id == leader => Ok(()),
                vote => {
                    let changed = LeaderChanged::new(leader, vote);
                    Err(LeaderBoundedStreamError::LeaderChanged(changed))
                }
            }
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.shared().look(|log| log.facts().vote))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        Ok(self.shared().look(|log| LogState {
            last_purged_log_id: log.facts().purged,
            last_log_id: log.last(),
        }))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.shared().set(Fact::Vote(*vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Types>>) -> io::Result<()> {
        match committed {
            Some(committed) => self.shared().set_committed(Fact::Committed(committed)),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Types>>> {
        Ok(self.shared().look(Window::committed))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect();
        let waiter = Waiter::Flushed(callback);
        self.shared().append(entries, waiter).await
    }

    async fn truncate_after(&mut self, position: Option<LogIdOf<Types>>) -> io::Result<()> {
        // Nothing waits for it: what is acknowledged later lasts after it.
        self.shared().change(Waiter::Nobody, |log| {
            Some(Change::Truncate(log.truncate(position)))
        })
    }

    async fn purge(&mut self, position: LogIdOf<Types>) -> io::Result<()> {
        self.shared().change(Waiter::Nobody, |log| {
            let purged = log.purge(position);
            purged.then_some(Change::Fact(Fact::Purged(position)))
        })
    }
}

/// The indexes of `range`.
fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

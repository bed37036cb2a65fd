//! The one who writes to the disk: everything that has gathered becomes one transaction, with one
//! fsync, and is acknowledged after that. Where there is no disk, everything lasts at once.
//!
//! Where the disk is full, what has gathered waits for room: to everybody else this is a slow disk,
//! and [`Condition::Full`] tells the leader to leave the lead to another server. Any other write that
//! fails ends the log: whether it lasts is not known, and neither the database nor the consensus
//! library goes on after such an error. Whoever waits hears of it, the file is closed, and
//! [`Condition::Failed`] tells the owner that it can be opened again; what was acknowledged is there.
//!
//! **Invariant**: changes reach the disk in the order in which they were accepted.
//! **Invariant**: nothing is acknowledged before it lasts.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openraft::alias::EntryOf;
use openraft::storage::IOFlushed;
use tokio::sync::{Notify, oneshot, watch};

use crate::clock;
use crate::raft::types::Types;

use super::condition::{Condition, is_full};
use super::disk::{Change, Disk};
use super::facts::Fact;
use super::record::weight;
use super::view::View;
use super::window::Window;

/// Entries that may wait for the disk; then whoever appends waits.
const ENTRIES_MAX: usize = 65_536;
/// Octets that may wait for the disk, unless one append alone has more.
const OCTETS_MAX: usize = 64 << 20;
/// How often the position that is decided is written, at most: `decided` has it at once.
const COMMITTED_DELAY: Duration = Duration::from_millis(100);
/// How long after the agent began to stop further changes are still accepted.
const STOP_DELAY: Duration = Duration::from_millis(500);
/// How often it is looked whether there is room again.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
/// How much room there must be, besides twice what waits: recovery takes some.
const ROOM_OCTETS_MIN: u64 = 8 << 20;
/// At least so many purged entries leave the disk with a transaction.
const REMOVE_MIN: usize = 4_096;

/// Who is told that something lasts.
pub(super) enum Waiter {
    /// Nobody.
    Nobody,
    /// The consensus library.
    Flushed(IOFlushed<Types>),
    /// A caller.
    Durable(oneshot::Sender<io::Result<()>>),
}

impl Waiter {
    fn tell(self, result: io::Result<()>) {
        match self {
            Self::Nobody => {}
            Self::Flushed(callback) => callback.io_completed(result),
            // Who has gone does not want to know.
            Self::Durable(caller) => drop(caller.send(result)),
        }
    }
}

/// Entries that are on disk only: a view of it, and which they are.
pub(super) type Older = (View, Range<u64>);

/// The log between those who use it and the one who writes.
pub(super) struct Shared {
    state: Mutex<State>,
    work: Condvar,
    room: Notify,
    disk: Option<Disk>,
    condition: watch::Sender<Condition>,
}

struct State {
    window: Window,
    queue: Queue,
    /// When the position that is decided was changed and not written yet.
    committed_since: Option<Instant>,
    /// Purged entries are on disk still.
    removing: bool,
    /// Nobody uses the log any more.
    abandoned: bool,
    /// When the agent has stopped.
    stop_by: Option<Instant>,
    /// Why nothing is accepted any more.
    end: Option<Arc<str>>,
}

/// What waits for the disk.
#[derive(Default)]
struct Queue {
    changes: Vec<Change>,
    waiters: Vec<Waiter>,
    entries: usize,
    octets: usize,
    /// The lowest index that the changes touch.
    lowest: Option<u64>,
}

/// What one transaction writes.
struct Batch {
    queue: Queue,
    keep_from: u64,
}

impl Shared {
    /// A log as it was found.
    pub(super) fn new(window: Window, disk: Option<Disk>) -> Self {
        let state = State {
            window,
            queue: Queue::default(),
            committed_since: None,
            // What was purged shortly before the end may be there still.
            removing: disk.is_some(),
            abandoned: false,
            stop_by: None,
            end: None,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Notify::new(),
            disk,
            condition: watch::Sender::new(Condition::Open),
        }
    }

    /// Follows whether the log can be used.
    pub(super) fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    /// Whether there is a disk, so that a writer is to be waited for.
    pub(super) fn is_on_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Looks at the log as it was accepted.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Window) -> T) -> T {
        look(&self.lock().window)
    }

    /// The recent entries of `range`, and the file as it is at this instant for those before them.
    ///
    /// # Errors
    /// There are such, and the file is closed.
    pub(super) fn find(
        &self,
        range: &Range<u64>,
        octets_max: usize,
    ) -> io::Result<(Vec<EntryOf<Types>>, Option<Older>)> {
        let state = self.lock();
        let found = state.window.find(range, octets_max);
        // Under the lock: whatever is accepted after this is not in the view.
        let view = match &self.disk {
            Some(disk) if !found.old.is_empty() => Some((disk.view()?, found.old)),
            _ => None,
        };
        Ok((found.recent, view))
    }

    /// Accepts further entries, once there is room for them.
    ///
    /// # Errors
    /// They do not follow, or the log has ended. Nothing changed.
    pub(super) async fn append(
        &self,
        entries: Vec<EntryOf<Types>>,
        waiter: Waiter,
    ) -> io::Result<()> {
        let octets = entries.iter().map(weight).sum::<usize>();
        let mut state = self.with_room(octets).await?;
        let indexes = entries.iter().map(|entry| entry.log_id.index);
        let mut following = indexes.clone().zip(indexes.skip(1));
        if let Some((index, next)) = following.find(|(index, next)| index + 1 != *next) {
            return Err(invalid(format!("entry {next} comes after {index}")));
        }
        for entry in &entries {
            let appended = state.window.append(entry.clone());
            appended.map_err(|error| invalid(error.to_string()))?;
        }
        state.queue.octets += octets;
        state.queue.entries += entries.len();
        if let Some(first) = entries.first() {
            state.queue.touch(first.log_id.index);
        }
        self.push(state, Change::Append(entries), waiter);
        Ok(())
    }

    /// Accepts what `change` makes of the log; nothing is written if it makes nothing.
    ///
    /// # Errors
    /// The log has ended. Nothing changed.
    pub(super) fn change(
        &self,
        waiter: Waiter,
        change: impl FnOnce(&mut Window) -> Option<Change>,
    ) -> io::Result<()> {
        let mut state = self.lock();
        state.usable()?;
        match change(&mut state.window) {
            Some(change) => {
                if let Change::Truncate(from) = change {
                    state.queue.touch(from);
                }
                self.push(state, change, waiter);
            }
            None => waiter.tell(Ok(())),
        }
        Ok(())
    }

    /// Accepts `fact`, and waits until it lasts.
    ///
    /// # Errors
    /// The log has ended, or ends with this write.
    pub(super) async fn set(&self, fact: Fact) -> io::Result<()> {
        let (caller, told) = oneshot::channel();
        self.change(Waiter::Durable(caller), |window| {
            window.set(fact.clone());
            Some(Change::Fact(fact))
        })?;
        told.await.unwrap_or_else(|_| Err(ended("it has ended")))
    }

    /// Accepts a fact that is written with a transaction some time later.
    ///
    /// # Errors
    /// The log has ended. Nothing changed.
    pub(super) fn set_committed(&self, fact: Fact) -> io::Result<()> {
        if let (Some(disk), Fact::Committed(position)) = (&self.disk, &fact) {
            disk.decide(position);
        }
        let mut state = self.lock();
        state.usable()?;
        state.window.set(fact);
        if self.disk.is_some() && state.committed_since.is_none() {
            state.committed_since = Some(clock::monotonic());
            self.work.notify_one();
        }
        Ok(())
    }

    /// Nobody uses the log any more: what waits is written, then the file is closed.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
        self.work.notify_one();
    }

    /// The agent stops: soon nothing is accepted any more.
    pub(super) fn stop(&self) {
        self.lock().stop_by = Some(clock::monotonic() + STOP_DELAY);
        self.work.notify_one();
    }

    /// Writes until the log ends.
    pub(super) fn write(&self) {
        let Some(disk) = &self.disk else { return };
        let mut condition = Condition::Closed;
        while let Some(batch) = self.next() {
            let written = self.write_batch(disk, &batch);
            let queue = batch.queue;
            match written {
                Ok(more) => {
                    self.written(more);
                    queue.tell(&Ok(()));
                }
                Err(error) => {
                    tracing::error!("the log takes no more: {error}");
                    condition = Condition::Failed(error.to_string().into());
                    // The file is closed first: who hears of this may open it at once.
                    self.end(&error.to_string(), || disk.close());
                    queue.tell(&Err(error));
                    break;
                }
            }
        }
        self.end("the agent stops", || disk.close());
        self.condition.send_replace(condition);
    }

    /// Writes what has gathered, once there is room for it. Whether more entries are to be removed.
    fn write_batch(&self, disk: &Disk, batch: &Batch) -> io::Result<bool> {
        let queue = &batch.queue;
        let remove_max = REMOVE_MIN.max(queue.entries * 2);
        let mut waited = false;
        loop {
            let error = match disk.write(&queue.changes, batch.keep_from, remove_max) {
                Ok(more) => {
                    if waited {
                        tracing::info!("there is room again: the log goes on");
                        self.condition.send_replace(Condition::Open);
                    }
                    return Ok(more);
                }
                Err(error) if is_full(&error) => error,
                Err(error) => return Err(error),
            };
            if !waited {
                tracing::error!(
                    "{error}: this server stores no more writes until there is room; at least {} \
                     MiB are to be free",
                    room_for(queue) >> 20
                );
                self.condition.send_replace(Condition::Full);
            }
            waited = true;
            self.wait_for_room(disk, room_for(queue), error)?;
        }
    }

    /// Waits until there is so much room, and the file is open again.
    ///
    /// # Errors
    /// It cannot be opened, or the log is to end: then `full`, why this waits.
    fn wait_for_room(&self, disk: &Disk, octets: u64, full: io::Error) -> io::Result<()> {
        loop {
            if self.ends_within(ROOM_INTERVAL) {
                return Err(full);
            }
            // Where the system does not tell, only a try does.
            if disk.room().is_ok_and(|room| room < octets) {
                continue;
            }
            match disk.reopen() {
                Err(error) if is_full(&error) || error.kind() == io::ErrorKind::ResourceBusy => {}
                reopened => return reopened,
            }
        }
    }

    /// Waits for so long, or until the log is to end. Whether it is.
    fn ends_within(&self, time: Duration) -> bool {
        let until = clock::monotonic() + time;
        let mut state = self.lock();
        loop {
            let now = clock::monotonic();
            if state.ends(now) || now >= until {
                return state.ends(now);
            }
            let next = state.stop_by.map_or(until, |at| at.min(until));
            let waited = self.work.wait_timeout(state, next - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for something to write. `None` once the log is to end and nothing is left.
    fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            let now = clock::monotonic();
            let ends = state.ends(now);
            let committed_at = state.committed_since.map(|since| since + COMMITTED_DELAY);
            let due = committed_at.is_some_and(|at| ends || at <= now);
            if !state.queue.changes.is_empty() || due || (state.removing && !ends) {
                let batch = state.take(due);
                drop(state);
                self.room.notify_waiters();
                return Some(batch);
            }
            if ends {
                return None;
            }
            let next = [committed_at, state.stop_by].into_iter().flatten().min();
            state = match next {
                None => self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let waited = self
                        .work
                        .wait_timeout(state, at.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn written(&self, more: bool) {
        let mut state = self.lock();
        state.removing |= more;
        let durable = state.queue.lowest.unwrap_or(u64::MAX);
        state.window.set_durable(durable);
    }

    /// Accepts nothing any more, and tells all that wait.
    fn end(&self, reason: &str, close: impl FnOnce()) {
        let queue = {
            let mut state = self.lock();
            state.end.get_or_insert_with(|| reason.into());
            std::mem::take(&mut state.queue)
        };
        close();
        queue.tell(&Err(ended(reason)));
        self.room.notify_waiters();
    }

    /// Waits until `octets` more may wait.
    async fn with_room(&self, octets: usize) -> io::Result<MutexGuard<'_, State>> {
        loop {
            let room = self.room.notified();
            {
                let state = self.lock();
                state.usable()?;
                if state.queue.has_room(octets) {
                    return Ok(state);
                }
            }
            room.await;
        }
    }

    fn push(&self, mut state: MutexGuard<'_, State>, change: Change, waiter: Waiter) {
        if self.disk.is_none() {
            state.queue = Queue::default();
            drop(state);
            waiter.tell(Ok(()));
            return;
        }
        state.queue.changes.push(change);
        state.queue.waiters.push(waiter);
        drop(state);
        self.work.notify_one();
    }

    /// A panic elsewhere does not make the log wrong: no change of it is left half made.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn usable(&self) -> io::Result<()> {
        self.end
            .as_deref()
            .map_or(Ok(()), |reason| Err(ended(reason)))
    }

    /// Whether nothing but what waits is to be written any more.
    fn ends(&self, now: Instant) -> bool {
        self.abandoned || self.stop_by.is_some_and(|at| at <= now)
    }

    /// What waits; with the position that is decided only if that is `due`.
    fn take(&mut self, due: bool) -> Batch {
        self.removing = false;
        let mut queue = std::mem::take(&mut self.queue);
        if due
            && self.committed_since.take().is_some()
            && let Some(committed) = self.window.facts().committed
        {
            queue.changes.push(Change::Fact(Fact::Committed(committed)));
        }
        Batch {
            queue,
            keep_from: self.window.first(),
        }
    }
}

impl Queue {
    fn has_room(&self, octets: usize) -> bool {
        self.changes.is_empty()
            || (self.entries < ENTRIES_MAX && self.octets.saturating_add(octets) <= OCTETS_MAX)
    }

    fn touch(&mut self, index: u64) {
        self.lowest = Some(self.lowest.map_or(index, |lowest| lowest.min(index)));
    }

    fn tell(self, result: &io::Result<()>) {
        for waiter in self.waiters {
            waiter.tell(match result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
    }
}

/// How much room there must be before `queue` is tried again.
fn room_for(queue: &Queue) -> u64 {
    ROOM_OCTETS_MIN + 2 * queue.octets as u64
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn ended(reason: &str) -> io::Error {
    io::Error::other(format!("the log takes no more: {reason}"))
}

//! A start: the newest snapshot, and behind it the log as far as it is known to be decided, before
//! the library begins. That would apply the same entries a few at a time, and publish each time.
//!
//! The log is read, checked and decoded while what was read before is applied on another thread.

use std::io;

use openraft::EntryPayload;
use openraft::alias::{EntryOf, LogIdOf, StoredMembershipOf};
use openraft::storage::{RaftLogReader, RaftLogStorage};
use tokio::sync::mpsc;

use crate::catalog::{Command, Corrupt, State, Writer, stored};
use crate::clock;
use crate::raft::log_store::LogStore;
use crate::raft::snapshots::Loaded;
use crate::raft::types::Types;
use crate::types::Index;

use super::volume::Volume;

/// Portions of the log that may wait to be applied.
const PORTIONS_MAX: usize = 4;

/// Commands with their places in the log.
type Portion = Vec<(Index, Command)>;

/// What a start has made of snapshot and log.
#[derive(Debug)]
pub(in crate::raft) struct Recovered {
    pub(super) writer: Writer,
    pub(super) position: Position,
}

/// Where a state machine is in the log.
#[derive(Debug, Default)]
pub(super) struct Position {
    pub(super) applied: Option<LogIdOf<Types>>,
    pub(super) membership: StoredMembershipOf<Types>,
    /// Commands behind the newest snapshot, and their octets.
    pub(super) commands: u64,
    pub(super) volume: Volume,
}

/// Makes the catalog what it was, and shows it.
///
/// # Errors
/// The log cannot be read, or contradicts itself or the snapshot.
pub(in crate::raft) async fn recover(
    writer: Writer,
    loaded: Option<Loaded>,
    log: &mut LogStore,
) -> io::Result<Recovered> {
    let mut position = Position::default();
    let mut state = State::default();
    if let Some(loaded) = loaded {
        position.applied = loaded.meta.last_log_id;
        position.membership = loaded.meta.last_membership;
        state = loaded.state;
    }
    let decided = log.read_committed().await?;
    if position.applied.max(decided).is_none() {
        return Ok(Recovered { writer, position });
    }
    let (portions, queue) = mpsc::channel(PORTIONS_MAX);
    let applying = tokio::task::spawn_blocking(move || apply(writer, state, queue));
    let read = read(log, decided, &mut position, &portions).await;
    drop(portions);
    // Where both fail, the reading did because nobody was left to apply.
    let writer = applying.await.map_err(io::Error::other)??;
    read.map(|()| Recovered { writer, position })
}

/// Hands on what is behind `position` up to `decided`, and moves it there.
async fn read(
    log: &mut LogStore,
    decided: Option<LogIdOf<Types>>,
    position: &mut Position,
    portions: &mpsc::Sender<Portion>,
) -> io::Result<()> {
    let after = |last: Option<LogIdOf<Types>>| last.map_or(0, |last| last.index + 1);
    let (mut next, end) = (after(position.applied), after(decided));
    while next < end {
        let entries = log.limited_get_log_entries(next, end).await?;
        if entries.first().map(|entry| entry.log_id.index) != Some(next) {
            return Err(io::Error::other(format!(
                "entry {next} of the log is not there"
            )));
        }
        next += entries.len() as u64;
        let portion = entries.into_iter().map(|entry| position.step(entry));
        let portion = portion.filter_map(Result::transpose);
        let portion = portion.collect::<io::Result<Portion>>()?;
        let gone = |_| io::Error::other("nobody applies what is read");
        portions.send(portion).await.map_err(gone)?;
    }
    Ok(())
}

impl Position {
    /// Goes on to `entry`. Its command, if it is one.
    fn step(&mut self, entry: EntryOf<Types>) -> io::Result<Option<(Index, Command)>> {
        let index = Index(entry.log_id.index);
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Ok(None),
            EntryPayload::Membership(changed) => {
                self.membership = StoredMembershipOf::<Types>::new(self.applied, changed);
                Ok(None)
            }
            EntryPayload::Normal(proposal) => {
                self.commands += 1;
                self.volume.add(index, proposal.0.len() as u64);
                Ok(Some((index, decode(index, &proposal.0)?)))
            }
        }
    }
}

/// The command of entry `index`.
///
/// # Errors
/// It is damaged, or of a later release.
pub(super) fn decode(index: Index, octets: &[u8]) -> io::Result<Command> {
    let command = stored::decode(octets);
    command.map_err(|error| useless(&format!("entry {index} of the log cannot be read: {error}")))
}

/// Applies all that comes, and shows what that gives.
fn apply(writer: Writer, state: State, mut queue: mpsc::Receiver<Portion>) -> io::Result<Writer> {
    let start = clock::monotonic();
    let corrupt = |corrupt: Corrupt| useless(&corrupt.to_string());
    let mut recovery = writer.recover(state).map_err(corrupt)?;
    while let Some(portion) = queue.blocking_recv() {
        recovery.apply(portion).map_err(corrupt)?;
    }
    tracing::debug!("the log was applied in {:?}", start.elapsed());
    let start = clock::monotonic();
    let writer = recovery.finish();
    tracing::debug!("the catalog was shown in {:?}", start.elapsed());
    Ok(writer)
}

/// Why a server does not start, and what to do.
fn useless(what: &str) -> io::Error {
    io::Error::other(format!(
        "{what}; start the release that the other servers run, or, if this is it, move the directory \
         raft in the data directory away: the server then gets everything from the others"
    ))
}

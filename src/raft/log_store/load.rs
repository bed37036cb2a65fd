//! A load on a log of its own, for `benches/raft.rs`.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::alias::{EntryOf, LogIdOf, OneshotReceiverOf};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use crate::clock;
use crate::raft::types::{Proposal, ServerId, Types};
use crate::task::Tasks;

use super::disk::FILE;
use super::{LogStore, OpenError};

/// What is appended.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Entries, one append each.
    pub entries: u64,
    /// Appends that are not acknowledged yet, at most.
    pub in_flight: usize,
    /// Octets of each command.
    pub octets: usize,
    /// Entries that are kept; older ones are purged as it goes on.
    pub kept: u64,
}

/// Why a load cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log does not open.
    #[error("{0}")]
    Open(String),
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<OpenError> for LoadError {
    fn from(error: OpenError) -> Self {
        Self::Open(error.to_string())
    }
}

/// Appends to a new log in `directory`, or in memory, until everything is acknowledged. How long
/// that took, without what opening and closing take. The file is then copied to `image`, as it would
/// be after a kill.
///
/// # Errors
/// [`LoadError`].
pub async fn run(
    directory: Option<&Path>,
    image: Option<&Path>,
    load: Load,
    tasks: &Tasks,
) -> Result<Duration, LoadError> {
    let mut log = LogStore::open(directory, tasks)?;
    let octets = Bytes::from(vec![7; load.octets]);
    let mut acknowledgements = VecDeque::new();
    let start = clock::monotonic();
    for index in 0..load.entries {
        let log_id = position(index);
        let payload = EntryPayload::Normal(Proposal(octets.clone()));
        let (caller, told) = Types::oneshot();
        let entry = EntryOf::<Types> { log_id, payload };
        log.append([entry], IOFlushed::signal(caller)).await?;
        acknowledgements.push_back(told);
        if acknowledgements.len() >= load.in_flight.max(1) {
            acknowledged(&mut acknowledgements).await?;
        }
        if let Some(purged) = index.checked_sub(load.kept)
            && purged % 1_000 == 0
        {
            log.purge(position(purged)).await?;
        }
    }
    while !acknowledgements.is_empty() {
        acknowledged(&mut acknowledgements).await?;
    }
    let took = start.elapsed();
    if let (Some(directory), Some(image)) = (directory, image) {
        fs::create_dir_all(image)?;
        fs::copy(directory.join(FILE), image.join(FILE))?;
    }
    close(log).await;
    Ok(took)
}

/// Opens the log in `directory` and closes it. How many entries it has, and how long the opening
/// took.
///
/// # Errors
/// [`LoadError`].
pub async fn open(directory: &Path, tasks: &Tasks) -> Result<(usize, Duration), LoadError> {
    let start = clock::monotonic();
    let mut log = LogStore::open(Some(directory), tasks)?;
    let took = start.elapsed();
    let entries = log.try_get_log_entries(..).await?;
    close(log).await;
    Ok((entries.len(), took))
}

async fn close(log: LogStore) {
    let on_disk = log.shared().is_on_disk();
    let mut condition = log.condition();
    drop(log);
    if on_disk {
        // Who would tell cannot go without doing so.
        let closed = condition.wait_for(|now| *now != super::Condition::Open);
        drop(closed.await);
    }
}

fn position(index: u64) -> LogIdOf<Types> {
    let (term, node_id) = (1, ServerId(1));
    LogIdOf::<Types>::new(LeaderId { term, node_id }, index)
}

/// Waits for the oldest one; those that lasted with it are there then.
async fn acknowledged(
    waiting: &mut VecDeque<OneshotReceiverOf<Types, io::Result<()>>>,
) -> io::Result<()> {
    match waiting.pop_front() {
        Some(first) => first.await.map_err(io::Error::other)?,
        None => Ok(()),
    }
}

//! The log on both backends: what it keeps, what it refuses, and what it survives.

mod conformance;
mod faults;
mod golden;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, Membership};

use super::record::{RecordError, decode_entry, encode_entry};
use super::{Condition, LogStore, OpenError};
use crate::raft::types::{Peer, Proposal, ServerId, Types};
use crate::task::Tasks;

/// A directory of its own, gone with this.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("herald-log-{}-{count}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn file(&self) -> PathBuf {
        self.0.join("log.redb")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn position(term: u64, index: u64) -> LogIdOf<Types> {
    let node_id = ServerId(7);
    LogIdOf::<Types>::new(LeaderId { term, node_id }, index)
}

fn command(term: u64, index: u64, octets: usize) -> EntryOf<Types> {
    let octets = index.to_be_bytes().into_iter().cycle().take(octets);
    EntryOf::<Types> {
        log_id: position(term, index),
        payload: EntryPayload::Normal(Proposal(octets.collect::<Vec<_>>().into())),
    }
}

fn commands(range: std::ops::Range<u64>) -> Vec<EntryOf<Types>> {
    range.map(|index| command(1, index, 100)).collect()
}

fn servers(index: u64) -> EntryOf<Types> {
    let peer = |name: &str, address: &str| Peer {
        name: name.to_owned(),
        address: address.parse().unwrap(),
    };
    let peers = BTreeMap::from([
        (ServerId(1), peer("one", "10.0.0.1:8300")),
        (ServerId(2), peer("zwei \u{e4}", "[2001:db8::2]:8300")),
        (ServerId(u128::MAX), peer("learner", "[fe80::1%3]:1")),
    ]);
    let sets = vec![
        BTreeSet::from([ServerId(1)]),
        BTreeSet::from([ServerId(1), ServerId(2)]),
    ];
    EntryOf::<Types> {
        log_id: position(2, index),
        payload: EntryPayload::Membership(Membership::new(sets, peers).unwrap()),
    }
}

async fn append(log: &mut LogStore, entries: Vec<EntryOf<Types>>) -> io::Result<()> {
    let (caller, told) = Types::oneshot();
    log.append(entries, IOFlushed::signal(caller)).await?;
    told.await.unwrap()
}

/// Drops the log and waits until its file is closed.
async fn close(log: LogStore) {
    let mut condition = log.condition();
    drop(log);
    let closed = condition.wait_for(|now| *now != Condition::Open);
    assert_eq!(*closed.await.unwrap(), Condition::Closed);
}

fn open(directory: &Directory, tasks: &Tasks) -> LogStore {
    LogStore::open(Some(&directory.0), tasks).unwrap()
}

async fn all(log: &mut LogStore) -> Vec<EntryOf<Types>> {
    log.try_get_log_entries(..).await.unwrap()
}

#[test]
fn an_entry_reads_as_it_was_written() {
    let blank = EntryOf::<Types> {
        log_id: position(u64::MAX, 0),
        payload: EntryPayload::Blank,
    };
    for entry in [
        blank,
        command(3, u64::MAX, 0),
        command(3, 9, 5_000),
        servers(4),
    ] {
        let octets = encode_entry(&entry).unwrap();
        let index = entry.log_id.index;
        assert_eq!(decode_entry(index, &octets).unwrap(), entry);
        for at in 0..octets.len() * 8 {
            let mut damaged = octets.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            let error = decode_entry(index, &damaged).unwrap_err();
            assert!(matches!(error, RecordError::Checksum { .. }), "{error}");
        }
        for length in 0..octets.len() {
            assert!(decode_entry(index, &octets[..length]).is_err());
        }
        let elsewhere = decode_entry(index ^ 1, &octets);
        assert!(elsewhere.is_err(), "an entry under another's index");
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let (directory, tasks) = (Directory::new(), Tasks::new());
    let mut log = open(&directory, &tasks);
    assert!(!log.is_initialized());
    let vote = VoteOf::<Types>::new_committed(2, ServerId(7));
    log.save_vote(&vote).await.unwrap();
    log.set_cluster(99).await.unwrap();
    log.set_owner(ServerId(7)).await.unwrap();
    log.set_snapshot_record(Bytes::from_static(b"snapshot"))
        .await
        .unwrap();
    let mut entries = commands(0..20);
    entries.push(servers(20));
    append(&mut log, entries.clone()).await.unwrap();
    log.save_committed(Some(position(1, 15))).await.unwrap();
    log.purge(position(1, 4)).await.unwrap();
    close(log).await;

    let mut log = open(&directory, &tasks);
    assert!(log.is_initialized());
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(log.cluster(), Some(99));
    assert_eq!(log.owner(), Some(ServerId(7)));
    assert_eq!(log.snapshot_record().unwrap(), "snapshot");
    assert_eq!(log.read_committed().await.unwrap(), Some(position(1, 15)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(position(1, 4)));
    assert_eq!(state.last_log_id, Some(position(2, 20)));
    assert_eq!(all(&mut log).await, entries[5..]);
}

#[tokio::test]
async fn entries_that_left_memory_are_read_from_disk() {
    let (directory, tasks) = (Directory::new(), Tasks::new());
    let mut log = LogStore::open_with(Some(&directory.0), 10_000, &tasks).unwrap();
    for start in (0..1_000).step_by(100) {
        append(&mut log, commands(start..start + 100))
            .await
            .unwrap();
    }
    assert_eq!(all(&mut log).await, commands(0..1_000));
    let read = log.try_get_log_entries(3..=990).await.unwrap();
    assert_eq!(read, commands(3..991));
    // And what replaces them is what is read.
    log.truncate_after(Some(position(1, 499))).await.unwrap();
    let replaced = vec![command(2, 500, 10), command(2, 501, 10)];
    append(&mut log, replaced.clone()).await.unwrap();
    let read = log.try_get_log_entries(498..2_000).await.unwrap();
    assert_eq!(read, [commands(498..500), replaced].concat());
}

#[tokio::test]
async fn a_message_to_another_server_stays_small() {
    for on_disk in [false, true] {
        let (directory, tasks) = (Directory::new(), Tasks::new());
        let path = on_disk.then_some(directory.0.as_path());
        let mut log = LogStore::open_with(path, 1, &tasks).unwrap();
        let entries: Vec<_> = (0..10).map(|index| command(1, index, 400_000)).collect();
        append(&mut log, entries.clone()).await.unwrap();
        let read = log.limited_get_log_entries(0, 10).await.unwrap();
        assert_eq!(read, entries[..2], "a megabyte");
        log.truncate_after(None).await.unwrap();
        append(&mut log, vec![command(1, 0, 3_000_000)])
            .await
            .unwrap();
        let read = log.limited_get_log_entries(0, 10).await.unwrap();
        assert_eq!(read.len(), 1, "one that is longer goes alone");
    }
}

#[tokio::test]
async fn an_entry_that_does_not_follow_changes_nothing() {
    let tasks = Tasks::new();
    let mut log = LogStore::open(None, &tasks).unwrap();
    append(&mut log, commands(0..3)).await.unwrap();
    for entries in [
        commands(4..5),
        commands(2..3),
        vec![command(1, 3, 1), command(1, 5, 1)],
    ] {
        let error = append(&mut log, entries).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert_eq!(all(&mut log).await, commands(0..3));
    }
}

#[tokio::test]
async fn a_decided_position_reaches_the_disk_by_itself() {
    let (directory, tasks) = (Directory::new(), Tasks::new());
    let mut log = open(&directory, &tasks);
    append(&mut log, commands(0..3)).await.unwrap();
    log.save_committed(Some(position(1, 1))).await.unwrap();
    close(log).await;
    let mut log = open(&directory, &tasks);
    assert_eq!(log.read_committed().await.unwrap(), Some(position(1, 1)));
    // One beyond the log's end cannot be applied from the log.
    log.save_committed(Some(position(1, 9))).await.unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(position(1, 2)));
}

#[tokio::test]
async fn only_its_owner_can_read_it_and_only_one_has_it() {
    let (directory, tasks) = (Directory::new(), Tasks::new());
    let log = open(&directory, &tasks);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&directory.0), mode(&directory.file())),
        (0o700, 0o600)
    );
    let error = LogStore::open(Some(&directory.0), &tasks).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    let path = directory.file().display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
    close(log).await;
    open(&directory, &tasks);
}

#[tokio::test]
async fn a_stop_of_the_agent_ends_it_and_loses_nothing() {
    let (directory, tasks) = (Directory::new(), Tasks::new());
    let mut log = open(&directory, &tasks);
    let (caller, told) = Types::oneshot();
    log.append(commands(0..500), IOFlushed::signal(caller))
        .await
        .unwrap();
    assert!(tasks.stop(Duration::from_secs(10)).await);
    told.await.unwrap().unwrap();
    let error = append(&mut log, commands(500..501)).await.unwrap_err();
    assert!(error.to_string().contains("the agent stops"), "{error}");
    let tasks = Tasks::new();
    assert_eq!(all(&mut open(&directory, &tasks)).await, commands(0..500));
}

#[tokio::test]
async fn the_file_stays_bounded_while_old_entries_are_purged() {
    let (directory, tasks) = (Directory::new(), Tasks::new());
    let mut log = open(&directory, &tasks);
    let mut largest = 0;
    for round in 0..60 {
        append(&mut log, commands(round * 500..(round + 1) * 500))
            .await
            .unwrap();
        if let Some(kept_from) = (round * 500).checked_sub(1_000) {
            log.purge(position(1, kept_from)).await.unwrap();
        }
        if round == 10 {
            largest = directory.file().metadata().unwrap().len();
        }
    }
    close(log).await;
    let octets = directory.file().metadata().unwrap().len();
    assert!(octets <= 2 * largest, "{octets} octets, {largest} before");
}

#[tokio::test]
async fn what_is_decided_ends_with_the_log() {
    let (directory, tasks) = (Directory::new(), Tasks::new());
    for (beyond, known) in [
        (position(2, 900), Some(position(2, 1))),
        // Another leader's: whether it kept what is here, nobody knows.
        (position(1, 900), None),
        (position(9, 900), None),
        (position(9, 1), None),
    ] {
        let mut log = open(&directory, &tasks);
        log.truncate_after(None).await.unwrap();
        append(&mut log, vec![servers(0), servers(1)])
            .await
            .unwrap();
        let last = log.get_log_state().await.unwrap().last_log_id;
        assert_eq!(last, Some(position(2, 1)));
        log.save_committed(Some(beyond)).await.unwrap();
        close(log).await;
        let mut log = open(&directory, &tasks);
        assert_eq!(log.read_committed().await.unwrap(), known);
        close(log).await;
    }
}

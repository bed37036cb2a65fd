//! The log of format 1 as a file that every later build must read.
//!
//! It was made by `cargo test --lib golden_log_is_written -- --ignored`, and is not made anew: a
//! change of the format gets a file of its own beside it.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use openraft::EntryPayload;
use openraft::alias::{EntryOf, VoteOf};
use openraft::storage::{RaftLogReader, RaftLogStorage};

use super::{Directory, ServerId, Tasks, Types};
use super::{all, append, close, command, open, position, servers};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/raft-log/1.redb.gz")
}

fn entries() -> Vec<EntryOf<Types>> {
    let blank = EntryOf::<Types> {
        log_id: position(2, 11),
        payload: EntryPayload::Blank,
    };
    let mut entries: Vec<_> = (0..10).map(|index| command(1, index, 40)).collect();
    entries.extend([servers(10), blank, command(3, 12, 9_000)]);
    entries
}

fn vote() -> VoteOf<Types> {
    VoteOf::<Types>::new_committed(3, ServerId(7))
}

#[tokio::test]
#[ignore = "writes the file that later builds must read"]
async fn golden_log_is_written() {
    let directory = Directory::new();
    let mut log = open(&directory, &Tasks::new());
    log.save_vote(&vote()).await.unwrap();
    log.set_cluster(0x0123_4567_89ab_cdef).await.unwrap();
    log.set_owner(ServerId(7)).await.unwrap();
    log.set_snapshot_record(Bytes::from_static(b"golden"))
        .await
        .unwrap();
    append(&mut log, entries()).await.unwrap();
    log.save_committed(Some(position(2, 11))).await.unwrap();
    log.purge(position(1, 3)).await.unwrap();
    close(log).await;
    let mut octets = Vec::new();
    let file = File::open(directory.file()).unwrap();
    GzEncoder::new(file, Compression::best())
        .read_to_end(&mut octets)
        .unwrap();
    fs::create_dir_all(path().parent().unwrap()).unwrap();
    fs::write(path(), octets).unwrap();
}

#[tokio::test]
async fn a_log_of_format_1_reads_as_it_was_written() {
    let directory = Directory::new();
    fs::create_dir_all(&directory.0).unwrap();
    let mut octets = Vec::new();
    let file = File::open(path()).unwrap();
    GzDecoder::new(file).read_to_end(&mut octets).unwrap();
    fs::write(directory.file(), octets).unwrap();
    let mut log = open(&directory, &Tasks::new());
    assert_eq!(all(&mut log).await, entries()[4..]);
    assert_eq!(log.read_vote().await.unwrap(), Some(vote()));
    assert_eq!(log.cluster(), Some(0x0123_4567_89ab_cdef));
    assert_eq!(log.owner(), Some(ServerId(7)));
    assert_eq!(log.snapshot_record().unwrap(), "golden");
    assert_eq!(log.read_committed().await.unwrap(), Some(position(2, 11)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(position(1, 3)));
}

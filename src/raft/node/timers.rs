//! How long the library waits, and how much it takes at once.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use crate::raft::Compaction;

/// Heartbeats of a leader, in ms.
const HEARTBEAT: u64 = 100;
/// A follower begins an election once it has not heard from a leader for the lease and a random
/// part of the time between these two on top, 600 to 800 ms in all. So long a vote may also take:
/// those who give it write it down first. In ms.
const ELECTION_MIN: u64 = 200;
/// Also the lease: for so long after a heartbeat that a majority has answered the leader may serve
/// reads on its own, and nobody of that majority votes for another one. In ms.
const LEASE: u64 = 400;
/// At least so many entries leave the log at a time.
const PURGE_ENTRIES: u64 = 1_024;

/// The times of one server.
#[derive(Clone, Copy, Debug)]
pub(in crate::raft) struct Timers {
    /// Between two heartbeats.
    pub(in crate::raft) heartbeat: Duration,
    /// How long the leader may trust that it leads.
    pub(in crate::raft) lease: Duration,
    /// Nobody who hears from a leader waits longer than this for the next sign of life.
    pub(in crate::raft) silence: Duration,
}

/// `time` for `performance.raft_multiplier`: 1 to 5 are the same, 6 to 10 are longer.
fn scaled(time: u64, multiplier: u8) -> u64 {
    time * u64::from(multiplier.clamp(5, 10)) / 5
}

impl Timers {
    pub(in crate::raft) fn new(multiplier: u8) -> Self {
        let milliseconds = |time| Duration::from_millis(scaled(time, multiplier));
        Self {
            heartbeat: milliseconds(HEARTBEAT),
            lease: milliseconds(LEASE),
            silence: milliseconds(2 * LEASE),
        }
    }
}

/// The library's configuration.
pub(super) fn config(multiplier: u8, compaction: Compaction) -> Config {
    Config {
        cluster_name: "herald".to_owned(),
        heartbeat_interval: scaled(HEARTBEAT, multiplier),
        election_timeout_min: scaled(ELECTION_MIN, multiplier),
        election_timeout_max: scaled(LEASE, multiplier),
        enable_pre_vote: Some(true),
        // A leader that hears from no majority for so long is silent for as long, so that one that
        // can be heard but not hear does not keep the others from an election.
        quorum_loss_probe_interval: Some(2 * scaled(LEASE, multiplier)),
        // A snapshot of a million instances takes seconds to send and to read.
        install_snapshot_timeout: 300_000,
        max_payload_entries: 1_024,
        max_append_entries: Some(4_096),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(compaction.entries),
        max_in_snapshot_log_to_keep: compaction.kept,
        purge_batch_size: compaction.entries.min(PURGE_ENTRIES),
        replication_lag_threshold: 2 * compaction.entries,
        // A leader that comes back has not stored all that it had sent: were it to lead on without an
        // election, it would give positions a second time that others have filled.
        enable_leader_restore: Some(false),
        // A server whose log was taken away begins anew: see `recall`.
        allow_log_reversion: Some(true),
        // A server that comes back is heard soon.
        backoff: "50ms 100ms 200ms ...300ms".to_owned(),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_valid_and_grow_from_six_on() {
        for multiplier in 1..=10 {
            let config = config(multiplier, Compaction::default())
                .validate()
                .unwrap();
            let timers = Timers::new(multiplier);
            let factor = u32::from(multiplier.max(5));
            assert_eq!(timers.heartbeat * 5, Duration::from_millis(100) * factor);
            let elections = [config.election_timeout_min, config.election_timeout_max];
            for wait in elections.map(Duration::from_millis) {
                let wait = (timers.lease + wait) * 5 / factor;
                assert!((400..=800).contains(&wait.as_millis()), "{wait:?}");
            }
        }
    }
}

//! Random changes, with restarts between, against a plain map.

use std::collections::BTreeMap;

use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::storage::{RaftLogReader, RaftLogStorage};
use proptest::prelude::*;

use super::{Directory, LogStore, ServerId, Tasks, Types, all, append, close, command, position};

#[derive(Clone, Debug)]
enum Step {
    Append { count: u64, octets: usize },
    Truncate { kept: u64 },
    Purge { count: u64 },
    Vote(u64),
    Committed,
    Read { from: u64, count: u64 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40_u64, 0..300_usize)
            .prop_map(|(count, octets)| Step::Append { count, octets }),
        2 => (0..60_u64).prop_map(|kept| Step::Truncate { kept }),
        2 => (0..60_u64).prop_map(|count| Step::Purge { count }),
        1 => (1..9_u64).prop_map(Step::Vote),
        1 => Just(Step::Committed),
        3 => (0..100_u64, 0..50_u64).prop_map(|(from, count)| Step::Read { from, count }),
        2 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, EntryOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    vote: Option<VoteOf<Types>>,
    committed: Option<LogIdOf<Types>>,
    term: u64,
}

impl Model {
    fn first(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    fn next(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    fn last(&self) -> Option<LogIdOf<Types>> {
        let last = self.entries.values().next_back();
        last.map(|entry| entry.log_id).or(self.purged)
    }

    async fn step(&mut self, log: &mut LogStore, step: Step) {
        match step {
            Step::Append { count, octets } => {
                let range = self.next()..self.next() + count;
                let entries = range.map(|index| command(self.term, index, octets));
                let entries: Vec<_> = entries.collect();
                let added = entries
                    .iter()
                    .map(|entry| (entry.log_id.index, entry.clone()));
                self.entries.extend(added);
                append(log, entries).await.unwrap();
            }
            Step::Truncate { kept } => {
                self.term += 1;
                let kept = self.entries.values().take(usize::try_from(kept).unwrap());
                let kept = kept.last().map(|entry| entry.log_id).or(self.purged);
                let from = kept.map_or(0, |kept| kept.index + 1);
                self.entries.split_off(&from);
                log.truncate_after(kept).await.unwrap();
            }
            Step::Purge { count } => {
                // Beyond the end as well, as after a snapshot of another server.
                let upto = position(self.term, self.first() + count);
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(upto);
                log.purge(upto).await.unwrap();
            }
            Step::Vote(term) => {
                let vote = VoteOf::<Types>::new(term, ServerId(3));
                self.vote = Some(vote);
                log.save_vote(&vote).await.unwrap();
            }
            Step::Committed => {
                self.committed = self.last().or(self.committed);
                log.save_committed(self.last()).await.unwrap();
            }
            Step::Read { from, count } => {
                let range = self.first().saturating_sub(5) + from..;
                let range = range.start..range.start + count;
                let expected = self.entries.range(range.clone()).map(|(_, entry)| entry);
                let read = log.try_get_log_entries(range).await.unwrap();
                assert!(read.iter().eq(expected));
            }
            Step::Reopen => {}
        }
    }

    async fn check(&self, log: &mut LogStore) {
        assert!(all(log).await.iter().eq(self.entries.values()));
        let state = log.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, self.purged);
        assert_eq!(state.last_log_id, self.last());
        assert_eq!(log.read_vote().await.unwrap(), self.vote);
        // What is decided ends with the log; beyond it, only one leader's entries bear each other out.
        let committed = match (self.committed, self.last()) {
            (Some(told), Some(last)) if told.index <= last.index && told <= last => Some(told),
            (Some(told), Some(last)) if told.leader_id == last.leader_id => Some(last),
            (Some(_), Some(_)) => self.purged,
            _ => None,
        };
        assert_eq!(log.read_committed().await.unwrap(), committed);
    }
}

async fn run(steps: Vec<Step>, recent_max: usize) {
    let (directory, tasks) = (Directory::new(), Tasks::new());
    let reopen = || LogStore::open_with(Some(&directory.0), recent_max, &tasks).unwrap();
    let (mut log, mut model) = (reopen(), Model::default());
    for step in steps {
        if matches!(step, Step::Reopen) {
            close(log).await;
            log = reopen();
        }
        model.step(&mut log, step).await;
        model.check(&mut log).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_changes_and_restarts_leave_what_they_should(
        steps in proptest::collection::vec(step(), 1..30),
        recent_max in prop_oneof![Just(0), Just(5_000), Just(usize::MAX)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(run(steps, recent_max));
    }
}

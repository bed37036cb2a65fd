//! Whether this server may have forgotten what it once stored.
//!
//! Who starts without a log is new, or its log was taken away: the repair of a damaged one. In the
//! second case a majority may have counted on entries that are not here any more, so its vote could
//! make somebody lead who lacks them too. It therefore votes again, and stands for election, only
//! once it has everything that was decided when it first heard from a leader. Until then a file in
//! the log's directory says so, so that a restart does not make it forget that as well.
//!
//! A server that was cut off since the first entry of its cluster cannot be told from a founder: it
//! gets such a vote, if no leader was heard since the log was taken away.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use openraft::alias::{LogIdOf, VoteOf};
use openraft::raft::VoteRequest;

use crate::raft::types::Types;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Recall {
    state: Mutex<State>,
    /// Is there while something may be missing; `None` where the log is in memory.
    marker: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing is missing.
    Whole,
    /// Something may be; what was decided when a leader was first heard, if one was.
    Lacking(Option<LogIdOf<Types>>),
}

impl Recall {
    /// Of a server that starts with a log, or without (`fresh`): that lasts once this returns.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn open(directory: Option<&Path>, fresh: bool) -> io::Result<Self> {
        let marker = directory.map(|directory| directory.join("lacking"));
        let lacking = match &marker {
            None => fresh,
            Some(marker) if fresh => {
                File::create(marker)?.sync_all()?;
                sync_names(marker)?;
                true
            }
            Some(marker) => marker.try_exists()?,
        };
        let state = if lacking {
            State::Lacking(None)
        } else {
            State::Whole
        };
        Ok(Self {
            state: Mutex::new(state),
            marker,
        })
    }

    /// Whether nothing is missing.
    pub(super) fn is_whole(&self) -> bool {
        *self.state() == State::Whole
    }

    /// Whether the server may vote for this candidate: for the founder of a cluster, in which there
    /// is nothing to forget yet, if it has not heard of any.
    pub(super) fn may_vote(&self, request: &VoteRequest<Types>) -> bool {
        match *self.state() {
            State::Whole => true,
            State::Lacking(None) => request.last_log_id.is_none_or(|last| last.index == 0),
            State::Lacking(Some(_)) => false,
        }
    }

    /// From now on it is a part of a cluster from its beginning; lasts once this returns.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        if *state != State::Whole {
            *state = State::Whole;
            self.unmark();
        }
    }

    /// A leader has said what is decided, and this is what is known here to be so. Whether nothing
    /// is missing from now on, and was before.
    pub(super) fn hear(
        &self,
        vote: &VoteOf<Types>,
        decided: Option<LogIdOf<Types>>,
        here: Option<LogIdOf<Types>>,
    ) -> bool {
        let mut state = self.state();
        let State::Lacking(wanted) = &mut *state else {
            return false;
        };
        // Who has just begun to lead does not know yet how much is decided.
        let knows = decided.filter(|decided| decided.leader_id == vote.leader_id);
        *wanted = wanted.or(knows);
        let whole = wanted.is_some() && here >= *wanted;
        if whole {
            *state = State::Whole;
            self.unmark();
        }
        whole
    }

    /// If this fails, the server abstains for longer than it need after the next start.
    fn unmark(&self) {
        let Some(marker) = &self.marker else { return };
        if let Err(error) = fs::remove_file(marker).and_then(|()| sync_names(marker)) {
            tracing::warn!("{} stays for now: {error}", marker.display());
        }
    }

    /// A panic elsewhere leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the names in the file's directory last.
fn sync_names(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use openraft::testing::log_id;

    use super::*;
    use crate::raft::tests::Directory;
    use crate::raft::types::ServerId;

    const LEADER: ServerId = ServerId(1);

    fn at(term: u64, index: u64) -> LogIdOf<Types> {
        log_id::<Types>(term, LEADER, index)
    }

    fn votes_for(recall: &Recall, last: LogIdOf<Types>) -> bool {
        let vote = VoteOf::<Types>::new(3, LEADER);
        recall.may_vote(&VoteRequest::new(vote, Some(last)))
    }

    /// The leader of the second term says what is decided, and this is known here to be so.
    fn hears(recall: &Recall, decided: LogIdOf<Types>, here: LogIdOf<Types>) -> bool {
        let leads = VoteOf::<Types>::new_committed(2, LEADER);
        recall.hear(&leads, Some(decided), Some(here))
    }

    /// Restarts a server, with a log by now.
    fn again(directory: &Directory) -> Recall {
        Recall::open(Some(&directory.0), false).unwrap()
    }

    #[test]
    fn a_new_server_votes_for_a_founder_only_until_it_has_what_was_decided() {
        let directory = Directory::new();
        let recall = Recall::open(Some(&directory.0), true).unwrap();
        assert!(votes_for(&recall, at(0, 0)));
        assert!(!votes_for(&recall, at(2, 5)));
        // Who has just begun to lead does not know what is decided.
        assert!(!hears(&recall, at(1, 5), at(1, 5)));
        assert!(!hears(&recall, at(2, 7), at(1, 5)));
        assert!(!votes_for(&recall, at(0, 0)), "there is a cluster");
        // More is decided meanwhile, which is nothing that it could have forgotten.
        assert!(hears(&recall, at(2, 9), at(2, 7)));
        assert!(recall.is_whole() && votes_for(&recall, at(2, 5)));
        assert!(again(&directory).is_whole());
    }

    #[test]
    fn a_restart_does_not_make_a_server_forget_that_it_lacks_something() {
        let directory = Directory::new();
        let recall = Recall::open(Some(&directory.0), true).unwrap();
        assert!(!hears(&recall, at(2, 7), at(2, 5)));
        for _ in 0..2 {
            let recall = again(&directory);
            assert!(!recall.is_whole());
            assert!(!votes_for(&recall, at(2, 5)));
        }
        let recall = again(&directory);
        assert!(hears(&recall, at(2, 7), at(2, 7)));
        assert!(again(&directory).is_whole());
    }

    #[test]
    fn who_is_a_part_of_a_cluster_from_its_beginning_lacks_nothing() {
        let directory = Directory::new();
        let recall = Recall::open(Some(&directory.0), true).unwrap();
        recall.begin();
        assert!(recall.is_whole() && again(&directory).is_whole());
    }
}

//! Whether this server may have forgotten what it once stored.
//!
//! Who starts without a log is new, or its log was taken away: the repair of a damaged one. In the
//! second case a majority may have counted on entries that are not here any more, so its vote could
//! make somebody lead who lacks them too. It therefore votes again only once it has everything that
//! was decided when it first heard from a leader.

use std::sync::{Mutex, MutexGuard, PoisonError};

use openraft::alias::{LogIdOf, VoteOf};
use openraft::raft::VoteRequest;

use crate::raft::types::Types;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Recall(Mutex<State>);

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing is missing.
    Whole,
    /// Something may be; what was decided when a leader was first heard, if one was.
    Lacking(Option<LogIdOf<Types>>),
}

impl Recall {
    /// Of a server that has started with a log, or without.
    pub(super) fn new(has_log: bool) -> Self {
        Self(Mutex::new(if has_log {
            State::Whole
        } else {
            State::Lacking(None)
        }))
    }

    /// Whether the server may vote for this candidate: for the founder of a cluster, in which there
    /// is nothing to forget yet, always.
    pub(super) fn may_vote(&self, request: &VoteRequest<Types>) -> bool {
        *self.state() == State::Whole || request.last_log_id.is_none_or(|last| last.index == 0)
    }

    /// From now on it is a part of a cluster from its beginning.
    pub(super) fn begin(&self) {
        *self.state() = State::Whole;
    }

    /// A leader has said what is decided, and this is what is known here to be so.
    pub(super) fn hear(
        &self,
        vote: &VoteOf<Types>,
        decided: Option<LogIdOf<Types>>,
        here: Option<LogIdOf<Types>>,
    ) {
        let mut state = self.state();
        let State::Lacking(wanted) = &mut *state else {
            return;
        };
        // Who has just begun to lead does not know yet how much is decided.
        let knows = decided.filter(|decided| decided.leader_id == vote.leader_id);
        *wanted = wanted.or(knows);
        if wanted.is_some() && here >= *wanted {
            *state = State::Whole;
        }
    }

    /// A panic elsewhere leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

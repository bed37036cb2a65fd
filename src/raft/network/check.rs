//! Whether a message makes sense before anybody acts on it: it belongs on its connection, speaks
//! for its sender only, and holds nothing that the log or the consensus library could not live with.
//!
//! The library takes what a server of the cluster says for true, and panics, or keeps it for good,
//! where no server could have said it. So what no server can say ends here.
//!
//! **Invariant**: what gets through makes no term and no index overflow, here or anywhere later.
//! **Invariant**: no command gets through of which no release could make anything.

use std::io;

use openraft::alias::{LogIdOf, SnapshotMetaOf, VoteOf};
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use openraft::{EntryPayload, Membership};

use super::message::{Purpose, Request, invalid};
use super::send::PART_OCTETS;
use super::split;
use crate::catalog::stored::{self, StoredError};
use crate::raft::peer::{Answers, Newest};
use crate::raft::types::{Peer, Proposal, SERVERS_MAX, ServerId, Types};

/// Terms that another server may be ahead. A term is an election, so nobody gets there.
pub(super) const TERMS_AHEAD_MAX: u64 = 1 << 32;
/// Terms that a candidate may be ahead: whoever believes one goes there with it. Much less than the
/// others, so that it takes many of these until somebody who was away cannot follow any more.
const CANDIDATE_TERMS_AHEAD_MAX: u64 = 1 << 16;
/// Positions that another server may be ahead: a server that is new is behind by the whole log, which
/// is not longer in centuries.
const INDEXES_AHEAD_MAX: u64 = 1 << 48;
/// Neither gets there however often it is moved on.
const NUMBER_MAX: u64 = 1 << 62;

/// Whether a server with that id, on a connection for that purpose, may ask that.
///
/// # Errors
/// `InvalidData`: it may not, or no server would.
pub(super) fn check(
    purpose: Purpose,
    from: ServerId,
    answers: &dyn Answers,
    request: &Request,
) -> io::Result<()> {
    let sender = || Sender {
        id: from,
        newest: answers.newest(),
    };
    match (purpose, request) {
        (Purpose::Log | Purpose::Signs, Request::Append(request)) => sender().append(request),
        (Purpose::Signs, Request::Vote { request, .. }) => sender().vote(request),
        (Purpose::Signs, Request::Transfer(request)) => sender().transfer(request),
        (Purpose::Snapshot, Request::SnapshotPart(octets)) if octets.0.len() > PART_OCTETS => {
            Err(invalid("a part of a snapshot that is too long"))
        }
        (Purpose::Snapshot, Request::SnapshotEnd { vote, meta, .. }) => {
            sender().snapshot(vote, meta)
        }
        (Purpose::Snapshot, Request::SnapshotBegin | Request::SnapshotPart(_))
        | (Purpose::Asks, Request::Propose(_) | Request::ReadIndex(_)) => Ok(()),
        _ => {
            let (kind, purpose) = (request.as_str(), purpose.as_str());
            Err(invalid(&format!("a {kind} on a connection for {purpose}")))
        }
    }
}

/// Whether this server can make something of all these commands; else why not, where a later
/// release could. It will have to apply them: what it cannot read would stop it.
///
/// # Errors
/// `InvalidData`: nobody could.
pub(super) fn check_commands(commands: &[Proposal]) -> io::Result<Result<(), String>> {
    for Proposal(command) in commands {
        match stored::decode(command) {
            Ok(_) => {}
            Err(newer @ StoredError::Newer { .. }) => return Ok(Err(newer.to_string())),
            Err(error) => return Err(invalid(&format!("a command that is none: {error}"))),
        }
    }
    Ok(Ok(()))
}

/// Who says it, to whom.
struct Sender {
    id: ServerId,
    newest: Newest,
}

impl Sender {
    fn append(&self, request: &AppendEntriesRequest<Types>) -> io::Result<()> {
        self.leads(&request.vote)?;
        if !split::is_in_order(request) {
            return Err(invalid("entries that do not follow each other"));
        }
        let previous = request.prev_log_id.iter();
        let ids = previous.chain(request.entries.iter().map(|entry| &entry.log_id));
        self.log(&request.vote, ids, request.leader_commit.as_ref())?;
        request
            .entries
            .iter()
            .try_for_each(|entry| match &entry.payload {
                EntryPayload::Blank => Ok(()),
                // One that only a later release understands must get through: it stops this server,
                // which says so, and is read once the release is here.
                EntryPayload::Normal(Proposal(command)) => stored::verify(command)
                    .map_err(|error| invalid(&format!("an entry that is no command: {error}"))),
                EntryPayload::Membership(servers) => check_servers(servers),
            })
    }

    /// Leaders do not go back, so neither does a log, and nothing in it is later than who sends it.
    fn log<'a>(
        &self,
        vote: &VoteOf<Types>,
        ids: impl Iterator<Item = &'a LogIdOf<Types>>,
        commit: Option<&LogIdOf<Types>>,
    ) -> io::Result<()> {
        let mut last: Option<&LogIdOf<Types>> = None;
        for id in ids {
            if last.is_some_and(|last| id.leader_id < last.leader_id) {
                return Err(invalid(
                    "an entry of an earlier leader than the one before it",
                ));
            }
            last = Some(id);
        }
        if let (Some(last), Some(commit)) = (last, commit) {
            let ordered = if commit.index > last.index {
                commit.leader_id >= last.leader_id
            } else {
                commit.leader_id <= last.leader_id
            };
            if !ordered {
                return Err(invalid("what is decided is in no log with these entries"));
            }
        }
        for id in last.into_iter().chain(commit) {
            if id.leader_id > vote.leader_id {
                return Err(invalid(
                    "an entry of a later leader than the one that sends it",
                ));
            }
            self.position(id)?;
        }
        Ok(())
    }

    fn vote(&self, request: &VoteRequest<Types>) -> io::Result<()> {
        self.speaks_for_itself(&request.vote)?;
        if request.vote.committed {
            return Err(invalid("a candidate that says it leads"));
        }
        let term = request.vote.leader_id.term;
        within("term", term, self.newest.term, CANDIDATE_TERMS_AHEAD_MAX)?;
        request
            .last_log_id
            .iter()
            .try_for_each(|id| self.position(id))
    }

    fn transfer(&self, request: &TransferLeaderRequest<Types>) -> io::Result<()> {
        self.leads(request.from_leader())?;
        request.last_log_id().map_or(Ok(()), |id| self.position(id))
    }

    fn snapshot(&self, vote: &VoteOf<Types>, meta: &SnapshotMetaOf<Types>) -> io::Result<()> {
        self.leads(vote)?;
        self.log(
            vote,
            meta.last_log_id.iter(),
            meta.last_membership.log_id().as_ref(),
        )?;
        check_servers(meta.last_membership.membership())
    }

    fn leads(&self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.speaks_for_itself(vote)?;
        let leads = vote.committed.then_some(());
        leads.ok_or_else(|| invalid("a candidate that acts as if it led"))
    }

    fn speaks_for_itself(&self, vote: &VoteOf<Types>) -> io::Result<()> {
        let (id, leader) = (self.id, vote.leader_id.node_id);
        if leader != id {
            return Err(invalid(&format!("server {id} speaks for server {leader}")));
        }
        self.term(vote.leader_id.term)
    }

    fn position(&self, id: &LogIdOf<Types>) -> io::Result<()> {
        self.term(id.leader_id.term)?;
        within("index", id.index, self.newest.index, INDEXES_AHEAD_MAX)
    }

    /// A server that has nothing yet follows a cluster of any age.
    fn term(&self, term: u64) -> io::Result<()> {
        let ahead = match self.newest {
            Newest { term: 0, index: 0 } => NUMBER_MAX,
            Newest { .. } => TERMS_AHEAD_MAX,
        };
        within("term", term, self.newest.term, ahead)
    }
}

/// Whether a number that a server tells can have been counted up to.
pub(super) fn within(what: &str, number: u64, newest: u64, ahead: u64) -> io::Result<()> {
    if number > newest.saturating_add(ahead).min(NUMBER_MAX) {
        let text = format!("{what} {number}, which nobody gets to from {newest}");
        return Err(invalid(&text));
    }
    Ok(())
}

fn check_servers(servers: &Membership<ServerId, Peer>) -> io::Result<()> {
    if servers.nodes().count() > SERVERS_MAX {
        return Err(invalid("more servers than a cluster may have"));
    }
    let sets = servers.get_joint_config();
    let known = |id| servers.get_node(id).is_some();
    if sets.is_empty()
        || sets
            .iter()
            .any(|set| set.is_empty() || !set.iter().all(known))
    {
        return Err(invalid(
            "servers of which nobody votes, or that are not known",
        ));
    }
    Ok(())
}

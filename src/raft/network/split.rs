//! Requests of a moderate length: the library bounds the number of entries, not their octets.

use openraft::EntryPayload;
use openraft::alias::{EntryOf, LogIdOf};
use openraft::raft::AppendEntriesRequest;

use super::bounded::ENTRIES_MAX;
use crate::raft::types::Types;

/// Octets of the entries of one request, unless one alone has more.
const ENTRIES_OCTETS: usize = 1 << 20;
/// What an entry takes beside its command, about.
const AROUND: usize = 64;
/// What a server takes in an entry that says who the servers are, about.
const OF_SERVER: usize = 128;

/// The same entries in requests that follow each other; at least one.
pub(super) fn split(request: AppendEntriesRequest<Types>) -> Vec<AppendEntriesRequest<Types>> {
    let few = request.entries.len() <= ENTRIES_MAX;
    if few && request.entries.iter().map(octets).sum::<usize>() <= ENTRIES_OCTETS {
        return vec![request];
    }
    let part = |previous: Option<LogIdOf<Types>>| AppendEntriesRequest::<Types> {
        vote: request.vote,
        prev_log_id: previous,
        entries: Vec::new(),
        leader_commit: request.leader_commit,
    };
    let mut parts = Vec::new();
    let (mut filling, mut filled) = (part(request.prev_log_id), 0);
    for entry in request.entries {
        let octets = octets(&entry);
        if let Some(last) = filling.entries.last()
            && (filled + octets > ENTRIES_OCTETS || filling.entries.len() == ENTRIES_MAX)
        {
            let next = part(Some(last.log_id));
            parts.push(std::mem::replace(&mut filling, next));
            filled = 0;
        }
        filled += octets;
        filling.entries.push(entry);
    }
    parts.push(filling);
    parts
}

/// What an entry takes, about.
pub(super) fn octets(entry: &EntryOf<Types>) -> usize {
    AROUND
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(command) => command.0.len(),
            EntryPayload::Membership(servers) => servers.nodes().count() * OF_SERVER,
        }
}

/// Whether each entry comes right behind the one before.
pub(super) fn is_in_order(request: &AppendEntriesRequest<Types>) -> bool {
    let mut previous = request.prev_log_id.map(|id| id.index);
    request.entries.iter().all(|entry| {
        let index = entry.log_id.index;
        let follows = previous.map_or(index == 0, |it| it.checked_add(1) == Some(index));
        previous = Some(index);
        follows
    })
}

//! `Status`: who leads, who there is. Answered by every server from what it knows itself, whatever
//! datacenter the request names, also without a leader.

use super::{Methods, encode, refused};
use crate::directory::wire::{RaftStats, Text};
use crate::rpc::Answered;

/// Term of a log that one server orders by itself, and has since its start.
const TERM: u64 = 1;

/// `Status.Leader`: its address, or empty.
pub(super) fn leader(methods: &Methods) -> Answered {
    let leader = methods.directory.leader().map_err(refused)?;
    let address = leader.map(|address| address.to_string());
    Ok(encode(&Text::from(address.unwrap_or_default())))
}

/// `Status.Peers`: addresses of the servers.
pub(super) fn peers(methods: &Methods) -> Answered {
    let peers = methods.directory.peers().map_err(refused)?;
    let peers = peers.iter().map(|address| Text::from(address.to_string()));
    Ok(encode(&peers.collect::<Vec<_>>()))
}

/// `Status.RaftStats`: how far this server's log is. It leads, so that its last contact with the
/// leader is always now.
#[expect(
    clippy::unnecessary_wraps,
    reason = "all methods answer in the same form"
)]
pub(super) fn raft_stats(methods: &Methods) -> Answered {
    Ok(encode(&RaftStats {
        last_contact: Text::from("0"),
        last_index: methods.directory.reader().applied().0,
        last_term: TERM,
    }))
}

#[cfg(test)]
mod tests;

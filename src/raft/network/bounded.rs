//! Messages of which a few octets could ask for much memory, read with bounds: a command or an entry
//! takes one octet on the wire, and many times that here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::raft::AppendEntriesRequest;
use openraft::{EntryPayload, Membership};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::raft::types::{Peer, Proposal, SERVERS_MAX, ServerId, Types};

/// Commands in one message.
pub(super) const COMMANDS_MAX: usize = 512;
/// Entries in one message.
pub(super) const ENTRIES_MAX: usize = 4_096;
/// Sets of voters that an entry may have: two while the servers change.
const SETS_MAX: usize = 16;

/// Reads the commands of a follower.
///
/// # Errors
/// There are too many.
pub(super) fn commands<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Proposal>, D::Error> {
    Few::<_, COMMANDS_MAX>::deserialize(from).map(|few| few.0)
}

/// Reads the entries of a leader, from the octets that the library's own type gives.
///
/// # Errors
/// There are too many, or an entry names voters of whom it does not say where they are.
pub(super) fn append<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<AppendEntriesRequest<Types>, D::Error> {
    let append = Append::deserialize(from)?;
    let entries = append.entries.0.into_iter().map(Entry::check);
    Ok(AppendEntriesRequest {
        vote: append.vote,
        prev_log_id: append.prev_log_id,
        entries: entries.collect::<Result<_, _>>().map_err(Error::custom)?,
        leader_commit: append.leader_commit,
    })
}

/// The fields of [`AppendEntriesRequest`].
#[derive(Deserialize)]
struct Append {
    vote: VoteOf<Types>,
    prev_log_id: Option<LogIdOf<Types>>,
    entries: Few<Entry, ENTRIES_MAX>,
    leader_commit: Option<LogIdOf<Types>>,
}

#[derive(Deserialize)]
struct Entry {
    log_id: LogIdOf<Types>,
    payload: Payload,
}

/// The variants of [`EntryPayload`], in their order.
#[derive(Deserialize)]
enum Payload {
    Blank,
    Normal(Proposal),
    Membership(Servers),
}

#[derive(Deserialize)]
struct Servers {
    sets: Few<Few<ServerId, SERVERS_MAX>, SETS_MAX>,
    /// On the wire a map is a sequence of pairs.
    peers: Few<(ServerId, Peer), SERVERS_MAX>,
}

impl Entry {
    fn check(self) -> Result<EntryOf<Types>, String> {
        let payload = match self.payload {
            Payload::Blank => EntryPayload::Blank,
            Payload::Normal(command) => EntryPayload::Normal(command),
            Payload::Membership(Servers { sets, peers }) => {
                let sets = sets.0.into_iter().map(|set| set.0.into_iter().collect());
                let sets: Vec<BTreeSet<ServerId>> = sets.collect();
                let peers: BTreeMap<ServerId, Peer> = peers.0.into_iter().collect();
                let servers = Membership::new(sets, peers).map_err(|error| error.to_string())?;
                EntryPayload::Membership(servers)
            }
        };
        let log_id = self.log_id;
        Ok(EntryOf::<Types> { log_id, payload })
    }
}

/// At most so many of a kind; memory is taken for those that have come.
struct Few<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(FewVisitor::<T, MAX>(PhantomData))
    }
}

struct FewVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for FewVisitor<T, MAX> {
    type Value = Few<T, MAX>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {MAX} of a kind")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut few = Vec::new();
        while let Some(one) = from.next_element()? {
            if few.len() == MAX {
                return Err(A::Error::invalid_length(few.len() + 1, &self));
            }
            few.push(one);
        }
        Ok(Few(few))
    }
}

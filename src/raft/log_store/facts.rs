//! What the log keeps beside its entries: each fact is there once, under its name.

use bytes::Bytes;
use openraft::alias::{LogIdOf, VoteOf};

use crate::raft::types::{ServerId, Types};

use super::record::{
    RecordError, decode_id, decode_position, decode_vote, encode_position, encode_vote,
};

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whom this server follows, or would.
    pub(super) vote: Option<VoteOf<Types>>,
    /// How far the log was known to be decided.
    pub(super) committed: Option<LogIdOf<Types>>,
    /// The last entry that was removed from the start of the log.
    pub(super) purged: Option<LogIdOf<Types>>,
    /// The cluster that this server is in.
    pub(super) cluster: Option<u128>,
    /// The server whose log this is.
    pub(super) owner: Option<ServerId>,
    /// What the keeper of snapshots wants to be told after a restart.
    pub(super) snapshot: Option<Bytes>,
}

/// One of them, as it is from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// [`Facts::vote`].
    Vote(VoteOf<Types>),
    /// [`Facts::committed`].
    Committed(LogIdOf<Types>),
    /// [`Facts::purged`].
    Purged(LogIdOf<Types>),
    /// [`Facts::cluster`].
    Cluster(u128),
    /// [`Facts::owner`].
    Owner(ServerId),
    /// [`Facts::snapshot`].
    Snapshot(Bytes),
}

impl Fact {
    /// The name under which it is kept.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Vote(_) => "vote",
            Self::Committed(_) => "committed",
            Self::Purged(_) => "purged",
            Self::Cluster(_) => "cluster",
            Self::Owner(_) => "owner",
            Self::Snapshot(_) => "snapshot",
        }
    }

    /// Its octets.
    pub(super) fn body(&self) -> Vec<u8> {
        match self {
            Self::Vote(vote) => encode_vote(vote),
            Self::Committed(position) | Self::Purged(position) => encode_position(position),
            Self::Cluster(id) | Self::Owner(ServerId(id)) => id.to_be_bytes().to_vec(),
            Self::Snapshot(octets) => octets.to_vec(),
        }
    }
}

impl Facts {
    /// Takes what is kept under `name`.
    ///
    /// # Errors
    /// [`RecordError`]: it is not what was written, or is of a name that there is not.
    pub(super) fn read(&mut self, name: &str, body: &[u8]) -> Result<(), RecordError> {
        self.set(match name {
            "vote" => Fact::Vote(decode_vote(body)?),
            "committed" => Fact::Committed(decode_position(body)?),
            "purged" => Fact::Purged(decode_position(body)?),
            "cluster" => Fact::Cluster(decode_id(body)?),
            "owner" => Fact::Owner(ServerId(decode_id(body)?)),
            "snapshot" => Fact::Snapshot(Bytes::copy_from_slice(body)),
            other => {
                return Err(RecordError::Field {
                    field: "the name of a fact",
                    value: other.to_owned(),
                });
            }
        });
        Ok(())
    }

    /// Takes `fact` in place of what was there.
    pub(super) fn set(&mut self, fact: Fact) {
        match fact {
            Fact::Vote(vote) => self.vote = Some(vote),
            Fact::Committed(position) => self.committed = Some(position),
            Fact::Purged(position) => self.purged = Some(position),
            Fact::Cluster(id) => self.cluster = Some(id),
            Fact::Owner(id) => self.owner = Some(id),
            Fact::Snapshot(octets) => self.snapshot = Some(octets),
        }
    }
}

//! What the consensus library is told of herald: who a server is, and what an entry of the log
//! carries.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::catalog::Outcome;
use crate::types::NodeId;

openraft::declare_raft_types!(
    /// The types of this program's log.
    pub(crate) Types:
        D = Proposal,
        R = Reply,
        NodeId = ServerId,
        Node = Peer,
);

/// Who a server is in the log: the id of its node.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId(pub u128);

impl From<NodeId> for ServerId {
    fn from(id: NodeId) -> Self {
        Self(id.as_u128())
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        NodeId::from_u128(self.0).fmt(formatter)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What the log knows of a server beside its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Name of its node.
    pub name: String,
    /// Where it took connections (port 8300) when it was last written down. Gossip may know better.
    pub address: SocketAddr,
}

/// A command in its stored form (`catalog::stored`): encoded once, then the same octets on the wire
/// and on the disk of every server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl fmt::Display for Proposal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a command of {} octets", self.0.len())
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octets;
        impl serde::de::Visitor<'_> for Octets {
            type Value = Proposal;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a command in its stored form")
            }
            fn visit_bytes<E>(self, octets: &[u8]) -> Result<Proposal, E> {
                Ok(Proposal(Bytes::copy_from_slice(octets)))
            }
        }
        deserializer.deserialize_bytes(Octets)
    }
}

/// Servers of one cluster, voters or not: each entry that says who they are has all of them, and is
/// refused where it has more.
pub(super) const SERVERS_MAX: usize = 64;

/// What became of an entry; none for those that are no command. Never leaves this server in this
/// form: the library wants it to be serialisable, so it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply(pub(crate) Option<Outcome>);

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("an outcome stays on its server"))
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("an outcome stays on its server"))
    }
}

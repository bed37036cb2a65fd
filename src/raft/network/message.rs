//! What servers say to each other, and its octets (postcard).
//!
//! The first message each way begins with the version of all others, so that it can be read by
//! servers of every version.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use openraft::alias::{SnapshotMetaOf, VoteOf};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{bounded, frame, split};
use crate::catalog::{Outcome, Refusal};
use crate::raft::types::{Proposal, ServerId, Types};
use crate::raft::{FreshError, ProposeError};
use crate::types::{Consistency, Index};

/// Version of these messages. A server takes in no other one.
pub(super) const VERSION: u16 = 1;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Entries of the log, in their order.
    Log,
    /// Signs of life, votes, and the transfer of the lead: short messages that wait for nothing.
    Signs,
    /// One snapshot after the other.
    Snapshot,
    /// Commands and reads that a follower brings to the leader.
    Asks,
    /// Only whether the server is in a cluster.
    Inquiry,
}

impl Purpose {
    /// The value of its label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Signs => "signs",
            Self::Snapshot => "snapshot",
            Self::Asks => "asks",
            Self::Inquiry => "inquiry",
        }
    }
}

/// First message of who connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Cluster of who connects; `None` before it has one.
    pub(super) cluster: Option<u128>,
    /// Who connects.
    pub(super) from: ServerId,
    /// Who it takes the other side for; `None` if it knows an address only.
    pub(super) to: Option<ServerId>,
    /// What for.
    pub(super) purpose: Purpose,
}

/// First message of who is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Welcome {
    /// Requests may come.
    Accepted {
        /// Who it is.
        id: ServerId,
        /// Its cluster, for those who have told theirs.
        cluster: Option<u128>,
        /// Whether it has a log.
        initialized: bool,
    },
    /// Nothing is answered, for this reason.
    Refused(String),
}

/// A request and its answer have the same number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) body: T,
}

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Whether anybody is there: answered at once, whatever else is under way.
    Ping,
    /// Entries, or a sign of life.
    Append(#[serde(deserialize_with = "bounded::append")] AppendEntriesRequest<Types>),
    /// A vote; with `before`, whether it would be given.
    Vote {
        request: VoteRequest<Types>,
        before: bool,
    },
    /// The lead is given away.
    Transfer(TransferLeaderRequest<Types>),
    /// A snapshot begins.
    SnapshotBegin,
    /// The next octets of it.
    SnapshotPart(Octets),
    /// It is whole.
    SnapshotEnd {
        vote: VoteOf<Types>,
        meta: SnapshotMetaOf<Types>,
        octets: u64,
        checksum: u32,
    },
    /// Commands of a follower.
    Propose(#[serde(deserialize_with = "bounded::commands")] Vec<Proposal>),
    /// The position that a read must have seen.
    ReadIndex(Freshness),
}

impl Request {
    /// The value of its label.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Append(request) if request.entries.is_empty() => "heartbeat",
            Self::Append(_) => "append",
            Self::Vote { before: true, .. } => "pre_vote",
            Self::Vote { .. } => "vote",
            Self::Transfer(_) => "transfer",
            Self::SnapshotBegin | Self::SnapshotPart(_) | Self::SnapshotEnd { .. } => "snapshot",
            Self::Propose(_) => "propose",
            Self::ReadIndex(_) => "read_index",
        }
    }
}

impl Request {
    /// Octets that it takes, about.
    pub(super) fn octets(&self) -> usize {
        let around = 128;
        around
            + match self {
                Self::Append(request) => request.entries.iter().map(split::octets).sum(),
                Self::Propose(commands) => commands.iter().map(|it| it.0.len() + 8).sum(),
                Self::SnapshotPart(octets) => octets.0.len(),
                _ => 0,
            }
    }

    /// The term that the sender is in.
    pub(super) fn term(&self) -> Option<u64> {
        match self {
            Self::Append(request) => Some(request.vote.leader_id.term),
            Self::Vote { request, .. } => Some(request.vote.leader_id.term),
            Self::Transfer(request) => Some(request.from_leader().leader_id.term),
            Self::SnapshotEnd { vote, .. } => Some(vote.leader_id.term),
            Self::Ping
            | Self::SnapshotBegin
            | Self::SnapshotPart(_)
            | Self::Propose(_)
            | Self::ReadIndex(_) => None,
        }
    }
}

impl Response {
    /// The term that the other side is in, where the answer tells it.
    pub(super) fn term(&self) -> Option<u64> {
        let vote = match self {
            Self::Append(AppendEntriesResponse::HigherVote(vote)) => vote,
            Self::Vote(response) => &response.vote,
            Self::SnapshotEnd(response) => &response.vote,
            _ => return None,
        };
        Some(vote.leader_id.term)
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Response {
    Pong,
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    Transfer(TransferLeaderResponse<Types>),
    /// The octets so far are kept.
    SnapshotPart,
    SnapshotEnd(SnapshotResponse<Types>),
    Propose(Vec<Result<Told, Unproposed>>),
    ReadIndex(Result<u64, Stale>),
    /// The server cannot do it: it has stopped, or its storage failed.
    Failed(String),
}

/// Octets as one string of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Octets(pub(super) Bytes);

impl Serialize for Octets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Proposal::deserialize(deserializer).map(|proposal| Self(proposal.0))
    }
}

/// [`Consistency`] of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Freshness {
    Lease,
    Majority,
    Any,
}

impl From<Consistency> for Freshness {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Default => Self::Lease,
            Consistency::Consistent => Self::Majority,
            Consistency::Stale => Self::Any,
        }
    }
}

impl From<Freshness> for Consistency {
    fn from(freshness: Freshness) -> Self {
        match freshness {
            Freshness::Lease => Self::Default,
            Freshness::Majority => Self::Consistent,
            Freshness::Any => Self::Stale,
        }
    }
}

/// [`Outcome`] of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Told {
    Applied(u64),
    MissingService { node: String },
    NodeNameTaken { name: String, owner: String },
}

impl From<Outcome> for Told {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied { index } => Self::Applied(index.0),
            Outcome::Refused(Refusal::MissingService { node }) => Self::MissingService { node },
            Outcome::Refused(Refusal::NodeNameTaken { name, owner }) => {
                Self::NodeNameTaken { name, owner }
            }
        }
    }
}

impl From<Told> for Outcome {
    fn from(told: Told) -> Self {
        match told {
            Told::Applied(index) => Self::Applied {
                index: Index(index),
            },
            Told::MissingService { node } => Self::Refused(Refusal::MissingService { node }),
            Told::NodeNameTaken { name, owner } => {
                Self::Refused(Refusal::NodeNameTaken { name, owner })
            }
        }
    }
}

/// [`ProposeError`] of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unproposed {
    Busy { limit: u64 },
    Deadline { limit: Duration },
    NoLeader,
    TooLarge { octets: u64, limit: u64 },
}

impl From<ProposeError> for Unproposed {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Busy { limit } => Self::Busy {
                limit: u64::try_from(limit).unwrap_or(u64::MAX),
            },
            ProposeError::Deadline { limit } => Self::Deadline { limit },
            // Whoever asks waits for another leader.
            ProposeError::NoLeader | ProposeError::NoRoom => Self::NoLeader,
            ProposeError::TooLarge { octets, limit } => Self::TooLarge {
                octets: u64::try_from(octets).unwrap_or(u64::MAX),
                limit: u64::try_from(limit).unwrap_or(u64::MAX),
            },
        }
    }
}

impl From<Unproposed> for ProposeError {
    fn from(error: Unproposed) -> Self {
        match error {
            Unproposed::Busy { limit } => Self::Busy {
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            },
            Unproposed::Deadline { limit } => Self::Deadline { limit },
            Unproposed::NoLeader => Self::NoLeader,
            Unproposed::TooLarge { octets, limit } => Self::TooLarge {
                octets: usize::try_from(octets).unwrap_or(usize::MAX),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            },
        }
    }
}

/// [`FreshError`] of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stale {
    NoLeader,
    NotReady,
}

impl From<FreshError> for Stale {
    fn from(error: FreshError) -> Self {
        match error {
            FreshError::NoLeader => Self::NoLeader,
            FreshError::NotReady => Self::NotReady,
        }
    }
}

impl From<Stale> for FreshError {
    fn from(stale: Stale) -> Self {
        match stale {
            Stale::NoLeader => Self::NoLeader,
            Stale::NotReady => Self::NotReady,
        }
    }
}

/// Writes a message as a frame behind what is in `out`.
///
/// # Errors
/// It is too long.
pub(super) fn put<T: Serialize>(out: &mut Vec<u8>, message: &T) -> io::Result<()> {
    frame::put(out, |out| {
        postcard::to_extend(message, out).map_err(io::Error::other)
    })
}

/// Reads a message.
///
/// # Errors
/// It is none, or something follows it.
pub(super) fn read<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(frame) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(invalid(&format!("{} octets follow a message", rest.len()))),
        Err(error) => Err(invalid(&format!("no message: {error}"))),
    }
}

/// Writes the first message of a side.
///
/// # Errors
/// It is too long.
pub(super) fn put_first<T: Serialize>(version: u16, message: &T) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    frame::put(&mut out, |mut out| {
        out.extend_from_slice(&version.to_be_bytes());
        postcard::to_extend(message, out).map_err(io::Error::other)
    })?;
    Ok(out)
}

/// What the first message of the other side is.
#[derive(Debug)]
pub(super) enum First<T> {
    /// A message of this version.
    Known(T),
    /// One of another version, that is not understood here.
    Other(u16),
}

/// Reads the first message of the other side.
///
/// # Errors
/// It is none.
pub(super) fn read_first<T: DeserializeOwned>(frame: &[u8]) -> io::Result<First<T>> {
    let Some((version, rest)) = frame.split_first_chunk() else {
        return Err(invalid("a first message without a version"));
    };
    match u16::from_be_bytes(*version) {
        VERSION => read(rest).map(First::Known),
        other => Ok(First::Other(other)),
    }
}

pub(super) fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

//! What a server answers to other servers, whatever carries the messages: `network` decodes and
//! asks, the node behind it answers.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use openraft::alias::{SnapshotMetaOf, VoteOf};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::catalog::Outcome;
use crate::rpc::Pending;
use crate::types::{Consistency, Index};

use super::snapshots::{Image, Incoming};
use super::types::{ServerId, Types};
use super::{FreshError, ProposeError};

/// A failure of the node itself, as text: it has stopped, or its storage failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failed(pub(super) String);

/// The answers of one server.
pub(super) trait Answers: Send + Sync + 'static {
    /// Entries of the leader, or its sign of life.
    fn append(
        &self,
        request: AppendEntriesRequest<Types>,
    ) -> Pending<'_, Result<AppendEntriesResponse<Types>, Failed>>;

    /// A candidate asks for this server's vote; with `before`, whether it would get it (pre-vote).
    fn vote(
        &self,
        request: VoteRequest<Types>,
        before: bool,
    ) -> Pending<'_, Result<VoteResponse<Types>, Failed>>;

    /// Where the octets of a snapshot that the leader sends are to be kept until it is whole.
    ///
    /// # Errors
    /// There is no room, or one is being received already.
    fn incoming(&self) -> Result<Incoming, Failed>;

    /// A snapshot of the leader has arrived whole.
    fn install(
        &self,
        vote: VoteOf<Types>,
        meta: SnapshotMetaOf<Types>,
        image: Image,
    ) -> Pending<'_, Result<SnapshotResponse<Types>, Failed>>;

    /// The leader gives its place to another server.
    fn transfer(
        &self,
        request: TransferLeaderRequest<Types>,
    ) -> Pending<'_, Result<TransferLeaderResponse<Types>, Failed>>;

    /// A follower forwards commands in their stored form, in this order. One result each.
    fn propose(&self, commands: Vec<Bytes>) -> Pending<'_, Vec<Result<Outcome, ProposeError>>>;

    /// A follower asks for the position that a read must have seen.
    fn read_index(&self, consistency: Consistency) -> Pending<'_, Result<Index, FreshError>>;

    /// The cluster that this server is in; `None` before it has entered one.
    fn cluster(&self) -> Option<u128>;

    /// Enters a cluster that somebody of it has told of; nothing happens where it is in one.
    fn enter(&self, cluster: u128) -> Pending<'_, Result<(), Failed>>;

    /// Whether this server has a log, so that it is a part of a cluster already.
    fn is_initialized(&self) -> bool;
}

/// Why another server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    /// Nothing was sent, so nothing was done.
    #[error("{0}")]
    NotSent(String),
    /// It was sent; whether it was done nobody knows.
    #[error("{0}")]
    Unknown(String),
}

/// What a server asks of another one for those who have asked it: the other side of the last
/// methods of [`Answers`].
pub(super) trait Asks: Send + Sync + 'static {
    /// Forwards commands to the server that is taken for the leader. One result each.
    fn propose(
        &self,
        leader: ServerId,
        address: SocketAddr,
        commands: Vec<Bytes>,
    ) -> Pending<'_, Result<Vec<Result<Outcome, ProposeError>>, AskError>>;

    /// Asks for the position that a read must have seen.
    fn read_index(
        &self,
        leader: ServerId,
        address: SocketAddr,
        consistency: Consistency,
    ) -> Pending<'_, Result<Result<Index, FreshError>, AskError>>;

    /// Whether the server there is in a cluster.
    fn is_in_cluster(&self, address: SocketAddr) -> Pending<'_, io::Result<bool>>;
}

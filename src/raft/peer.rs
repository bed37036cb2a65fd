//! What a server answers to other servers, whatever carries the messages: `network` decodes and
//! asks, the node behind it answers.

use std::io;
use std::net::{IpAddr, SocketAddr};

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

/// The newest numbers that a server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Newest {
    /// Term that it is in.
    pub(super) term: u64,
    /// Position of the last entry of its log.
    pub(super) index: u64,
}

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

    /// Where the octets of a snapshot that server `from` sends are to be kept until it is whole. If
    /// that leads, as far as this server knows, an unfinished one of somebody else makes room.
    ///
    /// # Errors
    /// There is no room, or one is being received already.
    fn incoming(&self, from: ServerId) -> Result<Incoming, Failed>;

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

    /// Enters a cluster whose leader has given this server a part of its log.
    ///
    /// # Errors
    /// It is in another one, or cannot keep that.
    fn enter(&self, cluster: u128) -> Pending<'_, Result<(), Failed>>;

    /// Whether this server has a log, so that it is a part of a cluster already. A vote that it has
    /// given makes it none.
    fn is_initialized(&self) -> bool;

    /// What this server has counted up to.
    fn newest(&self) -> Newest;

    /// Whether another server of the cluster is at that address.
    fn is_member(&self, address: IpAddr) -> bool;
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

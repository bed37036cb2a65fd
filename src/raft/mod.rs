//! One log of commands, replicated by Raft, that every server applies in the same order.
//!
//! Owns the log and its disk (`log_store`), snapshots, what servers say to each other on 8300
//! (`network`), who leads, and how a command gets from any server into the log (`proposer`). What
//! commands mean is the catalog's; who is a server is decided by `reconcile`.
//!
//! **Invariant**: acknowledged means durable on a majority and applied here.
//! **Invariant**: the consensus library is named in this module only.

mod log_store;
mod network;
mod node;
mod peer;
mod proposer;
#[cfg(test)]
mod simulated;
mod snapshots;
mod state_machine;
pub mod status;
#[cfg(test)]
mod tests;
pub mod types;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::catalog::{Command, Outcome, Writer};
use crate::metrics::Metrics;
use crate::rpc::{ConnectionHandler, Tls};
use crate::task::Tasks;
use crate::types::{Consistency, Index, NodeId, RequestContext};

#[doc(hidden)]
pub use log_store::{Load, LoadError, open_load, run_load};
pub use proposer::{Bounds, ProposeError};
pub use status::{Role, Server, Status};
pub use types::{Peer, ServerId};

/// When the log is made shorter. A snapshot is also made after 64 MiB of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// `raft_snapshot_threshold`: entries since the last snapshot that ask for the next one, 1 to
    /// 16,777,216. Default 65,536.
    pub entries: u64,
    /// `raft_trailing_logs`: entries that stay in the log behind a snapshot, for servers that were
    /// away for a short time, 1 to 16,777,216, and at most 64 MiB of commands. Whoever was away for
    /// longer gets the snapshot. Default 10,240.
    pub kept: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            entries: 65_536,
            kept: 10_240,
        }
    }
}

/// How a server takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this server is.
    pub id: ServerId,
    /// Its name and where it takes connections, as others are told at the bootstrap.
    pub peer: Peer,
    /// Directory of the log and of snapshots; `None` keeps both in memory (`-dev`).
    pub directory: Option<PathBuf>,
    /// `performance.raft_multiplier`, 1 to 10. Default 5. 1 to 5: heartbeat 100 ms, election 400 to
    /// 800 ms; 6 to 10: m/5 of that.
    pub multiplier: u8,
    /// When snapshots are made, and how much of the log stays behind them.
    pub compaction: Compaction,
    /// How long a write or a read that needs a leader waits for one. Default 7 s.
    pub hold: Duration,
    /// Bounds of the queue of commands.
    pub bounds: Bounds,
    /// How other servers are called; `None` without TLS.
    pub tls: Option<Tls>,
}

impl Config {
    /// A server on its own with its log in memory, as tests and `-dev` want it.
    pub fn in_memory(id: NodeId, name: &str, address: SocketAddr) -> Self {
        Self {
            id: id.into(),
            peer: Peer {
                name: name.to_owned(),
                address,
            },
            directory: None,
            multiplier: 1,
            compaction: Compaction::default(),
            hold: Duration::from_secs(7),
            bounds: Bounds::default(),
            tls: None,
        }
    }
}

/// Where servers are now, whatever the log says of their addresses: asked at each connection.
pub trait Peers: Send + Sync + 'static {
    /// Where the server takes connections; `None` if gossip does not know it.
    fn address(&self, id: ServerId) -> Option<SocketAddr>;
}

/// Nobody but those whom the log knows.
impl Peers for () {
    fn address(&self, _: ServerId) -> Option<SocketAddr> {
        None
    }
}

/// Why Raft does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refuses a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The log cannot be opened or read; the text names the file and, where it is damaged, the
    /// repair.
    #[error("{0}")]
    Log(String),
}

/// Why a server cannot be made a member, or be one no more. Safe to try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// This server does not lead.
    #[error("this server does not lead")]
    NotLeading,
    /// Another change is under way.
    #[error("another change of the servers is under way")]
    UnderWay,
    /// It failed for another reason.
    #[error("{0}")]
    Failed(String),
}

/// Why a read cannot be as fresh as it is to be. Nothing changed; safe to retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreshError {
    /// There is no leader, or none was heard in time.
    #[error("No cluster leader")]
    NoLeader,
    /// The leader could not show in time that it leads still.
    #[error("not ready to serve consistent reads")]
    NotReady,
}

/// A change of who the servers are. Only the leader carries it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A server that learns, without a vote (yet).
    AddLearner(ServerId, Peer),
    /// A learner gets a vote.
    Promote(ServerId),
    /// A server goes, voter or not.
    Remove(ServerId),
    /// A server is known by another name or address from now on.
    Update(ServerId, Peer),
    /// A change that nobody finished is finished: see [`Status::unsettled`].
    Settle,
}

/// This server's part in the cluster. Clones lead to the same; with the last one, it ends.
#[derive(Clone)]
pub struct Raft {
    node: Arc<node::Node>,
    proposer: proposer::Proposer,
    status: watch::Receiver<Arc<Status>>,
    handler: Arc<dyn ConnectionHandler>,
}

impl std::fmt::Debug for Raft {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Raft").finish_non_exhaustive()
    }
}

/// Starts Raft around the catalog's one writer. Once this returns, the log that was kept is applied
/// up to where it was known to be decided.
///
/// # Errors
/// [`StartError`].
pub async fn start(
    config: Config,
    writer: Writer,
    peers: Arc<dyn Peers>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Raft, StartError> {
    let (cluster, known) = watch::channel(None);
    let (id, tls) = (config.id, config.tls.clone());
    let network = network::Network::new(id, known, Arc::clone(&peers), tls, metrics, tasks);
    let asks: Arc<dyn peer::Asks> = Arc::new(network.ask());
    let wires = (network, asks, cluster);
    start_with(config, writer, wires, peers, metrics, tasks).await
}

/// What reaches others, what asks them, and what is told of the cluster that this server is in.
type Wires<N> = (N, Arc<dyn peer::Asks>, watch::Sender<Option<u128>>);

/// Starts Raft over any network.
async fn start_with<N>(
    config: Config,
    writer: Writer,
    wires: Wires<N>,
    peers: Arc<dyn Peers>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Raft, StartError>
where
    N: openraft::RaftNetworkFactory<types::Types>,
    N::Network: openraft::network::NetSnapshot<types::Types, SnapshotData = snapshots::Image>,
{
    let id = config.id;
    let started = node::start(config, writer, wires, peers, metrics, tasks);
    let (node, proposer) = started.await?;
    let answers = Arc::<node::Node>::clone(&node);
    let handler = network::handler(id, answers, metrics, tasks);
    let status = node.core.status.subscribe();
    Ok(Raft {
        node,
        proposer,
        status,
        handler,
    })
}

/// A cluster of one server with its log in memory, which leads once this returns.
///
/// # Panics
/// The system refuses a thread.
pub async fn alone(writer: Writer, metrics: &Metrics, tasks: &Tasks) -> Raft {
    let address = SocketAddr::from(([127, 0, 0, 1], 8300));
    alone_at(address, writer, metrics, tasks).await
}

/// The same, known by this address.
///
/// # Panics
/// The system refuses a thread.
pub async fn alone_at(
    address: SocketAddr,
    writer: Writer,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Raft {
    let config = Config::in_memory(NodeId::random(), "alone", address);
    let servers = BTreeMap::from([(config.id, config.peer.clone())]);
    let raft = start(config, writer, Arc::new(()), metrics, tasks).await;
    let raft = raft.expect("a log in memory opens, and the system has threads");
    raft.bootstrap(servers)
        .await
        .expect("nobody is there before");
    raft
}

impl Raft {
    /// Who this server is.
    pub fn id(&self) -> ServerId {
        self.node.core.id
    }

    /// What this server knows of the cluster now.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// Changes whenever that does (but for contact and positions in the log alone; the first one
    /// that is applied counts).
    pub fn status_changed(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Puts `command` into the log, by way of the leader if that is another server, and waits until
    /// it is applied here. While there is no leader it waits for one, at most `hold`.
    ///
    /// # Errors
    /// [`ProposeError`]; only after `Deadline` may the command have changed state.
    pub async fn propose(
        &self,
        context: &RequestContext,
        command: Command,
    ) -> Result<Outcome, ProposeError> {
        let proposer = self.proposer.clone();
        let limit = context.deadline.unwrap_or(self.node.core.deadline);
        let context = context.clone();
        let begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&begun);
        let outcome = async move {
            begins.store(true, Ordering::Relaxed);
            proposer.propose(&context, command).await
        };
        let outcome = self.node.on_thread(outcome).await;
        outcome.unwrap_or_else(|| {
            // What was dropped half-way may be in the log already.
            Err(if begun.load(Ordering::Relaxed) {
                ProposeError::Deadline { limit }
            } else {
                ProposeError::NoLeader
            })
        })
    }

    /// Waits until what is applied here is as fresh as `consistency` asks for: stale reads at once;
    /// default ones as fresh as the leader is under its lease; consistent ones as fresh as the
    /// leader is after it has heard from a majority. Returns a position that is applied here.
    ///
    /// # Errors
    /// [`FreshError`].
    pub async fn fresh(&self, consistency: Consistency) -> Result<Index, FreshError> {
        let node = Arc::clone(&self.node);
        let fresh = async move { node.fresh(consistency).await };
        let fresh = self.node.on_thread(fresh).await;
        fresh.unwrap_or(Err(FreshError::NoLeader))
    }

    /// Founds the cluster with these servers as voters. A server that has a log refuses.
    ///
    /// # Errors
    /// [`ChangeError::Failed`].
    pub async fn bootstrap(&self, servers: BTreeMap<ServerId, Peer>) -> Result<(), ChangeError> {
        self.node.bootstrap(servers).await
    }

    /// Whether the server at `address` is in a cluster already.
    ///
    /// # Errors
    /// It cannot be reached, or does not answer.
    pub async fn is_in_cluster(&self, address: SocketAddr) -> std::io::Result<bool> {
        self.node.core.asks.is_in_cluster(address).await
    }

    /// Changes who the servers are; returns once that is decided. A learner that is added need not
    /// have caught up yet.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change(&self, change: Change) -> Result<(), ChangeError> {
        self.node.change(change).await
    }

    /// How far each other server has got with the log, as the leader knows; empty elsewhere.
    pub fn progress(&self) -> BTreeMap<ServerId, Index> {
        self.node.progress()
    }

    /// If this server leads, makes another voter lead, and waits for that, at most a few seconds.
    /// Whether this server does not lead any more.
    pub async fn step_down(&self) -> bool {
        self.node.step_down().await
    }

    /// Serves other servers' connections (first octet 0x48).
    pub fn handler(&self) -> Arc<dyn ConnectionHandler> {
        Arc::clone(&self.handler)
    }
}

//! What servers say to each other on 8300 (first octet 0x48).
//!
//! Owns the octets, the connections and their bounds; what a message means is the consensus
//! library's, on one side, and the node's behind [`Answers`], on the other. Entries, signs of life
//! with votes, snapshots, and what followers ask the leader have connections of their own, so that
//! none waits behind another. The first message each way says who speaks to whom, in which cluster.
//!
//! **Invariant**: network input never panics, takes no memory for what it only announces, and waits
//! no longer than there is a deadline.
//! **Invariant**: no server of another cluster, or another version, is heard.

mod ask;
mod bounded;
mod check;
mod client;
mod connection;
mod counts;
mod frame;
mod link;
mod message;
mod receive;
mod send;
mod server;
mod split;
mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use openraft::RaftNetworkFactory;
use tokio::sync::watch;

use self::client::Client;
use self::counts::Counts;
use self::message::Purpose;
use self::server::Server;
use self::target::{Dialler, Target};
use super::Peers;
use super::peer::Answers;
use super::types::{Peer, ServerId, Types};
use crate::metrics::Metrics;
use crate::rpc::{ConnectionHandler, Tls};
use crate::task::Tasks;

use self::ask::Ask;

/// Servers whose connections for votes are kept between elections.
const KEPT_MAX: usize = 64;

/// Serves other servers' connections with these answers.
pub(super) fn handler(
    id: ServerId,
    answers: Arc<dyn Answers>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Arc<dyn ConnectionHandler> {
    Arc::new(Server::new(id, answers, Counts::of(metrics), tasks))
}

/// Reaches other servers.
pub(super) struct Network {
    dialler: Arc<Dialler>,
    signs: HashMap<ServerId, Arc<Target>>,
}

impl Network {
    /// No connections yet. `cluster` is this server's, as it is each time that a connection is made.
    pub(super) fn new(
        id: ServerId,
        cluster: watch::Receiver<Option<u128>>,
        peers: Arc<dyn Peers>,
        tls: Option<Tls>,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Self {
        let dialler = Dialler {
            id,
            cluster,
            peers,
            tls,
            counts: Counts::of(metrics),
            tasks: tasks.clone(),
        };
        Self {
            dialler: Arc::new(dialler),
            signs: HashMap::new(),
        }
    }

    /// What asks the leader, with connections of its own.
    pub(super) fn ask(&self) -> Ask {
        Ask::new(&self.dialler)
    }

    /// The connection for signs of life and votes, which outlives elections.
    fn signs(&mut self, id: ServerId, peer: &Peer) -> Arc<Target> {
        if self.signs.len() >= KEPT_MAX {
            self.signs.retain(|_, target| Arc::strong_count(target) > 1);
        }
        let dialler = &self.dialler;
        let new = || Target::new(dialler, id, peer.address, Purpose::Signs);
        let target = self.signs.entry(id).or_insert_with(new);
        target.set_known(peer.address);
        Arc::clone(target)
    }

    fn target(&self, id: ServerId, peer: &Peer, purpose: Purpose) -> Arc<Target> {
        Target::new(&self.dialler, id, peer.address, purpose)
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: ServerId, node: &Peer) -> Client {
        Client {
            append: self.target(target, node, Purpose::Log),
            signs: self.signs(target, node),
            snapshot: self.target(target, node, Purpose::Snapshot),
        }
    }

    async fn new_heartbeat_client(&mut self, target: ServerId, node: &Peer) -> Client {
        let signs = self.signs(target, node);
        Client {
            append: Arc::clone(&signs),
            signs,
            snapshot: self.target(target, node, Purpose::Snapshot),
        }
    }
}

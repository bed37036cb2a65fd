//! The trait object through which `http` (and later `rpc`) asks the agent about itself: those
//! parts start before the agent is whole and must not know how it is made.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::log::Monitor;
use crate::types::{Datacenter, Member, NodeId, NodeName};

/// What an agent says about itself; constant while it runs.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its node name.
    pub node: NodeName,
    /// Its node id.
    pub node_id: NodeId,
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// Whether it is a server.
    pub server: bool,
    /// Its version, as in `0.1.0`.
    pub version: String,
    /// The commit that it was built from; empty if that is not known.
    pub revision: String,
    /// When it was built, as RFC 3339 writes it; empty if that is not known.
    pub build_date: String,
    /// Whether it runs in development mode, which pretty-prints every JSON answer.
    pub development: bool,
}

/// Why nothing was reloaded. The agent goes on as before, and the same will fail again until the
/// configuration is put right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ReloadError {
    /// What is wrong, for people to read; one line for each mistake.
    pub reason: String,
}

/// A reload under way. It goes on though nobody waits for it.
pub type Reloading = Pin<Box<dyn Future<Output = Result<(), ReloadError>> + Send>>;

/// Why the agent did not leave. It stays in its pools and runs on; asking again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LeaveError {
    /// What went wrong, for people to read.
    pub reason: String,
}

/// A leave under way. It goes on though nobody waits for it, and ends once the other members have
/// been told; the agent stops by itself soon after, when whoever asked has been answered.
pub type Leaving = Pin<Box<dyn Future<Output = Result<(), LeaveError>> + Send>>;

/// A server of the cluster, as the agent knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterServer {
    /// Its id.
    pub id: NodeId,
    /// Name of its node.
    pub node: String,
    /// Where it takes connections of agents and servers.
    pub address: SocketAddr,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it votes; else it only learns.
    pub voter: bool,
}

/// Why a server was not removed from the cluster; asking again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RemoveError {
    /// What went wrong, for people to read.
    pub reason: String,
}

/// A removal under way; it may go on though nobody waits for it.
pub type Removing = Pin<Box<dyn Future<Output = Result<(), RemoveError>> + Send>>;

/// Asks the agent.
pub trait Control: Send + Sync + 'static {
    /// What it is.
    fn description(&self) -> &Description;

    /// The configuration in force, for people to read; no secrets.
    fn configuration(&self) -> Arc<serde_json::Value>;

    /// Reads the configuration again and takes on all of it that can change while running.
    fn reload(&self) -> Reloading;

    /// Has it leave its pools and then stop. Begins at once; asking again joins the leave under way.
    fn leave(&self) -> Leaving;

    /// The members of its LAN pool, or of the WAN pool.
    fn members(&self, wan: bool) -> Vec<Member>;

    /// Where its log can be listened to.
    fn monitor(&self) -> &Monitor;

    /// The machine that it runs on, in the reference's shape. Blocks while files are read.
    fn machine(&self) -> serde_json::Value;

    /// Figures in groups, for `info`: group, then key, then value.
    fn statistics(&self) -> BTreeMap<String, BTreeMap<String, String>>;

    /// The servers of its cluster; `None` on an agent that is none of them.
    fn servers(&self) -> Option<Vec<ClusterServer>> {
        None
    }

    /// Removes a server from the cluster. Only the one that leads does so.
    fn remove_server(&self, _id: NodeId) -> Removing {
        let reason = "this agent is no server of a cluster".to_owned();
        Box::pin(std::future::ready(Err(RemoveError { reason })))
    }
}

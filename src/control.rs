//! The trait object through which `http` (and later `rpc`) asks the agent about itself: those
//! parts start before the agent is whole and must not know how it is made.

use std::collections::BTreeMap;

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
    /// Whether it runs in development mode, which pretty-prints every JSON answer.
    pub development: bool,
    /// The effective configuration, for people to read; no secrets.
    pub configuration: serde_json::Value,
}

/// Asks the agent.
pub trait Control: Send + Sync + 'static {
    /// What it is.
    fn description(&self) -> &Description;

    /// The members of its LAN pool, or of the WAN pool.
    fn members(&self, wan: bool) -> Vec<Member>;

    /// Where its log can be listened to.
    fn monitor(&self) -> &Monitor;

    /// Figures in groups, for `info`: group, then key, then value.
    fn statistics(&self) -> BTreeMap<String, BTreeMap<String, String>>;
}

//! The pools of one agent.

use super::pool::Pool;

/// What the names of user events of the LAN pool begin with that carry what users send to all
/// agents; the name that the user gave follows.
pub const EVENT_PREFIX: &str = "consul:event:";

/// The pools that this agent is in. Clones share them.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The agents of its datacenter.
    pub lan: Pool,
    /// The servers of all datacenters; `None` for a client agent, or where it is off.
    pub wan: Option<Pool>,
}

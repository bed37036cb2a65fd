//! The pools of one agent.

use super::pool::Pool;

/// The pools that this agent is in. Clones share them.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The agents of its datacenter.
    pub lan: Pool,
    /// The servers of all datacenters; `None` for a client agent, or where it is off.
    pub wan: Option<Pool>,
}

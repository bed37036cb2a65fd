//! What every read and write of shared state carries with it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Datacenter, Index};

/// How fresh a read must be: the API's default, `?consistent` or `?stale`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Served by the leader under its lease.
    #[default]
    Default,
    /// Served by the leader after a quorum round.
    Consistent,
    /// Served by any server from memory.
    Stale,
}

/// Carried by every call into `directory`, forwarded verbatim between servers: the place where
/// access control and other datacenters live.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    /// Secret of the caller; `None` is anonymous.
    pub token: Option<Arc<str>>,
    /// Datacenter asked for; `None` is the local one.
    pub datacenter: Option<Datacenter>,
    /// How fresh the answer must be.
    pub consistency: Consistency,
    /// Blocking read: wait until the result's index is above this one; `None` does not wait.
    pub index: Option<Index>,
    /// Longest wait of a blocking read.
    pub wait: Option<Duration>,
    /// Longest time the whole call may take; `None` takes the directory's default.
    pub deadline: Option<Duration>,
    /// Who asks; `None` is the agent itself.
    pub source: Option<IpAddr>,
}

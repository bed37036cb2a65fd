//! Timing and limits of the layer.

use std::time::Duration;

/// Timing and limits; the defaults are those of Consul.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Time after which a failed member is forgotten (`reconnect_timeout`). 72 h.
    pub reconnect_timeout: Duration,
    /// Time after which a member that has left is forgotten. 24 h.
    pub tombstone_timeout: Duration,
    /// Time between two looks for members to forget. 15 s.
    pub reap_interval: Duration,
    /// Time between two attempts to reach a failed member. 30 s.
    pub reconnect_interval: Duration,
    /// Longest wait until a leave has been told. 5 s.
    pub broadcast_timeout: Duration,
    /// Wait after it has been told. 3 s; plain serf waits 1 s.
    pub leave_propagate_delay: Duration,
    /// Broadcasts of one kind that may wait, at least; twice the members if that is more. 4,096.
    pub queue_depth_min: usize,
    /// Octets of name and payload of an event of this node. 512.
    pub event_octets_max: usize,
    /// Octets of a query or an answer of this node. 1,024.
    pub query_octets_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reconnect_timeout: Duration::from_secs(72 * 3_600),
            tombstone_timeout: Duration::from_secs(24 * 3_600),
            reap_interval: Duration::from_secs(15),
            reconnect_interval: Duration::from_secs(30),
            broadcast_timeout: Duration::from_secs(5),
            leave_propagate_delay: Duration::from_secs(3),
            queue_depth_min: 4_096,
            event_octets_max: 512,
            query_octets_max: 1_024,
        }
    }
}

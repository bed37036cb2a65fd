//! What the engine may be told: where it listens and the bound of everything it holds.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Settings of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Addresses to listen on, each for UDP and TCP. Default: 127.0.0.1.
    pub addresses: Vec<IpAddr>,
    /// Port of all of them; 0 lets the system pick one that is free on all. Default: 8600.
    pub port: u16,
    /// UDP worker threads. Default: one for each core that this process may use.
    pub workers: Option<NonZeroUsize>,
    /// Whether to move datagrams in batches where the system can. Default: yes.
    pub batching: bool,
    /// What a UDP socket's queue in the kernel may hold, in octets of the kernel's own accounting
    /// (a small query counts for some 400). Default: 4 MiB.
    pub receive_buffer_octets: usize,
    /// A query that has waited longer than this is not answered: its client has given up or
    /// retried. Default: 100 ms.
    pub queue_deadline: Duration,
    /// How long queries may wait once the queue has not been shorter for a whole
    /// [`Config::queue_deadline`]. Default: 5 ms.
    pub queue_target: Duration,
    /// Bounds of TCP.
    pub tcp: TcpLimits,
    /// Bounds of the queries that memory cannot answer.
    pub slow: SlowLimits,
}

/// Bounds of TCP connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// Connections at one time; one more is closed at once. Default: 1,024.
    pub connections_max: usize,
    /// Of those, connections of one client address; one more is closed at once. Default: 256.
    pub client_connections_max: usize,
    /// A connection that sends nothing is closed after this. Default: 2 s.
    pub first_octet: Duration,
    /// A message must have arrived whole this long after its first octet. Default: 2 s.
    pub message: Duration,
    /// A connection is closed this long after its last answer (RFC 7766 §6.2.3). Default: 8 s.
    pub idle: Duration,
    /// A client must take its answers within this. Default: 5 s.
    pub write: Duration,
}

/// Bounds of the slow path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowLimits {
    /// Queries waiting or being worked on; one more gets SERVFAIL at once. Default: 1,024.
    pub queries_max: usize,
    /// Queries being worked on. Default: 64.
    pub concurrent_max: usize,
    /// A query gets its answer or SERVFAIL within this. Default: 1 s.
    pub deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: vec![Ipv4Addr::LOCALHOST.into()],
            port: 8600,
            workers: None,
            batching: true,
            receive_buffer_octets: 4 * 1024 * 1024,
            queue_deadline: Duration::from_millis(100),
            queue_target: Duration::from_millis(5),
            tcp: TcpLimits::default(),
            slow: SlowLimits::default(),
        }
    }
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            client_connections_max: 256,
            first_octet: Duration::from_secs(2),
            message: Duration::from_secs(2),
            idle: Duration::from_secs(8),
            write: Duration::from_secs(5),
        }
    }
}

impl Default for SlowLimits {
    fn default() -> Self {
        Self {
            queries_max: 1_024,
            concurrent_max: 64,
            deadline: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// Worker threads to start.
    pub(crate) fn worker_count(&self) -> usize {
        self.workers
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get)
    }
}

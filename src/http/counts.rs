//! Figures of the HTTP part.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;

/// Which bound a client met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Limit {
    /// Longest body: 413.
    Body,
    /// Time for a body to arrive: 408.
    BodyTime,
    /// Memory of all bodies together: 503.
    BodyMemory,
    /// Longest or most header fields: 431.
    Header,
    /// Time for a header to arrive: the connection is closed.
    HeaderTime,
    /// Time without a request: the connection is closed.
    IdleTime,
    /// Time in which a client takes nothing of its answer: the connection is closed.
    WriteTime,
    /// Connections in all: 503.
    Connections,
    /// Connections of one client address: 429.
    ClientConnections,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: Limit,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    group: &'static str,
    status: u16,
}

/// The counters, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    requests: Family<RequestLabels, Counter>,
    limits: Family<LimitLabels, Counter>,
    accepted: Counter,
    /// Connections open now.
    pub(crate) open: Gauge,
    /// Reads that wait for a change now.
    pub(crate) blocked: Gauge,
}

impl Counts {
    /// Registers the figures.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.register(
                "http_requests",
                "Requests answered, by API group and status",
                Family::default(),
            ),
            limits: metrics.register(
                "http_limits",
                "Requests and connections refused or cut off, by the limit they met",
                Family::default(),
            ),
            accepted: metrics.register(
                "http_connections_accepted",
                "Connections accepted",
                Counter::default(),
            ),
            open: metrics.register("http_connections", "Connections open", Gauge::default()),
            blocked: metrics.register(
                "http_blocked_reads",
                "Reads waiting for a change",
                Gauge::default(),
            ),
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, group: &'static str, status: u16) {
        let labels = RequestLabels { group, status };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a bound that was met.
    pub(crate) fn limit_hit(&self, limit: Limit) {
        self.limits.get_or_create(&LimitLabels { limit }).inc();
    }

    /// Counts an accepted connection.
    pub(crate) fn accepted(&self) {
        self.accepted.inc();
    }
}

/// The API group that a path belongs to.
pub(crate) fn group(path: &str) -> &'static str {
    let (version, rest) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default();
    let name = rest.split('/').next().unwrap_or_default();
    match (version, name) {
        ("v1", "agent") => "agent",
        ("v1", "catalog") => "catalog",
        ("v1", "health") => "health",
        ("v1", "status") => "status",
        ("ui", _) => "ui",
        _ => "other",
    }
}

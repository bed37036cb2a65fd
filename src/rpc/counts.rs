//! Figures of the connections on 8300.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::yamux::SessionEnd;
use crate::metrics::Metrics;

/// Why a connection was closed without having been served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are as many connections as there may be.
    Connections,
    /// There are as many of this address.
    ClientConnections,
    /// The first octet, or TLS, did not come in time.
    Silent,
    /// The peer went away before the first octet.
    Gone,
    /// TLS failed, or none is configured.
    Tls,
    /// Only TLS is allowed.
    Plain,
    /// Consul servers among themselves.
    ForeignRaft,
    /// Subscriptions of newer agents.
    Subscribe,
    /// Nobody serves this first octet.
    Octet,
    /// The certificate is no server's, and only servers may ask for this.
    Role,
}

impl Refusal {
    /// The value of its label.
    fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ClientConnections => "client_connections",
            Self::Silent => "silent",
            Self::Gone => "gone",
            Self::Tls => "tls",
            Self::Plain => "plain",
            Self::ForeignRaft => "foreign_raft",
            Self::Subscribe => "subscribe",
            Self::Octet => "octet",
            Self::Role => "role",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

/// The counters; clones count together.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// Connections that are open now.
    pub(super) open: Gauge,
    /// Streams of sessions that are open now.
    pub(super) streams: Gauge,
    /// Streams that were reset because there were too many.
    pub(super) streams_refused: Counter,
    /// Calls that were answered, errors too.
    pub(super) calls: Counter,
    /// Those of them that were answered with an error.
    pub(super) failures: Counter,
    /// Calls whose caller went away before the answer.
    pub(super) abandoned: Counter,
    /// Streams that were reset because too many octets of their session were unread.
    pub(super) streams_overflowed: Counter,
    /// Answers that were replaced by an error because too many were leaving.
    pub(super) answers_refused: Counter,
    /// Times that the system gave no connection, mostly for want of descriptors.
    pub(super) accept_failures: Counter,
    accepted: Family<OfKind, Counter>,
    refused: Family<OfReason, Counter>,
    sessions: Family<OfReason, Counter>,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            open: metrics.register("rpc_connections", "Open connections", Gauge::default()),
            streams: metrics.register("rpc_streams", "Open streams of sessions", Gauge::default()),
            streams_refused: metrics.register(
                "rpc_streams_refused",
                "Streams reset because there were too many",
                Counter::default(),
            ),
            calls: metrics.register("rpc_calls", "Calls answered", Counter::default()),
            failures: metrics.register(
                "rpc_calls_failed",
                "Calls answered with an error",
                Counter::default(),
            ),
            abandoned: metrics.register(
                "rpc_calls_abandoned",
                "Calls whose caller went away before the answer",
                Counter::default(),
            ),
            streams_overflowed: metrics.register(
                "rpc_streams_overflowed",
                "Streams reset because too many octets of their session were unread",
                Counter::default(),
            ),
            answers_refused: metrics.register(
                "rpc_answers_refused",
                "Answers replaced by an error because too many were leaving",
                Counter::default(),
            ),
            accept_failures: metrics.register(
                "rpc_accept_failures",
                "Times that the system gave no connection",
                Counter::default(),
            ),
            accepted: metrics.register(
                "rpc_connections_accepted",
                "Connections by what their first octet asked for",
                Family::default(),
            ),
            refused: metrics.register(
                "rpc_connections_refused",
                "Connections closed unserved, by reason",
                Family::default(),
            ),
            sessions: metrics.register(
                "rpc_sessions_ended",
                "Sessions that ended, by reason",
                Family::default(),
            ),
        }
    }

    /// A connection whose first octet is served.
    pub(super) fn accepted(&self, kind: &'static str) {
        self.accepted.get_or_create(&OfKind { kind }).inc();
    }

    /// A connection that was closed unserved.
    pub(super) fn refused(&self, refusal: Refusal) {
        let reason = refusal.as_str();
        self.refused.get_or_create(&OfReason { reason }).inc();
    }

    /// A session that ended.
    pub(super) fn ended(&self, end: &SessionEnd) {
        let reason = match end {
            SessionEnd::Closed => "closed",
            SessionEnd::Protocol(_) => "protocol",
            SessionEnd::Silent(_) => "silent",
            SessionEnd::Io(_) => "failed",
        };
        self.sessions.get_or_create(&OfReason { reason }).inc();
    }
}

#[cfg(test)]
impl Counts {
    /// Connections refused for a reason.
    pub(super) fn refusals(&self, refusal: Refusal) -> u64 {
        let reason = refusal.as_str();
        self.refused.get_or_create(&OfReason { reason }).get()
    }
}

//! Figures of what servers say to each other.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::message::Purpose;
use crate::metrics::Metrics;

/// Why a connection of a server, or of a stranger, is closed before anything is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing came in time.
    Silent,
    /// It went away.
    Gone,
    /// What came is no first message.
    Garbage,
    /// There are as many as there may be.
    Crowded,
    /// It speaks another version.
    Version,
    /// It takes this server for another one.
    Target,
    /// It is in another cluster, or in none.
    Cluster,
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Gone => "gone",
            Self::Garbage => "garbage",
            Self::Crowded => "crowded",
            Self::Version => "version",
            Self::Target => "target",
            Self::Cluster => "cluster",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPurpose {
    purpose: &'static str,
}

/// The counters; clones count together.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// Dials that did not become a connection.
    pub(super) dials_failed: Counter,
    /// Connections closed because a message made no sense.
    pub(super) violations: Counter,
    refused: Family<OfReason, Counter>,
    open: Family<OfPurpose, Gauge>,
    sent: Family<OfKind, Counter>,
    octets_sent: Family<OfKind, Counter>,
    received: Family<OfKind, Counter>,
    octets_received: Family<OfKind, Counter>,
}

impl Counts {
    /// The same ones for all that count in these metrics.
    pub(super) fn of(metrics: &Metrics) -> Self {
        metrics.set(Self::register)
    }

    fn register(metrics: &Metrics) -> Self {
        Self {
            dials_failed: metrics.register(
                "raft_dials_failed",
                "Connections to servers that did not come about",
                Counter::default(),
            ),
            violations: metrics.register(
                "raft_violations",
                "Connections of servers closed because a message made no sense",
                Counter::default(),
            ),
            refused: metrics.register(
                "raft_hellos_refused",
                "Connections of servers closed before anything was answered, by reason",
                Family::default(),
            ),
            open: metrics.register(
                "raft_connections",
                "Open connections with servers, both directions, by purpose",
                Family::default(),
            ),
            sent: metrics.register(
                "raft_requests_sent",
                "Requests to servers, by kind",
                Family::default(),
            ),
            octets_sent: metrics.register(
                "raft_requests_sent_octets",
                "Octets of requests to servers, by kind",
                Family::default(),
            ),
            received: metrics.register(
                "raft_requests_received",
                "Requests of servers, by kind",
                Family::default(),
            ),
            octets_received: metrics.register(
                "raft_requests_received_octets",
                "Octets of requests of servers, by kind",
                Family::default(),
            ),
        }
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        let reason = refusal.as_str();
        self.refused.get_or_create(&OfReason { reason }).inc();
    }

    pub(super) fn sent(&self, kind: &'static str, octets: usize) {
        let kind = OfKind { kind };
        self.sent.get_or_create(&kind).inc();
        self.octets_sent.get_or_create(&kind).inc_by(octets as u64);
    }

    pub(super) fn received(&self, kind: &'static str, octets: usize) {
        let kind = OfKind { kind };
        self.received.get_or_create(&kind).inc();
        let counter = self.octets_received.get_or_create(&kind);
        counter.inc_by(octets as u64);
    }

    /// Counts a connection as open until this is dropped.
    pub(super) fn open(&self, purpose: Purpose) -> Open {
        let purpose = purpose.as_str();
        let gauge = self.open.get_or_create(&OfPurpose { purpose }).clone();
        gauge.inc();
        Open(gauge)
    }
}

#[cfg(test)]
impl Counts {
    pub(super) fn refusals(&self, refusal: Refusal) -> u64 {
        let reason = refusal.as_str();
        self.refused.get_or_create(&OfReason { reason }).get()
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

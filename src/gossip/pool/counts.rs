//! Figures of pools, told apart by the label `pool`.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::config::Scope;
use crate::gossip::swim::Troubles;
use crate::gossip::wire::{self, Message};
use crate::metrics::Metrics;
use crate::types::{Member, MemberStatus};

/// Why something that came in, or was to go out, was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Reason {
    /// The label is not ours.
    Label,
    /// No key opens it.
    Key,
    /// The checksum is wrong.
    Checksum,
    /// It is no message or beyond a limit.
    Malformed,
    /// It comes from outside the allowed networks.
    Network,
    /// Too many wait already.
    Queue,
    /// The kernel did not take it.
    Send,
}

impl From<wire::Dropped> for Reason {
    fn from(dropped: wire::Dropped) -> Self {
        match dropped {
            wire::Dropped::Label => Self::Label,
            wire::Dropped::Key => Self::Key,
            wire::Dropped::Checksum => Self::Checksum,
            wire::Dropped::Malformed(_) => Self::Malformed,
        }
    }
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum StreamEnd {
    /// Its exchange is over.
    Served,
    /// It was no message.
    Unreadable,
    /// Time was over.
    TimedOut,
    /// The network failed, or the other side closed.
    Failed,
    /// There were as many streams as there may be.
    TooMany,
    /// It came from outside the allowed networks.
    Network,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPool {
    pool: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    pool: &'static str,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfType {
    pool: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStream {
    pool: &'static str,
    end: StreamEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatus {
    pool: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFigure {
    pool: &'static str,
    figure: &'static str,
}

/// The families, registered once for all pools of an agent.
#[derive(Clone, Debug)]
struct Families {
    packets_in: Family<OfPool, Counter>,
    packets_out: Family<OfPool, Counter>,
    octets_in: Family<OfPool, Counter>,
    octets_out: Family<OfPool, Counter>,
    messages: Family<OfType, Counter>,
    dropped: Family<OfReason, Counter>,
    streams: Family<OfStream, Counter>,
    refused: Family<OfPool, Counter>,
    probes_failed: Family<OfPool, Counter>,
    suspicions: Family<OfPool, Counter>,
    members: Family<OfStatus, Gauge>,
    state: Family<OfFigure, Gauge>,
}

impl Families {
    fn register(metrics: &Metrics) -> Self {
        fn family<F>(metrics: &Metrics, name: &str, help: &str, family: F) -> F
        where
            F: prometheus_client::registry::Metric + Clone,
        {
            metrics.register(&format!("gossip_{name}"), help, family)
        }
        let of = metrics;
        Self {
            packets_in: family(
                of,
                "packets_received",
                "Packets received",
                Family::default(),
            ),
            packets_out: family(of, "packets_sent", "Packets sent", Family::default()),
            octets_in: family(
                of,
                "octets_received",
                "Octets of packets",
                Family::default(),
            ),
            octets_out: family(of, "octets_sent", "Octets of packets", Family::default()),
            messages: family(
                of,
                "messages",
                "Messages received, by type",
                Family::default(),
            ),
            dropped: family(
                of,
                "dropped",
                "Packets and messages dropped",
                Family::default(),
            ),
            streams: family(
                of,
                "streams",
                "Streams accepted, by their end",
                Family::default(),
            ),
            refused: family(of, "refused", "Members refused", Family::default()),
            probes_failed: family(
                of,
                "probes_failed",
                "Probes that were not answered",
                Family::default(),
            ),
            suspicions: family(
                of,
                "suspicions",
                "Members that became suspect",
                Family::default(),
            ),
            members: family(of, "members", "Members, by status", Family::default()),
            state: family(
                of,
                "state",
                "Clocks, queues, health score",
                Family::default(),
            ),
        }
    }
}

/// The figures of one pool.
#[derive(Debug)]
pub(super) struct Counts {
    pool: &'static str,
    families: Families,
    // Looked up once: these count for each packet.
    packets_in: Counter,
    packets_out: Counter,
    octets_in: Counter,
    octets_out: Counter,
    messages: [Counter; TYPES.len()],
}

/// Labels of the types of messages, in the order of [`type_of`].
const TYPES: [&str; 8] = [
    "ping",
    "indirect_ping",
    "ack",
    "nack",
    "suspect",
    "alive",
    "dead",
    "user",
];

fn type_of(message: &Message<'_>) -> usize {
    match message {
        Message::Ping(_) => 0,
        Message::IndirectPing(_) => 1,
        Message::Ack(_) => 2,
        Message::Nack { .. } => 3,
        Message::Suspect(_) => 4,
        Message::Alive(_) => 5,
        Message::Dead(_) => 6,
        Message::User(_) => 7,
    }
}

impl Counts {
    /// The figures of the pool `scope`.
    pub(super) fn new(scope: Scope, metrics: &Metrics) -> Self {
        let families = metrics.set(Families::register);
        let pool = scope.as_str();
        let of = OfPool { pool };
        let of_pool = |family: &Family<OfPool, Counter>| family.get_or_create(&of).clone();
        let messages = TYPES.map(|r#type| {
            let labels = OfType { pool, r#type };
            families.messages.get_or_create(&labels).clone()
        });
        Self {
            pool,
            packets_in: of_pool(&families.packets_in),
            packets_out: of_pool(&families.packets_out),
            octets_in: of_pool(&families.octets_in),
            octets_out: of_pool(&families.octets_out),
            messages,
            families,
        }
    }

    /// A packet came in.
    pub(super) fn received(&self, octets: usize) {
        self.packets_in.inc();
        self.octets_in
            .inc_by(u64::try_from(octets).unwrap_or(u64::MAX));
    }

    /// A packet went out.
    pub(super) fn sent(&self, octets: usize) {
        self.packets_out.inc();
        self.octets_out
            .inc_by(u64::try_from(octets).unwrap_or(u64::MAX));
    }

    /// A message came in.
    pub(super) fn message(&self, message: &Message<'_>) {
        if let Some(counter) = self.messages.get(type_of(message)) {
            counter.inc();
        }
    }

    /// Something was dropped.
    pub(super) fn dropped(&self, reason: Reason) {
        let pool = self.pool;
        let dropped = &self.families.dropped;
        dropped.get_or_create(&OfReason { pool, reason }).inc();
    }

    /// A stream ended.
    pub(super) fn stream(&self, end: StreamEnd) {
        let pool = self.pool;
        let streams = &self.families.streams;
        streams.get_or_create(&OfStream { pool, end }).inc();
    }

    /// The admission refused somebody.
    pub(super) fn refused(&self) {
        let pool = self.pool;
        self.families.refused.get_or_create(&OfPool { pool }).inc();
    }

    /// What went wrong since the start.
    pub(super) fn troubles(&self, troubles: Troubles) {
        let pool = self.pool;
        for (family, sum) in [
            (&self.families.probes_failed, troubles.probes_failed),
            (&self.families.suspicions, troubles.suspicions),
        ] {
            let counter = family.get_or_create(&OfPool { pool });
            counter.inc_by(sum.saturating_sub(counter.get()));
        }
    }

    /// How many members there are of each status.
    pub(super) fn members(&self, members: &[Member]) {
        use MemberStatus::{Alive, Failed, Leaving, Left};
        for status in [Alive, Leaving, Left, Failed] {
            let count = members.iter().filter(|member| member.status == status);
            let labels = OfStatus {
                pool: self.pool,
                status: status.as_str(),
            };
            let count = i64::try_from(count.count()).unwrap_or(i64::MAX);
            self.families.members.get_or_create(&labels).set(count);
        }
    }

    /// What the protocol says of itself.
    pub(super) fn state(&self, figures: impl IntoIterator<Item = (&'static str, u64)>) {
        for (figure, value) in figures {
            let pool = self.pool;
            let gauge = self
                .families
                .state
                .get_or_create(&OfFigure { pool, figure });
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pools_share_the_families() {
        let metrics = Metrics::new();
        for scope in [Scope::Lan, Scope::Wan] {
            let counts = Counts::new(scope, &metrics);
            counts.received(10);
            counts.dropped(Reason::Key);
            counts.state([("health_score", 3)]);
        }
        let text = metrics.text();
        for line in [
            "herald_gossip_packets_received_total{pool=\"lan\"} 1",
            "herald_gossip_octets_received_total{pool=\"wan\"} 10",
            "herald_gossip_dropped_total{pool=\"wan\",reason=\"Key\"} 1",
            "herald_gossip_state{pool=\"lan\",figure=\"health_score\"} 3",
        ] {
            assert_eq!(text.matches(line).count(), 1, "{line} in\n{text}");
        }
        assert_eq!(text.matches("# TYPE herald_gossip_dropped").count(), 1);
    }
}

//! Figures of pools, told apart by the label `pool`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::config::Scope;
use crate::gossip::swim::Troubles;
use crate::gossip::wire::{self, Message};
use crate::metrics::Metrics;
use crate::types::{Member, MemberStatus};

/// Why something that came in, or was to go out, was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The kernel did not hand it over, or tells that one sent before did not arrive.
    Receive,
    /// The kernel did not take it.
    Send,
}

impl Reason {
    /// The value of its label.
    fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Key => "key",
            Self::Checksum => "checksum",
            Self::Malformed => "malformed",
            Self::Network => "network",
            Self::Queue => "queue",
            Self::Receive => "receive",
            Self::Send => "send",
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl StreamEnd {
    /// The value of its label.
    fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Unreadable => "unreadable",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::TooMany => "too_many",
            Self::Network => "network",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPool {
    pool: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    pool: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfType {
    pool: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStream {
    pool: &'static str,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatus {
    pool: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClock {
    pool: &'static str,
    clock: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    pool: &'static str,
    queue: &'static str,
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
    coordinate_resets: Family<OfPool, Counter>,
    members: Family<OfStatus, Gauge>,
    clocks: Family<OfClock, Gauge>,
    queues: Family<OfQueue, Gauge>,
    health_score: Family<OfPool, Gauge>,
}

impl Families {
    fn register(metrics: &Metrics) -> Self {
        fn family<F>(metrics: &Metrics, name: &str, help: &str) -> F
        where
            F: prometheus_client::registry::Metric + Clone + Default,
        {
            metrics.register(&format!("gossip_{name}"), help, F::default())
        }
        let of = metrics;
        Self {
            packets_in: family(of, "packets_received", "Packets received"),
            packets_out: family(of, "packets_sent", "Packets sent"),
            octets_in: family(of, "octets_received", "Octets of packets received"),
            octets_out: family(of, "octets_sent", "Octets of packets sent"),
            messages: family(of, "messages", "Messages received, by type"),
            dropped: family(of, "dropped", "Packets and messages dropped"),
            streams: family(of, "streams", "Streams accepted, by their end"),
            refused: family(of, "refused", "Members refused"),
            probes_failed: family(of, "probes_failed", "Probes that were not answered"),
            suspicions: family(of, "suspicions", "Members that became suspect"),
            coordinate_resets: family(
                of,
                "coordinate_resets",
                "Times the coordinate of this node began anew",
            ),
            members: family(of, "members", "Members, by status"),
            clocks: family(of, "clock", "Lamport times of the pool"),
            queues: family(of, "queue_length", "Messages that wait"),
            health_score: family(
                of,
                "health_score",
                "How far this node doubts itself; 0 is well",
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
        let (pool, reason) = (self.pool, reason.as_str());
        let dropped = &self.families.dropped;
        dropped.get_or_create(&OfReason { pool, reason }).inc();
    }

    /// A stream ended.
    pub(super) fn stream(&self, end: StreamEnd) {
        let (pool, end) = (self.pool, end.as_str());
        let streams = &self.families.streams;
        streams.get_or_create(&OfStream { pool, end }).inc();
    }

    /// The admission refused somebody.
    pub(super) fn refused(&self) {
        let pool = self.pool;
        self.families.refused.get_or_create(&OfPool { pool }).inc();
    }

    /// What went wrong since the start, and how often the coordinate began anew.
    pub(super) fn troubles(&self, troubles: Troubles, coordinate_resets: u64) {
        let pool = self.pool;
        for (family, sum) in [
            (&self.families.probes_failed, troubles.probes_failed),
            (&self.families.suspicions, troubles.suspicions),
            (&self.families.coordinate_resets, coordinate_resets),
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

    /// Lamport times, by what they order.
    pub(super) fn clocks(&self, times: impl IntoIterator<Item = (&'static str, u64)>) {
        for (clock, time) in times {
            let pool = self.pool;
            let gauge = self.families.clocks.get_or_create(&OfClock { pool, clock });
            gauge.set(i64::try_from(time).unwrap_or(i64::MAX));
        }
    }

    /// How many messages wait in each queue.
    pub(super) fn queues(&self, lengths: impl IntoIterator<Item = (&'static str, usize)>) {
        for (queue, length) in lengths {
            let pool = self.pool;
            let gauge = self.families.queues.get_or_create(&OfQueue { pool, queue });
            gauge.set(i64::try_from(length).unwrap_or(i64::MAX));
        }
    }

    /// How far this node doubts itself.
    pub(super) fn health_score(&self, score: u32) {
        let pool = self.pool;
        let gauge = self.families.health_score.get_or_create(&OfPool { pool });
        gauge.set(score.into());
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
            counts.health_score(3);
            counts.clocks([("event", 7)]);
            counts.queues([("intent", 4)]);
            counts.stream(StreamEnd::TimedOut);
        }
        let text = metrics.text();
        for line in [
            "herald_gossip_packets_received_total{pool=\"lan\"} 1",
            "herald_gossip_octets_received_total{pool=\"wan\"} 10",
            "herald_gossip_dropped_total{pool=\"wan\",reason=\"key\"} 1",
            "herald_gossip_streams_total{pool=\"lan\",end=\"timed_out\"} 1",
            "herald_gossip_health_score{pool=\"lan\"} 3",
            "herald_gossip_clock{pool=\"wan\",clock=\"event\"} 7",
            "herald_gossip_queue_length{pool=\"wan\",queue=\"intent\"} 4",
        ] {
            assert_eq!(text.matches(line).count(), 1, "{line} in\n{text}");
        }
        assert_eq!(text.matches("# TYPE herald_gossip_dropped").count(), 1);
    }
}

//! Counts what happens to queries, without a cache line that two workers write.
//!
//! Each worker has a row of its own, which it alone writes; TCP and the slow path share one more
//! each. Reading adds the rows up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::encode::rtype;
use super::handler::{Asked, Transport};
use super::socket::{self, Datagrams};
use crate::metrics::Metrics;

/// Time buckets: bucket `n` counts up to 2^n µs; the last, 1 s and more.
const BUCKETS: usize = 21;

/// Types that are told apart (RFC 1035 §3.2.2, RFC 3596 §2.1, RFC 2782); the others are one.
const TYPES: [&str; 10] = [
    "A", "AAAA", "SRV", "TXT", "ANY", "PTR", "SOA", "NS", "CNAME", "other",
];

/// RCODEs of the header (RFC 6895 §2.3); extended ones count under their low four bits.
const RCODES: usize = 16;

/// A count that one thread writes.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

/// The counts of one writer. Aligned so that no two rows share a cache line, nor a pair that the
/// processor fetches together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Row {
    /// Messages received.
    pub(crate) received: Count,
    /// Too late to be answered.
    pub(crate) shed: Count,
    /// No query: a response, or too short. Also those that could not be answered for a bug.
    pub(crate) dropped: Count,
    /// Replies that the system refused to send.
    pub(crate) refused: Count,
    /// Handed to the slow path.
    pub(crate) slow: Count,
    /// Queries whose handler panicked; they are among the dropped.
    pub(crate) panics: Count,
    /// Batches received.
    pub(crate) batches: Count,
    /// Answers marked as stale.
    pub(crate) stale: Count,
    questions: [Count; TYPES.len()],
    answers: [Count; RCODES],
    times: [Count; BUCKETS],
    nanoseconds: Count,
}

/// All rows of one engine.
#[derive(Debug)]
pub(crate) struct Counters {
    workers: Vec<Row>,
    /// Datagrams answered by the slow path.
    pub(crate) slow: Row,
    /// TCP, both paths.
    pub(crate) tcp: Row,
    /// Connections open now.
    pub(crate) connections: Gauge<i64, AtomicI64>,
    /// Connections closed at once for want of room.
    pub(crate) turned_away: Counter,
    /// Accepts that failed.
    pub(crate) accept_errors: Counter,
    /// Slow queries refused for want of room.
    pub(crate) slow_full: Counter,
    /// Slow queries that were not answered in time.
    pub(crate) slow_late: Counter,
    sockets: Vec<Arc<Datagrams>>,
}

/// What became of all datagrams so far: `received` is the sum of `answered`, `shed`, `dropped`,
/// `refused` and those still in the slow path; what was sent to the sockets is `received` +
/// `kernel_dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Datagrams read.
    pub received: u64,
    /// Answers sent.
    pub answered: u64,
    /// Shed because they had waited too long.
    pub shed: u64,
    /// Not queries, or not answered for a bug.
    pub dropped: u64,
    /// Answers that the system refused to send.
    pub refused: u64,
    /// Dropped by the kernel before this process could read them.
    pub kernel_dropped: u64,
    /// System calls that read them.
    pub batches: u64,
}

impl Count {
    /// Adds; only the one writer of this count may call it. Costs no locked instruction.
    pub(crate) fn add(&self, more: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(more), Ordering::Relaxed);
    }

    /// Adds, where several threads write.
    pub(crate) fn add_shared(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Row {
    /// Counts what was asked, by type, and whether its answer is stale.
    pub(crate) fn asked(&self, asked: Asked) {
        let questions = asked
            .qtype
            .and_then(|qtype| self.questions.get(place(qtype)));
        if let Some(count) = questions {
            count.add(1);
        }
        if asked.stale {
            self.stale.add(1);
        }
    }

    /// The same where several threads write.
    pub(crate) fn asked_shared(&self, asked: Asked) {
        let questions = asked
            .qtype
            .and_then(|qtype| self.questions.get(place(qtype)));
        if let Some(count) = questions {
            count.add_shared(1);
        }
        self.stale.add_shared(u64::from(asked.stale));
    }

    /// Counts an answer by its RCODE, and the time it took.
    pub(crate) fn answer(&self, message: &[u8], time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.answers
            .get(rcode(message))
            .into_iter()
            .for_each(|count| count.add(1));
        self.times
            .get(bucket(nanoseconds))
            .into_iter()
            .for_each(|count| count.add(1));
        self.nanoseconds.add(nanoseconds);
    }

    /// The same where several threads write.
    pub(crate) fn answer_shared(&self, message: &[u8], time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.answers
            .get(rcode(message))
            .into_iter()
            .for_each(|count| count.add_shared(1));
        self.times
            .get(bucket(nanoseconds))
            .into_iter()
            .for_each(|count| count.add_shared(1));
        self.nanoseconds.add_shared(nanoseconds);
    }

    fn answered(&self) -> u64 {
        self.answers.iter().map(Count::get).sum()
    }
}

/// The place of a type in [`TYPES`].
fn place(qtype: u16) -> usize {
    match qtype {
        rtype::A => 0,
        rtype::AAAA => 1,
        rtype::SRV => 2,
        rtype::TXT => 3,
        rtype::ANY => 4,
        rtype::PTR => 5,
        rtype::SOA => 6,
        rtype::NS => 7,
        rtype::CNAME => 8,
        _ => 9,
    }
}

fn rcode(message: &[u8]) -> usize {
    message.get(3).map_or(0, |octet| usize::from(octet & 0x0f))
}

fn bucket(nanoseconds: u64) -> usize {
    let micros = nanoseconds.div_ceil(1_000);
    let bits = u64::BITS - micros.saturating_sub(1).leading_zeros();
    usize::try_from(bits).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

impl Counters {
    /// Zeros for `workers` workers that read `sockets`; shown by `metrics`.
    pub(crate) fn new(
        workers: usize,
        sockets: Vec<Arc<Datagrams>>,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let register = |name, help| metrics.register(name, help, Counter::default());
        let this = Arc::new(Self {
            workers: std::iter::repeat_with(Row::default).take(workers).collect(),
            slow: Row::default(),
            tcp: Row::default(),
            connections: metrics.register(
                "dns_tcp_connections",
                "Open TCP connections",
                Gauge::default(),
            ),
            turned_away: register("dns_tcp_turned_away", "Connections over the limit"),
            accept_errors: register("dns_tcp_accept_errors", "Accepts that failed"),
            slow_full: register("dns_slow_full", "Slow queries refused for want of room"),
            slow_late: register("dns_slow_late", "Slow queries not answered in time"),
            sockets,
        });
        this.show(metrics);
        this
    }

    fn show(self: &Arc<Self>, metrics: &Metrics) {
        for (name, help, figure) in [
            ("dns_queries", "Messages received", Figure::Received),
            ("dns_questions", "Questions, by type", Figure::Questions),
            ("dns_answers", "Answers sent, by RCODE", Figure::Answers),
            (
                "dns_stale_answers",
                "Answers older than what the leader may know",
                Figure::Stale,
            ),
            (
                "dns_shed",
                "Queries not answered: they had waited too long",
                Figure::Shed,
            ),
            (
                "dns_dropped",
                "Messages that are no queries",
                Figure::Dropped,
            ),
            (
                "dns_send_errors",
                "Answers the system refused to send",
                Figure::Refused,
            ),
            ("dns_slow", "Queries handed to the slow path", Figure::Slow),
            (
                "dns_panics",
                "Queries dropped because answering them panicked: a bug",
                Figure::Panics,
            ),
            (
                "dns_kernel_drops",
                "Datagrams the kernel dropped",
                Figure::KernelDrops,
            ),
            (
                "dns_query_seconds",
                "Time from receive to send",
                Figure::Times,
            ),
        ] {
            metrics.register(
                name,
                help,
                Shown {
                    counters: Arc::clone(self),
                    figure,
                },
            );
        }
    }

    /// The row of one worker.
    pub(crate) fn worker(&self, worker: usize) -> Option<&Row> {
        self.workers.get(worker)
    }

    /// What became of the datagrams so far.
    pub(crate) fn totals(&self) -> Totals {
        let sum = |pick: fn(&Row) -> &Count| self.workers.iter().map(pick).map(Count::get).sum();
        let fast: u64 = self.workers.iter().map(Row::answered).sum();
        let refused: u64 = sum(|row| &row.refused);
        Totals {
            received: sum(|row| &row.received),
            answered: fast + self.slow.answered(),
            shed: sum(|row| &row.shed),
            dropped: sum(|row| &row.dropped),
            refused: refused + self.slow.refused.get(),
            kernel_dropped: socket::kernel_drops(&self.sockets),
            batches: sum(|row| &row.batches),
        }
    }

    fn rows(&self, transport: Transport) -> impl Iterator<Item = &Row> {
        let udp = transport == Transport::Udp;
        let workers = self.workers.iter().chain([&self.slow]);
        workers
            .filter(move |_| udp)
            .chain([&self.tcp].into_iter().filter(move |_| !udp))
    }

    fn sum(&self, transport: Transport, pick: impl Fn(&Row) -> u64) -> u64 {
        self.rows(transport).map(pick).sum()
    }
}

/// One metric of the engine.
#[derive(Clone, Copy, Debug)]
enum Figure {
    Received,
    Questions,
    Answers,
    Stale,
    Shed,
    Dropped,
    Refused,
    Slow,
    Panics,
    KernelDrops,
    Times,
}

/// Adds the rows up when the metric is asked for.
#[derive(Clone)]
struct Shown {
    counters: Arc<Counters>,
    figure: Figure,
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.figure.fmt(formatter)
    }
}

impl Shown {
    fn each(&self, mut encoder: MetricEncoder<'_>, pick: fn(&Row) -> u64) -> fmt::Result {
        for transport in [Transport::Udp, Transport::Tcp] {
            let labels = [("transport", transport.to_string())];
            let value = self.counters.sum(transport, pick);
            encoder
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }

    /// Counts of each kind, of those that occurred.
    fn kinds<const N: usize>(
        &self,
        mut encoder: MetricEncoder<'_>,
        label: &str,
        names: impl Fn(usize) -> String,
        pick: fn(&Row) -> &[Count; N],
    ) -> fmt::Result {
        for transport in [Transport::Udp, Transport::Tcp] {
            for kind in 0..N {
                let count = |row: &Row| pick(row).get(kind).map_or(0, Count::get);
                let value = self.counters.sum(transport, count);
                if value > 0 {
                    let labels = [("transport", transport.to_string()), (label, names(kind))];
                    encoder
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure to be shown")]
    fn times(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for transport in [Transport::Udp, Transport::Tcp] {
            let labels = [("transport", transport.to_string())];
            let total = |pick: &dyn Fn(&Row) -> u64| self.counters.sum(transport, pick);
            let buckets: Vec<(f64, u64)> = (0..BUCKETS)
                .map(|bucket| {
                    let last = bucket == BUCKETS - 1;
                    let bound = if last {
                        f64::MAX
                    } else {
                        (1_u64 << bucket) as f64 / 1e6
                    };
                    (
                        bound,
                        total(&|row| row.times.get(bucket).map_or(0, Count::get)),
                    )
                })
                .collect();
            let seconds = total(&|row| row.nanoseconds.get()) as f64 / 1e9;
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}

impl EncodeMetric for Shown {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.figure {
            Figure::Received => self.each(encoder, |row| row.received.get()),
            Figure::Questions => {
                let name = |kind: usize| TYPES.get(kind).copied().unwrap_or_default().to_owned();
                self.kinds(encoder, "type", name, |row| &row.questions)
            }
            Figure::Answers => self.kinds(
                encoder,
                "rcode",
                |kind| kind.to_string(),
                |row| &row.answers,
            ),
            Figure::Stale => self.each(encoder, |row| row.stale.get()),
            Figure::Shed => self.each(encoder, |row| row.shed.get()),
            Figure::Dropped => self.each(encoder, |row| row.dropped.get()),
            Figure::Refused => self.each(encoder, |row| row.refused.get()),
            Figure::Slow => self.each(encoder, |row| row.slow.get()),
            Figure::Panics => self.each(encoder, |row| row.panics.get()),
            Figure::Times => self.times(encoder),
            Figure::KernelDrops => {
                let drops = socket::kernel_drops(&self.counters.sockets);
                encoder.encode_counter::<NoLabelSet, u64, u64>(&drops, None)
            }
        }
    }

    fn metric_type(&self) -> MetricType {
        match self.figure {
            Figure::Times => MetricType::Histogram,
            _ => MetricType::Counter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_added_up_by_transport_and_rcode() {
        let metrics = Metrics::new();
        let counters = Counters::new(2, Vec::new(), &metrics);
        let nxdomain = [0, 0, 0x80, 3];
        for worker in 0..2 {
            let row = counters.worker(worker).unwrap();
            row.received.add(5);
            row.answer(&nxdomain, Duration::from_micros(3));
            row.asked(Asked {
                qtype: Some(rtype::SRV),
                stale: true,
            });
            row.asked(Asked {
                qtype: Some(65_280),
                stale: false,
            });
            row.asked(Asked::default());
        }
        counters
            .tcp
            .answer_shared(&nxdomain, Duration::from_secs(9));
        let text = metrics.text();
        for line in [
            "herald_dns_queries_total{transport=\"udp\"} 10",
            "herald_dns_questions_total{transport=\"udp\",type=\"SRV\"} 2",
            "herald_dns_questions_total{transport=\"udp\",type=\"other\"} 2",
            "herald_dns_stale_answers_total{transport=\"udp\"} 2",
            "herald_dns_answers_total{transport=\"udp\",rcode=\"3\"} 2",
            "herald_dns_answers_total{transport=\"tcp\",rcode=\"3\"} 1",
            "herald_dns_query_seconds_bucket{le=\"0.000004\",transport=\"udp\"} 2",
            "herald_dns_query_seconds_bucket{le=\"+Inf\",transport=\"tcp\"} 1",
            "herald_dns_kernel_drops_total 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(counters.totals().received, 10);
        assert_eq!(counters.totals().answered, 2);
    }

    #[test]
    fn a_bucket_holds_times_up_to_its_power_of_two() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(1_000), 0);
        assert_eq!(bucket(1_001), 1);
        assert_eq!(bucket(4_000), 2);
        assert_eq!(bucket(4_001), 3);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}

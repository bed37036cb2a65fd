//! Figures of the HTTP part.

use axum::http::{Method, Uri};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use tokio::time::Instant;

use crate::clock;
use crate::metrics::Metrics;

/// Upper bounds of the buckets for the time of a request, in seconds.
const SECONDS: [f64; 12] = [
    0.000_1, 0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0,
];

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
    /// Time for a header to arrive: 408.
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
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    group: &'static str,
    waits: Waits,
}

/// Whether a request may wait for a change, so that its time says nothing about speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Waits {
    Yes,
    No,
}

/// What is counted of a request, taken before it is served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    group: &'static str,
    method: &'static str,
    waits: Waits,
    since: Instant,
}

impl Request {
    /// A request that begins now.
    pub(crate) fn begin(method: &Method, uri: &Uri) -> Self {
        Self {
            group: group(uri.path()),
            method: method_label(method),
            waits: if may_wait(uri.query().unwrap_or_default()) {
                Waits::Yes
            } else {
                Waits::No
            },
            since: clock::now(),
        }
    }
}

/// The counters, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    requests: Family<RequestLabels, Counter>,
    times: Family<TimeLabels, Histogram, fn() -> Histogram>,
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
                "Requests answered, by API group, method and status",
                Family::default(),
            ),
            times: metrics.register(
                "http_request_seconds",
                "Time from a request's header to its answer; those that name an index or a hash \
                 may wait for a change",
                Family::new_with_constructor(histogram as fn() -> Histogram),
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

    /// Counts an answer and the time that it took.
    pub(crate) fn answered(&self, request: Request, status: u16) {
        let Request {
            group,
            method,
            waits,
            since,
        } = request;
        let labels = RequestLabels {
            group,
            method,
            status,
        };
        self.requests.get_or_create(&labels).inc();
        let time = clock::now() - since;
        let times = self.times.get_or_create(&TimeLabels { group, waits });
        times.observe(time.as_secs_f64());
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

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

/// The methods that exist; clients can invent others without end.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn may_wait(query: &str) -> bool {
    let mut pairs = query.split('&');
    pairs.any(|pair| pair.starts_with("index=") || pair.starts_with("hash="))
}

/// The API group that a path belongs to.
fn group(path: &str) -> &'static str {
    let (version, rest) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default();
    let name = rest.split('/').next().unwrap_or_default();
    match (version, name) {
        ("v1", "agent") => "agent",
        ("v1", "catalog") => "catalog",
        ("v1", "event") => "event",
        ("v1", "health") => "health",
        ("v1", "operator") => "operator",
        ("v1", "status") => "status",
        ("ui", _) => "ui",
        _ => "other",
    }
}

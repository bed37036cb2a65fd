//! Figures of calls to servers: those of all pools of an agent together.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::CallError;
use crate::metrics::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

/// What is counted. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    sessions: Gauge,
    dials_failed: Counter,
    calls: Counter,
    failures: Family<OfKind, Counter>,
}

/// A session, counted for as long as this is kept.
#[derive(Debug)]
pub(super) struct Counted(Gauge);

impl Counts {
    /// The counters of `metrics`, registered once.
    pub(super) fn of(metrics: &Metrics) -> Self {
        metrics.set(|metrics| Self {
            sessions: metrics.register(
                "rpc_client_sessions",
                "Sessions with servers that are kept for calls",
                Gauge::default(),
            ),
            dials_failed: metrics.register(
                "rpc_client_dials_failed",
                "Connections to servers that could not be opened",
                Counter::default(),
            ),
            calls: metrics.register("rpc_client_calls", "Calls to servers", Counter::default()),
            failures: metrics.register(
                "rpc_client_calls_failed",
                "Calls to servers without a result, by kind",
                Family::default(),
            ),
        })
    }

    /// A session begins.
    pub(super) fn session(&self) -> Counted {
        self.sessions.inc();
        Counted(self.sessions.clone())
    }

    /// No connection came about.
    pub(super) fn dial_failed(&self) {
        self.dials_failed.inc();
    }

    /// A call begins.
    pub(super) fn call(&self) {
        self.calls.inc();
    }

    /// A call has no result.
    pub(super) fn failed(&self, error: &CallError) {
        let kind = match error {
            CallError::Connect { .. } => "connect",
            CallError::Remote(_) => "remote",
            CallError::Broken(_) => "broken",
            CallError::Deadline(_) => "deadline",
        };
        self.failures.get_or_create(&OfKind { kind }).inc();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

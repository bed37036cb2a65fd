//! How much there is of this node, as figures.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::core::Core;
use crate::metrics::Metrics;
use crate::types::Status;

/// How much there is now.
#[derive(Debug)]
pub(super) struct Gauges {
    services: Gauge,
    checks: Gauge,
    pending: Gauge,
    by_status: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl Gauges {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let gauge = |name, help| metrics.register(name, help, Gauge::default());
        Self {
            services: gauge("local_services", "Services registered at this agent"),
            checks: gauge("local_checks", "Checks registered at this agent"),
            by_status: metrics.register(
                "local_checks_by_status",
                "Checks registered at this agent, by status",
                Family::default(),
            ),
            pending: gauge(
                "local_sync_pending",
                "Entries that the catalog has yet to be told",
            ),
        }
    }

    pub(super) fn show(&self, core: &mut Core) {
        let set = |gauge: &Gauge, count| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set(&self.services, core.state().services.len());
        set(&self.checks, core.state().checks.len());
        for status in [Status::Passing, Status::Warning, Status::Critical] {
            let gauge = self.by_status.get_or_create(&[("status", status.as_str())]);
            set(&gauge, core.state().count(status));
        }
        set(&self.pending, core.pending().len());
    }
}

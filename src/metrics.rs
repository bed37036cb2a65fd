//! Counts: a registry value handed to the parts, so that many agents can live in one process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::registry::{Metric, Registry};

/// The metrics of one agent. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `metric` under `name` (without the prefix `herald_` or the suffix `_total`, which are
    /// added) and hands it back for counting.
    pub fn register<M>(&self, name: &str, help: &str, metric: M) -> M
    where
        M: Metric + Clone,
    {
        let mut registry = self.lock();
        registry.register(format!("herald_{name}"), help, metric.clone());
        metric
    }

    /// The current figures as `OpenMetrics` text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.lock();
        if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics could not be written as text");
        }
        text
    }

    /// A panic elsewhere does not make the figures useless.
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn counts_are_shown() {
        let metrics = Metrics::new();
        let queries: Counter =
            metrics.register("dns_queries", "Queries received", Counter::default());
        queries.inc();
        assert!(metrics.text().contains("herald_dns_queries_total 1"));
    }
}

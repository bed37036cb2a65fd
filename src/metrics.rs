//! Counts: a registry value handed to the parts, so that many agents can live in one process.
//!
//! Owns names (prefix and filter) and what is shown; `text` reads and converts what the encoder
//! writes. A figure is either counted where it happens or computed when it is asked for.

mod naming;
mod shown;
mod text;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::clock;

pub use naming::{Naming, NamingError, Rule};
pub use text::{Family, Kind, Sample};

/// The metrics of one agent. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    naming: Naming,
    registry: Mutex<Registry>,
    sets: Mutex<HashMap<TypeId, Box<dyn Any + Send>>>,
    start: Instant,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::named(Naming::default())
    }
}

impl Metrics {
    /// An empty registry that names and shows everything as herald does by itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty registry with other names.
    pub fn named(naming: Naming) -> Self {
        Self {
            shared: Arc::new(Shared {
                naming,
                registry: Mutex::default(),
                sets: Mutex::default(),
                start: clock::monotonic(),
            }),
        }
    }

    /// Adds `metric` under `name` (without the prefix `herald_` or the suffix `_total`, which are
    /// added) and hands it back for counting. It is counted, but not shown, where the filter
    /// excludes it.
    pub fn register<M>(&self, name: &str, help: &str, metric: M) -> M
    where
        M: Metric + Clone,
    {
        let name = self.shared.naming.full(name);
        self.add(name, help, metric.clone());
        metric
    }

    /// The set of metrics of type `T`, made by `register` if nobody has asked for it before: for
    /// parts of which an agent has several, whose figures differ by a label.
    ///
    /// # Panics
    /// Never: what is kept under a type is of that type.
    pub fn set<T>(&self, register: impl FnOnce(&Self) -> T) -> T
    where
        T: Clone + Send + 'static,
    {
        let sets = self.shared.sets.lock();
        let mut sets = sets.unwrap_or_else(PoisonError::into_inner);
        let set = sets
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Box::new(register(self)));
        set.downcast_ref::<T>()
            .expect("a set is kept under its own type")
            .clone()
    }

    /// Shows a gauge that `read` computes when it is asked for. It must not ask these metrics.
    pub fn show<F>(&self, name: &str, help: &str, read: F)
    where
        F: Fn() -> f64 + Send + Sync + 'static,
    {
        let name = self.shared.naming.full(name);
        self.add(name, help, shown::Single::gauge(read));
    }

    /// Shows gauges under one name that differ by the value of one label.
    pub fn show_each<F, const N: usize>(&self, name: &str, help: &str, label: &'static str, read: F)
    where
        F: Fn() -> [(&'static str, f64); N] + Send + Sync + 'static,
    {
        let name = self.shared.naming.full(name);
        self.add(name, help, shown::Labelled::new(label, read));
    }

    /// Shows a gauge under exactly this name: one that means the same in every program.
    pub fn show_standard<F>(&self, name: &str, help: &str, read: F)
    where
        F: Fn() -> f64 + Send + Sync + 'static,
    {
        self.add(name.to_owned(), help, shown::Single::gauge(read));
    }

    /// Shows a sum that only grows under exactly this name, with `_total` at its end.
    pub fn show_standard_sum<F>(&self, name: &str, help: &str, read: F)
    where
        F: Fn() -> f64 + Send + Sync + 'static,
    {
        self.add(name.to_owned(), help, shown::Single::sum(read));
    }

    /// Shows constant labels, as of the build.
    pub fn show_info<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [(&'static str, &'static str); N],
    ) {
        let name = self.shared.naming.full(name);
        self.add(name, help, Info::new(labels));
    }

    /// Time since these metrics began to count.
    pub fn age(&self) -> Duration {
        clock::monotonic().duration_since(self.shared.start)
    }

    /// The current figures as `OpenMetrics` 1.0 text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.lock();
        if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics could not be written as text");
        }
        text
    }

    /// The current figures as Prometheus text 0.0.4, for whoever does not ask for `OpenMetrics`.
    pub fn plain_text(&self) -> String {
        text::to_plain(&self.text())
    }

    /// The current figures, family by family, in the order of their registration.
    pub fn families(&self) -> Vec<Family> {
        text::read(&self.text())
    }

    fn add(&self, name: String, help: &str, metric: impl Metric) {
        if self.shared.naming.shows(&name) {
            self.lock().register(name, help, metric);
        }
    }

    /// A panic elsewhere does not make the figures useless.
    fn lock(&self) -> MutexGuard<'_, Registry> {
        let registry = &self.shared.registry;
        registry.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn figures_are_computed_when_they_are_asked_for() {
        let metrics = Metrics::new();
        metrics.show("rows", "Rows", || 2.0);
        metrics.show_each("checks", "Checks", "status", || {
            [("passing", 3.0), ("critical", 0.0)]
        });
        metrics.show_standard_sum("process_cpu_seconds", "Time", || 1.5);
        let text = metrics.text();
        for line in [
            "herald_rows 2.0",
            "herald_checks{status=\"passing\"} 3.0",
            "herald_checks{status=\"critical\"} 0.0",
            "process_cpu_seconds_total 1.5",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_set_of_several_parts_is_registered_once() {
        #[derive(Clone)]
        struct Set(Counter);
        let register =
            |metrics: &Metrics| Set(metrics.register("packets", "Packets", Counter::default()));
        let metrics = Metrics::new();
        metrics.set(register).0.inc();
        metrics.set(register).0.inc();
        let text = metrics.text();
        assert_eq!(text.matches("herald_packets_total 2").count(), 1, "{text}");
    }

    #[test]
    fn the_prefix_is_a_choice_and_a_filter_hides_what_is_counted() {
        let naming = Naming {
            prefix: "consul".to_owned(),
            rules: vec!["-consul.http".parse().unwrap()],
            ..Naming::default()
        };
        let metrics = Metrics::named(naming);
        let hidden: Counter = metrics.register("http_requests", "Requests", Counter::default());
        let shown: Counter = metrics.register("dns_queries", "Queries", Counter::default());
        hidden.inc();
        shown.inc();
        assert_eq!(hidden.get(), 1);
        let text = metrics.text();
        assert!(text.contains("consul_dns_queries_total 1"), "{text}");
        assert!(!text.contains("requests"), "{text}");
    }
}

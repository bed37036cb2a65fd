//! Starts the runs of checks, and takes their results back to the core.
//!
//! For each weight one task waits for a run that is due and for a free place, and starts it as a
//! task of its own.
//!
//! **Invariant**: a run that ends without a result (it panicked, the agent stops) is taken note of
//! all the same, so that its check has a next turn.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock;
use crate::directory::Directory;
use crate::health::{Report, Runner};
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::CheckId;

use super::probe::AliasProbe;
use super::turns::{Start, Weight};
use super::{Limits, Shared};

/// What a run is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    result: &'static str,
}

/// What is counted.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    in_flight: Gauge,
    runs: Family<Labels, Counter>,
    lateness: Histogram,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        // From 1 ms to 16 s.
        let buckets = exponential_buckets(0.001, 2.0, 15);
        Self {
            in_flight: metrics.register(
                "check_runs_in_flight",
                "Runs of checks in flight",
                Gauge::default(),
            ),
            runs: metrics.register(
                "check_runs",
                "Runs of checks by type and result",
                Family::default(),
            ),
            lateness: metrics.register(
                "check_lateness_seconds",
                "Time between the instant at which a run was due and its start",
                Histogram::new(buckets),
            ),
        }
    }
}

/// Starts runs.
#[derive(Clone)]
pub(super) struct Runs {
    pub(super) shared: Arc<Shared>,
    pub(super) directory: Directory,
    pub(super) runner: Arc<Runner>,
    pub(super) tasks: Tasks,
    pub(super) counts: Counts,
}

impl Runs {
    /// Starts the task of each weight.
    pub(super) fn start(self, limits: &Limits) {
        let all = Arc::new(Semaphore::new(limits.runs_max));
        for (weight, places) in [
            (Weight::Light, limits.runs_max),
            (Weight::Heavy, limits.programs_max),
        ] {
            let own = Arc::new(Semaphore::new(places));
            let runs = self.clone();
            let all = Arc::clone(&all);
            self.tasks
                .spawn(async move { runs.serve(weight, &own, &all).await });
        }
    }

    async fn serve(&self, weight: Weight, own: &Arc<Semaphore>, all: &Arc<Semaphore>) {
        loop {
            let place = take_place(own).await;
            let start = self.next(weight).await;
            let places = (place, take_place(all).await);
            let landing = Landing::new(self, &start);
            let runs = self.clone();
            self.tasks.spawn(async move {
                runs.carry_out(start, landing).await;
                drop(places);
            });
        }
    }

    async fn next(&self, weight: Weight) -> Start {
        loop {
            if let Some(start) = self.shared.core().take_turn(weight) {
                return start;
            }
            self.shared.turn_wake(weight).notified().await;
        }
    }

    async fn carry_out(&self, start: Start, mut landing: Landing) {
        let Start {
            turn,
            definition,
            octets_max,
        } = start;
        let late = clock::now().saturating_duration_since(turn.due);
        self.counts.lateness.observe(late.as_secs_f64());
        let probe = AliasProbe {
            shared: Arc::clone(&self.shared),
            directory: self.directory.clone(),
            id: turn.id,
        };
        let run = self.runner.run(&definition.mechanism, octets_max, &probe);
        let report = tokio::select! {
            report = run => Some(report),
            () = turn.stop.cancelled() => None,
        };
        landing.report = report;
    }
}

async fn take_place(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let place = Arc::clone(semaphore).acquire_owned().await;
    place.expect("nobody closes the semaphore")
}

/// Hands the result of a run to the core when it goes, whatever became of the run.
struct Landing {
    shared: Arc<Shared>,
    counts: Counts,
    id: CheckId,
    number: u64,
    kind: &'static str,
    report: Option<Report>,
}

impl Landing {
    fn new(runs: &Runs, start: &Start) -> Self {
        runs.counts.in_flight.inc();
        Self {
            shared: Arc::clone(&runs.shared),
            counts: runs.counts.clone(),
            id: start.turn.id.clone(),
            number: start.turn.number,
            kind: start.definition.mechanism.check_type().as_str(),
            report: None,
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.counts.in_flight.dec();
        let report = self.report.take();
        let labels = Labels {
            kind: self.kind,
            result: report
                .as_ref()
                .map_or("abandoned", |report| report.status.as_str()),
        };
        self.counts.runs.get_or_create(&labels).inc();
        let (id, number) = (&self.id, self.number);
        self.shared
            .change(|core, now| core.end_run(now, id, number, report));
    }
}

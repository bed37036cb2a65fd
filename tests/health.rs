//! Health checks by behaviour: each runner against a real peer, and an agent whose checks run.

#[path = "health/agent.rs"]
mod agent;
#[path = "health/bounds.rs"]
mod bounds;
#[path = "health/docker.rs"]
mod docker;
#[path = "health/http.rs"]
mod http;
#[path = "health/http2.rs"]
mod http2;
#[path = "health/network.rs"]
mod network;
#[path = "health/program.rs"]
mod program;

use std::time::Duration;

use herald::health::{Followed, Mechanism, Probe, Report, Runner, RunnerConfig, Settings};
use herald::types::Status;

/// For checks that are no aliases.
struct NoProbe;

impl Probe for NoProbe {
    async fn look(&self, _: &str, _: &str) -> Result<Followed, String> {
        Err("nothing is followed here".to_owned())
    }
}

/// Settings of a check with time enough for a busy machine.
fn settings(fill: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
        ..Settings::default()
    };
    fill(&mut settings);
    settings
}

/// One run, with at most 4,096 octets of output.
async fn run(settings: Settings) -> Report {
    run_with(RunnerConfig::default(), settings).await
}

async fn run_with(config: RunnerConfig, settings: Settings) -> Report {
    let mechanism = Mechanism::checked(settings).unwrap();
    Runner::new(config).run(&mechanism, 4_096, &NoProbe).await
}

/// `status output`.
fn said(report: &Report) -> String {
    format!("{} {}", report.status, report.output)
}

fn assert_critical(report: &Report, part: &str) {
    assert_eq!(report.status, Status::Critical, "{}", said(report));
    assert!(report.output.contains(part), "{}", said(report));
}

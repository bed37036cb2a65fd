//! How many runs may be in flight, and what is counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use herald::directory::{self, Directory};
use herald::health::{Mechanism, Settings};
use herald::local::{self, CheckDefinition, Limits, Local};
use herald::metrics::Metrics;
use herald::task::Tasks;
use herald::types::{Meta, NodeId, Status};
use herald::{catalog, raft};
use tokio::io::AsyncReadExt as _;

use crate::support::eventually;
use crate::support::peers::{Peer, answer, nobody};

/// The services and checks of a node, without an agent around them.
struct Node {
    local: Local,
    metrics: Metrics,
    tasks: Tasks,
}

impl Node {
    async fn start(limits: Limits) -> Self {
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        let (writer, reader) = catalog::open_server();
        let proposer = raft::alone(writer, &metrics, &tasks).await;
        let bounds = directory::Config {
            datacenter: "dc1".parse().unwrap(),
            address: SocketAddr::from(([127, 0, 0, 1], 8300)),
            wait_default: Duration::from_secs(300),
            wait_max: Duration::from_secs(600),
        };
        let (id, name) = (NodeId::random(), "n1".parse().unwrap());
        let loopback = [127, 0, 0, 1].into();
        let config = local::Config {
            node: local::node_entry(id, name, loopback, loopback, &Meta::default()),
            server: true,
            limits,
            sync: local::SyncConfig::default(),
            data_dir: None,
        };
        let directory = Directory::new(bounds, reader, proposer);
        Self {
            local: local::start(config, directory, &metrics, &tasks).unwrap(),
            metrics,
            tasks,
        }
    }

    /// Registers a check that runs every second.
    async fn check(&self, id: &str, fill: impl FnOnce(&mut Settings)) {
        let mut settings = Settings {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(600),
            ..Settings::default()
        };
        fill(&mut settings);
        let definition = CheckDefinition {
            id: Some(id.parse().unwrap()),
            ..CheckDefinition::new(Mechanism::checked(settings).unwrap())
        };
        self.local.register_check(definition).await.unwrap();
    }

    fn status(&self, id: &str) -> Status {
        let state = self.local.state();
        state.check(&id.parse().unwrap()).unwrap().check.status
    }

    /// The value of a line of the metrics.
    fn figure(&self, line: &str) -> Option<String> {
        let text = self.metrics.text();
        let mut lines = text.lines();
        let found = lines.find_map(|have| have.strip_prefix(line)?.strip_prefix(' '));
        found.map(str::to_owned)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

#[tokio::test]
async fn no_more_runs_are_in_flight_than_allowed() {
    let node = Node::start(Limits {
        runs_max: 3,
        ..Limits::default()
    })
    .await;
    let (open, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (own_open, own_seen) = (Arc::clone(&open), Arc::clone(&seen));
    // Hangs until the check goes.
    let peer = Peer::start(None, move |mut stream| {
        let (open, seen) = (Arc::clone(&own_open), Arc::clone(&own_seen));
        async move {
            seen.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while matches!(stream.read(&mut [0; 512]).await, Ok(1..)) {}
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    for number in 0..10 {
        let url = format!("http://{}/", peer.address);
        node.check(&format!("c{number}"), |settings| settings.http = url)
            .await;
    }
    eventually(async || open.load(Ordering::SeqCst) == 3).await;
    assert_eq!(
        node.figure("herald_check_runs_in_flight").as_deref(),
        Some("3")
    );
    // Those that go make room for others, as many as there were.
    for number in 0..10 {
        let id = format!("c{number}").parse().unwrap();
        node.local.deregister_check(&id).await.unwrap();
    }
    eventually(async || open.load(Ordering::SeqCst) == 0).await;
    eventually(async || node.figure("herald_check_runs_in_flight").as_deref() == Some("0")).await;
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn programs_that_hang_hold_up_no_other_checks() {
    let node = Node::start(Limits {
        enable_script_checks: true,
        programs_max: 1,
        runs_max: 2,
        ..Limits::default()
    })
    .await;
    for id in ["hangs", "waits"] {
        let args = ["/bin/sh", "-c", "sleep 1000"].map(str::to_owned);
        node.check(id, |settings| settings.args = args.into()).await;
    }
    let running = |node: &Node| node.figure("herald_check_runs_in_flight");
    eventually(async || running(&node).is_some_and(|count| count != "0")).await;
    let peer = Peer::http(None, |_| answer("200 OK", "")).await;
    let url = format!("http://{}/", peer.address);
    node.check("web", |settings| settings.http = url).await;
    eventually(async || node.status("web") == Status::Passing).await;
    assert_eq!(node.status("waits"), Status::Critical);
    assert!(node.tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn runs_are_counted_by_type_and_result() {
    let node = Node::start(Limits::default()).await;
    let peer = Peer::start(None, |_| async {}).await;
    let (good, bad) = (peer.address.to_string(), nobody().to_string());
    node.check("good", |settings| settings.tcp = good).await;
    node.check("bad", |settings| settings.tcp = bad).await;
    for result in ["passing", "critical"] {
        let line = format!("herald_check_runs_total{{kind=\"tcp\",result=\"{result}\"}}");
        eventually(async || node.figure(&line).is_some()).await;
        let line = format!("herald_local_checks_by_status{{status=\"{result}\"}}");
        eventually(async || node.figure(&line).as_deref() == Some("1")).await;
    }
    let late = node.figure("herald_check_lateness_seconds_count").unwrap();
    assert!(late.parse::<u64>().unwrap() >= 2, "{late}");
}

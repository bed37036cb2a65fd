//! Clusters of several servers on a simulated network, from a seed that is printed.

mod compaction;
mod contradictions;
mod faults;
mod history;
mod membership;
mod restarts;

use std::path::PathBuf;

use super::simulated::Simulated;
use super::*;
use crate::catalog::{Deregistration, Operation, Reader, open_server};

/// Longest wait for anything that is to come.
const LONG: Duration = Duration::from_secs(20);

/// A directory that goes with the test.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("herald-raft-{:x}", rand::random::<u64>()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn configs(&self, count: u128) -> Vec<Config> {
        (1..=count)
            .map(|number| config(number, Some(self.0.join(number.to_string()))))
            .collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until `holds`.
///
/// # Panics
/// It does not in time.
async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let holds = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = tokio::time::timeout(LONG, holds).await;
    assert!(held.is_ok(), "it never came to this: {what}");
}

fn command(node: &str) -> Command {
    Command {
        request: rand::random(),
        operations: vec![Operation::Deregister(Deregistration::Node(
            node.parse().unwrap(),
        ))],
    }
}

struct TestServer {
    raft: Raft,
    reader: Reader,
    tasks: Tasks,
    config: Config,
    metrics: Metrics,
}

impl TestServer {
    async fn start(config: Config, network: &Simulated) -> Result<Self, StartError> {
        let (writer, reader) = open_server();
        let (tasks, metrics) = (Tasks::new(), Metrics::new());
        let wires = network.of(config.id);
        let raft = start_with(
            config.clone(),
            writer,
            wires,
            Arc::new(()),
            &metrics,
            &tasks,
        );
        let raft = raft.await?;
        network.connect(&raft.node);
        Ok(Self {
            raft,
            reader,
            tasks,
            config,
            metrics,
        })
    }

    fn id(&self) -> ServerId {
        self.config.id
    }

    fn status(&self) -> Arc<Status> {
        self.raft.status()
    }

    async fn propose(&self) -> Result<Outcome, ProposeError> {
        let context = RequestContext::default();
        self.raft.propose(&context, command("gone")).await
    }

    /// Proposes, and expects it to be done.
    async fn write(&self) -> Index {
        match self.propose().await {
            Ok(Outcome::Applied { index }) => index,
            other => panic!("the command was not applied: {other:?}"),
        }
    }

    async fn stop(self) -> Config {
        assert!(self.tasks.stop(LONG).await);
        self.config
    }
}

struct Cluster {
    network: Simulated,
    servers: Vec<TestServer>,
}

fn seed() -> u64 {
    let given = std::env::var("HERALD_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().unwrap());
    eprintln!("HERALD_TEST_SEED={seed}");
    seed
}

fn config(number: u128, directory: Option<PathBuf>) -> Config {
    Config {
        id: ServerId(number),
        peer: Peer {
            name: format!("s{number}"),
            address: ([127, 0, 0, 1], 8300).into(),
        },
        directory,
        multiplier: 1,
        compaction: Compaction::default(),
        hold: Duration::from_secs(5),
        bounds: Bounds::default(),
        tls: None,
    }
}

impl Cluster {
    /// So many servers in memory, one of which leads.
    async fn start(count: u128) -> Self {
        Self::of((1..=count).map(|number| config(number, None)).collect()).await
    }

    async fn of(configs: Vec<Config>) -> Self {
        let mut cluster = Self::unfounded(configs).await;
        let servers = cluster.servers.iter().map(|server| &server.config);
        let servers = servers
            .map(|config| (config.id, config.peer.clone()))
            .collect();
        let founder = cluster.servers.first().unwrap();
        founder.raft.bootstrap(servers).await.unwrap();
        cluster.leader().await;
        cluster
    }

    async fn unfounded(configs: Vec<Config>) -> Self {
        let network = Simulated::new(seed());
        let mut servers = Vec::new();
        for config in configs {
            servers.push(TestServer::start(config, &network).await.unwrap());
        }
        Self { network, servers }
    }

    /// Waits for a leader among all.
    async fn leader(&mut self) -> &TestServer {
        let leads = |server: &&TestServer| server.status().leads();
        let servers = &self.servers;
        let waited = eventually("one leads", async || servers.iter().any(|one| leads(&one)));
        waited.await;
        let leader = self.servers.iter().find(leads);
        leader.expect("it has just begun to lead")
    }

    /// Waits until all have applied what the one that is furthest has.
    async fn converge(&self) {
        let applied = || self.servers.iter().map(|server| server.reader.applied());
        eventually("all have applied the same", async || {
            applied().min() == applied().max()
        })
        .await;
    }

    async fn stop(self) -> Vec<Config> {
        let mut configs = Vec::new();
        for server in self.servers {
            configs.push(server.stop().await);
        }
        configs
    }
}

#[tokio::test]
async fn one_leads_and_any_server_takes_writes_and_reads() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await.id();
    let mut last = Index(0);
    for server in &cluster.servers {
        eventually("all know the leader", async || {
            server.status().leader == Some(leader)
        })
        .await;
        let index = server.write().await;
        assert!(index > last);
        last = index;
        // Whoever has the answer finds it on the server that was asked.
        assert!(server.reader.applied() >= index);
        for consistency in [Consistency::Default, Consistency::Consistent] {
            for other in &cluster.servers {
                assert!(other.raft.fresh(consistency).await.unwrap() >= index);
                assert!(other.reader.applied() >= index);
            }
        }
    }
    cluster.converge().await;
    let term = cluster.servers[0].status().term;
    assert!(
        cluster
            .servers
            .iter()
            .all(|server| server.status().term == term)
    );
    cluster.stop().await;
}

#[tokio::test]
async fn writes_at_all_servers_go_on_over_a_bad_network() {
    let cluster = Cluster::start(5).await;
    cluster.network.disturb(30, Duration::from_millis(10));
    let writes = (0..200).map(|number| {
        let server = &cluster.servers[number % 5];
        async move { server.propose().await }
    });
    let outcomes = futures_util::future::join_all(writes).await;
    let mut indexes = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(Outcome::Applied { index }) => indexes.push(index),
            // Its fate is unknown: the answer was lost.
            Err(ProposeError::Deadline { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    let count = indexes.len();
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), count, "every command has its own position");
    assert!(count > 100, "{count} of 200");
    cluster.network.disturb(0, Duration::ZERO);
    cluster.converge().await;
    assert!(cluster.servers[0].reader.applied() >= *indexes.last().unwrap());
    cluster.stop().await;
}

//! Pools over real sockets, each on an address of its own in 127.0.21.0/24.

mod encryption;
mod events;
mod hostile;
mod members;
mod serf_agent;
mod snapshots;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herald::gossip::admission::{Admission, Open};
use herald::gossip::keyring::Keyring;
use herald::gossip::pool::{Config, Pool, Scope, StartError};
use herald::gossip::serf::{self, Own, Tags};
use herald::gossip::{swim, wire};
use herald::metrics::Metrics;
use herald::task::Tasks;
use herald::types::MemberStatus;

use crate::support::eventually;

/// A pool with tasks of its own, so that it can be killed alone.
pub(crate) struct Node {
    pub(crate) pool: Pool,
    pub(crate) metrics: Metrics,
    tasks: Tasks,
}

/// How the next node is made.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) admission: Arc<dyn Admission>,
}

/// A node named `name` on 127.0.21.`last`, with the timing of a fast network.
pub(crate) fn setup(name: &str, last: u8) -> Setup {
    let bind = SocketAddr::from(([127, 0, 21, last], 0));
    Setup {
        config: Config {
            scope: Scope::Lan,
            bind,
            own: Own {
                name: name.into(),
                address: bind,
                tags: tags(&[("role", "test"), ("of", name)]),
            },
            swim: swim::Config {
                stream_deadline: Duration::from_secs(5),
                push_pull_interval: Duration::from_secs(2),
                probe_interval: Duration::from_millis(200),
                probe_timeout: Duration::from_millis(100),
                gossip_interval: Duration::from_millis(20),
                suspicion_multiplier: 2,
                suspicion_max_multiplier: 2,
                ..swim::Config::lan()
            },
            serf: serf::Config {
                reconnect_interval: Duration::from_millis(500),
                broadcast_timeout: Duration::from_secs(2),
                leave_propagate_delay: Duration::from_millis(100),
                ..serf::Config::default()
            },
            wire: wire::Settings {
                label: Arc::from([]),
                compress: true,
                verify_incoming: true,
                verify_outgoing: true,
            },
            keyring: None,
            keyring_file: None,
            snapshot: None,
            rejoin_after_leave: false,
            allowed: Vec::new(),
            streams_max: 128,
        },
        admission: Arc::new(Open),
    }
}

pub(crate) fn tags(pairs: &[(&str, &str)]) -> Tags {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

impl Setup {
    pub(crate) fn keyring(mut self, keyring: Keyring) -> Self {
        self.config.keyring = Some(keyring);
        self
    }

    pub(crate) fn try_start(self) -> Result<Node, StartError> {
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        let pool = Pool::start(self.config, self.admission, &metrics, &tasks)?;
        Ok(Node {
            pool,
            metrics,
            tasks,
        })
    }

    pub(crate) fn start(self) -> Node {
        self.try_start().expect("the pool starts")
    }
}

impl Node {
    /// The nodes `names` on addresses from `first` on, joined through the first one.
    pub(crate) async fn cluster<const N: usize>(names: [&str; N], first: u8) -> [Self; N] {
        let mut last = first;
        let nodes = names.map(|name| {
            let node = setup(name, last).start();
            last += 1;
            node
        });
        connect(&nodes).await;
        nodes
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.pool.address()
    }

    /// Joins the pool of `other`.
    pub(crate) async fn join(&self, other: &Self) {
        let target = other.address().to_string();
        let joined = self.pool.join(&[target], false).await;
        assert_eq!((joined.reached, joined.failed), (1, Vec::new()));
    }

    /// What this node thinks of `name`.
    pub(crate) fn status_of(&self, name: &str) -> MemberStatus {
        let members = self.pool.members();
        let member = members.iter().find(|member| member.name == name);
        member.map_or(MemberStatus::None, |member| member.status)
    }

    /// Waits until this node thinks that `name` is `status`.
    pub(crate) async fn sees(&self, name: &str, status: MemberStatus) {
        eventually(async || self.status_of(name) == status).await;
    }

    /// The names of the members that this node thinks alive.
    pub(crate) fn alive(&self) -> Vec<String> {
        let members = self.pool.members();
        let alive = members
            .iter()
            .filter(|member| member.status == MemberStatus::Alive);
        alive.map(|member| member.name.clone()).collect()
    }

    /// Ends it without a word to the others, as `kill -9` does.
    pub(crate) async fn kill(self) {
        assert!(self.tasks.stop(Duration::from_secs(10)).await);
    }

    /// The value of a figure, 0 if it is not there.
    pub(crate) fn figure(&self, line: &str) -> f64 {
        let text = self.metrics.text();
        let found = text.lines().find_map(|have| have.strip_prefix(line));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    }
}

/// Joins all `nodes` through the first, and waits until each sees all.
pub(crate) async fn connect(nodes: &[Node]) {
    let (first, others) = nodes.split_first().expect("there are nodes");
    for node in others {
        node.join(first).await;
    }
    for node in nodes {
        eventually(async || node.alive().len() == nodes.len()).await;
    }
}

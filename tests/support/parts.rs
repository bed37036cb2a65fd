//! Catalog, proposer, directory and API started directly, without an agent around them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herald::control::{Control, Description, LeaveError, Leaving, ReloadError, Reloading};
use herald::directory::{self, Directory};
use herald::gossip::membership::Membership;
use herald::gossip::serf::UserEvent;
use herald::log::Monitor;
use herald::metrics::Metrics;
use herald::task::Tasks;
use herald::types::{Member, MemberStatus, Meta, NodeId};
use herald::{catalog, events, http, local, raft};
use tokio::sync::broadcast;

/// A running API with an empty catalog.
pub(crate) struct Parts {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where its log can be listened to; tests write it.
    pub(crate) monitor: Monitor,
    /// Its figures.
    pub(crate) metrics: Metrics,
    /// What it runs on; dropped without stopping, the test's runtime ends it.
    pub(crate) tasks: Tasks,
}

struct TestControl {
    description: Description,
    monitor: Monitor,
    membership: Option<Membership>,
}

impl Control for TestControl {
    fn description(&self) -> &Description {
        &self.description
    }
    fn configuration(&self) -> Arc<serde_json::Value> {
        Arc::new(serde_json::Value::Null)
    }
    fn reload(&self) -> Reloading {
        let reason = "these parts have no configuration".to_owned();
        Box::pin(std::future::ready(Err(ReloadError { reason })))
    }
    fn leave(&self) -> Leaving {
        let membership = self.membership.clone();
        Box::pin(async move {
            let fail = |reason: &str| LeaveError {
                reason: reason.to_owned(),
            };
            let membership = membership.ok_or_else(|| fail("these parts are in no pool"))?;
            let left = membership.lan.leave().await;
            left.map_err(|error| fail(&error.to_string()))
        })
    }
    fn members(&self, wan: bool) -> Vec<Member> {
        if let Some(Membership { lan, wan: between }) = &self.membership {
            let pool = if wan { between.as_ref() } else { Some(lan) };
            return pool.map_or_else(Vec::new, |pool| pool.members().to_vec());
        }
        vec![Member {
            name: "<n1>".to_owned(),
            address: [127, 0, 0, 1].into(),
            port: 8301,
            tags: BTreeMap::new(),
            status: MemberStatus::Alive,
            versions: [1, 5, 2, 2, 5, 4],
        }]
    }
    fn monitor(&self) -> &Monitor {
        &self.monitor
    }
    fn machine(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn statistics(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        BTreeMap::new()
    }
}

/// Defaults of the API on a free port.
pub(crate) fn config() -> http::Config {
    http::Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        ui: true,
        ..http::Config::default()
    }
}

impl Parts {
    /// Starts with the defaults.
    pub(crate) async fn start() -> Self {
        Self::start_with(config(), false).await
    }

    /// Starts with other bounds, or in development mode.
    pub(crate) async fn start_with(config: http::Config, development: bool) -> Self {
        let heard = broadcast::channel(1).1;
        Self::start_as(config, development, None, heard).await
    }

    /// Starts with the defaults, in these pools; a server if it is in a WAN pool.
    pub(crate) async fn start_in(membership: Membership) -> Self {
        let heard = membership.lan.events();
        Self::start_as(config(), false, Some(membership), heard).await
    }

    async fn start_as(
        config: http::Config,
        development: bool,
        membership: Option<Membership>,
        heard: broadcast::Receiver<UserEvent>,
    ) -> Self {
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        let (writer, reader) = catalog::open_server();
        let proposer = raft::alone(writer, &metrics, &tasks).await;
        let bounds = directory::Config {
            datacenter: "dc1".parse().unwrap(),
            address: SocketAddr::from(([127, 0, 0, 1], 8300)),
            wait_default: Duration::from_secs(300),
            wait_max: Duration::from_secs(600),
        };
        let description = Description {
            node: "n1".parse().unwrap(),
            node_id: NodeId::random(),
            datacenter: "dc1".parse().unwrap(),
            server: membership.as_ref().is_none_or(|pools| pools.wan.is_some()),
            version: "0.1.0".to_owned(),
            revision: String::new(),
            build_date: String::new(),
            development,
        };
        let monitor = Monitor::default();
        let local = local_elsewhere(&bounds, &metrics, &tasks).await;
        let directory = Directory::new(bounds, reader, proposer);
        directory.write_locations(Duration::from_millis(10), &metrics, &tasks);
        let dependencies = http::Dependencies {
            events: events::start(heard, local.clone(), &tasks),
            membership: membership.clone(),
            local,
            directory,
            control: Arc::new(TestControl {
                description,
                monitor: monitor.clone(),
                membership,
            }),
            explainer: None,
        };
        let handle = http::start(config, dependencies, &metrics, &tasks)
            .await
            .unwrap();
        let address = *handle.addresses().first().unwrap();
        Self {
            address,
            monitor,
            metrics,
            tasks,
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

/// Services of the node that sync to a catalog of their own: the API's stays empty.
async fn local_elsewhere(
    bounds: &directory::Config,
    metrics: &Metrics,
    tasks: &Tasks,
) -> local::Local {
    let (writer, reader) = catalog::open_server();
    let proposer = raft::alone(writer, metrics, tasks).await;
    let loopback = [127, 0, 0, 1].into();
    let name = "n1".parse().unwrap();
    let config = local::Config {
        node: local::node_entry(NodeId::random(), name, loopback, loopback, &Meta::default()),
        server: true,
        limits: local::Limits::default(),
        sync: local::SyncConfig::default(),
        data_dir: None,
    };
    let directory = Directory::new(bounds.clone(), reader, proposer);
    local::start(config, directory, metrics, tasks).unwrap()
}

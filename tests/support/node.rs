//! One node: catalog, proposer, directory, services of the node and API, without DNS sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herald::catalog::{self, Operation, Reader};
use herald::control::{Control, Description, LeaveError, Leaving, ReloadError, Reloading};
use herald::directory::{self, Directory};
use herald::gossip::serf::UserEvent;
use herald::gossip::tags;
use herald::log::Monitor;
use herald::metrics::Metrics;
use herald::task::Tasks;
use herald::types::{Member, MemberStatus, Meta, NodeId};
use herald::{events, http, local, raft, reconcile};
use serde_json::Value;
use tokio::sync::broadcast;

use super::http::{Reply, get, put};

/// User events that may wait to be looked at.
const EVENTS_WAITING_MAX: usize = 1_024;

/// A running node named `n1`.
pub(crate) struct Node {
    /// Where its API listens.
    pub(crate) address: SocketAddr,
    /// Its catalog.
    pub(crate) reader: Reader,
    /// What its pool is told; tests speak for it.
    pub(crate) tell: broadcast::Sender<UserEvent>,
    tasks: Tasks,
}

struct NodeControl(Description, Monitor);

impl Control for NodeControl {
    fn description(&self) -> &Description {
        &self.0
    }
    fn configuration(&self) -> Arc<Value> {
        Arc::new(Value::Null)
    }
    fn reload(&self) -> Reloading {
        let reason = "c.json:1: invalid config key x".to_owned();
        Box::pin(std::future::ready(Err(ReloadError { reason })))
    }
    fn leave(&self) -> Leaving {
        let reason = "this node is in no pool".to_owned();
        Box::pin(std::future::ready(Err(LeaveError { reason })))
    }
    fn members(&self, wan: bool) -> Vec<Member> {
        let name = if wan { "n1.dc1" } else { "n1" };
        vec![Member {
            name: name.to_owned(),
            address: [127, 0, 0, 1].into(),
            port: 8301,
            tags: [("role".to_owned(), "consul".to_owned())].into(),
            status: MemberStatus::Alive,
            versions: [1, 5, 2, 2, 5, 4],
        }]
    }
    fn monitor(&self) -> &Monitor {
        &self.1
    }
    fn machine(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn statistics(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let group = [("server".to_owned(), "true".to_owned())].into();
        [("consul".to_owned(), group)].into()
    }
}

/// A pool of one: a server at `node`.
fn members(node: &herald::types::Node) -> Arc<[Member]> {
    let agent = tags::Agent {
        node: node.name.clone(),
        id: node.id.unwrap_or_else(NodeId::random),
        datacenter: "dc1".parse().unwrap(),
        version: "0.1.0".to_owned(),
        server: Some(tags::AgentServer {
            port: 8300,
            wan_join_port: None,
            bootstrap: true,
            expect: 0,
            tls: false,
            commands: Operation::KIND_NEWEST,
        }),
    };
    let member = Member {
        name: node.name.to_string(),
        address: [127, 0, 0, 1].into(),
        port: 8301,
        tags: agent.lan_tags(),
        status: MemberStatus::Alive,
        versions: [1, 5, 2, 2, 5, 4],
    };
    [member].into()
}

/// Keeps the catalog in line with the members, as a server does.
fn reconcile(node: &herald::types::Node, reader: &Reader, proposer: raft::Raft, tasks: &Tasks) {
    let config = reconcile::Config {
        node: node.clone(),
        datacenter: "dc1".parse().unwrap(),
        interval: Duration::from_secs(60),
    };
    reconcile::start(config, members(node), reader.clone(), proposer, tasks);
}

impl Node {
    /// Starts with the defaults; its own entries are in the catalog.
    pub(crate) async fn start() -> Self {
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        let (writer, reader) = catalog::open_server();
        let proposer = raft::alone(writer, &metrics, &tasks).await;
        let bounds = directory::Config {
            datacenter: "dc1".parse().unwrap(),
            address: SocketAddr::from(([127, 0, 0, 1], 8300)),
            wait_default: Duration::from_secs(300),
            wait_max: Duration::from_secs(600),
        };
        let directory = Directory::new(bounds, reader.clone(), proposer.clone());
        let (id, name) = (NodeId::random(), "n1".parse().unwrap());
        let (loopback, meta) = ([127, 0, 0, 1].into(), Meta::default());
        let node = local::node_entry(id, name, loopback, loopback, &meta);
        reconcile(&node, &reader, proposer, &tasks);
        let description = describe(&node);
        let config = local::Config {
            node,
            server: true,
            limits: local::Limits::default(),
            sync: local::SyncConfig {
                acknowledge_wait: Duration::from_secs(20),
                ..local::SyncConfig::default()
            },
            data_dir: None,
        };
        let local = local::start(config, directory.clone(), &metrics, &tasks).unwrap();
        let (tell, heard) = broadcast::channel(EVENTS_WAITING_MAX);
        let dependencies = http::Dependencies {
            events: events::start(heard, local.clone(), &tasks),
            membership: None,
            local,
            directory,
            control: Arc::new(NodeControl(description, Monitor::default())),
            explainer: None,
        };
        let config = http::Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            ..http::Config::default()
        };
        let handle = http::start(config, dependencies, &metrics, &tasks)
            .await
            .unwrap();
        let address = *handle.addresses().first().unwrap();
        let node = Self {
            address,
            reader,
            tell,
            tasks,
        };
        super::eventually(async || {
            let consul = node.get("/v1/catalog/service/consul").await;
            consul.json() != Value::Array(Vec::new())
        })
        .await;
        node
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        get(self.address, path).await
    }

    /// PUT whatever comes of it.
    pub(crate) async fn put(&self, path: &str, body: &str) -> Reply {
        put(self.address, path, body).await
    }

    /// PUT that succeeds without a result.
    pub(crate) async fn does(&self, path: &str, body: &str) {
        let reply = self.put(path, body).await;
        assert_eq!((reply.status, &*reply.text()), (200, ""), "{path} {body}");
        assert_eq!(reply.header("Content-Type"), None, "{path}");
    }

    /// Registers a service that the agent takes.
    pub(crate) async fn register(&self, body: Value) {
        self.does("/v1/agent/service/register", &body.to_string())
            .await;
    }

    /// Number of instances of a service that DNS would answer.
    pub(crate) fn answered(&self, service: &str) -> usize {
        let slot = self.reader.dns().service(service.as_bytes());
        let view = slot.and_then(|slot| slot.load().clone());
        view.map_or(0, |view| view.all.instances().len())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

fn describe(node: &herald::types::Node) -> Description {
    Description {
        node: node.name.clone(),
        node_id: node.id.unwrap(),
        datacenter: "dc1".parse().unwrap(),
        server: true,
        version: "0.1.0".to_owned(),
        revision: String::new(),
        build_date: String::new(),
        development: false,
    }
}

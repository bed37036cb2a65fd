//! Methods on a catalog in memory and pools on loopback, and recorded calls to compare them with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Methods;
use crate::catalog::{Operation, open_server};
use crate::directory::wire::{Decode, Encode};
use crate::directory::{Config, Directory};
use crate::gossip::admission::Open;
use crate::gossip::membership::Membership;
use crate::gossip::pool::{self, Pool, Scope};
use crate::gossip::serf::{self, Own};
use crate::gossip::{swim, wire};
use crate::metrics::Metrics;
use crate::msgpack::{Reader, Writer};
use crate::raft;
use crate::rpc::{Answered, Call, Service as _};
use crate::task::Tasks;
use crate::types::{Index, RequestContext};

/// The server of the recordings.
const SERVER: &str = "127.0.0.81:27300";

/// Methods of a server `rsrv` in `dc1`.
pub(super) struct Fixture {
    pub(super) methods: Methods,
    /// Keeps the tasks of the pools.
    tasks: Tasks,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let (writer, reader) = open_server();
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        let proposer = raft::alone_at(SERVER.parse().unwrap(), writer, &metrics, &tasks).await;
        let config = Config {
            datacenter: "dc1".parse().unwrap(),
            address: SERVER.parse().unwrap(),
            wait_default: Duration::from_secs(300),
            wait_max: Duration::from_secs(600),
        };
        let membership = Membership {
            lan: pool(Scope::Lan, "rsrv", &tasks),
            wan: Some(pool(Scope::Wan, "rsrv.dc1", &tasks)),
        };
        let directory = Directory::new(config, reader, proposer);
        Self {
            methods: Methods::new(directory, membership, 2),
            tasks,
        }
    }

    /// Another agent in the LAN pool, once the server knows it.
    pub(super) async fn with_agent(self, name: &str) -> Self {
        let lan = &self.methods.membership.lan;
        let agent = pool(Scope::Lan, name, &self.tasks);
        let mut changes = lan.members_changed();
        let target = lan.address().to_string().parse().unwrap();
        let joined = agent.join(&[target], false).await;
        assert_eq!(joined.reached, 1, "{:?}", joined.failed);
        while lan.members().len() < 2 {
            changes.changed().await.unwrap();
        }
        self
    }

    pub(super) async fn call(&self, method: &str, body: &[u8]) -> Answered {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.methods.call(Call { method, body, peer }).await
    }

    /// Calls with a request, for an answer that must be a result.
    pub(super) async fn ask(&self, method: &str, request: &impl Encode) -> Vec<u8> {
        let answer = self.call(method, &written(request)).await;
        answer.unwrap_or_else(|fault| panic!("{method}: {fault}"))
    }

    pub(super) async fn write(&self, operation: Operation) -> Index {
        let context = RequestContext::default();
        let directory = &self.methods.directory;
        directory.write(&context, vec![operation]).await.unwrap()
    }
}

fn pool(scope: Scope, name: &str, tasks: &Tasks) -> Pool {
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = pool::Config {
        scope,
        bind,
        own: Own {
            name: name.into(),
            address: bind,
            tags: BTreeMap::from([("dc".to_owned(), "dc1".to_owned())]),
        },
        swim: swim::Config {
            gossip_interval: Duration::from_millis(20),
            ..swim::Config::lan()
        },
        serf: serf::Config::default(),
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
        streams_max: 16,
    };
    Pool::start(config, Arc::new(Open), &Metrics::new(), tasks).unwrap()
}

pub(super) fn written(value: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut Writer::old(&mut out));
    out
}

pub(super) fn read<'a, T: Decode<'a>>(octets: &'a [u8]) -> T {
    T::read(&mut Reader::new(octets)).unwrap()
}

/// A recorded call.
pub(super) struct Recorded {
    /// Its place among the calls of the caller.
    pub(super) sequence: u64,
    pub(super) method: String,
    pub(super) request: Vec<u8>,
    /// What the caller said that it could not; empty for a result.
    pub(super) error: String,
    pub(super) response: Vec<u8>,
    /// Whether the server had access control switched on.
    pub(super) guarded: bool,
    /// Whether an agent sent it, which writes every field and in order.
    pub(super) canonical: bool,
}

/// The calls of a file below `tests/vectors/rpc`, without the snapshots, which are none.
pub(super) fn recorded(file: &str) -> Vec<Recorded> {
    let entries = entries(file).into_iter();
    let calls = entries.filter(|entry| !text(entry, "method").starts_with("SNAPSHOT"));
    calls.map(|entry| Recorded::of(&entry)).collect()
}

/// The snapshot connections of a file, from after the first octet: request and answer.
pub(super) fn recorded_snapshots(file: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = entries(file).into_iter();
    let snapshots = entries.filter(|entry| text(entry, "method").starts_with("SNAPSHOT"));
    let pair = |entry| {
        (
            octets(&entry, "request_hex")[1..].to_owned(),
            octets(&entry, "response_hex"),
        )
    };
    snapshots.map(pair).collect()
}

fn entries(file: &str) -> Vec<serde_json::Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rpc");
    let text = std::fs::read(directory.join(file)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn text<'a>(entry: &'a serde_json::Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap_or_default()
}

fn octets(entry: &serde_json::Value, name: &str) -> Vec<u8> {
    let hex = text(entry, name).as_bytes();
    data_encoding::HEXLOWER.decode(hex).unwrap()
}

impl Recorded {
    fn of(entry: &serde_json::Value) -> Self {
        let body = |octets: Vec<u8>| {
            let mut reader = Reader::new(&octets);
            reader.skip().unwrap();
            reader.rest().to_owned()
        };
        let header = &entry["decoded"]["response_header"];
        let error = &entry["decoded"]["response_header"]["Error"];
        Self {
            sequence: header["Seq"].as_u64().unwrap(),
            method: text(entry, "method").to_owned(),
            request: body(octets(entry, "request_hex")),
            error: error.as_str().unwrap().to_owned(),
            response: body(octets(entry, "response_hex")),
            guarded: text(entry, "source").contains("ACL on"),
            canonical: text(entry, "source").starts_with("agent")
                && !text(entry, "source").contains("test client"),
        }
    }
}

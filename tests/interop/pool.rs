//! The client of the agent RPC: it calls servers of the reference and of herald, with the same
//! requests and the same expectations.

use std::net::SocketAddr;
use std::time::Duration;

use herald::clock;
use herald::metrics::Metrics;
use herald::msgpack::{Reader, Writer};
use herald::rpc::{CallError, Pool, PoolConfig, Tls, TlsConfig};
use herald::task::Tasks;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::agents::{HttpAgent, Role};
use super::process::address;
use crate::support::front::Authority;

/// Port of calls.
const PORT: u16 = 8300;
/// Name of servers on certificates.
const NAME: &str = "server.dc1.consul";

type Called = Result<Vec<u8>, CallError>;

/// A server, and a pool that calls it.
struct Served {
    server: HttpAgent,
    address: SocketAddr,
    pool: Pool,
    _tasks: Tasks,
}

impl Served {
    fn new(server: HttpAgent, config: PoolConfig) -> Self {
        let tasks = Tasks::new();
        Self {
            address: (server.address, PORT).into(),
            server,
            pool: Pool::new(config, &Metrics::new(), &tasks),
            _tasks: tasks,
        }
    }

    async fn call(&self, method: &str, request: &Value) -> Called {
        let deadline = clock::now() + Duration::from_secs(60);
        let pool = &self.pool;
        pool.call(self.address, method, &encode(request), deadline)
            .await
    }

    /// The same in a task of its own.
    fn begin(&self, calls: &mut JoinSet<Called>, method: &'static str, request: &Value) {
        let (pool, server, body) = (self.pool.clone(), self.address, encode(request));
        let deadline = clock::now() + Duration::from_secs(60);
        calls.spawn(async move { pool.call(server, method, &body, deadline).await });
    }

    /// Waits until it leads.
    async fn leads(&self) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let called = self.call("Status.Leader", &json!({})).await;
                if called.is_ok_and(|leader| text(&leader) == self.address.to_string()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.expect("it leads within 30 s");
    }

    async fn register(&self, id: &str) {
        let request = json!({
            "Datacenter": "dc1", "Node": "n2", "Address": "192.0.2.1",
            "Service": {"ID": id, "Service": "web", "Port": 80},
        });
        // The leader may have to settle first.
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while let Err(error) = self.call("Catalog.Register", &request).await {
                assert!(error.to_string().contains("No cluster leader"), "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.expect("it is registered within 30 s");
    }

    /// Index and number of instances of `web`.
    async fn web(&self) -> (u64, usize) {
        let answer = self.call("Health.ServiceNodes", &query(0)).await;
        instances(&answer.unwrap())
    }
}

/// A query for `web` that waits for a later index than this.
fn query(index: u64) -> Value {
    json!({
        "Datacenter": "dc1", "ServiceName": "web",
        "MinQueryIndex": index, "MaxQueryTime": 60_000_000_000_u64,
    })
}

fn instances(answer: &[u8]) -> (u64, usize) {
    let index = Reader::new(field(answer, "Index")).unsigned().unwrap();
    let nodes = Reader::new(field(answer, "Nodes")).array().unwrap();
    (index, nodes)
}

/// The value of a field of a map.
fn field<'a>(map: &'a [u8], name: &str) -> &'a [u8] {
    let mut reader = Reader::new(map);
    for _ in 0..reader.map().unwrap() {
        let key = reader.text().unwrap();
        let value = reader.raw().unwrap();
        if key == name {
            return value;
        }
    }
    panic!("no {name} in {map:x?}");
}

fn text(value: &[u8]) -> String {
    Reader::new(value).text().unwrap().to_owned()
}

fn encode(request: &Value) -> Vec<u8> {
    let mut octets = Vec::new();
    write(&mut Writer::old(&mut octets), request);
    octets
}

fn write(writer: &mut Writer<'_>, value: &Value) {
    match value {
        Value::Null => writer.nil(),
        Value::Bool(value) => writer.boolean(*value),
        Value::Number(value) => writer.unsigned(value.as_u64().unwrap()),
        Value::String(value) => writer.text(value),
        Value::Array(values) => {
            writer.array(values.len());
            for value in values {
                write(writer, value);
            }
        }
        Value::Object(fields) => {
            writer.map(fields.len());
            for (name, value) in fields {
                writer.text(name);
                write(writer, value);
            }
        }
    }
}

/// A leading server of each make, on the addresses of `group`, each with a pool.
async fn servers(group: u8, config: PoolConfig, more: Value) -> Vec<Served> {
    let herald = HttpAgent::herald("h", address(group, 1), Role::Server, more.clone()).await;
    let consul = HttpAgent::consul("h", address(group, 2), Role::Server, more).await;
    let mut servers = vec![Served::new(herald, config.clone())];
    servers.extend(consul.map(|consul| Served::new(consul, config)));
    for served in &servers {
        served.leads().await;
    }
    servers
}

/// Asserts that no call ends although there is time to.
async fn assert_waiting(calls: &mut JoinSet<Called>) {
    let ended = tokio::time::timeout(Duration::from_secs(1), calls.join_next()).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn servers_of_either_make_answer_calls() {
    for served in servers(141, PoolConfig::default(), json!({})).await {
        let peers = served.call("Status.Peers", &json!({})).await.unwrap();
        let mut peers = Reader::new(&peers);
        assert_eq!(peers.array().unwrap(), 1);
        assert_eq!(peers.text().unwrap(), served.address.to_string());
        let pong = served.call("Status.Ping", &json!({})).await.unwrap();
        assert_eq!(pong, [0x80]);
        assert_eq!(served.web().await.1, 0);
        served.register("web1").await;
        assert_eq!(served.web().await.1, 1);
        let unknown = served.call("Status.Nope", &json!({})).await.unwrap_err();
        let start = "rpc error making call: rpc: can't find method Status.Nope";
        assert_eq!(unknown.to_string(), start);
        assert!(matches!(unknown, CallError::Remote(_)));
        served.call("Status.Ping", &json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn a_blocking_query_ends_with_the_change() {
    for served in servers(142, PoolConfig::default(), json!({})).await {
        served.register("web1").await;
        let (index, _) = served.web().await;
        let mut calls = JoinSet::new();
        served.begin(&mut calls, "Health.ServiceNodes", &query(index));
        assert_waiting(&mut calls).await;
        served.register("web2").await;
        let answer = calls.join_next().await.unwrap().unwrap().unwrap();
        let (later, count) = instances(&answer);
        assert!(later > index && count == 2, "{index} {later} {count}");
    }
}

#[tokio::test]
async fn three_hundred_blocking_queries_share_a_connection() {
    for served in servers(143, PoolConfig::default(), json!({})).await {
        served.register("web1").await;
        let (index, _) = served.web().await;
        let mut calls = JoinSet::new();
        for _ in 0..300 {
            served.begin(&mut calls, "Health.ServiceNodes", &query(index));
        }
        assert_waiting(&mut calls).await;
        // They hold all places of their pool.
        let other = Served::new(served.server, PoolConfig::default());
        other.register("web2").await;
        let answers = calls.join_all().await;
        assert_eq!(answers.len(), 300);
        for answer in answers {
            assert_eq!(instances(&answer.unwrap()).1, 2);
        }
    }
}

#[tokio::test]
async fn a_killed_server_breaks_its_calls_and_is_called_again_once_it_is_back() {
    for mut served in servers(144, PoolConfig::default(), json!({})).await {
        served.register("web1").await;
        let (index, _) = served.web().await;
        let mut calls = JoinSet::new();
        served.begin(&mut calls, "Health.ServiceNodes", &query(index));
        assert_waiting(&mut calls).await;
        served.server.process.kill();
        let error = calls.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "rpc error making call: EOF");
        let error = served.call("Status.Ping", &json!({})).await.unwrap_err();
        let start = "rpc error getting client: failed to get conn: dial tcp";
        let refused = format!("{start} {}: connect: connection refused", served.address);
        assert_eq!(error.to_string(), refused);
        served.server.restart().await;
        served.leads().await;
        // herald's catalog is in memory.
        served.register("web1").await;
        assert_eq!(served.web().await.1, 1);
    }
}

#[tokio::test]
async fn a_server_is_called_over_tls_if_the_authority_vouches_for_it() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    authority.sign(NAME);
    authority.sign("client");
    let file = |name: &str| authority.path(name);
    let config = TlsConfig {
        cert_file: Some(file("client.pem")),
        key_file: Some(file("client.key")),
        ca_file: Some(file("ca.pem")),
        verify_outgoing: true,
        verify_server_hostname: true,
        ..TlsConfig::default()
    };
    let strict = PoolConfig {
        tls: Some(Tls::load(&config, NAME).unwrap()),
        ..PoolConfig::default()
    };
    let deceived = TlsConfig {
        ca_file: Some(foreign.path("ca.pem")),
        ..config
    };
    let deceived = PoolConfig {
        tls: Some(Tls::load(&deceived, NAME).unwrap()),
        ..PoolConfig::default()
    };
    let more = json!({
        "cert_file": file(&format!("{NAME}.pem")), "key_file": file(&format!("{NAME}.key")),
        "ca_file": file("ca.pem"), "verify_incoming": true, "verify_outgoing": true,
    });
    for served in servers(145, strict, more).await {
        served.register("web1").await;
        assert_eq!(served.web().await.1, 1);
        for config in [deceived.clone(), PoolConfig::default()] {
            let is_secure = config.tls.is_some();
            let other = Pool::new(config, &Metrics::new(), &Tasks::new());
            let deadline = clock::now() + Duration::from_secs(60);
            let called = other.call(served.address, "Status.Ping", &[0x80], deadline);
            let error = called.await.unwrap_err();
            // In the clear the connection stands before the server ends it.
            let is_refused = matches!(error, CallError::Connect { .. });
            assert_eq!(is_refused, is_secure, "{error}");
        }
    }
}

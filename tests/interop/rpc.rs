//! The agent RPC: a Consul 1.8.7 client agent that has a herald server works as with its own make.
//!
//! Each test starts both, joins them, and asks either. What is expected is what the agent shows
//! with a server of its own make: `HERALD_INTEROP_CONTROL=1` puts one in herald's place, and all
//! tests here must pass with it too, but for what they then leave out in plain sight.

mod departures;
mod errors;
mod quiet;
mod reads;
mod registration;
mod secure;
mod tidings;
mod waiting;
mod wide;

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use super::agents::{HttpAgent, Role, sees};
use super::process::address;
use crate::support::http::Reply;

/// A server `h`, and a client agent `c` that has joined it and is in its catalog.
struct Pair {
    server: HttpAgent,
    agent: HttpAgent,
}

/// Whether the server is the reference itself.
fn is_control() -> bool {
    std::env::var_os("HERALD_INTEROP_CONTROL").is_some()
}

/// Both, on the addresses of `group`; `None` without the reference.
async fn pair(group: u8) -> Option<Pair> {
    pair_with(group, json!({}), json!({})).await
}

/// The same with more configuration for the server and for the agent.
async fn pair_with(group: u8, server: Value, agent: Value) -> Option<Pair> {
    let pair = strangers(group, server, agent).await?;
    // Its first full sync has been: the metadata come from nowhere else.
    within(30, "the agent is in the catalog", async || {
        let node = pair.server.get("/v1/catalog/node/c").await.json();
        node["Node"]["Meta"]["rack"] == "r1"
    })
    .await;
    Some(pair)
}

/// The same as soon as they are members of one pool.
async fn strangers(group: u8, server: Value, mut agent: Value) -> Option<Pair> {
    agent["node_meta"] = json!({"rack": "r1"});
    let agent = HttpAgent::consul("c", address(group, 2), Role::Client, agent).await?;
    let server = start_server(address(group, 1), server).await;
    join(&agent, server.address).await;
    sees(&server, "c", "alive").await;
    sees(&agent, "h", "alive").await;
    Some(Pair { server, agent })
}

async fn start_server(own: Ipv4Addr, more: Value) -> HttpAgent {
    if !is_control() {
        return HttpAgent::herald("h", own, Role::Server, more).await;
    }
    let server = HttpAgent::consul("h", own, Role::Server, more).await;
    let server = server.expect("the client is of the same make");
    server.leads().await;
    server
}

async fn join(agent: &HttpAgent, address: Ipv4Addr) {
    let joined = agent.join(address).await;
    assert_eq!(joined.code, 0, "{}", joined.err);
}

/// Waits until it holds, at most `seconds`.
async fn within(seconds: u64, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(seconds), poll).await;
    assert!(waited.is_ok(), "not within {seconds} s: {what}");
}

impl Pair {
    /// Registers through the agent's own API.
    async fn register(&self, service: Value) {
        let reply = self.agent.put("/v1/agent/service/register", &service).await;
        assert_eq!(reply.status, 200, "{service}: {}", reply.text());
    }

    /// A request to the agent's own API that has no body and must succeed.
    async fn tell(&self, path: &str) {
        let reply = self.agent.put(path, &Value::Null).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }

    /// Waits until the server lists as many instances of a service for `query`.
    async fn counts(&self, service: &str, query: &str, count: usize) {
        let path = format!("/v1/health/service/{service}?{query}");
        within(15, &format!("{path} has {count}"), async || {
            let rows = self.server.get(&path).await.json();
            rows.as_array().unwrap().len() == count
        })
        .await;
    }

    /// Waits until the server's DNS gives exactly these data, in any order; nothing is NXDOMAIN.
    async fn resolves(&self, question: &str, expected: &[&str]) {
        resolves(&self.server, question, expected).await;
    }

    /// Waits until the server's DNS knows of instances, and gives none: not one is eligible. The
    /// reference says that there is no such name, herald that it has no data.
    async fn hides(&self, question: &str) {
        let code = if is_control() { "NXDomain" } else { "NoError" };
        answers(&self.server, question, code, &[]).await;
    }

    /// Waits until both give the same answer to a read: status, body, and index if it has one.
    async fn agree(&self, path: &str) -> Reply {
        let limit = herald::clock::now() + Duration::from_secs(10);
        loop {
            let theirs = self.server.get(path).await;
            let ours = self.agent.get(path).await;
            if seen(&ours) == seen(&theirs) || herald::clock::now() > limit {
                assert_eq!(seen(&ours), seen(&theirs), "{path}");
                return ours;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What must be equal.
fn seen(reply: &Reply) -> (u16, Option<&str>, Value) {
    let body = serde_json::from_slice(&reply.body).unwrap_or_else(|_| json!(reply.text()));
    (reply.status, reply.header("X-Consul-Index"), body)
}

/// Waits until `agent` gives exactly these data, in any order; none is NXDOMAIN.
async fn resolves(agent: &HttpAgent, question: &str, expected: &[&str]) {
    let code = if expected.is_empty() {
        "NXDomain"
    } else {
        "NoError"
    };
    answers(agent, question, code, expected).await;
}

/// Waits until `agent` answers with this code and these data.
async fn answers(agent: &HttpAgent, question: &str, code: &str, expected: &[&str]) {
    let limit = herald::clock::now() + Duration::from_secs(15);
    loop {
        let answer = agent.ask(question).await;
        let have = (format!("{:?}", answer.code()), answer.data());
        let fits = have.0 == code && have.1 == expected;
        if fits || herald::clock::now() > limit {
            assert_eq!(have.0, code, "{question}: {:?}", have.1);
            assert_eq!(have.1, expected, "{question}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

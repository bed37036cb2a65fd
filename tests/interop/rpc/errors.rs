//! What the server does not have is an error that the agent passes on at once, and nothing else
//! suffers.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Pair, is_control, pair};
use crate::support::http::{self, Reply};

/// Longest that an error may take: far less than what the agent spends on repeating calls.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn ask(pair: &Pair, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let asked = http::request(pair.agent.http(), method, path, &[], &body);
    let reply = tokio::time::timeout(AT_ONCE, asked).await;
    reply.unwrap_or_else(|_| panic!("{method} {path} hangs"))
}

#[tokio::test]
async fn what_is_not_served_is_an_error_at_once() {
    if is_control() {
        eprintln!("SKIPPED: the reference serves all of this");
        return;
    }
    let Some(pair) = pair(100).await else {
        return;
    };
    pair.register(json!({"Name": "web", "Port": 80, "Address": "10.1.0.1"}))
        .await;
    let none = Value::Null;
    let operation = json!([{"KV": {"Verb": "get", "Key": "k"}}]);
    for (method, path, body, text) in [
        ("GET", "kv/k", &none, "KVS.Get"),
        ("GET", "kv/k?recurse", &none, "KVS.List"),
        ("GET", "kv/k?keys", &none, "KVS.ListKeys"),
        ("PUT", "kv/k", &json!("v"), "KVS.Apply"),
        ("DELETE", "kv/k", &none, "KVS.Apply"),
        ("PUT", "session/create", &none, "Session.Apply"),
        ("GET", "session/list", &none, "Session.List"),
        ("GET", "session/node/c", &none, "Session.NodeSessions"),
        ("PUT", "txn", &operation, "Txn.Read"),
        ("GET", "config/service-defaults", &none, "ConfigEntry.List"),
        ("GET", "connect/intentions", &none, "Intention.List"),
        ("GET", "discovery-chain/web", &none, "DiscoveryChain.Get"),
        ("GET", "operator/raft/configuration", &none, "Operator."),
    ] {
        let path = format!("/v1/{path}");
        let reply = ask(&pair, method, &path, body).await;
        let have = reply.text();
        assert_eq!(reply.status, 500, "{path}: {have}");
        assert!(have.contains("rpc: can't find"), "{path}: {have}");
        assert!(have.contains(text), "{path}: {have}");
    }
    // The features that the reference can have switched off say so in its words.
    for (path, status) in [
        ("/v1/acl/tokens", 401),
        ("/v1/connect/ca/roots", 500),
        ("/v1/query/none/execute", 404),
    ] {
        let reply = ask(&pair, "GET", path, &none).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    assert_eq!(
        format!("{:?}", pair.agent.ask("none.query.consul A").await.code()),
        "NXDomain"
    );
    let saved = pair.agent.run(&["snapshot", "save", "/dev/null"]).await;
    assert_ne!(saved.code, 0, "{}", saved.out);
    assert!(!saved.err.is_empty());
    // All else goes on, over the same connection.
    pair.resolves("web.service.consul A", &["10.1.0.1"]).await;
    assert_eq!(pair.agree("/v1/health/service/web").await.status, 200);
}

/// Bodies that are no registration, and what is said of them.
fn wrong_registrations() -> [(Value, &'static str); 4] {
    [
        (
            json!({"Node": "ext"}),
            "rpc error making call: Must provide address if SkipNodeUpdate is not set",
        ),
        (
            json!({"Node": "ext", "Address": "10.2.0.1", "Service": {"ID": "x"}}),
            "rpc error making call: Must provide service name with ID",
        ),
        (
            json!({"Node": "ext", "ID": "short", "Address": "10.2.0.1"}),
            "rpc error making call: Bad node ID",
        ),
        (
            json!({"Node": "ext", "Address": "10.2.0.1", "Check": {"Node": "other", "Name": "n"}}),
            "does not match node",
        ),
    ]
}

#[tokio::test]
async fn mistakes_are_told_in_the_same_words() {
    let Some(pair) = pair(101).await else {
        return;
    };
    let refused = async |method, path, body: &Value, expected: &str| {
        let reply = ask(&pair, method, path, body).await;
        let have = reply.text();
        assert_eq!(reply.status, 500, "{path} {body}: {have}");
        assert!(have.contains(expected), "{path} {body}: {have}");
    };
    for (path, expected) in [
        (
            "/v1/health/service/web?filter=(",
            "rpc error making call: Failed to create boolean expression evaluator",
        ),
        (
            "/v1/catalog/nodes?filter=Color%20==%20red",
            "Selector \"Color\" is not valid",
        ),
        ("/v1/catalog/nodes?dc=dc9", "No path to datacenter"),
    ] {
        refused("GET", path, &Value::Null, expected).await;
    }
    for (body, expected) in &wrong_registrations() {
        refused("PUT", "/v1/catalog/register", body, expected).await;
    }
    let text = "rpc error making call: Must provide node";
    refused("PUT", "/v1/catalog/deregister", &json!({}), text).await;
    let body = json!({"Node": "c", "Coord": {"Vec": [0.0], "Error": 1.0}});
    let text = "rpc error making call: incompatible coordinate";
    refused("PUT", "/v1/coordinate/update", &body, text).await;
    assert!(!pair.server.has_node("ext").await, "nothing has changed");
    let missing = pair.agent.ask("web.service.dc9.consul A").await;
    assert_eq!(format!("{:?}", missing.code()), "NXDomain");
}

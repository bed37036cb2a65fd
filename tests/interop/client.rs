//! A herald client agent whose servers are Consul's.

use serde_json::{Value, json};

use super::agents::{HttpAgent, Role, sees};
use super::process::address;
use crate::support::eventually;
use crate::support::http::Reply;

/// A Consul server and a herald client agent that knows it; `None` without Consul.
async fn pair(group: u8) -> Option<(HttpAgent, HttpAgent)> {
    let server = HttpAgent::consul("s", address(group, 1), Role::Server, json!({})).await?;
    server.leads().await;
    let client = HttpAgent::herald("h", address(group, 2), Role::Client, json!({})).await;
    let joined = client.join(server.address).await;
    assert_eq!(joined.code, 0, "{}", joined.err);
    sees(&server, "h", "alive").await;
    eventually(async || client.get("/v1/catalog/node/h").await.status == 200).await;
    Some((server, client))
}

/// The fields that herald shows of a row, without those that only meshes have.
fn common(mut value: Value) -> Value {
    match &mut value {
        Value::Array(rows) => rows.iter_mut().for_each(|row| *row = common(row.take())),
        Value::Object(fields) => {
            for name in [
                "Proxy",
                "Connect",
                "ServiceProxy",
                "ServiceConnect",
                "Definition",
            ] {
                fields.remove(name);
            }
            fields.retain(|_, value| {
                *value = common(value.take());
                // Nothing is shown in more ways than one.
                !(value.is_null() || *value == json!({}) || *value == json!([]))
            });
        }
        _ => {}
    }
    value
}

async fn both(server: &HttpAgent, client: &HttpAgent, path: &str) -> (Reply, Reply) {
    let path = format!("/v1/{path}");
    (server.get(&path).await, client.get(&path).await)
}

#[tokio::test]
async fn what_a_herald_client_registers_is_found_through_a_consul_server() {
    let Some((server, client)) = pair(91).await else {
        return;
    };
    let service = json!({
        "Name": "web", "Port": 80, "Tags": ["a"], "Meta": {"k": "v"}, "Check": {"TTL": "1h"}
    });
    let registered = client.put("/v1/agent/service/register", &service).await;
    assert_eq!(registered.status, 200, "{}", registered.text());
    let passed = client
        .put("/v1/agent/check/pass/service:web", &Value::Null)
        .await;
    assert_eq!(passed.status, 200, "{}", passed.text());
    eventually(async || {
        let rows = server.get("/v1/health/service/web?passing").await.json();
        rows.as_array().is_some_and(|rows| rows.len() == 1)
    })
    .await;
    for path in [
        "catalog/nodes",
        "catalog/services",
        "catalog/service/web",
        "catalog/node/h",
        "health/service/web",
        "health/service/web?passing&consistent",
        "health/service/missing",
        "health/node/h",
        "health/checks/web",
        "health/state/any",
        "catalog/datacenters",
        "status/leader",
        "status/peers",
    ] {
        eventually(async || {
            let (expected, found) = both(&server, &client, path).await;
            let equal = common(expected.json()) == common(found.json())
                && expected.header("X-Consul-Index") == found.header("X-Consul-Index");
            if !equal {
                eprintln!("{path}: {}\n{}", expected.text(), found.text());
            }
            equal
        })
        .await;
    }
    let gone = client
        .put("/v1/agent/service/deregister/web", &Value::Null)
        .await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    eventually(async || server.get("/v1/catalog/service/web").await.json() == json!([])).await;
    let left = client.run(&["leave"]).await;
    assert_eq!(left.code, 0, "{}", left.err);
    eventually(async || !server.has_node("h").await).await;
}

#[tokio::test]
async fn a_herald_client_waits_at_a_consul_server_and_passes_its_refusals_on() {
    let Some((server, client)) = pair(92).await else {
        return;
    };
    let first = client.get("/v1/health/service/db").await;
    let path = format!("/v1/health/service/db?index={}&wait=60s", first.index());
    let mut waiting = std::pin::pin!(client.get(&path));
    let limit = std::time::Duration::from_millis(500);
    let early = tokio::time::timeout(limit, waiting.as_mut()).await;
    assert!(early.is_err(), "it does not wait");
    let body = json!({
        "Node": "x", "Address": "10.0.0.1", "Service": {"Service": "db", "Port": 5432}
    });
    let written = client.put("/v1/catalog/register", &body).await;
    assert_eq!((written.status, written.text().trim()), (200, "true"));
    let limit = std::time::Duration::from_secs(15);
    let woken = tokio::time::timeout(limit, waiting).await;
    let woken = woken.expect("it wakes long before its wait is over");
    assert!(woken.index() > first.index());
    assert_eq!(woken.json()[0]["Service"]["Port"], 5432);

    let orphan = json!({
        "Node": "x", "Address": "10.0.0.1",
        "Check": {"Name": "lost", "ServiceID": "nothing", "Status": "passing"}
    });
    let refused = client.put("/v1/catalog/register", &orphan).await;
    assert_eq!(refused.status, 500);
    let text = refused.text();
    let beginning = "rpc error making call: failed inserting check: Missing service registration";
    assert!(text.starts_with(beginning), "{text}");
    let gone = client
        .put("/v1/catalog/deregister", &json!({"Node": "x"}))
        .await;
    assert_eq!((gone.status, gone.text().trim()), (200, "true"));
    assert!(!server.has_node("x").await);
}

//! herald and Consul agents: clients of either make with a server of the other, and servers that
//! must not meet.

use serde_json::json;

use super::agents::{Agent as _, HttpAgent, Role, remembers, sees};
use super::process::address;
use crate::support::eventually;

/// What the catalog of `agent` says of the health of a node.
async fn serf_health(agent: &HttpAgent, node: &str) -> Option<(String, String)> {
    let checks = agent.get(&format!("/v1/health/node/{node}")).await.json();
    let checks = checks.as_array()?.clone();
    let check = checks
        .into_iter()
        .find(|it| it["CheckID"] == "serfHealth")?;
    let text = |key: &str| check[key].as_str().unwrap().to_owned();
    Some((text("Status"), text("Output")))
}

/// What the check of every member says while it lives, and once it has failed.
const PASSING: (&str, &str) = ("passing", "Agent alive and reachable");
const CRITICAL: (&str, &str) = ("critical", "Agent not live or unreachable");

/// Waits until the catalog of `agent` says this of the health of a node.
async fn becomes(agent: &HttpAgent, node: &str, (status, output): (&str, &str)) {
    let expected = Some((status.to_owned(), output.to_owned()));
    eventually(async || serf_health(agent, node).await == expected).await;
}

/// Waits until a Consul client has compared what it has with its server for the `count`th time. One
/// that leaves earlier may register itself while it is leaving, whatever its server is.
async fn synced(client: &HttpAgent, count: usize) {
    let synced = async || client.process.log().matches("Node info in sync").count() >= count;
    eventually(synced).await;
}

#[tokio::test]
async fn a_consul_client_agent_is_a_node_while_it_lives() {
    let more = json!({});
    let Some(mut client) = HttpAgent::consul("c", address(71, 2), Role::Client, more).await else {
        return;
    };
    let herald = HttpAgent::herald("h", address(71, 1), Role::Server, json!({})).await;
    let joined = client.join(herald.address).await;
    assert_eq!(joined.code, 0, "{}", joined.err);
    sees(&herald, "c", "alive").await;
    sees(&client, "h", "alive").await;
    let listed = herald.run(&["members"]).await;
    let row = listed
        .out
        .lines()
        .find(|line| line.starts_with("c "))
        .unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    let expected = ["c", "127.0.71.2:8301", "alive", "client", "1.8.7"];
    assert_eq!(words[..5], expected, "{row}");
    becomes(&herald, "c", PASSING).await;
    synced(&client, 1).await;
    // Killed: critical. Back: passing. Left: gone.
    remembers(&client, "h", &herald).await;
    client.process.kill();
    sees(&herald, "c", "failed").await;
    becomes(&herald, "c", CRITICAL).await;
    client.restart().await;
    sees(&herald, "c", "alive").await;
    becomes(&herald, "c", PASSING).await;
    synced(&client, 2).await;
    let left = client.run(&["leave"]).await;
    assert_eq!(left.code, 0, "{}", left.err);
    sees(&herald, "c", "left").await;
    eventually(async || !herald.has_node("c").await).await;
}

#[tokio::test]
async fn a_herald_client_agent_is_a_node_of_a_consul_server() {
    let more = json!({});
    let Some(server) = HttpAgent::consul("s", address(72, 1), Role::Server, more).await else {
        return;
    };
    server.leads().await;
    let mut client = HttpAgent::herald("h", address(72, 2), Role::Client, json!({})).await;
    client.join(server.address).await.is(
        0,
        "Successfully joined cluster by contacting 1 nodes.\n",
        "",
    );
    sees(&server, "h", "alive").await;
    becomes(&server, "h", PASSING).await;
    let listed = server.run(&["members"]).await;
    let row = listed
        .out
        .lines()
        .find(|line| line.starts_with("h "))
        .unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        words[..5],
        ["h", "127.0.72.2:8301", "alive", "client", "1.8.7"],
        "{row}"
    );
    remembers(&client, "s", &client).await;
    client.process.kill();
    sees(&server, "h", "failed").await;
    client.restart().await;
    sees(&server, "h", "alive").await;
    client
        .run(&["leave"])
        .await
        .is(0, "Graceful leave complete\n", "");
    sees(&server, "h", "left").await;
}

#[tokio::test]
async fn a_herald_server_does_not_join_a_pool_with_a_consul_server() {
    let more = json!({});
    let Some(server) = HttpAgent::consul("s", address(73, 1), Role::Server, more).await else {
        return;
    };
    server.leads().await;
    let client = HttpAgent::consul("c", address(73, 2), Role::Client, json!({}));
    let client = client.await.unwrap();
    assert_eq!(client.join(server.address).await.code, 0);
    sees(&client, "s", "alive").await;
    let herald = HttpAgent::herald("h", address(73, 3), Role::Server, json!({})).await;
    // Neither through the server itself nor through a client of it.
    for target in [server.address, client.address] {
        let refused = herald.join(target).await;
        assert_eq!(refused.code, 1, "{}", refused.out);
        assert!(
            refused.err.contains("'s'"),
            "the member is named: {}",
            refused.err
        );
    }
    assert_eq!(herald.statuses().await.len(), 1);
    for agent in [&server, &client] {
        assert!(!agent.statuses().await.contains_key("h"));
    }
}

#[tokio::test]
async fn a_consul_server_that_joins_a_herald_pool_is_refused() {
    let more = json!({});
    let Some(server) = HttpAgent::consul("s", address(74, 1), Role::Server, more).await else {
        return;
    };
    server.leads().await;
    let herald = HttpAgent::herald("h", address(74, 2), Role::Server, json!({})).await;
    let client = HttpAgent::herald("c", address(74, 3), Role::Client, json!({})).await;
    assert_eq!(client.join(herald.address).await.code, 0);
    sees(&herald, "c", "alive").await;
    let _ = server.join(herald.address).await;
    // The refusal is counted and named, and nobody has left because of it.
    eventually(async || {
        let figures = herald
            .get("/v1/agent/metrics?format=prometheus")
            .await
            .text();
        figures
            .lines()
            .any(|line| line.starts_with("herald_gossip_refused") && !line.ends_with(" 0"))
    })
    .await;
    assert!(herald.process.log().contains("'s'"));
    let statuses = herald.statuses().await;
    assert!(!statuses.contains_key("s"), "{statuses:?}");
    assert_eq!(statuses["c"], "alive");
    assert!(!herald.has_node("s").await);
    // Nor has it been shown any of ours, of which it would make peers.
    let statuses = server.statuses().await;
    assert_eq!(statuses.len(), 1, "{statuses:?}");
}

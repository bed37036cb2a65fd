//! Consul's client agents whose servers are three of herald.

use serde_json::{Value, json};

use super::agents::{HttpAgent, Role, sees};
use super::process::address;
use crate::support::cluster::within;

/// Third octet of the addresses here.
const GROUP: u8 = 113;

/// Three servers that wait for each other, and have a leader.
async fn servers() -> Vec<HttpAgent> {
    let first = address(GROUP, 1).to_string();
    let start = async |number: u8| {
        let more = json!({
            "bootstrap_expect": 3, "retry_join": [first], "retry_interval": "1s",
            "performance": {"raft_multiplier": 1, "rpc_hold_timeout": "3s"}
        });
        let name = format!("s{number}");
        HttpAgent::herald(&name, address(GROUP, number), Role::Server, more).await
    };
    let servers = vec![start(1).await, start(2).await, start(3).await];
    leader(&servers.iter().collect::<Vec<_>>()).await;
    servers
}

/// Waits until all of them name the same leader, one of them; its place.
async fn leader(servers: &[&HttpAgent]) -> usize {
    let mut found = None;
    within(async || {
        let mut named = Vec::new();
        for server in servers {
            named.push(server.get("/v1/status/leader").await.json());
        }
        named.dedup();
        let is_it = |server: &&HttpAgent| named == [json!(format!("{}:8300", server.address))];
        found = servers.iter().position(is_it);
        found.is_some()
    })
    .await;
    found.expect("it was waited for")
}

/// Names of the services that an agent's catalog has on node `c`.
async fn services(agent: &HttpAgent) -> Vec<String> {
    let node = agent.get("/v1/catalog/node/c").await;
    let Some(services) = (node.status == 200).then(|| node.json()["Services"].clone()) else {
        return Vec::new();
    };
    let services = services.as_object().into_iter().flatten();
    services.map(|(name, _)| name.clone()).collect()
}

/// Addresses that DNS of an agent answers for a service.
async fn resolves(agent: &HttpAgent, service: &str) -> Vec<String> {
    agent
        .ask(&format!("{service}.service.consul A"))
        .await
        .data()
}

#[tokio::test]
async fn a_consul_client_carries_on_when_the_leader_of_its_herald_servers_is_killed() {
    let more = json!({"retry_join": [address(GROUP, 1).to_string()], "retry_interval": "1s"});
    let client = HttpAgent::consul("c", address(GROUP, 9), Role::Client, more).await;
    let Some(client) = client else {
        return;
    };
    let mut servers = servers().await;
    sees(&client, "s1", "alive").await;
    let own = vec![address(GROUP, 9).to_string()];
    register(&client, "before").await;
    within(async || resolves(&client, "before").await == own).await;

    let leads = leader(&servers.iter().collect::<Vec<_>>()).await;
    servers.remove(leads).process.kill();
    let others: Vec<_> = servers.iter().collect();
    // What it has registered stays, and what it registers now is found.
    register(&client, "after").await;
    leader(&others).await;
    for service in ["before", "after"] {
        within(async || resolves(&client, service).await == own).await;
        for server in &others {
            within(async || resolves(server, service).await == own).await;
        }
    }
    for server in &others {
        within(async || services(server).await == ["after", "before"]).await;
    }
    // A read that waits through it is woken by what comes later.
    let seen = client.get("/v1/health/service/later").await;
    assert_eq!(seen.json(), json!([]));
    let path = format!("/v1/health/service/later?index={}&wait=60s", seen.index());
    let (woken, ()) = tokio::join!(client.get(&path), register(&client, "later"));
    assert_eq!(woken.json()[0]["Service"]["Service"], "later");
    let gone = client.put("/v1/agent/service/deregister/before", &Value::Null);
    assert_eq!(gone.await.status, 200);
    for server in &others {
        within(async || services(server).await == ["after", "later"]).await;
    }
}

async fn register(client: &HttpAgent, service: &str) {
    let body = json!({"Name": service, "Port": 80});
    let registered = client.put("/v1/agent/service/register", &body).await;
    assert_eq!(registered.status, 200, "{}", registered.text());
}

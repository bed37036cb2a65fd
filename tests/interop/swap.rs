//! Consul's servers are stopped and herald's take their place under the running clients.

use serde_json::json;

use super::agents::{Agent as _, HttpAgent, Role, sees};
use super::process::address;
use crate::support::eventually;

#[tokio::test]
async fn herald_servers_take_over_from_consul_servers_under_running_clients() {
    let start = async |name: &str, number: u8, role| {
        HttpAgent::consul(name, address(75, number), role, json!({})).await
    };
    let Some(mut server) = start("s", 1, Role::Server).await else {
        return;
    };
    server.leads().await;
    let first = start("c1", 2, Role::Client).await.unwrap();
    let second = start("c2", 3, Role::Client).await.unwrap();
    for client in [&first, &second] {
        assert_eq!(client.join(server.address).await.code, 0);
    }
    sees(&first, "c2", "alive").await;
    // While the server lives, herald stays out; once it has failed, herald comes in.
    let herald = HttpAgent::herald("h", address(75, 4), Role::Server, json!({})).await;
    assert_eq!(herald.join(first.address).await.code, 1);
    server.process.kill();
    sees(&first, "s", "failed").await;
    sees(&second, "s", "failed").await;
    herald.join(first.address).await.is(
        0,
        "Successfully joined cluster by contacting 1 nodes.\n",
        "",
    );
    for client in [&first, &second] {
        sees(client, "h", "alive").await;
    }
    for name in ["c1", "c2"] {
        sees(&herald, name, "alive").await;
    }
    // The clients are nodes of the new server.
    for name in ["c1", "c2", "h"] {
        eventually(async || herald.has_node(name).await).await;
    }
    assert!(!herald.has_node("s").await);
    // The old server may come back only as a stranger: it is not taken in as one of ours.
    let listed = herald.run(&["members"]).await;
    assert!(listed.out.contains("server"), "{}", listed.out);
    assert_eq!(herald.statuses().await["h"], "alive");
}

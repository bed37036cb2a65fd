//! Events, and what each says of the members.

use serde_json::{Value, json};

use super::{pair, within};
use crate::interop::agents::HttpAgent;

/// Waits until `agent` lists an event of this name; its payload in Base64.
async fn hears(agent: &HttpAgent, name: &str) -> Value {
    let mut payload = Value::Null;
    within(15, &format!("an event {name} is heard"), async || {
        let listed = agent.get(&format!("/v1/event/list?name={name}")).await;
        let first = listed.json()[0].clone();
        payload = first["Payload"].clone();
        first["Name"] == name
    })
    .await;
    payload
}

#[tokio::test]
async fn events_go_both_ways() {
    let Some(pair) = pair(98).await else {
        return;
    };
    let fired = pair.agent.run(&["event", "-name=deploy", "now"]).await;
    assert_eq!(fired.code, 0, "{}{}", fired.out, fired.err);
    assert_eq!(hears(&pair.server, "deploy").await, "bm93");
    assert_eq!(hears(&pair.agent, "deploy").await, "bm93");
    let path = "/v1/event/fire/drain?node=%5Ec$";
    let fired = pair.agent.put(path, &Value::Null).await;
    assert_eq!(fired.status, 200, "{}", fired.text());
    assert_eq!(fired.json()["NodeFilter"], "^c$");
    // The filter is the agent's name: the server keeps what is not for it to itself.
    assert_eq!(hears(&pair.agent, "drain").await, Value::Null);
    let path = "/v1/event/fire/back";
    let fired = pair.server.put(path, &json!("it is")).await;
    assert_eq!(fired.status, 200, "{}", fired.text());
    assert_eq!(hears(&pair.agent, "back").await, "Iml0IGlzIg==");
    let heard = pair.server.get("/v1/event/list?name=drain").await.json();
    assert_eq!(heard, json!([]));
}

#[tokio::test]
async fn each_lists_the_other_as_a_member() {
    let Some(pair) = pair(99).await else {
        return;
    };
    let expected = [
        ["c", "127.0.99.2:8301", "alive", "client"],
        ["h", "127.0.99.1:8301", "alive", "server"],
    ];
    for agent in [&pair.agent, &pair.server] {
        let listed = agent.run(&["members"]).await;
        assert_eq!(listed.code, 0, "{}", listed.err);
        for row in expected {
            let mut lines = listed.out.lines();
            let line = lines.find(|line| line.split_whitespace().take(4).eq(row));
            assert!(line.is_some(), "{row:?} is not in\n{}", listed.out);
        }
    }
    // The agent believes that it has a server to talk to, and says so.
    let own = pair.agent.get("/v1/agent/self").await.json();
    assert_eq!(own["Stats"]["consul"]["known_servers"], "1");
    let info = pair.agent.run(&["catalog", "nodes"]).await;
    assert_eq!(info.code, 0, "{}", info.err);
    assert_eq!(info.out.lines().count(), 3, "{}", info.out);
    let rtt = pair.agent.run(&["catalog", "services", "-tags"]).await;
    assert_eq!(rtt.code, 0, "{}", rtt.err);
    assert!(rtt.out.starts_with("consul"), "{}", rtt.out);
}

//! Maintenance, deregistration, leaving, death and return: of the agent, and of its server.

use serde_json::{Value, json};

use super::{Pair, pair, within};
use crate::interop::agents::{Agent as _, remembers, sees};

/// An instance of `web` whose TTL check passes.
async fn register(pair: &Pair, number: u8) {
    pair.register(json!({
        "ID": format!("web-{number}"), "Name": "web", "Address": format!("10.1.0.{number}"),
        "Port": 8080, "Check": {"TTL": "1h"}
    }))
    .await;
    // What was said of a check outlives a restart of the agent; what it began with does not.
    pair.tell(&format!("/v1/agent/check/pass/service:web-{number}"))
        .await;
}

/// The ids of all checks of the agent's node that the server has.
async fn checks(pair: &Pair) -> Vec<String> {
    let checks = pair.server.get("/v1/health/node/c").await.json();
    let checks = checks.as_array().unwrap().iter();
    checks
        .map(|check| check["CheckID"].as_str().unwrap().to_owned())
        .collect()
}

/// The status of the check that says whether the agent's node lives.
async fn life(pair: &Pair) -> Value {
    let checks = pair.server.get("/v1/health/node/c").await.json();
    let mut checks = checks.as_array().unwrap().iter();
    let found = checks.find(|check| check["CheckID"] == "serfHealth");
    found.map_or(Value::Null, |check| check["Status"].clone())
}

#[tokio::test]
async fn maintenance_takes_a_service_or_the_node_out_and_back() {
    let Some(pair) = pair(93).await else {
        return;
    };
    register(&pair, 1).await;
    register(&pair, 2).await;
    let question = "web.service.consul A";
    let both: &[&str] = &["10.1.0.1", "10.1.0.2"];
    pair.resolves(question, both).await;
    let path = "/v1/agent/service/maintenance/web-1";
    pair.tell(&format!("{path}?enable=true&reason=upgrade"))
        .await;
    pair.resolves(question, &["10.1.0.2"]).await;
    let critical = pair.server.get("/v1/health/state/critical").await.json();
    assert_eq!(critical[0]["CheckID"], "_service_maintenance:web-1");
    assert_eq!(critical[0]["Notes"], "upgrade");
    assert_eq!(critical[0]["ServiceName"], "web");
    pair.tell(&format!("{path}?enable=false")).await;
    pair.resolves(question, both).await;
    let said = pair.agent.run(&["maint", "-enable", "-reason=disk"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    pair.hides(question).await;
    assert!(checks(&pair).await.contains(&"_node_maintenance".into()));
    let said = pair.agent.run(&["maint", "-disable"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    pair.resolves(question, both).await;
    assert!(!checks(&pair).await.contains(&"_node_maintenance".into()));
}

#[tokio::test]
async fn what_is_deregistered_is_gone_and_a_leaving_agent_goes_with_all_it_has() {
    let Some(mut pair) = pair(94).await else {
        return;
    };
    register(&pair, 1).await;
    register(&pair, 2).await;
    let check = json!({"ID": "disk", "Name": "disk", "TTL": "1h", "Status": "passing"});
    let added = pair.agent.put("/v1/agent/check/register", &check).await;
    assert_eq!(added.status, 200, "{}", added.text());
    let more = json!({"ID": "extra", "Name": "extra", "TTL": "1h", "Status": "passing",
        "ServiceID": "web-2"});
    let added = pair.agent.put("/v1/agent/check/register", &more).await;
    assert_eq!(added.status, 200, "{}", added.text());
    pair.tell("/v1/agent/check/pass/extra").await;
    let question = "web.service.consul A";
    pair.resolves(question, &["10.1.0.1", "10.1.0.2"]).await;
    within(10, "all checks are there", async || {
        checks(&pair).await.len() == 5
    })
    .await;
    pair.tell("/v1/agent/check/deregister/disk").await;
    pair.tell("/v1/agent/service/deregister/web-1").await;
    pair.resolves(question, &["10.1.0.2"]).await;
    within(10, "their checks are gone", async || {
        let mut left = checks(&pair).await;
        left.sort();
        left == ["extra", "serfHealth", "service:web-2"]
    })
    .await;
    let left = pair.agent.run(&["leave"]).await;
    assert_eq!(left.code, 0, "{}", left.err);
    sees(&pair.server, "c", "left").await;
    within(15, "the node is gone", async || {
        !pair.server.has_node("c").await
    })
    .await;
    pair.resolves(question, &[]).await;
    pair.resolves("c.node.consul A", &[]).await;
    let services = pair.server.get("/v1/catalog/services").await.json();
    assert_eq!(services["web"], Value::Null);
    // It may come back.
    within(15, "the agent has ended", async || {
        pair.agent.process.ended().is_some()
    })
    .await;
    pair.agent.restart().await;
    let joined = pair.agent.join(pair.server.address).await;
    assert_eq!(joined.code, 0, "{}", joined.err);
    pair.resolves(question, &["10.1.0.2"]).await;
    pair.resolves("c.node.consul A", &["127.0.94.2"]).await;
}

#[tokio::test]
async fn a_killed_agent_leaves_the_names_and_brings_all_back_when_it_returns() {
    let Some(mut pair) = pair(95).await else {
        return;
    };
    register(&pair, 1).await;
    register(&pair, 2).await;
    let question = "web.service.consul A";
    let both: &[&str] = &["10.1.0.1", "10.1.0.2"];
    pair.resolves(question, both).await;
    remembers(&pair.agent, "h", &pair.server).await;
    pair.agent.process.kill();
    sees(&pair.server, "c", "failed").await;
    pair.hides(question).await;
    assert_eq!(life(&pair).await, "critical");
    // What it had is still there, but for what is taken away meanwhile.
    pair.counts("web", "", 2).await;
    let body = json!({"Node": "c", "ServiceID": "web-2"});
    let gone = pair.server.put("/v1/catalog/deregister", &body).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    pair.counts("web", "", 1).await;
    pair.agent.restart().await;
    sees(&pair.server, "c", "alive").await;
    pair.resolves(question, both).await;
    assert_eq!(life(&pair).await, "passing");
}

#[tokio::test]
async fn a_server_that_has_lost_its_catalog_gets_everything_back() {
    let Some(mut pair) = pair(96).await else {
        return;
    };
    register(&pair, 1).await;
    let question = "web.service.consul A";
    pair.resolves(question, &["10.1.0.1"]).await;
    remembers(&pair.server, "c", &pair.server).await;
    remembers(&pair.agent, "h", &pair.server).await;
    pair.server.process.kill();
    // Without a server, reads fail at once instead of waiting.
    let failed = pair.agent.get("/v1/health/service/web").await;
    assert_eq!(failed.status, 500, "{}", failed.text());
    sees(&pair.agent, "h", "failed").await;
    let failed = pair.agent.get("/v1/health/service/web").await;
    let expected = (500, "No known Consul servers");
    assert_eq!((failed.status, failed.text().as_str()), expected);
    // Both keep the catalog on disk.
    let raft = pair.server.process.directory.0.join("data/raft");
    std::fs::remove_dir_all(&raft).unwrap();
    pair.server.restart().await;
    sees(&pair.agent, "h", "alive").await;
    sees(&pair.server, "c", "alive").await;
    within(60, "the instance is back", async || {
        pair.server.ask(question).await.data() == ["10.1.0.1"]
    })
    .await;
    let node = pair.server.get("/v1/catalog/node/c").await.json();
    assert_eq!(node["Node"]["Meta"]["rack"], "r1");
    let read = pair
        .agent
        .get("/v1/health/service/web?passing")
        .await
        .json();
    assert_eq!(read.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_leaves_is_no_longer_known_to_the_agent() {
    let Some(mut pair) = pair(97).await else {
        return;
    };
    register(&pair, 1).await;
    pair.counts("web", "", 1).await;
    let left = pair.server.run(&["leave"]).await;
    assert_eq!(left.code, 0, "{}", left.err);
    within(30, "the server has ended", async || {
        pair.server.process.ended().is_some()
    })
    .await;
    within(30, "the agent knows no server", async || {
        let reply = pair.agent.get("/v1/catalog/nodes").await;
        (reply.status, reply.text().as_str()) == (500, "No known Consul servers")
    })
    .await;
    assert_eq!(pair.agent.statuses().await["h"], "left");
    // Its own services are still its own.
    let own = pair.agent.get("/v1/agent/services").await.json();
    assert_eq!(own["web-1"]["Port"], 8080);
}

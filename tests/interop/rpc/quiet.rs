//! An agent that only does discovery has nothing to complain of.

use serde_json::json;

use super::{is_control, pair, within};

/// What either warns of whatever the other is.
const USUAL: &[&str] = &[
    // herald's catalog is in memory.
    "State is not kept yet",
    // The states of the service's check.
    "Check is now critical",
    "Check is now warning",
];

/// Lines of a log that are warnings or errors and not usual.
fn complaints(log: &str) -> Vec<&str> {
    let loud = log
        .lines()
        .filter(|line| line.contains("[WARN]") || line.contains("[ERROR]"));
    loud.filter(|line| !USUAL.iter().any(|usual| line.contains(usual)))
        .collect()
}

#[tokio::test]
async fn nothing_is_wrong_in_the_log_of_an_agent_after_a_plain_run() {
    let Some(pair) = pair(102).await else {
        return;
    };
    pair.register(
        json!({"ID": "web-1", "Name": "web", "Address": "10.1.0.1", "Port": 80,
        "Check": {"CheckID": "beat", "TTL": "1h"}}),
    )
    .await;
    for state in ["pass", "warn", "fail", "pass"] {
        pair.tell(&format!("/v1/agent/check/{state}/beat")).await;
    }
    pair.resolves("web.service.consul A", &["10.1.0.1"]).await;
    for path in [
        "/v1/health/service/web",
        "/v1/health/service/web?cached",
        "/v1/health/service/web?stale",
        "/v1/health/state/any",
        "/v1/catalog/nodes",
        "/v1/catalog/datacenters",
        "/v1/status/leader",
        "/v1/coordinate/nodes",
    ] {
        assert_eq!(pair.agent.get(path).await.status, 200, "{path}");
    }
    let index = pair.agent.get("/v1/health/service/web").await.index();
    let waiting = format!("/v1/health/service/web?index={index}&wait=1s");
    assert_eq!(pair.agent.get(&waiting).await.index(), index);
    for question in ["web.service.consul SRV", "c.node.consul A", "consul NS"] {
        pair.agent.ask(question).await;
    }
    pair.tell("/v1/agent/maintenance?enable=true").await;
    pair.tell("/v1/agent/maintenance?enable=false").await;
    pair.tell("/v1/agent/service/deregister/web-1").await;
    pair.counts("web", "", 0).await;
    // It has also told its coordinate by then.
    within(
        60,
        "the agent has a coordinate in the catalog",
        async || pair.server.get("/v1/coordinate/node/c").await.status == 200,
    )
    .await;
    let log = pair.agent.process.log();
    assert!(log.contains("Synced service"), "this is the log");
    // It starts without anybody to talk to, and says that it cannot sync.
    let (_, log) = log.split_once("adding server").unwrap();
    assert_eq!(complaints(log), Vec::<&str>::new());
    if !is_control() {
        assert_eq!(complaints(&pair.server.process.log()), Vec::<&str>::new());
    }
}

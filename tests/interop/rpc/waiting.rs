//! Reads through the agent that wait for a change.

use std::time::Duration;

use herald::clock::monotonic;
use serde_json::json;

use super::{Pair, pair, within};
use crate::support::http;

/// A service without checks.
async fn register(pair: &Pair, name: &str, id: &str) {
    pair.register(json!({"ID": id, "Name": name, "Port": 80}))
        .await;
}

/// The agent's index of a read that shows `count` rows.
async fn index_of(pair: &Pair, path: &str, count: usize) -> u64 {
    let mut index = 0;
    within(10, &format!("{path} has {count} rows"), async || {
        let reply = pair.agent.get(path).await;
        index = reply.index();
        reply.json().as_array().unwrap().len() == count
    })
    .await;
    index
}

#[tokio::test]
async fn a_read_waits_for_its_own_service_only() {
    let Some(pair) = pair(88).await else {
        return;
    };
    register(&pair, "web", "web-1").await;
    let path = "/v1/health/service/web";
    let index = index_of(&pair, path, 1).await;
    // Another service is no reason to come back before the time is over.
    let waiting = format!("{path}?index={index}&wait=2s");
    let started = monotonic();
    let (reply, ()) = tokio::join!(pair.agent.get(&waiting), register(&pair, "db", "db-1"));
    assert_eq!(reply.index(), index);
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert!(started.elapsed() < Duration::from_secs(10));
    // Its own is.
    let waiting = format!("{path}?index={index}&wait=15s");
    let started = monotonic();
    let (reply, ()) = tokio::join!(pair.agent.get(&waiting), register(&pair, "web", "web-2"));
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(reply.index() > index);
    assert_eq!(reply.json().as_array().unwrap().len(), 2);
    let header = |name| reply.header(name);
    assert_eq!(header("X-Consul-KnownLeader"), Some("true"));
    assert_eq!(header("X-Consul-LastContact"), Some("0"));
}

#[tokio::test]
async fn a_service_that_does_not_exist_can_be_waited_for() {
    let Some(pair) = pair(89).await else {
        return;
    };
    for path in ["/v1/health/service/new", "/v1/catalog/service/new"] {
        let index = index_of(&pair, path, 0).await;
        assert!(index > 0, "{path}");
        let waiting = format!("{path}?index={index}&wait=15s&stale");
        let (reply, ()) = tokio::join!(pair.agent.get(&waiting), register(&pair, "new", "new-1"));
        assert_eq!(reply.json().as_array().unwrap().len(), 1, "{path}");
        assert!(reply.index() > index, "{path}");
        pair.tell("/v1/agent/service/deregister/new-1").await;
        pair.counts("new", "", 0).await;
    }
}

#[tokio::test]
async fn lists_can_be_waited_for_too() {
    let Some(pair) = pair(90).await else {
        return;
    };
    for (number, path) in [
        "/v1/catalog/services",
        "/v1/catalog/node/c",
        "/v1/health/node/c",
        "/v1/health/state/any",
        "/v1/internal/ui/services",
        "/v1/internal/ui/nodes",
    ]
    .into_iter()
    .enumerate()
    {
        let before = pair.agent.get(path).await;
        let index = before.index();
        let id = format!("s-{number}");
        let waiting = format!("{path}?index={index}&wait=15s");
        let change = pair.register(json!({"Name": id, "Port": 80, "Check": {"TTL": "1h"}}));
        let started = monotonic();
        let (reply, ()) = tokio::join!(pair.agent.get(&waiting), change);
        assert!(started.elapsed() < Duration::from_secs(10), "{path}");
        assert!(reply.index() > index, "{path}");
        assert!(reply.text().contains(&id), "{path}: {}", reply.text());
    }
    // Nodes change when one is registered.
    let path = "/v1/catalog/nodes";
    let index = pair.agent.get(path).await.index();
    let waiting = format!("{path}?index={index}&wait=15s");
    let body = json!({"Node": "ext", "Address": "10.2.0.1"});
    let (reply, _) = tokio::join!(
        pair.agent.get(&waiting),
        pair.server.put("/v1/catalog/register", &body)
    );
    assert!(reply.text().contains("ext"), "{}", reply.text());
}

#[tokio::test]
async fn what_the_agent_keeps_in_its_cache_follows_the_server() {
    let Some(pair) = pair(91).await else {
        return;
    };
    register(&pair, "web", "web-1").await;
    pair.counts("web", "", 1).await;
    let path = "/v1/health/service/web?cached";
    let first = pair.agent.get(path).await;
    assert_eq!(first.header("X-Cache"), Some("MISS"));
    let second = pair.agent.get(path).await;
    assert_eq!(second.header("X-Cache"), Some("HIT"));
    assert_eq!(second.json(), first.json());
    register(&pair, "web", "web-2").await;
    within(10, "the cache has the second instance", async || {
        let reply = pair.agent.get(path).await;
        assert_eq!(reply.header("X-Cache"), Some("HIT"));
        reply.json().as_array().unwrap().len() == 2
    })
    .await;
}

#[tokio::test]
async fn many_reads_wait_at_once_and_others_go_on() {
    let Some(pair) = pair(92).await else {
        return;
    };
    let path = "/v1/health/service/web";
    register(&pair, "web", "web-1").await;
    let index = index_of(&pair, path, 1).await;
    let mut waiting = tokio::task::JoinSet::new();
    let address = pair.agent.http();
    for _ in 0..150 {
        let path = format!("{path}?index={index}&wait=20s");
        waiting.spawn(async move { http::get(address, &path).await });
    }
    // The agent's calls for other things go through meanwhile.
    for number in 0..5 {
        register(&pair, "other", &format!("other-{number}")).await;
    }
    pair.counts("other", "", 5).await;
    assert_eq!(pair.agent.get("/v1/catalog/nodes").await.status, 200);
    register(&pair, "web", "web-2").await;
    while let Some(reply) = waiting.join_next().await {
        let reply = reply.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json().as_array().unwrap().len(), 2);
    }
}

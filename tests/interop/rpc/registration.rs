//! What the agent registers is in the server's names and catalog as it was said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{Pair, pair, within};
use crate::support::peers::{self, Peer};

#[tokio::test]
async fn a_service_has_all_that_was_said_of_it() {
    let Some(pair) = pair(81).await else {
        return;
    };
    pair.register(json!({
        "ID": "web-1", "Name": "web", "Tags": ["v1", "primary"], "Meta": {"version": "1.2"},
        "Address": "10.1.0.1", "Port": 8080, "Weights": {"Passing": 3, "Warning": 2},
        "TaggedAddresses": {"wan": {"Address": "198.51.100.1", "Port": 80}},
        "EnableTagOverride": true,
        "Check": {"CheckID": "web-ttl", "Name": "alive", "Notes": "says so itself", "TTL": "1h"}
    }))
    .await;
    pair.counts("web", "", 1).await;
    let row = pair.server.get("/v1/health/service/web").await.json()[0].clone();
    let service = &row["Service"];
    for (key, expected) in [
        ("ID", json!("web-1")),
        ("Service", json!("web")),
        ("Tags", json!(["v1", "primary"])),
        ("Meta", json!({"version": "1.2"})),
        ("Address", json!("10.1.0.1")),
        ("Port", json!(8080)),
        ("Weights", json!({"Passing": 3, "Warning": 2})),
        ("EnableTagOverride", json!(true)),
    ] {
        assert_eq!(service[key], expected, "{key}");
    }
    let wan = json!({"Address": "198.51.100.1", "Port": 80});
    assert_eq!(service["TaggedAddresses"]["wan"], wan);
    let node = &row["Node"];
    assert_eq!(node["Node"], "c");
    assert_eq!(node["Address"], "127.0.81.2");
    assert_eq!(node["Meta"]["rack"], "r1");
    assert_eq!(node["TaggedAddresses"]["lan_ipv4"], "127.0.81.2");
    let own = pair.agent.get("/v1/agent/self").await.json();
    assert_eq!(node["ID"], own["Config"]["NodeID"]);
    let checks = row["Checks"].as_array().unwrap();
    let check = checks.iter().find(|it| it["CheckID"] == "web-ttl").unwrap();
    for (key, expected) in [
        ("Name", json!("alive")),
        ("Notes", json!("says so itself")),
        ("Status", json!("critical")),
        ("ServiceID", json!("web-1")),
        ("ServiceName", json!("web")),
        ("ServiceTags", json!(["v1", "primary"])),
        ("Type", json!("ttl")),
    ] {
        assert_eq!(check[key], expected, "{key}");
    }
    let listed = pair.server.get("/v1/catalog/services").await.json();
    let mut tags: Vec<&str> = listed["web"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag.as_str().unwrap())
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, ["primary", "v1"]);
    let row = pair.server.get("/v1/catalog/service/web").await.json()[0].clone();
    assert_eq!(row["ServiceAddress"], "10.1.0.1");
    assert_eq!(row["ServicePort"], 8080);
    assert_eq!(row["ServiceTaggedAddresses"]["wan"], wan);
    assert_eq!(row["NodeMeta"]["rack"], "r1");
}

#[tokio::test]
async fn the_states_of_a_ttl_check_reach_the_names() {
    let Some(pair) = pair(82).await else {
        return;
    };
    pair.register(json!({
        "ID": "web-1", "Name": "web", "Tags": ["v1"], "Address": "10.1.0.1", "Port": 8080,
        "Weights": {"Passing": 3, "Warning": 2}, "Check": {"CheckID": "beat", "TTL": "1h"}
    }))
    .await;
    pair.counts("web", "", 1).await;
    pair.hides("web.service.consul A").await;
    let target = "0a010001.addr.dc1.consul.";
    let srv = |weight: u8| format!("1 {weight} 8080 {target}");
    pair.tell("/v1/agent/check/pass/beat?note=fine").await;
    pair.resolves("web.service.consul A", &["10.1.0.1"]).await;
    pair.resolves("web.service.consul SRV", &[&srv(3)]).await;
    pair.resolves("_web._v1.service.consul SRV", &[&srv(3)])
        .await;
    pair.resolves("v1.web.service.consul A", &["10.1.0.1"])
        .await;
    pair.resolves("v2.web.service.consul A", &[]).await;
    pair.resolves("c.node.consul A", &["127.0.82.2"]).await;
    output(&pair, "beat", "fine").await;
    pair.tell("/v1/agent/check/warn/beat?note=slow").await;
    pair.resolves("web.service.consul SRV", &[&srv(2)]).await;
    output(&pair, "beat", "slow").await;
    pair.counts("web", "passing", 0).await;
    pair.tell("/v1/agent/check/fail/beat?note=down").await;
    pair.hides("web.service.consul SRV").await;
    output(&pair, "beat", "down").await;
    pair.tell("/v1/agent/check/pass/beat").await;
    pair.resolves("web.service.consul SRV", &[&srv(3)]).await;
    pair.counts("web", "passing", 1).await;
}

/// Waits until the server has this output of a check of the agent.
async fn output(pair: &Pair, check: &str, expected: &str) {
    within(10, &format!("{check} says {expected}"), async || {
        let checks = pair.server.get("/v1/health/node/c").await.json();
        let mut checks = checks.as_array().unwrap().iter();
        checks.any(|it| it["CheckID"] == check && it["Output"] == expected)
    })
    .await;
}

#[tokio::test]
async fn the_results_of_an_http_check_reach_the_names() {
    let Some(pair) = pair(83).await else {
        return;
    };
    let healthy = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&healthy);
    let peer = Peer::http(None, move |_| {
        if says.load(Ordering::Relaxed) {
            peers::answer("200 OK", "well")
        } else {
            peers::answer("503 Service Unavailable", "ill")
        }
    })
    .await;
    pair.register(json!({
        "Name": "web", "Address": "10.1.0.1", "Port": 8080,
        "Check": {"HTTP": format!("http://{}/health", peer.address), "Interval": "1s"}
    }))
    .await;
    pair.resolves("web.service.consul A", &["10.1.0.1"]).await;
    healthy.store(false, Ordering::Relaxed);
    pair.hides("web.service.consul A").await;
    let checks = pair.server.get("/v1/health/checks/web").await.json();
    assert_eq!(checks[0]["CheckID"], "service:web");
    assert_eq!(checks[0]["Type"], "http");
    let output = checks[0]["Output"].as_str().unwrap();
    assert!(output.contains("503") && output.contains("ill"), "{output}");
    healthy.store(true, Ordering::Relaxed);
    pair.resolves("web.service.consul A", &["10.1.0.1"]).await;
}

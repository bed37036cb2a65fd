//! What the agent's HTTP and DNS interfaces say is what the server's say.

use herald::client::dig;
use serde_json::{Value, json};

use super::{Pair, pair, resolves, within};
use crate::support::http::Reply;

/// A pair with two instances of `web` on the agent, and one on a node that has no agent, which the
/// agent's own catalog API has registered.
async fn populated(group: u8) -> Option<Pair> {
    let pair = pair(group).await?;
    for (id, tags, version) in [
        ("web-1", ["v1", "blue"], "1"),
        ("web-2", ["v2", "blue"], "2"),
    ] {
        pair.register(json!({
            "ID": id, "Name": "web", "Tags": tags, "Meta": {"version": version},
            "Address": format!("10.1.0.{version}"), "Port": 8080,
            "TaggedAddresses": {"wan": {"Address": "198.51.100.1", "Port": 80}},
            "Weights": {"Passing": 3, "Warning": 1},
            "Check": {"TTL": "1h", "Status": "passing"}
        }))
        .await;
    }
    let body = json!({
        "Node": "ext", "Address": "10.2.0.1", "NodeMeta": {"rack": "r2"},
        "TaggedAddresses": {"lan": "10.2.0.1"},
        "Service": {"ID": "web-3", "Service": "web", "Tags": ["v3"], "Port": 9090},
        "Checks": [
            {"Node": "ext", "CheckID": "up", "Name": "up", "Status": "passing"},
            {"Node": "ext", "CheckID": "web-3", "Name": "web", "Status": "warning",
             "ServiceID": "web-3", "Output": "slow",
             "Definition": {"HTTP": "http://10.2.0.1:9090/", "Interval": "10s", "Timeout": "2s"}}
        ]
    });
    let registered = pair.agent.put("/v1/catalog/register", &body).await;
    assert_eq!((registered.status, registered.text().trim()), (200, "true"));
    pair.counts("web", "passing", 2).await;
    pair.counts("web", "", 3).await;
    Some(pair)
}

/// Instances of `web` in an answer.
fn ids(reply: &Reply) -> Vec<String> {
    let rows = reply.json();
    let rows = rows.as_array().unwrap().iter();
    let mut ids: Vec<String> = rows
        .map(|row| row["Service"]["ID"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn health_is_the_same_in_all_the_ways_to_ask() {
    let Some(pair) = populated(84).await else {
        return;
    };
    let all: &[&str] = &["web-1", "web-2", "web-3"];
    for (query, expected) in [
        ("", all),
        ("stale", all),
        ("consistent", all),
        ("cached", all),
        ("passing", &["web-1", "web-2"]),
        ("tag=v1", &["web-1"]),
        ("tag=V1", &["web-1"]),
        ("tag=blue&tag=v2", &["web-2"]),
        ("tag=none", &[]),
        ("near=c", all),
        ("node-meta=rack:r2", &["web-3"]),
        ("node-meta=rack:r1&node-meta=none:x", &[]),
        ("filter=Service.Meta.version%20==%20%221%22", &["web-1"]),
        ("filter=%22v3%22%20in%20Service.Tags", &["web-3"]),
        ("filter=Checks.Status%20==%20warning", &["web-3"]),
        ("dc=dc1", all),
    ] {
        let reply = pair.agree(&format!("/v1/health/service/web?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        assert_eq!(ids(&reply), expected, "{query}");
    }
    let near = pair.agent.get("/v1/health/service/web?near=_agent").await;
    assert_eq!(ids(&near), all);
    for path in [
        "/v1/health/service/none",
        "/v1/health/node/c",
        "/v1/health/node/ext",
        "/v1/health/node/none",
        "/v1/health/node/c?filter=ServiceID%20==%20%22web-1%22",
        "/v1/health/checks/web",
        "/v1/health/checks/web?node-meta=rack:r2",
        "/v1/health/checks/none",
        "/v1/health/state/any",
        "/v1/health/state/passing",
        "/v1/health/state/warning?near=c",
        "/v1/health/state/critical",
    ] {
        assert_eq!(pair.agree(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_catalog_is_the_same_in_all_the_ways_to_ask() {
    let Some(pair) = populated(85).await else {
        return;
    };
    for path in [
        "/v1/catalog/nodes",
        "/v1/catalog/nodes?stale",
        "/v1/catalog/nodes?consistent",
        "/v1/catalog/nodes?node-meta=rack:r2",
        "/v1/catalog/nodes?filter=Node%20==%20ext",
        "/v1/catalog/nodes?near=c",
        "/v1/catalog/services",
        "/v1/catalog/services?node-meta=rack:r1",
        "/v1/catalog/services?node-meta=rack:r9",
        "/v1/catalog/service/web",
        "/v1/catalog/service/web?tag=v1",
        "/v1/catalog/service/web?tag=v1&tag=v2",
        "/v1/catalog/service/web?filter=ServicePort%20==%209090",
        "/v1/catalog/service/none",
        "/v1/catalog/node/c",
        "/v1/catalog/node/ext",
        "/v1/catalog/node/none",
        "/v1/catalog/node-services/c",
        "/v1/catalog/datacenters",
        "/v1/coordinate/datacenters",
        "/v1/status/leader",
        "/v1/status/peers",
    ] {
        assert_eq!(pair.agree(path).await.status, 200, "{path}");
    }
    let leader = pair.agent.get("/v1/status/leader").await.json();
    assert_eq!(leader, "127.0.85.1:8300");
    let nodes = pair.agent.get("/v1/catalog/nodes").await.json();
    let nodes = nodes.as_array().unwrap().iter();
    let nodes: Vec<&Value> = nodes.map(|node| &node["Node"]).collect();
    assert_eq!(nodes, ["c", "ext", "h"]);
    // Nothing is in a mesh.
    for path in ["/v1/health/connect/web", "/v1/catalog/connect/web"] {
        let reply = pair.agent.get(path).await;
        assert_eq!((reply.status, reply.json()), (200, json!([])), "{path}");
    }
    // The agent's page about the cluster has rows of its own shape.
    let page = pair.agent.get("/v1/internal/ui/nodes").await.json();
    let page = page.as_array().unwrap();
    assert_eq!(page.len(), 3);
    let own = page.iter().find(|node| node["Node"] == "c").unwrap();
    assert_eq!(own["Services"].as_array().unwrap().len(), 2);
    assert_eq!(own["Checks"].as_array().unwrap().len(), 3);
    let page = pair.agent.get("/v1/internal/ui/node/ext").await.json();
    assert_eq!(page["Services"][0]["ID"], "web-3");
    let page = pair.agent.get("/v1/internal/ui/services").await.json();
    let page = page.as_array().unwrap();
    let web = page
        .iter()
        .find(|service| service["Name"] == "web")
        .unwrap();
    assert_eq!(web["Nodes"], json!(["c", "c", "ext"]));
    assert_eq!(web["ChecksWarning"], 1);
}

#[tokio::test]
async fn names_are_answered_alike() {
    let Some(pair) = populated(86).await else {
        return;
    };
    let instances: &[&str] = &["10.1.0.1", "10.1.0.2", "10.2.0.1"];
    for (question, expected) in [
        ("web.service.consul A", instances),
        ("web.service.dc1.consul A", instances),
        ("WEB.service.consul A", instances),
        ("v1.web.service.consul A", &["10.1.0.1"]),
        ("blue.web.service.consul A", &["10.1.0.1", "10.1.0.2"]),
        (
            "web.service.consul SRV",
            &[
                "1 1 9090 ext.node.dc1.consul.",
                "1 3 8080 0a010001.addr.dc1.consul.",
                "1 3 8080 0a010002.addr.dc1.consul.",
            ],
        ),
        (
            "_web._v3.service.consul SRV",
            &["1 1 9090 ext.node.dc1.consul."],
        ),
        ("c.node.consul A", &["127.0.86.2"]),
        ("ext.node.dc1.consul A", &["10.2.0.1"]),
        ("h.node.consul A", &["127.0.86.1"]),
        ("consul.service.consul A", &["127.0.86.1"]),
        ("1.0.2.10.in-addr.arpa PTR", &["ext.node.dc1.consul."]),
        ("2.86.0.127.in-addr.arpa PTR", &["c.node.dc1.consul."]),
        ("consul NS", &["h.node.dc1.consul."]),
        ("0a010001.addr.consul A", &["10.1.0.1"]),
        ("none.service.consul A", &[]),
        ("none.node.consul A", &[]),
        ("v9.web.service.consul SRV", &[]),
    ] {
        for agent in [&pair.server, &pair.agent] {
            resolves(agent, question, expected).await;
        }
    }
    for question in ["web.service.consul ANY", "ext.node.consul ANY"] {
        let answer = pair.agent.ask(question).await;
        let records = answer.message.answers.iter();
        let data: Vec<String> = records.map(|record| dig::data(&record.data)).collect();
        assert!(
            data.contains(&"10.2.0.1".to_owned()),
            "{question}: {data:?}"
        );
    }
    // Targets come with their addresses.
    let answer = pair.agent.ask("web.service.consul SRV").await;
    let glue = answer.targets();
    let glue = glue.iter().filter_map(|target| answer.glue(target));
    let mut glue: Vec<String> = glue.map(|address| address.to_string()).collect();
    glue.sort();
    assert_eq!(glue, instances);
}

#[tokio::test]
async fn coordinates_are_the_same_and_sort_what_is_near() {
    let Some(pair) = populated(87).await else {
        return;
    };
    let none = pair.agent.get("/v1/coordinate/node/none").await;
    assert_eq!(none.status, 404, "{}", none.text());
    // The agent sends its own within half a minute, and the server has one too.
    for node in ["c", "h"] {
        let path = format!("/v1/coordinate/node/{node}");
        within(60, &format!("{node} has a coordinate"), async || {
            let known = pair.server.get(&path).await;
            known.status == 200 && known.json()[0]["Node"] == node
        })
        .await;
    }
    let row = pair.agree("/v1/coordinate/node/c").await.json()[0].clone();
    assert_eq!(row["Segment"], "");
    assert_eq!(row["Coord"]["Vec"].as_array().unwrap().len(), 8);
    assert!(row["Coord"]["Error"].as_f64().unwrap() > 0.0);
    assert_eq!(pair.agree("/v1/coordinate/nodes").await.status, 200);
    // A node without a coordinate is the last, whoever asks.
    let near = pair.agent.get("/v1/health/service/web?near=_agent").await;
    let rows = near.json();
    let order: Vec<&Value> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["Node"]["Node"])
        .collect();
    assert_eq!(order, ["c", "c", "ext"]);
    let near = pair.agree("/v1/catalog/nodes?near=c").await.json();
    assert_eq!(near[0]["Node"], "c");
    assert_eq!(near[2]["Node"], "ext");
}

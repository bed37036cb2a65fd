//! A client agent with a server behind it: what is asked of it is as if the server were asked.

use std::time::Duration;

use serde_json::json;

use crate::support::agent::TestAgent;
use crate::support::eventually;
use crate::support::http::{Reply, get, put};

/// A server `n1` and a client agent `c1` in one pool.
struct Pair {
    server: TestAgent,
    client: TestAgent,
}

impl Pair {
    async fn start() -> Self {
        let server = TestAgent::settled().await;
        let client = TestAgent::try_named("c1", r#"{"server": false, "ui": true}"#).await;
        let pair = Self {
            server,
            client: client.expect("the client agent starts"),
        };
        let path = format!("/v1/agent/join/{}", pair.server.lan());
        let joined = put(pair.client.http_address(), &path, "").await;
        assert_eq!(joined.status, 200, "{}", joined.text());
        eventually(async || pair.at_client("catalog/node/c1").await.status == 200).await;
        eventually(async || {
            let checks = pair.at_server("health/node/c1").await;
            checks.json()[0]["CheckID"] == "serfHealth"
        })
        .await;
        pair
    }

    async fn at_server(&self, path: &str) -> Reply {
        get(self.server.http_address(), &format!("/v1/{path}")).await
    }

    async fn at_client(&self, path: &str) -> Reply {
        get(self.client.http_address(), &format!("/v1/{path}")).await
    }

    async fn write_at_client(&self, path: &str, body: &serde_json::Value) -> Reply {
        let path = format!("/v1/{path}");
        put(self.client.http_address(), &path, &body.to_string()).await
    }

    /// Two nodes with two services and checks of all kinds.
    async fn fill(&self) {
        for body in [
            json!({
                "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "web1", "Address": "10.0.0.1",
                "TaggedAddresses": {"lan": "10.0.0.1", "wan": "192.0.2.1"},
                "NodeMeta": {"rack": "1", "ssd": "yes"},
                "Service": {
                    "ID": "web-1", "Service": "web", "Tags": ["a", "B"], "Port": 80,
                    "Address": "10.1.0.1", "Meta": {"version": "2"}, "EnableTagOverride": true,
                    "Weights": {"Passing": 5, "Warning": 2},
                    "TaggedAddresses": {"wan": {"Address": "192.0.2.9", "Port": 8080}}
                },
                "Checks": [
                    {"Name": "disk", "Status": "passing", "Notes": "of the node"},
                    {"CheckID": "web-up", "Name": "up", "ServiceID": "web-1", "Status": "passing",
                     "Output": "200 OK",
                     "Definition": {"HTTP": "http://10.1.0.1/", "Interval": "10s",
                                    "Header": {"X-A": ["1"]}}}
                ]
            }),
            json!({
                "Node": "web2", "Address": "10.0.0.2", "NodeMeta": {"rack": "2"},
                "Service": {"Service": "web", "Tags": ["a"]},
                "Check": {"Name": "down", "ServiceID": "web", "Status": "critical"}
            }),
            json!({
                "Node": "web2", "Address": "10.0.0.2", "NodeMeta": {"rack": "2"},
                "Service": {"Service": "cache", "Port": 6379}
            }),
            json!({"Node": "bare", "Address": "bare.example.com"}),
        ] {
            self.server.register_in_catalog(body).await;
        }
        for (node, place) in [("web1", 0.4), ("web2", 0.2), ("n1", 0.0)] {
            let coordinate = json!({"Vec": [place, 0, 0, 0, 0, 0, 0, 0], "Height": 0.00001});
            let body = json!({"Node": node, "Coord": coordinate});
            self.server.put("/v1/coordinate/update", body).await;
        }
        eventually(async || {
            let places = self.at_server("coordinate/nodes").await.json();
            places.as_array().is_some_and(|all| all.len() >= 3)
        })
        .await;
    }

    async fn stop(self) {
        self.client.stop().await;
        self.server.stop().await;
    }
}

/// What of an answer must be equal.
fn seen(reply: &Reply) -> (u16, Vec<Option<String>>, String) {
    let headers = [
        "Content-Type",
        "X-Cache",
        "X-Consul-Effective-Consistency",
        "X-Consul-Index",
        "X-Consul-Knownleader",
        "X-Consul-Lastcontact",
    ];
    let headers = headers.map(|name| reply.header(name).map(str::to_owned));
    (reply.status, headers.into(), reply.text())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of it is the table of paths")]
async fn every_read_is_answered_as_by_the_server() {
    let pair = Pair::start().await;
    pair.fill().await;
    for path in [
        "catalog/nodes",
        "catalog/nodes?stale",
        "catalog/nodes?consistent",
        "catalog/nodes?near=n1",
        "catalog/nodes?near=missing",
        "catalog/nodes?node-meta=rack:1",
        "catalog/nodes?filter=Node%20==%20web1",
        "catalog/nodes?filter=%20",
        "catalog/nodes?dc=dc9",
        "catalog/services",
        "catalog/services?node-meta=rack:2",
        "catalog/services?node-meta=rack:3",
        "catalog/service/web",
        "catalog/service/WEB",
        "catalog/service/web?cached",
        "catalog/service/web?tag=b&tag=A",
        "catalog/service/web?near=n1",
        "catalog/service/web?node-meta=rack:2",
        "catalog/service/web?filter=ServiceMeta.version%20==%202",
        "catalog/service/consul",
        "catalog/service/missing",
        "catalog/service/not%20a%20name%00",
        "catalog/service/",
        "catalog/connect/web",
        "catalog/node/web1",
        "catalog/node/WEB1",
        "catalog/node/40e4a748-2192-161a-0510-9bf59fe950b5",
        "catalog/node/web1?filter=Service%20==%20web",
        "catalog/node/bare",
        "catalog/node/missing",
        "catalog/node-services/web2",
        "catalog/node-services/missing",
        "health/service/web",
        "health/service/web?passing",
        "health/service/web?near=n1",
        "health/service/web?tag=b&stale",
        "health/service/web?filter=Node.Node%20==%20web2",
        "health/service/consul",
        "health/service/missing",
        "health/node/web1",
        "health/node/web2?filter=ServiceName%20==%20web",
        "health/node/missing",
        "health/checks/web",
        "health/checks/web?near=n1",
        "health/checks/web?node-meta=rack:1",
        "health/state/any",
        "health/state/critical",
        "health/state/any?node-meta=rack:2",
        "health/state/passing?near=n1",
        "health/state/none",
        "coordinate/nodes",
        "coordinate/node/web1",
        "coordinate/node/missing",
        "coordinate/datacenters",
        "catalog/datacenters",
        "status/leader",
        "status/peers",
        "catalog/nodes?index=1&wait=1s",
        "health/service/web?index=1&wait=1s",
    ] {
        // The server may learn something between both reads.
        let mut last = None;
        for _ in 0..50 {
            let expected = seen(&pair.at_server(path).await);
            let found = seen(&pair.at_client(path).await);
            let equal = expected == found;
            last = Some((expected, found));
            if equal {
                break;
            }
        }
        let (expected, found) = last.unwrap();
        assert_eq!(found, expected, "{path}");
    }
    pair.stop().await;
}

#[tokio::test]
async fn the_page_for_people_shows_the_servers_catalog() {
    let pair = Pair::start().await;
    pair.fill().await;
    let page = get(pair.client.http_address(), "/ui/").await;
    assert_eq!(page.status, 200, "{}", page.text());
    for text in ["web1", "cache", "bare.example.com"] {
        assert!(page.text().contains(text), "{text}");
    }
    pair.stop().await;
}

#[tokio::test]
async fn writes_reach_the_server_and_its_refusals_come_back() {
    let pair = Pair::start().await;
    let registration = json!({
        "Node": "x", "Address": "10.0.0.9",
        "Service": {"Service": "db", "Port": 5432, "Tags": ["t"], "Meta": {"k": "v"}},
        "Checks": [{"Name": "one", "Status": "passing"},
                   {"Name": "two", "ServiceID": "db", "Status": "warning", "Output": "slow"}]
    });
    let written = pair
        .write_at_client("catalog/register", &registration)
        .await;
    assert_eq!((written.status, written.text().trim()), (200, "true"));
    let row = pair.at_server("health/service/db").await.json()[0].clone();
    assert_eq!(row["Node"]["Address"], "10.0.0.9");
    assert_eq!(row["Service"]["Port"], 5432);
    assert_eq!(row["Service"]["Tags"], json!(["t"]));
    assert_eq!(row["Service"]["Meta"], json!({"k": "v"}));
    let checks = row["Checks"].as_array().unwrap();
    let checks: Vec<_> = checks
        .iter()
        .map(|it| (it["Name"].as_str(), it["Status"].as_str()))
        .collect();
    let expected = [("one", "passing"), ("two", "warning")];
    assert_eq!(
        checks,
        expected.map(|(name, status)| (Some(name), Some(status)))
    );

    let orphan = json!({
        "Node": "x", "Address": "10.0.0.9",
        "Check": {"Name": "lost", "ServiceID": "nothing", "Status": "passing"}
    });
    let refused = pair.write_at_client("catalog/register", &orphan).await;
    let text = "rpc error making call: failed inserting check: Missing service registration on \
                node \"x\"";
    assert_eq!((refused.status, refused.text().as_str()), (500, text));
    let elsewhere = json!({"Node": "x", "Datacenter": "dc9"});
    let refused = pair.write_at_client("catalog/deregister", &elsewhere).await;
    let text = "No path to datacenter";
    assert_eq!((refused.status, refused.text().as_str()), (400, text));

    for (body, left) in [
        (json!({"Node": "x", "CheckID": "one"}), 1),
        (json!({"Node": "x", "ServiceID": "db"}), 0),
    ] {
        let gone = pair.write_at_client("catalog/deregister", &body).await;
        assert_eq!((gone.status, gone.text().trim()), (200, "true"));
        let checks = pair.at_server("health/node/x").await.json();
        assert_eq!(checks.as_array().unwrap().len(), left, "{body}");
    }
    let body = json!({"Node": "x", "Coord": {"Vec": [1, 0, 0, 0, 0, 0, 0, 0]}});
    let told = pair.write_at_client("coordinate/update", &body).await;
    assert_eq!(told.status, 200, "{}", told.text());
    eventually(async || pair.at_server("coordinate/node/x").await.status == 200).await;
    pair.stop().await;
}

#[tokio::test]
async fn what_is_registered_at_the_client_is_in_the_servers_catalog() {
    let pair = Pair::start().await;
    let check = json!({"TTL": "1h"});
    let service = json!({"Name": "web", "Port": 80, "Check": check});
    pair.client.register(service).await;
    eventually(async || {
        let rows = pair.at_server("health/service/web").await.json();
        rows[0]["Node"]["Node"] == "c1" && rows[0]["Checks"].as_array().unwrap().len() == 2
    })
    .await;
    pair.client
        .put("/v1/agent/check/pass/service:web", json!({}))
        .await;
    eventually(async || {
        let rows = pair.at_client("health/service/web?passing").await.json();
        rows.as_array().unwrap().len() == 1
    })
    .await;
    pair.client
        .put("/v1/agent/service/deregister/web", json!({}))
        .await;
    eventually(async || pair.at_server("catalog/service/web").await.json() == json!([])).await;
    pair.stop().await;
}

#[tokio::test]
async fn a_blocking_read_at_the_client_wakes_by_a_change_at_the_server() {
    let pair = Pair::start().await;
    for path in ["health/service/new", "catalog/services?node-meta=rack:7"] {
        let index = pair.at_client(path).await.index();
        let mark = if path.contains('?') { '&' } else { '?' };
        let blocking = format!("{path}{mark}index={index}&wait=60s");
        let name = path.replace(['/', '?', '=', ':'], "-");
        let mut waiting = std::pin::pin!(pair.at_client(&blocking));
        let early = tokio::time::timeout(Duration::from_millis(300), waiting.as_mut()).await;
        assert!(early.is_err(), "{path} does not wait");
        let body = json!({
            "Node": name, "Address": "10.0.0.7", "NodeMeta": {"rack": "7"},
            "Service": {"Service": "new", "ID": name}
        });
        pair.server.register_in_catalog(body).await;
        let woken = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        let woken = woken.expect("it wakes long before its wait is over");
        assert!(woken.index() > index, "{path}");
        assert!(woken.text().contains("new"), "{path}: {}", woken.text());
    }
    // Nothing changes: the wait passes and the same index comes back.
    let index = pair.at_client("health/service/quiet").await.index();
    let path = format!("health/service/quiet?index={}&wait=100ms", index + 1_000);
    assert_eq!(pair.at_client(&path).await.json(), json!([]));
    pair.stop().await;
}

#[tokio::test]
async fn a_client_whose_server_is_gone_says_why() {
    let pair = Pair::start().await;
    let port = pair.server.rpc().port();
    pair.server.stop().await;
    eventually(async || {
        let reply = get(pair.client.http_address(), "/v1/catalog/nodes").await;
        assert_ne!(reply.status, 200, "{}", reply.text());
        reply.text().contains("connect: connection refused")
            || reply.text() == "No known Consul servers"
    })
    .await;
    let reply = put(
        pair.client.http_address(),
        "/v1/catalog/deregister",
        r#"{"Node": "x"}"#,
    )
    .await;
    let refused = format!(
        "rpc error getting client: failed to get conn: dial tcp 127.0.0.1:{port}: connect: \
         connection refused"
    );
    assert_eq!(reply.status, 500);
    assert!(
        [refused.as_str(), "No known Consul servers"].contains(&reply.text().as_str()),
        "{}",
        reply.text()
    );
    assert_eq!(reply.header("Retry-After"), Some("1"));
    pair.client.stop().await;
}

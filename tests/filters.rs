//! Filters (`?filter=`) on every read that has them, through real sockets. The grammar and the
//! operators have tests of their own beside the code.

use std::net::SocketAddr;
use std::time::Duration;

use herald::client::http::encode;
use serde_json::{Value, json};

use crate::support::http::{Connection, Reply, get, put};
use crate::support::parts::{Parts, config};

async fn register(address: SocketAddr, body: Value) {
    let reply = put(address, "/v1/catalog/register", &body.to_string()).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "true"));
}

/// Two nodes with an instance of `web` each, and `db` on the first.
async fn fill(address: SocketAddr) {
    for (node, ip, rack, version, status) in [
        ("n-a", "10.0.0.1", "1", "v1", "passing"),
        ("n-b", "10.0.0.2", "2", "v2", "critical"),
    ] {
        let id = format!("web-{version}");
        register(
            address,
            json!({
                "Node": node, "Address": ip, "NodeMeta": {"rack": rack},
                "Service": {
                    "ID": id, "Service": "web", "Tags": [version], "Port": 80,
                    "Meta": {"version": version},
                },
                "Checks": [
                    {"CheckID": "serfHealth", "Name": "Serf", "Status": "passing"},
                    {"CheckID": "http", "Name": "http", "Status": status, "ServiceID": id},
                ],
            }),
        )
        .await;
    }
    let db = json!({
        "Node": "n-a", "Address": "10.0.0.1", "NodeMeta": {"rack": "1"},
        "Service": {"ID": "db-1", "Service": "db", "Port": 5432},
    });
    register(address, db).await;
}

async fn read(address: SocketAddr, path: &str, filter: &str) -> Reply {
    let mark = if path.contains('?') { '&' } else { '?' };
    get(address, &format!("{path}{mark}filter={}", encode(filter))).await
}

/// The field `pointer` of each row.
fn column(reply: &Reply, pointer: &str) -> Vec<String> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let rows = reply.json();
    let values = rows.as_array().unwrap().iter();
    let text = |row: &Value| row.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    values.map(text).collect()
}

#[tokio::test]
async fn health_of_a_service_is_filtered_by_node_service_and_checks() {
    let parts = Parts::start().await;
    fill(parts.address).await;
    for (filter, expected) in [
        ("", &["n-a", "n-b"][..]),
        ("Node.Meta.rack == 2", &["n-b"]),
        ("Service.Meta[\"version\"] == v1", &["n-a"]),
        (
            "v2 in Service.Tags or Node.Address == `10.0.0.1`",
            &["n-a", "n-b"],
        ),
        ("Checks.Status == critical", &["n-b"]),
        ("Checks.Status != critical", &["n-a", "n-b"]),
        ("not Checks.Status != passing", &["n-a"]),
        (
            "Node.Datacenter == dc1 and Service.Port == 80",
            &["n-a", "n-b"],
        ),
        ("Service.ID matches `-v[13]$`", &["n-a"]),
        ("Service.Port == 81", &[]),
    ] {
        let reply = read(parts.address, "/v1/health/service/web", filter).await;
        assert_eq!(column(&reply, "/Node/Node"), expected, "{filter}");
    }
    let path = "/v1/health/service/web?passing&tag=v2";
    let reply = read(parts.address, path, "Service.Port == 80").await;
    assert_eq!(reply.text(), "[]", "all conditions must hold");
}

#[tokio::test]
async fn checks_are_filtered_wherever_they_are_listed() {
    let parts = Parts::start().await;
    fill(parts.address).await;
    for (path, filter, expected) in [
        ("checks/web", "Status == critical", &["n-b"][..]),
        ("checks/web", "v1 in ServiceTags", &["n-a"]),
        ("node/n-a", "CheckID == serfHealth", &["n-a"]),
        ("node/n-a", "ServiceName == web", &["n-a"]),
        ("node/n-a", "ServiceTags is empty and Name == http", &[]),
        ("state/any", "Name == http", &["n-a", "n-b"]),
        ("state/passing", "Name matches `^h`", &["n-a"]),
    ] {
        let reply = read(parts.address, &format!("/v1/health/{path}"), filter).await;
        assert_eq!(column(&reply, "/Node"), expected, "{path} {filter}");
    }
}

#[tokio::test]
async fn nodes_and_services_of_the_catalog_are_filtered() {
    let parts = Parts::start().await;
    fill(parts.address).await;
    for (path, filter, expected) in [
        ("nodes", "Meta.rack == 1", &["n-a"][..]),
        ("nodes", "Address matches `\\.2$`", &["n-b"]),
        ("nodes", "TaggedAddresses is empty", &["n-a", "n-b"]),
        ("service/web", "ServiceMeta.version == v2", &["n-b"]),
        (
            "service/web",
            "NodeMeta.rack != 2 and ServicePort == 80",
            &["n-a"],
        ),
        ("service/web", "v1 not in ServiceTags", &["n-b"]),
    ] {
        let reply = read(parts.address, &format!("/v1/catalog/{path}"), filter).await;
        assert_eq!(column(&reply, "/Node"), expected, "{path} {filter}");
    }
}

#[tokio::test]
async fn services_of_a_node_are_filtered_and_the_node_stays() {
    let parts = Parts::start().await;
    fill(parts.address).await;
    let reply = read(parts.address, "/v1/catalog/node/n-a", "Port == 5432").await;
    let shown = reply.json();
    assert_eq!(shown["Node"]["Node"], json!("n-a"));
    let ids: Vec<_> = shown["Services"].as_object().unwrap().keys().collect();
    assert_eq!(ids, ["db-1"]);

    let path = "/v1/catalog/node-services/n-a";
    let reply = read(parts.address, path, "Service == web").await;
    let shown = reply.json();
    assert_eq!(shown["Services"].as_array().unwrap().len(), 1);
    assert_eq!(shown["Services"][0]["ID"], json!("web-v1"));
    let reply = read(parts.address, path, "Service == nothing").await;
    assert_eq!(reply.json()["Services"], json!([]));
    assert_eq!(reply.json()["Node"]["Node"], json!("n-a"));
}

#[tokio::test]
async fn services_and_checks_of_the_agent_are_filtered() {
    let parts = Parts::start().await;
    for (name, port) in [("web", 80), ("db", 5432)] {
        let body = json!({
            "Name": name, "Port": port, "Tags": [name], "Meta": {"kind": name},
            "Check": {"TTL": "60s", "Status": "passing"},
        });
        let path = "/v1/agent/service/register";
        let reply = put(parts.address, path, &body.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    for (path, filter, expected) in [
        ("services", "Meta.kind == web", &["web"][..]),
        ("services", "db in Tags and Port != 80", &["db"]),
        ("services", "Service matches `^(web|db)$`", &["db", "web"]),
        ("services", "Service matches `^x`", &[]),
        ("checks", "ServiceName == web", &["service:web"]),
        (
            "checks",
            "db in ServiceTags and Status == passing",
            &["service:db"],
        ),
        (
            "checks",
            "Type == ttl and Node == n1",
            &["service:db", "service:web"],
        ),
        ("checks", "CheckID matches `db$`", &["service:db"]),
    ] {
        let reply = read(parts.address, &format!("/v1/agent/{path}"), filter).await;
        let shown = reply.json();
        let ids: Vec<_> = shown.as_object().unwrap().keys().collect();
        assert_eq!(ids, expected, "{path} {filter}");
    }
}

#[tokio::test]
async fn a_bad_filter_is_refused_everywhere_with_the_reason() {
    let parts = Parts::start().await;
    fill(parts.address).await;
    let prefix = "Failed to create boolean expression evaluator: ";
    for path in [
        "health/service/web",
        "health/service/missing",
        "health/node/n-a",
        "health/checks/web",
        "health/state/any",
        "catalog/nodes",
        "catalog/service/web",
        "catalog/node/n-a",
        "catalog/node-services/n-a",
    ] {
        let path = format!("/v1/{path}");
        let reply = read(parts.address, &path, "Bogus == 1").await;
        let text = format!("{prefix}Selector \"Bogus\" is not valid");
        assert_eq!((reply.status, reply.text()), (400, text), "{path}");
        assert_eq!(reply.header("X-Consul-Index"), Some("1"), "{path}");
        let reply = read(parts.address, &path, "  ").await;
        let start = format!("{prefix}1:3 (2): no match found, expected: ");
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.text().starts_with(&start), "{}", reply.text());
        // An empty one is none.
        let reply = read(parts.address, &path, "").await;
        assert_eq!(reply.status, 200, "{path}");
    }
    for path in ["/v1/agent/services", "/v1/agent/checks"] {
        let reply = read(parts.address, path, "Bogus == 1").await;
        let text = "Selector \"Bogus\" is not valid";
        assert_eq!((reply.status, reply.text().as_str()), (400, text), "{path}");
        let reply = read(parts.address, path, " ").await;
        assert!(reply.text().starts_with("1:2 (1): "), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_read_without_filter_refuses_one() {
    let parts = Parts::start().await;
    let reply = read(parts.address, "/v1/catalog/services", "Node == a").await;
    assert_eq!(reply.status, 400);
    let text = "query parameter filter=\"Node == a\" is not supported by this read";
    assert_eq!(reply.text(), text);
}

/// A connection on which a filtered read waits for a change after `index`.
async fn wait(address: SocketAddr, path: &str, filter: &str, index: u64) -> Connection {
    let mut connection = Connection::open(address).await;
    let filter = encode(filter);
    let path = format!("{path}?index={index}&wait=60s&filter={filter}");
    let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(connection.send(text.as_bytes()).await);
    connection
}

#[tokio::test]
async fn a_waiting_read_misses_no_change_inside_its_selection() {
    let parts = Parts::start().await;
    fill(parts.address).await;
    // Each of these rows enters the selection through another part of the catalog.
    for (path, filter, change) in [
        (
            "/v1/catalog/service/web",
            "NodeMeta.rack == 7",
            json!({"Node": "n-a", "Address": "10.0.0.1", "NodeMeta": {"rack": "7"}}),
        ),
        (
            "/v1/health/service/web",
            "Node.Meta.room == 8",
            json!({"Node": "n-b", "Address": "10.0.0.2", "NodeMeta": {"room": "8"}}),
        ),
        (
            "/v1/health/service/web",
            "Checks.Output == done",
            json!({
                "Node": "n-b", "Address": "10.0.0.2", "SkipNodeUpdate": true,
                "Check": {"CheckID": "serfHealth", "Name": "Serf", "Status": "passing",
                    "Output": "done"},
            }),
        ),
        (
            "/v1/health/checks/web",
            "new in ServiceTags",
            json!({
                "Node": "n-a", "Address": "10.0.0.1", "SkipNodeUpdate": true,
                "Service": {"ID": "web-v1", "Service": "web", "Tags": ["new"], "Port": 80},
            }),
        ),
        (
            "/v1/health/state/any",
            "newer in ServiceTags",
            json!({
                "Node": "n-a", "Address": "10.0.0.1", "SkipNodeUpdate": true,
                "Service": {"ID": "web-v1", "Service": "web", "Tags": ["newer"], "Port": 80},
            }),
        ),
        (
            "/v1/health/node/n-a",
            "newest in ServiceTags",
            json!({
                "Node": "n-a", "Address": "10.0.0.1", "SkipNodeUpdate": true,
                "Service": {"ID": "web-v1", "Service": "web", "Tags": ["newest"], "Port": 80},
            }),
        ),
        (
            "/v1/catalog/nodes",
            "Address == `10.0.0.9`",
            json!({"Node": "n-b", "Address": "10.0.0.9"}),
        ),
    ] {
        let before = read(parts.address, path, filter).await;
        assert_eq!(before.text(), "[]", "{path} {filter}");
        let mut waiting = wait(parts.address, path, filter, before.index()).await;
        register(parts.address, change).await;
        let woken = waiting.reply().await.unwrap();
        assert_eq!(woken.json().as_array().unwrap().len(), 1, "{path} {filter}");
        assert!(woken.index() > before.index());
    }
}

#[tokio::test]
async fn a_filter_may_be_as_long_as_is_allowed() {
    let bounds = herald::http::Config {
        header_deadline: Duration::from_secs(60),
        ..config()
    };
    let parts = Parts::start_with(bounds, false).await;
    fill(parts.address).await;
    let filter = format!("{:8192}", "Node == `n-a`");
    let reply = read(parts.address, "/v1/catalog/nodes", &filter).await;
    assert_eq!(column(&reply, "/Node"), ["n-a"]);
    let reply = read(parts.address, "/v1/catalog/nodes", &format!("{filter} ")).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply
            .text()
            .ends_with("filter has 8193 octets, at most 8192 are allowed")
    );
}

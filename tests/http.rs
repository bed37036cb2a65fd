//! The HTTP API by behaviour, through real sockets.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{Connection, get, put, request};
use crate::support::parts::{Parts, config};

async fn register(address: SocketAddr, body: Value) {
    let reply = put(address, "/v1/catalog/register", &body.to_string()).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "true"));
}

fn web(node: &str, id: &str, tags: &[&str], status: &str) -> Value {
    json!({
        "Node": node, "Address": "10.0.0.1",
        "Service": {"ID": id, "Service": "web", "Tags": tags, "Port": 80},
        "Check": {"CheckID": format!("service:{id}"), "Name": "c", "Status": status, "ServiceID": id},
    })
}

async fn refused(address: SocketAddr, path: &str, body: &str) -> String {
    let before = get(address, "/v1/catalog/nodes").await;
    let reply = put(address, path, body).await;
    assert_eq!(reply.status, 400, "{body}: {}", reply.text());
    assert_eq!(
        reply.header("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    let after = get(address, "/v1/catalog/nodes").await;
    assert_eq!(
        (before.index(), before.body),
        (after.index(), after.body),
        "nothing changes"
    );
    reply.text()
}

mod general_rules {
    use super::*;

    #[tokio::test]
    async fn answers_are_compact_json_with_go_escapes() {
        let parts = Parts::start().await;
        register(
            parts.address,
            json!({"Node": "a<b>&", "Address": "10.0.0.1"}),
        )
        .await;
        let reply = get(parts.address, "/v1/catalog/nodes").await;
        assert_eq!(reply.header("Content-Type"), Some("application/json"));
        assert_eq!(reply.header("Vary"), Some("Accept-Encoding"));
        assert!(reply.header("Date").is_some());
        let text = reply.text();
        assert!(
            text.starts_with("[{\"ID\":\"\",\"Node\":\"a\\u003cb\\u003e\\u0026\","),
            "{text}"
        );
        assert!(!text.ends_with('\n'));
    }

    #[tokio::test]
    async fn pretty_answers_are_indented_and_end_in_a_newline() {
        let parts = Parts::start().await;
        let reply = get(parts.address, "/v1/catalog/datacenters?pretty=false").await;
        assert_eq!(reply.text(), "[\n    \"dc1\"\n]\n");
        let development = Parts::start_with(config(), true).await;
        let reply = get(development.address, "/v1/catalog/datacenters").await;
        assert_eq!(reply.text(), "[\n    \"dc1\"\n]\n");
    }

    #[tokio::test]
    async fn gzip_is_served_when_accepted() {
        let parts = Parts::start().await;
        let accept = [("Accept-Encoding", "gzip")];
        let reply = request(parts.address, "GET", "/v1/catalog/datacenters", &accept, "").await;
        assert_eq!(reply.header("Content-Encoding"), Some("gzip"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*reply.body)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "[\"dc1\"]");
        // A client that refuses every coding still gets its answer, after its write took effect.
        let refuse = [("Accept-Encoding", "identity;q=0")];
        let reply = request(parts.address, "GET", "/v1/catalog/datacenters", &refuse, "").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "[\"dc1\"]"));
    }

    #[tokio::test]
    async fn head_answers_like_get_without_a_body() {
        let parts = Parts::start().await;
        let got = get(parts.address, "/v1/catalog/nodes").await;
        let head = request(parts.address, "HEAD", "/v1/catalog/nodes", &[], "").await;
        assert_eq!(head.status, 200);
        for name in ["Content-Type", "Content-Length", "X-Consul-Index", "Vary"] {
            assert_eq!(head.header(name), got.header(name), "{name}");
        }
        let zipped = [("Accept-Encoding", "gzip")];
        let head = request(parts.address, "HEAD", "/v1/catalog/nodes", &zipped, "").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
    }

    #[tokio::test]
    async fn wrong_methods_are_405_with_the_allowed_ones() {
        let parts = Parts::start().await;
        let reply = put(parts.address, "/v1/catalog/nodes", "").await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (405, "method PUT not allowed")
        );
        assert_eq!(reply.header("Allow"), Some("OPTIONS,GET"));
        assert_eq!(reply.header("Vary"), Some("Accept-Encoding"));
        for method in ["POST", "GET", "DELETE", "BREW"] {
            let reply = request(parts.address, method, "/v1/catalog/register", &[], "").await;
            assert_eq!(reply.status, 405, "{method}");
            assert_eq!(reply.text(), format!("method {method} not allowed"));
            assert_eq!(reply.header("Allow"), Some("OPTIONS,PUT"));
        }
        let options = request(parts.address, "OPTIONS", "/v1/health/service/web", &[], "").await;
        assert_eq!((options.status, options.body.len()), (200, 0));
        assert_eq!(options.header("Allow"), Some("OPTIONS,GET"));
    }

    #[tokio::test]
    async fn unknown_paths_are_404_and_empty() {
        let parts = Parts::start().await;
        for path in [
            "/v1/nope",
            "/v1/Catalog/nodes",
            "/v1/catalog/nodes/",
            "/v1/catalog/register/",
            "/v1/health/bogus/x",
            "/v1/kv/%2e%2e%2fx",
        ] {
            let reply = get(parts.address, path).await;
            assert_eq!((reply.status, reply.body.len()), (404, 0), "{path}");
            assert_eq!(reply.header("Content-Type"), None);
            assert_eq!(reply.header("Vary"), None);
        }
    }

    #[tokio::test]
    async fn unclean_paths_are_redirected_before_anything_else() {
        let parts = Parts::start().await;
        for (path, target) in [
            ("//x", "/x"),
            ("/a/../b?c=1", "/b?c=1"),
            ("/v1/kv/../../acl", "/acl"),
            ("/v1/health/service/%2e%2e/node/n1", "/v1/health/node/n1"),
        ] {
            let reply = get(parts.address, path).await;
            assert_eq!(reply.status, 301, "{path}");
            assert_eq!(reply.header("Location"), Some(target));
            let link = format!("<a href=\"{target}\">Moved Permanently</a>.\n\n");
            assert_eq!(reply.text(), link);
        }
        let reply = put(parts.address, "//x", "").await;
        assert_eq!((reply.status, reply.body.len()), (301, 0));
    }

    #[tokio::test]
    async fn the_root_leads_to_the_page_or_names_the_program() {
        let parts = Parts::start().await;
        let reply = get(parts.address, "/").await;
        assert_eq!(
            (reply.status, reply.header("Location")),
            (301, Some("/ui/"))
        );
        let mut without = config();
        without.ui = false;
        let parts = Parts::start_with(without, false).await;
        let reply = get(parts.address, "/").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "herald agent"));
        assert_eq!(get(parts.address, "/ui/").await.status, 404);
    }

    #[tokio::test]
    async fn tokens_and_bad_hosts_do_not_hurt() {
        let parts = Parts::start().await;
        for header in [("X-Consul-Token", "x"), ("Authorization", "Basic \u{e9}")] {
            let path = "/v1/catalog/nodes?token=z";
            assert_eq!(
                request(parts.address, "GET", path, &[header], "")
                    .await
                    .status,
                200
            );
        }
        let mut connection = Connection::open(parts.address).await;
        let text = "GET /v1/status/leader HTTP/1.1\r\nHost: <evil>:99999\r\nHost: two\r\n\r\n";
        connection.send(text.as_bytes()).await;
        assert_eq!(connection.reply().await.unwrap().status, 400);
        assert_eq!(get(parts.address, "/v1/status/leader").await.status, 200);
    }

    #[tokio::test]
    async fn a_name_of_others_that_leads_to_loopback_is_refused() {
        let parts = Parts::start().await;
        for (host, status) in [("evil.example", 403), ("a.service.consul", 200), ("x", 200)] {
            let mut connection = Connection::open(parts.address).await;
            let text = format!("GET /v1/status/leader HTTP/1.1\r\nHost: {host}\r\n\r\n");
            connection.send(text.as_bytes()).await;
            assert_eq!(connection.reply().await.unwrap().status, status, "{host}");
        }
    }

    #[tokio::test]
    async fn only_the_default_namespace_exists() {
        let parts = Parts::start().await;
        for path in ["/v1/catalog/nodes?ns=default", "/v1/catalog/nodes?ns="] {
            assert_eq!(get(parts.address, path).await.status, 200);
        }
        let reply = get(parts.address, "/v1/catalog/nodes?ns=x").await;
        assert_eq!(reply.status, 400);
        assert_eq!(
            reply.text(),
            "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature"
        );
        let header = [("X-Consul-Namespace", "default")];
        let reply = request(parts.address, "GET", "/v1/catalog/nodes", &header, "").await;
        assert_eq!(reply.status, 400);
        assert!(
            reply
                .text()
                .starts_with("Bad request: Invalid header: \"X-Consul-Namespace\" - ")
        );
    }

    #[tokio::test]
    async fn broken_query_strings_are_400() {
        let parts = Parts::start().await;
        let reply = get(parts.address, "/v1/catalog/nodes?x=%zz").await;
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("%zz"));
    }
}

mod reads {
    use super::*;

    #[tokio::test]
    async fn reads_say_how_fresh_they_are() {
        let parts = Parts::start().await;
        for (query, effective) in [
            ("", "leader"),
            ("?stale=false", "stale"),
            ("?max_stale=10s", "stale"),
            ("?consistent", "consistent"),
        ] {
            let reply = get(parts.address, &format!("/v1/catalog/nodes{query}")).await;
            assert_eq!(
                reply.header("X-Consul-Effective-Consistency"),
                Some(effective)
            );
            assert_eq!(reply.header("X-Consul-KnownLeader"), Some("true"));
            assert_eq!(reply.header("X-Consul-LastContact"), Some("0"));
            assert!(reply.index() >= 1);
        }
    }

    #[tokio::test]
    async fn bad_parameters_are_400_with_the_texts_clients_know() {
        let parts = Parts::start().await;
        for (query, text) in [
            ("index=abc", "Invalid index"),
            ("index=-1", "Invalid index"),
            ("index=18446744073709551616", "Invalid index"),
            ("wait=5", "Invalid wait time"),
            ("max_stale=zz", "Invalid max_stale value \"zz\""),
            (
                "stale&consistent",
                "Cannot specify ?stale with ?consistent, conflicting semantics.",
            ),
            (
                "cached&consistent",
                "Cannot specify ?cached with ?consistent, conflicting semantics.",
            ),
            ("passing=x", "Invalid value for ?passing"),
        ] {
            let reply = get(parts.address, &format!("/v1/health/service/web?{query}")).await;
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (400, text),
                "{query}"
            );
        }
    }

    #[tokio::test]
    async fn unknown_datacenters_have_no_path() {
        let parts = Parts::start().await;
        for path in ["/v1/catalog/nodes?dc=dc2", "/v1/health/service/web?dc=a.b"] {
            let reply = get(parts.address, path).await;
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (400, "No path to datacenter")
            );
            assert_eq!(reply.header("X-Consul-KnownLeader"), Some("false"));
            assert_eq!(reply.index(), 1);
        }
        assert_eq!(
            get(parts.address, "/v1/catalog/nodes?dc=DC1").await.status,
            200
        );
        let body = r#"{"Datacenter":"dc2","Node":"a","Address":"10.0.0.1"}"#;
        let text = refused(parts.address, "/v1/catalog/register", body).await;
        assert_eq!(text, "No path to datacenter");
    }

    #[tokio::test]
    async fn missing_things_are_empty_and_empty_names_are_400() {
        let parts = Parts::start().await;
        for (path, body) in [
            ("/v1/catalog/service/nope", "[]"),
            ("/v1/catalog/connect/nope", "[]"),
            ("/v1/catalog/node/nope", "null"),
            (
                "/v1/catalog/node-services/nope",
                "{\"Node\":null,\"Services\":null}",
            ),
            ("/v1/catalog/services", "{}"),
            ("/v1/catalog/nodes", "[]"),
            ("/v1/health/service/nope", "[]"),
            ("/v1/health/node/nope", "[]"),
            ("/v1/health/checks/nope", "[]"),
            ("/v1/health/state/any", "[]"),
            ("/v1/health/state/PASSING", "[]"),
        ] {
            let reply = get(parts.address, path).await;
            assert_eq!((reply.status, reply.text().as_str()), (200, body), "{path}");
            assert!(reply.index() >= 1);
            let impossible = path.replace("nope", &"x".repeat(300));
            assert_eq!(get(parts.address, &impossible).await.text(), body);
        }
        for (path, text) in [
            ("/v1/catalog/service/", "Missing service name"),
            ("/v1/catalog/node/", "Missing node name"),
            ("/v1/catalog/node-services/", "Missing node name"),
            ("/v1/health/service/", "Missing service name"),
            ("/v1/health/checks/", "Missing service name"),
            ("/v1/health/node/", "Missing node name"),
            ("/v1/health/state/", "Missing check state"),
        ] {
            let reply = get(parts.address, path).await;
            assert_eq!((reply.status, reply.text().as_str()), (400, text), "{path}");
        }
    }

    #[tokio::test]
    async fn status_names_the_leader_and_the_peers() {
        let parts = Parts::start().await;
        let leader = get(parts.address, "/v1/status/leader").await;
        assert_eq!(leader.text(), "\"127.0.0.1:8300\"");
        assert_eq!(leader.header("X-Consul-Index"), None);
        assert_eq!(
            get(parts.address, "/v1/status/peers").await.text(),
            "[\"127.0.0.1:8300\"]"
        );
    }
}

mod catalog {
    use super::*;

    fn full() -> Value {
        json!({
            "node": "n1", "ADDRESS": "10.0.0.1",
            "ID": "40e4a748-2192-161a-0510-9bf59fe950b5",
            "TaggedAddresses": {"lan": "10.0.0.1", "wan": "1.2.3.4"},
            "NodeMeta": {"rack": "1"}, "Ignored": null,
            "Service": {
                "ID": "w1", "Service": "Web", "Tags": ["b", "A"], "Address": "10.1.1.1",
                "Port": 8080, "Meta": {"v": "1"}, "Weights": {"Passing": 10, "Warning": 2},
                "TaggedAddresses": {"lan": {"Address": "10.1.1.2", "Port": 81}},
                "EnableTagOverride": true
            },
            "Checks": [
                {"CheckID": "w1-http", "Name": "http", "Status": "passing", "Notes": "n",
                 "Output": "o", "ServiceID": "w1",
                 "Definition": {"Interval": "5s", "Timeout": 1_000_000_000, "HTTP": "http://x/",
                                "Header": {"A": ["1", "2"]}, "Method": "GET",
                                "TLSSkipVerify": true, "DeregisterCriticalServiceAfter": ""}},
                {"Name": "disk", "Status": "warning"}
            ]
        })
    }

    #[tokio::test]
    async fn shapes_have_every_key_in_the_known_form() {
        let parts = Parts::start().await;
        register(parts.address, full()).await;
        let service = r#"{"ID":"w1","Service":"Web","Tags":["b","A"],"Address":"10.1.1.1","TaggedAddresses":{"lan":{"Address":"10.1.1.2","Port":81}},"Meta":{"v":"1"},"Port":8080,"Weights":{"Passing":10,"Warning":2},"EnableTagOverride":true,"Proxy":{"MeshGateway":{},"Expose":{}},"Connect":{},"CreateIndex":2,"ModifyIndex":2}"#;
        let node = r#"{"ID":"40e4a748-2192-161a-0510-9bf59fe950b5","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":{"lan":"10.0.0.1","wan":"1.2.3.4"},"Meta":{"rack":"1"},"CreateIndex":2,"ModifyIndex":2}"#;
        let disk = r#"{"Node":"n1","CheckID":"disk","Name":"disk","Status":"warning","Notes":"","Output":"","ServiceID":"","ServiceName":"","ServiceTags":[],"Type":"","Definition":{},"CreateIndex":2,"ModifyIndex":2}"#;
        let http = r#"{"Node":"n1","CheckID":"w1-http","Name":"http","Status":"passing","Notes":"n","Output":"o","ServiceID":"w1","ServiceName":"Web","ServiceTags":["b","A"],"Type":"http","Definition":{"Interval":"5s","Timeout":"1s","HTTP":"http://x/","Header":{"A":["1","2"]},"Method":"GET","TLSSkipVerify":true},"CreateIndex":2,"ModifyIndex":2}"#;
        let row = r#"[{"ID":"40e4a748-2192-161a-0510-9bf59fe950b5","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":{"lan":"10.0.0.1","wan":"1.2.3.4"},"NodeMeta":{"rack":"1"},"ServiceKind":"","ServiceID":"w1","ServiceName":"Web","ServiceTags":["b","A"],"ServiceAddress":"10.1.1.1","ServiceTaggedAddresses":{"lan":{"Address":"10.1.1.2","Port":81}},"ServiceWeights":{"Passing":10,"Warning":2},"ServiceMeta":{"v":"1"},"ServicePort":8080,"ServiceEnableTagOverride":true,"ServiceProxy":{"MeshGateway":{},"Expose":{}},"ServiceConnect":{},"CreateIndex":2,"ModifyIndex":2}]"#;
        for (path, expected) in [
            ("/v1/catalog/nodes", format!("[{node}]")),
            ("/v1/catalog/service/wEB", row.to_owned()),
            (
                "/v1/catalog/node/N1",
                format!("{{\"Node\":{node},\"Services\":{{\"w1\":{service}}}}}"),
            ),
            (
                "/v1/catalog/node-services/40e4a748-2192-161a-0510-9bf59fe950b5",
                format!("{{\"Node\":{node},\"Services\":[{service}]}}"),
            ),
            (
                "/v1/health/service/web",
                format!("[{{\"Node\":{node},\"Service\":{service},\"Checks\":[{disk},{http}]}}]"),
            ),
            ("/v1/health/node/n1", format!("[{disk},{http}]")),
            ("/v1/health/checks/web", format!("[{http}]")),
            ("/v1/health/state/any", format!("[{disk},{http}]")),
            ("/v1/health/state/warning", format!("[{disk}]")),
            ("/v1/catalog/services", "{\"Web\":[\"A\",\"b\"]}".to_owned()),
        ] {
            assert_eq!(get(parts.address, path).await.text(), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn absent_parts_are_null_empty_or_missing_as_the_endpoint_wants() {
        let parts = Parts::start().await;
        let body = json!({"Node": "n1", "Address": "h.example", "Service": {"Service": "web", "Weights": {"Passing": 0, "Warning": 0}}});
        register(parts.address, body).await;
        let row = get(parts.address, "/v1/catalog/service/web").await.json();
        let row = &row[0];
        assert_eq!(row["ServiceMeta"], json!({}));
        assert_eq!(row["ServiceTags"], json!([]));
        assert_eq!(row["NodeMeta"], Value::Null);
        assert_eq!(row["TaggedAddresses"], Value::Null);
        assert!(row.get("ServiceTaggedAddresses").is_none());
        assert_eq!(row["ServiceWeights"], json!({"Passing": 1, "Warning": 1}));
        assert_eq!(
            (&row["ServiceID"], &row["ServicePort"]),
            (&json!("web"), &json!(0))
        );
        let health = get(parts.address, "/v1/health/service/web").await.json();
        assert_eq!(health[0]["Service"]["Meta"], Value::Null);
        assert!(health[0]["Service"].get("TaggedAddresses").is_none());
        assert_eq!(health[0]["Checks"], json!([]));
    }

    #[tokio::test]
    async fn both_service_lists_have_the_same_order() {
        let parts = Parts::start().await;
        for (node, id) in [("b", "2"), ("a", "9"), ("B2", "1"), ("b", "1"), ("a", "1")] {
            register(parts.address, web(node, id, &[], "passing")).await;
        }
        let catalog = get(parts.address, "/v1/catalog/service/web").await.json();
        let health = get(parts.address, "/v1/health/service/web").await.json();
        let of_catalog: Vec<_> = catalog
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["Node"].clone(), row["ServiceID"].clone()))
            .collect();
        let of_health: Vec<_> = health
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["Node"]["Node"].clone(), row["Service"]["ID"].clone()))
            .collect();
        assert_eq!(of_catalog, of_health);
        let expected = [("a", "1"), ("a", "9"), ("b", "1"), ("b", "2"), ("B2", "1")];
        assert_eq!(
            of_catalog,
            expected.map(|(node, id)| (json!(node), json!(id)))
        );
    }

    #[tokio::test]
    async fn tags_health_and_node_metadata_select() {
        let parts = Parts::start().await;
        register(parts.address, web("a", "1", &["V1", "blue"], "passing")).await;
        register(parts.address, web("b", "2", &["v1"], "warning")).await;
        let mut third = web("c", "3", &["v1"], "passing");
        third["NodeMeta"] = json!({"rack": "9", "ssd": ""});
        third["Checks"] = json!([{"Name": "disk", "Status": "critical"}]);
        register(parts.address, third).await;
        let ids = async |query: &str| {
            let path = format!("/v1/health/service/web?{query}");
            let rows = get(parts.address, &path).await.json();
            let rows = rows.as_array().unwrap().iter();
            rows.map(|row| row["Service"]["ID"].as_str().unwrap().to_owned())
                .collect::<String>()
        };
        assert_eq!(ids("tag=v1").await, "123");
        assert_eq!(ids("tag=v1&tag=BLUE").await, "1");
        assert_eq!(ids("passing").await, "1");
        assert_eq!(ids("passing=1&tag=none").await, "");
        assert_eq!(ids("passing=false&near=_agent").await, "123");
        assert_eq!(ids("node-meta=rack:9&node-meta=ssd").await, "3");
        assert_eq!(ids("node-meta=rack").await, "");
        let services = get(parts.address, "/v1/catalog/services?node-meta=rack:9").await;
        assert_eq!(services.json(), json!({"web": ["v1"]}));
        let nodes = get(parts.address, "/v1/catalog/nodes?node-meta=rack:9")
            .await
            .json();
        assert_eq!(nodes.as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn deregistering_removes_and_is_true_for_what_is_not_there() {
        let parts = Parts::start().await;
        register(parts.address, web("a", "1", &[], "passing")).await;
        register(parts.address, web("a", "2", &[], "passing")).await;
        let remove = async |body: Value| {
            put(parts.address, "/v1/catalog/deregister", &body.to_string())
                .await
                .text()
        };
        assert_eq!(
            remove(json!({"Node": "a", "ServiceID": "nope"})).await,
            "true"
        );
        assert_eq!(remove(json!({"node": "A", "serviceid": "1"})).await, "true");
        let rows = get(parts.address, "/v1/health/service/web").await.json();
        assert_eq!(rows.as_array().unwrap().len(), 1);
        assert_eq!(
            remove(json!({"Node": "a", "CheckID": "service:2"})).await,
            "true"
        );
        assert_eq!(get(parts.address, "/v1/health/node/a").await.text(), "[]");
        assert_eq!(remove(json!({"Node": "a"})).await, "true");
        assert_eq!(get(parts.address, "/v1/catalog/nodes").await.text(), "[]");
        let text = refused(parts.address, "/v1/catalog/deregister", "{}").await;
        assert_eq!(text, "Must provide node");
    }
}

mod bad_input {
    use super::*;

    async fn all_refused(cases: &[(&str, &str)]) {
        let parts = Parts::start().await;
        for (body, expected) in cases {
            let text = refused(parts.address, "/v1/catalog/register", body).await;
            assert!(text.contains(expected), "{body:.100}: {text}");
        }
    }

    /// A registration with something more.
    fn with(more: &str) -> String {
        format!(r#"{{"Node":"a","Address":"10.0.0.1",{more}}}"#)
    }

    #[tokio::test]
    async fn bodies_that_are_no_objects_are_refused() {
        all_refused(&[
            ("", "Request decode failed: EOF"),
            ("{\"Node\":", "Request decode failed: unexpected EOF"),
            (
                "[]",
                "Request decode failed: expected an object, got a list",
            ),
            ("{a}", "Request decode failed: key must be a string"),
            (&"{\"Node\":".repeat(10_000), "field Node.Node.Node"),
            (&with(r#""Service":{"Port":NaN}"#), "field Service.Port: "),
            (
                &with(r#""Service":{"Service":"\ud800"}"#),
                "field Service.Service: ",
            ),
        ])
        .await;
    }

    #[tokio::test]
    async fn values_of_the_wrong_kind_or_range_name_field_value_and_limit() {
        let service = |more: &str| with(&format!(r#""Service":{{"Service":"w",{more}}}"#));
        let port = "field Service.Port: expected an integer of 0 to 65535, got";
        all_refused(&[
            (&service(r#""Port":-1"#), &format!("{port} -1")),
            (&service(r#""Port":65536"#), &format!("{port} 65536")),
            (
                &service(r#""Port":9223372036854775808"#),
                &format!("{port} 9223372036854775808"),
            ),
            (
                &service(r#""Port":"80""#),
                &format!("{port} the string \"80\""),
            ),
            (&service(r#""Port":80.0"#), &format!("{port} 80")),
            (
                &service(r#""Tags":"a""#),
                "field Service.Tags: expected a list, got the string \"a\"",
            ),
            (
                &service(r#""Tags":[1]"#),
                "field Service.Tags[0]: expected a string, got 1",
            ),
            (
                &service(r#""Weights":{"Passing":-1}"#),
                "Passing must be greater than 0",
            ),
            (
                &service(r#""Weights":{"Passing":65536}"#),
                "must be between 0 and 65535",
            ),
            (
                &with(r#""NodeMeta":{"a":1}"#),
                "field NodeMeta.a: expected a string, got 1",
            ),
            (
                &with(r#""Check":{"Name":"c","Definition":{"Interval":"5"}}"#),
                "field Check.Definition.Interval: time: missing unit in duration \"5\"",
            ),
        ])
        .await;
    }

    #[tokio::test]
    async fn registrations_that_cannot_be_are_refused() {
        let named = |name: &str| with(&format!(r#""Service":{{"Service":"{name}"}}"#));
        let check = |more: &str| with(&format!(r#""Check":{{"Name":"c",{more}}}"#));
        all_refused(&[
            ("{}", "Must provide node"),
            (
                r#"{"Node":"a"}"#,
                "Must provide address if SkipNodeUpdate is not set",
            ),
            (
                &with(r#""ID":"zz""#),
                "Bad node ID: node id \"zz\" is not a UUID",
            ),
            (
                &with(r#""Service":{"ID":"x"}"#),
                "Must provide service name with ID",
            ),
            (
                &with(r#""Service":{"Service":"w","Address":"0.0.0.0"}"#),
                "Invalid service address",
            ),
            (&named(""), "service name is empty"),
            (&named("../x"), "label of 0 octets"),
            (
                &named(&"x".repeat(64)),
                "label of 64 octets, 1 to 63 are allowed",
            ),
            (
                &named(&["x"; 91].join(".")),
                "181 octets, at most 180 are allowed",
            ),
            (
                &check(r#""Status":"bogus""#),
                "\"bogus\" is none of passing, warning, critical",
            ),
            (
                &check(r#""Node":"b""#),
                "check node \"b\" does not match node \"a\"",
            ),
            (
                &check(r#""ServiceID":"x""#),
                "Missing service registration on node \"a\"",
            ),
            (&with(r#""Check":{}"#), "check id is empty"),
        ])
        .await;
    }

    #[tokio::test]
    async fn unfriendly_names_are_accepted_and_found_again() {
        let parts = Parts::start().await;
        for (name, path) in [
            ("a.b", "a.b"),
            ("a b", "a%20b"),
            ("café", "caf%C3%A9"),
            ("nul\u{0}", "nul%00"),
            ("a/b", "a%2Fb"),
            ("<script>", "%3Cscript%3E"),
        ] {
            let body = json!({"Node": "n", "Address": "10.0.0.1", "Service": {"Service": name}});
            register(parts.address, body).await;
            let rows = get(parts.address, &format!("/v1/catalog/service/{path}"))
                .await
                .json();
            assert_eq!(rows[0]["ServiceName"], json!(name));
        }
    }

    #[tokio::test]
    async fn the_first_value_wins_and_unknown_fields_are_ignored() {
        let parts = Parts::start().await;
        let body = r#"{"Node":"x","node":"a","Address":"10.0.0.1","Bogus":{"x":[1]}} trailing"#;
        let reply = put(parts.address, "/v1/catalog/register", body).await;
        assert_eq!(reply.text(), "true");
        let nodes = get(parts.address, "/v1/catalog/nodes").await.json();
        assert_eq!(nodes[0]["Node"], json!("a"));
    }
}

mod blocking {
    use super::*;

    /// A connection on which a read waits.
    async fn wait(address: SocketAddr, path: String) -> Connection {
        let mut connection = Connection::open(address).await;
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(connection.send(text.as_bytes()).await);
        connection
    }

    #[tokio::test]
    async fn the_first_change_of_all_wakes_who_saw_nothing() {
        let parts = Parts::start().await;
        let empty = get(parts.address, "/v1/catalog/nodes").await;
        assert_eq!((empty.index(), empty.text().as_str()), (1, "[]"));
        register(parts.address, json!({"Node": "n1", "Address": "10.0.0.1"})).await;
        // Without a change after index 1, this would take the whole wait.
        let path = "/v1/catalog/nodes?index=1&wait=60s";
        let woken = tokio::time::timeout(Duration::from_secs(20), get(parts.address, path)).await;
        assert!(woken.unwrap().index() > 1);
    }

    #[tokio::test]
    async fn a_change_wakes_and_an_equal_registration_does_not() {
        let parts = Parts::start().await;
        register(parts.address, web("a", "1", &[], "passing")).await;
        let first = get(parts.address, "/v1/health/service/web").await;
        let path = format!("/v1/health/service/web?index={}&wait=60s", first.index());
        let mut waiting = wait(parts.address, path).await;
        register(parts.address, web("a", "1", &[], "passing")).await;
        let mut other = web("z", "9", &[], "passing");
        other["Service"]["Service"] = json!("other");
        register(parts.address, other).await;
        assert_eq!(
            get(parts.address, "/v1/health/service/web").await.index(),
            first.index()
        );
        assert!(!waiting.has_answer());
        register(parts.address, web("a", "1", &[], "critical")).await;
        let woken = waiting.reply().await.unwrap();
        assert!(woken.index() > first.index());
        assert_eq!(woken.json()[0]["Checks"][0]["Status"], json!("critical"));
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_same_index_within_its_jitter() {
        let parts = Parts::start().await;
        register(parts.address, web("a", "1", &[], "passing")).await;
        let index = get(parts.address, "/v1/catalog/services").await.index();
        let begin = herald::clock::monotonic();
        let path = format!("/v1/catalog/services?index={index}&wait=400ms");
        let reply = get(parts.address, &path).await;
        assert_eq!((reply.status, reply.index()), (200, index));
        assert!(begin.elapsed() >= Duration::from_millis(400));
        let future = format!("/v1/catalog/services?index={}&wait=50ms", index + 1000);
        assert_eq!(get(parts.address, &future).await.index(), index);
        for query in ["index=0&wait=60s", "wait=60s", "index=9999&wait=-1s"] {
            let reply = get(parts.address, &format!("/v1/catalog/nodes?{query}")).await;
            assert_eq!(reply.status, 200, "{query} does not block");
        }
    }

    #[tokio::test]
    async fn node_metadata_wakes_a_selection_by_it() {
        let parts = Parts::start().await;
        register(parts.address, web("a", "1", &[], "passing")).await;
        let path = "/v1/catalog/services?node-meta=rack:1";
        let first = get(parts.address, path).await;
        assert_eq!(first.json(), json!({}));
        let mut waiting = wait(
            parts.address,
            format!("{path}&index={}&wait=60s", first.index()),
        )
        .await;
        let body = json!({"Node": "a", "Address": "10.0.0.1", "NodeMeta": {"rack": "1"}});
        register(parts.address, body).await;
        assert_eq!(waiting.reply().await.unwrap().json(), json!({"web": []}));
    }

    #[tokio::test]
    async fn stopping_answers_waiting_reads() {
        let parts = Parts::start().await;
        register(parts.address, web("a", "1", &[], "passing")).await;
        let mut waiting = wait(
            parts.address,
            "/v1/catalog/nodes?index=2&wait=600s".to_owned(),
        )
        .await;
        crate::support::eventually(async || {
            parts.metrics.text().contains("herald_http_blocked_reads 1")
        })
        .await;
        assert!(parts.tasks.stop(Duration::from_secs(2)).await);
        let reply = waiting.reply().await.unwrap();
        assert_eq!(
            (reply.status, reply.header("Retry-After")),
            (500, Some("1"))
        );
    }
}

mod page {
    use super::*;

    #[tokio::test]
    async fn names_are_inert_on_the_page() {
        let parts = Parts::start().await;
        let mut body = web("<img src=x>", "1", &["<b>"], "critical");
        body["Service"]["Service"] = json!("<script>alert(1)</script>");
        body["Node"] = json!("<img src=x>");
        register(parts.address, body).await;
        let reply = get(parts.address, "/ui/?name=%22%3E%3Cscript").await;
        assert_eq!(reply.status, 200);
        assert!(!reply.text().contains("\"><script"));
        let reply = get(parts.address, "/ui/").await;
        let text = reply.text();
        assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(text.contains("&lt;img src=x&gt;") && text.contains("&lt;n1&gt;"));
        assert!(!text.contains("<script") && !text.contains("<img") && !text.contains("<b>"));
        assert!(
            reply
                .header("Content-Security-Policy")
                .unwrap()
                .starts_with("default-src 'none'")
        );
        assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(get(parts.address, "/ui/style.css").await.status, 200);
        assert_eq!(get(parts.address, "/ui/x").await.status, 404);
    }

    #[tokio::test]
    async fn many_services_are_shown_in_part_and_the_page_says_so() {
        let parts = Parts::start().await;
        for position in 0..600 {
            let body = json!({"Node": "n", "Address": "10.0.0.1",
                              "Service": {"Service": format!("s{position:03}")}});
            register(parts.address, body).await;
        }
        let text = get(parts.address, "/ui/").await.text();
        assert!(text.contains("the first 500 of 600"));
        assert!(!text.contains("s599"));
        assert!(
            get(parts.address, "/ui/?name=S599")
                .await
                .text()
                .contains("s599")
        );
    }
}

//! `/v1/agent` by behaviour, through real sockets.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::http::request;
use crate::support::node::Node;

/// A status and the whole text of an error.
async fn refuses(node: &Node, path: &str, body: &str, status: u16, text: &str) {
    let state = async || {
        let services = node.get("/v1/agent/services").await.text();
        let checks = node.get("/v1/agent/checks").await.text();
        let index = node.get("/v1/catalog/services").await.index();
        (services, checks, index)
    };
    let before = state().await;
    let reply = node.put(path, body).await;
    assert_eq!(
        (reply.status, &*reply.text()),
        (status, text),
        "{path} {body}"
    );
    let kind = reply.header("Content-Type");
    assert_eq!(kind, Some("text/plain; charset=utf-8"), "{path}");
    assert_eq!(state().await, before, "nothing changes");
}

mod services {
    use super::*;

    #[tokio::test]
    async fn a_registration_is_in_agent_catalog_and_dns_once_it_is_acknowledged() {
        let node = Node::start().await;
        node.register(json!({
            "Name": "web", "ID": "w1", "Tags": ["a"], "Port": 80, "Meta": {"k": "v"},
            "Address": "10.0.0.1", "Check": {"TTL": "60s", "Status": "passing"},
        }))
        .await;
        assert_eq!(node.answered("web"), 1);
        let weights = json!({"Passing": 1, "Warning": 1});
        let tagged = json!({"Address": "10.0.0.1", "Port": 80});
        assert_eq!(
            node.get("/v1/agent/services").await.json(),
            json!({"w1": {
                "ID": "w1", "Service": "web", "Tags": ["a"], "Meta": {"k": "v"}, "Port": 80,
                "Address": "10.0.0.1", "Weights": weights, "EnableTagOverride": false,
                "TaggedAddresses": {"lan_ipv4": tagged, "wan_ipv4": tagged},
            }})
        );
        assert_eq!(
            node.get("/v1/agent/checks").await.json(),
            json!({"service:w1": {
                "Node": "n1", "CheckID": "service:w1", "Name": "Service 'web' check",
                "Status": "passing", "Notes": "", "Output": "", "ServiceID": "w1",
                "ServiceName": "web", "ServiceTags": ["a"], "Type": "ttl", "Definition": {},
                "CreateIndex": 0, "ModifyIndex": 0,
            }})
        );
        let health = node.get("/v1/health/service/web").await.json();
        assert_eq!(health[0]["Service"]["ID"], "w1");
        let checks = health[0]["Checks"].as_array().unwrap();
        let ids: Vec<_> = checks.iter().map(|check| &check["CheckID"]).collect();
        assert_eq!(ids, ["serfHealth", "service:w1"]);
    }

    #[tokio::test]
    async fn the_node_has_its_own_entry_and_the_servers_service_is_not_listed_here() {
        let node = Node::start().await;
        let entry = &node.get("/v1/catalog/node/n1").await.json();
        assert_eq!(
            entry["Node"]["TaggedAddresses"],
            json!({"lan": "127.0.0.1", "lan_ipv4": "127.0.0.1", "wan": "127.0.0.1", "wan_ipv4": "127.0.0.1"})
        );
        assert_eq!(entry["Node"]["Meta"], json!({"consul-network-segment": ""}));
        assert_eq!(entry["Services"]["consul"]["Port"], 8300);
        assert_eq!(entry["Services"]["consul"]["Meta"]["raft_version"], "3");
        assert_eq!(node.get("/v1/agent/services").await.text(), "{}");
        assert_eq!(node.get("/v1/agent/checks").await.text(), "{}");
        let text =
            r#"service id "consul" is kept by the servers themselves and cannot be registered"#;
        refuses(
            &node,
            "/v1/agent/service/register",
            r#"{"Name":"consul"}"#,
            400,
            text,
        )
        .await;
    }

    #[tokio::test]
    async fn without_an_address_nothing_is_tagged_and_the_field_is_missing() {
        let node = Node::start().await;
        node.register(json!({"name": "db", "tags": null})).await;
        assert_eq!(
            node.get("/v1/agent/services").await.json()["db"],
            json!({
                "ID": "db", "Service": "db", "Tags": [], "Meta": {}, "Port": 0, "Address": "",
                "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false,
            })
        );
    }

    #[tokio::test]
    async fn registering_again_keeps_checks_unless_told_to_replace_them() {
        let node = Node::start().await;
        let body = |check: &str| json!({"Name": "web", "Check": {"CheckID": check, "TTL": "60s", "Status": "passing"}});
        let path = "/v1/agent/service/register?replace-existing-checks";
        let ids = async || {
            let checks = node.get("/v1/agent/checks").await.json();
            let catalog = node.get("/v1/health/checks/web").await.json();
            let local: Vec<_> = checks.as_object().unwrap().keys().cloned().collect();
            assert_eq!(catalog.as_array().unwrap().len(), local.len());
            local
        };
        node.register(body("a")).await;
        node.does(&format!("{path}=false"), &body("b").to_string())
            .await;
        node.does(&format!("{path}=junk"), &body("c").to_string())
            .await;
        assert_eq!(ids().await, ["a", "b", "c"]);
        node.does(path, &body("b").to_string()).await;
        assert_eq!(ids().await, ["b"]);
        node.does(&format!("{path}=true"), &body("d").to_string())
            .await;
        assert_eq!(ids().await, ["d"]);
    }

    #[tokio::test]
    async fn a_deregistered_service_is_gone_with_its_checks() {
        let node = Node::start().await;
        node.register(json!({"Name": "web", "ID": "scope/web 1", "Check": {"TTL": "60s", "Status": "passing"}}))
            .await;
        node.does("/v1/agent/service/deregister/scope%2Fweb%201", "")
            .await;
        assert_eq!(node.answered("web"), 0);
        assert_eq!(node.get("/v1/agent/checks").await.text(), "{}");
        assert_eq!(node.get("/v1/health/service/web").await.text(), "[]");
        let path = "/v1/agent/service/deregister/scope/web%201";
        let text = r#"Unknown service ID "scope/web 1". Ensure that the service ID is passed, not the service name."#;
        refuses(&node, path, "", 404, text).await;
        let path = "/v1/agent/service/deregister/";
        refuses(&node, path, "", 400, "ServiceID missing").await;
    }

    #[tokio::test]
    async fn bad_registrations_change_nothing() {
        let node = Node::start().await;
        node.register(json!({"Name": "web", "Check": {"TTL": "60s"}}))
            .await;
        let scripts = "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true";
        for (body, status, text) in [
            (json!({}), 400, "Missing service name"),
            (
                json!({"Name": "web", "Address": "0.0.0.0"}),
                400,
                "Invalid service address",
            ),
            (
                json!({"Name": "web", "Port": 65536}),
                400,
                "Request decode failed: field Port: expected an integer of 0 to 65535, got 65536",
            ),
            (
                json!({"Name": "web", "Datacenter": "dc1"}),
                400,
                "Request decode failed: json: unknown field \"Datacenter\"",
            ),
            (
                json!({"Name": "web", "Check": {"Args": ["/bin/true"], "Interval": "10s"}}),
                500,
                scripts,
            ),
        ] {
            let body = body.to_string();
            refuses(&node, "/v1/agent/service/register", &body, status, text).await;
        }
    }

    #[tokio::test]
    async fn one_service_is_shown_with_its_hash_and_waits_for_another() {
        let node = Node::start().await;
        node.register(json!({"Name": "web", "ID": "a/b", "Port": 80}))
            .await;
        let first = node.get("/v1/agent/service/a/b").await;
        let hash = first.header("X-Consul-ContentHash").unwrap().to_owned();
        assert_eq!(first.json()["ContentHash"], hash);
        assert_eq!((hash.len(), first.header("X-Consul-Index")), (16, None));
        // A wrong hash is answered at once, the right one after the wait or with a change.
        let wrong = node.get("/v1/agent/service/a%2Fb?hash=0&wait=60s").await;
        assert_eq!(wrong.header("X-Consul-ContentHash"), Some(&*hash));
        let path = format!("/v1/agent/service/a/b?hash={hash}&wait=1ms");
        let same = node.get(&path).await;
        assert_eq!(same.header("X-Consul-ContentHash"), Some(&*hash));
        let path = format!("/v1/agent/service/a/b?hash={hash}&wait=60s");
        let waiting = node.get(&path);
        let change = async {
            node.register(json!({"Name": "other"})).await;
            node.register(json!({"Name": "web", "ID": "a/b", "Port": 81}))
                .await;
        };
        let (changed, ()) = tokio::join!(waiting, change);
        assert_eq!(changed.json()["Port"], 81);
        let missing = node.get("/v1/agent/service/nope").await;
        assert_eq!(
            (missing.status, &*missing.text()),
            (404, "unknown service ID: nope")
        );
    }
}

mod checks {
    use super::*;

    async fn shown(node: &Node, id: &str) -> (String, String) {
        let checks = node.get("/v1/agent/checks").await.json();
        let field = |name: &str| checks[id][name].as_str().unwrap().to_owned();
        (field("Status"), field("Output"))
    }

    #[tokio::test]
    async fn reports_change_what_is_answered_at_once() {
        let node = Node::start().await;
        node.register(json!({"Name": "web", "Check": {"TTL": "60s"}}))
            .await;
        assert_eq!(node.answered("web"), 0);
        for (path, status, answered) in [
            ("pass/service:web?note=up", "passing", 1),
            ("fail/service:web?note=up", "critical", 0),
            ("warn/service:web?note=up", "warning", 1),
        ] {
            node.does(&format!("/v1/agent/check/{path}"), "").await;
            assert_eq!(node.answered("web"), answered, "{path}");
            let expected = (status.to_owned(), "up".to_owned());
            assert_eq!(shown(&node, "service:web").await, expected);
            let health = node.get("/v1/health/checks/web").await.json();
            assert_eq!(health[0]["Status"], status);
        }
        let body = json!({"status": "critical", "output": "x".repeat(6000)}).to_string();
        node.does("/v1/agent/check/update/service:web", &body).await;
        let capped = format!("{} ... (captured 4096 of 6000 bytes)", "x".repeat(4096));
        assert_eq!(
            shown(&node, "service:web").await,
            ("critical".to_owned(), capped)
        );
        assert_eq!(node.answered("web"), 0);
    }

    #[tokio::test]
    async fn a_missed_time_to_live_leaves_the_answer_and_then_the_agent() {
        let node = Node::start().await;
        node.register(json!({"Name": "web", "Check": {
            "TTL": "100ms", "Status": "passing", "DeregisterCriticalServiceAfter": "300ms",
        }}))
        .await;
        node.does("/v1/agent/check/pass/service:web?note=hi", "")
            .await;
        eventually(async || node.answered("web") == 0).await;
        let text = "TTL expired (last output before timeout follows): hi";
        let expected = ("critical".to_owned(), text.to_owned());
        assert_eq!(shown(&node, "service:web").await, expected);
        eventually(async || node.get("/v1/agent/services").await.text() == "{}").await;
        eventually(async || node.get("/v1/catalog/service/web").await.text() == "[]").await;
    }

    #[tokio::test]
    async fn checks_of_other_types_keep_the_status_they_were_registered_with() {
        let node = Node::start().await;
        node.register(json!({"Name": "web", "Checks": [
            {"HTTP": "http://127.0.0.1:1/", "Interval": "1000h", "Status": "passing"},
            {"TCP": "127.0.0.1:1", "Interval": "1000h", "Status": "warning"},
        ]}))
        .await;
        assert_eq!(shown(&node, "service:web:1").await.0, "passing");
        assert_eq!(shown(&node, "service:web:2").await.0, "warning");
        let checks = node.get("/v1/agent/checks").await.json();
        assert_eq!(checks["service:web:1"]["Type"], "http");
        assert_eq!(node.answered("web"), 1);
    }

    #[tokio::test]
    async fn checks_come_and_go_by_themselves() {
        let node = Node::start().await;
        node.register(json!({"Name": "web"})).await;
        let body =
            json!({"name": "load", "id": "c/1", "ttl": "60s", "service_id": "web", "notes": "n"});
        node.does("/v1/agent/check/register", &body.to_string())
            .await;
        assert_eq!(node.answered("web"), 0);
        node.does("/v1/agent/check/pass/c%2F1", "").await;
        assert_eq!(node.answered("web"), 1);
        node.does("/v1/agent/check/deregister/c/1", "").await;
        assert_eq!(node.get("/v1/health/checks/web").await.text(), "[]");
        let path = "/v1/agent/check/deregister/c/1";
        let text =
            r#"Unknown check ID "c/1". Ensure that the check ID is passed, not the check name."#;
        refuses(&node, path, "", 404, text).await;
        refuses(
            &node,
            "/v1/agent/check/deregister/",
            "",
            400,
            "CheckID missing",
        )
        .await;
        let body = r#"{"Name":"a","TTL":"1s","ServiceID":"nope"}"#;
        let text = r#"ServiceID "nope" does not exist"#;
        refuses(&node, "/v1/agent/check/register", body, 400, text).await;
    }

    /// Spring Cloud Consul registers again on 404 and 500 only.
    #[tokio::test]
    async fn a_report_for_an_unknown_check_is_404_and_for_another_type_500() {
        let node = Node::start().await;
        node.register(json!({"Name": "web", "Check": {"TCP": "127.0.0.1:1", "Interval": "1000h"}}))
            .await;
        let text =
            r#"Unknown check ID "nope". Ensure that the check ID is passed, not the check name."#;
        refuses(&node, "/v1/agent/check/pass/nope", "", 404, text).await;
        let text = r#"CheckID "service:web" does not have associated TTL"#;
        refuses(&node, "/v1/agent/check/pass/service:web", "", 500, text).await;
        let path = "/v1/agent/check/update/service:web";
        let text = "Invalid check status: 'bogus'";
        refuses(&node, path, r#"{"Status":"bogus"}"#, 400, text).await;
    }
}

mod maintenance {
    use super::*;

    #[tokio::test]
    async fn a_service_in_maintenance_is_not_answered() {
        let node = Node::start().await;
        node.register(json!({"Name": "web"})).await;
        let path = "/v1/agent/service/maintenance/web";
        node.does(&format!("{path}?enable=true&reason=deploy"), "")
            .await;
        assert_eq!(node.answered("web"), 0);
        let checks = node.get("/v1/health/checks/web").await.json();
        assert_eq!(checks[0]["Name"], "Service Maintenance Mode");
        assert_eq!(checks[0]["Notes"], "deploy");
        assert_eq!(checks[0]["Type"], "maintenance");
        node.does(&format!("{path}?enable=false"), "").await;
        assert_eq!(node.answered("web"), 1);
        refuses(&node, path, "", 400, "Missing value for enable").await;
        let text = r#"Invalid value for enable: "q""#;
        refuses(&node, &format!("{path}?enable=q"), "", 400, text).await;
        let path = "/v1/agent/service/maintenance/nope?enable=true";
        let text = r#"No service registered with ID "nope""#;
        refuses(&node, path, "", 404, text).await;
        let path = "/v1/agent/service/maintenance/?enable=true";
        refuses(&node, path, "", 400, "Missing service ID").await;
    }

    #[tokio::test]
    async fn a_node_in_maintenance_answers_nothing_not_even_the_servers_service() {
        let node = Node::start().await;
        node.register(json!({"Name": "web"})).await;
        node.does("/v1/agent/maintenance?enable=true", "").await;
        assert_eq!((node.answered("web"), node.answered("consul")), (0, 0));
        let checks = node.get("/v1/health/node/n1").await.json();
        assert_eq!(checks[0]["CheckID"], "_node_maintenance");
        let notes = "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.";
        assert_eq!(checks[0]["Notes"], notes);
        node.does("/v1/agent/maintenance?enable=false", "").await;
        assert_eq!((node.answered("web"), node.answered("consul")), (1, 1));
    }
}

mod health {
    use super::*;

    #[tokio::test]
    async fn the_status_of_the_answer_carries_the_health() {
        let node = Node::start().await;
        for id in ["w1", "w2"] {
            let check = json!({"TTL": "60s", "Status": "passing"});
            node.register(json!({"Name": "web", "ID": id, "Check": check}))
                .await;
        }
        for (report, status, word) in [
            ("pass", 200, "passing"),
            ("warn", 429, "warning"),
            ("fail", 503, "critical"),
        ] {
            node.does(&format!("/v1/agent/check/{report}/service:w1"), "")
                .await;
            let by_id = node.get("/v1/agent/health/service/id/w1").await;
            assert_eq!(by_id.status, status);
            assert_eq!(by_id.json()["AggregatedStatus"], word);
            assert_eq!(by_id.header("X-Consul-Reason"), Some(word));
            let by_name = node.get("/v1/agent/health/service/name/WEB").await;
            assert_eq!(by_name.status, status, "the worst instance counts");
            assert_eq!(by_name.json().as_array().unwrap().len(), 2);
            let text = node.get("/v1/agent/health/service/id/w1?format=text").await;
            assert_eq!((text.status, &*text.text()), (status, word));
            assert_eq!(text.header("Content-Type"), Some("text/plain"));
        }
        node.does("/v1/agent/service/maintenance/w1?enable=true", "")
            .await;
        let reply = node.get("/v1/agent/health/service/id/w1").await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.json()["AggregatedStatus"], "maintenance");
        assert_eq!(node.get("/v1/agent/health/service/id/w2").await.status, 200);
    }

    #[tokio::test]
    async fn checks_are_shown_without_tags_and_type() {
        let node = Node::start().await;
        node.register(json!({"Name": "web", "Check": {"TTL": "60s"}}))
            .await;
        let reply = node.get("/v1/agent/health/service/id/web").await.json();
        let check = &reply["Checks"][0];
        assert_eq!(check["ServiceTags"], Value::Null);
        assert_eq!(check["Type"], "");
        assert_eq!(check["Definition"]["Interval"], "0s");
        assert_eq!(check["Definition"]["HTTP"], "");
        assert_eq!(check["Definition"]["Header"], Value::Null);
        assert_eq!(reply["Service"]["ID"], "web");
    }

    #[tokio::test]
    async fn unknown_services_are_404() {
        let node = Node::start().await;
        let by_id = node.get("/v1/agent/health/service/id/nope").await;
        let empty = r#"{"AggregatedStatus":"critical","Service":null,"Checks":null}"#;
        assert_eq!((by_id.status, &*by_id.text()), (404, empty));
        let by_name = node.get("/v1/agent/health/service/name/nope").await;
        assert_eq!((by_name.status, &*by_name.text()), (404, "[]"));
        let path = "/v1/agent/health/service/id/nope";
        let accept = [("Accept", "text/plain")];
        let text = request(node.address, "GET", path, &accept, "").await;
        assert_eq!(
            (text.status, &*text.text()),
            (404, "ServiceId nope not found")
        );
        let missing = node.get("/v1/agent/health/service/id/").await;
        assert_eq!(
            (missing.status, &*missing.text()),
            (400, "Bad request: Missing serviceID")
        );
    }
}

mod itself {
    use super::*;

    #[tokio::test]
    async fn the_agent_describes_itself() {
        let node = Node::start().await;
        node.register(json!({"Name": "web", "Check": {"TTL": "60s"}}))
            .await;
        let reply = node.get("/v1/agent/self").await;
        assert_eq!(reply.header("X-Consul-Index"), None);
        let reply = reply.json();
        assert_eq!(reply["Config"]["Datacenter"], "dc1");
        assert_eq!(reply["Config"]["NodeName"], "n1");
        assert_eq!(reply["Config"]["Server"], true);
        assert_eq!(reply["Member"]["Name"], "n1");
        assert_eq!(reply["Meta"], json!({"consul-network-segment": ""}));
        assert_eq!(reply["Coord"]["Vec"].as_array().unwrap().len(), 8);
        assert_eq!(reply["Stats"]["consul"]["server"], "true");
        assert_eq!(
            reply["Stats"]["agent"],
            json!({"check_monitors": "0", "check_ttls": "1", "checks": "1", "services": "1"})
        );
    }

    #[tokio::test]
    async fn members_are_listed_by_pool() {
        let node = Node::start().await;
        let members = node.get("/v1/agent/members?segment=_all").await.json();
        assert_eq!(
            members,
            json!([{
                "Name": "n1", "Addr": "127.0.0.1", "Port": 8301, "Tags": {"role": "consul"},
                "Status": 1, "ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2,
                "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
            }])
        );
        let wan = node.get("/v1/agent/members?wan=1").await.json();
        assert_eq!(wan[0]["Name"], "n1.dc1");
        let reply = node.get("/v1/agent/members?segment=red").await;
        let text = "Network segments are not supported: there is none with the name \"red\"";
        assert_eq!((reply.status, reply.text().as_str()), (400, text));
    }

    #[tokio::test]
    async fn who_cannot_leave_says_why() {
        let node = Node::start().await;
        let reply = node.put("/v1/agent/leave", "").await;
        let text = "this node is in no pool";
        assert_eq!((reply.status, reply.text().as_str()), (500, text));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_request_about_keys_is_said_before_anybody_is_asked() {
        let node = Node::start().await;
        let path = "/v1/operator/keyring";
        let range = "Bad request: Invalid relay-factor: Relay factor must be in range: [0, 5]";
        let reply = node.get(&format!("{path}?relay-factor=6")).await;
        assert_eq!((reply.status, reply.text().as_str()), (400, range));
        for (body, text) in [
            ("", "Request decode failed: EOF"),
            (
                r#"{"Key": "AAAA"}"#,
                "Bad request: key has 3 octets, it must have 16, 24 or 32",
            ),
            (r#"{"Key": "zz!"}"#, "Bad request: key is not base64 text"),
        ] {
            for method in ["POST", "PUT", "DELETE"] {
                let reply = request(node.address, method, path, &[], body).await;
                assert_eq!(
                    (reply.status, reply.text().as_str()),
                    (400, text),
                    "{method}"
                );
            }
        }
        let reply = request(node.address, "PATCH", path, &[], "").await;
        let allow = "OPTIONS,GET,POST,PUT,DELETE";
        assert_eq!((reply.status, reply.header("Allow")), (405, Some(allow)));
    }

    #[tokio::test]
    async fn paths_have_their_methods() {
        let node = Node::start().await;
        let reply = node.get("/v1/agent/service/register").await;
        assert_eq!(
            (reply.status, reply.header("Allow")),
            (405, Some("OPTIONS,PUT"))
        );
        let reply = node.put("/v1/agent/services", "").await;
        assert_eq!(
            (reply.status, reply.header("Allow")),
            (405, Some("OPTIONS,GET"))
        );
        let reply = request(node.address, "HEAD", "/v1/agent/services", &[], "").await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        assert_eq!(node.get("/v1/agent/bogus").await.status, 404);
    }
}

//! Where nodes are in the network: said, shown, and used to order what is read.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::agent::TestAgent;
use crate::support::eventually;
use crate::support::http::{Connection, Reply, get, put, request};
use crate::support::parts::Parts;

async fn register(address: SocketAddr, node: &str, status: &str) {
    let body = json!({
        "Node": node, "Address": "10.0.0.1", "NodeMeta": {"rack": "1"},
        "Service": {"ID": "web", "Service": "web", "Tags": ["v1"], "Port": 80},
        "Checks": [
            {"CheckID": "web", "Name": "c", "Status": status, "ServiceID": "web"},
            {"CheckID": "node", "Name": "n", "Status": "passing"},
        ],
    });
    let reply = put(address, "/v1/catalog/register", &body.to_string()).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "true"));
}

/// This many seconds away from where a coordinate starts.
fn at(node: &str, seconds: impl Into<Value>) -> Value {
    let seconds = seconds.into();
    json!({"Node": node, "Segment": "", "Coord": {
        "Vec": [seconds, 0, 0, 0, 0, 0, 0, 0], "Error": 1.5, "Adjustment": 0, "Height": 0.00001}})
}

async fn locate(address: SocketAddr, location: &Value) -> Reply {
    put(address, "/v1/coordinate/update", &location.to_string()).await
}

/// Waits until the node is where it was said to be.
async fn located(address: SocketAddr, location: &Value) {
    let reply = locate(address, location).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    let path = format!("/v1/coordinate/node/{}", location["Node"].as_str().unwrap());
    eventually(async || {
        let reply = get(address, &path).await;
        reply.status == 200 && reply.json()[0] == *location
    })
    .await;
}

/// Nodes `a` to `d`, of which `d` is nearest to `b` and nobody knows where `c` is.
async fn world() -> Parts {
    let parts = Parts::start().await;
    for node in ["a", "b", "c", "d"] {
        register(parts.address, node, "passing").await;
    }
    for (node, seconds) in [("a", 0.5), ("b", 0.1), ("d", 0.2)] {
        located(parts.address, &at(node, seconds)).await;
    }
    parts
}

mod coordinate {
    use super::*;

    #[tokio::test]
    async fn what_was_said_is_shown_as_it_was_said() {
        let parts = Parts::start().await;
        let none = get(parts.address, "/v1/coordinate/nodes").await;
        assert_eq!((none.status, none.text().as_str()), (200, "[]"));
        register(parts.address, "K1", "passing").await;
        located(parts.address, &at("K1", 0)).await;
        let shown = "[{\"Node\":\"K1\",\"Segment\":\"\",\"Coord\":{\"Vec\":[0,0,0,0,0,0,0,0],\
                     \"Error\":1.5,\"Adjustment\":0,\"Height\":0.00001}}]";
        for path in ["nodes", "node/K1", "node/k1", "nodes?segment="] {
            let reply = get(parts.address, &format!("/v1/coordinate/{path}")).await;
            assert_eq!(reply.text(), shown, "{path}");
            assert!(reply.index() > 1);
            assert_eq!(reply.header("X-Consul-Knownleader"), Some("true"));
            assert_eq!(reply.header("X-Consul-Effective-Consistency"), None);
        }
        let elsewhere = get(parts.address, "/v1/coordinate/nodes?segment=x").await;
        assert_eq!(elsewhere.text(), "[]");
    }

    #[tokio::test]
    async fn updates_answer_200_without_a_body_also_for_nodes_that_do_not_exist() {
        let parts = Parts::start().await;
        let reply = locate(parts.address, &at("nobody", 1)).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        assert_eq!(reply.header("Content-Type"), None);
        register(parts.address, "a", "passing").await;
        located(parts.address, &at("a", 1)).await;
        for path in ["node/nobody", "node/a?segment=x", "node/no%20name%00"] {
            let reply = get(parts.address, &format!("/v1/coordinate/{path}")).await;
            assert_eq!((reply.status, reply.body.len()), (404, 0), "{path}");
            assert_eq!(reply.header("X-Consul-Index"), None);
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused() {
        let parts = Parts::start().await;
        register(parts.address, "a", "passing").await;
        for (body, status, text) in [
            (
                r#"{"Node":"a","Coord":{"Vec":[1]}}"#,
                500,
                "incompatible coordinate",
            ),
            (
                r#"{"Node":"a","#,
                400,
                "Request decode failed: unexpected EOF",
            ),
            (r#"{"Node":"a"}"#, 400, "field Coord: it is missing"),
        ] {
            let reply = put(parts.address, "/v1/coordinate/update", body).await;
            assert_eq!((reply.status, reply.text().as_str()), (status, text));
        }
        let other = "/v1/coordinate/update?dc=dc2";
        let other = put(parts.address, other, &at("a", 1).to_string()).await;
        assert_eq!(
            (other.status, other.text().as_str()),
            (400, "No path to datacenter")
        );
        for path in ["nodes?dc=dc2", "node/a?dc=dc2"] {
            let reply = get(parts.address, &format!("/v1/coordinate/{path}")).await;
            assert_eq!((reply.status, reply.index()), (400, 1));
        }
        let options = request(parts.address, "OPTIONS", "/v1/coordinate/update", &[], "").await;
        assert_eq!(options.header("Allow"), Some("OPTIONS,PUT"));
    }

    #[tokio::test]
    async fn reads_wait_for_coordinates_and_others_do_not_wake_for_them() {
        let parts = world().await;
        let before = get(parts.address, "/v1/coordinate/nodes").await.index();
        let nodes = get(parts.address, "/v1/catalog/nodes").await;
        let of_b = get(parts.address, "/v1/coordinate/node/b").await.index();
        let mut waiting = Connection::open(parts.address).await;
        let request = format!(
            "GET /v1/coordinate/node/b?index={of_b}&wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        waiting.send(request.as_bytes()).await;
        located(parts.address, &at("a", 0.6)).await;
        assert!(get(parts.address, "/v1/coordinate/nodes").await.index() > before);
        assert!(!waiting.has_answer());
        located(parts.address, &at("b", 0.7)).await;
        let woken = waiting.reply().await.unwrap();
        assert_eq!(woken.json()[0], at("b", 0.7));
        assert!(woken.index() > of_b);
        let after = get(parts.address, "/v1/catalog/nodes").await;
        assert_eq!((after.index(), after.body), (nodes.index(), nodes.body));
    }

    #[tokio::test]
    async fn a_coordinate_goes_with_its_node() {
        let parts = world().await;
        put(parts.address, "/v1/catalog/deregister", r#"{"Node":"b"}"#).await;
        let left = get(parts.address, "/v1/coordinate/nodes").await.json();
        let names: Vec<_> = left
            .as_array()
            .unwrap()
            .iter()
            .map(|l| &l["Node"])
            .collect();
        assert_eq!(names, ["a", "d"]);
        assert_eq!(
            get(parts.address, "/v1/coordinate/node/b").await.status,
            404
        );
    }

    #[tokio::test]
    async fn this_datacenter_is_listed_though_there_is_no_wan_pool() {
        let parts = Parts::start().await;
        let reply = get(parts.address, "/v1/coordinate/datacenters").await;
        let expected = json!([{"Datacenter": "dc1", "AreaID": "wan", "Coordinates": []}]);
        assert_eq!(reply.json(), expected);
        assert_eq!(reply.header("X-Consul-Index"), None);
    }

    #[tokio::test]
    async fn an_agent_writes_what_it_is_told() {
        let agent = TestAgent::settled().await;
        located(agent.http_address(), &at("n1", 0.25)).await;
        let near = get(agent.http_address(), "/v1/catalog/nodes?near=_agent").await;
        assert_eq!(near.json()[0]["Node"], "n1");
        agent.stop().await;
    }
}

mod near {
    use super::*;

    /// The nodes of the rows of a list.
    fn nodes(reply: &Reply) -> String {
        let rows = reply.json();
        let rows = rows.as_array().unwrap().iter();
        let name = |row: &Value| {
            let node = row["Node"].get("Node").unwrap_or(&row["Node"]);
            node.as_str().unwrap().to_owned()
        };
        rows.map(name).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn rows_are_in_the_order_of_their_distance() {
        let parts = world().await;
        for path in [
            "catalog/nodes",
            "catalog/service/web",
            "health/service/web",
            "health/checks/web",
        ] {
            let list = async |query: &str| {
                nodes(&get(parts.address, &format!("/v1/{path}?{query}")).await)
            };
            assert_eq!(list("").await, "a b c d", "{path}");
            assert_eq!(list("near=b").await, "b d a c", "{path}");
            assert_eq!(list("near=B&stale").await, "b d a c", "{path}");
            assert_eq!(list("near=a").await, "a d b c", "{path}");
            assert_eq!(list("near=a&node-meta=rack:1").await, "a d b c", "{path}");
            assert_eq!(list("near=a&node-meta=rack:2").await, "", "{path}");
        }
    }

    #[tokio::test]
    async fn checks_in_a_state_are_in_that_order_too_node_by_node() {
        let parts = world().await;
        let reply = get(parts.address, "/v1/health/state/passing?near=b").await;
        assert_eq!(nodes(&reply), "b b d d a a c c");
        let any = get(parts.address, "/v1/health/state/any").await;
        assert_eq!(nodes(&any), "a a b b c c d d");
    }

    #[tokio::test]
    async fn equal_distances_keep_their_order() {
        let parts = world().await;
        register(parts.address, "e", "passing").await;
        // As far on the other side as `d` is on this one.
        located(parts.address, &at("e", 0)).await;
        let reply = get(parts.address, "/v1/catalog/nodes?near=b").await;
        assert_eq!(nodes(&reply), "b d e a c");
    }

    #[tokio::test]
    async fn without_a_place_to_measure_from_the_order_is_as_ever() {
        let parts = world().await;
        for near in ["c", "nobody", "_agent", "", "a%20b", "%00"] {
            let path = format!("/v1/health/service/web?near={near}");
            let reply = get(parts.address, &path).await;
            assert_eq!(
                (reply.status, nodes(&reply).as_str()),
                (200, "a b c d"),
                "{near}"
            );
        }
    }

    #[tokio::test]
    async fn the_agent_that_is_asked_is_a_place_to_measure_from() {
        let parts = world().await;
        register(parts.address, "n1", "passing").await;
        located(parts.address, &at("n1", 0.45)).await;
        let reply = get(parts.address, "/v1/catalog/service/web?near=_agent").await;
        assert_eq!(nodes(&reply), "n1 a d b c");
    }
}

//! What programs that people run today send for discovery, with their exact parameters, and the
//! properties that each relies on.

use std::net::SocketAddr;
use std::time::Duration;

use herald::clock::monotonic;
use serde_json::{Value, json};

use crate::support::agent::TestAgent;
use crate::support::http::{Reply, get, put};

/// A read that waits, under way.
type Waiting = tokio::task::JoinHandle<Reply>;

/// Sends a blocking read and hands back its answer once it comes. A change that follows is later
/// than the index that the read names, so it does not matter which of the two arrives first.
fn watch(address: SocketAddr, path: String) -> Waiting {
    #[expect(clippy::disallowed_methods, reason = "the test itself awaits it")]
    tokio::spawn(async move { get(address, &path).await })
}

async fn woken(waiting: Waiting) -> Reply {
    let answer = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    answer.expect("a change wakes the read").unwrap()
}

fn web(id: &str, tags: &[&str]) -> Value {
    json!({"ID": id, "Name": "web", "Address": "10.0.0.1", "Port": 80, "Tags": tags,
           "Check": {"TTL": "60s", "Status": "passing"}})
}

fn ids(reply: &Reply) -> Vec<String> {
    let rows = reply.json();
    let rows = rows.as_array().expect("a list").iter();
    let id = |row: &Value| row["Service"]["ID"].as_str().unwrap().to_owned();
    rows.map(id).collect()
}

/// What `consul_sd_configs` sends.
mod prometheus {
    use super::*;

    const SERVICES: &str = "/v1/catalog/services?stale=&wait=120000ms";
    const WEB: &str = "/v1/health/service/web?stale=&tag=metrics&tag=v1&wait=120000ms";

    #[tokio::test]
    async fn asks_for_the_datacenter_first() {
        let agent = TestAgent::settled().await;
        let me = get(agent.http_address(), "/v1/agent/self").await.json();
        assert_eq!(me["Config"]["Datacenter"], "dc1");
        agent.stop().await;
    }

    #[tokio::test]
    async fn watches_the_list_of_services_and_each_of_them() {
        let agent = TestAgent::settled().await;
        let address = agent.http_address();
        let first = get(address, &format!("{SERVICES}&index=0")).await;
        let waiting = watch(address, format!("{SERVICES}&index={}", first.index()));
        agent.register(web("web-1", &["metrics", "v1"])).await;
        let services = woken(waiting).await;
        assert!(services.index() > first.index());
        assert_eq!(services.json()["web"], json!(["metrics", "v1"]));

        let instances = get(address, &format!("{WEB}&index=0")).await;
        assert_eq!(ids(&instances), ["web-1"]);
        let row = &instances.json()[0];
        for field in ["Node", "Address", "Datacenter", "Meta", "TaggedAddresses"] {
            assert!(!row["Node"][field].is_null(), "{field} in {row}");
        }
        // Only instances with both tags are in; one more wakes the watch.
        let waiting = watch(address, format!("{WEB}&index={}", instances.index()));
        agent.register(web("web-2", &["v1", "metrics", "x"])).await;
        assert_eq!(ids(&woken(waiting).await), ["web-1", "web-2"]);

        // A service that vanishes ends its watch.
        let before = get(address, SERVICES).await;
        let waiting = watch(address, format!("{SERVICES}&index={}", before.index()));
        agent
            .put("/v1/agent/service/deregister/web-1", Value::Null)
            .await;
        agent
            .put("/v1/agent/service/deregister/web-2", Value::Null)
            .await;
        let mut after = woken(waiting).await;
        while after.json().get("web").is_some() {
            after = woken(watch(
                address,
                format!("{SERVICES}&index={}", after.index()),
            ))
            .await;
        }
        agent.stop().await;
    }

    #[tokio::test]
    async fn takes_an_equal_index_for_no_change_and_bounds_the_wait() {
        let agent = TestAgent::settled().await;
        agent.register(web("web-1", &["metrics", "v1"])).await;
        let path = "/v1/health/service/web?stale=&tag=metrics&tag=v1";
        let first = get(agent.http_address(), path).await;
        let start = monotonic();
        let again = format!("{path}&index={}&wait=1600ms", first.index());
        let again = get(agent.http_address(), &again).await;
        // Its own time-out is the wait and 15 s: the jitter of at most wait/16 must fit.
        assert!(start.elapsed() >= Duration::from_millis(1_600));
        assert!(start.elapsed() < Duration::from_millis(1_600 + 15_000));
        assert_eq!((again.index(), &again.body), (first.index(), &first.body));
        agent.stop().await;
    }

    #[tokio::test]
    async fn parses_last_contact_and_known_leader() {
        let agent = TestAgent::settled().await;
        let reply = get(agent.http_address(), SERVICES).await;
        let contact: u64 = reply
            .header("X-Consul-LastContact")
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(contact, 0);
        assert_eq!(reply.header("X-Consul-KnownLeader"), Some("true"));
        agent.stop().await;
    }

    #[tokio::test]
    async fn selects_by_metadata_of_the_node() {
        let agent = TestAgent::with(r#"{"node_meta": {"rack": "a"}}"#).await;
        let address = agent.http_address();
        agent.register(web("web-1", &[])).await;
        let services = get(address, &format!("{SERVICES}&node-meta=rack:a&index=0")).await;
        assert_eq!(services.json()["web"], json!([]));
        let services = get(address, &format!("{SERVICES}&node-meta=rack:b&index=0")).await;
        assert!(services.json().get("web").is_none());
        let path = "/v1/health/service/web?stale=&node-meta=rack:a&index=0&wait=120000ms";
        assert_eq!(ids(&get(address, path).await), ["web-1"]);
        agent.stop().await;
    }
}

/// What the `consulCatalog` provider sends.
mod traefik {
    use super::*;

    #[tokio::test]
    async fn pairs_catalog_and_health_by_position() {
        let agent = TestAgent::settled().await;
        let address = agent.http_address();
        for (node, id) in [
            ("zoo", "b"),
            ("Alpha", "c"),
            ("zoo", "a"),
            ("mid", "d"),
            ("alpha2", "e"),
        ] {
            let body = json!({"Node": node, "Address": "10.0.0.2",
                "Service": {"ID": id, "Service": "web", "Tags": ["traefik.enable=true"], "Port": 80},
                "Check": {"CheckID": id, "Name": "c", "Status": "passing", "ServiceID": id}});
            agent.register_in_catalog(body).await;
        }
        let services = get(address, "/v1/catalog/services?stale=").await;
        assert_eq!(services.json()["web"], json!(["traefik.enable=true"]));
        for parameters in [
            "stale=",
            "consistent=",
            "cached=",
            "tag=traefik.enable%3Dtrue&stale=",
        ] {
            let path = |group: &str| format!("/v1/{group}/service/web?{parameters}");
            let catalog = get(address, &path("catalog")).await.json();
            let health = get(address, &path("health")).await.json();
            let key = |node: &Value, id: &Value| format!("{node} {id}");
            let catalog = catalog.as_array().unwrap().iter();
            let catalog: Vec<_> = catalog
                .map(|row| key(&row["Node"], &row["ServiceID"]))
                .collect();
            let health = health.as_array().unwrap().iter();
            let health: Vec<_> = health
                .map(|row| key(&row["Node"]["Node"], &row["Service"]["ID"]))
                .collect();
            assert_eq!(catalog.len(), 5, "{parameters}");
            assert_eq!(catalog, health, "{parameters}");
        }
        agent.stop().await;
    }

    #[tokio::test]
    async fn watches_with_index_and_wait() {
        let agent = TestAgent::settled().await;
        let address = agent.http_address();
        agent.register(web("web-1", &["a"])).await;
        let path = "/v1/health/service/web?stale=&tag=a";
        let first = get(address, path).await;
        let waiting = watch(
            address,
            format!("{path}&index={}&wait=300000ms", first.index()),
        );
        agent
            .put("/v1/agent/check/fail/service:web-1", Value::Null)
            .await;
        let after = woken(waiting).await.json();
        let failing = after[0]["Checks"].as_array().unwrap().iter();
        let mut failing = failing.filter(|check| check["Status"] == "critical");
        assert_eq!(failing.next().unwrap()["CheckID"], "service:web-1");
        agent.stop().await;
    }
}

/// What Spring Cloud Consul's client sends.
mod spring_cloud {
    use super::*;

    fn registration(check: &Value) -> Value {
        // Absent settings are null here.
        json!({
            "ID": "orders-8080", "Name": "orders", "Tags": ["secure=false"], "Address": "10.0.0.7",
            "Meta": {"secure": "false"}, "Port": 8080, "EnableTagOverride": null, "Check": check,
            "Checks": null,
        })
    }

    fn ttl() -> Value {
        json!({"Script": null, "DockerContainerID": null, "Shell": null, "Interval": null,
               "TTL": "30s", "HTTP": null, "Method": null, "Header": {}, "TCP": null,
               "Timeout": null, "DeregisterCriticalServiceAfter": "10m", "TLSSkipVerify": null,
               "Status": null, "GRPC": null, "GRPCUseTLS": null})
    }

    #[tokio::test]
    async fn registers_with_nulls_and_keeps_the_heart_beating() {
        let agent = TestAgent::settled().await;
        let address = agent.http_address();
        let mut check = ttl();
        // A key of no release since 1.1: refused by name even where it is null.
        let refused = put(
            address,
            "/v1/agent/service/register",
            &registration(&check).to_string(),
        )
        .await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        check.as_object_mut().unwrap().remove("Script");
        let path = "/v1/agent/service/register?token=";
        let reply = put(address, path, &registration(&check).to_string()).await;
        assert_eq!(
            (reply.status, reply.body.len()),
            (200, 0),
            "{}",
            reply.text()
        );
        let beat = put(
            address,
            "/v1/agent/check/pass/service:orders-8080?note=",
            "",
        )
        .await;
        assert_eq!(beat.status, 200);
        let healthy = "/v1/health/service/orders?passing=true&tag=&token=&dc=";
        assert_eq!(ids(&get(address, healthy).await), ["orders-8080"]);
        let gone = put(
            address,
            "/v1/agent/service/deregister/orders-8080?token=",
            "",
        )
        .await;
        assert_eq!(gone.status, 200);
        // It registers again on 404 and 500 only.
        let beat = put(address, "/v1/agent/check/pass/service:orders-8080", "").await;
        assert_eq!(beat.status, 404);
        agent.stop().await;
    }

    #[tokio::test]
    async fn registers_an_http_check() {
        let agent = TestAgent::settled().await;
        let check = json!({"Interval": "10s", "HTTP": "http://127.0.0.1:9/actuator/health",
            "Header": {"X-Config-Token": ["abc"]}, "Timeout": "5s", "TLSSkipVerify": false,
            "DeregisterCriticalServiceAfter": "60s"});
        agent.register(registration(&check)).await;
        let checks = get(agent.http_address(), "/v1/agent/checks").await.json();
        assert_eq!(checks["service:orders-8080"]["Type"], "http");
        assert_eq!(checks["service:orders-8080"]["Status"], "critical");
        let all = "/v1/health/service/orders?passing=false";
        assert_eq!(ids(&get(agent.http_address(), all).await), ["orders-8080"]);
        agent.stop().await;
    }

    #[tokio::test]
    async fn sets_and_reads_a_status_through_maintenance() {
        let agent = TestAgent::settled().await;
        let address = agent.http_address();
        let mut check = ttl();
        check.as_object_mut().unwrap().remove("Script");
        agent.register(registration(&check)).await;
        let path = "/v1/agent/service/maintenance/orders-8080?enable=";
        let modes = async || {
            let checks = get(address, "/v1/health/checks/orders").await.json();
            let checks = checks.as_array().unwrap().iter();
            let modes = checks.filter(|check| check["Name"] == "Service Maintenance Mode");
            modes
                .map(|check| check["Status"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(put(address, &format!("{path}true"), "").await.status, 200);
        assert_eq!(modes().await, ["critical"]);
        assert_eq!(put(address, &format!("{path}false"), "").await.status, 200);
        assert!(modes().await.is_empty());
        agent.stop().await;
    }

    #[tokio::test]
    async fn watches_the_catalog_each_second() {
        let agent = TestAgent::settled().await;
        let address = agent.http_address();
        // No index in the first round, whole seconds in all.
        let first = get(address, "/v1/catalog/services?wait=2s&token=").await;
        let text = first.header("X-Consul-Index").unwrap();
        assert!(text.parse::<u64>().unwrap() > 0);
        let waiting = watch(
            address,
            format!(
                "/v1/catalog/services?wait=2s&index={}&token=",
                first.index()
            ),
        );
        agent.register(web("web-1", &[])).await;
        assert!(woken(waiting).await.json().get("web").is_some());
        let leader = get(address, "/v1/status/leader").await.json();
        assert!(leader.as_str().unwrap().parse::<SocketAddr>().is_ok());
        let me = get(address, "/v1/agent/self").await.json();
        assert_eq!(me["Config"]["NodeName"], "n1");
        agent.stop().await;
    }
}

/// What consul-template sends.
mod consul_template {
    use super::*;

    #[tokio::test]
    async fn asks_for_passing_instances_and_follows_them() {
        let agent = TestAgent::settled().await;
        let address = agent.http_address();
        agent.register(web("web-1", &["a"])).await;
        let path = "/v1/health/service/web?passing=1&stale=&tag=a&near=_agent&dc=dc1";
        let first = get(address, path).await;
        assert_eq!(ids(&first), ["web-1"]);
        let known = ["passing", "warning", "critical"];
        for check in first.json()[0]["Checks"].as_array().unwrap() {
            assert!(
                known.contains(&check["Status"].as_str().unwrap()),
                "{check}"
            );
        }
        let waiting = watch(
            address,
            format!("{path}&index={}&wait=60000ms", first.index()),
        );
        agent
            .put("/v1/agent/check/warn/service:web-1", Value::Null)
            .await;
        assert!(ids(&woken(waiting).await).is_empty());
        agent.stop().await;
    }

    #[tokio::test]
    async fn starts_again_when_the_index_goes_back() {
        let agent = TestAgent::settled().await;
        let address = agent.http_address();
        let current = get(address, "/v1/catalog/nodes?stale=").await;
        let ahead = current.index() + 1_000;
        let start = monotonic();
        let path = format!("/v1/catalog/nodes?stale=&index={ahead}&wait=800ms");
        let reply = get(address, &path).await;
        // A future index waits in full and is answered with the smaller one.
        assert!(start.elapsed() >= Duration::from_millis(800));
        assert!(reply.index() < ahead);
        agent.stop().await;
    }

    #[tokio::test]
    async fn reads_nodes_datacenters_and_itself() {
        let agent = TestAgent::settled().await;
        let address = agent.http_address();
        let nodes = get(address, "/v1/catalog/nodes?stale=&near=_agent").await;
        assert_eq!(nodes.json()[0]["Node"], "n1");
        let node = get(address, "/v1/catalog/node/n1?stale=").await.json();
        assert_eq!(node["Node"]["Node"], "n1");

        let datacenters = get(address, "/v1/catalog/datacenters").await.json();
        assert_eq!(datacenters, json!(["dc1"]));
        let me = get(address, "/v1/agent/self").await.json();
        assert_eq!(me["Config"]["NodeName"], "n1");
        agent.stop().await;
    }
}

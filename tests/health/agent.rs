//! An agent whose checks run: registered over HTTP, followed over DNS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::agent::TestAgent;
use crate::support::eventually;
use crate::support::http::{get, put};
use crate::support::peers::{Peer, answer};

/// `status output` of a check, as the agent shows it.
async fn check(agent: &TestAgent, id: &str) -> String {
    let checks = agent.http.get::<Value>("/v1/agent/checks").await.unwrap();
    let text = |name| checks[id][name].as_str().unwrap_or_default().to_owned();
    format!("{} {}", text("Status"), text("Output"))
}

async fn eventually_says(agent: &TestAgent, id: &str, part: &str) {
    eventually(async || check(agent, id).await.contains(part)).await;
}

async fn instances(agent: &TestAgent, name: &str) -> usize {
    let answer = agent.ask(&format!("{name} A")).await;
    answer.message.answers.len()
}

/// A web server that is up or down, and counts how often it was asked.
async fn switchable() -> (Peer, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let up = Arc::new(AtomicBool::new(true));
    let asked = Arc::new(AtomicUsize::new(0));
    let (own_up, own_asked) = (Arc::clone(&up), Arc::clone(&asked));
    let peer = Peer::http(None, move |_| {
        own_asked.fetch_add(1, Ordering::Relaxed);
        if own_up.load(Ordering::Relaxed) {
            answer("200 OK", "up")
        } else {
            answer("500 Internal Server Error", "down")
        }
    })
    .await;
    (peer, up, asked)
}

#[tokio::test]
async fn an_instance_leaves_dns_with_its_check_and_comes_back() {
    let agent = TestAgent::start().await;
    let (peer, up, _) = switchable().await;
    let url = format!("http://{}/health", peer.address);
    // As tutorials write it.
    let service = json!({
        "ID": "hello1", "Name": "hello", "Tags": ["primary"], "Address": "127.0.0.1", "Port": 5000,
        "Checks": [{"HTTP": url, "TLSSkipVerify": true, "Method": "Get", "Interval": "1s", "Timeout": "5s"}],
    });
    agent.register(service.clone()).await;
    assert_eq!(instances(&agent, "hello.service.consul.").await, 0);
    eventually(async || instances(&agent, "hello.service.consul.").await == 1).await;
    let passing = format!("passing HTTP GET {url}: 200 OK Output: up");
    assert_eq!(check(&agent, "service:hello1").await, passing);
    up.store(false, Ordering::Relaxed);
    eventually(async || instances(&agent, "hello.service.consul.").await == 0).await;
    let critical = format!("critical HTTP GET {url}: 500 Internal Server Error Output: down");
    assert_eq!(check(&agent, "service:hello1").await, critical);
    // Registered again, as many clients do all the time, it keeps its status.
    agent.register(service).await;
    assert_eq!(check(&agent, "service:hello1").await, critical);
    up.store(true, Ordering::Relaxed);
    eventually(async || instances(&agent, "hello.service.consul.").await == 1).await;
    agent.stop().await;
}

#[tokio::test]
async fn results_are_held_back_until_there_are_enough_in_a_row() {
    let agent = TestAgent::start().await;
    let (peer, up, asked) = switchable().await;
    let url = format!("http://{}/", peer.address);
    agent
        .register(json!({
            "Name": "web", "Address": "127.0.0.1", "Check": {
                "HTTP": url, "Interval": "1s", "SuccessBeforePassing": 2,
                "FailuresBeforeWarning": 1, "FailuresBeforeCritical": 2,
            },
        }))
        .await;
    eventually_says(&agent, "service:web", "passing").await;
    assert!(
        asked.load(Ordering::Relaxed) >= 2,
        "one good result is not enough"
    );
    up.store(false, Ordering::Relaxed);
    let before = asked.load(Ordering::Relaxed);
    eventually_says(&agent, "service:web", "warning").await;
    eventually_says(&agent, "service:web", "critical").await;
    assert!(asked.load(Ordering::Relaxed) >= before + 2);
    agent.stop().await;
}

#[tokio::test]
async fn a_critical_service_is_removed_after_the_time_that_it_says() {
    let agent = TestAgent::start().await;
    let (peer, up, _) = switchable().await;
    up.store(false, Ordering::Relaxed);
    agent
        .register(json!({
            "Name": "web", "Check": {
                "HTTP": format!("http://{}/", peer.address), "Interval": "1s",
                "Status": "passing", "DeregisterCriticalServiceAfter": "1s",
            },
        }))
        .await;
    eventually_says(&agent, "service:web", "critical").await;
    eventually(async || {
        let services = agent.http.get::<Value>("/v1/agent/services").await;
        services.unwrap() == json!({})
    })
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn programs_are_refused_unless_they_are_allowed_and_nothing_is_registered() {
    let with_script = json!({
        "Name": "web", "Check": {"Args": ["/bin/sh", "-c", "echo ran; exit 1"], "Interval": "1s"},
    });
    let text = "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true";
    // What is allowed for the agent's own files is not allowed for others.
    for content in ["{}", r#"{"enable_local_script_checks": true}"#] {
        let agent = TestAgent::with(content).await;
        let address = agent.http_address();
        let path = "/v1/agent/service/register";
        let reply = put(address, path, &with_script.to_string()).await;
        assert_eq!((reply.status, reply.text().as_str()), (500, text));
        let node_check =
            json!({"Name": "c", "DockerContainerID": "x", "Args": ["true"], "Interval": "1s"});
        let reply = put(address, "/v1/agent/check/register", &node_check.to_string()).await;
        assert_eq!((reply.status, reply.text().as_str()), (500, text));
        for path in ["/v1/agent/services", "/v1/agent/checks"] {
            assert_eq!(get(address, path).await.json(), json!({}), "{path}");
        }
        agent.stop().await;
    }
    let agent = TestAgent::with(r#"{"enable_script_checks": true}"#).await;
    agent.register(with_script).await;
    eventually_says(&agent, "service:web", "warning ran\n").await;
    agent.stop().await;
}

#[tokio::test]
async fn an_alias_follows_a_service_of_its_own_node() {
    let agent = TestAgent::start().await;
    let ttl = json!({"Name": "db", "Check": {"TTL": "1h", "Name": "db up"}});
    agent.register(ttl).await;
    let alias = json!({"Name": "web", "Address": "127.0.0.1", "Check": {"AliasService": "db"}});
    agent.register(alias).await;
    eventually_says(
        &agent,
        "service:web",
        "critical Aliased check \"db up\" failing: ",
    )
    .await;
    agent
        .put("/v1/agent/check/pass/service:db", Value::Null)
        .await;
    eventually_says(&agent, "service:web", "passing All checks passing.").await;
    eventually(async || instances(&agent, "web.service.consul.").await == 1).await;
    agent
        .put("/v1/agent/check/warn/service:db?note=slow", Value::Null)
        .await;
    eventually_says(
        &agent,
        "service:web",
        "warning Aliased check \"db up\" failing: slow",
    )
    .await;
    agent
        .put("/v1/agent/service/deregister/db", Value::Null)
        .await;
    eventually_says(
        &agent,
        "service:web",
        "critical Service db is not registered on node n1",
    )
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn an_alias_of_an_unknown_node_is_critical_until_the_node_comes() {
    let agent = TestAgent::start().await;
    let alias = |id: &str, node: &str, service: &str| json!({"ID": id, "Name": id, "AliasNode": node, "AliasService": service});
    for definition in [
        alias("of-node", "n2", ""),
        alias("of-service", "n2", "db1"),
        alias("no-name", &"x".repeat(300), ""),
    ] {
        agent.put("/v1/agent/check/register", definition).await;
    }
    eventually_says(&agent, "of-node", "critical Node n2 is not in the catalog").await;
    eventually_says(&agent, "no-name", "is no name of a node").await;
    let node = |status: &str| {
        json!({
            "Node": "n2", "Address": "10.0.0.2",
            "Service": {"ID": "db1", "Service": "db"},
            "Checks": [
                {"Node": "n2", "CheckID": "disk", "Name": "disk", "Status": "passing"},
                {"Node": "n2", "CheckID": "db", "Name": "db", "Status": status, "ServiceID": "db1", "Output": "gone"},
            ],
        })
    };
    agent.register_in_catalog(node("passing")).await;
    eventually_says(&agent, "of-node", "passing All checks passing.").await;
    eventually_says(&agent, "of-service", "passing All checks passing.").await;
    agent.register_in_catalog(node("critical")).await;
    eventually_says(
        &agent,
        "of-service",
        "critical Aliased check \"db\" failing: gone",
    )
    .await;
    assert!(check(&agent, "of-node").await.starts_with("passing"));
    let gone = json!({"Node": "n2"});
    agent.put("/v1/catalog/deregister", gone).await;
    eventually_says(&agent, "of-node", "critical Node n2 is not in the catalog").await;
    eventually_says(
        &agent,
        "of-service",
        "critical Node n2 is not in the catalog",
    )
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn a_check_that_is_removed_during_its_run_leaves_its_peer_at_once() {
    use tokio::io::AsyncReadExt as _;
    let agent = TestAgent::start().await;
    let (seen, mut events) = tokio::sync::mpsc::channel(8);
    let peer = Peer::start(None, move |mut stream| {
        let seen = seen.clone();
        async move {
            let _ = seen.send("asked").await;
            while matches!(stream.read(&mut [0; 512]).await, Ok(1..)) {}
            let _ = seen.send("left").await;
        }
    })
    .await;
    let url = format!("http://{}/", peer.address);
    let definition =
        json!({"ID": "c", "Name": "c", "HTTP": url, "Interval": "1s", "Timeout": "10m"});
    agent.put("/v1/agent/check/register", definition).await;
    let next = async |events: &mut tokio::sync::mpsc::Receiver<_>| {
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, events.recv()).await.unwrap()
    };
    assert_eq!(next(&mut events).await, Some("asked"));
    agent.put("/v1/agent/check/deregister/c", Value::Null).await;
    assert_eq!(next(&mut events).await, Some("left"));
    agent.stop().await;
}

//! More than the usual: answers larger than a window, connections older than a ping, several
//! agents, and registrations that ask for what is not served.

use std::time::Duration;

use herald::clock::monotonic;
use serde_json::json;

use super::{is_control, join, pair, resolves, within};
use crate::interop::agents::{HttpAgent, Role, sees};
use crate::interop::process::address;
use crate::support::http;

#[tokio::test]
async fn answers_larger_than_a_window_come_whole() {
    let Some(pair) = pair(107).await else {
        return;
    };
    // Some 900 kB in all, where a window has 256 KiB.
    let mut registering = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let address = pair.server.http();
        let body = json!({
            "Node": format!("n{number}"), "Address": "10.3.0.1",
            "Service": {"Service": "big", "Port": 80, "Meta": {"padding": "x".repeat(500)}}
        });
        registering.spawn(async move {
            http::put(address, "/v1/catalog/register", &body.to_string()).await
        });
        if registering.len() >= 50 {
            let reply = registering.join_next().await.unwrap().unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    }
    while let Some(reply) = registering.join_next().await {
        assert_eq!(reply.unwrap().status, 200);
    }
    let reply = pair.agree("/v1/health/service/big").await;
    assert!(reply.body.len() > 3 * 256 * 1024, "{}", reply.body.len());
    assert_eq!(reply.json().as_array().unwrap().len(), 1_000);
    // Several at once share the connection, and small ones are not held up for good.
    let mut reading = tokio::task::JoinSet::new();
    for number in 0..20 {
        let address = pair.agent.http();
        let path = match number % 2 {
            0 => "/v1/health/service/big",
            _ => "/v1/catalog/datacenters",
        };
        reading.spawn(async move { (path, http::get(address, path).await) });
    }
    while let Some(read) = reading.join_next().await {
        let (path, reply) = read.unwrap();
        assert_eq!(reply.status, 200, "{path}");
        let count = reply.json().as_array().unwrap().len();
        let expected = if path.ends_with("big") { 1_000 } else { 1 };
        assert_eq!(count, expected, "{path}");
    }
}

#[tokio::test]
async fn a_connection_outlives_its_pings() {
    let Some(pair) = pair(108).await else {
        return;
    };
    pair.register(json!({"Name": "web", "Port": 80})).await;
    pair.counts("web", "", 1).await;
    // An agent pings every 30 s, and gives up 10 s later.
    let path = "/v1/health/service/web";
    let index = pair.agent.get(path).await.index();
    let waiting = format!("{path}?index={index}&wait=42s");
    let address = pair.agent.http();
    let started = monotonic();
    let asked = async {
        let mut connection = http::Connection::open(address).await;
        let request = format!("GET {waiting} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.send(request.as_bytes()).await;
        connection.reply_within(Duration::from_secs(60)).await
    };
    let reply = asked.await.expect("an answer");
    assert_eq!((reply.status, reply.index()), (200, index));
    assert!(started.elapsed() >= Duration::from_secs(42));
    let log = pair.agent.process.log();
    assert!(!log.contains("keepalive"), "{log}");
}

#[tokio::test]
async fn agents_see_each_other_through_the_server() {
    let Some(pair) = pair(109).await else {
        return;
    };
    let own = address(109, 3);
    let second = HttpAgent::consul("d", own, Role::Client, json!({}));
    let second = second.await.expect("the first is of the same make");
    // It comes through the other agent, and finds the server by itself.
    join(&second, pair.agent.address).await;
    sees(&second, "h", "alive").await;
    for (agent, number) in [(&pair.agent, 1), (&second, 2)] {
        let body = json!({"ID": format!("web-{number}"), "Name": "web", "Port": 80,
            "Address": format!("10.1.0.{number}")});
        let reply = agent.put("/v1/agent/service/register", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    for agent in [&pair.server, &pair.agent, &second] {
        resolves(agent, "web.service.consul A", &["10.1.0.1", "10.1.0.2"]).await;
        resolves(agent, "d.node.consul A", &["127.0.109.3"]).await;
    }
    // One that changes what it has said of a service is believed.
    let body = json!({"ID": "web-2", "Name": "web", "Port": 81, "Tags": ["new"],
        "Address": "10.1.0.9"});
    let reply = second.put("/v1/agent/service/register", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    resolves(&pair.agent, "new.web.service.consul A", &["10.1.0.9"]).await;
    resolves(
        &pair.agent,
        "web.service.consul A",
        &["10.1.0.1", "10.1.0.9"],
    )
    .await;
}

#[tokio::test]
async fn a_service_with_a_proxy_is_found_as_any_other() {
    let Some(pair) = pair(110).await else {
        return;
    };
    pair.register(json!({
        "Name": "web", "Port": 80, "Address": "10.1.0.1",
        "Connect": {"SidecarService": {"Port": 21000, "Proxy": {
            "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191}]}}}
    }))
    .await;
    pair.counts("web", "", 1).await;
    pair.counts("web-sidecar-proxy", "", 1).await;
    pair.resolves("web.service.consul A", &["10.1.0.1"]).await;
    let row = pair.agree("/v1/catalog/service/web-sidecar-proxy").await;
    let row = row.json()[0].clone();
    assert_eq!(row["ServicePort"], 21000);
    // What concerns the mesh is not kept, and the operator is told.
    if is_control() {
        assert_eq!(row["ServiceKind"], "connect-proxy");
    } else {
        assert_eq!(row["ServiceKind"], "");
        let log = pair.server.process.log();
        let warned = log.lines().filter(|line| line.contains("mesh"));
        let warned: Vec<&str> = warned
            .filter(|line| line.contains("web-sidecar-proxy"))
            .collect();
        assert_eq!(warned.len(), 1, "{warned:?}");
    }
    // What the agent asks for the proxy over and over does no harm to the rest.
    pair.register(json!({"Name": "db", "Port": 81})).await;
    pair.counts("db", "", 1).await;
    within(10, "the agent has synced all", async || {
        pair.agent.get("/v1/catalog/node/c").await.json()["Services"]
            .as_object()
            .unwrap()
            .len()
            == 3
    })
    .await;
}

#[tokio::test]
async fn services_come_along_when_herald_takes_over_from_a_consul_server() {
    if is_control() {
        eprintln!("SKIPPED: herald is what takes over");
        return;
    }
    let agent = HttpAgent::consul("c", address(111, 2), Role::Client, json!({}));
    let Some(agent) = agent.await else {
        return;
    };
    let old = HttpAgent::consul("s", address(111, 1), Role::Server, json!({}));
    let mut old = old.await.expect("the client is of the same make");
    old.leads().await;
    join(&agent, old.address).await;
    let body = json!({"Name": "web", "Port": 80, "Address": "10.1.0.1"});
    let reply = agent.put("/v1/agent/service/register", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    resolves(&agent, "web.service.consul A", &["10.1.0.1"]).await;
    old.process.kill();
    sees(&agent, "s", "failed").await;
    let server = HttpAgent::herald("h", address(111, 4), Role::Server, json!({})).await;
    join(&server, agent.address).await;
    sees(&agent, "h", "alive").await;
    // That a server has come is a reason to sync.
    for agent in [&server, &agent] {
        resolves(agent, "web.service.consul A", &["10.1.0.1"]).await;
    }
    let leader = agent.get("/v1/status/leader").await.json();
    assert_eq!(leader, "127.0.111.4:8300");
}

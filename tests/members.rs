//! Agents as members: how they find each other, what they keep, and how they go.

use std::path::Path;

use hickory_proto::op::ResponseCode;
use serde_json::Value;

use crate::cli::agent::Running;
use crate::cli::{program, signal};
use crate::support::agent::TestAgent;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::http::{get, put};

/// A key for gossip, and another.
const KEYS: [&str; 2] = ["MDEyMzQ1Njc4OWFiY2RlZg==", "ZmVkY2JhOTg3NjU0MzIxMA=="];

/// Names and states that an agent shows, in the order of the names.
async fn members(agent: &TestAgent, path: &str) -> Vec<String> {
    let shown = get(agent.http_address(), path).await.json();
    let members = shown.as_array().unwrap().iter();
    let mut members: Vec<String> = members
        .map(|member| format!("{} {}", member["Name"].as_str().unwrap(), member["Status"]))
        .collect();
    members.sort();
    members
}

async fn lan(agent: &TestAgent) -> Vec<String> {
    members(agent, "/v1/agent/members").await
}

/// An agent in a process of its own: a client agent that keeps joining `agent`.
async fn client(agent: &TestAgent, data: &Path, further: &[&str]) -> Running {
    let join = format!("-retry-join={}", agent.lan());
    let arguments = [
        "-node=c1",
        "-bind=127.0.0.1",
        "-retry-interval=100ms",
        "-data-dir",
        data.to_str().unwrap(),
        &join,
    ];
    Running::start(program(), &[&arguments[..], further].concat()).await
}

#[tokio::test]
async fn servers_that_join_in_their_datacenter_are_together_between_datacenters_too() {
    let first = TestAgent::start().await;
    let join = format!(r#"{{"start_join": ["{}"]}}"#, first.lan());
    let second = TestAgent::try_named("n2", &join).await.unwrap();
    // A start that joins is over once it has joined.
    assert_eq!(lan(&second).await, ["n1 1", "n2 1"]);
    eventually(async || lan(&first).await == ["n1 1", "n2 1"]).await;
    for agent in [&first, &second] {
        let both = ["n1.dc1 1", "n2.dc1 1"];
        eventually(async || members(agent, "/v1/agent/members?wan=1").await == both).await;
    }
    let itself = get(second.http_address(), "/v1/agent/self").await.json();
    assert_eq!(itself["Stats"]["serf_lan"]["members"], "2");
    assert_eq!(itself["Stats"]["serf_wan"]["members"], "2");
    second.stop().await;
    first.stop().await;
}

#[tokio::test]
async fn names_of_other_datacenters_fail_and_those_of_unknown_ones_do_not_exist() {
    let first = TestAgent::start().await;
    let code = async |name: &str| first.ask(&format!("n1.node.{name}.consul A")).await.code();
    assert_eq!(code("dc2").await, ResponseCode::NXDomain);
    let join = format!(
        r#"{{"datacenter": "dc2", "start_join_wan": ["{}"]}}"#,
        first.wan()
    );
    let second = TestAgent::try_named("n2", &join).await.unwrap();
    eventually(async || code("dc2").await == ResponseCode::ServFail).await;
    assert_eq!(code("dc3").await, ResponseCode::NXDomain);
    eventually(async || code("dc1").await == ResponseCode::NoError).await;
    second.stop().await;
    first.stop().await;
}

#[tokio::test]
async fn a_start_fails_where_nobody_of_those_to_join_is_reached() {
    let join = r#"{"start_join": ["127.0.0.1:1"]}"#;
    let error = TestAgent::try_with(join).await.err().unwrap().to_string();
    let start = "cannot join the LAN pool: 127.0.0.1:1: ";
    assert!(
        error.starts_with(start) && error.contains("connection refused"),
        "{error}"
    );
}

#[tokio::test]
async fn an_agent_that_has_tried_to_join_as_often_as_it_may_ends() {
    let directory = Directory::new();
    let data = directory.0.to_str().unwrap();
    let arguments = [
        "-bind=127.0.0.1",
        "-data-dir",
        data,
        "-retry-join=127.0.0.1:1",
        "-retry-interval=100ms",
        "-retry-max=2",
    ];
    let agent = Running::start(program(), &arguments).await;
    let (code, _, lines) = agent.ended().await;
    assert_eq!(code, 1);
    let reason = "cannot join the LAN pool: no agent joined in 2 attempts, the last one: ";
    let named = |line: &String| line.contains("[ERROR] agent: ") && line.contains(reason);
    assert!(lines.iter().any(named), "{lines:?}");
}

#[tokio::test]
async fn a_client_agent_takes_leave_on_a_signal_and_answers_until_it_is_gone() {
    let (agent, directory) = (TestAgent::start().await, Directory::new());
    let running = client(&agent, &directory.0, &[]).await;
    eventually(async || lan(&agent).await == ["c1 1", "n1 1"]).await;
    signal(running.child.id().unwrap(), "TERM").await;
    // Others know that it has left while it still waits for the news to spread.
    eventually(async || lan(&agent).await == ["c1 3", "n1 1"]).await;
    assert_eq!(running.ask("consul SOA").await.len(), 1);
    let (code, _, lines) = running.ended().await;
    assert_eq!(code, 0, "{lines:?}");
    assert!(lines.contains(&"==> Gracefully shutting down agent...".to_owned()));
    assert!(lines.last().unwrap().ends_with("agent: Exit code: code=0"));
    agent.stop().await;
}

#[tokio::test]
async fn another_signal_ends_an_agent_that_takes_leave() {
    let (agent, directory) = (TestAgent::start().await, Directory::new());
    let mut running = client(&agent, &directory.0, &[]).await;
    eventually(async || lan(&agent).await == ["c1 1", "n1 1"]).await;
    let id = running.child.id().unwrap();
    // Those that come right after the first belong to it; then one is another.
    eventually(async || {
        signal(id, "INT").await;
        running.child.try_wait().unwrap().is_some()
    })
    .await;
    let (code, _, lines) = running.ended().await;
    assert_eq!(code, 1, "{lines:?}");
    let second = |line: &String| line.contains("Caught second signal");
    assert!(lines.iter().any(second), "{lines:?}");
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_asked_to_leave_goes_from_both_pools_and_exits_with_0() {
    let agent = TestAgent::start().await;
    let join = format!("-join={}", agent.lan());
    let running = Running::start(program(), &["-dev", "-node=n2", &join]).await;
    let wan = async || members(&agent, "/v1/agent/members?wan=1").await;
    eventually(async || wan().await == ["n1.dc1 1", "n2.dc1 1"]).await;
    let address = ([127, 0, 0, 1], running.ports().0).into();
    let reply = put(address, "/v1/agent/leave", "").await;
    assert_eq!((reply.status, &*reply.text()), (200, ""));
    eventually(async || wan().await == ["n1.dc1 1", "n2.dc1 3"]).await;
    eventually(async || lan(&agent).await == ["n1 1", "n2 3"]).await;
    let (code, _, lines) = running.ended().await;
    assert_eq!(code, 0, "{lines:?}");
    agent.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_id_keys_and_members() {
    let (agent, directory) = (
        TestAgent::with(&format!(r#"{{"encrypt": "{}"}}"#, KEYS[0])).await,
        Directory::new(),
    );
    let id = |running: &Running| {
        let mut lines = running.banner.iter();
        let line = lines.find(|line| line.contains("Node ID: ")).unwrap();
        line.trim().to_owned()
    };
    let encrypt = format!("-encrypt={}", KEYS[0]);
    let stays = "-hcl=leave_on_terminate = false";
    let running = client(&agent, &directory.0, &[&encrypt, stays]).await;
    let encrypted = |line: &String| line.contains("Encrypt: Gossip: true, ");
    assert!(running.banner.iter().any(encrypted), "{:?}", running.banner);
    eventually(async || lan(&agent).await == ["c1 1", "n1 1"]).await;
    let first = id(&running);
    // Who comes back at another address must wait until it is forgotten.
    let port = format!("-serf-lan-port={}", running.port("LAN"));
    assert_eq!(running.end("TERM").await.0, 1);
    eventually(async || lan(&agent).await == ["c1 4", "n1 1"]).await;
    // Nobody tells it whom to join, and the key that it is given is another than it has.
    let other = format!("-encrypt={}", KEYS[1]);
    let data = directory.0.to_str().unwrap();
    let arguments = ["-node=c1", "-bind=127.0.0.1", "-data-dir", data];
    let further = [&port, &other, stays];
    let again = Running::start(program(), &[&arguments[..], &further].concat()).await;
    assert_eq!(id(&again), first);
    eventually(async || lan(&agent).await == ["c1 1", "n1 1"]).await;
    let warned = |line: &String| line.contains("the LAN keyring does not hold the key");
    assert!(again.banner.iter().any(warned), "{:?}", again.banner);
    again.end("TERM").await;
    agent.stop().await;
}

#[tokio::test]
async fn without_the_key_nobody_joins() {
    let agent = TestAgent::with(&format!(r#"{{"encrypt": "{}"}}"#, KEYS[0])).await;
    for keys in ["", r#""encrypt": "ZmVkY2JhOTg3NjU0MzIxMA==", "#] {
        let text = format!(r#"{{{keys}"start_join": ["{}"]}}"#, agent.lan());
        let error = TestAgent::try_named("n2", &text).await.err().unwrap();
        let error = error.to_string();
        assert!(error.starts_with("cannot join the LAN pool: "), "{error}");
    }
    assert_eq!(lan(&agent).await, ["n1 1"]);
    agent.stop().await;
}

#[tokio::test]
async fn the_configuration_that_is_shown_has_the_pools_and_no_key() {
    let text = format!(r#"{{"encrypt": "{}", "retry_max": 3}}"#, KEYS[0]);
    let agent = TestAgent::with(&text).await;
    let itself = get(agent.http_address(), "/v1/agent/self").await;
    assert!(!itself.text().contains(KEYS[0]));
    let shown: &Value = &itself.json()["DebugConfig"];
    assert_eq!(shown["EncryptKey"], "hidden");
    assert_eq!(shown["RetryJoinMaxAttemptsLAN"], 3);
    assert_eq!(shown["GossipLANProbeInterval"], "100ms");
    agent.stop().await;
}

#[tokio::test]
async fn an_ipv6_address_of_a_member_stands_in_brackets_on_the_page() {
    let agent = TestAgent::try_with(r#"{"bind_addr": "::1", "ui": true}"#)
        .await
        .unwrap();
    let page = get(agent.http_address(), "/ui/").await;
    let address = format!("<td>[::1]:{}</td>", agent.lan().port());
    assert!(page.text().contains(&address), "{}", page.text());
    agent.stop().await;
}

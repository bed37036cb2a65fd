//! What commands print about an agent.

use serde_json::json;

use super::{ask, herald};
use crate::support::agent::TestAgent;
use crate::support::directory::Directory;

#[tokio::test]
async fn members_are_a_table() {
    let agent = TestAgent::start().await;
    let version = env!("CARGO_PKG_VERSION");
    let finished = ask(&agent, "members").await;
    assert_eq!(
        (finished.code, finished.out),
        (
            0,
            format!(
                "Node  Address         Status  Type    Build         Protocol  DC   Segment\n\
                 n1    127.0.0.1:8301  alive   server  herald/{version}  2         dc1  <all>\n"
            )
        )
    );
    let finished = ask(&agent, "members -wan").await;
    assert!(
        finished.out.contains("\nn1.dc1  127.0.0.1:8302  alive"),
        "{}",
        finished.out
    );
    let finished = ask(&agent, "members -detailed -status=al.ve").await;
    assert!(
        finished
            .out
            .starts_with("Node  Address         Status  Tags\nn1 ")
    );
    assert!(
        finished.out.contains("  acls=0,build=1.8.7:herald,dc=dc1,"),
        "{}",
        finished.out
    );
    agent.stop().await;
}

#[tokio::test]
async fn members_without_a_match_exit_with_2() {
    let agent = TestAgent::start().await;
    let finished = ask(&agent, "members -status failed").await;
    assert_eq!(
        (finished.code, finished.out.as_str(), finished.err.as_str()),
        (2, "", "")
    );
    let finished = ask(&agent, "members -status [").await;
    assert!(finished.code == 1 && finished.err.starts_with("Failed to compile status regexp"));
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_does_not_listen_is_named() {
    let finished = herald(&["members", "-http-addr=127.0.0.1:9"]).await;
    assert_eq!(finished.code, 1);
    assert_eq!(
        finished.err,
        "Error retrieving members: Get \"http://127.0.0.1:9/v1/agent/members?segment=_all\": \
         dial tcp 127.0.0.1:9: connect: connection refused\n"
    );
}

#[tokio::test]
async fn services_are_registered_listed_and_deregistered() {
    let agent = TestAgent::start().await;
    let flags = "services register -name web -id w1 -port 80 -tag v2 -tag v1 -meta a=b \
                 -tagged-address lan=10.0.0.9:81";
    let finished = ask(&agent, flags).await;
    assert_eq!(
        (finished.code, finished.out.as_str()),
        (0, "Registered service: web\n")
    );
    let found: serde_json::Value = agent.http.get("/v1/agent/service/w1").await.unwrap();
    assert_eq!(found["Meta"], json!({"a": "b"}));
    assert_eq!(
        found["TaggedAddresses"]["lan"],
        json!({"Address": "10.0.0.9", "Port": 81})
    );
    let finished = ask(&agent, "catalog services -tags").await;
    assert_eq!(finished.out, "consul\nweb     v1,v2\n");
    let finished = ask(&agent, "catalog services -node n1").await;
    assert_eq!(finished.out, "consul\nweb\n");
    let finished = ask(&agent, "services deregister -id w1").await;
    assert_eq!(
        (finished.code, finished.out.as_str()),
        (0, "Deregistered service: w1\n")
    );
    let finished = ask(&agent, "services deregister -id w1").await;
    assert_eq!(finished.code, 1);
    assert!(finished.err.starts_with(
        "Error deregistering service \"w1\": Unexpected response code: 404 (Unknown service"
    ));
    agent.stop().await;
}

#[tokio::test]
async fn services_of_a_file_are_registered() {
    let agent = TestAgent::start().await;
    let directory = Directory::new();
    let file = directory.write(
        "web.json",
        r#"{"services": [{"name": "web", "port": 80, "enable_tag_override": true,
            "check": {"id": "alive", "ttl": "1h", "status": "passing"}}], "service": {"name": "db"}}"#,
    );
    let file = file.to_str().unwrap();
    let finished = ask(&agent, &format!("services register {file}")).await;
    let mut lines: Vec<&str> = finished.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["Registered service: db", "Registered service: web"],
        "{}",
        finished.err
    );
    let checks: serde_json::Value = agent.http.get("/v1/agent/checks").await.unwrap();
    assert_eq!(checks["alive"]["Status"], "passing");
    let finished = ask(&agent, &format!("services deregister {file}")).await;
    assert_eq!((finished.code, finished.out.lines().count()), (0, 2));
    agent.stop().await;
}

#[tokio::test]
async fn the_catalog_is_listed() {
    let agent = TestAgent::start().await;
    agent
        .register_in_catalog(json!({"Node": "other", "Address": "10.0.0.7",
            "ID": "11111111-2222-3333-4444-555555555555", "NodeMeta": {"rack": "7"},
            "Service": {"Service": "db"}}))
        .await;
    assert_eq!(ask(&agent, "catalog datacenters").await.out, "dc1\n");
    let finished = ask(&agent, "catalog nodes -node-meta rack=7").await;
    assert_eq!(
        finished.out,
        "Node   ID        Address   DC\nother  11111111  10.0.0.7  dc1\n"
    );
    let finished = ask(&agent, "catalog nodes -service db -detailed").await;
    assert!(
        finished
            .out
            .contains("11111111-2222-3333-4444-555555555555"),
        "{}",
        finished.out
    );
    assert!(finished.out.contains("rack=7"));
    let finished = ask(&agent, "catalog nodes -service none").await;
    let nothing = "No nodes match the given query - try expanding your search.\n";
    assert_eq!((finished.code, finished.out.as_str()), (0, nothing));
    let finished = ask(&agent, "catalog nodes -datacenter elsewhere").await;
    assert!(finished.code == 1 && finished.err.contains("No path to datacenter"));
    agent.stop().await;
}

#[tokio::test]
async fn info_shows_figures_in_groups() {
    let agent = TestAgent::start().await;
    let finished = ask(&agent, "info").await;
    assert!(
        finished
            .out
            .starts_with("agent:\n\tcheck_monitors = 0\n\tcheck_ttls = 0\n")
    );
    assert!(finished.out.contains("\nconsul:\n\tacl = disabled\n"));
    assert!(finished.out.contains("\tserver = true\n"));
    agent.stop().await;
}

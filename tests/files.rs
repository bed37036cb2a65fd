//! Services and checks in configuration files, and what a reload makes of other files: registered
//! without any request, asked for over DNS and HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::agent::TestAgent;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::http::{Connection, get, put};

/// As tutorials print it, with a check that the test can report for.
const TUTORIAL: &str = r#"{
  "services": [
    {
      "id": "hello1",
      "name": "hello",
      "tags": ["primary"],
      "address": "127.0.0.1",
      "port": 5050,
      "checks": [
        {
          "http": "http://127.0.0.1:5050/health",
          "tls_skip_verify": false,
          "method": "GET",
          "interval": "10s",
          "timeout": "1s",
          "status": "passing"
        }
      ]
    }
  ]
}"#;

/// One service with a TTL check named like it.
fn service(name: &str, port: u16) -> String {
    json!({"service": {"name": name, "port": port,
        "check": {"id": name, "ttl": "1h", "status": "passing"}}})
    .to_string()
}

async fn json_of(agent: &TestAgent, path: &str) -> Value {
    let reply = get(agent.http_address(), path).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Ids of the services that the agent itself knows.
async fn services(agent: &TestAgent) -> Vec<String> {
    let services = json_of(agent, "/v1/agent/services").await;
    services.as_object().unwrap().keys().cloned().collect()
}

/// Status and output of a check at the agent.
async fn check(agent: &TestAgent, id: &str) -> (String, String) {
    let checks = json_of(agent, "/v1/agent/checks").await;
    let text = |key: &str| checks[id][key].as_str().unwrap().to_owned();
    (text("Status"), text("Output"))
}

/// Waits until DNS answers a question with `part`: a busy machine may acknowledge a change before
/// the catalog has it.
async fn answers(agent: &TestAgent, question: &str, part: &str) {
    eventually(async || agent.ask(question).await.to_string().contains(part)).await;
}

async fn reload(agent: &TestAgent) {
    let reply = put(agent.http_address(), "/v1/agent/reload", "").await;
    assert_eq!((reply.status, reply.text()), (200, String::new()));
}

/// The reason why a reload is refused.
async fn refused(agent: &TestAgent) -> String {
    let reply = put(agent.http_address(), "/v1/agent/reload", "").await;
    assert_eq!(reply.status, 500);
    reply.text()
}

#[tokio::test]
async fn the_service_file_of_a_tutorial_is_answered_over_dns() {
    let directory = Directory::new();
    directory.write("hello.json", TUTORIAL);
    let agent = TestAgent::reading(&directory).await;
    answers(
        &agent,
        "hello.service.consul SRV",
        "5050 7f000001.addr.dc1.consul.",
    )
    .await;
    answers(&agent, "primary.hello.service.consul A", "127.0.0.1").await;
    let rows = json_of(&agent, "/v1/health/service/hello").await;
    let checks = rows[0]["Checks"].as_array().unwrap();
    let own = |check: &&Value| check["ServiceID"] == "hello1";
    let check = checks.iter().find(own).unwrap();
    assert_eq!(check["CheckID"], "service:hello1");
    assert_eq!(check["Name"], "Service 'hello' check");
    assert_eq!(check["Type"], "http");
    agent.stop().await;
}

#[tokio::test]
async fn a_check_without_service_belongs_to_the_node() {
    let directory = Directory::new();
    directory.write("web.json", &service("web", 80));
    let file = r#"{"checks": [
        {"id": "mem", "name": "memory", "ttl": "1h", "status": "passing", "notes": "n"},
        {"id": "extra", "name": "more", "ttl": "1h", "status": "warning", "service_id": "web"}
    ]}"#;
    directory.write("checks.json", file);
    let agent = TestAgent::reading(&directory).await;
    answers(&agent, "web.service.consul A", "ANSWER: 1").await;
    let checks = json_of(&agent, "/v1/health/node/n1").await;
    let row = |id: &str| {
        let rows = checks.as_array().unwrap();
        rows.iter().find(|row| row["CheckID"] == id).unwrap()
    };
    let text = |id: &str, key: &str| row(id)[key].as_str().unwrap().to_owned();
    assert_eq!(text("mem", "ServiceID"), "");
    assert_eq!(text("mem", "Notes"), "n");
    assert_eq!(
        (text("extra", "ServiceID"), text("extra", "Status")),
        ("web".into(), "warning".into())
    );
    // Only a service's own check shows its type.
    assert_eq!(
        (text("mem", "Type"), text("extra", "Type")),
        (String::new(), String::new())
    );
    assert_eq!(text("web", "Type"), "ttl");
    // A critical check of the node takes its services out of the answers.
    agent.put("/v1/agent/check/fail/mem", Value::Null).await;
    eventually(async || {
        agent
            .ask("web.service.consul A")
            .await
            .to_string()
            .contains("ANSWER: 0")
    })
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn a_reload_adds_removes_and_keeps() {
    let directory = Directory::new();
    directory.write("gone.json", &service("gone", 1));
    directory.write("kept.json", &service("kept", 2));
    let agent = TestAgent::reading(&directory).await;
    agent
        .register(json!({"Name": "api", "Check": {"CheckID": "api", "TTL": "1h"}}))
        .await;
    agent
        .put("/v1/agent/check/warn/kept?note=look", Value::Null)
        .await;
    std::fs::remove_file(directory.0.join("gone.json")).unwrap();
    directory.write("new.json", &service("new", 3));
    reload(&agent).await;
    assert_eq!(services(&agent).await, ["api", "kept", "new"]);
    assert_eq!(
        check(&agent, "kept").await,
        ("warning".into(), "look".into())
    );
    eventually(async || {
        let catalog = json_of(&agent, "/v1/catalog/services").await;
        let names: Vec<_> = catalog.as_object().unwrap().keys().cloned().collect();
        names == ["api", "consul", "kept", "new"]
    })
    .await;
    answers(&agent, "new.service.consul SRV", " 3 ").await;
    // Changed in place, a service keeps what its check says.
    directory.write("kept.json", &service("kept", 4));
    reload(&agent).await;
    assert_eq!(
        check(&agent, "kept").await,
        ("warning".into(), "look".into())
    );
    answers(&agent, "kept.service.consul SRV", " 4 ").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_refused_reload_names_file_line_and_key_and_changes_nothing() {
    let directory = Directory::new();
    directory.write("web.json", &service("web", 80));
    let agent = TestAgent::reading(&directory).await;
    std::fs::remove_file(directory.0.join("web.json")).unwrap();
    directory.write("a.json", &service("new", 1));
    for (text, complaint) in [
        (
            "{\n\"serevr\": true}",
            "z.json:2: invalid config key serevr, did you mean server?",
        ),
        ("{\"ui\":\n1}", "z.json:2: ui: expected a boolean, found 1"),
        (
            "{\"ui\": true,\n\"ui\": true}",
            "z.json:2: ui: is given twice, first in line 1",
        ),
        ("{\"ui\": tru}", "z.json:1: not valid JSON"),
        (
            "{\"check\":\n{\"name\": \"c\", \"ttl\": \"1s\", \"service_id\": \"web\"}}",
            "z.json:2: ServiceID \"web\" does not exist",
        ),
        (
            r#"{"service": {"name": "consul"}}"#,
            "z.json:1: service id \"consul\" is kept by the servers themselves",
        ),
        (
            r#"{"check": {"name": "c", "args": ["true"], "interval": "10s"}}"#,
            "z.json:1: check \"c\": Scripts are disabled on this agent; to enable, configure",
        ),
    ] {
        directory.write("z.json", text);
        let reason = refused(&agent).await;
        assert!(reason.contains(complaint), "{reason}");
        assert_eq!(services(&agent).await, ["web"]);
    }
    std::fs::remove_file(directory.0.join("z.json")).unwrap();
    reload(&agent).await;
    assert_eq!(services(&agent).await, ["new"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_start_with_bad_definitions_is_refused() {
    let error = TestAgent::try_with("{\"service\":\n{\"name\": \"consul\"}}").await;
    let error = error.err().unwrap().to_string();
    assert!(error.contains("test.json:2: service id"), "{error}");
}

#[tokio::test]
async fn a_reload_takes_on_node_metadata_answers_and_limits() {
    let directory = Directory::new();
    directory.write("web.json", &service("web", 80));
    let agent = TestAgent::reading(&directory).await;
    directory.write(
        "more.json",
        r#"{"node_meta": {"rack": "7"}, "dns_config": {"service_ttl": {"web": "42s"}},
            "check_update_interval": "0s", "limits": {"http_max_conns_per_client": 57},
            "log_level": "warn", "datacenter": "other", "ports": {"serf_lan": 9}}"#,
    );
    reload(&agent).await;
    eventually(async || {
        let node = json_of(&agent, "/v1/catalog/node/n1").await;
        node["Node"]["Meta"]["rack"] == "7"
    })
    .await;
    answers(&agent, "web.service.consul A", "\t42\t").await;
    // Another output alone reaches the catalog at once now.
    agent
        .put("/v1/agent/check/pass/web?note=fine", Value::Null)
        .await;
    eventually(async || {
        let checks = json_of(&agent, "/v1/health/checks/web").await;
        checks[0]["Output"] == "fine"
    })
    .await;
    let itself = json_of(&agent, "/v1/agent/self").await;
    assert_eq!(itself["Meta"]["rack"], "7");
    let shown = &itself["DebugConfig"];
    assert_eq!(shown["HTTPMaxConnsPerClient"], 57);
    assert_eq!(shown["LogLevel"], "WARN");
    assert_eq!(shown["NodeMeta"]["rack"], "7");
    // What only a restart changes stays as it is.
    assert_eq!(
        (&shown["Datacenter"], &itself["Config"]["Datacenter"]),
        (&json!("dc1"), &json!("dc1"))
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_reload_bounds_the_connections_of_one_client() {
    let directory = Directory::new();
    let agent = TestAgent::reading(&directory).await;
    let limit = async |count: u32| {
        let text = json!({"limits": {"http_max_conns_per_client": count}}).to_string();
        directory.write("limits.json", &text);
        reload(&agent).await;
    };
    limit(2).await;
    let (first, second) = (
        Connection::open(agent.http_address()).await,
        Connection::open(agent.http_address()).await,
    );
    let path = "/v1/status/leader";
    eventually(async || get(agent.http_address(), path).await.status == 429).await;
    drop((first, second));
    eventually(async || get(agent.http_address(), path).await.status == 200).await;
    // 0 is no bound of its own.
    limit(0).await;
    assert_eq!(get(agent.http_address(), path).await.status, 200);
    agent.stop().await;
}

#[tokio::test]
async fn a_reload_bounds_the_agents_connections_of_one_address() {
    let directory = Directory::new();
    let agent = TestAgent::reading(&directory).await;
    let limit = async |count: u32| {
        let text = json!({"limits": {"rpc_max_conns_per_client": count}}).to_string();
        directory.write("limits.json", &text);
        reload(&agent).await;
    };
    // The one that is closed at once is one too many; the others wait for calls.
    let is_closed = async || {
        let mut stream = TcpStream::connect(agent.rpc()).await.unwrap();
        stream.write_all(&[0]).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(1), stream.read_u8());
        read.await.is_ok()
    };
    let _kept = TcpStream::connect(agent.rpc()).await.unwrap();
    limit(1).await;
    assert!(is_closed().await);
    // 0 is no bound of its own.
    limit(0).await;
    assert!(!is_closed().await);
    let itself = json_of(&agent, "/v1/agent/self").await;
    assert_eq!(itself["DebugConfig"]["RPCMaxConnsPerClient"], 16_384);
    agent.stop().await;
}

#[tokio::test]
async fn a_reload_outlives_the_request_that_asked_for_it() {
    let directory = Directory::new();
    let agent = TestAgent::reading(&directory).await;
    directory.write("web.json", &service("web", 80));
    let mut connection = Connection::open(agent.http_address()).await;
    let request = "PUT /v1/agent/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert!(connection.send(request.as_bytes()).await);
    drop(connection);
    answers(&agent, "web.service.consul SRV", " 80 ").await;
    agent.stop().await;
}

#[tokio::test]
async fn reloads_at_the_same_time_follow_one_another() {
    let directory = Directory::new();
    let agent = TestAgent::reading(&directory).await;
    for round in 1..=5 {
        directory.write("web.json", &service("web", round));
        tokio::join!(reload(&agent), reload(&agent), reload(&agent));
        answers(&agent, "web.service.consul SRV", &format!(" {round} ")).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn programs_of_files_run_where_those_of_others_do_not() {
    let directory = Directory::new();
    let defined =
        r#"{"id": "c", "name": "c", "args": ["/bin/sh", "-c", "echo alive"], "interval": "1s"}"#;
    directory.write(
        "c.json",
        &format!(r#"{{"enable_local_script_checks": true, "check": {defined}}}"#),
    );
    let agent = TestAgent::reading(&directory).await;
    eventually(async || check(&agent, "c").await == ("passing".into(), "alive\n".into())).await;
    let reply = put(
        agent.http_address(),
        "/v1/agent/check/register",
        r#"{"Name": "d", "Args": ["true"], "Interval": "1s"}"#,
    )
    .await;
    assert_eq!(reply.status, 500, "{}", reply.text());
    agent.stop().await;
}

/// A service file whose HTTP check is answered by `address`.
fn checked(address: std::net::SocketAddr) -> String {
    TUTORIAL
        .replace(
            "http://127.0.0.1:5050/health",
            &format!("http://{address}/health"),
        )
        .replace("\"10s\"", "\"1s\"")
        .replace("\"passing\"", "\"critical\"")
}

#[tokio::test]
async fn dns_follows_the_check_of_a_service_file() {
    let directory = Directory::new();
    let agent = TestAgent::reading(&directory).await;
    // The agent's own API is a peer that answers: 404 at first, then what the file asks for.
    let address = agent.http_address();
    directory.write("hello.json", &checked(address));
    reload(&agent).await;
    eventually(async || check(&agent, "service:hello1").await.1.contains("404")).await;
    answers(&agent, "hello.service.consul SRV", "ANSWER: 0").await;
    let text = checked(address).replace("/health\"", "/v1/status/leader\"");
    directory.write("hello.json", &text);
    reload(&agent).await;
    answers(
        &agent,
        "hello.service.consul SRV",
        "5050 7f000001.addr.dc1.consul.",
    )
    .await;
    agent.stop().await;
}

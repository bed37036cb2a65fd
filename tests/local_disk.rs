//! What an agent has registered survives its end: client agents in processes of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use tokio::task::JoinSet;

use crate::cli::agent::Running;
use crate::cli::program;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::http::{get, put};

async fn start(program: &Path, directory: &Directory) -> (Running, SocketAddr) {
    let data_dir = format!("-data-dir={}", directory.0.join("data").display());
    let arguments = ["-bind=127.0.0.1", &data_dir];
    let running = Running::start(program, &arguments).await;
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, running.ports().0));
    (running, http)
}

/// Ends it as a machine without power would.
async fn kill(mut running: Running) {
    running.child.kill().await.unwrap();
}

async fn names(http: SocketAddr) -> Vec<String> {
    let services = get(http, "/v1/agent/services").await.json();
    let services = services.as_object().unwrap();
    services.keys().cloned().collect()
}

#[tokio::test]
async fn services_come_back_with_what_their_checks_said() {
    let directory = Directory::new();
    let (agent, http) = start(program(), &directory).await;
    let body = json!({
        "ID": "web-1", "Name": "web", "Port": 80, "Tags": ["a"], "Meta": {"rack": "7"},
        "Weights": {"Passing": 3, "Warning": 2}, "EnableTagOverride": true,
        "Checks": [{"CheckID": "alive", "TTL": "1h"}, {"CheckID": "late", "TTL": "1h"}],
    });
    for (path, body) in [
        ("service/register", body.to_string()),
        ("service/register", json!({"Name": "gone"}).to_string()),
        ("check/pass/alive?note=well", String::new()),
        ("service/deregister/gone", String::new()),
        ("maintenance?enable=true&reason=disks", String::new()),
    ] {
        let path = format!("/v1/agent/{path}");
        assert_eq!(put(http, &path, &body).await.status, 200, "{path}");
    }
    let before = get(http, "/v1/agent/service/web-1").await.json();
    let kept = directory.0.join("data/local/checks");
    eventually(async || std::fs::read_to_string(&kept).unwrap().contains("well")).await;
    kill(agent).await;

    let (agent, http) = start(program(), &directory).await;
    assert_eq!(names(http).await, ["web-1"]);
    assert_eq!(get(http, "/v1/agent/service/web-1").await.json(), before);
    let checks = get(http, "/v1/agent/checks").await.json();
    assert_eq!(checks["alive"]["Status"], "passing");
    assert_eq!(checks["alive"]["Output"], "well");
    assert_eq!(checks["late"]["Status"], "critical");
    assert_eq!(checks["_node_maintenance"]["Notes"], "disks");
    kill(agent).await;
}

#[tokio::test]
async fn every_registration_that_was_acknowledged_before_a_kill_is_back() {
    const CLIENTS: usize = 16;
    let directory = Directory::new();
    let (agent, http) = start(program(), &directory).await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let id = format!("s-{client}-{number}");
                let body = json!({"ID": id, "Name": "web", "Check": {"TTL": "1h"}});
                let path = "/v1/agent/service/register";
                let asked = put_until_killed(http, path, &body.to_string()).await;
                if asked != Some(200) {
                    break;
                }
                acknowledged.push(id);
            }
            acknowledged
        });
    }
    eventually(async || names(http).await.len() > 10 * CLIENTS).await;
    kill(agent).await;
    let acknowledged: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    assert!(acknowledged.len() > CLIENTS);

    let (agent, http) = start(program(), &directory).await;
    let back = names(http).await;
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|id| !back.contains(id))
        .collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    let checks = get(http, "/v1/agent/checks").await.json();
    assert_eq!(checks.as_object().unwrap().len(), back.len());
    kill(agent).await;
}

/// The status of a PUT; `None` where the agent ends before it has answered.
async fn put_until_killed(http: SocketAddr, path: &str, body: &str) -> Option<u16> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(http).await.ok()?;
    let length = body.len();
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer);
    answer.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test]
async fn what_the_disk_does_not_take_is_refused_and_changes_nothing() {
    let directory = Directory::new();
    // A file may not grow beyond 64 KiB, and writing on is an error, not the end.
    let script = format!(
        "#!/bin/sh\ntrap '' XFSZ\nulimit -f 128\nexec {} \"$@\"\n",
        program().display()
    );
    let limited = directory.write("limited", &script);
    std::fs::set_permissions(&limited, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (agent, http) = start(&limited, &directory).await;
    let tag = "x".repeat(8_000);
    let (mut taken, mut refused) = (Vec::new(), None);
    for number in 0..40 {
        let id = format!("web-{number:02}");
        let body = json!({"ID": id, "Name": "web", "Tags": [tag]});
        let answer = put(http, "/v1/agent/service/register", &body.to_string()).await;
        if answer.status != 200 {
            refused = Some((id, answer));
            break;
        }
        taken.push(id);
    }
    let (id, answer) = refused.expect("the file is full at some time");
    assert_eq!(answer.status, 500);
    let text = answer.text();
    assert!(
        text.contains("cannot be kept") && text.contains("local/registrations"),
        "{text}"
    );
    assert!(taken.len() > 2);
    assert_eq!(names(http).await, taken);
    // What has room is still taken, and a removal, too.
    let small = put(http, "/v1/agent/service/register", r#"{"Name": "z"}"#).await;
    assert_eq!(small.status, 200, "{}", small.text());
    let path = format!("/v1/agent/service/deregister/{}", taken[0]);
    assert_eq!(put(http, &path, "").await.status, 200);
    kill(agent).await;

    let (agent, http) = start(program(), &directory).await;
    let mut expected = taken.split_off(1);
    expected.push("z".to_owned());
    assert_eq!(names(http).await, expected);
    let body = json!({"ID": id, "Name": "web", "Tags": [tag]});
    let answer = put(http, "/v1/agent/service/register", &body.to_string()).await;
    assert_eq!(answer.status, 200);
    kill(agent).await;
}

#[tokio::test]
async fn a_damaged_entry_keeps_nobody_from_starting() {
    let directory = Directory::new();
    let (agent, http) = start(program(), &directory).await;
    for name in ["one", "two", "three"] {
        let body = json!({"Name": name}).to_string();
        assert_eq!(
            put(http, "/v1/agent/service/register", &body).await.status,
            200
        );
    }
    kill(agent).await;
    let path = directory.0.join("data/local/registrations");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("two", "tw0")).unwrap();

    let (agent, http) = start(program(), &directory).await;
    assert_eq!(names(http).await, ["one", "three"]);
    // What could not be read is kept for people to look at.
    let damaged = directory.0.join("data/local/registrations.damaged");
    let damaged = std::fs::read_to_string(damaged).unwrap();
    assert!(damaged.contains("tw0"), "{damaged}");
    kill(agent).await;
}

#[tokio::test]
async fn a_second_agent_on_the_same_directory_does_not_start() {
    let directory = Directory::new();
    let (agent, http) = start(program(), &directory).await;
    let data_dir = format!("-data-dir={}", directory.0.join("data").display());
    let second = crate::cli::herald(&[
        "agent",
        "-bind=127.0.0.1",
        "-dns-port=0",
        "-http-port=0",
        "-node=n2",
        "-serf-lan-port=0",
        "-serf-wan-port=0",
        &data_dir,
    ])
    .await;
    let said = format!("{}{}", second.out, second.err);
    assert!(
        second.code == 1 && said.contains("is in use by another agent"),
        "{said}"
    );
    assert!(names(http).await.is_empty());
    kill(agent).await;
}

mod deregistration_at_the_catalog {
    use super::*;
    use crate::support::agent::TestAgent;

    #[tokio::test]
    async fn the_answer_names_the_agent_that_brings_it_back() {
        let agent = TestAgent::settled().await;
        agent
            .register(json!({"Name": "web", "Check": {"TTL": "1h"}}))
            .await;
        let http = agent.http_address();
        let path = "/v1/catalog/deregister";
        for body in [
            json!({"Node": "n1", "CheckID": "service:web"}),
            json!({"Node": "n1", "ServiceID": "web"}),
        ] {
            let answer = put(http, path, &body.to_string()).await;
            assert_eq!((answer.status, answer.text().trim()), (200, "true"));
            assert_eq!(answer.header("X-Herald-Owner"), Some("n1"), "{body}");
        }
        // Nobody has these, or nobody is there who could bring them back.
        agent
            .register_in_catalog(json!({"Node": "dark", "Address": "10.0.0.9"}))
            .await;
        for body in [
            json!({"Node": "n1", "ServiceID": "nothing"}),
            json!({"Node": "nowhere"}),
            json!({"Node": "dark"}),
        ] {
            let answer = put(http, path, &body.to_string()).await;
            assert_eq!((answer.status, answer.text().trim()), (200, "true"));
            assert_eq!(answer.header("X-Herald-Owner"), None, "{body}");
        }
        agent.stop().await;
    }
}

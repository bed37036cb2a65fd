//! `herald watch`.

use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::process::Child;

use super::{LIMIT, ask, command, herald, program, signal};
use crate::support::agent::TestAgent;
use crate::support::directory::Directory;
use crate::support::eventually;
use crate::support::script::{Script, indexed, status};

fn start(address: &str, arguments: &[&str]) -> Child {
    let address = format!("-http-addr={address}");
    command(program(), &[&["watch", &address], arguments].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn code(mut child: Child) -> Option<i32> {
    let status = tokio::time::timeout(LIMIT, child.wait()).await;
    status.expect("it ends in time").unwrap().code()
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn without_a_program_a_view_is_shown_once() {
    let agent = TestAgent::start().await;
    let service = json!({"Name": "web", "Tags": ["v1"], "Check": {"TTL": "1h", "Status": "warning",
        "Name": "<alive>"}});
    agent.register(service).await;
    let shown = "{\n    \"consul\": [],\n    \"web\": [\n        \"v1\"\n    ]\n}\n";
    ask(&agent, "watch -type services").await.is(0, shown, "");
    let finished = ask(&agent, "watch -type=service -service=web -tag=v2").await;
    finished.is(0, "[]\n", "");
    let finished = ask(&agent, "watch -type=service -service=web -passingonly true").await;
    finished.is(0, "[]\n", "");
    let finished = ask(&agent, "watch -type=service -service=web").await;
    let found: serde_json::Value = serde_json::from_str(&finished.out).unwrap();
    assert_eq!(found[0]["Service"]["Service"], "web");
    // In the order of the API, not of the alphabet.
    assert!(
        finished.out.starts_with("[\n    {\n        \"Node\": {\n"),
        "{}",
        finished.out
    );
    let finished = ask(&agent, "watch -type=nodes").await;
    assert!(
        finished.out.contains("\n        \"Node\": \"n1\",\n"),
        "{}",
        finished.out
    );
    let finished = ask(&agent, "watch -type=checks -state=warning").await;
    assert!(
        finished.out.contains("\"Name\": \"\\u003calive\\u003e\""),
        "{}",
        finished.out
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_program_is_run_now_and_at_each_change() {
    let agent = TestAgent::start().await;
    let directory = Directory::new();
    let (seen, indexes) = (directory.0.join("seen"), directory.0.join("indexes"));
    let program = format!(
        "cat >>{}; echo $CONSUL_INDEX >>{}",
        seen.display(),
        indexes.display()
    );
    // An empty catalog and the first entry, the agent itself, have the same index.
    eventually(async || ask(&agent, "catalog services").await.out == "consul\n").await;
    let address = agent.http_address().to_string();
    let child = start(&address, &["-type=services", &program]);
    let last = || lines(&seen).pop().unwrap_or_default();
    eventually(async || last() == "{\"consul\":[]}").await;
    agent.register(json!({"Name": "web", "Tags": ["v1"]})).await;
    eventually(async || last() == "{\"consul\":[],\"web\":[\"v1\"]}").await;
    eventually(async || lines(&indexes).len() == lines(&seen).len()).await;
    let indexes = lines(&indexes);
    let indexes: Vec<u64> = indexes.iter().map(|line| line.parse().unwrap()).collect();
    assert!(
        indexes.len() >= 2 && indexes.is_sorted_by(|one, next| one < next),
        "{indexes:?}"
    );
    signal(child.id().unwrap(), "INT").await;
    assert_eq!(code(child).await, Some(0));
    agent.stop().await;
}

#[tokio::test]
async fn an_index_that_goes_back_begins_again() {
    let mut script = Script::start(vec![
        indexed(10, "{\"a\":[]}"),
        // A new index, but the same content: no reason to run anything.
        indexed(11, "{\"a\":[]}"),
        indexed(5, "{\"b\":[]}"),
        indexed(5, "{\"b\":[]}"),
        indexed(6, "{\"c\":[]}"),
    ])
    .await;
    let directory = Directory::new();
    let seen = directory.0.join("seen");
    let program = format!("echo $CONSUL_INDEX $(cat) >>{}", seen.display());
    let child = start(&script.address.to_string(), &["-type=services", &program]);
    for query in [
        "",
        "?index=10&wait=300s",
        "?index=11&wait=300s",
        "",
        "?index=5&wait=300s",
    ] {
        let request = script.request().await;
        let expected = format!("GET /v1/catalog/services{query} HTTP/1.1");
        assert_eq!(request.lines().next(), Some(expected.as_str()));
    }
    eventually(async || lines(&seen).len() == 3).await;
    assert_eq!(
        lines(&seen),
        ["10 {\"a\":[]}", "5 {\"b\":[]}", "6 {\"c\":[]}"]
    );
    signal(child.id().unwrap(), "TERM").await;
    assert_eq!(code(child).await, Some(0));
}

#[tokio::test]
async fn after_an_error_it_waits_and_goes_on_until_the_program_fails() {
    let script = Script::start(vec![
        indexed(10, "{\"a\":[]}"),
        status("500 Internal Server Error", "No cluster leader"),
        indexed(11, "{\"b\":[]}"),
    ])
    .await;
    let address = format!("-http-addr={}", script.address);
    let words = ["test $CONSUL_INDEX", "= 10"];
    let finished = herald(&[&["watch", &address, "-type=services"], &words[..]].concat()).await;
    finished.is(
        1,
        "",
        "Error querying agent: Unexpected response code: 500 (No cluster leader); trying again in \
         1s\nError executing handler: exit status: 1\n",
    );
}

#[tokio::test]
async fn without_a_shell_words_are_arguments() {
    let script = Script::start(vec![indexed(10, "{}")]).await;
    let address = format!("-http-addr={}", script.address);
    let watch = ["watch", &address, "-type=services", "-shell=false"];
    let program = [
        "sh",
        "-c",
        "printf '%s|' \"$@\"; exit 3",
        "x",
        "a b",
        "$HOME",
    ];
    let finished = herald(&[&watch[..], &program].concat()).await;
    finished.is(1, "a b|$HOME|", "Error executing handler: exit status: 3\n");
    let script = Script::start(vec![indexed(10, "{}")]).await;
    let address = format!("-http-addr={}", script.address);
    let watch = [
        "watch",
        &address,
        "-type=services",
        "-shell=false",
        "/nowhere/x",
    ];
    let text = "Error executing handler \"/nowhere/x\": No such file or directory (os error 2)\n";
    herald(&watch).await.is(1, "", text);
}

#[tokio::test]
async fn an_agent_that_cannot_be_asked_at_first_is_an_error() {
    let text = "Error querying agent: Get \"http://127.0.0.1:9/v1/catalog/nodes\": dial tcp \
                127.0.0.1:9: connect: connection refused\n";
    let arguments = ["watch", "-http-addr=127.0.0.1:9", "-type=nodes", "true"];
    herald(&arguments).await.is(1, "", text);
    let finished = herald(&["watch", "-type=key"]).await;
    finished.is(1, "", "-type=key is not offered: herald stores no keys\n");
}

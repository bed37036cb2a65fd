//! `herald monitor`, against an agent, and against servers that do what no agent does on demand.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;

use super::agent::Running;
use super::{LIMIT, command, herald, program, signal};
use crate::support::eventually;
use crate::support::script::{Script, head, status};

const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(line: &str) -> String {
    format!("{:x}\r\n{line}\r\n", line.len())
}

/// A monitor whose server holds the stream open, after its first line was shown.
async fn watching() -> (Child, TcpStream, BufReader<tokio::process::ChildStdout>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("-http-addr={}", listener.local_addr().unwrap());
    let mut child = command(program(), &["monitor", &address])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    head(&mut stream).await;
    let first = HEAD.to_owned() + &chunk("one\n");
    stream.write_all(first.as_bytes()).await.unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let read = tokio::time::timeout(LIMIT, out.read_line(&mut line)).await;
    read.expect("a line is shown at once").unwrap();
    assert_eq!(line, "one\n");
    (child, stream, out)
}

async fn code(mut child: Child) -> Option<i32> {
    let status = tokio::time::timeout(LIMIT, child.wait()).await;
    status.expect("it ends in time").unwrap().code()
}

#[tokio::test]
async fn what_a_terminal_would_carry_out_is_shown_escaped_except_in_json() {
    let json = "{\"message\":\"\\u001b\u{7f}\"}\n";
    for (format, sent, shown) in [
        (&[][..], "a\u{1b}[2J\tü\r\n", "a\\u{1b}[2J\tü\\r\n"),
        (&["-log-json"], json, json),
    ] {
        let end = HEAD.to_owned() + &chunk(sent) + "0\r\n\r\n";
        let script = Script::start(vec![end]).await;
        let address = format!("-http-addr={}", script.address);
        let finished = herald(&[&["monitor", &address], format].concat()).await;
        assert_eq!(finished.out, shown);
    }
}

#[tokio::test]
async fn flags_become_parameters() {
    for (arguments, expected) in [
        (&[][..], "GET /v1/agent/monitor?loglevel=info HTTP/1.1"),
        (
            &["-log-level=DEBUG", "-log-json"],
            "GET /v1/agent/monitor?loglevel=debug&logjson HTTP/1.1",
        ),
    ] {
        let end = HEAD.to_owned() + &chunk("a\n") + &chunk("b\n") + "0\r\n\r\n";
        let mut script = Script::start(vec![end]).await;
        let address = format!("-http-addr={}", script.address);
        let finished = herald(&[&["monitor", &address], arguments].concat()).await;
        let text = "The agent ended the log: it has stopped or crashed.\n";
        finished.is(1, "a\nb\n", text);
        let request = script.request().await;
        assert_eq!(request.lines().next(), Some(expected));
    }
}

#[tokio::test]
async fn an_interruption_ends_it_well() {
    for name in ["INT", "TERM"] {
        let (child, stream, mut out) = watching().await;
        signal(child.id().unwrap(), name).await;
        assert_eq!(code(child).await, Some(0));
        let mut rest = String::new();
        out.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "");
        drop(stream);
    }
}

#[tokio::test]
async fn it_ends_with_its_reader() {
    let (mut child, mut stream, out) = watching().await;
    drop(out);
    let more = chunk("two\n");
    eventually(async || {
        // It may be gone already.
        drop(stream.write_all(more.as_bytes()).await);
        child.try_wait().unwrap().is_some()
    })
    .await;
    assert_eq!(code(child).await, Some(0));
}

#[tokio::test]
async fn a_refusal_is_shown() {
    let text = "Bad request: Unknown log level: bogus";
    let script = Script::start(vec![status("400 Bad Request", text)]).await;
    let address = format!("-http-addr={}", script.address);
    let finished = herald(&["monitor", "-log-level", "bogus", &address]).await;
    let shown = format!("Error starting monitor: Unexpected response code: 400 ({text})\n");
    finished.is(1, "", &shown);
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error() {
    let script = Script::start(vec![HEAD.to_owned() + &chunk("a\n")]).await;
    let address = format!("-http-addr={}", script.address);
    let finished = herald(&["monitor", &address]).await;
    assert_eq!((finished.code, finished.out.as_str()), (1, "a\n"));
    assert!(
        finished.err.starts_with("Error starting monitor: Get "),
        "{}",
        finished.err
    );
}

#[tokio::test]
async fn the_log_of_a_real_agent_is_shown_at_the_level_asked_for() {
    let agent = Running::start(program(), &["-dev", "-log-level=error"]).await;
    let address = format!("-http-addr=127.0.0.1:{}", agent.ports().0);
    let mut child = command(program(), &["monitor", &address, "-log-level=info"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Each request may come before the monitor listens; one of them is heard.
    let line = tokio::time::timeout(LIMIT, async {
        loop {
            let name = "-name=a_b.c";
            herald(&["services", "register", &address, name]).await;
            herald(&["services", "deregister", &address, "-id=a_b.c"]).await;
            let soon = std::time::Duration::from_millis(500);
            while let Ok(line) = tokio::time::timeout(soon, lines.next_line()).await {
                let line = line.unwrap().unwrap();
                if line.contains("[WARN]") {
                    return line;
                }
            }
        }
    });
    let line = line.await.expect("the agent logs something");
    let part = "[WARN]  local: the service's name is no host name";
    assert!(line.contains(part), "{line}");
    agent.end("TERM").await;
    let finished = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
    let finished = finished.expect("it ends with the agent").unwrap();
    assert_eq!(finished.status.code(), Some(1));
    let said = String::from_utf8(finished.stderr).unwrap();
    assert_eq!(
        said,
        "The agent ended the log: it has stopped or crashed.\n"
    );
}

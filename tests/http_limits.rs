//! The bounds of the HTTP API: what floods, drips and lies get, and that the next good request is
//! answered.

use std::time::Duration;

use herald::http::Config;

use crate::support::http::{Connection, get, put};
use crate::support::parts::{Parts, config};

async fn limited(change: impl FnOnce(&mut Config)) -> Parts {
    let mut config = config();
    change(&mut config);
    Parts::start_with(config, false).await
}

async fn is_well(parts: &Parts) {
    let body = r#"{"Node":"a","Address":"10.0.0.1"}"#;
    assert_eq!(
        put(parts.address, "/v1/catalog/register", body)
            .await
            .text(),
        "true"
    );
}

fn counted(parts: &Parts, limit: &str) -> bool {
    let line = format!("herald_http_limits_total{{limit=\"{limit}\"}} 1");
    parts.metrics.text().contains(&line)
}

#[tokio::test]
async fn a_body_past_the_limit_is_413() {
    let parts = Parts::start().await;
    let exact = format!(
        "{{\"Node\":\"a\",\"Address\":\"10.0.0.1\"}}{}",
        " ".repeat(2 * 1024 * 1024 - 33)
    );
    assert_eq!(exact.len(), 2 * 1024 * 1024);
    assert_eq!(
        put(parts.address, "/v1/catalog/register", &exact)
            .await
            .text(),
        "true"
    );
    let reply = put(parts.address, "/v1/catalog/register", &format!("{exact} ")).await;
    assert_eq!(reply.status, 413);
    assert_eq!(
        reply.text(),
        "request body has 2097153 octets, at most 2097152 are allowed"
    );
    assert_eq!(reply.header("Connection"), Some("close"));
    assert!(counted(&parts, "Body"));
    is_well(&parts).await;
}

#[tokio::test]
async fn a_lying_content_length_is_413_at_once() {
    let parts = Parts::start().await;
    for method in ["PUT", "GET"] {
        let mut connection = Connection::open(parts.address).await;
        let text = format!(
            "{method} /v1/catalog/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000000000\r\n\r\n",
            if method == "PUT" { "register" } else { "nodes" }
        );
        connection.send(text.as_bytes()).await;
        assert_eq!(connection.reply().await.unwrap().status, 413);
        assert!(connection.is_closed().await);
    }
    is_well(&parts).await;
}

#[tokio::test]
async fn chunks_without_end_are_413() {
    let parts = Parts::start().await;
    let mut connection = Connection::open(parts.address).await;
    let head = "PUT /v1/catalog/register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.send(head.as_bytes()).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..100 {
        if !connection.send(chunk.as_bytes()).await {
            break;
        }
    }
    assert_eq!(connection.reply().await.unwrap().status, 413);
    let mut connection = Connection::open(parts.address).await;
    connection.send(format!("{head}zz\r\n").as_bytes()).await;
    assert_eq!(connection.reply().await.unwrap().status, 400);
    is_well(&parts).await;
}

#[tokio::test]
async fn a_huge_header_is_431() {
    let parts = Parts::start().await;
    let mut connection = Connection::open(parts.address).await;
    let text = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(10_000_000)
    );
    connection.send(text.as_bytes()).await;
    assert_eq!(connection.reply().await.unwrap().status, 431);
    let mut connection = Connection::open(parts.address).await;
    let text = format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(101));
    connection.send(text.as_bytes()).await;
    assert_eq!(connection.reply().await.unwrap().status, 431);
    assert!(
        parts
            .metrics
            .text()
            .contains("herald_http_limits_total{limit=\"Header\"} 2")
    );
    is_well(&parts).await;
}

#[tokio::test]
async fn a_slow_body_is_408() {
    let parts = limited(|config| config.body_deadline = Duration::from_millis(50)).await;
    let mut connection = Connection::open(parts.address).await;
    let text = "PUT /v1/catalog/register HTTP/1.1\r\nHost: x\r\nContent-Length: 33\r\n\r\n{";
    connection.send(text.as_bytes()).await;
    let reply = connection.reply().await.unwrap();
    assert_eq!(
        (reply.status, reply.header("Connection")),
        (408, Some("close"))
    );
    assert!(reply.text().contains("50ms"));
    assert!(connection.is_closed().await);
    assert!(counted(&parts, "BodyTime"));
    is_well(&parts).await;
}

#[tokio::test]
async fn slow_headers_get_408_and_idle_connections_are_closed() {
    let parts = limited(|config| {
        config.header_deadline = Duration::from_millis(50);
        config.idle_deadline = Duration::from_millis(100);
    })
    .await;
    let mut slow = Connection::open(parts.address).await;
    slow.send(b"GET / HTTP/1.1\r\n").await;
    assert_eq!(slow.reply().await.unwrap().status, 408);
    assert!(slow.is_closed().await);
    assert!(counted(&parts, "HeaderTime"));
    let mut idle = Connection::open(parts.address).await;
    idle.send(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(idle.reply().await.unwrap().status, 200);
    assert!(idle.is_closed().await);
    assert!(counted(&parts, "IdleTime"));
    is_well(&parts).await;
}

#[tokio::test]
async fn connections_past_the_limits_are_turned_away() {
    let parts = limited(|config| config.client_connections_max = 2).await;
    let mut first = Connection::open(parts.address).await;
    first
        .send(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(first.reply().await.unwrap().status, 200);
    let second = Connection::open(parts.address).await;
    let mut third = Connection::open(parts.address).await;
    let reply = third.reply().await.unwrap();
    assert_eq!(
        (reply.status, reply.header("Retry-After")),
        (429, Some("1"))
    );
    assert!(third.is_closed().await);
    drop(second);
    crate::support::eventually(async || parts.metrics.text().contains("herald_http_connections 1"))
        .await;
    is_well(&parts).await;

    let parts = limited(|config| config.connections_max = 1).await;
    let _first = Connection::open(parts.address).await;
    let mut second = Connection::open(parts.address).await;
    assert_eq!(second.reply().await.unwrap().status, 503);
    assert!(counted(&parts, "Connections"));
}

#[tokio::test]
async fn bodies_of_all_requests_share_a_bound() {
    let parts = limited(|config| config.bodies_octets_max = 100).await;
    let mut first = Connection::open(parts.address).await;
    let head = "PUT /v1/catalog/register HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n";
    first
        .send(format!("{head}{}", " ".repeat(80)).as_bytes())
        .await;
    let body = format!(
        "{{\"Node\":\"a\",\"Address\":\"10.0.0.1\"}}{}",
        " ".repeat(60)
    );
    crate::support::eventually(async || {
        put(parts.address, "/v1/catalog/register", &body)
            .await
            .status
            == 503
    })
    .await;
    drop(first);
    crate::support::eventually(async || {
        put(parts.address, "/v1/catalog/register", &body)
            .await
            .status
            == 200
    })
    .await;
}

#[tokio::test]
async fn garbage_is_400_and_pipelined_requests_are_answered_in_order() {
    let parts = Parts::start().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut connection = Connection::open(parts.address).await;
        connection.send(garbage).await;
        let status = connection.reply().await.unwrap().status;
        assert_eq!(status, 400, "{}", String::from_utf8_lossy(garbage));
    }
    let mut connection = Connection::open(parts.address).await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let both = request("/v1/catalog/datacenters") + &request("/v1/status/leader");
    connection.send(both.as_bytes()).await;
    assert_eq!(connection.reply().await.unwrap().text(), "[\"dc1\"]");
    assert_eq!(
        connection.reply().await.unwrap().text(),
        "\"127.0.0.1:8300\""
    );
    assert_eq!(get(parts.address, "/v1/nope").await.status, 404);
}

#[tokio::test]
async fn a_client_that_closes_its_half_learns_what_became_of_its_request() {
    let parts = Parts::start().await;
    for number in 0..20 {
        let body = format!(r#"{{"Node": "n{number}", "Address": "10.0.0.1"}}"#);
        let mut connection = Connection::open(parts.address).await;
        let text = format!(
            "PUT /v1/catalog/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert!(connection.send(text.as_bytes()).await);
        connection.finish_sending().await;
        let reply = connection.reply_to("PUT").await.expect("an answer");
        assert_eq!((reply.status, reply.text().as_str()), (200, "true"));
        assert!(connection.is_closed().await);
    }
}

//! gRPC health protocol and HTTP/2 ping.

use std::time::Duration;

use herald::health::{Roots, RunnerConfig, Settings};
use herald::types::Status;
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, Response};
use tokio::io::AsyncReadExt as _;

use super::{assert_critical, run, run_with, said, settings};
use crate::support::peers::{Accepted, Identity, Peer, answer, nobody};

/// What the health server of the tests says about each service.
fn status_of(service: &[u8]) -> Result<u8, &'static str> {
    match service {
        b"" | b"web" => Ok(1),
        b"down" => Ok(2),
        b"strange" => Ok(99),
        b"broken" => Err("13"),
        _ => Err("5"),
    }
}

/// A gRPC server with the health service.
async fn serve_health(stream: Accepted) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let call = async {
            let (message, headers) = read_call(request).await;
            assert_eq!(headers.get("content-type").unwrap(), "application/grpc");
            assert_eq!(headers.get("te").unwrap(), "trailers");
            // Prefix, then field 1 with its length, which is left out where empty.
            let service = message.get(7..).unwrap_or_default();
            let head = Response::builder().header("content-type", "application/grpc");
            let mut trailers = HeaderMap::new();
            match status_of(service) {
                Ok(status) => {
                    let mut body = respond
                        .send_response(head.body(()).unwrap(), false)
                        .unwrap();
                    let message = vec![0, 0, 0, 0, 2, 8, status];
                    body.send_data(Bytes::from(message), false).unwrap();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    body.send_trailers(trailers).unwrap();
                }
                // Without a message, the outcome stands among the headers.
                Err(code) => {
                    let head = head.header("grpc-status", code);
                    let head = head.header("grpc-message", "no such thing");
                    respond.send_response(head.body(()).unwrap(), true).unwrap();
                }
            }
        };
        // The connection moves on only while it is asked for the next request.
        tokio::select! {
            () = call => {}
            _ = std::future::poll_fn(|context| connection.poll_closed(context)) => return,
        }
    }
}

async fn read_call(request: Request<h2::RecvStream>) -> (Vec<u8>, HeaderMap) {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    let (head, mut body) = request.into_parts();
    let mut octets = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        octets.extend_from_slice(&data);
    }
    (octets, head.headers)
}

fn grpc(target: String) -> Settings {
    settings(|settings| settings.grpc = target)
}

fn ping(target: String, tls: bool) -> Settings {
    settings(|settings| (settings.h2ping, settings.h2ping_use_tls) = (target, tls))
}

#[tokio::test]
async fn a_grpc_server_tells_the_health_of_each_service() {
    let peer = Peer::start(None, serve_health).await;
    let address = peer.address;
    for (target, expected) in [
        (
            format!("{address}"),
            format!("passing gRPC check {address}: success"),
        ),
        (
            format!("{address}/web"),
            format!("passing gRPC check {address}/web: success"),
        ),
        (
            format!("{address}/down"),
            format!("critical gRPC check {address}/down: the service is NOT_SERVING"),
        ),
        (
            format!("{address}/strange"),
            format!(
                "critical gRPC check {address}/strange: the service is in the unknown state 99"
            ),
        ),
        (
            format!("{address}/nope"),
            format!("critical gRPC check {address}/nope: unknown service"),
        ),
        (
            format!("{address}/broken"),
            format!("critical gRPC check {address}/broken: code 13: no such thing"),
        ),
    ] {
        assert_eq!(said(&run(grpc(target)).await), expected);
    }
}

#[tokio::test]
async fn a_grpc_check_over_tls_wants_a_certificate_that_it_can_trust() {
    let identity = Identity::new("web.example", b"h2");
    let peer = Peer::start(Some(&identity), serve_health).await;
    let mut check = grpc(peer.address.to_string());
    check.grpc_use_tls = true;
    assert_critical(&run(check.clone()).await, "tls: ");
    let mut any = check.clone();
    any.tls_skip_verify = true;
    assert_eq!(run(any).await.status, Status::Passing);
    check.tls_server_name = "web.example".to_owned();
    let trusting = RunnerConfig {
        roots: Roots::Given(vec![identity.certificate.clone()]),
        ..RunnerConfig::default()
    };
    let report = run_with(trusting, check).await;
    assert_eq!(report.status, Status::Passing, "{}", report.output);
}

#[tokio::test]
async fn a_peer_that_speaks_no_grpc_is_critical() {
    let http = Peer::http(None, |_| answer("200 OK", "")).await;
    assert_critical(&run(grpc(http.address.to_string())).await, "gRPC check");
    let refused = run(grpc(nobody().to_string())).await;
    assert_critical(&refused, "connection refused");
    let identity = Identity::new("web.example", b"http/1.1");
    let old = Peer::http(Some(&identity), |_| answer("200 OK", "")).await;
    let mut check = grpc(old.address.to_string());
    (check.grpc_use_tls, check.tls_skip_verify) = (true, true);
    assert_critical(&run(check).await, "tls: ");
}

#[tokio::test]
async fn a_grpc_server_that_hangs_takes_no_longer_than_the_time_out() {
    let peer = Peer::start(None, |mut stream| async move {
        while matches!(stream.read(&mut [0; 512]).await, Ok(1..)) {}
    })
    .await;
    let mut check = grpc(peer.address.to_string());
    check.timeout = Duration::from_millis(300);
    assert_critical(&run(check).await, "no answer within 300ms");
    let mut check = ping(peer.address.to_string(), false);
    check.timeout = Duration::from_millis(300);
    assert_critical(&run(check).await, "HTTP2 ping failed");
}

#[tokio::test]
async fn an_http2_server_answers_a_ping() {
    let plain = Peer::start(None, serve_health).await;
    let report = run(ping(plain.address.to_string(), false)).await;
    assert_eq!(said(&report), "passing HTTP2 ping was successful");
    let identity = Identity::new("web.example", b"h2");
    let secured = Peer::start(Some(&identity), serve_health).await;
    let check = ping(secured.address.to_string(), true);
    assert_critical(&run(check.clone()).await, "tls: ");
    let mut any = check;
    any.tls_skip_verify = true;
    assert_eq!(said(&run(any).await), "passing HTTP2 ping was successful");
}

#[tokio::test]
async fn a_peer_that_speaks_no_http2_answers_no_ping() {
    let http = Peer::http(None, |_| answer("400 Bad Request", "")).await;
    let report = run(ping(http.address.to_string(), false)).await;
    assert_critical(&report, "HTTP2 ping failed");
    let refused = run(ping(nobody().to_string(), true)).await;
    assert_critical(&refused, "Failed to dial to");
}

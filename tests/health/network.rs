//! TCP and UDP.

use std::time::Duration;

use herald::health::Settings;
use herald::types::Status;
use tokio::net::UdpSocket;

use super::{assert_critical, run, said, settings};
use crate::support::peers::{Peer, nobody};

fn tcp(target: String) -> Settings {
    settings(|settings| settings.tcp = target)
}

fn udp(target: String) -> Settings {
    settings(|settings| settings.udp = target)
}

#[tokio::test]
async fn a_tcp_peer_that_accepts_is_passing() {
    let peer = Peer::start(None, |_| async {}).await;
    let address = peer.address;
    assert_eq!(
        said(&run(tcp(address.to_string())).await),
        format!("passing TCP connect {address}: Success")
    );
    let port = address.port();
    let by_name = run(tcp(format!("localhost:{port}"))).await;
    assert_eq!(
        said(&by_name),
        format!("passing TCP connect localhost:{port}: Success")
    );
}

#[tokio::test]
async fn a_tcp_peer_that_is_not_there_is_critical() {
    let address = nobody();
    assert_eq!(
        said(&run(tcp(address.to_string())).await),
        format!("critical dial tcp {address}: connect: connection refused")
    );
    assert_critical(&run(tcp("127.0.0.1".to_owned())).await, "missing port");
    let unknown = run(tcp("no-such-host.invalid:80".to_owned())).await;
    assert_critical(&unknown, "lookup no-such-host.invalid");
}

#[tokio::test]
async fn a_tcp_peer_that_never_answers_takes_no_longer_than_the_time_out() {
    // A queue of connections that is full: further ones are neither accepted nor refused.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let connect = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(300), connect).await {
            Ok(stream) => waiting.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    let mut check = tcp(address.to_string());
    check.timeout = Duration::from_millis(300);
    assert_eq!(
        said(&run(check).await),
        format!("critical dial tcp {address}: i/o timeout")
    );
}

#[tokio::test]
async fn only_a_refusal_fails_a_udp_check() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let report = run(udp(address.to_string())).await;
    assert_eq!(
        said(&report),
        format!("passing UDP connect {address}: Success")
    );
    let mut octets = [0; 16];
    let (length, from) = silent.recv_from(&mut octets).await.unwrap();
    assert_eq!(length, 0, "the datagram says nothing");
    assert!(from.ip().is_loopback());
    drop(silent);
    let refused = run(udp(address.to_string())).await;
    assert_critical(&refused, "connection refused");
}

#[tokio::test]
async fn a_udp_peer_that_answers_is_passing() {
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = peer.local_addr().unwrap();
    let answer = async {
        let (_, from) = peer.recv_from(&mut [0; 16]).await.unwrap();
        peer.send_to(b"pong", from).await.unwrap();
    };
    let (report, ()) = tokio::join!(run(udp(address.to_string())), answer);
    assert_eq!(report.status, Status::Passing);
}

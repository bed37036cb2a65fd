//! Strangers who send what they should not.

use std::net::SocketAddr;
use std::time::Duration;

use herald::types::MemberStatus::Alive;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::{Node, setup};
use crate::support::eventually;

/// Random octets from a seed, so that a failure can be repeated.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // Xorshift: good enough to hit every branch of a decoder.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    /// One of the first octets that mean something, then noise.
    fn message(&mut self) -> Vec<u8> {
        let length = usize::try_from(self.next() % 600).unwrap();
        let mut octets = self.octets(length);
        if let Some(first) = octets.first_mut() {
            *first %= 16;
        }
        octets
    }
}

async fn connect_from(ip: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((ip, 0)))?;
    socket.connect(to).await
}

/// Whether the other side closes, or has closed, within the time of a test.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .is_ok()
}

#[tokio::test]
async fn noise_changes_nothing() {
    let nodes = Node::cluster(["a", "b"], 110).await;
    let before = nodes[0].pool.members();
    let stranger = UdpSocket::bind("127.0.21.112:0").await.unwrap();
    let seed = 0x9e37_79b9_7f4a_7c15;
    let mut noise = Noise(seed);
    let received = "herald_gossip_packets_received_total{pool=\"lan\"}";
    let start = nodes[0].figure(received);
    for sent in 1..=4_000 {
        let octets = noise.message();
        stranger.send_to(&octets, nodes[0].address()).await.unwrap();
        // No faster than they are read: what the kernel drops tests nothing.
        if sent % 100 == 0 {
            let expected = start + f64::from(sent) * 0.9;
            eventually(async || nodes[0].figure(received) >= expected).await;
        }
    }
    for _ in 0..200 {
        let mut stream = connect_from([127, 0, 21, 112], nodes[0].address())
            .await
            .unwrap();
        let octets = noise.message();
        // It may close before it has read all.
        let _ = stream.write_all(&octets).await;
        let _ = stream.shutdown().await;
        assert!(is_closed(&mut stream).await, "seed {seed}");
    }
    nodes[0].pool.fire("still there", b"", false).await.unwrap();
    assert_eq!(nodes[0].pool.members(), before);
    assert_eq!(nodes[1].pool.members(), before);
    let malformed = "herald_gossip_dropped_total{pool=\"lan\",reason=\"malformed\"}";
    assert!(nodes[0].figure(malformed) > 1_000.0);
    for node in nodes {
        node.kill().await;
    }
}

#[tokio::test]
async fn one_that_cannot_be_read_is_told_so() {
    let node = setup("a", 115).start();
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    // A message type that streams do not know.
    stream.write_all(&[0x63, 1, 2, 3]).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // Compressed, as everything that this node sends.
    assert_eq!(answer.first(), Some(&9), "{answer:?}");
    node.kill().await;
}

#[tokio::test]
async fn a_slow_stream_is_closed() {
    let mut slow = setup("a", 120);
    slow.config.swim.stream_deadline = Duration::from_millis(300);
    let node = slow.start();
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.write_all(&[6]).await.unwrap();
    assert!(is_closed(&mut stream).await);
    let timed_out = "herald_gossip_streams_total{pool=\"lan\",end=\"timed_out\"}";
    eventually(async || node.figure(timed_out) >= 1.0).await;
    node.kill().await;
}

#[tokio::test]
async fn the_129th_stream_and_the_ninth_of_one_address_are_closed() {
    let mut patient = setup("a", 125);
    patient.config.swim.stream_deadline = Duration::from_secs(60);
    let node = patient.start();
    let mut open = Vec::new();
    for last in 130..146 {
        for _ in 0..8 {
            let stream = connect_from([127, 0, 21, last], node.address()).await;
            open.push(stream.unwrap());
        }
        if last == 130 {
            let mut ninth = connect_from([127, 0, 21, last], node.address())
                .await
                .unwrap();
            assert!(is_closed(&mut ninth).await);
        }
    }
    let mut one_more = connect_from([127, 0, 21, 147], node.address())
        .await
        .unwrap();
    assert!(is_closed(&mut one_more).await);
    let too_many = "herald_gossip_streams_total{pool=\"lan\",end=\"too_many\"}";
    assert!((node.figure(too_many) - 2.0).abs() < f64::EPSILON);
    // There is room again once they are gone.
    drop(open);
    let other = setup("b", 126).start();
    let target = [node.address().to_string()];
    eventually(async || other.pool.join(&target, false).await.reached == 1).await;
    other.sees("a", Alive).await;
    node.kill().await;
    other.kill().await;
}

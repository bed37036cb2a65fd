//! A server for tests of those who call: sessions on a real socket, one method for each way in which
//! a call may end, and a record of what it has seen.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::codec::{Budget, Incoming, RequestHeader, ResponseHeader};
use super::octet;
use super::yamux::{self, Settings, Stream};
use crate::clock;
use crate::task::Tasks;

/// Longest wait for what must come at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// An empty request.
pub(super) const NOTHING: &[u8] = &[0x80];

/// A deadline that no test reaches unless time is paused.
pub(super) fn later() -> Instant {
    clock::now() + Duration::from_secs(60)
}

/// What a server has seen until now.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) connections: usize,
    /// Connections that have ended.
    pub(super) closed: usize,
    pub(super) streams: usize,
    /// Streams that clients finished.
    pub(super) finished: usize,
    /// Streams that broke, or ended with their connection.
    pub(super) reset: usize,
    /// Methods that were called, in their order.
    pub(super) calls: Vec<String>,
}

impl Seen {
    /// How often a method was called.
    pub(super) fn count(&self, method: &str) -> usize {
        self.calls.iter().filter(|it| *it == method).count()
    }
}

/// A running server.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    seen: watch::Sender<Seen>,
    tasks: Tasks,
    /// Ends connections, and lets no more in.
    down: CancellationToken,
}

impl TestServer {
    /// Answers on a free port.
    pub(super) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    /// Answers at an address.
    pub(super) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            seen: watch::Sender::default(),
            tasks: Tasks::new(),
            down: CancellationToken::new(),
        };
        let (seen, tasks, down) = (
            server.seen.clone(),
            server.tasks.clone(),
            server.down.clone(),
        );
        server.tasks.spawn(async move {
            while let Some(Ok((connection, _))) = down.run_until_cancelled(listener.accept()).await
            {
                seen.send_modify(|seen| seen.connections += 1);
                let (seen, spawner, down) = (seen.clone(), tasks.clone(), down.clone());
                tasks.spawn(async move {
                    serve(connection, &seen, &spawner, &down).await;
                    seen.send_modify(|seen| seen.closed += 1);
                });
            }
        });
        server
    }

    /// Ends all connections, as a server that is killed; gives its address back.
    pub(super) async fn kill(self) -> SocketAddr {
        self.down.cancel();
        assert!(self.tasks.stop(PATIENCE).await);
        self.address
    }

    /// Waits until it has seen this.
    pub(super) async fn sees(&self, what: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(what)).await;
        let found = waited.map(|found| found.unwrap().clone());
        found.unwrap_or_else(|_| panic!("the server has seen {:?}", self.seen.borrow()))
    }

    /// What it has seen until now.
    pub(super) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }
}

/// One connection.
async fn serve(
    mut connection: TcpStream,
    seen: &watch::Sender<Seen>,
    tasks: &Tasks,
    down: &CancellationToken,
) {
    assert_eq!(connection.read_u8().await.unwrap(), octet::SESSION);
    let cut = down.child_token();
    let accept = |stream: Stream| {
        seen.send_modify(|seen| seen.streams += 1);
        let (seen, cut) = (seen.clone(), cut.clone());
        tasks.spawn(async move {
            let is_finished = answer_all(stream, &seen, &cut).await;
            seen.send_modify(|seen| {
                if is_finished {
                    seen.finished += 1;
                } else {
                    seen.reset += 1;
                }
            });
        });
    };
    let session = yamux::serve(connection, Settings::default(), accept);
    drop(cut.run_until_cancelled(session).await);
}

/// The calls of one stream; whether the client has finished it.
async fn answer_all(stream: Stream, seen: &watch::Sender<Seen>, cut: &CancellationToken) -> bool {
    let mut incoming = Incoming::new(stream, Budget::new(1 << 24));
    loop {
        let header = match incoming.value(1_024).await {
            Ok(Some(header)) => RequestHeader::read(&header).unwrap(),
            Ok(None) => return true,
            Err(_) => return false,
        };
        let Ok(Some(body)) = incoming.value(1 << 24).await else {
            return false;
        };
        seen.send_modify(|seen| seen.calls.push(header.method.clone()));
        let answer = match header.method.as_str() {
            "Test.Park" => {
                incoming.stream().broken().await;
                return false;
            }
            "Test.Cut" => {
                cut.cancel();
                incoming.stream().broken().await;
                return false;
            }
            "Test.Reset" => return false,
            "Test.Elects" if seen.borrow().count("Test.Elects") < 3 => {
                answer("Test.NoLeader", header.sequence, &body)
            }
            method => answer(method, header.sequence, &body),
        };
        if incoming.stream().write_all(&answer).await.is_err() {
            return false;
        }
        if header.method == "Test.Half" {
            // The client ends it as well once it has seen that.
            incoming.stream().shutdown().await.unwrap();
        }
    }
}

/// The octets that a method answers.
fn answer(method: &str, sequence: u64, body: &[u8]) -> Vec<u8> {
    let good = || response(sequence, method, "", body);
    match method {
        "Test.Fail" => response(sequence, method, "no such node", &[0xc0]),
        "Test.NoLeader" => response(sequence, method, "No cluster leader", &[0xc0]),
        "Test.Twice" => [good(), good()].concat(),
        "Test.Other" => response(sequence + 1, method, "", body),
        "Test.Half" => good()[..10].to_vec(),
        "Test.Garbage" => vec![0xc1; 20],
        _ => good(),
    }
}

fn response(sequence: u64, method: &str, error: &str, body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let header = ResponseHeader {
        error: error.to_owned(),
        method: method.to_owned(),
        sequence,
    };
    header.write(&mut octets);
    octets.extend(body);
    octets
}

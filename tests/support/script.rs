//! An HTTP server that answers as a test tells it, for what a real agent does not do on demand.

use std::net::SocketAddr;

use herald::task::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Most requests that wait to be looked at.
const REQUESTS_MAX: usize = 64;

/// Answers one connection after the other, each with the next answer, then closes it.
pub(crate) struct Script {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    requests: mpsc::Receiver<String>,
    tasks: Tasks,
}

impl Script {
    /// Answers with `answers`, in order, then listens no more.
    pub(crate) async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let tasks = Tasks::new();
        tasks.spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                sender.send(head(&mut stream).await).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            address,
            requests,
            tasks,
        }
    }

    /// The next request: its head, up to the empty line.
    pub(crate) async fn request(&mut self) -> String {
        let request = tokio::time::timeout(super::agent::LIMIT, self.requests.recv()).await;
        request
            .expect("a request comes in time")
            .expect("the script goes on")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

/// Reads the head of a request, up to the empty line.
pub(crate) async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A whole answer with an index.
pub(crate) fn indexed(index: u64, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nX-Consul-Index: {index}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A whole answer of this status.
pub(crate) fn status(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
}

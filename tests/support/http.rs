//! An HTTP client that can also send what no client should.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Status code.
    pub(crate) status: u16,
    /// Header fields as sent.
    pub(crate) headers: Vec<(String, String)>,
    /// Body, without transfer coding.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?} ({})", self.text(), self.status))
    }
    /// `X-Consul-Index`.
    pub(crate) fn index(&self) -> u64 {
        self.header("X-Consul-Index")
            .expect("answer has an index")
            .parse()
            .unwrap()
    }
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            read: Vec::new(),
        }
    }

    /// Sends octets as they are; whether the other side still takes them.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> bool {
        self.stream.write_all(octets).await.is_ok()
    }

    /// Closes its half: nothing more is sent.
    pub(crate) async fn finish_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Whether octets of an answer have arrived by now.
    pub(crate) fn has_answer(&mut self) -> bool {
        self.stream.try_read_buf(&mut self.read).is_ok() && !self.read.is_empty()
    }

    /// The next answer; `None` if the connection ends before a whole header.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        self.reply_to("GET").await
    }

    /// The next answer to a request with this method (HEAD has no body).
    pub(crate) async fn reply_to(&mut self, method: &str) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.read_reply(method))
            .await
            .expect("an answer in time")
    }

    /// The same for a read that waits on purpose.
    pub(crate) async fn reply_within(&mut self, limit: Duration) -> Option<Reply> {
        let reply = tokio::time::timeout(limit, self.read_reply("GET")).await;
        reply.expect("an answer in time")
    }

    /// Whether the other side ends the connection without sending more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let more = tokio::time::timeout(PATIENCE, self.more()).await;
        !more.expect("the end in time") && self.read.is_empty()
    }

    async fn read_reply(&mut self, method: &str) -> Option<Reply> {
        let end = loop {
            if let Some(end) = self
                .read
                .windows(4)
                .position(|octets| octets == b"\r\n\r\n")
            {
                break end;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end + 4).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut reply = Reply {
            status,
            headers,
            body: Vec::new(),
        };
        if method != "HEAD" {
            reply.body = self.read_body(&reply).await;
        }
        Some(reply)
    }

    async fn read_body(&mut self, reply: &Reply) -> Vec<u8> {
        if let Some(length) = reply.header("Content-Length") {
            return self.take(length.parse().unwrap()).await;
        }
        let mut body = Vec::new();
        if reply.header("Transfer-Encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line().await, 16).unwrap();
                body.extend(self.take(size).await);
                self.line().await;
                if size == 0 {
                    return body;
                }
            }
        }
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(2).position(|octets| octets == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                return String::from_utf8_lossy(&line).trim().to_owned();
            }
            assert!(self.more().await, "connection ended inside of an answer");
        }
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more().await, "connection ended inside of an answer");
        }
        self.read.drain(..length).collect()
    }

    async fn more(&mut self) -> bool {
        self.stream
            .read_buf(&mut self.read)
            .await
            .is_ok_and(|count| count > 0)
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut connection = Connection::open(address).await;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() || method == "PUT" {
        write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    text.push_str("\r\n");
    text.push_str(body);
    connection.send(text.as_bytes()).await;
    connection.reply_to(method).await.expect("an answer")
}

/// GET.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Reply {
    request(address, "GET", path, &[], "").await
}

/// PUT.
pub(crate) async fn put(address: SocketAddr, path: &str, body: &str) -> Reply {
    request(address, "PUT", path, &[], body).await
}

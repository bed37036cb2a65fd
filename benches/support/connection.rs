//! A connection that is kept, as programs that register much have it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection that is kept for many requests, one at a time.
pub(crate) struct Connection {
    address: SocketAddr,
    requests: SendRequest<Full<Bytes>>,
    /// Carries the octets; ends with this.
    _carrier: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        let mut carrier = JoinSet::new();
        // Whatever ends it, the request that waits for it learns of it.
        carrier.spawn(async move { drop(connection.await) });
        Ok(Self {
            address,
            requests,
            _carrier: carrier,
        })
    }

    /// Another one to the same agent, after something went wrong with this.
    #[allow(dead_code, reason = "some benches fail at once")]
    pub(crate) async fn reopen(self) -> Result<Self> {
        Self::open(self.address).await
    }

    /// Sends one request; only 200 will do.
    pub(crate) async fn put(&mut self, path: &str, body: String) -> Result<()> {
        let request = Request::put(path)
            .header("Host", self.address.to_string())
            .header("Content-Type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let answered = async {
            self.requests.ready().await?;
            let answer = self.requests.send_request(request).await?;
            let status = answer.status();
            let text = answer.into_body().collect().await?.to_bytes();
            if status != 200 {
                bail!("{status}: {}", String::from_utf8_lossy(&text));
            }
            Ok(())
        };
        let answered = tokio::time::timeout(ANSWER, answered).await;
        answered
            .map_err(|_| anyhow!("no answer within {ANSWER:?}"))
            .flatten()
            .with_context(|| format!("PUT {path}"))
    }
}

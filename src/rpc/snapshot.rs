//! A connection for one snapshot: a request, and what answers it.
//!
//! What a snapshot is, is the service's to say; octets behind the request are thrown away.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::Service;
use super::codec::{Budget, FrameError, Incoming};
use super::serve::linger;

/// Longest request, in octets: a datacenter and a token.
const REQUEST_OCTETS_MAX: usize = 4_096;

/// Reads the request and sends its answer, both within `timeout`.
pub(super) async fn serve<S>(
    connection: S,
    service: &dyn Service,
    budget: Budget,
    timeout: Duration,
) -> Result<(), FrameError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut incoming = Incoming::new(connection, budget);
    let slow = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    let request = tokio::time::timeout(timeout, incoming.value(REQUEST_OCTETS_MAX));
    let Some(request) = request.await.map_err(slow)?? else {
        return Ok(());
    };
    let answer = service.snapshot(&request).await;
    let stream = incoming.stream();
    let sent = tokio::time::timeout(timeout, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    });
    sent.await.map_err(slow)??;
    // With a request to restore comes what is to be restored.
    linger(stream).await;
    Ok(())
}

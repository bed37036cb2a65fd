//! One stream of a session, as its holder sees it.
//!
//! **Invariant**: a stream has no task of its own; what it holds is in the state of its session.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::shared::Shared;

/// One stream. Reading ends with the peer's FIN; shutting down sends one; dropping it before that
/// resets it.
///
/// What is written is sent without a flush; flushing and shutting down wait until the peer's window
/// has let everything go. One task may read while another one writes.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    number: u32,
}

impl Stream {
    /// The stream of this number, which nobody else may hold.
    pub(super) fn new(shared: Arc<Shared>, number: u32) -> Self {
        Self { shared, number }
    }

    /// Ends when the stream is of no use any more: it was reset or dropped, or its session has
    /// ended. Not when the peer has only finished sending. Cancel-safe.
    pub fn broken(&self) -> impl Future<Output = ()> + Send + use<> {
        let token = self.shared.with(|state| state.broken(self.number));
        token.cancelled_owned()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let number = self.number;
        self.shared.with(|state| state.poll_read(number, cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let number = self.number;
        self.shared.with(|state| state.poll_write(number, cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let number = self.number;
        self.shared.with(|state| state.poll_flush(number, cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let number = self.number;
        self.shared.with(|state| state.poll_shutdown(number, cx))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let number = self.number;
        self.shared.with(|state| state.release(number));
    }
}

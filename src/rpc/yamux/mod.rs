//! Many streams over one connection: yamux, version 0.
//!
//! `frame` is the header, `receive` takes what comes apart, `state` and `entry` are the protocol of a
//! session and of one of its streams, both without I/O. `driver` owns the connection, `shared` is
//! between it and the [`Stream`]s, which users of a session hold. Source: `spec.md` of the yamux
//! protocol, and what agents were seen to do where it leaves a choice.
//!
//! **Invariant**: a stream holds at most one window of octets that nobody has read, and all streams of
//! a session hold a bounded number together.
//! **Invariant**: a stream that nobody reads or writes does not hold up the others.
//! **Invariant**: every stream that the peer opens is answered at once: agents count those that are
//! not, and open only so many.

mod control;
mod driver;
mod entry;
mod frame;
mod octets;
mod opener;
mod receive;
mod shared;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod timers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};

use self::driver::Driver;
use self::shared::Shared;
use self::state::{Side, State};

pub use self::opener::Opener;
pub use self::stream::Stream;

/// Octets that each side may send on a stream before the other has read some.
pub const WINDOW: u32 = 262_144;

/// Bounds of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Streams that the peer may have open; one more is reset.
    pub streams_max: usize,
    /// Octets of all streams together that nobody has read; the stream that exceeds it is reset.
    /// Default 64 MiB, the windows of 256 streams.
    pub unread_octets_max: usize,
    /// Counts the streams that were reset for that.
    pub overflows: Counter,
    /// Pause between two pings. Default 30 s.
    pub ping_interval: Duration,
    /// Longest wait for the answer to a ping, or for any other sign of life, and for the peer to
    /// take octets; the session ends then. Default 10 s.
    pub answer_timeout: Duration,
}

impl Settings {
    /// The state of a session within these bounds.
    fn bound(&self, state: State) -> State {
        state.with_unread_max(self.unread_octets_max, self.overflows.clone())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            streams_max: 4_096,
            unread_octets_max: 64 << 20,
            overflows: Counter::default(),
            ping_interval: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnd {
    /// The peer closed the connection: how agents end it.
    #[error("closed by the peer")]
    Closed,
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The peer does not answer any more.
    #[error("no answer from the peer within {0:?}")]
    Silent(Duration),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the accepting side of a session until it ends: gives each stream that the peer opens to
/// `accept`, which must not block. Dropping the future ends the session and its streams.
pub async fn serve<C>(
    connection: C,
    settings: Settings,
    accept: impl FnMut(Stream) + Send,
) -> SessionEnd
where
    C: AsyncRead + AsyncWrite + Send + Unpin,
{
    let streams_max = settings.streams_max;
    let state = State::new(Side::Accepting { streams_max });
    let shared = Arc::new(Shared::new(settings.bound(state)));
    Driver::new(connection, settings, shared).run(accept).await
}

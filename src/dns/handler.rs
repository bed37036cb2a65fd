//! What lies between the engine and the answers: one call for each query.

use std::net::SocketAddr;

use super::behind::{Known, Lack};

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// One length-prefixed message of a connection (RFC 7766).
    Tcp,
}

/// A query as received; its octets are the first `length` of the buffer.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Octets of the query.
    pub length: usize,
    /// How it came.
    pub transport: Transport,
    /// Who asks.
    pub source: SocketAddr,
}

/// What the last query was, for the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The type of its question; none if it was no query with one question.
    pub qtype: Option<u16>,
    /// Whether the answer is marked as older than what the leader may know.
    pub stale: bool,
}

/// What the engine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Send the first octets of the buffer, this many.
    Send(usize),
    /// Nothing: a response, or too short to be a query.
    Drop,
    /// This server's memory cannot answer: hand the query, still whole in the buffer, to the slow
    /// path.
    Slow,
}

/// Answers queries in place. One value for each worker; it never blocks and, in the steady state,
/// never allocates.
pub trait Handler: Send + 'static {
    /// Answers the query in `buffer[..received.length]` by overwriting it. `buffer` is as long as
    /// the longest possible answer (65,535 octets).
    fn handle(&mut self, received: &Received, buffer: &mut [u8]) -> Reply;

    /// Answers like [`Handler::handle`] once there is nobody left to ask: the slow path calls it
    /// for what no static zone covers. [`Reply::Slow`] is SERVFAIL then.
    fn handle_alone(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        self.handle(received, buffer)
    }

    /// Answers like [`Handler::handle_alone`] while there is somebody left to ask, of whom all in
    /// `known` was learned. [`Reply::Slow`] with something that [`Handler::lacks`] leaves the query
    /// whole in the buffer.
    fn handle_knowing(&mut self, received: &Received, buffer: &mut [u8], known: &Known) -> Reply {
        let _ = known;
        self.handle_alone(received, buffer)
    }

    /// What the answer to the query handled last lacked. By default nothing.
    fn lacks(&mut self) -> Option<Lack> {
        None
    }

    /// What the query handled last was. By default nothing is known of it.
    fn asked(&self) -> Asked {
        Asked::default()
    }
}

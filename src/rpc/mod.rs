//! Connections on port 8300: what their first octet asks for, sessions of many streams, and calls on
//! them, as server and as client.
//!
//! Owns the octets and the bounds; what a call means is the [`Service`]'s, which `agent` registers.
//!
//! **Invariant**: what one stream does, or does not do, neither blocks nor ends another one.
//! **Invariant**: connections, streams, requests and waits are bounded, and nothing is allocated for
//! what a peer only announces.
//! **Invariant**: calls of one stream are answered in their order, one at a time.

mod codec;
mod connection;
mod counts;
mod dial;
mod listener;
mod pool;
mod rotation;
mod serve;
mod shares;
mod snapshot;
#[cfg(test)]
mod test_server;
mod tls;
pub mod yamux;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

pub use self::dial::dial;
pub use self::listener::{Config, ConnectionHandler, Handlers, Listener, Octets, StartError};
pub use self::pool::{CallError, Pool, PoolConfig};
pub use self::rotation::{Caller, CallerError, Rotation};
pub(crate) use self::shares::{Held, Share, Shares};
pub use self::tls::{Tls, TlsConfig, TlsError};

/// What the first octet of a connection asks for.
pub mod octet {
    /// Calls, one after the other.
    pub const CALLS: u8 = 0x00;
    /// Consul servers among themselves; never served.
    pub const FOREIGN_RAFT: u8 = 0x01;
    /// TLS, with another first octet inside.
    pub const TLS: u8 = 0x03;
    /// A session of streams, each with calls.
    pub const SESSION: u8 = 0x04;
    /// One snapshot.
    pub const SNAPSHOT: u8 = 0x05;
    /// HTTP/2 for subscriptions of newer agents; not served.
    pub const SUBSCRIBE: u8 = 0x08;
    /// herald servers among themselves.
    pub const RAFT: u8 = 0x48;
}

/// One call, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `Service.Method`.
    pub method: &'a str,
    /// The request: one value.
    pub body: &'a [u8],
    /// Who calls.
    pub peer: IpAddr,
}

/// Why a call has no result; the text goes to the caller as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The method says so. The stream goes on.
    #[error("{0}")]
    Answer(String),
    /// There is no such method, or the request is none. The stream ends after this answer, as
    /// clients expect.
    #[error("{0}")]
    Call(String),
}

/// The result of a call: one value.
pub type Answered = Result<Vec<u8>, Fault>;

/// A future that a trait object gives.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What answers calls.
pub trait Service: Send + Sync + 'static {
    /// Answers one call. The future is dropped when its stream or connection ends.
    fn call<'a>(&'a self, call: Call<'a>) -> Pending<'a, Answered>;

    /// Answers the request of a snapshot connection: one value, after which the connection ends.
    fn snapshot<'a>(&'a self, request: &'a [u8]) -> Pending<'a, Vec<u8>>;
}

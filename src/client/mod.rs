//! Clients of the own interfaces: HTTP (plain, over TLS or a Unix socket) for the
//! command line, DNS for the demo and the tests.
//!
//! Both bound what they read and how long they wait; neither knows about agents or the catalog.

mod accept_any;
mod address;
pub(crate) mod credentials;
pub mod dig;
pub mod dns;
pub mod http;
pub mod tls;

pub(crate) use accept_any::AcceptAny;
pub use credentials::CredentialsError;

/// How a DNS question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// Length-prefixed messages over a connection (RFC 7766).
    Tcp,
}

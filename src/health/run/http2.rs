//! HTTP/2 connections of checks, with little room for what the peer sends.

use h2::client::{Builder, Connection, SendRequest};
use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Deadline;
use super::dial::{Dialer, Target};
use super::tls::{Security, Tls};

/// Octets that the peer may send unasked on a connection.
const WINDOW_OCTETS: u32 = 64 * 1024;
/// Octets of an answer's headers.
const HEADER_OCTETS_MAX: u32 = 16 * 1024;

/// A byte stream of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that is set up: who sends requests, and what must be driven meanwhile.
pub(super) type Opened = (SendRequest<Bytes>, Connection<Box<dyn Stream>>);

/// Connects, secures the connection if asked to, and opens HTTP/2 on it.
pub(super) async fn open(
    dialer: &Dialer,
    tls: &Tls,
    target: &Target,
    security: Option<Security<'_>>,
    deadline: Deadline,
) -> Result<Opened, String> {
    let stream = dialer.connect(target, deadline).await?;
    let late = |limit| format!("no handshake with {target} within {limit:?}");
    deadline
        .or_late(shake_hands(tls, target, security, stream), late)
        .await
}

async fn shake_hands(
    tls: &Tls,
    target: &Target,
    security: Option<Security<'_>>,
    stream: TcpStream,
) -> Result<Opened, String> {
    let stream: Box<dyn Stream> = match security {
        Some(security) => Box::new(tls.secure(stream, &target.host, security).await?),
        None => Box::new(stream),
    };
    Builder::new()
        .initial_window_size(WINDOW_OCTETS)
        .initial_connection_window_size(WINDOW_OCTETS)
        .max_header_list_size(HEADER_OCTETS_MAX)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(|error| error.to_string())
}

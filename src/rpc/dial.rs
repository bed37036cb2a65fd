//! Opens a connection to a server: its first octets, and TLS where it is asked for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Octets, Tls, octet};

/// Silence after which the system asks whether a server is still there, and how often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Opens a connection whose first octet, inside TLS where there is any, is `first`.
///
/// # Errors
/// No connection came about, or TLS on it failed. The text is the one that clients of the reference
/// know.
pub async fn dial(server: SocketAddr, first: u8, tls: Option<&Tls>) -> io::Result<Box<dyn Octets>> {
    let connected = TcpStream::connect(server).await;
    let mut connection = connected.map_err(|error| refused(server, &error))?;
    connection.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE);
    SockRef::from(&connection).set_tcp_keepalive(&keep_alive)?;
    let mut connection: Box<dyn Octets> = match tls {
        None => Box::new(connection),
        Some(tls) => {
            connection.write_u8(octet::TLS).await?;
            Box::new(tls.connect(connection).await?)
        }
    };
    connection.write_u8(first).await?;
    connection.flush().await?;
    Ok(connection)
}

/// The error of a connection that takes too long.
pub(super) fn late(server: SocketAddr) -> io::Error {
    let text = format!("dial tcp {server}: i/o timeout");
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// The words of the reference, without the number that the system adds.
fn refused(server: SocketAddr, error: &io::Error) -> io::Error {
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    };
    let text = format!("dial tcp {server}: connect: {text}");
    io::Error::new(error.kind(), text)
}

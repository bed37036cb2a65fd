//! Opens a session with a server: the connection, its first octets, TLS where it is asked for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PoolConfig;
use crate::rpc::octet;
use crate::rpc::yamux::{Opener, Settings};
use crate::task::Tasks;

/// Silence after which the system asks whether a server is still there, and how often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Opens a session within the time for it.
///
/// # Errors
/// No connection came about. The text is the one that clients of the reference know.
pub(super) async fn dial(
    config: &PoolConfig,
    server: SocketAddr,
    tasks: &Tasks,
) -> io::Result<Opener> {
    let dialled = tokio::time::timeout(config.dial_timeout, connect(config, server, tasks));
    dialled.await.unwrap_or_else(|_| Err(late(server)))
}

/// The error of a connection that takes too long.
pub(super) fn late(server: SocketAddr) -> io::Error {
    let text = format!("dial tcp {server}: i/o timeout");
    io::Error::new(io::ErrorKind::TimedOut, text)
}

async fn connect(config: &PoolConfig, server: SocketAddr, tasks: &Tasks) -> io::Result<Opener> {
    let connected = TcpStream::connect(server).await;
    let mut connection = connected.map_err(|error| refused(server, &error))?;
    connection.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE);
    SockRef::from(&connection).set_tcp_keepalive(&keep_alive)?;
    let Some(tls) = &config.tls else {
        return start(connection, tasks).await;
    };
    connection.write_u8(octet::TLS).await?;
    start(tls.connect(connection).await?, tasks).await
}

async fn start<C>(mut connection: C, tasks: &Tasks) -> io::Result<Opener>
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    connection.write_u8(octet::SESSION).await?;
    connection.flush().await?;
    let settings = Settings {
        streams_max: 0,
        ..Settings::default()
    };
    Ok(Opener::start(connection, settings, tasks))
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

//! Listens on 8300 and takes connections in, within bounds.
//!
//! **Invariant**: who is refused is closed at once and counted; nothing is read of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::codec::Budget;
use super::connection::Server;
use super::counts::{Counts, Refusal};
use super::serve::Calls;
use super::shares::Shares;
use super::{Pending, Service, Tls, serve, yamux};
use crate::clients::{Clients, Full, Place};
use crate::metrics::Metrics;
use crate::task::Tasks;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;
/// Pause after a connection could not be accepted, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bound of the wait for the first octet, whatever is configured.
const HANDSHAKE_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Silence after which the system asks whether a peer is still there, and how often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Octets of requests that are being read, over all connections.
const REQUESTS_OCTETS_MAX: usize = 64 << 20;
/// Of which one address may have so many.
const REQUESTS_OF_SOURCE_OCTETS_MAX: usize = 16 << 20;
/// Streams over all sessions.
const STREAMS_MAX: usize = 65_536;
/// Of which one address may have so many.
const STREAMS_OF_SOURCE_MAX: usize = 16_384;
/// Octets of all streams of a session that nobody has read.
const UNREAD_OCTETS_MAX: usize = 2 << 20;

/// Where it listens, and its bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on (`bind_addr` and `ports.server`); port 0 takes a free one.
    pub bind: SocketAddr,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one address (`limits.rpc_max_conns_per_client`). Default 100.
    pub connections_of_client_max: usize,
    /// Longest wait for the first octet, and for TLS (`limits.rpc_handshake_timeout`). Default 5 s.
    pub handshake_timeout: Duration,
    /// Streams of one session.
    pub streams_max: usize,
    /// Longest request, in octets.
    pub request_octets_max: usize,
    /// TLS; `None` if no certificate is configured.
    pub tls: Option<Tls>,
    /// Whether connections without TLS are refused (`verify_incoming`, `verify_incoming_rpc`).
    pub tls_only: bool,
}

/// Why it does not listen. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program may have the port.
    #[error("cannot listen for servers and agents on {address}: {source}")]
    Listen {
        /// Address asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A connection whose first octet has been taken off, in the clear or inside TLS.
pub trait Octets: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Octets for T {}

/// What serves connections with another first octet than the agent RPC's.
pub trait ConnectionHandler: Send + Sync + 'static {
    /// Serves one connection to its end.
    fn serve(&self, connection: Box<dyn Octets>, peer: SocketAddr) -> Pending<'_, ()>;
}

/// Who serves which first octet.
#[derive(Clone)]
pub struct Handlers {
    /// Calls, sessions and snapshots.
    pub service: Arc<dyn Service>,
    /// Raft between herald servers; without it such connections are closed.
    pub raft: Option<Arc<dyn ConnectionHandler>>,
}

/// A socket that has its port, and takes nobody in yet.
#[derive(Debug)]
pub struct Listener {
    config: Config,
    socket: TcpListener,
    address: SocketAddr,
    of_client_max: Arc<AtomicUsize>,
}

impl Listener {
    /// Takes the port. Must be called inside a runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let address = config.bind;
        let bound = listen(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = bound.map_err(|source| StartError::Listen { address, source })?;
        Ok(Self {
            of_client_max: Arc::new(AtomicUsize::new(config.connections_of_client_max)),
            config,
            socket,
            address,
        })
    }

    /// The address that it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections of one address, at most: what is stored here counts from then on, for connections
    /// that come.
    pub fn connections_of_client_max(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.of_client_max)
    }

    /// Begins to take connections in.
    pub fn serve(self, handlers: Handlers, metrics: &Metrics, tasks: &Tasks) {
        self.start(handlers, Counts::new(metrics), tasks);
    }

    fn start(self, handlers: Handlers, counts: Counts, tasks: &Tasks) {
        let clients = Clients::new(self.config.connections_max, self.of_client_max);
        let server = server(self.config, handlers, counts, tasks);
        tasks.spawn(accept(self.socket, server, clients));
    }
}

/// What serves the connections that are taken in.
fn server(config: Config, handlers: Handlers, counts: Counts, tasks: &Tasks) -> Arc<Server> {
    Arc::new(Server {
        session: yamux::Settings {
            streams_max: config.streams_max,
            unread_octets_max: UNREAD_OCTETS_MAX,
            overflows: counts.streams_overflowed.clone(),
            ..yamux::Settings::default()
        },
        calls: Calls {
            service: handlers.service,
            counts: counts.clone(),
            request_octets_max: config.request_octets_max,
        },
        raft: handlers.raft,
        counts,
        tls: config.tls,
        tls_only: config.tls_only,
        handshake_timeout: config.handshake_timeout.min(HANDSHAKE_TIMEOUT_MAX),
        requests: Budget::shares(REQUESTS_OCTETS_MAX, REQUESTS_OF_SOURCE_OCTETS_MAX),
        answers: serve::answers(),
        streams: Shares::new(STREAMS_MAX, STREAMS_OF_SOURCE_MAX),
        tasks: tasks.clone(),
        told: AtomicBool::new(false),
    })
}

/// A listening socket whose connections notice that their peer is gone.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Connections inherit both.
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE);
    socket.set_tcp_keepalive(&keep_alive)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(socket: TcpListener, server: Arc<Server>, clients: Arc<Clients>) {
    let mut told = false;
    loop {
        match socket.accept().await {
            Ok((connection, peer)) => {
                told = false;
                admit(connection, peer, &server, &clients);
            }
            Err(error) => {
                server.counts.accept_failures.inc();
                // Once until it works again: it is tried many times a second.
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("rpc cannot accept connections: {error}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(connection: TcpStream, peer: SocketAddr, server: &Arc<Server>, clients: &Arc<Clients>) {
    let place = match clients.enter(peer.ip()) {
        Ok(place) => place,
        Err(Full::All) => return server.counts.refused(Refusal::Connections),
        Err(Full::Client) => return server.counts.refused(Refusal::ClientConnections),
    };
    let serving = Arc::clone(server);
    server.tasks.spawn(async move {
        let _open = Open::new(&serving.counts.open, place);
        serving.serve(connection, peer).await;
    });
}

/// A connection that is counted as open, and its place.
struct Open<'a> {
    open: &'a Gauge,
    _place: Place,
}

impl<'a> Open<'a> {
    fn new(open: &'a Gauge, place: Place) -> Self {
        open.inc();
        Self {
            open,
            _place: place,
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.open.dec();
    }
}

#[cfg(test)]
mod tests;

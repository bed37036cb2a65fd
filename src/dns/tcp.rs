//! DNS over TCP: length-prefixed messages, any number on a connection (RFC 7766).
//!
//! Owns framing, time-outs and the number of connections; what the answer is comes from the same
//! [`Handler`] as for datagrams.
//!
//! **Invariants**: a connection holds no more than one incomplete query and [`FLUSH_OCTETS`] plus
//! one answer; whoever stalls, in either direction, is closed within the limits of `Config`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::batch::OCTETS_MAX;
use super::config::TcpLimits;
use super::counters::Counters;
use super::desk::Desks;
use super::handler::{Handler, Received, Reply, Transport};
use super::slow::{Return, Slow};
use crate::clients::{Clients, Place};
use crate::clock;
use crate::task::Tasks;

/// Answers are written once they take this much, or when no further query is at hand.
const FLUSH_OCTETS: usize = 16 * 1024;

/// Octets read at a time; most queries fit many times over.
const READ_OCTETS: usize = 2 * 1024;

/// A header, the least that is a query (RFC 1035 §4.1.1).
const HEADER_OCTETS: usize = 12;

/// How long accepting rests after an error: descriptors are short, and others shall free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
pub(crate) struct Server<H> {
    desks: Arc<Desks<H>>,
    limits: TcpLimits,
    clients: Arc<Clients>,
    slow: Slow,
    counters: Arc<Counters>,
    stopping: CancellationToken,
}

/// One connection.
struct Connection<H> {
    server: Arc<Server<H>>,
    stream: TcpStream,
    peer: SocketAddr,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// A reason to close the connection; nobody is told.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("the peer closed, or failed: {0}")]
    Peer(#[from] io::Error),
    #[error("the peer stalled")]
    Stalled,
    #[error("a message of {0} octets is no query")]
    Runt(usize),
    #[error("the agent stops")]
    Stopping,
}

impl<H: Handler> Server<H> {
    /// Connections that are answered at `desks`.
    pub(crate) fn new(
        limits: TcpLimits,
        desks: Arc<Desks<H>>,
        slow: Slow,
        counters: Arc<Counters>,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let of_client_max = AtomicUsize::new(limits.client_connections_max);
        Arc::new(Self {
            desks,
            clients: Clients::new(limits.connections_max, Arc::new(of_client_max)),
            limits,
            slow,
            counters,
            stopping: tasks.stopping(),
        })
    }

    /// Accepts until the agent stops.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener, tasks: Tasks) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer, &tasks),
                Err(error) => {
                    self.counters.accept_errors.inc();
                    tracing::warn!(%error, "cannot accept DNS connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, tasks: &Tasks) {
        let Ok(place) = self.clients.enter(peer.ip()) else {
            self.counters.turned_away.inc();
            return;
        };
        let connection = Connection {
            server: Arc::clone(self),
            stream,
            peer,
            incoming: Vec::new(),
            outgoing: Vec::new(),
        };
        // The connection sees the stop signal itself, and finishes the answers it has begun.
        tasks.spawn_draining(connection.run(place));
    }
}

impl<H: Handler> Connection<H> {
    async fn run(mut self, _place: Place) {
        let server = Arc::clone(&self.server);
        server.counters.connections.inc();
        // Answers go out whole, so there is nothing to wait for.
        let _ = self.stream.set_nodelay(true);
        let Err(closed) = self.serve().await;
        tracing::trace!(peer = %self.peer, %closed, "DNS connection closed");
        server.counters.connections.dec();
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Closed> {
        let limits = self.server.limits.clone();
        // When the connection has been idle for too long.
        let mut until = clock::now() + limits.first_octet;
        loop {
            self.read(until).await?;
            let mut whole = clock::now() + limits.message;
            // An idle connection holds no memory, one with part of a message has until `whole`.
            while !self.incoming.is_empty() {
                let before = self.incoming.len();
                if self.answer_complete().await? {
                    until = clock::now() + limits.idle;
                }
                if self.incoming.len() < before {
                    // What is left belongs to a later message, with a time of its own.
                    whole = clock::now() + limits.message;
                }
                if self.incoming.is_empty() {
                    break;
                }
                self.read(whole).await?;
            }
            self.incoming = Vec::new();
        }
    }

    /// Reads some octets.
    async fn read(&mut self, until: Instant) -> Result<(), Closed> {
        let missing = missing(&self.incoming).max(1);
        self.incoming
            .reserve(missing.clamp(READ_OCTETS, OCTETS_MAX));
        let read = timeout_at(until, self.stream.read_buf(&mut self.incoming));
        tokio::select! {
            biased;
            () = self.server.stopping.cancelled() => Err(Closed::Stopping),
            read = read => match read {
                Ok(Ok(0)) => Err(Closed::Peer(io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(Closed::Stalled),
            },
        }
    }

    /// Answers every complete message at hand and keeps the rest; whether there was an answer.
    async fn answer_complete(&mut self) -> Result<bool, Closed> {
        let mut answered = false;
        let mut at = 0;
        let outcome = loop {
            let rest = self.incoming.get(at..).unwrap_or_default();
            let Some(query) = message(rest) else {
                break Ok(());
            };
            let length = query.len();
            if length < HEADER_OCTETS {
                break Err(Closed::Runt(length));
            }
            let range = at + 2..at + 2 + length;
            at = range.end;
            answered |= self.answer(range).await;
            if self.outgoing.len() >= FLUSH_OCTETS {
                self.flush().await?;
            }
        };
        self.incoming.drain(..at);
        self.flush().await?;
        outcome.map(|()| answered)
    }

    /// Answers one query, which stands in `incoming`.
    async fn answer(&mut self, range: std::ops::Range<usize>) -> bool {
        let server = Arc::clone(&self.server);
        let row = &server.counters.tcp;
        let start = clock::now();
        row.received.add_shared(1);
        let before = self.outgoing.len();
        let query = self.incoming.get(range).unwrap_or_default();
        let received = Received {
            length: query.len(),
            transport: Transport::Tcp,
            source: self.peer,
        };
        let mut later = None;
        server.desks.with(query, |handler, buffer| {
            let reply = handler.handle(&received, buffer);
            row.asked_shared(handler.asked());
            let octets = match reply {
                Reply::Send(octets) => octets,
                Reply::Drop => {
                    row.dropped.add_shared(1);
                    0
                }
                Reply::Slow => {
                    row.slow.add_shared(1);
                    let (sender, answer) = oneshot::channel();
                    later = Some(answer);
                    let to = Return::Connection(sender);
                    server.slow.hand_over(&received, buffer, to)
                }
            };
            if octets > 0 {
                let answer = buffer.get(..octets).unwrap_or_default();
                push(&mut self.outgoing, answer);
                later = None;
            }
        });
        if let Some(answer) = later
            && let Ok(octets) = answer.await
        {
            push(&mut self.outgoing, &octets);
        }
        let message = self.outgoing.get(before + 2..);
        message
            .inspect(|message| row.answer_shared(message, clock::now() - start))
            .is_some()
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let write = self.stream.write_all(&self.outgoing);
        let written = timeout(self.server.limits.write, write).await;
        written.map_err(|_| Closed::Stalled)??;
        self.outgoing = Vec::new();
        Ok(())
    }
}

/// The first message of `octets`, once it is complete.
fn message(octets: &[u8]) -> Option<&[u8]> {
    let (length, rest) = octets.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// Octets that the first message lacks.
fn missing(octets: &[u8]) -> usize {
    match octets.split_first_chunk() {
        Some((length, rest)) => usize::from(u16::from_be_bytes(*length)).saturating_sub(rest.len()),
        None => 2 - octets.len(),
    }
}

/// Appends a message with its length.
fn push(outgoing: &mut Vec<u8>, message: &[u8]) {
    if let Ok(length) = u16::try_from(message.len()) {
        outgoing.extend_from_slice(&length.to_be_bytes());
        outgoing.extend_from_slice(message);
    }
}

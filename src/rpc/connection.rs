//! One connection: its first octet, and what serves the rest of it.
//!
//! **Invariant**: what a connection is for is known in bounded time, or it is closed and counted.
//! **Invariant**: each stream has a task, which ends with the stream and with its session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::codec::Budget;
use super::counts::{Counts, Refusal};
use super::listener::{ConnectionHandler, Octets};
use super::serve::{Calls, Carrier, Source};
use super::shares::{Held, Share, Shares};
use super::{Tls, octet, snapshot, yamux};
use crate::clock;
use crate::task::Tasks;

/// What serves connections; one for all of them.
pub(super) struct Server {
    pub(super) calls: Calls,
    pub(super) raft: Option<Arc<dyn ConnectionHandler>>,
    pub(super) counts: Counts,
    pub(super) tls: Option<Tls>,
    pub(super) tls_only: bool,
    pub(super) handshake_timeout: Duration,
    pub(super) session: yamux::Settings,
    /// Memory for requests, over all connections.
    pub(super) requests: Shares,
    /// Memory for answers.
    pub(super) answers: Shares,
    /// Streams that may be open over all sessions.
    pub(super) streams: Shares,
    pub(super) tasks: Tasks,
    /// Whether subscriptions have been spoken of: once is enough.
    pub(super) told: AtomicBool,
}

impl Server {
    /// Serves a connection to its end.
    pub(super) async fn serve<C>(self: &Arc<Self>, mut connection: C, peer: SocketAddr)
    where
        C: Octets + 'static,
    {
        // One for all that comes before calls: a peer gains no time by speaking TLS.
        let deadline = clock::now() + self.handshake_timeout;
        let served = match first_octet(&mut connection, deadline).await {
            Ok(octet::TLS) => self.serve_tls(connection, peer, deadline).await,
            Ok(_) if self.tls_only => Err(Refusal::Plain),
            Ok(first) => self.serve_octet(first, connection, peer).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = served {
            tracing::debug!("closed a connection of {peer}: {refusal:?}");
            self.counts.refused(refusal);
        }
    }

    /// TLS, with another first octet inside.
    async fn serve_tls<C>(
        self: &Arc<Self>,
        connection: C,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Result<(), Refusal>
    where
        C: Octets + 'static,
    {
        let tls = self.tls.as_ref().ok_or(Refusal::Tls)?;
        let mut inner = match timeout_at(deadline, tls.accept(connection)).await {
            Ok(Ok(inner)) => inner,
            Ok(Err(error)) => {
                tracing::debug!("TLS with {peer} failed: {error}");
                return Err(Refusal::Tls);
            }
            Err(_) => return Err(Refusal::Silent),
        };
        let first = first_octet(&mut inner, deadline).await?;
        // Clients have certificates of the same authorities, but no part in what servers decide.
        if first == octet::RAFT
            && let Err(error) = tls.check_server(&inner)
        {
            tracing::warn!("{peer} may not take part in Raft: {error}");
            return Err(Refusal::Role);
        }
        self.serve_octet(first, inner, peer).await
    }

    /// What the calls of a peer may hold.
    pub(super) fn source(&self, peer: SocketAddr) -> Source {
        let peer = peer.ip();
        Source {
            peer,
            requests: Budget::of(self.requests.of(peer)),
            answers: self.answers.of(peer),
        }
    }

    async fn serve_octet<C>(
        self: &Arc<Self>,
        first: u8,
        connection: C,
        peer: SocketAddr,
    ) -> Result<(), Refusal>
    where
        C: Octets + 'static,
    {
        match first {
            octet::CALLS => {
                self.counts.accepted("calls");
                let (source, carrier) = (self.source(peer), Carrier::Connection);
                self.calls.serve(connection, &source, carrier).await;
            }
            octet::SESSION => {
                self.counts.accepted("session");
                self.serve_session(connection, peer).await;
            }
            octet::SNAPSHOT => {
                self.counts.accepted("snapshot");
                let (service, budget) = (&*self.calls.service, self.source(peer).requests);
                let served = snapshot::serve(connection, service, budget, self.handshake_timeout);
                if let Err(error) = served.await {
                    tracing::debug!("the snapshot connection of {peer} failed: {error}");
                }
            }
            octet::RAFT => {
                let raft = self.raft.as_ref().ok_or(Refusal::Octet)?;
                self.counts.accepted("raft");
                raft.serve(Box::new(connection), peer).await;
            }
            octet::FOREIGN_RAFT => return Err(Refusal::ForeignRaft),
            octet::SUBSCRIBE => {
                self.tell_of_subscriptions(peer);
                return Err(Refusal::Subscribe);
            }
            _ => return Err(Refusal::Octet),
        }
        Ok(())
    }

    /// A session; its streams end with it.
    async fn serve_session<C: Octets>(self: &Arc<Self>, connection: C, peer: SocketAddr) {
        let source = Arc::new(self.source(peer));
        let places = self.streams.of(peer.ip());
        let accept = |stream| self.serve_stream(stream, &source, &places);
        let end = yamux::serve(connection, self.session.clone(), accept).await;
        tracing::debug!("the session of {peer} ended: {end}");
        self.counts.ended(&end);
    }

    /// A stream, in a task of its own: what becomes of it, even a panic, is its own matter.
    fn serve_stream(self: &Arc<Self>, stream: yamux::Stream, source: &Arc<Source>, places: &Share) {
        // One stream too many is reset by being dropped.
        let Some(place) = places.try_hold(1) else {
            self.counts.streams_refused.inc();
            return;
        };
        self.counts.streams.inc();
        let open = Open {
            server: Arc::clone(self),
            _place: place,
        };
        let source = Arc::clone(source);
        // Boxed, since what is spawned is kept twice: most of the memory of a stream that waits.
        self.tasks.spawn(Box::pin(async move {
            // Also when the session ends.
            let broken = stream.broken();
            tokio::select! {
                () = open.server.calls.serve(stream, &source, Carrier::Stream) => {}
                () = broken => {}
            }
        }));
    }

    fn tell_of_subscriptions(&self, peer: SocketAddr) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{peer} asks to subscribe to changes, which is not supported: set \
                 use_streaming_backend=false on agents from Consul 1.10 on"
            );
        }
    }
}

/// What a connection is for.
async fn first_octet(
    connection: &mut (impl Octets + ?Sized),
    deadline: Instant,
) -> Result<u8, Refusal> {
    let first = timeout_at(deadline, connection.read_u8()).await;
    first
        .map_err(|_| Refusal::Silent)?
        .map_err(|_| Refusal::Gone)
}

/// A stream that is counted as open.
struct Open {
    server: Arc<Server>,
    _place: Held,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.server.counts.streams.dec();
    }
}

//! Calls servers: one session for each, its streams used again.
//!
//! Owns connections to servers and the streams on them; which server is called is up to
//! [`Rotation`](super::Rotation).
//!
//! **Invariant**: a stream is used again only after a call that succeeded; whatever else happens on
//! it, it goes.
//! **Invariant**: nothing is sent for a stream before a whole request is: older servers wait for the
//! first octets of each stream in turn.
//! **Invariant**: one connection at a time is being opened to a server; who asks meanwhile shares it,
//! or its failure.

mod counts;
mod session;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::counts::Counts;
use self::session::{Session, UnderWay};
use super::codec::{Budget, Incoming};
use super::dial::{self, dial};
use super::yamux::{Opener, Settings, Stream};
use super::{Tls, octet};
use crate::clock;
use crate::metrics::Metrics;
use crate::task::Tasks;

/// Octets of answers that are being read, over all sessions.
const HELD_OCTETS_MAX: usize = 256 << 20;

/// Bounds of a pool.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Longest wait for a connection. Default 10 s.
    pub dial_timeout: Duration,
    /// A session without calls is closed after this. Default 127 s.
    pub idle_timeout: Duration,
    /// Idle streams kept for each session. Default 32.
    pub idle_streams_max: usize,
    /// Streams in use on one session; more calls wait. Default 256: servers of Consul 1.8 reset
    /// streams beyond that number of which they have not accepted any.
    pub streams_max: usize,
    /// Longest answer, in octets. Default 64 MiB.
    pub answer_octets_max: usize,
    /// TLS to servers; `None`, the default, speaks in the clear.
    pub tls: Option<Tls>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(127),
            idle_streams_max: 32,
            streams_max: 256,
            answer_octets_max: 64 << 20,
            tls: None,
        }
    }
}

/// Why a call has no result. The texts are those that clients of the reference know.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, or no stream on it in time. Nothing was sent; a retry is safe.
    #[error("rpc error getting client: failed to get conn: {source}")]
    Connect {
        /// Who was called.
        server: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The server says so. What it means for the state is in the text.
    #[error("rpc error making call: {0}")]
    Remote(String),
    /// The stream or connection broke, or the answer cannot be read; the call may have been carried
    /// out.
    #[error("rpc error making call: {0}")]
    Broken(#[source] io::Error),
    /// No answer in time; the call may have been carried out.
    #[error("rpc error making call: no answer within {0:?}")]
    Deadline(Duration),
}

/// Sessions with servers. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: PoolConfig,
    budget: Budget,
    counts: Counts,
    tasks: Tasks,
    servers: Mutex<HashMap<SocketAddr, Arc<Server>>>,
}

/// One server that was called.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// Places for calls.
    places: Semaphore,
    /// Dials that have ended.
    dials: AtomicU64,
    /// Held while dialling, so that callers share one dial.
    slot: tokio::sync::Mutex<Slot>,
    /// It was given up.
    lost: CancellationToken,
}

#[derive(Debug, Default)]
struct Slot {
    session: Option<Arc<Session>>,
    /// How the last dial failed, if it did.
    failure: Option<(io::ErrorKind, String)>,
}

/// All that a call needs before something is sent.
struct Ready<'a> {
    session: Arc<Session>,
    stream: Incoming<Stream>,
    _place: SemaphorePermit<'a>,
}

impl Pool {
    /// No sessions yet.
    pub fn new(config: PoolConfig, metrics: &Metrics, tasks: &Tasks) -> Self {
        Self(Arc::new(Inner {
            config,
            budget: Budget::new(HELD_OCTETS_MAX),
            counts: Counts::of(metrics),
            tasks: tasks.clone(),
            servers: Mutex::default(),
        }))
    }

    /// Calls `method` of a server with a request, one value, and gives its result, one value.
    /// Dropping the future gives the call up: its stream is reset.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        server: SocketAddr,
        method: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, CallError> {
        let inner = &self.0;
        inner.counts.call();
        let called = inner.call(server, method, body, deadline).await;
        called.inspect_err(|error| inner.counts.failed(error))
    }

    /// Gives up a server that has failed. What waits for it fails now, instead of when the
    /// connection is found to be dead; a later call dials anew.
    pub fn give_up(&self, server: SocketAddr) {
        if let Some(server) = self.0.lock().remove(&server) {
            server.lost.cancel();
        }
    }
}

impl Inner {
    async fn call(
        &self,
        address: SocketAddr,
        method: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, CallError> {
        let begin = clock::now();
        let server = self.server(address);
        let ready = tokio::select! {
            biased;
            ready = self.ready(&server, deadline) => ready,
            () = server.lost.cancelled() => Err(lost()),
        };
        let mut ready = ready.map_err(|source| CallError::Connect {
            server: address,
            source,
        })?;
        let session = Arc::clone(&ready.session);
        let _under_way = UnderWay::begin(&session);
        let octets_max = self.config.answer_octets_max;
        let answer = session.exchange(&mut ready.stream, method, body, octets_max);
        let late = |_| {
            Err(CallError::Deadline(
                deadline.saturating_duration_since(begin),
            ))
        };
        let result = tokio::select! {
            biased;
            result = timeout_at(deadline, answer) => result.unwrap_or_else(late),
            () = server.lost.cancelled() => return Err(CallError::Broken(lost())),
        };
        if let Err(CallError::Remote(_)) = &result {
            // As agents do; where that takes too long it is reset, as after any other failure.
            drop(timeout_at(deadline, ready.stream.stream().shutdown()).await);
        }
        let result = result?;
        session.keep(ready.stream, self.config.idle_streams_max);
        Ok(result)
    }

    /// A place and a stream of the session with a server, before `deadline`.
    async fn ready<'a>(&self, server: &'a Arc<Server>, deadline: Instant) -> io::Result<Ready<'a>> {
        let place = timeout_at(deadline, server.places.acquire()).await;
        let place = place.map_err(|_| crowded())?.map_err(io::Error::other)?;
        let found = timeout_at(deadline, self.stream(server)).await;
        let (session, stream) = found.unwrap_or_else(|_| Err(dial::late(server.address)))?;
        // Where nothing has to be waited for, nobody has looked at the clock yet.
        if clock::now() >= deadline {
            return Err(dial::late(server.address));
        }
        Ok(Ready {
            session,
            stream,
            _place: place,
        })
    }

    async fn stream(&self, server: &Arc<Server>) -> io::Result<(Arc<Session>, Incoming<Stream>)> {
        let session = self.session(server).await?;
        if let Ok(stream) = session.stream(&self.budget) {
            return Ok((session, stream));
        }
        // It has ended just now, or takes no more streams: another one, once.
        let session = self.session(server).await?;
        let stream = session.stream(&self.budget)?;
        Ok((session, stream))
    }

    fn server(&self, address: SocketAddr) -> Arc<Server> {
        let mut servers = self.lock();
        if let Some(server) = servers.get(&address) {
            return Arc::clone(server);
        }
        // Those that are neither called nor connected are not kept.
        servers.retain(|_, server| Arc::strong_count(server) > 1 || server.is_connected());
        let server = Arc::new(Server {
            address,
            places: Semaphore::new(self.config.streams_max),
            dials: AtomicU64::new(0),
            slot: tokio::sync::Mutex::default(),
            lost: CancellationToken::new(),
        });
        servers.insert(address, Arc::clone(&server));
        server
    }

    /// The session with a server; a new one where there is none, or none that is good.
    async fn session(&self, server: &Arc<Server>) -> io::Result<Arc<Session>> {
        let seen = server.dials.load(Ordering::Acquire);
        let mut slot = server.slot.lock().await;
        if let Some(session) = slot.session.as_ref().filter(|it| it.is_open()) {
            return Ok(Arc::clone(session));
        }
        // Who came while it was being dialled shares the failure.
        if let Some((kind, text)) = &slot.failure
            && server.dials.load(Ordering::Acquire) != seen
        {
            return Err(io::Error::new(*kind, text.clone()));
        }
        *slot = Slot::default();
        let dialled = self.dial(server.address).await;
        server.dials.fetch_add(1, Ordering::AcqRel);
        let opener = dialled.inspect_err(|error| {
            self.counts.dial_failed();
            slot.failure = Some((error.kind(), error.to_string()));
        })?;
        let session = Arc::new(Session::new(opener, self.counts.session()));
        slot.session = Some(Arc::clone(&session));
        drop(slot);
        self.close_when_idle(server, &session);
        Ok(session)
    }

    /// A new session, within the time for it.
    async fn dial(&self, server: SocketAddr) -> io::Result<Opener> {
        let dialled = dial(server, octet::SESSION, self.config.tls.as_ref());
        let dialled = tokio::time::timeout(self.config.dial_timeout, dialled).await;
        let connection = dialled.unwrap_or_else(|_| Err(dial::late(server)))?;
        let settings = Settings {
            streams_max: 0,
            ..Settings::default()
        };
        Ok(Opener::start(connection, settings, &self.tasks))
    }

    /// Drops a session that has not been used for long; it ends with its streams.
    fn close_when_idle(&self, server: &Arc<Server>, session: &Arc<Session>) {
        let (server, session) = (Arc::downgrade(server), Arc::downgrade(session));
        let timeout = self.config.idle_timeout;
        self.tasks.spawn(async move {
            loop {
                let Some(until) = session.upgrade().map(|it| it.idle_until(timeout)) else {
                    return;
                };
                tokio::time::sleep_until(until).await;
                let (Some(server), Some(session)) = (server.upgrade(), session.upgrade()) else {
                    return;
                };
                let mut slot = server.slot.lock().await;
                if session.idle_until(timeout) <= clock::now() {
                    slot.session.take_if(|it| Arc::ptr_eq(it, &session));
                    return;
                }
            }
        });
    }

    /// A panic elsewhere does not make the table useless.
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    fn is_connected(&self) -> bool {
        let slot = self.slot.try_lock();
        slot.map_or(true, |slot| slot.session.is_some())
    }
}

/// The error of a call to a server that is given up meanwhile.
fn lost() -> io::Error {
    let text = "the server has failed";
    io::Error::new(io::ErrorKind::ConnectionAborted, text)
}

/// The error of a call that waits too long for others to end.
fn crowded() -> io::Error {
    let text = "no stream became free in time";
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests;

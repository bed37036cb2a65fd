//! Shared state on a client agent: asked of servers by the agent RPC.
//!
//! Owns which calls answer a read and carry out a write, when they are repeated, and what their
//! errors mean. Rows become a small state of the catalog, so that who reads need not know whether
//! this agent is a server.
//!
//! **Invariant**: a read is repeated at another server when its connection breaks, a write only
//! where nothing was sent or no leader took it.
//! **Invariant**: the index of an answer is that of the servers.
//!
//! Source: what agents of the reference were seen to call.

mod ask;
mod picture;
mod plan;
mod read;
#[cfg(test)]
mod tests;
mod together;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::wire::{DecodeError, Encode, QueryOptions};
use super::{Config, NoServers, ReadError};
use crate::clock;
use crate::metrics::Metrics;
use crate::msgpack::Writer;
use crate::rpc::{CallError, Caller, CallerError, Pool, PoolConfig, Rotation};
use crate::task::Tasks;
use crate::types::{Consistency, Index, RequestContext};

/// Longest time for a call that does not block, the wait for a leader included.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Reads that keep views current, at a time.
const FOLLOWS_MAX: usize = 1_024;
/// What every hop puts before the text of the one behind it.
const HOP: &str = "rpc error making call: ";

/// Why a server did not give what it was asked for. The texts are those that clients of the
/// reference know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Access control does not allow it. Nothing changed; the same is refused until the rules
    /// change.
    #[error("{0}")]
    Denied(String),
    /// What was asked for is wrong. Nothing changed; the same is refused again.
    #[error("{0}")]
    Refused(String),
    /// No leader was there to carry it out, or no server could be reached. Nothing changed; a retry
    /// may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else. A write may have been carried out.
    #[error("{0}")]
    Failed(String),
}

/// Whom a client agent asks. Clones lead to the same servers.
#[derive(Clone, Debug)]
pub struct Servers {
    rotation: Arc<Rotation>,
    /// For calls that are answered at once.
    calls: Caller,
    /// For reads that wait: they take the places of their sessions for long.
    waits: Caller,
    /// For the reads that keep views current: there may be very many of them, and they must not keep
    /// those of clients waiting.
    follows: Caller,
}

impl Servers {
    /// Nobody yet: see [`Servers::set`].
    pub fn new(config: &PoolConfig, metrics: &Metrics, tasks: &Tasks) -> Self {
        let rotation = Arc::new(Rotation::default());
        let caller = |streams_max| {
            let config = PoolConfig {
                streams_max,
                ..config.clone()
            };
            let pool = Pool::new(config, metrics, tasks);
            Caller::new(pool, Arc::clone(&rotation))
        };
        Self {
            calls: caller(config.streams_max),
            waits: caller(config.streams_max),
            follows: caller(FOLLOWS_MAX),
            rotation,
        }
    }

    /// Takes the lists that gossip gives: who is to be asked, and who has failed. Who waits for one
    /// of those waits no longer.
    pub fn set(&self, servers: &[SocketAddr], failed: &[SocketAddr]) {
        self.rotation.set(servers);
        for caller in [&self.calls, &self.waits, &self.follows] {
            for server in failed {
                caller.give_up(*server);
            }
        }
    }

    /// Number of servers.
    pub fn len(&self) -> usize {
        self.rotation.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Orders them anew every few minutes, so that agents spread over servers.
    pub fn keep_spread(&self, tasks: &Tasks) {
        self.calls.keep_spread(tasks);
    }
}

/// The servers with what this agent knows of itself.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    servers: Servers,
    config: Arc<Config>,
}

impl Remote {
    pub(super) fn new(servers: Servers, config: Arc<Config>) -> Self {
        Self { servers, config }
    }

    /// Number of servers that can be asked.
    pub(super) fn known(&self) -> usize {
        self.servers.len()
    }

    /// Reads by a call that may be repeated.
    async fn ask(
        &self,
        caller: &Caller,
        method: &str,
        request: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, ReadError> {
        let mut others = self.servers.len();
        loop {
            match caller.call(method, request, deadline).await {
                Err(CallerError::Call(CallError::Broken(error)))
                    if others > 0 && clock::now() < deadline =>
                {
                    tracing::debug!("{method} is asked again: {error}");
                    others -= 1;
                }
                answered => return answered.map_err(ReadError::from),
            }
        }
    }

    /// A call that is answered at once and may be repeated.
    async fn ask_now(
        &self,
        context: &RequestContext,
        method: &str,
        request: &impl Encode,
    ) -> Result<Vec<u8>, ReadError> {
        let deadline = deadline(context);
        let request = encoded(request);
        self.ask(&self.servers.calls, method, &request, deadline)
            .await
    }

    /// A call that changes something.
    async fn tell(
        &self,
        context: &RequestContext,
        method: &str,
        request: &[u8],
    ) -> Result<(), ReadError> {
        let called = self.servers.calls.call(method, request, deadline(context));
        called.await.map(drop).map_err(ReadError::from)
    }

    /// The name of the datacenter that is asked.
    fn datacenter<'a>(&'a self, context: &'a RequestContext) -> &'a str {
        let asked = context.datacenter.as_ref();
        asked.unwrap_or(&self.config.datacenter).as_str()
    }
}

fn deadline(context: &RequestContext) -> Instant {
    clock::now() + context.deadline.unwrap_or(CALL_TIMEOUT).min(CALL_TIMEOUT)
}

fn encoded(request: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    request.write(&mut Writer::old(&mut out));
    out
}

/// How a read is to be served, waiting for an index above `index` for up to `wait`.
fn options(context: &RequestContext, index: Index, wait: Duration) -> QueryOptions<'_> {
    QueryOptions {
        allow_stale: context.consistency == Consistency::Stale,
        require_consistent: context.consistency == Consistency::Consistent,
        min_query_index: index.0,
        max_query_time: i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX),
        token: context.token.as_deref().unwrap_or_default().into(),
        ..QueryOptions::default()
    }
}

/// The innermost text, without what the hops have put before it.
fn innermost(mut text: &str) -> &str {
    while let Some(rest) = text.strip_prefix(HOP) {
        text = rest;
    }
    text
}

/// What the text of a server means.
fn told(text: &str) -> ReadError {
    let shown = || format!("{HOP}{text}");
    let inner = innermost(text);
    if inner == "No path to datacenter" {
        return ReadError::NoPathToDatacenter;
    }
    let any = |texts: &[&str]| texts.iter().any(|known| text.contains(known));
    ReadError::Remote(if any(&["Permission denied", "ACL not found"]) {
        RemoteError::Denied(shown())
    } else if any(&["No cluster leader"]) {
        RemoteError::Unavailable(shown())
    } else if is_refusal(inner) {
        RemoteError::Refused(shown())
    } else {
        RemoteError::Failed(shown())
    })
}

/// Whether a server says that what it was asked for is wrong.
fn is_refusal(text: &str) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "failed inserting ",
        "Must provide ",
        "Bad node ID",
        "check node ",
        "Invalid ",
        "Node name ",
        "node name ",
        "service name ",
        "incompatible coordinate",
    ];
    BEGINNINGS.iter().any(|known| text.starts_with(known))
}

impl From<CallerError> for ReadError {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::NoServers => Self::NoServers(NoServers),
            CallerError::Call(CallError::Remote(text)) => told(&text),
            CallerError::Call(error @ CallError::Connect { .. }) => {
                RemoteError::Unavailable(error.to_string()).into()
            }
            CallerError::Call(error @ (CallError::Broken(_) | CallError::Deadline(_))) => {
                RemoteError::Failed(error.to_string()).into()
            }
        }
    }
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> Self {
        RemoteError::Failed(format!("{HOP}{error}")).into()
    }
}

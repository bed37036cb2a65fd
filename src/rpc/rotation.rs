//! Which server is called next, and when a call is repeated.
//!
//! Owns the order of the servers; connections are the [`Pool`]'s. Source: what agents were seen to do,
//! with one and with two servers.
//!
//! **Invariant**: a call is repeated only where nothing was sent, or where the server says that it
//! has no leader to carry it out.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::time::Instant;

use super::{CallError, Pool};
use crate::clock;
use crate::task::Tasks;

/// How long a call waits for a leader in all.
const HOLD: Duration = Duration::from_secs(7);
/// Longest pause before it asks again: a sixteenth of that.
const PAUSE_MAX: Duration = Duration::from_micros(437_500);
/// Least time for an answer with which a call is repeated: one that ends at its deadline tells less
/// than the error before.
const LAST_ATTEMPT: Duration = Duration::from_millis(500);
/// What a server says that knows no leader.
const NO_LEADER: &str = "No cluster leader";
/// Least time between two new orders; the longest is half as much more.
const SHUFFLE_INTERVAL: Duration = Duration::from_secs(120);
/// Longest wait for a sign of life.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Servers in the order in which they are to be called: the first one is, until a call fails.
#[derive(Debug, Default)]
pub struct Rotation {
    servers: Mutex<Vec<SocketAddr>>,
}

impl Rotation {
    /// Takes the list that gossip gives: new ones enter at a random place, those not in it go.
    pub fn set(&self, servers: &[SocketAddr]) {
        let mut known = self.lock();
        known.retain(|server| servers.contains(server));
        for server in servers {
            if !known.contains(server) {
                let place = rand::rng().random_range(0..=known.len());
                known.insert(place, *server);
            }
        }
    }

    /// The one to call.
    pub fn first(&self) -> Option<SocketAddr> {
        self.lock().first().copied()
    }

    /// Number of servers.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A call failed: that server, if it is still the first, goes to the end.
    pub fn failed(&self, server: SocketAddr) {
        let mut known = self.lock();
        if known.first() == Some(&server) {
            known.rotate_left(1);
        }
    }

    /// A new random order, so that agents spread over servers.
    pub fn shuffle(&self) {
        self.lock().shuffle(&mut rand::rng());
    }

    /// A panic elsewhere does not make the list useless.
    fn lock(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a call to the servers has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// There is nobody to ask. Nothing was changed; a retry is safe.
    #[error("No known Consul servers")]
    NoServers,
    /// The last server that was asked did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Calls whichever server is first, and waits for a leader. Clones share the order.
#[derive(Clone, Debug)]
pub struct Caller {
    pool: Pool,
    rotation: Arc<Rotation>,
}

impl Caller {
    /// Calls through `pool`.
    pub fn new(pool: Pool, rotation: Arc<Rotation>) -> Self {
        Self { pool, rotation }
    }

    /// Orders the servers anew every two to three minutes, and moves on from a first one that
    /// shows no sign of life then.
    pub fn keep_spread(&self, tasks: &Tasks) {
        let caller = self.clone();
        tasks.spawn(async move {
            loop {
                let stagger = SHUFFLE_INTERVAL.mul_f64(rand::rng().random::<f64>() / 2.0);
                tokio::time::sleep(SHUFFLE_INTERVAL + stagger).await;
                caller.rotation.shuffle();
                for _ in 0..caller.rotation.len() {
                    if caller.ping().await {
                        break;
                    }
                }
            }
        });
    }

    /// Calls `method`. What is answered with `No cluster leader` is repeated for up to 7 s, while
    /// half a second is left until the deadline; a failed connection goes on to the next server,
    /// once for each.
    ///
    /// # Errors
    /// [`CallerError`], which says whether the call may have been carried out.
    pub async fn call(
        &self,
        method: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, CallerError> {
        let begin = clock::now();
        let last = deadline.checked_sub(LAST_ATTEMPT).unwrap_or(begin);
        let hold = last.min(begin + HOLD);
        let mut others = self.rotation.len().saturating_sub(1);
        loop {
            let server = self.rotation.first().ok_or(CallerError::NoServers)?;
            let error = match self.pool.call(server, method, body, deadline).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            self.rotation.failed(server);
            let now = clock::now();
            match &error {
                CallError::Remote(text) if text.contains(NO_LEADER) => {
                    let Some(pause) = pause(now, hold, rand::rng().random()) else {
                        return Err(error.into());
                    };
                    tokio::time::sleep(pause).await;
                }
                CallError::Connect { .. } if others > 0 && now < deadline => others -= 1,
                _ => return Err(error.into()),
            }
        }
    }

    /// Gives up a server that has failed: what waits for it fails now.
    pub fn give_up(&self, server: SocketAddr) {
        self.pool.give_up(server);
    }

    /// Whether the first server gives a sign of life; else another one is first now.
    async fn ping(&self) -> bool {
        let Some(server) = self.rotation.first() else {
            return true;
        };
        let deadline = clock::now() + PING_TIMEOUT;
        let pong = self
            .pool
            .call(server, "Status.Ping", &[0x80], deadline)
            .await;
        if pong.is_err() {
            self.rotation.failed(server);
        }
        pong.is_ok()
    }
}

/// How long to wait before a server is asked for its leader again, by a `share` from 0 to 1; `None`
/// if that takes longer than `hold`.
fn pause(now: Instant, hold: Instant, share: f64) -> Option<Duration> {
    let pause = PAUSE_MAX.mul_f64(share);
    (now + pause < hold).then_some(pause)
}

#[cfg(test)]
mod tests;

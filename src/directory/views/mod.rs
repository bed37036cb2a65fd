//! The views of a client agent: what DNS asks for, read from servers once and kept current, so that
//! later queries are answered from memory.
//!
//! Owns the client agent's one catalog `Writer`. A name that is wanted for the first time is one
//! stale read, shared by all who ask. If it exists, it becomes a view: a blocking read tells every
//! change (`follow`), until nobody has asked for ten minutes. What does not exist is believed for a
//! second, in a table of its own (`missing`). One task (`keeper`) decides all of this; `held` puts
//! the pictures that servers gave together in the catalog. The view of `consul` is always there:
//! its reads are short, so that it tells whether servers can be reached.
//!
//! **Invariant**: a name that is not held is called missing only after a server has said so.
//! **Invariant**: views are bounded in number. Where there are too many, those that were not used
//! for the longest time go, whatever they are but `consul`; missing names never push one out.
//! **Invariant**: while no server can be reached, no view goes for want of use.

mod budget;
mod follow;
mod held;
mod keeper;
mod missing;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::ReadError;
use crate::catalog::{Reader, Writer};
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::{NodeName, ServiceName};

use self::keeper::{Ask, Keeper};
pub(super) use self::source::{Content, How, Picture, Reading, Source};

/// What DNS may want.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// All instances of a service.
    Service(ServiceName),
    /// A node.
    Node(NodeName),
    /// Who has an address.
    Address(IpAddr),
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(formatter, "service {:?}", name.as_str()),
            Self::Node(name) => write!(formatter, "node {:?}", name.as_str()),
            Self::Address(ip) => write!(formatter, "address {ip}"),
        }
    }
}

/// Whether something exists, as a server has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It does, and is in the catalog now.
    Present,
    /// It does not.
    Missing,
}

/// Why it is not known whether something exists. A retry may succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantError {
    /// Too many names are being asked for the first time.
    #[error("too many names are asked for the first time, try again")]
    Busy,
    /// No server gave an answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A server's answer could not be taken in.
    #[error("the answer of a server makes no sense: {0}")]
    Answer(String),
    /// The agent stops.
    #[error("agent is stopping")]
    Stopping,
}

/// Bounds and times of views.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Views in all.
    views_max: usize,
    /// Of those, addresses: servers have no index by which they find one, and none tells changes.
    addresses_max: usize,
    /// A view that nobody has used for this long goes.
    unused_max: Duration,
    /// The same for an address, which is read again and again meanwhile.
    address_unused_max: Duration,
    /// Names that are known to be missing.
    missing_max: usize,
    /// How long one is believed to be.
    missing_time: Duration,
    /// First reads in a second.
    first_per_second: u32,
    /// First reads at a time.
    first_max: usize,
    /// Of those, addresses: a server looks through all that it has for each.
    addresses_first_max: usize,
    /// Longest time for one.
    first_limit: Duration,
    /// Who may wait to be looked at.
    asks_max: usize,
    /// How often unused views are looked for.
    sweep: Duration,
    /// Times of the reads that keep views current.
    pace: follow::Pace,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            views_max: 8_192,
            addresses_max: 256,
            unused_max: Duration::from_secs(600),
            address_unused_max: Duration::from_secs(30),
            missing_max: 4_096,
            missing_time: Duration::from_secs(1),
            first_per_second: 500,
            first_max: 64,
            addresses_first_max: 8,
            first_limit: Duration::from_secs(3),
            asks_max: 4_096,
            sweep: Duration::from_secs(5),
            pace: follow::Pace::default(),
        }
    }
}

/// Is told how old what a server answered from is.
type Heard = Arc<dyn Fn(Duration) + Send + Sync>;

/// What the views are made of.
pub(super) struct Start {
    pub(super) writer: Writer,
    /// Reads what `writer` writes.
    pub(super) reader: Reader,
    pub(super) source: Arc<dyn Source>,
    pub(super) heard: Heard,
}

/// The door to the views; clones lead to the same.
#[derive(Clone, Debug)]
pub struct Views {
    asks: mpsc::Sender<Ask>,
    woken: watch::Sender<()>,
}

impl Views {
    /// Starts with the view of `consul`.
    pub(super) fn start(config: Config, start: Start, metrics: &Metrics, tasks: &Tasks) -> Self {
        let (asks, asked) = mpsc::channel(config.asks_max);
        let (woken, _) = watch::channel(());
        let keeper = Keeper::new(config, start, woken.clone(), metrics, tasks);
        tasks.spawn(keeper.run(asked));
        Self { asks, woken }
    }

    /// Waits until it is known whether something exists; if it does, it is in the catalog then.
    ///
    /// # Errors
    /// [`WantError`].
    pub async fn want(&self, wanted: Wanted) -> Result<Presence, WantError> {
        self.ask(wanted, false).await
    }

    /// The same as fresh as the leader knows it: by a read that begins after this call.
    ///
    /// # Errors
    /// [`WantError`].
    pub async fn want_fresh(&self, wanted: Wanted) -> Result<Presence, WantError> {
        self.ask(wanted, true).await
    }

    /// There are other servers to ask: what failed is tried again soon.
    pub fn servers_changed(&self) {
        self.woken.send_replace(());
    }

    async fn ask(&self, wanted: Wanted, fresh: bool) -> Result<Presence, WantError> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            wanted,
            fresh,
            answer,
        };
        self.asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WantError::Busy,
            mpsc::error::TrySendError::Closed(_) => WantError::Stopping,
        })?;
        answered.await.unwrap_or(Err(WantError::Stopping))
    }
}

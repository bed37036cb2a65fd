//! One pool: the task that drives its protocol, and what other parts hold of it.
//!
//! [`Pool`] is that; it puts commands into the bounded queue of the one task (`driver`) and reads
//! what that task publishes. Streams have tasks of their own (`serve` for those that come in,
//! `exchange` for those that go out), which ask the one task for this node's state and hand it
//! the other's.
//!
//! **Invariant**: only the driver changes the protocol's state. Others look into it for an instant
//! (coordinates, figures), under a lock that nobody holds while waiting.
//!
//! **Invariant**: once a leave has been told, or the agent stops, the pool answers nothing more.

mod backlog;
mod config;
mod counts;
mod driver;
mod exchange;
mod gate;
mod join;
mod keys;
mod limit;
mod serve;
mod shared;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{broadcast, oneshot, watch};

pub use config::{Config, Network, NetworkError, Scope};
pub use join::{JoinFailure, Joined, RetryError, Target, reasons, retry_join};
pub use keys::KeyReport;

use super::admission::Admission;
use super::coordinate::Coordinate;
use super::serf::{self, KeyOperation, LamportTime, Query, Tags, UserEvent};
use super::snapshot::Store;
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::Member;

use driver::Driver;
use shared::{Command, Shared};

/// Why a pool does not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program may have the port.
    #[error("cannot listen on {address} for gossip: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The tags are too long.
    #[error(transparent)]
    Tags(#[from] serf::SerfError),
    /// A file of the pool cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Why the pool did not do something. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The protocol refuses.
    #[error(transparent)]
    Serf(#[from] serf::SerfError),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopped,
}

/// A running pool. Clones share it.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut pool = formatter.debug_struct("Pool");
        pool.field("scope", &self.shared.scope);
        pool.field("address", &self.shared.address);
        pool.finish_non_exhaustive()
    }
}

impl Pool {
    /// Binds the sockets and starts the pool; joins nobody but those that the snapshot knows.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        config: Config,
        admission: Arc<dyn Admission>,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let store = match &config.snapshot {
            None => None,
            Some(path) => {
                let store = Store::open(path, config.rejoin_after_leave);
                Some(store.map_err(|source| StartError::File {
                    path: path.display().to_string(),
                    source,
                })?)
            }
        };
        let driver = Driver::start(config, admission, store, metrics, tasks)?;
        let shared = driver.shared();
        shared.tasks.spawn(driver.run());
        Ok(Self { shared })
    }

    /// Address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// All members in the order of their names, as last published; never waits.
    pub fn members(&self) -> Arc<[Member]> {
        Arc::clone(&self.shared.members.load())
    }

    /// Changes whenever the members do.
    pub fn members_changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// User events from now on. Who is too slow misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<UserEvent> {
        self.shared.events.subscribe()
    }

    /// Joins the agents at `targets`: names are looked up, each address is tried. Looks first, and
    /// joins only if the admission lets it. Takes at most the stream's deadline for each of the
    /// two.
    pub async fn join(&self, targets: &[Target], ignore_old: bool) -> Joined {
        join::join(&self.shared, targets, ignore_old).await
    }

    /// Tells everybody that this node goes, and waits until they have been told.
    ///
    /// # Errors
    /// The agent is stopping already.
    pub async fn leave(&self) -> Result<(), PoolError> {
        self.ask(Command::Leave).await
    }

    /// Declares that a failed member has left; `prune` forgets it at once.
    ///
    /// # Errors
    /// Nobody has that name.
    pub async fn force_leave(&self, node: &str, prune: bool) -> Result<(), PoolError> {
        let node = node.to_owned();
        let command = |reply| Command::ForceLeave { node, prune, reply };
        Ok(self.ask(command).await??)
    }

    /// Tells all members something.
    ///
    /// # Errors
    /// It is too long.
    pub async fn fire(
        &self,
        name: &str,
        payload: &[u8],
        coalesce: bool,
    ) -> Result<LamportTime, PoolError> {
        let (name, payload) = (name.to_owned(), payload.to_owned());
        let command = |reply| Command::Fire {
            name,
            payload,
            coalesce,
            reply,
        };
        Ok(self.ask(command).await??)
    }

    /// Has all members, this one too, do something with their keys, and waits for their answers.
    ///
    /// # Errors
    /// The agent is stopping.
    pub async fn keys(
        &self,
        operation: KeyOperation,
        relay_factor: u8,
    ) -> Result<KeyReport, PoolError> {
        let query = Query::keys(&operation, relay_factor);
        let asked = self.ask(|reply| Command::Query { query, reply }).await?;
        Ok(keys::report(asked?))
    }

    /// Other tags for this node.
    ///
    /// # Errors
    /// They are too long.
    pub async fn set_tags(&self, tags: Tags) -> Result<(), PoolError> {
        let set = self.ask(|reply| Command::SetTags { tags, reply }).await?;
        Ok(set?)
    }

    /// This node's coordinate.
    pub fn coordinate(&self) -> Coordinate {
        self.shared.protocol().coordinate()
    }

    /// The coordinate of a member as this node last heard it.
    pub fn coordinate_of(&self, name: &str) -> Option<Coordinate> {
        self.shared.protocol().coordinate_of(name)
    }

    /// Whether packets are encrypted.
    pub fn encrypted(&self) -> bool {
        self.shared.keyring.load().is_some()
    }

    /// Figures for people (`info`), by name.
    pub fn figures(&self) -> Vec<(String, String)> {
        let figures = self.shared.protocol().figures();
        let figures = figures.into_iter();
        let mut figures: Vec<_> = figures
            .map(|(name, value)| (name.to_owned(), value.to_string()))
            .collect();
        figures.push(("encrypted".to_owned(), self.encrypted().to_string()));
        figures
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, PoolError> {
        self.shared.ask(command).await.ok_or(PoolError::Stopped)
    }
}

//! The one door to shared state: takes each read and write to where it can be served.
//!
//! On a server that is today always its own catalog; the leader, other servers and other
//! datacenters come behind the same calls. A client agent has no catalog to serve and knows no
//! server to ask: every read and write fails at once and says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rand::RngExt;

use crate::catalog::{
    Command, Operation, Outcome, Reader, Refusal, State, WatchKey, Watcher, open_client,
};
use crate::clock;
use crate::raft::Proposer;
use crate::types::{Datacenter, Index, RequestContext};

mod coordinates;
mod datacenters;
mod draft;
mod event;
mod keyring;
mod locations;
pub mod methods;
mod selection;
mod several;
pub mod turns;
mod wire;

pub use self::coordinates::{CoordinateDraft, LocationDraft, LocationError, ServerLocations};
pub use self::draft::{
    CheckDraft, DeregistrationDraft, RegisterError, RegistrationDraft, ServiceDraft, warn_of_names,
};
pub use self::event::unsent;
pub use self::keyring::{KeyAsking, PoolKeys, RELAY_FACTOR_MAX, RelayFactorError, mistakes};
pub use self::locations::LOCATIONS_PERIOD;
pub use self::selection::{Selection, find_node, instances_of};
pub use self::several::several;
pub use crate::raft::ProposeError;

/// Bounds of reads.
#[derive(Clone, Debug)]
pub struct Config {
    /// The local datacenter.
    pub datacenter: Datacenter,
    /// This server's address for peers (port 8300).
    pub address: SocketAddr,
    /// Wait of a blocking read that names none, or zero. Default 300 s (`default_query_time`).
    pub wait_default: Duration,
    /// Longest wait of a blocking read. Default 600 s (`max_query_time`).
    pub wait_max: Duration,
}

/// Why a read has no answer; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The datacenter is not known.
    #[error("No path to datacenter")]
    NoPathToDatacenter,
    /// A client agent knows no server.
    #[error(transparent)]
    NoServers(#[from] NoServers),
}

/// This is a client agent, which knows no server to ask. Nothing was changed, and the same may
/// succeed once there is one. The text is one that clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No known Consul servers")]
pub struct NoServers;

/// Why a write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The datacenter is not known. Nothing changed.
    #[error("No path to datacenter")]
    NoPathToDatacenter,
    /// A client agent knows no server. Nothing changed.
    #[error(transparent)]
    NoServers(#[from] NoServers),
    /// The catalog refused it. Nothing changed; the same write fails again.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be ordered; see there whether state may have changed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// What a read saw.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The state to read from.
    pub state: Arc<State>,
    /// Last index that changed what this read can see; at least 1.
    pub index: Index,
    /// Whether a leader was known.
    pub known_leader: bool,
    /// How long ago this server last heard from the leader; zero on the leader.
    pub last_contact: Duration,
}

/// The door. Clones lead to the same state.
#[derive(Clone, Debug)]
pub struct Directory {
    config: Arc<Config>,
    reader: Reader,
    /// Where writes are ordered; `None` on a client agent.
    proposer: Option<Proposer>,
    waiting: Arc<locations::Waiting>,
}

impl Directory {
    /// Opens the door to this server's own catalog.
    pub fn new(config: Config, reader: Reader, proposer: Proposer) -> Self {
        Self::open(config, reader, Some(proposer))
    }

    /// The door of a client agent, behind which there is nobody yet.
    pub fn client(config: Config) -> Self {
        Self::open(config, open_client(), None)
    }

    fn open(config: Config, reader: Reader, proposer: Option<Proposer>) -> Self {
        Self {
            config: Arc::new(config),
            reader,
            proposer,
            waiting: Arc::default(),
        }
    }

    /// The local datacenter.
    pub fn datacenter(&self) -> &Datacenter {
        &self.config.datacenter
    }

    /// The leader's address; `None` while there is none.
    ///
    /// # Errors
    /// A client agent knows no server.
    pub fn leader(&self) -> Result<Option<SocketAddr>, NoServers> {
        self.proposer()?;
        Ok(Some(self.config.address))
    }

    /// Addresses of all servers.
    ///
    /// # Errors
    /// A client agent knows no server.
    pub fn peers(&self) -> Result<Vec<SocketAddr>, NoServers> {
        self.proposer()?;
        Ok(vec![self.config.address])
    }

    /// The catalog of this server, for reads that are local by nature; empty on a client agent.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Reads what `key` covers. With `context.index` it waits until the key's index is above it or
    /// the wait (plus up to a sixteenth of jitter) has passed; it then answers all the same.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(
        &self,
        context: &RequestContext,
        key: &WatchKey,
    ) -> Result<Answer, ReadError> {
        self.read_several(context, std::slice::from_ref(key)).await
    }

    /// The same for what several keys cover: the index is the greatest one of theirs.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_several(
        &self,
        context: &RequestContext,
        keys: &[WatchKey],
    ) -> Result<Answer, ReadError> {
        self.check_datacenter(context)
            .ok_or(ReadError::NoPathToDatacenter)?;
        self.proposer()?;
        let deadline = clock::now() + self.wait(context);
        let mut seen = context.index.filter(|index| *index > Index::ZERO);
        loop {
            // The watchers are made before the state is read, so that no change falls between.
            let watchers = seen.map(|_| keys.iter().map(|key| self.reader.watch(key)));
            let watchers = watchers.map(Iterator::collect::<Vec<_>>);
            let state = self.reader.state();
            let indexes = keys.iter().map(|key| state.index_of(key));
            let index = indexes.max().unwrap_or(Index(1));
            if let (Some(mut watchers), Some(last)) = (watchers, seen)
                && index <= last
            {
                // Who waits keeps nothing of a state that others may have left behind long since.
                drop(state);
                let changed = tokio::time::timeout_at(deadline, any_changed(&mut watchers));
                if changed.await.is_err() {
                    seen = None;
                }
                continue;
            }
            return Ok(Answer {
                state,
                index,
                known_leader: true,
                last_contact: Duration::ZERO,
            });
        }
    }

    /// Applies `operations` atomically: once this returns, this server's DNS and HTTP show them.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn write(
        &self,
        context: &RequestContext,
        operations: Vec<Operation>,
    ) -> Result<Index, WriteError> {
        self.check_datacenter(context)
            .ok_or(WriteError::NoPathToDatacenter)?;
        let proposer = self.proposer()?;
        let command = Command {
            request: rand::rng().random(),
            operations,
        };
        match proposer.propose(context, command).await? {
            Outcome::Applied { index } => Ok(index),
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Where writes are ordered.
    fn proposer(&self) -> Result<&Proposer, NoServers> {
        self.proposer.as_ref().ok_or(NoServers)
    }

    fn check_datacenter(&self, context: &RequestContext) -> Option<()> {
        let local = context
            .datacenter
            .as_ref()
            .is_none_or(|asked| *asked == self.config.datacenter);
        local.then_some(())
    }

    /// The wait asked for within its bounds, plus jitter, so that many clients with equal waits do
    /// not come back together.
    pub fn wait(&self, context: &RequestContext) -> Duration {
        let asked = context
            .wait
            .filter(|wait| !wait.is_zero())
            .unwrap_or(self.config.wait_default);
        let wait = asked.min(self.config.wait_max);
        wait + (wait / 16).mul_f64(rand::rng().random())
    }
}

/// Waits until one of them tells of a change.
async fn any_changed(watchers: &mut [Watcher]) {
    let changes = watchers.iter_mut();
    let mut changes: Vec<_> = changes.map(|watcher| Box::pin(watcher.changed())).collect();
    std::future::poll_fn(|context| {
        for change in &mut changes {
            if change.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;

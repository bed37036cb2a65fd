//! The one door to shared state: takes each read and write to where it can be served.
//!
//! A server answers every read from its own memory, once that is as fresh as the read asks for: the
//! leader tells, of which position a default or consistent read must not be behind. Writes go into
//! the log by way of the leader. A client agent has no catalog to serve: `remote` asks servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rand::RngExt;

use crate::catalog::{
    Command, Operation, Outcome, Reader, Refusal, State, WatchKey, Watcher, Writer,
};
use crate::clock;
use crate::metrics::Metrics;
use crate::raft::{FreshError, Raft, Status};
use crate::task::Tasks;
use crate::types::{Consistency, Datacenter, Index, RequestContext};

use self::remote::Remote;

mod coordinates;
mod datacenters;
mod draft;
mod event;
mod keyring;
mod locations;
pub mod methods;
mod remote;
mod selection;
mod several;
pub mod turns;
pub mod views;
mod wire;

pub use self::coordinates::{CoordinateDraft, LocationDraft, LocationError, ServerLocations};
pub use self::draft::{
    CheckDraft, DeregistrationDraft, RegisterError, RegistrationDraft, ServiceDraft, warn_of_names,
};
pub use self::event::unsent;
pub use self::keyring::{KeyAsking, PoolKeys, RELAY_FACTOR_MAX, RelayFactorError, mistakes};
pub use self::locations::LOCATIONS_PERIOD;
pub use self::remote::{RemoteError, Servers};
pub use self::selection::{Selection, find_node, instances_of};
pub use self::several::several;
pub use self::views::{Presence, Views, WantError, Wanted};
pub use crate::raft::ProposeError;

/// What is said of the last contact where there was none: the longest time that agents can read.
const NEVER: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());

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
    /// It cannot be as fresh as it is to be.
    #[error(transparent)]
    Fresh(#[from] FreshError),
    /// A server was asked, and did not answer or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
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
    /// A server was asked; see there whether state may have changed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl WriteError {
    /// Whether the same write would be refused again.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::Remote(RemoteError::Refused(_))
        )
    }
}

impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoPathToDatacenter => Self::NoPathToDatacenter,
            ReadError::NoServers(error) => error.into(),
            ReadError::Remote(error) => error.into(),
            ReadError::Fresh(FreshError::NoLeader | FreshError::NotReady) => {
                ProposeError::NoLeader.into()
            }
        }
    }
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
    /// This server's part in the cluster; `None` on a client agent.
    raft: Option<Raft>,
    /// Whom a client agent asks; `None` on a server.
    remote: Option<Remote>,
    waiting: Arc<locations::Waiting>,
}

impl Directory {
    /// Opens the door to this server's own catalog.
    pub fn new(config: Config, reader: Reader, raft: Raft) -> Self {
        Self {
            config: Arc::new(config),
            reader,
            raft: Some(raft),
            remote: None,
            waiting: Arc::default(),
        }
    }

    /// The door of a client agent that knows nobody.
    #[cfg(test)]
    pub(crate) fn client(config: Config) -> Self {
        let (metrics, tasks) = (crate::metrics::Metrics::new(), crate::task::Tasks::new());
        let servers = Servers::new(&crate::rpc::PoolConfig::default(), &metrics, &tasks);
        let (_, reader) = crate::catalog::open_client();
        Self::through(config, reader, servers)
    }

    /// The door of a client agent, behind which are `servers`; `reader` reads what its views hold.
    pub fn through(config: Config, reader: Reader, servers: Servers) -> Self {
        let config = Arc::new(config);
        Self {
            reader,
            raft: None,
            remote: Some(Remote::new(servers, Arc::clone(&config))),
            waiting: Arc::default(),
            config,
        }
    }

    /// Starts the views of a client agent, which feed DNS through `writer`; `None` on a server, whose
    /// catalog is whole. `heard` is told how old what a server answers from is, each time that one
    /// answers.
    pub fn start_views(
        &self,
        writer: Writer,
        heard: impl Fn(Duration) + Send + Sync + 'static,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Option<Views> {
        let source = Arc::new(self.remote.clone()?);
        let config = views::Config::default();
        let start = views::Start {
            writer,
            reader: self.reader.clone(),
            source,
            heard: Arc::new(heard),
        };
        Some(Views::start(config, start, metrics, tasks))
    }

    /// Waits until this server's memory is as fresh as the leader's is. On a client agent there is
    /// nothing to wait for: its views are read anew instead (see [`Views::want_fresh`]).
    ///
    /// # Errors
    /// [`ReadError`]: no leader told in time.
    pub async fn catch_up(&self) -> Result<(), ReadError> {
        let raft = self.raft()?;
        raft.fresh(Consistency::Default).await?;
        Ok(())
    }

    /// Number of servers that a client agent knows; `None` on a server.
    pub fn known_servers(&self) -> Option<usize> {
        self.remote.as_ref().map(Remote::known)
    }

    /// The local datacenter.
    pub fn datacenter(&self) -> &Datacenter {
        &self.config.datacenter
    }

    /// The leader's address as this server knows it; `None` while there is none.
    ///
    /// # Errors
    /// This is a client agent: see [`Directory::find_leader`].
    pub fn leader(&self) -> Result<Option<SocketAddr>, NoServers> {
        Ok(self.raft()?.status().leader_address)
    }

    /// The leader's address, asked of a server on a client agent; `None` while there is none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn find_leader(&self) -> Result<Option<SocketAddr>, ReadError> {
        match &self.remote {
            Some(remote) => remote.leader().await,
            None => Ok(self.leader()?),
        }
    }

    /// Addresses of all servers, asked of a server on a client agent.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn find_peers(&self) -> Result<Vec<SocketAddr>, ReadError> {
        match &self.remote {
            Some(remote) => remote.peers().await,
            None => Ok(self.peers()?),
        }
    }

    /// Addresses of all servers as this one knows them.
    ///
    /// # Errors
    /// This is a client agent: see [`Directory::find_peers`].
    pub fn peers(&self) -> Result<Vec<SocketAddr>, NoServers> {
        let status = self.raft()?.status();
        let servers = status.servers.iter();
        Ok(servers.map(|server| server.peer.address).collect())
    }

    /// The catalog of this server, for reads that are local by nature; on a client agent what its
    /// views hold.
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
        if let Some(remote) = &self.remote {
            return remote.read(context, keys).await;
        }
        self.check_datacenter(context)
            .ok_or(ReadError::NoPathToDatacenter)?;
        let raft = self.raft()?;
        let mut fresh = self.refresh(raft, context.consistency).await?;
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
                    // What is told after a long wait is to be as fresh as what is told at once.
                    fresh = self.refresh(raft, context.consistency).await?;
                    seen = None;
                }
                continue;
            }
            return Ok(Answer {
                state,
                index,
                known_leader: fresh.known_leader,
                last_contact: fresh.last_contact,
            });
        }
    }

    /// Waits until this server's memory is as fresh as `consistency` asks for. A stale read waits
    /// only where there is no state yet that the cluster had: for a leader, as all else does.
    async fn refresh(&self, raft: &Raft, consistency: Consistency) -> Result<Fresh, FreshError> {
        let status = raft.status();
        let stale = consistency == Consistency::Stale;
        if stale && status.has_state(raft.id()) {
            return Ok(Fresh::stale(&status));
        }
        let least = if stale {
            Consistency::Default
        } else {
            consistency
        };
        raft.fresh(least).await?;
        Ok(Fresh {
            known_leader: true,
            last_contact: Duration::ZERO,
        })
    }

    /// Adds where nodes are to an answer, where a client agent was not told with the rows; of nodes
    /// that are not in it only if `others`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn located(
        &self,
        context: &RequestContext,
        answer: Answer,
        others: bool,
    ) -> Result<Answer, ReadError> {
        match &self.remote {
            Some(remote) => remote.locate_answer(context, answer, others).await,
            None => Ok(answer),
        }
    }

    /// Applies `operations` atomically: once this returns, this server's DNS and HTTP show them. A
    /// client agent has a server apply each of them, one after the other where they are about the
    /// same entry; the index is 0 then, since servers do not tell it.
    ///
    /// # Errors
    /// [`WriteError`]; on a client agent some of several operations may have been applied.
    pub async fn write(
        &self,
        context: &RequestContext,
        operations: Vec<Operation>,
    ) -> Result<Index, WriteError> {
        if let Some(remote) = &self.remote {
            remote.write(context, &operations).await?;
            return Ok(Index::ZERO);
        }
        self.check_datacenter(context)
            .ok_or(WriteError::NoPathToDatacenter)?;
        let raft = self.raft()?;
        let command = Command {
            request: rand::rng().random(),
            operations,
        };
        match raft.propose(context, command).await? {
            Outcome::Applied { index } => Ok(index),
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Where writes are ordered.
    fn raft(&self) -> Result<&Raft, NoServers> {
        self.raft.as_ref().ok_or(NoServers)
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

/// How fresh what a read saw was.
struct Fresh {
    known_leader: bool,
    last_contact: Duration,
}

impl Fresh {
    /// As fresh as this server happens to be.
    fn stale(status: &Status) -> Self {
        let contact = status.last_contact(clock::now());
        Self {
            known_leader: status.leader.is_some(),
            last_contact: contact.unwrap_or(NEVER),
        }
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

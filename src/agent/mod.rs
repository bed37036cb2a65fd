//! An agent: builds the parts from its configuration, starts them in order and stops them in
//! reverse.
//!
//! Owns what belongs to the whole only: the answers to questions about the agent itself
//! (`control`), the pools that it is in, whom it joins and how it leaves (`pools`, `join`,
//! `leave`), reloading its configuration (`reload`), the log (`logging`), the start banner, the
//! process-id file, and how many sockets each part may have open (`descriptors`). What the parts do
//! is theirs.
//!
//! **Invariant**: an agent that failed to start has stopped everything that it had started.

mod answers;
mod banner;
mod client;
mod control;
mod datacenters;
mod descriptors;
mod effective;
mod join;
mod keyring_file;
mod leave;
pub mod logging;
mod machine;
mod pid_file;
mod pools;
mod process;
mod reload;
mod servers;
mod shared;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, NodeIdFileError};
use crate::control::{Control, Leaving, Reloading};
use crate::directory::Directory;
use crate::directory::methods::Methods;
use crate::gossip::membership::Membership;
use crate::gossip::pool::Pool;
use crate::local::{Local, NodeCount};
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::MemberStatus;
use crate::{dns, events, http, local, raft, rpc};

pub use banner::{GREETING, banner};
pub use join::JoinError;
pub use keyring_file::KeyringFileError;
pub use leave::End;
pub use pid_file::PidFileError;
pub use pools::PoolsError;

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this program was built from, if whoever built it said so in
/// `HERALD_REVISION`; else empty.
pub const REVISION: &str = match option_env!("HERALD_REVISION") {
    Some(revision) => revision,
    None => "",
};

/// Longest time for requests and queries in progress when the agent stops.
const DRAIN_FRONT: Duration = Duration::from_millis(1_400);
/// Large answers of the agent RPC that are written at a time: each takes a thread and much memory.
const LARGE_ANSWERS_MAX: usize = 4;
/// Longest time for another server to take the lead over.
const HAND_OVER: Duration = Duration::from_millis(500);
/// Longest time for each further layer.
const DRAIN_BACK: Duration = Duration::from_millis(250);

/// Why an agent does not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refuses a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The services and checks of this node.
    #[error(transparent)]
    Local(#[from] local::StartError),
    /// Raft does not start: its log cannot be read.
    #[error(transparent)]
    Raft(#[from] raft::StartError),
    /// Services or checks of configuration files cannot be registered.
    #[error(transparent)]
    Definitions(#[from] local::FilesError),
    /// Settings of DNS do not go together.
    #[error(transparent)]
    Answers(#[from] dns::SettingsError),
    /// A static zone cannot be loaded.
    #[error(transparent)]
    Zones(#[from] dns::ZonesError),
    /// DNS does not start; another program may have its port.
    #[error(transparent)]
    Dns(#[from] dns::StartError),
    /// HTTP does not start; another program may have its port.
    #[error(transparent)]
    Http(#[from] http::StartError),
    /// The agent RPC does not start; another program may have its port.
    #[error(transparent)]
    Rpc(#[from] rpc::StartError),
    /// The pools do not start; another program may have a port of theirs.
    #[error(transparent)]
    Pools(#[from] PoolsError),
    /// Nobody was reached of those who were to be joined.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The id of the node cannot be kept.
    #[error(transparent)]
    NodeId(#[from] NodeIdFileError),
    /// The process-id file cannot be written.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
}

/// The tasks of an agent by layer; each layer serves those before it.
#[derive(Debug, Default)]
struct Layers {
    /// Talk to clients.
    front: Tasks,
    /// Keep this node and its services in the catalog.
    middle: Tasks,
    /// Order and apply writes; know the other members, and tell them of this one.
    back: Tasks,
}

impl Layers {
    /// Stops front to back, so that what is still in progress finds everything that it needs.
    async fn stop(&self) -> bool {
        let front = self.front.stop(DRAIN_FRONT).await;
        let middle = self.middle.stop(DRAIN_BACK).await;
        let back = self.back.stop(DRAIN_BACK).await;
        front && middle && back
    }
}

/// A running agent. Dropping it without [`Agent::stop`] leaves its tasks to the runtime.
#[derive(Debug)]
pub struct Agent {
    layers: Layers,
    handles: Handles,
    pid_file: Option<pid_file::PidFile>,
}

/// What the parts gave back.
#[derive(Debug)]
struct Handles {
    raft: Option<raft::Raft>,
    dns: Option<dns::Handle>,
    http: http::Handle,
    rpc: Option<SocketAddr>,
    local: Local,
    membership: Membership,
    leaver: Arc<leave::Leaver>,
    ending: leave::Ending,
    reloader: Arc<reload::Reloader>,
}

impl Agent {
    /// Starts every part that `config` asks for; once this returns, DNS and HTTP answer, and on a
    /// server the agent RPC.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_logged(config, logging::Access::default()).await
    }

    /// The same with a log, which it may set when it reloads and which `/v1/agent/monitor` shows;
    /// without one, that shows nothing.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_logged(config: &Config, log: logging::Access) -> Result<Self, StartError> {
        let layers = Layers::default();
        let started = match start_parts(config, log, &layers).await {
            Ok(handles) => config
                .pid_file
                .clone()
                .map(pid_file::PidFile::create)
                .transpose()
                .map(|pid_file| (handles, pid_file))
                .map_err(StartError::from),
            Err(error) => Err(error),
        };
        match started {
            Ok((handles, pid_file)) => Ok(Self {
                layers,
                handles,
                pid_file,
            }),
            Err(error) => {
                layers.stop().await;
                Err(error)
            }
        }
    }

    /// Addresses on which HTTP is served.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        self.handles.http.addresses()
    }

    /// Addresses on which DNS is served, over UDP and TCP.
    pub fn dns_addresses(&self) -> &[SocketAddr] {
        self.handles
            .dns
            .as_ref()
            .map_or(&[], |handle| handle.addresses())
    }

    /// Services and checks of this node.
    pub fn local(&self) -> &Local {
        &self.handles.local
    }

    /// The pools that it is in.
    pub fn membership(&self) -> &Membership {
        &self.handles.membership
    }

    /// Where the agent RPC listens; `None` on a client agent.
    pub fn rpc_address(&self) -> Option<SocketAddr> {
        self.handles.rpc
    }

    /// Leaves the pools, as [`Control::leave`] does. Begins at once, and goes on though nobody
    /// waits; HTTP and DNS answer until [`Agent::stop`].
    pub fn leave(&self) -> Leaving {
        self.handles.leaver.begin()
    }

    /// Waits until the agent is to end by itself: it has left, or cannot go on.
    pub async fn ended(&self) -> End {
        self.handles.ending.wait().await
    }

    /// Reads the configuration again, as [`Control::reload`] does. Begins at once, and goes on
    /// though nobody waits.
    pub fn reload(&self) -> Reloading {
        self.handles.reloader.begin()
    }

    /// Stops accepting, lets what is in progress finish, and ends every task and thread. Takes at
    /// most 2.5 s. Whether everything ended in time.
    ///
    /// A server that leads has another one lead first, so that nobody waits for an election.
    pub async fn stop(self) -> bool {
        if let Some(raft) = &self.handles.raft
            && raft.status().leads()
        {
            drop(tokio::time::timeout(HAND_OVER, raft.step_down()).await);
        }
        let ended = self.layers.stop().await;
        drop(self.pid_file);
        ended
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "the order of the parts is what it is about"
)]
async fn start_parts(
    config: &Config,
    log: logging::Access,
    layers: &Layers,
) -> Result<Handles, StartError> {
    let metrics = Metrics::named(config.metrics.clone());
    let (config, listener) = prepare(config)?;
    let config = &config;
    let server_address = listener.as_ref().map(rpc::Listener::address);
    process::show(&metrics);
    let membership = start_pools(config, &metrics, &layers.back).await?;
    let ending = leave::Ending::new();
    let opened = shared::open(config, &membership, &metrics, layers).await?;
    let (directory, raft) = (opened.directory, opened.raft);
    let memory = (directory.reader().clone(), opened.freshness);
    let seat = servers::seat(config, raft.as_ref());
    let leaver = leave::Leaver::new(
        membership.clone(),
        seat,
        ending.clone(),
        layers.back.clone(),
    );
    let (lan, middle) = (&membership.lan, &layers.middle);
    let local = start_local(config, lan, directory.clone(), &metrics, middle).await?;
    let started = answers::start(config, memory, opened.behind, &metrics, &layers.front).await?;
    let (dns, behind) = started.unzip();
    let (answers, explainer) = behind.unzip();
    let parts = reload::Parts {
        local: local.clone(),
        answers,
        rpc_connections_of_client_max: listener
            .as_ref()
            .map(rpc::Listener::connections_of_client_max),
        dial: log.dial,
        tasks: layers.front.clone(),
    };
    let reloader = Arc::new(reload::Reloader::new(config, parts));
    let control: Arc<dyn Control> = Arc::new(control::AgentControl::new(
        config,
        (directory.clone(), raft.clone()),
        local.clone(),
        dns.clone(),
        log.monitor,
        control::Steering {
            membership: membership.clone(),
            leaver: Arc::clone(&leaver),
            reloader: Arc::clone(&reloader),
        },
    ));
    datacenters::follow(&reloader, &directory, &membership, &layers.middle);
    let events = events::start(membership.lan.events(), local.clone(), &layers.middle);
    let methods = Methods::new(directory.clone(), membership.clone(), LARGE_ANSWERS_MAX);
    let handlers = handlers(methods, raft.as_ref());
    let dependencies = http::Dependencies {
        directory,
        control,
        local: local.clone(),
        explainer,
        membership: Some(membership.clone()),
        events,
    };
    let http = http::start(config.http.clone(), dependencies, &metrics, &layers.front).await?;
    reloader.started(http.clone());
    if let Some(listener) = listener {
        listener.serve(handlers, &metrics, &layers.front);
    }
    join_others(config, &membership, &ending, &layers.middle).await?;
    Ok(Handles {
        raft,
        dns,
        http,
        rpc: server_address,
        local,
        membership,
        leaver,
        ending,
        reloader,
    })
}

/// Who serves which connections of the agent RPC.
fn handlers(methods: Methods, raft: Option<&raft::Raft>) -> rpc::Handlers {
    rpc::Handlers {
        service: Arc::new(methods),
        raft: raft.map(raft::Raft::handler),
    }
}

/// What is settled before any part starts: each part's share of the descriptors, and the port of the
/// agent RPC, which the pools tell others.
fn prepare(config: &Config) -> Result<(Config, Option<rpc::Listener>), StartError> {
    let mut config = config.clone();
    if let Some(limit) = descriptors::raise() {
        let (dns, rpc) = (config.dns.as_mut(), config.rpc.as_mut());
        let checks = &mut config.local.limits;
        descriptors::share(limit, &mut config.http, dns, rpc, checks);
    }
    let listener = config.rpc.clone().map(rpc::Listener::bind).transpose()?;
    if let Some(listener) = &listener {
        let port = listener.address().port();
        config.identity.server_address.set_port(port);
        config.directory.address.set_port(port);
        config.raft.peer.address.set_port(port);
    }
    Ok((config, listener))
}

/// Starts the services and checks of this node, with those that the files define.
async fn start_local(
    config: &Config,
    lan: &Pool,
    directory: Directory,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Local, StartError> {
    let members = lan.clone();
    let mut own = config.local.clone();
    own.sync.nodes = NodeCount::new(move || {
        let members = members.members();
        let alive = members.iter();
        alive.filter(|it| it.status == MemberStatus::Alive).count()
    });
    let local = local::start(own, directory, metrics, tasks)?;
    if !config.identity.server {
        client::tell_servers(config, lan, &local, tasks);
    }
    // Also where they define nothing: what was kept waits for that.
    let limits = config.local.limits.clone();
    local.load(&config.definitions, limits).await?;
    Ok(local)
}

/// Starts the pools, once what must survive a restart is in its place.
async fn start_pools(
    config: &Config,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Membership, StartError> {
    let (config, metrics, tasks) = (config.clone(), metrics.clone(), tasks.clone());
    let start = move || {
        config.identity.keep_node_id()?;
        Ok(pools::start(&config, &metrics, &tasks)?)
    };
    // Files are read and written.
    tokio::task::spawn_blocking(start)
        .await
        .map_err(|error| StartError::Thread(error.into()))?
}

/// Joins whom the agent is told to join. Those of the background go first: they need not wait until
/// a start that takes long has failed.
async fn join_others(
    config: &Config,
    membership: &Membership,
    ending: &leave::Ending,
    tasks: &Tasks,
) -> Result<(), StartError> {
    join::again_and_again(config, membership, ending, tasks);
    join::flood(config.identity.datacenter.clone(), membership, tasks);
    join::at_start(config, membership).await?;
    Ok(())
}

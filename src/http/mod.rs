//! The HTTP API on port 8500: registration, queries, and a page for people.
//!
//! One file per API group; each adds its paths to `routes::Routes`. A handler takes checked
//! values from `extract`, asks [`crate::directory`], and answers through `json`, `reply` and
//! `error`. Services of this node belong to another part; this one only translates.
//!
//! **Invariant**: body, header, connections and every wait have a bound, on every path.
//! **Invariant**: a request that is answered 4xx has changed nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::catalog::WatchKey;
use crate::clients::Clients;
use crate::control::Control;
use crate::directory::{Answer, Directory};
use crate::dns::Explainer;
use crate::events::Events;
use crate::gossip::membership::Membership;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::{Datacenter, Index, RequestContext};

mod agent;
mod agent_about;
mod agent_body;
mod agent_health;
mod agent_members;
mod agent_metrics;
mod agent_monitor;
mod agent_shape;
#[cfg(test)]
mod arbitrary;
mod body;
mod catalog;
mod connection;
mod coordinate;
mod counts;
mod decode;
pub(crate) mod duration;
mod error;
mod event;
mod explain;
mod extract;
mod fields;
mod health;
mod host;
mod json;
mod keyring;
mod operator;
mod path;
mod query;
mod register;
mod reply;
mod routes;
mod select;
mod server;
mod shape;
mod status;
mod ui;

use counts::Counts;
use error::ApiError;
use routes::Routes;
use select::Selection;

/// Large answers written at the same time; further ones wait for their turn.
const LARGE_ANSWERS_MAX: usize = 4;

/// Where to listen, and the bounds of what clients may do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on (`client_addr` or `addresses.http`, with `ports.http`). Port 0 takes
    /// a free one: see [`Handle::addresses`].
    pub listen: Vec<SocketAddr>,
    /// Domains, in lower case, whose names clients may use on a loopback address besides names
    /// without dots (`domain`, `alt_domain`, the node's own name). Default `consul`.
    pub domains: Vec<String>,
    /// Whether `/ui/` is served (`ui`).
    pub ui: bool,
    /// Longest request body, in octets; past it 413. Default 2 MiB.
    pub body_octets_max: usize,
    /// Time in which a whole body must arrive; past it 408. Default 30 s.
    pub body_deadline: Duration,
    /// Octets of bodies in memory over all requests; past it 503. Default 256 MiB.
    pub bodies_octets_max: usize,
    /// Longest request header, in octets; past it 431. At least 8,192, default 65,536.
    pub header_octets_max: usize,
    /// Most header fields; past it 431. Default 100.
    pub header_fields_max: usize,
    /// Time in which a whole header must arrive; past it 408. Default 10 s.
    pub header_deadline: Duration,
    /// Time between requests after which a connection is closed. Default 120 s.
    pub idle_deadline: Duration,
    /// Time in which a client may take nothing of its answer before the connection is closed.
    /// Default 30 s.
    pub write_deadline: Duration,
    /// Connections in all; past it 503. Default 8,192.
    pub connections_max: usize,
    /// Connections of one client address (`limits.http_max_conns_per_client`); past it 429.
    /// Default 200.
    pub client_connections_max: usize,
    /// Whether Prometheus may read the figures: positive if so
    /// (`telemetry.prometheus_retention_time`). Figures are kept for as long as the agent runs,
    /// whatever the time. Default 24 h.
    pub prometheus_retention: Duration,
    /// Time for requests in progress when the agent stops. Default 1 s.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8500))],
            domains: vec!["consul".to_owned()],
            ui: false,
            body_octets_max: 2 * 1024 * 1024,
            body_deadline: Duration::from_secs(30),
            bodies_octets_max: 256 * 1024 * 1024,
            header_octets_max: 65_536,
            header_fields_max: 100,
            header_deadline: Duration::from_secs(10),
            idle_deadline: Duration::from_secs(120),
            write_deadline: Duration::from_secs(30),
            connections_max: 8_192,
            client_connections_max: 200,
            prometheus_retention: Duration::from_secs(24 * 3_600),
            drain: Duration::from_secs(1),
        }
    }
}

/// The parts that the API speaks to.
#[derive(Clone)]
pub struct Dependencies {
    /// Shared state.
    pub directory: Directory,
    /// Services and checks of this node.
    pub local: Local,
    /// The agent.
    pub control: Arc<dyn Control>,
    /// Explains the answers of this agent's DNS; `None` where that is off.
    pub explainer: Option<Explainer>,
    /// The pools of this agent; `None` where the API stands without an agent that is in any.
    pub membership: Option<Membership>,
    /// Events for this agent.
    pub events: Events,
}

/// Why the API does not start. Nothing is left listening.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on; another program may have it.
    #[error("http cannot listen on {address} (tcp): {source}")]
    Listen {
        /// Address and port asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A started API. It runs until its [`Tasks`] stop.
#[derive(Clone, Debug)]
pub struct Handle {
    addresses: Vec<SocketAddr>,
    client_connections_max: Arc<AtomicUsize>,
}

impl Handle {
    /// Addresses listened on, in the order of [`Config::listen`], with the ports they got.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Bounds the connections of one client address from now on; those that are open stay.
    pub fn set_client_connections_max(&self, count: usize) {
        self.client_connections_max.store(count, Ordering::Relaxed);
    }
}

/// Listens on every address and serves the API in the background.
///
/// # Errors
/// [`StartError`].
pub async fn start(
    config: Config,
    dependencies: Dependencies,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Handle, StartError> {
    let counts = Counts::new(metrics);
    let listeners = server::listen(&config.listen).await?;
    let addresses = listeners.iter().map(|(address, _)| *address).collect();
    let api = Arc::new(Api {
        directory: dependencies.directory,
        local: dependencies.local,
        control: dependencies.control,
        explainer: dependencies.explainer,
        membership: dependencies.membership,
        events: dependencies.events,
        counts: counts.clone(),
        metrics: metrics.clone(),
        prometheus_retention: config.prometheus_retention,
        bounds: body::Bounds {
            octets_max: config.body_octets_max,
            deadline: config.body_deadline,
        },
        bodies: body::Budget::new(config.bodies_octets_max),
        large: Arc::new(Semaphore::new(LARGE_ANSWERS_MAX)),
        stopping: tasks.stopping(),
    });
    let groups = catalog::routes(Routes::default());
    let groups = health::routes(status::routes(groups));
    let groups = coordinate::routes(groups);
    let groups = explain::routes(agent::routes(groups));
    let groups = keyring::routes(event::routes(groups));
    let groups = operator::routes(groups);
    let router = ui::routes(groups, config.ui).finish(api);
    let client_connections_max = Arc::new(AtomicUsize::new(config.client_connections_max));
    let clients = Clients::new(config.connections_max, Arc::clone(&client_connections_max));
    server::serve(config, clients, listeners, router, counts, tasks);
    Ok(Handle {
        addresses,
        client_connections_max,
    })
}

/// What every handler can reach.
pub(crate) struct Api {
    /// Shared state.
    pub(crate) directory: Directory,
    /// Services and checks of this node.
    pub(crate) local: Local,
    /// The agent.
    pub(crate) control: Arc<dyn Control>,
    /// Explains the answers of DNS.
    pub(crate) explainer: Option<Explainer>,
    /// The pools of this agent.
    pub(crate) membership: Option<Membership>,
    /// Events for this agent.
    pub(crate) events: Events,
    /// Figures.
    pub(crate) counts: Counts,
    /// All figures of the agent.
    pub(crate) metrics: Metrics,
    /// Positive if Prometheus may read them.
    pub(crate) prometheus_retention: Duration,
    /// Bounds of bodies.
    pub(crate) bounds: body::Bounds,
    /// Memory of bodies.
    pub(crate) bodies: body::Budget,
    /// Turns for writing large answers, each of which takes a thread and much memory.
    pub(crate) large: Arc<Semaphore>,
    stopping: CancellationToken,
}

/// The state that axum hands to handlers.
pub(crate) type Shared = Arc<Api>;

impl Api {
    /// Reads shared state, waiting for a change if the context says so. Ends early when the agent
    /// stops.
    ///
    /// # Errors
    /// The directory cannot read, or the agent stops.
    pub(crate) async fn read(
        &self,
        context: &RequestContext,
        key: &WatchKey,
    ) -> Result<Answer, ApiError> {
        self.read_several(context, std::slice::from_ref(key)).await
    }

    /// Like [`Api::read`]; also wakes on changes of nodes where the selection looks at them.
    ///
    /// # Errors
    /// As [`Api::read`].
    pub(crate) async fn read_selected(
        &self,
        context: &RequestContext,
        key: &WatchKey,
        selection: &Selection,
    ) -> Result<Answer, ApiError> {
        self.read_several(context, &selection.keys(key.clone()))
            .await
    }

    async fn read_several(
        &self,
        context: &RequestContext,
        keys: &[WatchKey],
    ) -> Result<Answer, ApiError> {
        let waits = context.index.is_some_and(|index| index > Index::ZERO);
        let _blocked = waits.then(|| Blocked::new(&self.counts));
        tokio::select! {
            () = self.stopping.cancelled() => {
                Err(ApiError::internal("agent is stopping").retry().close().indexed())
            }
            answer = self.directory.read_several(context, keys) => Ok(answer?),
        }
    }

    /// The same answer with where nodes are, if the selection orders rows by that; also of nodes
    /// that are not in it, if `others` do no harm.
    ///
    /// # Errors
    /// The directory cannot read.
    pub(crate) async fn located(
        &self,
        context: &RequestContext,
        answer: Answer,
        selection: &Selection,
        others: bool,
    ) -> Result<Answer, ApiError> {
        if selection.near.is_none() {
            return Ok(answer);
        }
        Ok(self.directory.located(context, answer, others).await?)
    }

    /// The datacenter whose rows a read shows.
    pub(crate) fn datacenter_of(&self, context: &RequestContext) -> Datacenter {
        let asked = context.datacenter.as_ref();
        asked.unwrap_or(self.directory.datacenter()).clone()
    }

    /// For questions about the local datacenter only.
    ///
    /// # Errors
    /// 400: the context names another one.
    pub(crate) fn check_local(&self, context: &RequestContext) -> Result<(), ApiError> {
        match &context.datacenter {
            Some(asked) if asked != self.directory.datacenter() => {
                Err(ApiError::bad_request("No path to datacenter"))
            }
            _ => Ok(()),
        }
    }
}

/// Counts a waiting read for as long as it lives, also when its client goes away.
struct Blocked<'a>(&'a Counts);

impl<'a> Blocked<'a> {
    fn new(counts: &'a Counts) -> Self {
        counts.blocked.inc();
        Self(counts)
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        self.0.blocked.dec();
    }
}

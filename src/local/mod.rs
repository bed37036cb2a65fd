//! The services and checks of this node.
//!
//! Owns what was registered at this agent, over HTTP or by configuration files, runs the one timer
//! of all its checks, starts their runs (`runs`) within the bounds of [`Limits`], keeps both on disk
//! (`kept`, through `keeper`), and brings the catalog in line (`sync`). The catalog is changed
//! through `directory` alone.
//!
//! **Invariant**: a refused registration changes nothing, and one that was acknowledged survives
//! `kill -9` where there is a data directory.
//! **Invariant**: no lock is held across an await, and readers take none: they load the newest
//! [`LocalState`].
//! **Invariant**: only this node's entries are ever removed from the catalog, and never the
//! servers' own: the service `consul` and the check `serfHealth`.

mod config;
mod core;
mod definition;
mod draft;
mod error;
mod files;
mod followers;
mod gauges;
mod keeper;
mod kept;
mod node;
mod pending;
mod probe;
mod runs;
mod state;
mod sync;
mod turns;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::RngExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::clock;
use crate::directory::Directory;
use crate::health::{Runner, RunnerConfig};
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::{CheckId, Meta, Node, NodeName, ServiceId};

pub use self::config::{Config, Limits, SyncConfig};
use self::core::Core;
pub use self::definition::{CheckDefinition, ServiceDefinition};
pub use self::draft::{CheckDraft, DraftError, LIST_LENGTH_MAX, RESULTS_MAX, ServiceDraft};
pub use self::error::{
    ChangeError, KeepError, MaintenanceError, RegisterError, ReportError, UnknownCheck,
    UnknownService,
};
pub use self::files::{FileDefinitions, FilesError, Placed};
use self::gauges::Gauges;
pub use self::kept::{FileError, OpenError};
use self::kept::{Kept, Record};
pub use self::node::node_entry;
pub use self::state::{Health, LocalCheck, LocalState};
pub use self::sync::NodeCount;
use self::turns::Weight;
pub use crate::health::{Mechanism, MechanismError, Report, Settings};

/// Why the part cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A duration or number that must not be zero is.
    #[error("{what} is zero, it must be more")]
    Zero {
        /// The setting.
        what: &'static str,
    },
    /// What is kept on the disk cannot be used.
    #[error(transparent)]
    Kept(#[from] OpenError),
}

/// The services and checks of this node. Clones share them.
#[derive(Clone, Debug)]
pub struct Local {
    shared: Arc<Shared>,
    /// Whoever keeps changes on the disk, where there is one.
    keeper: Option<mpsc::Sender<Box<dyn keeper::Change>>>,
}

#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    published: ArcSwap<LocalState>,
    node: ArcSwap<Node>,
    node_name: NodeName,
    acknowledge_wait: Duration,
    sync_wake: Notify,
    keep_wake: Notify,
    servers_wake: Notify,
    timer_wake: Notify,
    light_wake: Notify,
    heavy_wake: Notify,
    /// Generation up to which the catalog was told.
    synced: watch::Sender<u64>,
    /// Counts changes of services.
    services_changed: watch::Sender<u64>,
    gauges: Gauges,
}

/// Starts the timer of all checks, and the task that keeps the catalog in line.
///
/// # Errors
/// [`StartError`]: the configuration cannot work.
pub fn start(
    config: Config,
    directory: Directory,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Local, StartError> {
    config.check()?;
    let kept = config.data_dir.as_deref().map(Kept::open).transpose()?;
    let shared = Arc::new(Shared {
        core: Mutex::new(Core::new(
            config.limits.clone(),
            config.server,
            config.node.name.clone(),
            rand::rng().random(),
        )),
        published: ArcSwap::default(),
        node_name: config.node.name.clone(),
        node: ArcSwap::from_pointee(config.node),
        acknowledge_wait: config.sync.acknowledge_wait,
        sync_wake: Notify::new(),
        keep_wake: Notify::new(),
        servers_wake: Notify::new(),
        timer_wake: Notify::new(),
        light_wake: Notify::new(),
        heavy_wake: Notify::new(),
        synced: watch::Sender::new(0),
        services_changed: watch::Sender::new(0),
        gauges: Gauges::new(metrics),
    });
    let keeper = kept.map(|kept| start_keeper(&shared, kept, metrics, tasks));
    let runs = runs::Runs {
        shared: Arc::clone(&shared),
        directory: directory.clone(),
        runner: Arc::new(Runner::new(RunnerConfig::default())),
        tasks: tasks.clone(),
        counts: runs::Counts::new(metrics),
    };
    runs.start(&config.limits);
    let sync = sync::Sync {
        shared: Arc::clone(&shared),
        directory,
        config: config.sync,
        counts: sync::Counts::new(metrics),
    };
    tasks.spawn(sync.run());
    let timed = Arc::clone(&shared);
    tasks.spawn(async move { timed.keep_time().await });
    Ok(Local { shared, keeper })
}

/// Takes up what was kept, and goes on keeping it.
fn start_keeper(
    shared: &Arc<Shared>,
    (kept, found): (Kept, kept::Found),
    metrics: &Metrics,
    tasks: &Tasks,
) -> mpsc::Sender<Box<dyn keeper::Change>> {
    let wall = clock::since_epoch();
    shared.change(|core, now| core.restore(now, wall, found));
    let (sender, queue) = mpsc::channel(keeper::WAITING_MAX);
    let keeper = keeper::Keeper::new(Arc::clone(shared), kept, keeper::Counts::new(metrics));
    tasks.spawn_draining(keeper.run(queue, tasks.stopping()));
    sender
}

impl Local {
    /// The newest state of everything registered here. Lock-free.
    pub fn state(&self) -> Arc<LocalState> {
        self.shared.published.load_full()
    }

    /// This node's own entry, whose metadata a reload may change.
    pub fn node(&self) -> Arc<Node> {
        self.shared.node.load_full()
    }

    /// The name of this node, constant while the agent runs.
    pub fn node_name(&self) -> &NodeName {
        &self.shared.node_name
    }

    /// Fires with every change of the services (not the checks) of this agent.
    pub fn services_changed(&self) -> watch::Receiver<u64> {
        self.shared.services_changed.subscribe()
    }

    /// Adds or replaces a service. Checks that it has and that are not in `definition` stay, unless
    /// `replace_checks`; those that are in both keep their status and output.
    ///
    /// Returns once it is on the disk, where there is one, and the catalog has it (DNS then answers
    /// it), or after the time that changes wait for the catalog at most; it is then still brought
    /// there.
    ///
    /// # Errors
    /// [`RegisterError`], or it cannot be kept: nothing changed.
    pub async fn register_service(
        &self,
        definition: ServiceDefinition,
        replace_checks: bool,
    ) -> Result<(), ChangeError<RegisterError>> {
        let planned = definition.clone();
        self.keep(
            move |core| core.plan_service(&planned, replace_checks),
            move |core, now| core.register_service(now, definition, replace_checks),
        )
        .await
    }

    /// Removes a service and its checks; returns as [`Local::register_service`] does.
    ///
    /// # Errors
    /// There is no such service, or its removal cannot be kept: nothing changed.
    pub async fn deregister_service(
        &self,
        id: &ServiceId,
    ) -> Result<(), ChangeError<UnknownService>> {
        let (planned, id) = (id.clone(), id.clone());
        self.keep(
            move |core| core.plan_no_service(&planned),
            move |core, _| core.deregister_service(&id),
        )
        .await
    }

    /// Adds or replaces a check of the node or of a service. One that is already there keeps its
    /// status and output. Returns as [`Local::register_service`] does.
    ///
    /// # Errors
    /// [`RegisterError`]: nothing changed.
    pub async fn register_check(
        &self,
        definition: CheckDefinition,
    ) -> Result<(), ChangeError<RegisterError>> {
        let planned = definition.clone();
        self.keep(
            move |core| core.plan_check(&planned),
            move |core, now| core.register_check(now, definition),
        )
        .await
    }

    /// Removes a check; returns as [`Local::register_service`] does.
    ///
    /// # Errors
    /// There is no such check, or its removal cannot be kept: nothing changed.
    pub async fn deregister_check(&self, id: &CheckId) -> Result<(), ChangeError<UnknownCheck>> {
        let (planned, id) = (id.clone(), id.clone());
        self.keep(
            move |core| core.plan_no_check(&planned),
            move |core, _| core.deregister_check(&id),
        )
        .await
    }

    /// Takes a service's report about itself for a TTL check. Another status returns as
    /// [`Local::register_service`] does; another output alone reaches the catalog later.
    ///
    /// # Errors
    /// [`ReportError`]: nothing changed.
    pub async fn report(&self, id: &CheckId, report: Report) -> Result<(), ReportError> {
        self.change(|core, now| core.report(now, id, report)).await
    }

    /// Puts the node into maintenance with a reason, which may be empty, or takes it out. In
    /// maintenance already, it keeps its reason.
    ///
    /// # Errors
    /// It cannot be kept: nothing changed.
    pub async fn node_maintenance(
        &self,
        reason: Option<&str>,
    ) -> Result<(), ChangeError<Infallible>> {
        let reason = reason.map(str::to_owned);
        let planned = reason.clone();
        self.keep(
            move |core| Ok(core.plan_node_maintenance(planned.as_deref())),
            move |core, now| {
                core.node_maintenance(now, reason.as_deref());
                Ok(())
            },
        )
        .await
    }

    /// Puts a service into maintenance with a reason, which may be empty, or takes it out. In
    /// maintenance already, it keeps its reason.
    ///
    /// # Errors
    /// [`MaintenanceError`], or it cannot be kept: nothing changed.
    pub async fn service_maintenance(
        &self,
        id: &ServiceId,
        reason: Option<&str>,
    ) -> Result<(), ChangeError<MaintenanceError>> {
        let (id, reason) = (id.clone(), reason.map(str::to_owned));
        let planned = (id.clone(), reason.clone());
        self.keep(
            move |core| core.plan_service_maintenance(&planned.0, planned.1.as_deref()),
            move |core, now| core.service_maintenance(now, &id, reason.as_deref()),
        )
        .await
    }

    /// Registers the services and checks of configuration files and removes those that only the
    /// files before had; what was registered over HTTP stays. `limits` hold from now on. Returns as
    /// [`Local::register_service`] does.
    ///
    /// # Errors
    /// [`FilesError`]: nothing changed.
    pub async fn load(
        &self,
        definitions: &FileDefinitions,
        limits: Limits,
    ) -> Result<(), FilesError> {
        self.change(|core, now| core.load(now, definitions, limits))
            .await
    }

    /// A server has joined: within 2 s everything is compared with the catalog, and what failed for
    /// want of a server is tried again.
    pub fn servers_changed(&self) {
        self.shared.servers_wake.notify_one();
    }

    /// Gives this node other metadata, and tells the catalog.
    pub async fn set_meta(&self, meta: Meta) {
        let node = self.node();
        if node.meta == meta {
            return;
        }
        let node = Node {
            meta,
            ..Node::clone(&node)
        };
        self.shared.node.store(Arc::new(node));
        self.change(|core, _| core.mark_node()).await;
    }

    /// Changes the core, and waits until the catalog was told if there is something to tell.
    async fn change<T>(&self, change: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let (result, generation) = self.shared.change(change);
        self.wait_until_told(generation).await;
        result
    }

    /// The same for a change that must be on the disk first: `plan` says as what, and refuses it
    /// as `apply` would.
    async fn keep<E: Send + 'static>(
        &self,
        plan: impl FnOnce(&Core) -> Result<Vec<Record>, E> + Send + 'static,
        apply: impl FnOnce(&mut Core, Instant) -> Result<(), E> + Send + 'static,
    ) -> Result<(), ChangeError<E>> {
        let Some(keeper) = &self.keeper else {
            return self.change(apply).await.map_err(ChangeError::Refused);
        };
        let (change, told) = keeper::change(plan, apply);
        keeper.try_send(change).map_err(|error| {
            ChangeError::Keep(match error {
                mpsc::error::TrySendError::Full(_) => KeepError::Busy {
                    limit: keeper::WAITING_MAX,
                },
                mpsc::error::TrySendError::Closed(_) => KeepError::Stopping,
            })
        })?;
        let told = told.await;
        let ((), generation) = told.unwrap_or(Err(ChangeError::Keep(KeepError::Stopping)))?;
        self.wait_until_told(generation).await;
        Ok(())
    }

    async fn wait_until_told(&self, generation: Option<u64>) {
        let Some(generation) = generation else {
            return;
        };
        let mut synced = self.shared.synced.subscribe();
        let told = synced.wait_for(|synced| *synced >= generation);
        // Past the wait the change stands all the same, and stays on its way.
        drop(tokio::time::timeout(self.shared.acknowledge_wait, told).await);
    }
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("no holder of this lock panics")
    }

    /// Changes the core and publishes; the generation to wait for where the catalog is to be told.
    fn change<T>(&self, change: impl FnOnce(&mut Core, Instant) -> T) -> (T, Option<u64>) {
        let mut core = self.core();
        let (generation, next) = (core.generation(), core.next());
        let result = change(&mut core, clock::now());
        self.publish(&mut core);
        if core.next() != next {
            self.timer_wake.notify_one();
        }
        for weight in [Weight::Light, Weight::Heavy] {
            if core.has_turns(weight) {
                self.turn_wake(weight).notify_one();
            }
        }
        if core.has_changes() {
            self.keep_wake.notify_one();
        }
        let told = core.generation();
        drop(core);
        if told == generation {
            return (result, None);
        }
        self.sync_wake.notify_one();
        (result, Some(told))
    }

    /// Wakes whoever starts the runs of this weight.
    fn turn_wake(&self, weight: Weight) -> &Notify {
        match weight {
            Weight::Light => &self.light_wake,
            Weight::Heavy => &self.heavy_wake,
        }
    }

    fn publish(&self, core: &mut Core) {
        self.gauges.show(core);
        let (new, old) = (core.state(), self.published.load());
        let services_differ = !new.services.ptr_eq(&old.services);
        if services_differ || !new.checks.ptr_eq(&old.checks) {
            self.published.store(Arc::new(new.clone()));
        }
        if services_differ {
            self.services_changed.send_modify(|count| *count += 1);
        }
    }

    /// Calls the core whenever a deadline of any check is reached.
    async fn keep_time(&self) {
        loop {
            let next = self.core().next();
            tokio::select! {
                () = self.timer_wake.notified() => {}
                () = sleep_until(next) => drop(self.change(Core::tick)),
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

//! Starts one server: log, snapshot, state machine, library, in this order and on its thread.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::network::NetSnapshot;
use openraft::storage::RaftLogStorage;
use openraft::{RaftMetrics, RaftNetworkFactory};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::catalog::Writer;
use crate::clock;
use crate::metrics::Metrics;
use crate::raft::log_store::{Claim, LogStore, remedy};
use crate::raft::peer::Asks;
use crate::raft::proposer::{self, Proposer};
use crate::raft::snapshots::{Image, Kept, Loaded};
use crate::raft::state_machine::{StateMachine, Told, recover};
use crate::raft::types::Types;
use crate::raft::{StartError, Wires};
use crate::task::Tasks;

use super::{Config, Core, Heard, Library, Node, Peers, Timers, observe, reads, recall, timers};

/// Longest time for the library to end.
const END: Duration = Duration::from_secs(5);

/// Longest time for the library to tell what it has read.
const TELL: Duration = Duration::from_secs(10);

/// What a start hands to those who use the server.
type Started = (Arc<Node>, Proposer);

/// All that a start needs.
struct Parts<N> {
    config: Config,
    writer: Writer,
    network: N,
    asks: Arc<dyn Asks>,
    cluster: watch::Sender<Option<u128>>,
    peers: Arc<dyn Peers>,
    metrics: Metrics,
    tasks: Tasks,
    running: CancellationToken,
}

/// Starts the server on a thread of its own. Once this returns, what was kept is applied up to
/// where it was known to be decided.
///
/// # Errors
/// [`StartError`].
pub(in crate::raft) async fn start<N>(
    config: Config,
    writer: Writer,
    (network, asks, cluster): Wires<N>,
    peers: Arc<dyn Peers>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Started, StartError>
where
    N: RaftNetworkFactory<Types>,
    N::Network: NetSnapshot<Types, SnapshotData = Image>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("herald-raft-io")
        .max_blocking_threads(4)
        .build()
        .map_err(StartError::Thread)?;
    let (ready, started) = oneshot::channel();
    let parts = Parts {
        config,
        writer,
        network,
        asks,
        cluster,
        peers,
        metrics: metrics.clone(),
        tasks: tasks.clone(),
        running: CancellationToken::new(),
    };
    tasks
        .spawn_thread("herald-raft", move || {
            runtime.block_on(run(parts, ready));
            runtime.shutdown_timeout(END);
        })
        .map_err(StartError::Thread)?;
    let gone = |_| StartError::Log("the log was not opened: the agent stops".to_owned());
    started.await.map_err(gone)?
}

/// The life of the thread.
async fn run<N>(parts: Parts<N>, ready: oneshot::Sender<Result<Started, StartError>>)
where
    N: RaftNetworkFactory<Types>,
    N::Network: NetSnapshot<Types, SnapshotData = Image>,
{
    let (stopping, running) = (parts.tasks.stopping(), parts.running.clone());
    let (library, log) = match open(parts).await {
        Ok(started) => {
            let (library, log) = (started.0.core.library.clone(), started.0.log.clone());
            // Nobody waits any more: then the node is dropped here, and all ends below.
            drop(ready.send(Ok(started)));
            (library, log)
        }
        Err(error) => return drop(ready.send(Err(error))),
    };
    tokio::select! {
        () = stopping.cancelled() => {}
        () = running.cancelled() => {}
    }
    if tokio::time::timeout(END, library.shutdown()).await.is_err() {
        tracing::warn!("Raft has not ended in {END:?}");
    }
    log.end();
}

async fn open<N>(parts: Parts<N>) -> Result<Started, StartError>
where
    N: RaftNetworkFactory<Types>,
    N::Network: NetSnapshot<Types, SnapshotData = Image>,
{
    let (config, tasks) = (&parts.config, &parts.tasks);
    let directory = config.directory.as_deref();
    let (mut log, kept, loaded) = open_kept(config, tasks).await?;
    let fresh = log.owner().is_none() && !log.has_promised();
    let recall = recall::Recall::open(directory, fresh).map_err(log_error)?;
    let recall = Arc::new(recall);
    own(&log, config).await?;
    parts.cluster.send_replace(log.cluster());
    let reaches = loaded.as_ref().and_then(|loaded| loaded.meta.last_log_id);
    let state = log.get_log_state().await.map_err(log_error)?;
    if state.last_purged_log_id > reaches {
        return Err(StartError::Log(gap(config)));
    }
    let recovered = recover(parts.writer, loaded, &mut log).await;
    let recovered = recovered.map_err(log_error)?;
    let told = Told::new(&parts.metrics);
    let machine = StateMachine::start(recovered, kept.clone(), told.clone(), tasks);
    let machine = machine.map_err(StartError::Thread)?;
    let library_config = timers::config(config.multiplier, config.compaction).validate();
    let library_config = Arc::new(library_config.map_err(log_error)?);
    let library = Library::new(
        config.id,
        library_config,
        parts.network,
        log.clone(),
        machine,
    );
    let library = library.await.map_err(log_error)?;
    library.runtime_config().elect(recall.is_whole());
    // It tells what it has read of the log only once it runs: whoever asks who the servers are, as
    // soon as this one has started, must not hear of none.
    if let Some(last) = state.last_log_id {
        let wait = library.wait(Some(TELL));
        let told = |metrics: &RaftMetrics<Types>| metrics.last_log_index >= Some(last.index);
        let told = wait.metrics(told, "what was kept is told");
        told.await.map_err(log_error)?;
    }
    let timers = Timers::new(config.multiplier);
    let core = Core {
        id: config.id,
        library,
        asks: parts.asks,
        status: watch::channel(Arc::default()).0,
        applied: told.applied.clone(),
        timers,
        hold: config.hold,
        deadline: config.bounds.deadline,
        log: log.condition(),
        recall,
    };
    let heard = Arc::<Heard>::default();
    let peers = Arc::clone(&parts.peers);
    observe::start(&core, peers, Arc::clone(&heard), told, &parts.metrics);
    let (proposer, porter) = proposer::start(&config.bounds, core.clone(), &parts.metrics);
    // Whoever was a part of a cluster may have promised a leader, just before it ended, to vote for
    // nobody else during the lease.
    let promised = log.has_promised();
    let node = Node {
        reads: reads::Reads::start(&core),
        core,
        porter,
        log,
        cluster: parts.cluster,
        peers: parts.peers,
        kept,
        heard,
        runtime: tokio::runtime::Handle::current(),
        changing: Arc::default(),
        votes_from: promised.then(|| clock::now() + timers.lease),
        _running: parts.running.drop_guard(),
    };
    Ok((Arc::new(node), proposer))
}

/// Opens the log, and reads the newest snapshot beside it: both take their time, and neither needs
/// the other.
async fn open_kept(
    config: &Config,
    tasks: &Tasks,
) -> Result<(LogStore, Kept, Option<Loaded>), StartError> {
    let start = clock::monotonic();
    let directory = config.directory.clone();
    let claim = directory.as_deref().map(Claim::take).transpose();
    let claim = claim.map_err(log_error)?;
    let reading = tokio::task::spawn_blocking(move || Kept::open(directory.as_deref()));
    let log = LogStore::open_claimed(claim, tasks).map_err(log_error)?;
    tracing::debug!("the log was read in {:?}", start.elapsed());
    let read = reading.await.map_err(log_error)?;
    let (kept, loaded) = read.map_err(log_error)?;
    tracing::debug!("the snapshot was read in {:?}", start.elapsed());
    Ok((log, kept, loaded))
}

/// Makes the log this server's, unless it is another one's.
async fn own(log: &LogStore, config: &Config) -> Result<(), StartError> {
    match log.owner() {
        Some(owner) if owner != config.id => Err(StartError::Log(format!(
            "the log in {} is that of server {owner}, and this one is {}: start it with its id \
             (node-id), or move the directory away: it then begins anew",
            config
                .directory
                .as_deref()
                .unwrap_or(Path::new("memory"))
                .display(),
            config.id,
        ))),
        Some(_) => Ok(()),
        None => log.set_owner(config.id).await.map_err(log_error),
    }
}

fn log_error(error: impl std::fmt::Display) -> StartError {
    StartError::Log(error.to_string())
}

/// The log begins behind what the snapshots hold.
fn gap(config: &Config) -> String {
    let directory = config.directory.as_deref().unwrap_or(Path::new("memory"));
    format!(
        "the log in {} begins later than its newest readable snapshot ends, so what is between \
         them is lost here; {}",
        directory.display(),
        remedy(directory)
    )
}

//! Turns members of the LAN pool into entries of the catalog and servers into voters, on the server
//! that leads; and begins a cluster where there is none (`bootstrap`).
//!
//! Whoever is alive has a node with the check `serfHealth`, servers also the service `consul`. Who
//! fails becomes critical, who leaves goes. `plan` decides, without I/O; a task looks at every
//! change of the members, and every so often without one, and proposes what differs. What a node
//! says of itself (metadata, further addresses) is for its agent to keep.
//!
//! **Invariant**: this server's own node never goes because of what is said of it.
//! **Invariant**: servers that are not of herald have no entry.
//! **Invariant**: nothing is proposed where nothing differs, and no command has more than 128
//! operations, unless all of them belong to one node.

mod bootstrap;
mod entry;
#[cfg(test)]
mod fixture;
mod plan;
mod voters;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::watch;

use crate::catalog::{Command, Deregistration, Operation, Outcome, Reader, Refusal};
use crate::clock;
use crate::gossip::pool::Pool;
use crate::raft::{Peer, ProposeError, Raft, ServerId, Status};
use crate::task::Tasks;
use crate::types::{Datacenter, Member, Node, NodeName, RequestContext};

/// First pause after a failed write.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Shortest time between two looks, so that a pool in turmoil does not take a whole core.
const PACE: Duration = Duration::from_millis(20);
/// When to look again after a node was removed: an agent of Consul may register itself once more
/// while it leaves, which takes it some three seconds.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Operations in one command: bounds its size in the log.
const OPERATIONS_MAX: usize = 128;

/// Whose server this is.
#[derive(Clone, Debug)]
pub struct Config {
    /// This agent's node, as it is created if it is missing.
    pub node: Node,
    /// Its datacenter; members of others have no entry.
    pub datacenter: Datacenter,
    /// Time between two looks where no member changes, and the longest pause after failures; not
    /// zero. Nodes that nobody in the pool knows go no earlier than this long after the start.
    /// Default 60 s.
    pub interval: Duration,
}

/// This server, as a part of the cluster that it is to be in.
#[derive(Clone, Debug)]
pub struct OwnServer {
    /// Who it is.
    pub id: ServerId,
    /// Its name and where it takes connections of others.
    pub peer: Peer,
    /// Its datacenter; servers of others are in other clusters.
    pub datacenter: Datacenter,
    /// Whether it founds a cluster alone if it is in none.
    pub bootstrap: bool,
    /// Servers to wait for before it founds one with them; 0 if it founds none that way.
    pub expect: u32,
    /// Whether it is told whom to join, so that there may be a cluster that it does not see yet.
    pub joins: bool,
}

/// Where members are read.
pub trait Members: Send + Sync + 'static {
    /// All members, as last published.
    fn members(&self) -> Arc<[Member]>;

    /// Changes whenever they do.
    fn members_changed(&self) -> watch::Receiver<u64>;
}

impl Members for Pool {
    fn members(&self) -> Arc<[Member]> {
        Self::members(self)
    }
    fn members_changed(&self) -> watch::Receiver<u64> {
        Self::members_changed(self)
    }
}

/// Members that never change: those of an agent without a pool.
impl Members for Arc<[Member]> {
    fn members(&self) -> Self {
        Self::clone(self)
    }
    fn members_changed(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

/// Starts to keep the catalog in line with `members`.
pub fn start(config: Config, members: impl Members, reader: Reader, raft: Raft, tasks: &Tasks) {
    let reconciler = Reconciler {
        config,
        members,
        reader,
        raft,
        unusable: Vec::new(),
    };
    tasks.spawn(reconciler.run());
}

/// Starts to found a cluster if this server is to, and, while it leads one, to make its servers those
/// of `members`.
pub fn start_servers(own: OwnServer, members: impl Members + Clone, raft: &Raft, tasks: &Tasks) {
    let founding = bootstrap::run(own.clone(), members.clone(), raft.clone());
    tasks.spawn(founding);
    tasks.spawn(voters::run(own, members, raft.clone()));
}

/// Why a round was not completed. What it has changed stays, and the next round finds the rest.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error("{refused} of {all} operations were refused, the last one because: {reason}")]
    Refused {
        refused: usize,
        all: usize,
        reason: Refusal,
    },
}

struct Reconciler<M> {
    config: Config,
    members: M,
    reader: Reader,
    raft: Raft,
    /// Names that were complained about.
    unusable: Vec<String>,
}

impl<M: Members> Reconciler<M> {
    /// Works while this server leads.
    async fn run(mut self) {
        let mut status = self.raft.status_changed();
        while status.wait_for(|status| status.leads()).await.is_ok() {
            tokio::select! {
                () = self.lead() => {}
                () = lost(status.clone()) => {}
            }
        }
    }

    async fn lead(&mut self) {
        let mut changes = self.members.members_changed();
        // Whoever led before may have known less of who is in the pool, and after a start so may
        // this one.
        let reap_from = clock::now() + self.config.interval;
        let mut retry = RETRY_MIN;
        loop {
            changes.borrow_and_update();
            let (shortest, longest) = match self.round(clock::now() >= reap_from).await {
                Ok(removed) => {
                    retry = RETRY_MIN;
                    let longest = if removed {
                        LAST_WORD
                    } else {
                        self.config.interval
                    };
                    (PACE, longest.min(self.config.interval))
                }
                Err(error) => {
                    let pause = retry;
                    retry = (retry * 2).min(self.config.interval);
                    tracing::warn!(
                        "the catalog does not follow the members, next attempt in {pause:?}: {error}"
                    );
                    (RETRY_MIN, pause)
                }
            };
            let until = clock::now() + longest;
            tokio::time::sleep(shortest).await;
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = changed(&mut changes) => {}
            }
        }
    }

    /// Whether a node was removed.
    async fn round(&mut self, reap: bool) -> Result<bool, RoundError> {
        let (members, state) = (self.members.members(), self.reader.state());
        let plan = plan::plan(&self.config, &members, &state, reap);
        for name in news(&mut self.unusable, plan.unusable) {
            tracing::warn!("member {name:?} gets no node: its name is none that a node can have");
        }
        self.propose(&plan.operations).await?;
        let is_removal =
            |it: &Operation| matches!(it, Operation::Deregister(Deregistration::Node(_)));
        Ok(plan.operations.iter().any(is_removal))
    }

    /// A refusal for one node must not hold up the others: they are then proposed one by one.
    async fn propose(&self, operations: &[Operation]) -> Result<(), RoundError> {
        let mut refused = 0;
        let mut last = None;
        for batch in batches(operations) {
            if self.write(batch).await?.is_none() {
                continue;
            }
            for of_one_node in batch.chunk_by(same_node) {
                if let Some(reason) = self.write(of_one_node).await? {
                    refused += of_one_node.len();
                    last = Some(reason);
                }
            }
        }
        last.map_or(Ok(()), |reason| {
            Err(RoundError::Refused {
                refused,
                all: operations.len(),
                reason,
            })
        })
    }

    /// Proposes one command. The catalog's reason if it refused it.
    async fn write(&self, operations: &[Operation]) -> Result<Option<Refusal>, ProposeError> {
        let command = Command {
            request: rand::rng().random(),
            operations: operations.to_vec(),
        };
        let context = RequestContext::default();
        Ok(match self.raft.propose(&context, command).await? {
            Outcome::Applied { .. } => None,
            Outcome::Refused(refusal) => Some(refusal),
        })
    }
}

/// Takes `now` for what is `known`; the names among it that were not.
fn news(known: &mut Vec<String>, now: Vec<String>) -> Vec<String> {
    let before: BTreeSet<String> = std::mem::replace(known, now).into_iter().collect();
    let new = known.iter().filter(|name| !before.contains(*name));
    new.cloned().collect()
}

/// Waits until this server leads no more; for ever if nobody can tell it.
async fn lost(mut status: watch::Receiver<Arc<Status>>) {
    if status.wait_for(|status| !status.leads()).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for a change; for ever once there can be none.
async fn changed<T>(changes: &mut watch::Receiver<T>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Cuts operations into commands, but never between two of one node.
fn batches(operations: &[Operation]) -> Vec<&[Operation]> {
    let mut batches = Vec::new();
    let mut rest = operations;
    while !rest.is_empty() {
        let mut length = 0;
        for of_one_node in rest.chunk_by(same_node) {
            if length > 0 && length + of_one_node.len() > OPERATIONS_MAX {
                break;
            }
            length += of_one_node.len();
        }
        let (batch, after) = rest.split_at(length);
        batches.push(batch);
        rest = after;
    }
    batches
}

fn same_node(left: &Operation, right: &Operation) -> bool {
    node(left).is_some() && node(left) == node(right)
}

/// The node that an operation is about.
fn node(operation: &Operation) -> Option<&NodeName> {
    match operation {
        Operation::Register(registration) => Some(&registration.node.name),
        Operation::Deregister(
            Deregistration::Node(name)
            | Deregistration::Service(name, _)
            | Deregistration::Check(name, _),
        ) => Some(name),
        Operation::Locate(_) => None,
    }
}

#[cfg(test)]
mod tests;

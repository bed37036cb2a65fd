//! One server's part: the consensus library with its log, its state machine and its thread.
//!
//! Owns the start and the end of all that; `observe` tells others what goes on, `answers` is what
//! other servers get to hear, `reads` finds out how fresh a read must be, `change` says who the
//! servers are.
//!
//! **Invariant**: the library runs on a thread of its own. Elections hang on its heartbeats, and a
//! runtime that is busy with HTTP would send them late; here the scheduler of the system gives it
//! its turn beside any number of busy threads.

mod answers;
mod change;
mod observe;
mod reads;
mod recall;
mod start;
mod timers;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use openraft::errors::ClientWriteError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;

use crate::catalog::Outcome;
use crate::clock;
use crate::types::Index;

use super::log_store::{Condition, LogStore};
use super::peer::Asks;
use super::proposer::Porter;
use super::snapshots::Kept;
use super::state_machine::StateMachine;
use super::status::Status;
use super::types::{Proposal, Reply, ServerId, Types};
use super::{Config, Peers};

pub(super) use start::start;
pub(super) use timers::Timers;

/// The library, with this program's state machine.
pub(super) type Library = openraft::Raft<Types, StateMachine>;

/// Why a command that was given to a server has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// That server does not lead: nothing was done, and nothing will be.
    NotLeading,
    /// It may be applied or not.
    Unknown,
    /// This server has stopped: nothing was done.
    Stopped,
    /// This server leads, but its disk is full: nothing was done.
    NoRoom,
}

/// What commands and reads need of this server.
#[derive(Clone)]
pub(super) struct Core {
    pub(super) id: ServerId,
    pub(super) library: Library,
    pub(super) asks: Arc<dyn Asks>,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) applied: watch::Sender<Index>,
    pub(super) timers: Timers,
    pub(super) hold: Duration,
    pub(super) deadline: Duration,
    log: watch::Receiver<Condition>,
    recall: Arc<recall::Recall>,
}

/// One server.
pub(super) struct Node {
    pub(super) core: Core,
    porter: Porter,
    log: LogStore,
    /// Tells the network of the cluster that this server is in.
    cluster: watch::Sender<Option<u128>>,
    peers: Arc<dyn Peers>,
    kept: Kept,
    reads: reads::Reads,
    heard: Arc<Heard>,
    /// The thread of the library.
    runtime: tokio::runtime::Handle,
    /// Held by whoever changes who the servers are.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Until then this server votes for nobody.
    votes_from: Option<Instant>,
    /// Ends the thread.
    _running: DropGuard,
}

/// When this server last heard from a leader.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Option<Instant>>);

impl Heard {
    fn stamp(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now());
    }

    fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a command or a read goes.
pub(super) enum Way {
    /// This server leads.
    Here,
    /// Another one does.
    There(ServerId, SocketAddr),
    /// Nobody does, as far as this server knows.
    Nowhere,
}

impl Core {
    pub(super) fn way(&self) -> Way {
        let status = self.status.borrow();
        if status.leads() {
            return Way::Here;
        }
        match (status.leader, status.leader_address) {
            (Some(leader), Some(address)) if leader != self.id => Way::There(leader, address),
            _ => Way::Nowhere,
        }
    }

    /// Whether the log waits for room on the disk.
    pub(super) fn is_full(&self) -> bool {
        *self.log.borrow() == Condition::Full
    }

    /// Appends commands to the log, if this server leads, and waits for their outcomes, at most
    /// `deadline`. One result each.
    pub(super) async fn submit(&self, commands: Vec<Bytes>) -> Vec<Result<Outcome, Fate>> {
        let count = commands.len();
        if self.is_full() {
            return vec![Err(Fate::NoRoom); count];
        }
        let mut results = Vec::with_capacity(count);
        let commands = commands.into_iter().map(Proposal);
        let collect = async {
            let Ok(mut written) = self.library.client_write_many(commands).await else {
                results.resize(count, Err(Fate::Stopped));
                return;
            };
            while let Some(result) = written.next().await {
                results.push(match result {
                    Ok(Ok(written)) => outcome(written.response),
                    Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(Fate::NotLeading),
                    Ok(Err(_)) | Err(_) => Err(Fate::Unknown),
                });
            }
        };
        // A leader that has lost the others keeps what it has appended until it hears of a new one.
        if timeout(self.deadline, collect).await.is_err() {
            tracing::debug!("no majority has stored commands in {:?}", self.deadline);
        }
        results.resize(count, Err(Fate::Unknown));
        results
    }

    /// Waits until `index` is applied here.
    pub(super) async fn wait_applied(&self, index: Index) {
        let mut applied = self.applied.subscribe();
        // The sender is in `self`.
        drop(applied.wait_for(|applied| *applied >= index).await);
    }

    /// Waits until somebody may lead, or for a short random time: everybody who waits does not come
    /// back at once.
    pub(super) async fn wait_for_leader(&self) {
        let mut status = self.status.subscribe();
        let pause = Duration::from_millis(20 + rand::random::<u64>() % 80);
        drop(timeout(pause, status.changed()).await);
    }
}

/// The outcome that the state machine has given for a command.
fn outcome(reply: Reply) -> Result<Outcome, Fate> {
    reply.0.ok_or(Fate::Unknown)
}

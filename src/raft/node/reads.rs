//! How fresh a read must be: the position that it has to see, from the leader.
//!
//! **Invariant**: a round serves only those who asked before it began; whoever asks while one is
//! under way shares the next.

use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::raft::FreshError;
use crate::types::{Consistency, Index};

use super::{Core, Node, Way};
use crate::clock;
use crate::raft::status::Role;

/// Reads that may wait for a round.
const WAITING_MAX: usize = 8_192;

type Waiting = oneshot::Sender<Result<Index, FreshError>>;

/// Whoever waits for a round, by what it is for.
#[derive(Debug)]
pub(super) struct Reads {
    leased: mpsc::Sender<Waiting>,
    confirmed: mpsc::Sender<Waiting>,
}

impl Reads {
    /// Starts the tasks on the thread of the library, with which they end.
    pub(super) fn start(core: &Core) -> Self {
        let start = |consistency| {
            let (queue, waiting) = mpsc::channel(WAITING_MAX);
            let handle = tokio::runtime::Handle::current();
            drop(handle.spawn(serve(core.clone(), consistency, waiting)));
            queue
        };
        Self {
            leased: start(Consistency::Default),
            confirmed: start(Consistency::Consistent),
        }
    }
}

async fn serve(core: Core, consistency: Consistency, mut queue: mpsc::Receiver<Waiting>) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, WAITING_MAX).await > 0 {
        let index = core.round(consistency).await;
        for caller in waiting.drain(..) {
            // One that has given up does not listen any more.
            drop(caller.send(index.clone()));
        }
    }
}

impl Core {
    /// Asks whoever leads, once.
    async fn round(&self, consistency: Consistency) -> Result<Index, FreshError> {
        match self.way() {
            Way::Here => self.read_index(consistency).await,
            Way::There(leader, address) => {
                let asked = self.asks.read_index(leader, address, consistency);
                let limit = self.timers.silence + Duration::from_secs(1);
                match timeout(limit, asked).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(error)) => {
                        tracing::debug!("the leader was not asked: {error}");
                        Err(FreshError::NoLeader)
                    }
                    Err(_) => Err(FreshError::NotReady),
                }
            }
            Way::Nowhere => Err(FreshError::NoLeader),
        }
    }

    /// The position that a read must see, if this server leads: under its lease, or once a majority
    /// has confirmed it.
    pub(super) async fn read_index(&self, consistency: Consistency) -> Result<Index, FreshError> {
        if !self.status.borrow().leads() {
            return Err(FreshError::NoLeader);
        }
        let policy = match consistency {
            Consistency::Consistent => ReadPolicy::ReadIndex,
            Consistency::Default | Consistency::Stale => ReadPolicy::LeaseRead,
        };
        let asked = self.library.get_read_linearizer(policy);
        match timeout(self.timers.silence, asked).await {
            Ok(Ok(found)) => Ok(Index(found.read_log_id().index())),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_)))) => {
                Err(FreshError::NoLeader)
            }
            Ok(Err(RaftError::Fatal(_))) => Err(FreshError::NoLeader),
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | Err(_) => {
                Err(FreshError::NotReady)
            }
        }
    }
}

impl Node {
    /// See [`super::super::Raft::fresh`].
    pub(in crate::raft) async fn fresh(
        &self,
        consistency: Consistency,
    ) -> Result<Index, FreshError> {
        let queue = match consistency {
            Consistency::Stale => return Ok(*self.core.applied.borrow()),
            Consistency::Default => &self.reads.leased,
            Consistency::Consistent => &self.reads.confirmed,
        };
        let until = clock::now() + self.core.hold;
        loop {
            let (caller, answer) = oneshot::channel();
            queue.try_send(caller).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => FreshError::NotReady,
                mpsc::error::TrySendError::Closed(_) => FreshError::NoLeader,
            })?;
            let round = async {
                let index = answer.await.unwrap_or(Err(FreshError::NoLeader))?;
                self.core.wait_applied(index).await;
                Ok(index)
            };
            let round = tokio::time::timeout_at(until, round).await;
            let error = match round {
                Ok(Ok(index)) => return Ok(index),
                Ok(Err(error)) => error,
                Err(_) if matches!(self.core.way(), Way::Nowhere) => FreshError::NoLeader,
                Err(_) => FreshError::NotReady,
            };
            let stopped = self.core.status.borrow().role == Role::Stopped;
            if stopped || self.core.is_full() || clock::now() >= until {
                return Err(error);
            }
            self.core.wait_for_leader().await;
        }
    }
}

//! Leaving the pools, and why an agent ends by itself.
//!
//! **Invariant**: an agent leaves once, whoever asks and however often; who asks while it leaves
//! waits for the same leave. One that failed may be tried again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::control::{LeaveError, Leaving};
use crate::gossip::membership::Membership;
use crate::raft::{Raft, ServerId, Status};
use crate::task::Tasks;

/// Why an agent is to end, though no signal has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It has left its pools, as it was asked to.
    Left,
    /// It cannot go on; the reason is for people to read.
    Failed(String),
}

/// Where an agent's end is told and awaited. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Ending(Arc<watch::Sender<Option<End>>>);

impl Ending {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Ends the agent; the first reason stays.
    pub(super) fn tell(&self, end: End) {
        self.0.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(end);
            first
        });
    }

    /// Waits until the agent is to end.
    pub(super) async fn wait(&self) -> End {
        let mut told = self.0.subscribe();
        let end = told.wait_for(Option::is_some).await;
        let end = end.ok().and_then(|end| end.clone());
        end.expect("the sender is held by self, and it was waited for a reason")
    }
}

/// How far leaving is.
#[derive(Clone, Debug)]
enum Progress {
    Member,
    Leaving,
    Left,
    Failed(LeaveError),
}

/// Longest wait of one of two servers for the other to go on alone, which it cannot do unless this
/// one votes for that.
const NEEDED: Duration = Duration::from_secs(30);

/// A server's place in the cluster, which it gives up when it leaves.
#[derive(Debug)]
pub(super) struct Seat {
    /// Who it is there.
    pub(super) id: ServerId,
    /// Its part.
    pub(super) raft: Raft,
    /// Longest wait for the others to go on without it.
    pub(super) drain: Duration,
}

/// Leaves the pools.
#[derive(Debug)]
pub(super) struct Leaver {
    membership: Membership,
    /// `None` on a client agent.
    seat: Option<Seat>,
    progress: watch::Sender<Progress>,
    ending: Ending,
    tasks: Tasks,
}

impl Leaver {
    pub(super) fn new(
        membership: Membership,
        seat: Option<Seat>,
        ending: Ending,
        tasks: Tasks,
    ) -> Arc<Self> {
        Arc::new(Self {
            membership,
            seat,
            progress: watch::Sender::new(Progress::Member),
            ending,
            tasks,
        })
    }

    /// Begins to leave, unless it has begun already. The leave goes on though nobody waits for it,
    /// and ends the agent when it is done.
    pub(super) fn begin(self: &Arc<Self>) -> Leaving {
        let mut told = self.progress.subscribe();
        let begins = self.progress.send_if_modified(|progress| {
            let begins = matches!(progress, Progress::Member | Progress::Failed(_));
            if begins {
                *progress = Progress::Leaving;
            }
            begins
        });
        if begins {
            let leaver = Arc::clone(self);
            self.tasks.spawn(async move { leaver.leave().await });
        }
        let stopping = self.tasks.stopping();
        Box::pin(async move {
            let over =
                told.wait_for(|progress| matches!(progress, Progress::Left | Progress::Failed(_)));
            let progress = tokio::select! {
                progress = over => progress.ok().map(|progress| progress.clone()),
                () = stopping.cancelled() => None,
            };
            match progress {
                Some(Progress::Failed(error)) => Err(error),
                Some(_) => Ok(()),
                None => Err(LeaveError {
                    reason: "agent is stopping".to_owned(),
                }),
            }
        })
    }

    /// First the lead, then the pool of all datacenters, then that of its own: whoever still knows
    /// this agent as a member of its datacenter can still be asked about it. Then the other servers
    /// take it out of the cluster, for which they may need its vote.
    async fn leave(&self) {
        if let Some(seat) = &self.seat {
            seat.hand_over().await;
        }
        let wan = self.membership.wan.as_ref();
        let pools = wan.map(|pool| ("WAN", pool)).into_iter();
        for (name, pool) in pools.chain([("LAN", &self.membership.lan)]) {
            if let Err(error) = pool.leave().await {
                let reason = format!("cannot leave the {name} pool: {error}");
                tracing::error!(target: "herald::agent", "{reason}");
                let failed = Progress::Failed(LeaveError { reason });
                drop(self.progress.send_replace(failed));
                return;
            }
            tracing::info!(target: "herald::agent", "left the {name} pool");
        }
        if let Some(seat) = &self.seat {
            seat.stay_until_removed().await;
        }
        drop(self.progress.send_replace(Progress::Left));
        self.ending.tell(End::Left);
    }
}

impl Seat {
    /// Whether it votes beside others.
    fn has_others(&self, status: &Status) -> bool {
        let mut voters = status.servers.iter().filter(|server| server.voter);
        votes(self.id, status) && voters.any(|server| server.id != self.id)
    }

    /// Makes another server lead, if this one does.
    async fn hand_over(&self) {
        let status = self.raft.status();
        if !self.has_others(&status) {
            return;
        }
        if let Some(voters) = without_majority(&status) {
            tracing::warn!(
                target: "herald::agent",
                "leaves a cluster of {voters} servers: those that stay tolerate no failure"
            );
        }
        if status.leads() && !self.raft.step_down().await {
            tracing::warn!(
                target: "herald::agent",
                "no other server takes the lead over: they elect one when this one is gone"
            );
        }
    }

    /// Waits until the others have decided to go on without this server; longer where they cannot
    /// do so without its vote, since they would be without a leader then.
    async fn stay_until_removed(&self) {
        let status = self.raft.status();
        if !self.has_others(&status) {
            return;
        }
        let voters = status.servers.iter().filter(|server| server.voter).count();
        let limit = if voters == 2 {
            self.drain.max(NEEDED)
        } else {
            self.drain
        };
        let mut status = self.raft.status_changed();
        // It is asked for its vote on that, but who is out is not told that it is.
        let asked = status.wait_for(|status| status.unsettled || !votes(self.id, status));
        let asked = tokio::time::timeout(limit, asked).await.is_ok();
        let removed = status.wait_for(|status| !votes(self.id, status));
        let removed = tokio::time::timeout(self.drain, removed).await.is_ok();
        if !asked && !removed {
            tracing::warn!(
                target: "herald::agent",
                "the other servers have not taken this one out of the cluster within {limit:?}: it \
                 counts as a voter that has failed"
            );
        }
    }
}

fn votes(id: ServerId, status: &Status) -> bool {
    let mut servers = status.servers.iter();
    servers.any(|server| server.id == id && server.voter)
}

/// The number of voters, if one less tolerates no failure.
fn without_majority(status: &Status) -> Option<usize> {
    let voters = status.servers.iter().filter(|server| server.voter).count();
    (2..=3).contains(&voters).then_some(voters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_to_end_is_the_one_that_is_told() {
        let ending = Ending::new();
        let (waiting, told) = (ending.clone(), ending.clone());
        let ((), end) = tokio::join!(
            async move {
                told.tell(End::Failed("x".to_owned()));
                told.tell(End::Left);
            },
            waiting.wait()
        );
        assert_eq!(end, End::Failed("x".to_owned()));
        assert_eq!(ending.wait().await, end);
    }
}

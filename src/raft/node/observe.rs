//! Watches the library and tells what it does: the status for everybody, figures for people.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{Instant as _, RaftMetrics, ServerState};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use crate::clock;
use crate::metrics::Metrics;
use crate::raft::log_store::Condition;
use crate::raft::state_machine::Told;
use crate::raft::status::{Role, Server, Status};
use crate::raft::types::Types;
use crate::types::Index;

use super::{Core, Heard, Peers};

/// Starts the tasks on the thread of the library, with which they end.
pub(super) fn start(
    core: &Core,
    peers: Arc<dyn Peers>,
    heard: Arc<Heard>,
    told: Told,
    metrics: &Metrics,
) {
    show(&core.status, metrics);
    let log = core.log.clone();
    metrics.show(
        "raft_log_full",
        "1 while the log waits for room on the disk, else 0",
        move || f64::from(u8::from(*log.borrow() == Condition::Full)),
    );
    let leader_changes = metrics.register(
        "raft_leader_changes",
        "How often another server has come to lead",
        Counter::default(),
    );
    let observer = Observer {
        core: core.clone(),
        peers,
        heard,
        leader_changes,
    };
    observer.look();
    let handle = tokio::runtime::Handle::current();
    drop(handle.spawn(observer.run()));
    drop(handle.spawn(bound_log(core.clone(), told)));
    drop(handle.spawn(leave_lead(core.clone())));
}

/// Leaves the lead to another server while the disk is full.
async fn leave_lead(core: Core) {
    let mut log = core.log.clone();
    // The sender goes with the log.
    while { log.wait_for(|now| *now == Condition::Full).await }.is_ok() {
        core.step_down().await;
        tokio::time::sleep(core.timers.silence).await;
    }
}

/// Asks for a snapshot when enough octets were applied, and for the log to be made shorter where it
/// has too many behind one; the library counts the entries.
async fn bound_log(core: Core, told: Told) {
    let library = &core.library;
    loop {
        told.grown.notified().await;
        if told.wants_snapshot() && library.trigger().snapshot().await.is_err() {
            return;
        }
        // What is in no snapshot stays.
        if let Some(index) = told.beyond()
            && library.trigger().purge_log(index.0).await.is_err()
        {
            return;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures to be shown")]
fn show(status: &watch::Sender<Arc<Status>>, metrics: &Metrics) {
    type Read = fn(&Status) -> u64;
    let figures: [(&str, &str, Read); 6] = [
        ("raft_term", "Term that this server is in", |status| {
            status.term
        }),
        (
            "raft_last_log_index",
            "Newest position in the log",
            |status| status.last_log.0,
        ),
        (
            "raft_commit_index",
            "Position up to which the log is decided",
            |status| status.committed.0,
        ),
        (
            "raft_applied_index",
            "Position up to which the log is applied",
            |status| status.applied.0,
        ),
        (
            "raft_is_leader",
            "1 while this server leads, else 0",
            |status| u64::from(status.leads()),
        ),
        (
            "raft_stopped",
            "1 once Raft has stopped here: no more writes, answers from memory",
            |status| u64::from(status.role == Role::Stopped),
        ),
    ];
    for (name, help, read) in figures {
        let status = status.subscribe();
        metrics.show(name, help, move || read(&status.borrow()) as f64);
    }
}

struct Observer {
    core: Core,
    peers: Arc<dyn Peers>,
    heard: Arc<Heard>,
    leader_changes: Counter,
}

impl Observer {
    /// Until the library ends.
    async fn run(self) {
        let mut all = self.core.library.metrics();
        let mut server = self.core.library.server_metrics();
        let mut applied = self.core.applied.subscribe();
        loop {
            // Positions and contact are looked at now and then; who leads, at once. A leader that
            // nobody has confirmed yet waits for that alone.
            // Nobody waits to hear that there is something to be read.
            let unconfirmed = self.look();
            let empty = self.core.status.borrow().applied == Index::ZERO;
            let pause = tokio::time::sleep(self.core.timers.heartbeat);
            let ended = tokio::select! {
                changed = server.changed() => changed.is_err(),
                changed = all.changed(), if unconfirmed => changed.is_err(),
                _ = applied.changed(), if empty => false,
                () = pause => false,
            };
            if ended || self.core.status.borrow().role == Role::Stopped {
                break;
            }
        }
        self.log_end().await;
        let mut status = Status::clone(&self.core.status.borrow());
        status.role = Role::Stopped;
        (status.leader, status.leader_address) = (None, None);
        self.tell(status);
    }

    /// Logs why the library has ended, unless it was asked to.
    async fn log_end(&self) {
        // It tells that no more, but says so to who asks.
        let Err(cause) = self.core.library.is_initialized().await else {
            return;
        };
        if cause != Fatal::Stopped {
            tracing::error!(
                "Raft has stopped: {cause}; this server answers from memory, and takes part again \
                 once it is started anew"
            );
        }
    }

    /// Tells what the library says of itself now. Whether it leads without being sure of it.
    fn look(&self) -> bool {
        let metrics = self.core.library.metrics().borrow_watched().clone();
        let status = self.status(&metrics);
        let unconfirmed = metrics.state == ServerState::Leader && !status.leads();
        self.tell(status);
        unconfirmed
    }

    fn status(&self, metrics: &RaftMetrics<Types>) -> Status {
        let membership = metrics.membership_config.membership();
        let mut voters: Vec<_> = membership.voter_ids().collect();
        voters.sort_unstable();
        let server = |(id, peer): (&_, &super::super::Peer)| Server {
            id: *id,
            peer: peer.clone(),
            voter: voters.binary_search(id).is_ok(),
        };
        let servers: Vec<_> = membership.nodes().map(server).collect();
        let now = clock::now();
        let acked = metrics.last_quorum_acked.map(|acked| acked.elapsed());
        let acked = acked.and_then(|ago| now.checked_sub(ago));
        let alone = voters == [self.core.id];
        let heard = match metrics.state {
            ServerState::Leader if alone => Some(now),
            ServerState::Leader => acked,
            _ => self.heard.last(),
        };
        let within = |limit: Duration| heard.is_some_and(|then| now < then + limit);
        let (role, leader) = match metrics.state {
            _ if metrics.running_state.is_err() => (Role::Stopped, None),
            ServerState::Leader if within(self.core.timers.lease) => {
                (Role::Leader, Some(self.core.id))
            }
            // It leads by name only: it could not tell whether there is another one by now.
            ServerState::Leader => (Role::Follower, None),
            state => {
                let leader = metrics.current_leader;
                let leader = leader.filter(|_| within(self.core.timers.silence));
                let learns = state == ServerState::Learner && !servers.is_empty();
                let role = if learns {
                    Role::Learner
                } else {
                    Role::Follower
                };
                (role, leader.filter(|leader| *leader != self.core.id))
            }
        };
        let address = leader.and_then(|leader| {
            let written = membership.get_node(&leader).map(|peer| peer.address);
            self.peers.address(leader).or(written)
        });
        let index = |id: Option<u64>| Index(id.unwrap_or(0));
        let local = metrics.local_committed.map(|id| id.index);
        let cluster = metrics.cluster_committed.map(|id| id.index);
        Status {
            role,
            term: metrics.current_term,
            leader,
            leader_address: address,
            heard,
            servers,
            lacking: !self.core.recall.is_whole(),
            unsettled: membership.get_joint_config().len() > 1,
            last_log: index(metrics.last_log_index),
            committed: index(local.max(cluster)),
            applied: *self.core.applied.borrow(),
        }
    }

    /// Wakes whoever waits for a change, but not for positions and contact alone, unless it is the
    /// first position.
    fn tell(&self, status: Status) {
        self.core.status.send_if_modified(|told| {
            if status.leader != told.leader {
                self.log_leader(&status);
            }
            let same = status.role == told.role
                && status.term == told.term
                && status.leader == told.leader
                && status.leader_address == told.leader_address
                && status.servers == told.servers
                && status.unsettled == told.unsettled
                && status.lacking == told.lacking
                && (status.applied == Index::ZERO) == (told.applied == Index::ZERO);
            *told = Arc::new(status);
            !same
        });
    }

    /// Logs who leads now. Elections are rare, and the first thing to look for when writes failed.
    fn log_leader(&self, status: &Status) {
        let term = status.term;
        let Some(leader) = status.leader else {
            // Of one that has stopped there is more to say, or nothing.
            if status.role != Role::Stopped {
                tracing::warn!("no server leads, term {term}: writes wait, DNS goes on");
            }
            return;
        };
        self.leader_changes.inc();
        let known = status.servers.iter().find(|server| server.id == leader);
        let name = known.map_or("another server", |server| server.peer.name.as_str());
        tracing::info!("server {name} leads, term {term}");
    }
}

//! Makes the servers of the cluster those that gossip shows, on the server that leads.
//!
//! Somebody new learns first and votes once it has caught up. Who has left goes; who failed stays,
//! since it may come back, unless another machine has its name now. One change at a time.
//!
//! **Invariant**: no removal leaves the voters that are alive without a majority.
//! **Invariant**: servers that are not of herald, or of another datacenter, are never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::gossip::tags;
use crate::raft::{Change, Peer, Raft, Server, ServerId, Status};
use crate::types::{Index, Member, MemberStatus};

use super::{Members, OwnServer, changed, lost, news};

/// Entries that a learner may lack when it gets a vote.
const LAG_MAX: u64 = 1_000;
/// How long it must have been that close.
const STEADY: Duration = Duration::from_secs(2);
/// Time between two looks while somebody learns.
const LOOK_AT_LEARNERS: Duration = Duration::from_millis(500);
/// Time between two looks otherwise.
const LOOK: Duration = Duration::from_secs(10);
/// Shortest time between two changes.
const PACE: Duration = Duration::from_millis(100);
/// Longest pause after a change that failed; the first is [`PACE`].
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a change to be decided.
const CHANGE: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// The next change, and why.
    change: Option<(Change, String)>,
    /// What is not done though gossip asks for it, and why.
    refused: Vec<String>,
    /// Whether somebody is to get a vote later.
    learning: bool,
}

/// A server as gossip has it.
struct Seen {
    id: ServerId,
    peer: Peer,
    bootstrap: bool,
    may_vote: bool,
    status: MemberStatus,
}

fn seen(own: &OwnServer, members: &[Member]) -> Vec<Seen> {
    let servers = members.iter().filter_map(tags::Server::of);
    let peers = servers.filter(|server| server.is_herald() && server.datacenter == own.datacenter);
    let seen = peers.filter_map(|server| {
        Some(Seen {
            id: server.id?.into(),
            peer: Peer {
                name: server.name,
                address: server.address,
            },
            bootstrap: server.bootstrap,
            may_vote: !server.read_replica,
            status: server.status,
        })
    });
    // This server knows better than any gossip that it is there, and where.
    let others = seen.filter(|server| server.id != own.id);
    let own = Seen {
        id: own.id,
        peer: own.peer.clone(),
        bootstrap: own.bootstrap,
        may_vote: true,
        status: MemberStatus::Alive,
    };
    others.chain([own]).collect()
}

/// Compares the servers of the cluster with those of the pool. `steady` are learners that have kept
/// up for long enough.
fn plan(
    own: &OwnServer,
    members: &[Member],
    servers: &[Server],
    steady: &BTreeSet<ServerId>,
) -> Plan {
    let seen = seen(own, members);
    let planner = Planner {
        own,
        servers,
        alive: seen
            .iter()
            .filter(|server| server.status == MemberStatus::Alive)
            .map(|server| (server.id, server))
            .collect(),
        left: seen
            .iter()
            .filter(|server| server.status == MemberStatus::Left)
            .map(|server| server.id)
            .collect(),
    };
    let mut plan = Plan::default();
    let change = planner
        .moved()
        .or_else(|| planner.gone(&mut plan))
        .or_else(|| planner.added(&mut plan))
        .or_else(|| planner.caught_up(steady, &mut plan));
    Plan { change, ..plan }
}

struct Planner<'a> {
    own: &'a OwnServer,
    servers: &'a [Server],
    alive: BTreeMap<ServerId, &'a Seen>,
    left: BTreeSet<ServerId>,
}

impl Planner<'_> {
    /// A server that has another address or name now.
    fn moved(&self) -> Option<(Change, String)> {
        self.servers.iter().find_map(|server| {
            let now = self.alive.get(&server.id)?;
            (now.peer != server.peer).then(|| {
                let Peer { name, address } = &now.peer;
                let was = &server.peer.address;
                let text = format!("{name} is at {address} now, it was at {was}");
                (Change::Update(server.id, now.peer.clone()), text)
            })
        })
    }

    /// A server that has left, or whose name another machine has now.
    fn gone(&self, plan: &mut Plan) -> Option<(Change, String)> {
        for server in self.servers {
            let Some(why) = self.why_gone(server) else {
                continue;
            };
            if server.voter && !self.majority_without(server.id) {
                let name = &server.peer.name;
                plan.refused.push(format!(
                    "{name} stays a voter though {why}: without it the voters that are alive were \
                     no majority"
                ));
                continue;
            }
            let text = format!("{} goes: {why}", server.peer.name);
            return Some((Change::Remove(server.id), text));
        }
        None
    }

    fn why_gone(&self, server: &Server) -> Option<String> {
        if self.alive.contains_key(&server.id) {
            return None;
        }
        if self.left.contains(&server.id) {
            return Some("it has left".to_owned());
        }
        let name = &server.peer.name;
        let heir = self
            .alive
            .values()
            .find(|seen| seen.peer.name.eq_ignore_ascii_case(name))?;
        Some(format!(
            "its name belongs to the machine with id {} now",
            heir.id
        ))
    }

    fn majority_without(&self, id: ServerId) -> bool {
        let voters = self.servers.iter().filter(|it| it.voter && it.id != id);
        let voters: Vec<_> = voters.collect();
        let alive = voters.iter().filter(|it| self.alive.contains_key(&it.id));
        alive.count() > voters.len() / 2
    }

    /// A server that is in the pool, but not in the cluster.
    fn added(&self, plan: &mut Plan) -> Option<(Change, String)> {
        for seen in self.alive.values() {
            let Peer { name, address } = &seen.peer;
            if self.servers.iter().any(|server| server.id == seen.id) {
                continue;
            }
            if self.own.bootstrap && seen.bootstrap {
                plan.refused.push(format!(
                    "{name} is not taken in: it has bootstrap set, as this server has, so that each \
                     leads a cluster of its own; only one may have it"
                ));
                continue;
            }
            let namesake = |server: &&Server| server.peer.name.eq_ignore_ascii_case(name);
            if let Some(old) = self.servers.iter().find(namesake) {
                let old = old.id;
                plan.refused.push(format!(
                    "{name} is not taken in yet: the server with id {old} has its name"
                ));
                continue;
            }
            let text = format!("{name} at {address} is new, and learns");
            return Some((Change::AddLearner(seen.id, seen.peer.clone()), text));
        }
        None
    }

    /// A learner that has kept up.
    fn caught_up(&self, steady: &BTreeSet<ServerId>, plan: &mut Plan) -> Option<(Change, String)> {
        let learners = self.servers.iter().filter(|server| !server.voter);
        let may_vote = |server: &&Server| {
            let seen = self.alive.get(&server.id);
            seen.is_some_and(|seen| seen.may_vote)
        };
        for server in learners.filter(may_vote) {
            plan.learning = true;
            if steady.contains(&server.id) {
                let text = format!("{} has caught up, and votes", server.peer.name);
                return Some((Change::Promote(server.id), text));
            }
        }
        None
    }
}

/// Since when each learner has been close behind the leader.
#[derive(Debug, Default)]
struct Close(BTreeMap<ServerId, Instant>);

impl Close {
    /// Takes in how far each has got; those that have been close for long enough.
    fn steady(
        &mut self,
        progress: &BTreeMap<ServerId, Index>,
        last: Index,
        now: Instant,
    ) -> BTreeSet<ServerId> {
        let near = |at: &Index| last.0.saturating_sub(at.0) <= LAG_MAX;
        self.0.retain(|id, _| progress.get(id).is_some_and(near));
        for (id, _) in progress.iter().filter(|(_, at)| near(at)) {
            self.0.entry(*id).or_insert(now);
        }
        let steady = self.0.iter();
        steady
            .filter(|(_, since)| now.saturating_duration_since(**since) >= STEADY)
            .map(|(id, _)| *id)
            .collect()
    }
}

/// Works while this server leads.
pub(super) async fn run(own: OwnServer, members: impl Members, raft: Raft) {
    let mut status = raft.status_changed();
    while status.wait_for(|status| status.leads()).await.is_ok() {
        tokio::select! {
            () = lead(&own, &members, &raft) => {}
            () = lost(status.clone()) => {}
        }
    }
}

async fn lead(own: &OwnServer, members: &impl Members, raft: &Raft) {
    let mut changes = members.members_changed();
    let (mut close, mut refused, mut retry) = (Close::default(), Vec::new(), PACE);
    loop {
        changes.borrow_and_update();
        let status = raft.status();
        let Status {
            servers, last_log, ..
        } = &*status;
        if status.unsettled {
            let why = "the change that another leader had begun is finished";
            carry_out(raft, Change::Settle, why).await;
            tokio::time::sleep(PACE).await;
            continue;
        }
        let steady = close.steady(&raft.progress(), *last_log, clock::now());
        let plan = plan(own, &members.members(), servers, &steady);
        for text in news(&mut refused, plan.refused) {
            tracing::warn!("{text}");
        }
        if let Some((change, why)) = plan.change {
            let done = carry_out(raft, change, &why).await;
            retry = if done {
                PACE
            } else {
                (retry * 2).min(RETRY_MAX)
            };
            tokio::time::sleep(retry).await;
            continue;
        }
        let look = if plan.learning {
            LOOK_AT_LEARNERS
        } else {
            LOOK
        };
        tokio::time::sleep(PACE).await;
        tokio::select! {
            () = tokio::time::sleep(look) => {}
            () = changed(&mut changes) => {}
        }
    }
}

/// Whether it was decided in time.
async fn carry_out(raft: &Raft, change: Change, why: &str) -> bool {
    match tokio::time::timeout(CHANGE, raft.change(change)).await {
        Ok(Ok(())) => {
            tracing::info!("servers: {why}");
            true
        }
        Ok(Err(error)) => {
            tracing::warn!("servers: cannot bring in line that {why}: {error}");
            false
        }
        Err(_) => {
            tracing::warn!("servers: not decided within {CHANGE:?} that {why}");
            false
        }
    }
}

#[cfg(test)]
mod tests;

//! A server among the others: where Raft finds them, how it founds or enters a cluster, and how old
//! what DNS answers from may be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::leave::Seat;
use crate::clock;
use crate::config::Config;
use crate::dns::Freshness;
use crate::gossip::pool::Pool;
use crate::gossip::tags;
use crate::raft::{Peers, Raft, ServerId, Status};
use crate::reconcile::{self, OwnServer};
use crate::task::Tasks;
use crate::types::MemberStatus;

/// How often what DNS is told of the last word from the leader is brought up to date: a fraction of
/// the age from which an answer counts as stale.
const FRESHNESS: Duration = Duration::from_millis(200);
/// How old the state of a server counts that has not heard from any leader since its start: nobody
/// knows how long it was away.
const UNHEARD: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Longest wait at the start for a server that founds a cluster alone to lead it.
const LEAD: Duration = Duration::from_secs(2);

/// The servers that gossip knows, at the addresses that it knows.
struct GossipPeers(Pool);

impl Peers for GossipPeers {
    fn address(&self, id: ServerId) -> Option<SocketAddr> {
        let members = self.0.members();
        let servers = members.iter().filter_map(tags::Server::of);
        let mut same = servers.filter(|server| server.id.map(ServerId::from) == Some(id));
        // A machine with another name now was another member before.
        let last = same
            .clone()
            .find(|server| server.status == MemberStatus::Alive);
        last.or_else(|| same.next()).map(|server| server.address)
    }
}

/// Where Raft looks for the other servers.
pub(super) fn peers(lan: &Pool) -> Arc<dyn Peers> {
    Arc::new(GossipPeers(lan.clone()))
}

/// This server as a part of the cluster.
fn own(config: &Config) -> OwnServer {
    let identity = &config.identity;
    OwnServer {
        id: config.raft.id,
        peer: config.raft.peer.clone(),
        datacenter: identity.datacenter.clone(),
        bootstrap: identity.bootstrap || identity.development,
        expect: identity.expect,
        joins: {
            let join = &config.gossip.lan.join;
            !(join.start.is_empty() && join.retry.is_empty())
        },
    }
}

/// Has the server found a cluster if it is to, and keep the servers of the one that it leads in line
/// with the pool. One that founds it alone leads once this returns, so that what starts after it
/// finds a leader.
pub(super) async fn start(config: &Config, lan: &Pool, raft: &Raft, tasks: &Tasks) {
    let own = own(config);
    let alone = own.bootstrap && !own.joins && !raft.status().is_initialized();
    reconcile::start_servers(own, lan.clone(), raft, tasks);
    if alone {
        let mut status = raft.status_changed();
        let leads = status.wait_for(|status| status.leads());
        // One that does not lead in time goes on trying; whatever needs a leader says so.
        drop(tokio::time::timeout(LEAD, leads).await);
    }
}

/// The server's place in the cluster, which it gives up when it leaves.
pub(super) fn seat(config: &Config, raft: Option<&Raft>) -> Option<Seat> {
    raft.map(|raft| Seat {
        id: config.raft.id,
        raft: raft.clone(),
        drain: config.leave.drain,
    })
}

/// Keeps `freshness`, how far what DNS answers from may lag behind, up to date from now on.
pub(super) fn keep_fresh(own: ServerId, raft: &Raft, freshness: &Arc<Freshness>, tasks: &Tasks) {
    let status = raft.status();
    tell(own, &status, freshness);
    tasks.spawn(follow(own, raft.clone(), Arc::clone(freshness)));
}

async fn follow(own: ServerId, raft: Raft, freshness: Arc<Freshness>) {
    let mut status = raft.status_changed();
    loop {
        tell(own, &raft.status(), &freshness);
        tokio::select! {
            () = tokio::time::sleep(FRESHNESS) => {}
            () = changed(&mut status) => {}
        }
    }
}

/// Waits for another status; for ever if there can be none.
async fn changed(status: &mut watch::Receiver<Arc<Status>>) {
    if status.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn tell(own: ServerId, status: &Status, freshness: &Freshness) {
    if status.has_state(own) {
        freshness.set_loaded();
    }
    if status.leads() {
        freshness.lead();
    } else {
        freshness.heard(status.last_contact(clock::now()).unwrap_or(UNHEARD));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Peer, Role, Server};
    use crate::types::Index;

    fn status(role: Role, voter: bool, applied: u64) -> Status {
        Status {
            role,
            servers: vec![Server {
                id: ServerId(1),
                peer: Peer {
                    name: "s1".to_owned(),
                    address: ([127, 0, 0, 1], 8300).into(),
                },
                voter,
            }],
            applied: Index(applied),
            ..Status::default()
        }
    }

    #[test]
    fn somebody_new_has_a_state_once_it_votes() {
        let has = |status: &Status| status.has_state(ServerId(1));
        assert!(!has(&Status::default()));
        assert!(!has(&status(Role::Learner, false, 7)));
        assert!(!has(&status(Role::Follower, true, 0)));
        assert!(has(&status(Role::Follower, true, 1)));
        assert!(has(&status(Role::Leader, true, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leads_is_fresh_and_who_never_heard_of_a_leader_is_very_old() {
        let freshness = Freshness::new();
        tell(ServerId(1), &status(Role::Leader, true, 1), &freshness);
        assert!(freshness.leads() && freshness.is_loaded());
        tell(ServerId(1), &status(Role::Follower, true, 1), &freshness);
        assert!(freshness.age() >= UNHEARD);
        let heard = Status {
            heard: Some(clock::now()),
            ..status(Role::Follower, true, 1)
        };
        tell(ServerId(1), &heard, &freshness);
        assert!(freshness.age() < FRESHNESS && !freshness.leads());
    }
}

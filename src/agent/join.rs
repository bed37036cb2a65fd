//! Whom an agent joins: at its start, again and again until somebody is reached, and, where it is a
//! server, the servers of its datacenter in the pool of all datacenters.

use std::net::SocketAddr;
use std::time::Duration;

use super::leave::{End, Ending};
use crate::config::{Config, Join};
use crate::gossip::membership::Membership;
use crate::gossip::pool::{JoinFailure, Joined, Pool, Target, reasons, retry_join};
use crate::gossip::tags::Server;
use crate::task::Tasks;
use crate::types::{Datacenter, Member, MemberStatus};

/// Time between two looks for servers that are missing from the pool of all datacenters; each
/// change of the members is a further occasion.
const FLOOD_INTERVAL: Duration = Duration::from_secs(60);

/// Shortest time between two looks.
const FLOOD_PAUSE: Duration = Duration::from_millis(200);

/// Nobody was reached of those who were to be joined at the start. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot join the {pool} pool: {}", reasons(.failed))]
pub struct JoinError {
    /// `LAN` or `WAN`.
    pub pool: &'static str,
    /// Each target and why it was not reached.
    pub failed: Vec<(Target, JoinFailure)>,
}

/// The pools, by the names that people read, and whom to join there.
fn pools<'a>(
    config: &'a Config,
    membership: &'a Membership,
) -> impl Iterator<Item = (&'static str, &'a Join, &'a Pool)> {
    let wan = config.gossip.wan.as_ref().zip(membership.wan.as_ref());
    let lan = (&config.gossip.lan, &membership.lan);
    [("LAN", Some(lan)), ("WAN", wan)]
        .into_iter()
        .filter_map(|(name, pool)| pool.map(|(config, pool)| (name, &config.join, pool)))
}

/// Joins those who must be reached for the agent to start (`start_join`).
///
/// # Errors
/// Of the targets for one pool, none was reached.
pub(super) async fn at_start(config: &Config, membership: &Membership) -> Result<(), JoinError> {
    for (name, join, pool) in pools(config, membership) {
        if join.start.is_empty() {
            continue;
        }
        let Joined { reached, failed } = pool.join(&join.start, true).await;
        if reached == 0 {
            return Err(JoinError { pool: name, failed });
        }
        tracing::info!(target: "herald::agent", "joined the {name} pool by {reached} agents");
    }
    Ok(())
}

/// Keeps trying to join in the background (`retry_join`); ends the agent once it has tried as often
/// as it may.
pub(super) fn again_and_again(
    config: &Config,
    membership: &Membership,
    ending: &Ending,
    tasks: &Tasks,
) {
    for (name, join, pool) in pools(config, membership) {
        if join.retry.is_empty() {
            continue;
        }
        let (join, pool, ending) = (join.clone(), pool.clone(), ending.clone());
        tasks.spawn(async move {
            match retry_join(&pool, &join.retry, join.interval, join.attempts_max).await {
                Ok(reached) => {
                    tracing::info!(target: "herald::agent", "joined the {name} pool by {reached} agents");
                }
                Err(error) => {
                    ending.tell(End::Failed(format!("cannot join the {name} pool: {error}")));
                }
            }
        });
    }
}

/// Keeps the servers of this datacenter together in the pool of all datacenters: who is known in
/// one pool is joined in the other.
pub(super) fn flood(datacenter: Datacenter, membership: &Membership, tasks: &Tasks) {
    let Some(wan) = membership.wan.clone() else {
        return;
    };
    let lan = membership.lan.clone();
    tasks.spawn(async move {
        let mut changed = lan.members_changed();
        loop {
            changed.mark_unchanged();
            let targets = missing(&datacenter, &lan.members(), &wan.members());
            if !targets.is_empty() {
                let Joined { failed, .. } = wan.join(&targets, true).await;
                for (target, reason) in failed {
                    tracing::debug!(
                        target: "herald::agent",
                        "cannot join {target} in the WAN pool, which is tried again: {reason}"
                    );
                }
            }
            // A member that comes and goes must not make this a busy loop.
            tokio::time::sleep(FLOOD_PAUSE).await;
            let next = tokio::time::timeout(FLOOD_INTERVAL, changed.changed()).await;
            if matches!(next, Ok(Err(_))) {
                return;
            }
        }
    });
}

/// Servers of `datacenter` that are alive in the LAN pool and tell a port of the WAN pool in which
/// they are not.
fn missing(datacenter: &Datacenter, lan: &[Member], wan: &[Member]) -> Vec<Target> {
    let alive = |member: &&Member| member.status == MemberStatus::Alive;
    let is_there = |name: &str| {
        let mut there = wan.iter().filter(alive);
        there.any(|member| member.name == name)
    };
    let servers = lan.iter().filter(alive).filter_map(Server::of);
    servers
        .filter(|server| server.datacenter == *datacenter)
        .filter(|server| !is_there(&format!("{}.{datacenter}", server.name)))
        .filter_map(|server| {
            let port = server.wan_join_port?;
            Some(SocketAddr::new(server.address.ip(), port).to_string())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::tags::{Agent, AgentServer};
    use crate::types::NodeId;

    fn server(node: &str, datacenter: &str, wan_join_port: Option<u16>) -> Member {
        let agent = Agent {
            node: node.parse().unwrap(),
            id: NodeId::random(),
            datacenter: datacenter.parse().unwrap(),
            version: "0.1.0".to_owned(),
            server: Some(AgentServer {
                port: 8300,
                wan_join_port,
                bootstrap: false,
                expect: 0,
                tls: false,
                commands: 1,
            }),
        };
        Member {
            name: node.to_owned(),
            address: [127, 0, 0, 1].into(),
            port: 8301,
            tags: agent.lan_tags(),
            status: MemberStatus::Alive,
            versions: [1, 5, 2, 2, 5, 4],
        }
    }

    #[test]
    fn servers_that_one_pool_knows_and_the_other_does_not_are_joined() {
        let datacenter: Datacenter = "dc1".parse().unwrap();
        let mut failed = server("failed", "dc1", Some(3));
        failed.status = MemberStatus::Failed;
        let mut client = server("client", "dc1", Some(6));
        client.tags.insert("role".to_owned(), "node".to_owned());
        let mut v6 = server("v6", "dc1", Some(7));
        v6.address = "::1".parse().unwrap();
        let lan = [
            server("known", "dc1", Some(1)),
            server("gone", "dc1", Some(2)),
            failed,
            server("other", "dc2", Some(4)),
            server("alone", "dc1", None),
            client,
            v6,
        ];
        let mut known = server("known.dc1", "dc1", None);
        let mut gone = server("gone.dc1", "dc1", None);
        gone.status = MemberStatus::Failed;
        let targets = missing(&datacenter, &lan, &[known.clone(), gone]);
        assert_eq!(targets, ["127.0.0.1:2", "[::1]:7"]);
        known.name = "known.dc2".to_owned();
        assert_eq!(missing(&datacenter, &lan, &[known]).len(), 3);
    }

    #[test]
    fn a_failed_join_names_each_target() {
        let failed = vec![
            (
                "a".to_owned(),
                JoinFailure::Lookup("no such host".to_owned()),
            ),
            ("b:1".to_owned(), JoinFailure::Join("refused".to_owned())),
        ];
        let error = JoinError {
            pool: "LAN",
            failed,
        };
        let text = "cannot join the LAN pool: a: no such host; b:1: refused";
        assert_eq!(error.to_string(), text);
    }
}

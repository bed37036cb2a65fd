//! What a client agent has instead of a catalog of everything: the servers of its datacenter, as
//! gossip knows them, and views of what DNS asks for.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::catalog::open_client;
use crate::config::Config;
use crate::directory::{Directory, Servers, Views};
use crate::dns::Freshness;
use crate::gossip::membership::Membership;
use crate::gossip::pool::Pool;
use crate::gossip::tags::Server;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::{Datacenter, Member, MemberStatus};

/// Shared state behind the servers that the LAN pool knows, now and later, with the views that feed
/// DNS. Herald's servers and others are asked alike.
pub(super) fn open_directory(
    config: &Config,
    membership: &Membership,
    freshness: &Arc<Freshness>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> (Directory, Option<Views>) {
    let servers = Servers::new(&config.calls, metrics, tasks);
    servers.keep_spread(tasks);
    let (writer, reader) = open_client();
    let directory = Directory::through(config.directory.clone(), reader, servers.clone());
    let freshness = Arc::clone(freshness);
    let heard = move |ago| {
        freshness.heard(ago);
        freshness.set_loaded();
    };
    let views = directory.start_views(writer, heard, metrics, tasks);
    let woken = views.clone();
    let datacenter = config.identity.datacenter.clone();
    follow(&membership.lan, datacenter, tasks, move |found| {
        servers.set(&found.alive, &found.failed);
        if !found.others {
            return;
        }
        tracing::info!(target: "herald::agent", "servers to ask: {:?}", found.alive);
        if let Some(views) = &woken {
            views.servers_changed();
        }
    });
    let node = config.identity.node.clone();
    directory.report_location(node, membership.lan.clone(), tasks);
    (directory, views)
}

/// Has the services of this node told to servers that come: they may know nothing of it.
pub(super) fn tell_servers(config: &Config, lan: &Pool, local: &Local, tasks: &Tasks) {
    let local = local.clone();
    let datacenter = config.identity.datacenter.clone();
    follow(lan, datacenter, tasks, move |found| {
        if found.others {
            local.servers_changed();
        }
    });
}

/// Where the servers of a datacenter take calls, in order.
#[derive(Debug, Default)]
struct Found {
    alive: Vec<SocketAddr>,
    /// Those that took calls where nobody else does now.
    failed: Vec<SocketAddr>,
    /// Whether those that are alive are others than before.
    others: bool,
}

/// Calls `change` with the servers there are, now and whenever they are others.
fn follow(
    lan: &Pool,
    datacenter: Datacenter,
    tasks: &Tasks,
    change: impl Fn(&Found) + Send + 'static,
) {
    let lan = lan.clone();
    tasks.spawn(async move {
        let mut changed = lan.members_changed();
        let mut known = Found::default();
        loop {
            let mut found = find(&lan.members(), &datacenter);
            found.others = found.alive != known.alive;
            if found.others || found.failed != known.failed {
                change(&found);
                known = found;
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    });
}

fn find(members: &[Member], datacenter: &Datacenter) -> Found {
    let addresses = |status| {
        let those = members.iter().filter(|member| member.status == status);
        let servers = those.filter_map(Server::of);
        let servers = servers.filter(|server| server.datacenter == *datacenter);
        let mut addresses: Vec<_> = servers.map(|server| server.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    };
    let alive = addresses(MemberStatus::Alive);
    let mut failed = addresses(MemberStatus::Failed);
    failed.retain(|address| !alive.contains(address));
    Found {
        alive,
        failed,
        others: false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn member(port: &str, datacenter: &str, status: MemberStatus) -> Member {
        let tags = [
            ("role", "consul"),
            ("dc", datacenter),
            ("port", port),
            ("vsn", "2"),
            ("build", "1.8.7"),
        ];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Member {
            name: port.to_owned(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8301,
            tags: tags.into(),
            status,
            versions: [0; 6],
        }
    }

    #[test]
    fn the_living_servers_of_the_datacenter_are_asked_and_failed_ones_given_up() {
        let mut client = member("1", "dc1", MemberStatus::Alive);
        client.tags.insert("role".to_owned(), "node".to_owned());
        let members = [
            member("8302", "dc1", MemberStatus::Alive),
            member("8300", "dc1", MemberStatus::Alive),
            member("8303", "dc1", MemberStatus::Failed),
            // Another one runs there now.
            member("8300", "dc1", MemberStatus::Failed),
            member("8306", "dc2", MemberStatus::Failed),
            member("8304", "dc1", MemberStatus::Left),
            member("8305", "dc2", MemberStatus::Alive),
            member("", "dc1", MemberStatus::Alive),
            client,
        ];
        let found = find(&members, &"dc1".parse().unwrap());
        let addresses = |ports: &[u16]| {
            let addresses = ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into());
            addresses.collect::<Vec<SocketAddr>>()
        };
        assert_eq!(found.alive, addresses(&[8300, 8302]));
        assert_eq!(found.failed, addresses(&[8303]));
    }
}

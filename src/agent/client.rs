//! What a client agent has instead of a catalog: the servers of its datacenter, as gossip knows them.

use std::net::SocketAddr;

use crate::config::Config;
use crate::directory::{Directory, Servers};
use crate::gossip::membership::Membership;
use crate::gossip::pool::Pool;
use crate::gossip::tags::Server;
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::{Datacenter, Member, MemberStatus};

/// Shared state behind the servers that the LAN pool knows, now and later. Herald's and others are
/// asked alike.
pub(super) fn open_directory(
    config: &Config,
    membership: &Membership,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Directory {
    let servers = Servers::new(&config.calls, metrics, tasks);
    servers.keep_spread(tasks);
    follow(
        servers.clone(),
        membership.lan.clone(),
        config.identity.datacenter.clone(),
        tasks,
    );
    let directory = Directory::through(config.directory.clone(), servers);
    let node = config.identity.node.clone();
    directory.report_location(node, membership.lan.clone(), tasks);
    directory
}

/// Tells `servers` of every change among the members.
fn follow(servers: Servers, lan: Pool, datacenter: Datacenter, tasks: &Tasks) {
    tasks.spawn(async move {
        let mut changed = lan.members_changed();
        let mut known = Vec::new();
        loop {
            let found = addresses(&lan.members(), &datacenter);
            if found != known {
                tracing::info!(target: "herald::agent", "servers to ask: {found:?}");
                servers.set(&found);
                known = found;
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Where the servers of a datacenter take calls, in order. Those that fail are left out.
fn addresses(members: &[Member], datacenter: &Datacenter) -> Vec<SocketAddr> {
    let alive = members
        .iter()
        .filter(|member| member.status == MemberStatus::Alive);
    let servers = alive.filter_map(Server::of);
    let servers = servers.filter(|server| server.datacenter == *datacenter);
    let mut addresses: Vec<_> = servers.map(|server| server.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
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
    fn the_living_servers_of_the_datacenter_are_asked() {
        let mut client = member("1", "dc1", MemberStatus::Alive);
        client.tags.insert("role".to_owned(), "node".to_owned());
        let members = [
            member("8302", "dc1", MemberStatus::Alive),
            member("8300", "dc1", MemberStatus::Alive),
            member("8303", "dc1", MemberStatus::Failed),
            member("8304", "dc1", MemberStatus::Left),
            member("8305", "dc2", MemberStatus::Alive),
            member("", "dc1", MemberStatus::Alive),
            client,
        ];
        let found = addresses(&members, &"dc1".parse().unwrap());
        let expected = ["127.0.0.1:8300", "127.0.0.1:8302"];
        assert_eq!(found, expected.map(|text| text.parse().unwrap()));
    }
}

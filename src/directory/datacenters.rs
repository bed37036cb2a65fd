//! Which datacenters there are: those of the servers that the pool of all datacenters knows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Directory, NoServers, ReadError};
use crate::gossip::pool::Pool;
use crate::types::{Datacenter, Member, MemberStatus};

impl Directory {
    /// Names of all known datacenters: the local one first, then by the estimated round-trip time
    /// to the server in the middle of each, and by name where none is known. `wan` is the pool of
    /// all datacenters; without one only the local one is known. Servers that failed still count,
    /// those that left do not.
    ///
    /// # Errors
    /// This is a client agent: see [`Directory::find_datacenters`].
    pub fn datacenters(&self, wan: Option<&Pool>) -> Result<Vec<Datacenter>, NoServers> {
        self.raft()?;
        let local = self.config.datacenter.clone();
        let Some(pool) = wan else {
            return Ok(vec![local]);
        };
        let here = pool.coordinate();
        let distance = |name: &str| Some(here.distance(&pool.coordinate_of(name)?));
        Ok(in_order(local, &pool.members(), distance))
    }

    /// The same, asked of a server on a client agent.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn find_datacenters(&self, wan: Option<&Pool>) -> Result<Vec<Datacenter>, ReadError> {
        match &self.remote {
            Some(remote) => remote.datacenters().await,
            None => Ok(self.datacenters(wan)?),
        }
    }
}

fn in_order(
    local: Datacenter,
    members: &[Member],
    distance: impl Fn(&str) -> Option<Duration>,
) -> Vec<Datacenter> {
    let mut found: BTreeMap<Datacenter, Vec<Duration>> = BTreeMap::new();
    let here = |member: &&Member| !matches!(member.status, MemberStatus::None | MemberStatus::Left);
    for member in members.iter().filter(here) {
        // What a foreign agent says of itself may be no name at all.
        let Some(Ok(datacenter)) = member.tags.get("dc").map(|name| name.parse()) else {
            continue;
        };
        let distance = distance(&member.name).unwrap_or(Duration::MAX);
        found.entry(datacenter).or_default().push(distance);
    }
    found.remove(&local);
    let mut others: Vec<(Duration, Datacenter)> = found
        .into_iter()
        .map(|(datacenter, distances)| (median(distances), datacenter))
        .collect();
    others.sort_unstable();
    let others = others.into_iter().map(|(_, datacenter)| datacenter);
    std::iter::once(local).chain(others).collect()
}

/// The one in the middle, the greater of two.
fn median(mut distances: Vec<Duration>) -> Duration {
    distances.sort_unstable();
    let middle = distances.get(distances.len() / 2);
    middle.copied().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn server(name: &str, datacenter: &str, status: MemberStatus) -> Member {
        Member {
            name: name.to_owned(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8302,
            tags: [("dc".to_owned(), datacenter.to_owned())].into(),
            status,
            versions: [0; 6],
        }
    }

    fn names(members: &[Member], distance: impl Fn(&str) -> Option<Duration>) -> Vec<String> {
        let found = in_order("dc1".parse().unwrap(), members, distance);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_local_datacenter_is_known_without_members() {
        assert_eq!(names(&[], |_| None), ["dc1"]);
    }

    #[test]
    fn datacenters_stand_by_their_middle_server_and_the_unknown_ones_last() {
        use MemberStatus::Alive;
        let members = [
            server("a.far", "far", Alive),
            server("b.far", "far", Alive),
            server("c.far", "far", Alive),
            server("a.near", "near", Alive),
            server("a.unknown", "unknown", Alive),
            server("a.dc1", "dc1", Alive),
        ];
        let distance = |name: &str| match name {
            "a.far" | "a.dc1" => Some(Duration::from_millis(1)),
            "b.far" => Some(Duration::from_millis(90)),
            "c.far" => Some(Duration::from_millis(80)),
            "a.near" => Some(Duration::from_millis(20)),
            _ => None,
        };
        assert_eq!(names(&members, distance), ["dc1", "near", "far", "unknown"]);
    }

    #[test]
    fn a_datacenter_goes_when_its_last_server_leaves_and_stays_when_that_fails() {
        let members = [
            server("a.gone", "gone", MemberStatus::Left),
            server("a.failed", "failed", MemberStatus::Failed),
            server("a.bad", "no name", MemberStatus::Alive),
        ];
        assert_eq!(names(&members, |_| None), ["dc1", "failed"]);
    }
}

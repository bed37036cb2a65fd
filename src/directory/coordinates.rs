//! What is said of where nodes are, checked; and where the servers of each datacenter are.

use std::collections::BTreeMap;

use super::{Directory, NoServers, ReadError};
use crate::catalog::Location;
use crate::gossip::pool::Pool;
use crate::types::{
    Coordinate, CoordinateError, Datacenter, Member, MemberStatus, NameError, NodeName,
};

/// Characters of a network segment that an error shows.
const SHOWN_MAX: usize = 64;

/// Says where a node is; decoded but not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocationDraft {
    /// Datacenter of the node; empty where none is named.
    pub datacenter: String,
    /// Name of the node.
    pub node: String,
    /// Network segment, of which there are none.
    pub segment: String,
    /// Where it is.
    pub coordinate: Option<CoordinateDraft>,
}

/// The numbers of a coordinate, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoordinateDraft {
    /// Place in the space.
    pub vector: Vec<f64>,
    /// How sure the place is.
    pub error: f64,
    /// Correction of every distance.
    pub adjustment: f64,
    /// Time from the node to the core of the network.
    pub height: f64,
}

/// Why a coordinate is refused. Nothing was changed, and the same is refused again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It is nobody's.
    #[error("Must provide node")]
    NoNode,
    /// No node can have that name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There are no network segments.
    #[error("field Segment: {segment:?}, but there are no network segments")]
    Segment {
        /// Its first characters.
        segment: String,
    },
    /// There is no coordinate.
    #[error("field Coord: it is missing")]
    NoCoordinate,
    /// Its numbers are none.
    #[error(transparent)]
    Coordinate(#[from] CoordinateError),
    /// No datacenter can have that name.
    #[error("No path to datacenter")]
    NoPathToDatacenter,
}

impl LocationDraft {
    /// The location, and the datacenter if one is named.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn check(self) -> Result<(Option<Datacenter>, Location), LocationError> {
        let named = Some(self.datacenter).filter(|name| !name.is_empty());
        let datacenter = named.map(|name| name.parse()).transpose();
        let datacenter = datacenter.map_err(|_| LocationError::NoPathToDatacenter)?;
        if self.node.is_empty() {
            return Err(LocationError::NoNode);
        }
        if !self.segment.is_empty() {
            let segment = self.segment.chars().take(SHOWN_MAX).collect();
            return Err(LocationError::Segment { segment });
        }
        let numbers = self.coordinate.ok_or(LocationError::NoCoordinate)?;
        let node: NodeName = self.node.parse()?;
        let coordinate = Coordinate::new(
            &numbers.vector,
            numbers.error,
            numbers.adjustment,
            numbers.height,
        )?;
        Ok((datacenter, Location { node, coordinate }))
    }
}

/// Where the servers of one datacenter are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLocations {
    /// Its name, as its servers tell it.
    pub datacenter: String,
    /// The names of the servers' nodes, in order, and where they are.
    pub servers: Vec<(String, Coordinate)>,
}

impl Directory {
    /// Where the servers of each datacenter are, as far as `wan`, the pool of all datacenters, knows
    /// that; in the order of names. Those that have left are not in it.
    ///
    /// # Errors
    /// This is a client agent: see [`Directory::find_server_locations`].
    pub fn server_locations(&self, wan: Option<&Pool>) -> Result<Vec<ServerLocations>, NoServers> {
        let known = self.datacenters(wan)?;
        let members = wan.map(Pool::members);
        let members = members.as_deref().unwrap_or_default();
        let coordinate_of = |name: &str| wan?.coordinate_of(name);
        Ok(by_datacenter(&known, members, coordinate_of))
    }

    /// The same, asked of a server on a client agent.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn find_server_locations(
        &self,
        wan: Option<&Pool>,
    ) -> Result<Vec<ServerLocations>, ReadError> {
        match &self.remote {
            Some(remote) => remote.server_locations().await,
            None => Ok(self.server_locations(wan)?),
        }
    }
}

fn by_datacenter(
    known: &[Datacenter],
    members: &[Member],
    coordinate_of: impl Fn(&str) -> Option<Coordinate>,
) -> Vec<ServerLocations> {
    let known = known.iter().map(|name| (name.as_str(), Vec::new()));
    let mut found: BTreeMap<&str, Vec<(String, Coordinate)>> = known.collect();
    let is_there =
        |member: &&Member| !matches!(member.status, MemberStatus::None | MemberStatus::Left);
    for member in members.iter().filter(is_there) {
        let Some(datacenter) = member.tags.get("dc") else {
            continue;
        };
        let servers = found.entry(datacenter).or_default();
        if let Some(coordinate) = coordinate_of(&member.name) {
            servers.push((short_name(member, datacenter).to_owned(), coordinate));
        }
    }
    let found = found.into_iter();
    found
        .map(|(datacenter, mut servers)| {
            servers.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            ServerLocations {
                datacenter: datacenter.to_owned(),
                servers,
            }
        })
        .collect()
}

/// The name of a server's node: in the WAN pool its datacenter follows after a dot.
fn short_name<'a>(member: &'a Member, datacenter: &str) -> &'a str {
    let name = member.name.as_str();
    let node = name.strip_suffix(datacenter);
    node.and_then(|node| node.strip_suffix('.')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, datacenter: Option<&str>, status: MemberStatus) -> Member {
        let tag = datacenter.map(|name| ("dc".to_owned(), name.to_owned()));
        Member {
            name: name.to_owned(),
            address: [127, 0, 0, 1].into(),
            port: 8302,
            tags: tag.into_iter().collect(),
            status,
            versions: [1, 5, 2, 2, 5, 4],
        }
    }

    #[test]
    fn servers_are_listed_by_datacenter_without_it_in_their_names() {
        let known = ["dc1".parse().unwrap()];
        let members = [
            member("b.dc2", Some("dc2"), MemberStatus::Failed),
            member("a.dc2", Some("dc2"), MemberStatus::Alive),
            member("gone.dc2", Some("dc2"), MemberStatus::Left),
            member("silent.dc3", Some("dc3"), MemberStatus::Alive),
            member("odd", Some("dc2"), MemberStatus::Alive),
            member("untagged.dc2", None, MemberStatus::Alive),
        ];
        let coordinate_of = |name: &str| (name != "silent.dc3").then_some(Coordinate::START);
        let shown = by_datacenter(&known, &members, coordinate_of);
        let shown: Vec<_> = shown
            .iter()
            .map(|one| {
                let nodes: Vec<_> = one.servers.iter().map(|(node, _)| node.as_str()).collect();
                (one.datacenter.as_str(), nodes.join(" "))
            })
            .collect();
        let expected = [("dc1", ""), ("dc2", "a b odd"), ("dc3", "")];
        assert_eq!(
            shown,
            expected.map(|(name, nodes)| (name, nodes.to_owned()))
        );
    }

    fn draft() -> LocationDraft {
        LocationDraft {
            datacenter: "dc1".to_owned(),
            node: "n1".to_owned(),
            segment: String::new(),
            coordinate: Some(CoordinateDraft {
                vector: vec![0.5; Coordinate::DIMENSIONS],
                ..CoordinateDraft::default()
            }),
        }
    }

    fn with_numbers(change: impl FnOnce(&mut CoordinateDraft)) -> LocationDraft {
        let mut draft = draft();
        draft.coordinate.as_mut().map(change);
        draft
    }

    #[test]
    fn a_location_names_its_node_and_perhaps_its_datacenter() {
        let (datacenter, location) = draft().check().unwrap();
        assert_eq!(datacenter, Some("dc1".parse().unwrap()));
        assert_eq!(location.node.as_str(), "n1");
        let unnamed = LocationDraft {
            datacenter: String::new(),
            ..draft()
        };
        assert_eq!(unnamed.check().unwrap().0, None);
    }

    #[test]
    fn what_is_no_location_is_refused() {
        let nobody = LocationDraft {
            node: String::new(),
            ..draft()
        };
        assert_eq!(nobody.check(), Err(LocationError::NoNode));
        let elsewhere = LocationDraft {
            datacenter: "a.b".to_owned(),
            ..draft()
        };
        assert_eq!(elsewhere.check(), Err(LocationError::NoPathToDatacenter));
        let segment = LocationDraft {
            segment: "x".repeat(100),
            ..draft()
        };
        let shown = "x".repeat(SHOWN_MAX);
        assert_eq!(
            segment.check(),
            Err(LocationError::Segment { segment: shown })
        );
        let without = LocationDraft {
            coordinate: None,
            ..draft()
        };
        assert_eq!(without.check(), Err(LocationError::NoCoordinate));
        let dimensions = CoordinateError::Dimensions;
        for count in [0, Coordinate::DIMENSIONS - 1, Coordinate::DIMENSIONS + 1] {
            let other = with_numbers(|numbers| numbers.vector = vec![0.0; count]);
            assert_eq!(other.check(), Err(dimensions.into()), "{count}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for draft in [
                with_numbers(|numbers| numbers.vector[7] = bad),
                with_numbers(|numbers| numbers.error = bad),
                with_numbers(|numbers| numbers.adjustment = bad),
                with_numbers(|numbers| numbers.height = bad),
            ] {
                assert_eq!(draft.check(), Err(CoordinateError::Numbers.into()));
            }
        }
    }
}

//! One immutable state of the catalog, as HTTP reads it. Cloning is O(1).
//!
//! Owns the shape of the state and its reads; `edit` changes it and keeps it consistent.
//!
//! **Invariant**: an instance is in its node's set and in its service's set, the same `Arc` in
//! both; a check of an instance is in the instance's list and in its node's set, again the same.
//! **Invariant**: no service without instances.
//! **Invariant**: instances do not hold their node: reads look it up, so that a change of a node
//! does not rewrite what runs on it.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::types::{
    Check, CheckId, Coordinate, Index, Node, NodeId, NodeName, Service, ServiceId, ServiceName,
    Status,
};

use super::edit::{is_same_check, is_same_service};
use super::index::Slot;
use super::keyed::{Addressed, ByCheckId, ById, ByOwner, Counted, first};
use super::tally::Tally;
use super::view::{NodeView, ServiceView, Standing};
use super::watch::WatchKey;

/// A whole catalog at one index.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(super) applied: Index,
    pub(super) tables: Tables,
    pub(super) tally: Tally,
    pub(super) nodes: OrdMap<NodeName, Arc<NodeEntry>>,
    pub(super) ids: OrdMap<NodeId, NodeName>,
    pub(super) services: OrdMap<ServiceName, Arc<ServiceEntry>>,
    /// Nodes by address.
    pub(super) node_addresses: OrdSet<Addressed<NodeName>>,
    /// Services by the instances' own addresses.
    pub(super) service_addresses: Counted<Addressed<ServiceName>>,
    /// Tags in use, in ASCII lower case: how many spellings in how many services.
    pub(super) tags: Counted<Arc<str>>,
    /// Names of nodes that have dots, in ASCII lower case and reversed, so that those with an equal
    /// end stand side by side.
    pub(super) dotted_nodes: OrdSet<Box<[u8]>>,
}

/// Indexes of whole tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) nodes: Index,
    pub(super) services: Index,
    pub(super) checks: Index,
    /// When a node last went, by removal or a new name.
    pub(super) node_extinction: Index,
    /// When the last instance of a service last went.
    pub(super) service_extinction: Index,
    pub(super) locations: Index,
    /// When a node with a coordinate last went, by removal or a new name.
    pub(super) location_extinction: Index,
}

/// A node and everything on it.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// The node.
    pub node: Arc<Node>,
    /// Index that created the node.
    pub create_index: Index,
    /// Index that last changed the node itself.
    pub modify_index: Index,
    pub(super) services_index: Index,
    pub(super) checks_index: Index,
    /// Where it is in the network, once somebody has said so. Not a part of the node itself, whose
    /// indexes do not move with it.
    pub location: Option<Arc<LocationEntry>>,
    pub(super) instances: OrdSet<ById>,
    /// All checks: the node's own and those of its instances.
    pub(super) checks: OrdSet<ByCheckId>,
    /// The node's own checks.
    pub(super) own_checks: OrdSet<ByCheckId>,
    /// What the node's own checks say together.
    pub(super) standing: Standing,
    pub(super) view: Arc<NodeView>,
    pub(super) slot: Arc<Slot<NodeView>>,
}

impl NodeEntry {
    /// Instances on this node, by id.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.iter().map(|ById(instance)| instance)
    }
    /// One instance.
    pub fn instance(&self, id: &ServiceId) -> Option<&Arc<Instance>> {
        self.instances.get(id).map(|ById(instance)| instance)
    }
    /// All checks on this node: its own and those of its instances, by id.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<CheckEntry>> {
        self.checks.iter().map(|ByCheckId(check)| check)
    }
    /// Checks of the node itself, by id.
    pub fn node_checks(&self) -> impl Iterator<Item = &Arc<CheckEntry>> {
        self.own_checks.iter().map(|ByCheckId(check)| check)
    }
    /// The instance that a check of this node belongs to; `None` for the node's own.
    pub fn owner_of(&self, entry: &CheckEntry) -> Option<&Arc<Instance>> {
        let service = entry.check.service_id.as_ref();
        service.and_then(|id| self.instance(id))
    }
    /// One check.
    pub fn check(&self, id: &CheckId) -> Option<&Arc<CheckEntry>> {
        self.checks.get(id).map(|ByCheckId(check)| check)
    }
}

/// Where a node is in the network.
#[derive(Clone, Copy, Debug)]
pub struct LocationEntry {
    /// The coordinate as given.
    pub coordinate: Coordinate,
    /// Index that last changed it.
    pub modify_index: Index,
}

/// A service instance with its checks.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Name of its node.
    pub node: NodeName,
    /// The registration.
    pub service: Arc<Service>,
    /// Its own checks, by id. (Those of the node are at the [`NodeEntry`].)
    pub checks: Box<[Arc<CheckEntry>]>,
    /// Index that created it.
    pub create_index: Index,
    /// Index that last changed the registration (not its checks).
    pub modify_index: Index,
}

impl Instance {
    /// Whether another registration says the same to the letter, with the same checks.
    pub fn is_same(&self, other: &Self) -> bool {
        let mut checks = self.checks.iter().zip(&other.checks);
        is_same_service(&self.service, &other.service)
            && self.checks.len() == other.checks.len()
            && checks.all(|(left, right)| is_same_check(&left.check, &right.check))
    }
}

/// A check with its indexes.
#[derive(Clone, Debug)]
pub struct CheckEntry {
    /// The check.
    pub check: Check,
    /// Index that created it.
    pub create_index: Index,
    /// Index that last changed it.
    pub modify_index: Index,
}

/// All instances of one service name.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    /// The name, in the spelling of its first registration.
    pub name: ServiceName,
    pub(super) instances_index: Index,
    pub(super) checks_index: Index,
    pub(super) health_index: Index,
    pub(super) instances: OrdSet<ByOwner>,
    /// Tags in registered spelling: on how many instances.
    pub(super) tags: Counted<Arc<str>>,
    pub(super) slot: Arc<Slot<ServiceView>>,
}

impl ServiceEntry {
    /// Instances by node name, then id.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.iter().map(|ByOwner(instance)| instance)
    }
    /// Number of instances.
    pub fn len(&self) -> usize {
        self.instances.len()
    }
    /// Whether there are none; never so in a published state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Distinct tags over all instances, sorted, in registered spelling.
    pub fn tags(&self) -> Vec<Arc<str>> {
        self.tags.keys().cloned().collect()
    }
}

impl State {
    /// Position in the log up to which this state has applied everything.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The last index that changed what a read of `key` can see; at least 1. A service that does
    /// not exist has the index at which any service last went (the extinction index) if one ever
    /// did, else that of the services table; likewise a node.
    pub fn index_of(&self, key: &WatchKey) -> Index {
        let tables = &self.tables;
        let index = match key {
            WatchKey::Nodes => tables.nodes,
            WatchKey::Services => tables.services,
            WatchKey::Checks => tables.checks,
            WatchKey::NodeServices(name) => self.node_index(name, |node| node.services_index),
            WatchKey::NodeChecks(name) => self.node_index(name, |node| node.checks_index),
            WatchKey::ServiceInstances(name) => {
                self.service_index(name, |service| service.instances_index)
            }
            WatchKey::ServiceChecks(name) => {
                self.service_index(name, |service| service.checks_index)
            }
            WatchKey::ServiceHealth(name) => {
                self.service_index(name, |service| service.health_index)
            }
            WatchKey::Locations => tables.locations,
            WatchKey::NodeLocation(name) => {
                let location = self.node(name).and_then(|node| node.location.as_ref());
                location.map_or(tables.location_extinction, |entry| entry.modify_index)
            }
        };
        index.max(Index(1))
    }

    /// All nodes by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeEntry>> {
        self.nodes.values()
    }
    /// One node by name.
    pub fn node(&self, name: &NodeName) -> Option<&Arc<NodeEntry>> {
        self.nodes.get(name)
    }
    /// One node by id.
    pub fn node_by_id(&self, id: NodeId) -> Option<&Arc<NodeEntry>> {
        self.nodes.get(self.ids.get(&id)?)
    }
    /// All services by name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<ServiceEntry>> {
        self.services.values()
    }
    /// One service by name.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<ServiceEntry>> {
        self.services.get(name)
    }

    /// All checks with this status, or all, in order of node name and check id; each with the
    /// instance it belongs to.
    pub fn checks_in(
        &self,
        status: Option<Status>,
    ) -> impl Iterator<Item = (&Arc<NodeEntry>, &Arc<CheckEntry>, Option<&Arc<Instance>>)> {
        self.nodes().flat_map(move |node| {
            let wanted = move |entry: &&Arc<CheckEntry>| {
                status.is_none_or(|status| entry.check.status == status)
            };
            node.checks()
                .filter(wanted)
                .map(move |entry| (node, entry, node.owner_of(entry)))
        })
    }

    /// Who has this address: the first node by name, else one instance by its own address. Tagged
    /// addresses are not searched, and an IPv4-mapped address counts as IPv4.
    pub fn owner_of(&self, ip: IpAddr) -> Option<AddressOwner> {
        let node = self.node_addresses.get_next(&first(ip));
        if let Some(name) = node.and_then(|entry| entry.owner_of(ip)) {
            return Some(AddressOwner::Node(name.clone()));
        }
        let service = self.service_addresses.at_or_after(&first(ip))?;
        let name = service.owner_of(ip)?;
        Some(AddressOwner::Service(name.clone()))
    }

    fn node_index(&self, name: &NodeName, index: impl Fn(&NodeEntry) -> Index) -> Index {
        let gone = match self.tables.node_extinction {
            Index::ZERO => self.tables.nodes,
            extinction => extinction,
        };
        self.node(name).map_or(gone, |node| index(node))
    }

    fn service_index(&self, name: &ServiceName, index: impl Fn(&ServiceEntry) -> Index) -> Index {
        let gone = match self.tables.service_extinction {
            Index::ZERO => self.tables.services,
            extinction => extinction,
        };
        self.service(name).map_or(gone, |service| index(service))
    }
}

/// Answer of a reverse lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressOwner {
    /// A node has the address.
    Node(NodeName),
    /// An instance of this service has it as its own address.
    Service(ServiceName),
}

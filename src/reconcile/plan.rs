//! Decides what is to change in the catalog so that it says what the pool says.
//!
//! The pool is right: a name belongs to whom it knows by that name, whatever id stood there before,
//! and an id to the member that tells it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::catalog::{Deregistration, NodeEntry, Operation, Registration, State};
use crate::gossip::tags::{self, Role, Server};
use crate::types::{
    Address, Check, Member, MemberStatus, Meta, Node, NodeId, NodeName, SERVERS_SERVICE, Service,
};

use super::{Config, entry};

/// What is to change.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In this order; those of one node stand together.
    pub(super) operations: Vec<Operation>,
    /// Members that can have no node because of their names.
    pub(super) unusable: Vec<String>,
}

/// How a name stands in the pool. Of two members whose names differ only by case, the one that
/// stands further down here is the node.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// Has gone.
    Left,
    /// Does not answer.
    Failed,
    /// Nothing is to be done: about to leave, or none of those who have nodes.
    Untouched,
    /// Answers; with the id that it tells.
    Alive(&'a Member, Option<NodeId>),
}

impl Place<'_> {
    fn rank(&self) -> u8 {
        match self {
            Self::Left => 0,
            Self::Failed => 1,
            Self::Untouched => 2,
            Self::Alive(..) => 3,
        }
    }
}

/// Compares `members` with `catalog`. With `reap`, nodes that once were members and are none any
/// more go.
pub(super) fn plan(config: &Config, members: &[Member], catalog: &State, reap: bool) -> Plan {
    let mut plan = Plan::default();
    let mut places = BTreeMap::new();
    for member in members {
        let Some(place) = place(config, member) else {
            continue;
        };
        let Ok(name) = member.name.parse::<NodeName>() else {
            if !matches!(place, Place::Untouched) {
                plan.unusable.push(member.name.clone());
            }
            continue;
        };
        let before = places.get(&name).map_or(0, Place::rank);
        if place.rank() >= before {
            // An equal key in another spelling would stay.
            places.remove(&name);
            places.insert(name, place);
        }
    }
    let own = config.node.name.clone();
    places.entry(own).or_insert(Place::Untouched);
    let planner = Planner {
        config,
        catalog,
        owners: owners(&places, catalog),
        places,
        alive: entry::health(true),
        failed: entry::health(false),
    };
    planner.lost(reap, &mut plan.operations);
    planner.found(&mut plan.operations);
    plan
}

/// `None` for servers of another kind, and for whoever has this node's name in another spelling: to
/// the catalog they are not there.
fn place<'a>(config: &Config, member: &'a Member) -> Option<Place<'a>> {
    let own_name = config.node.name.as_str();
    let own = member.name == own_name;
    let alike = member.name.eq_ignore_ascii_case(own_name);
    if !own && (alike || tags::is_foreign_server(&member.tags)) {
        return None;
    }
    let has_node = match Role::of(&member.tags) {
        Role::Server => Server::of(member).is_some_and(|server| server.is_herald()),
        Role::Client => true,
        Role::Unknown => false,
    };
    let here = member.tags.get("dc").map(String::as_str) == Some(config.datacenter.as_str());
    Some(match member.status {
        _ if !(has_node && here) => Place::Untouched,
        MemberStatus::Alive if own => Place::Alive(member, config.node.id),
        MemberStatus::Alive => Place::Alive(member, tags::node_id(member)),
        MemberStatus::Failed if !own => Place::Failed,
        MemberStatus::Left if !own => Place::Left,
        _ => Place::Untouched,
    })
}

/// The one name for each id of members that are alive: where several tell the same, the one whose
/// node has it already.
fn owners(places: &BTreeMap<NodeName, Place<'_>>, catalog: &State) -> HashMap<NodeId, NodeName> {
    let mut owners = HashMap::new();
    for (name, place) in places {
        let Place::Alive(_, Some(id)) = place else {
            continue;
        };
        let stored = catalog.node_by_id(*id);
        if stored.is_some_and(|entry| entry.node.name == *name) {
            owners.insert(*id, name.clone());
        } else {
            owners.entry(*id).or_insert_with(|| name.clone());
        }
    }
    owners
}

struct Planner<'a> {
    config: &'a Config,
    catalog: &'a State,
    places: BTreeMap<NodeName, Place<'a>>,
    owners: HashMap<NodeId, NodeName>,
    alive: Check,
    failed: Check,
}

impl Planner<'_> {
    /// Nodes whose members are no more, or do not answer: first, since DNS still answers them.
    fn lost(&self, reap: bool, operations: &mut Vec<Operation>) {
        for (name, place) in &self.places {
            let Some(entry) = self
                .catalog
                .node(name)
                .filter(|entry| !self.is_renamed(entry))
            else {
                continue;
            };
            match place {
                Place::Failed if !has_check(entry, &self.failed) => {
                    operations.push(with_check(entry, &self.failed));
                }
                Place::Left => operations.push(gone(entry)),
                _ => {}
            }
        }
        let unknown = |entry: &&Arc<NodeEntry>| {
            let member_once = entry.check(&self.alive.id).is_some();
            member_once && !self.places.contains_key(&entry.node.name) && !self.is_renamed(entry)
        };
        if reap {
            let unknown = self.catalog.nodes().filter(unknown);
            operations.extend(unknown.map(|entry| gone(entry)));
        }
    }

    /// Nodes of members that are alive. Those that get another name come first, so that their old
    /// one is free for whoever has it now.
    fn found(&self, operations: &mut Vec<Operation>) {
        let mut in_place = Vec::new();
        for (name, place) in &self.places {
            let Place::Alive(member, id) = place else {
                continue;
            };
            let id = id.filter(|id| self.owners.get(id) == Some(name));
            match self.catalog.node(name) {
                None => operations.push(self.add(name, member, id)),
                Some(entry) => in_place.push((entry, *member, id)),
            }
        }
        for (entry, member, id) in in_place {
            self.keep(entry, member, id, operations);
        }
    }

    /// Adds a node, or gives the one with this id its new name.
    fn add(&self, name: &NodeName, member: &Member, id: Option<NodeId>) -> Operation {
        register(Registration {
            node: self.node(name, member, id),
            skip_node_update: true,
            service: service(member),
            checks: vec![self.alive.clone()],
        })
    }

    /// Brings a node in line that is there.
    fn keep(
        &self,
        entry: &NodeEntry,
        member: &Member,
        id: Option<NodeId>,
        operations: &mut Vec<Operation>,
    ) {
        let name = &entry.node.name;
        if is_taken_over(entry, id) {
            operations.extend(self.take_over(entry, member, id));
            return;
        }
        let wanted = service(member);
        let id_of_service = SERVERS_SERVICE.parse().expect("the id is short");
        let stored = entry
            .instance(&id_of_service)
            .map(|stored| &*stored.service);
        if wanted.is_none() && stored.is_some_and(entry::is_servers_service) {
            let service = Deregistration::Service(name.clone(), id_of_service);
            operations.push(Operation::Deregister(service));
        }
        let service = wanted.filter(|wanted| stored != Some(wanted));
        let node = self.node(name, member, id);
        // As long as its agent has not spoken, the pool knows best where a node is.
        let moved =
            is_bare(entry) && entry.node.id == node.id && entry.node.address != node.address;
        if moved || service.is_some() || !has_check(entry, &self.alive) {
            operations.push(register(Registration {
                node,
                skip_node_update: !moved,
                service,
                checks: vec![self.alive.clone()],
            }));
        }
    }

    /// Gives a node to another machine, which has its name now. What ran on the old one stays until
    /// the agent of the new one says what runs there: it may have been told to run the same.
    fn take_over(
        &self,
        entry: &NodeEntry,
        member: &Member,
        id: Option<NodeId>,
    ) -> impl Iterator<Item = Operation> {
        // The catalog takes a name from its node only if that is dead. It is: the pool has one
        // member of that name, which is not it.
        let dead = (!has_check(entry, &self.failed)).then(|| with_check(entry, &self.failed));
        let taken = register(Registration {
            node: self.node(&entry.node.name, member, id),
            skip_node_update: false,
            service: service(member),
            checks: vec![self.alive.clone()],
        });
        dead.into_iter().chain([taken])
    }

    /// Whether a member that is alive takes this node's id to another name.
    fn is_renamed(&self, entry: &NodeEntry) -> bool {
        let owner = entry.node.id.and_then(|id| self.owners.get(&id));
        owner.is_some_and(|owner| {
            let there = self.catalog.node(owner);
            *owner != entry.node.name && there.is_none_or(|there| there.node.id.is_some())
        })
    }

    fn node(&self, name: &NodeName, member: &Member, id: Option<NodeId>) -> Node {
        if *name == self.config.node.name {
            return self.config.node.clone();
        }
        Node {
            id,
            ..bare_node(name, member.address.to_canonical().into())
        }
    }
}

/// Whether `entry` belongs to another machine than the one with this `id`. A node without an id is
/// anybody's of that name: its agent gives it one.
fn is_taken_over(entry: &NodeEntry, id: Option<NodeId>) -> bool {
    entry.node.id.is_some() && id.is_some() && entry.node.id != id
}

/// Whether `entry` has a node as it is made here: an agent says more of its own, and whoever
/// registers others gives them no ids.
fn is_bare(entry: &NodeEntry) -> bool {
    let node = &entry.node;
    node.id.is_some() && node.tagged_addresses.is_empty() && node.meta.is_empty()
}

fn service(member: &Member) -> Option<Service> {
    Server::of(member).map(|server| entry::servers_service(member, &server))
}

fn has_check(entry: &NodeEntry, check: &Check) -> bool {
    let stored = entry.check(&check.id);
    stored.is_some_and(|stored| stored.check == *check)
}

/// Sets a check on a node that is there. Without the node's id: should the node have gone or been
/// renamed in the meantime, this must not rename another.
fn with_check(entry: &NodeEntry, check: &Check) -> Operation {
    register(Registration {
        node: bare_node(&entry.node.name, entry.node.address.clone()),
        skip_node_update: true,
        service: None,
        checks: vec![check.clone()],
    })
}

fn bare_node(name: &NodeName, address: Address) -> Node {
    Node {
        id: None,
        name: name.clone(),
        address,
        tagged_addresses: BTreeMap::new(),
        meta: Meta::default(),
    }
}

fn gone(entry: &NodeEntry) -> Operation {
    Operation::Deregister(Deregistration::Node(entry.node.name.clone()))
}

fn register(registration: Registration) -> Operation {
    Operation::Register(Box::new(registration))
}

#[cfg(test)]
mod tests;

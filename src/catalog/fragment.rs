//! A small state made of the rows that a server answered, so that who reads a state need not know
//! where it came from.
//!
//! Owns how rows become entries. A fragment has what the rows say and no more: nodes that are only
//! mentioned have a name alone, and a check whose service came with no row of its own stands at one
//! made of what the check says of it. What only lookups of DNS need is not in it.
//!
//! **Invariant**: entries are as many as rows; past `WEIGHT_MAX` there is no state.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdSet;

use crate::types::{
    Address, Check, CheckId, Index, Meta, Node, NodeName, Service, ServiceId, ServiceName, Weights,
};

use super::command::Location;
use super::keyed::{ByCheckId, ById, ByOwner, Counted};
use super::state::{CheckEntry, Instance, LocationEntry, NodeEntry, ServiceEntry, State, Tables};
use super::view::{NodeView, Standing};

/// What all rows of a fragment may weigh together: an entry counts [`ENTRY_WEIGHT`], each of its
/// tags and pairs 1. Some 400,000 entries, which take a few hundred megabytes.
const WEIGHT_MAX: usize = 3_200_000;
/// Weight of a node, a service, an instance or a check.
const ENTRY_WEIGHT: usize = 8;

/// The rows are too many to be kept. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answer has more than {} entries", WEIGHT_MAX / ENTRY_WEIGHT)]
pub struct FragmentError;

/// When an entry was made and last changed, as the row says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Index that created it.
    pub create: Index,
    /// Index that last changed it.
    pub modify: Index,
}

/// Name and tags of the service that a check belongs to.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Its name.
    pub name: ServiceName,
    /// Its tags.
    pub tags: Vec<Arc<str>>,
}

/// Rows, as they come.
#[derive(Debug, Default)]
pub struct Fragment {
    nodes: BTreeMap<NodeName, NodeRow>,
    /// Services of which only the tags are told.
    names: BTreeMap<ServiceName, Vec<Arc<str>>>,
    weight: usize,
}

#[derive(Debug, Default)]
struct NodeRow {
    node: Option<(Node, Stamps)>,
    instances: BTreeMap<ServiceId, InstanceRow>,
    checks: BTreeMap<CheckId, Arc<CheckEntry>>,
    location: Option<Arc<LocationEntry>>,
}

#[derive(Debug)]
struct InstanceRow {
    service: Service,
    stamps: Stamps,
}

impl Fragment {
    /// Takes a node. Of several rows about one the newest counts.
    ///
    /// # Errors
    /// [`FragmentError`], as all of these.
    pub fn put_node(&mut self, node: Node, stamps: Stamps) -> Result<(), FragmentError> {
        self.weigh(ENTRY_WEIGHT + node.meta.iter().count() + node.tagged_addresses.len())?;
        let row = self.nodes.entry(node.name.clone()).or_default();
        let known = row.node.as_ref().map(|(_, known)| known.modify);
        if known.is_none_or(|known| known <= stamps.modify) {
            row.node = Some((node, stamps));
        }
        Ok(())
    }

    /// Takes an instance on a node.
    ///
    /// # Errors
    /// [`FragmentError`].
    pub fn put_instance(
        &mut self,
        node: &NodeName,
        service: Service,
        stamps: Stamps,
    ) -> Result<(), FragmentError> {
        self.weigh(ENTRY_WEIGHT + service.tags.len() + service.meta.iter().count())?;
        let row = InstanceRow { service, stamps };
        let instances = &mut self.nodes.entry(node.clone()).or_default().instances;
        instances.insert(row.service.id.clone(), row);
        Ok(())
    }

    /// Takes a check on a node, and what its row says of its service.
    ///
    /// # Errors
    /// [`FragmentError`].
    pub fn put_check(
        &mut self,
        node: &NodeName,
        mut check: Check,
        owner: Option<Owner>,
        stamps: Stamps,
    ) -> Result<(), FragmentError> {
        let tags = owner.as_ref().map_or(0, |owner| owner.tags.len());
        self.weigh(ENTRY_WEIGHT + tags)?;
        let row = self.nodes.entry(node.clone()).or_default();
        match (&check.service_id, owner) {
            (Some(id), Some(owner)) => {
                let known = row.instances.entry(id.clone());
                known.or_insert_with(|| owner.into_row(id.clone()));
            }
            // A check of a service that nobody names stands with the node.
            (Some(id), None) if !row.instances.contains_key(id) => check.service_id = None,
            _ => {}
        }
        let entry = CheckEntry {
            check,
            create_index: stamps.create,
            modify_index: stamps.modify,
        };
        row.checks.insert(entry.check.id.clone(), Arc::new(entry));
        Ok(())
    }

    /// Takes a service of which only the tags are told.
    ///
    /// # Errors
    /// [`FragmentError`].
    pub fn put_name(
        &mut self,
        name: ServiceName,
        tags: Vec<Arc<str>>,
    ) -> Result<(), FragmentError> {
        self.weigh(ENTRY_WEIGHT + tags.len())?;
        self.names.insert(name, tags);
        Ok(())
    }

    /// Takes where a node is.
    ///
    /// # Errors
    /// [`FragmentError`].
    pub fn put_location(&mut self, location: Location) -> Result<(), FragmentError> {
        self.weigh(ENTRY_WEIGHT)?;
        let row = self.nodes.entry(location.node).or_default();
        row.location = Some(Arc::new(LocationEntry {
            coordinate: location.coordinate,
            modify_index: Index::ZERO,
        }));
        Ok(())
    }

    /// The state in which all of it stands, at the index of the answer.
    pub fn finish(self, index: Index) -> State {
        let mut state = State {
            applied: index,
            tables: Tables {
                nodes: index,
                services: index,
                checks: index,
                locations: index,
                ..Tables::default()
            },
            ..State::default()
        };
        for (name, row) in self.nodes {
            row.enter(name, index, &mut state);
        }
        for (name, tags) in self.names {
            let mut entry = of_service(&name, index);
            for tag in tags {
                entry.tags.add(tag);
            }
            state.services.entry(name).or_insert(Arc::new(entry));
        }
        state
    }

    fn weigh(&mut self, weight: usize) -> Result<(), FragmentError> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX {
            return Err(FragmentError);
        }
        Ok(())
    }
}

impl State {
    /// Where its nodes are, as far as that is known.
    pub fn locations(&self) -> impl Iterator<Item = Location> {
        self.nodes().filter_map(|entry| {
            Some(Location {
                node: entry.node.name.clone(),
                coordinate: entry.location.as_ref()?.coordinate,
            })
        })
    }

    /// The same with these coordinates; of nodes that are not in it only if `others`.
    #[must_use]
    pub fn located(&self, locations: impl IntoIterator<Item = Location>, others: bool) -> Self {
        let mut state = self.clone();
        let index = state.applied;
        for Location { node, coordinate } in locations {
            let location = Some(Arc::new(LocationEntry {
                coordinate,
                modify_index: index,
            }));
            if let Some(entry) = state.nodes.get_mut(&node) {
                Arc::make_mut(entry).location = location;
            } else if others {
                let row = NodeRow {
                    location,
                    ..NodeRow::default()
                };
                row.enter(node, index, &mut state);
            }
        }
        state
    }
}

impl Owner {
    fn into_row(self, id: ServiceId) -> InstanceRow {
        let service = Service {
            id,
            name: self.name,
            tags: self.tags.into(),
            address: Address::None,
            port: 0,
            meta: Meta::default(),
            weights: Weights::default(),
            enable_tag_override: false,
            tagged_addresses: None,
        };
        InstanceRow {
            service,
            stamps: Stamps::default(),
        }
    }
}

impl NodeRow {
    /// Adds the node and all on it to a state that does not have it.
    fn enter(self, name: NodeName, index: Index, state: &mut State) {
        let mentioned = |name| (unknown(name), Stamps::default());
        let (node, stamps) = self.node.unwrap_or_else(|| mentioned(name));
        let mut of_instance: BTreeMap<ServiceId, Vec<Arc<CheckEntry>>> = BTreeMap::new();
        let (mut checks, mut own_checks) = (OrdSet::new(), OrdSet::new());
        for entry in self.checks.into_values() {
            state.tally.count_check(&entry, true);
            checks.insert(ByCheckId(Arc::clone(&entry)));
            match &entry.check.service_id {
                Some(id) => of_instance.entry(id.clone()).or_default().push(entry),
                None => drop(own_checks.insert(ByCheckId(entry))),
            }
        }
        let mut instances = OrdSet::new();
        for (id, row) in self.instances {
            let checks = of_instance.remove(&id).unwrap_or_default();
            let instance = Arc::new(row.into_instance(node.name.clone(), checks));
            instances.insert(ById(Arc::clone(&instance)));
            enter_service(instance, index, state);
        }
        if let Some(id) = node.id {
            state.ids.insert(id, node.name.clone());
        }
        let entry = NodeEntry {
            create_index: stamps.create,
            modify_index: stamps.modify,
            services_index: index,
            checks_index: index,
            location: self.location,
            instances,
            checks,
            standing: Standing::of(own_checks.iter().map(|ByCheckId(check)| check)),
            own_checks,
            view: Arc::new(NodeView::new(&node)),
            slot: Arc::default(),
            node: Arc::new(node),
        };
        let name = entry.node.name.clone();
        state.nodes.insert(name, Arc::new(entry));
    }
}

impl InstanceRow {
    fn into_instance(self, node: NodeName, checks: Vec<Arc<CheckEntry>>) -> Instance {
        Instance {
            node,
            checks: checks.into(),
            create_index: self.stamps.create,
            modify_index: self.stamps.modify,
            service: Arc::new(self.service),
        }
    }
}

fn enter_service(instance: Arc<Instance>, index: Index, state: &mut State) {
    state.tally.count_instance(true);
    let name = &instance.service.name;
    let services = &mut state.services;
    let entry = services.entry(name.clone());
    let entry = entry.or_insert_with(|| Arc::new(of_service(name, index)));
    let entry = Arc::make_mut(entry);
    let mut tags: Vec<_> = instance.service.tags.iter().collect();
    tags.sort_unstable();
    tags.dedup();
    for tag in tags {
        entry.tags.add(Arc::clone(tag));
    }
    entry.instances.insert(ByOwner(instance));
}

/// A service without instances yet.
fn of_service(name: &ServiceName, index: Index) -> ServiceEntry {
    ServiceEntry {
        name: name.clone(),
        instances_index: index,
        checks_index: index,
        health_index: index,
        instances: OrdSet::new(),
        tags: Counted::default(),
        slot: Arc::default(),
    }
}

/// A node of which only the name is known.
fn unknown(name: NodeName) -> Node {
    Node {
        id: None,
        name,
        address: Address::None,
        tagged_addresses: BTreeMap::new(),
        meta: Meta::default(),
    }
}

//! Makes a whole state from its entries, as a snapshot has them: in order, and with the indexes
//! that they had.
//!
//! Whatever is no part of an entry is made anew here, by the same rules as after a change, so that
//! the state is the one that the log gives. Slots are new and empty: nothing is published yet.

mod gathering;

use std::sync::Arc;

use imbl::OrdSet;

use crate::catalog::keyed::{ByCheckId, ById, Rounds};
use crate::catalog::pace::Pace;
use crate::catalog::state::{
    CheckEntry, Instance, LocationEntry, NodeEntry, ServiceEntry, State, Tables,
};
use crate::catalog::tally::Tally;
use crate::catalog::view::{NodeView, Standing};
use crate::types::{Check, Index, Node, Service, ServiceId, ServiceName};

use super::Broken;
use gathering::Gatherings;

/// A node, without what is on it.
#[derive(Debug)]
pub(in crate::catalog) struct NodeRow {
    pub(in crate::catalog) node: Node,
    pub(in crate::catalog) create_index: Index,
    pub(in crate::catalog) modify_index: Index,
    pub(in crate::catalog) services_index: Index,
    pub(in crate::catalog) checks_index: Index,
    pub(in crate::catalog) location: Option<LocationEntry>,
}

/// A service name, without its instances.
#[derive(Debug)]
pub(in crate::catalog) struct ServiceRow {
    pub(in crate::catalog) name: ServiceName,
    pub(in crate::catalog) instances_index: Index,
    pub(in crate::catalog) checks_index: Index,
    pub(in crate::catalog) health_index: Index,
}

/// Something on the node before it.
#[derive(Debug)]
pub(in crate::catalog) struct Row<T> {
    pub(in crate::catalog) value: T,
    pub(in crate::catalog) create_index: Index,
    pub(in crate::catalog) modify_index: Index,
}

/// A node with what is on it, as it comes.
#[derive(Debug)]
pub(in crate::catalog) struct Host {
    row: NodeRow,
    instances: Vec<Row<Service>>,
    checks: Vec<Row<Check>>,
}

/// A node whose checks are where they belong. It needs nothing of the state that it will be in.
#[derive(Debug)]
pub(in crate::catalog) struct Hosted {
    /// Without the instances.
    entry: NodeEntry,
    /// Each with its own checks.
    instances: Vec<(Row<Service>, Vec<Arc<CheckEntry>>)>,
    tally: Tally,
}

impl Host {
    /// A node without anything on it.
    pub(in crate::catalog) fn new(row: NodeRow) -> Self {
        Self {
            row,
            instances: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Adds an instance.
    pub(in crate::catalog) fn instance(&mut self, row: Row<Service>) -> Result<(), Broken> {
        let last = self.instances.last();
        if last.is_some_and(|last| last.value.id >= row.value.id) {
            return Err(Broken("instances are not in order"));
        }
        self.instances.push(row);
        Ok(())
    }

    /// Adds a check, of the node or of an instance that is or will be on it.
    pub(in crate::catalog) fn check(&mut self, row: Row<Check>) -> Result<(), Broken> {
        let last = self.checks.last();
        if last.is_some_and(|last| last.value.id >= row.value.id) {
            return Err(Broken("checks are not in order"));
        }
        self.checks.push(row);
        Ok(())
    }

    /// Everything is there: brings checks and instances together.
    pub(in crate::catalog) fn close(self) -> Result<Hosted, Broken> {
        let (checks, held) = attach(self.checks, &self.instances)?;
        let mut tally = Tally::default();
        for check in &checks {
            tally.count_check(check, true);
        }
        for _ in &held {
            tally.count_instance(true);
        }
        let node = Arc::new(self.row.node);
        let own = checks.iter().filter(|c| c.check.service_id.is_none());
        let own: Vec<_> = own.cloned().collect();
        let entry = NodeEntry {
            create_index: self.row.create_index,
            modify_index: self.row.modify_index,
            services_index: self.row.services_index,
            checks_index: self.row.checks_index,
            location: self.row.location.map(Arc::new),
            instances: OrdSet::new(),
            standing: Standing::of(&own),
            own_checks: own.into_iter().map(ByCheckId).collect(),
            checks: Rounds::new(checks.into_iter().map(ByCheckId)).collect(),
            view: Arc::new(NodeView::new(&node)),
            slot: Arc::default(),
            node,
        };
        let instances = self.instances.into_iter().zip(held).collect();
        Ok(Hosted {
            entry,
            instances,
            tally,
        })
    }
}

impl Hosted {
    /// How many instances and checks there are.
    pub(in crate::catalog) fn counts(&self) -> (usize, usize) {
        (self.instances.len(), self.entry.checks.len())
    }
}

/// A state in the making. First come all services, then each node with what is on it; each of these
/// in the order of its key.
#[derive(Debug, Default)]
pub(in crate::catalog) struct Builder {
    state: State,
    services: Gatherings,
    pace: Pace,
}

impl Builder {
    /// Adds a service whose instances are still to come.
    pub(in crate::catalog) fn service(&mut self, row: ServiceRow) -> Result<(), Broken> {
        if !self.state.nodes.is_empty() {
            return Err(Broken("services are not in order"));
        }
        let mut entry = ServiceEntry::new(row.name, Arc::default(), row.instances_index);
        entry.checks_index = row.checks_index;
        entry.health_index = row.health_index;
        self.services.add(entry)
    }

    /// Adds a node. The services of what is on it are there.
    pub(in crate::catalog) fn node(&mut self, hosted: Hosted) -> Result<(), Broken> {
        self.pace.step();
        let mut entry = hosted.entry;
        let node = Arc::clone(&entry.node);
        let last = self.state.nodes.get_max();
        if last.is_some_and(|(name, _)| *name >= node.name) {
            return Err(Broken("nodes are not in order"));
        }
        if node.id.is_some_and(|id| self.state.ids.contains_key(&id)) {
            return Err(Broken("two nodes with one id"));
        }
        let instances = hosted.instances.into_iter().map(|(row, checks)| {
            let instance = self.services.host(row.value, |service| Instance {
                node: node.name.clone(),
                service: Arc::new(service),
                checks: checks.into(),
                create_index: row.create_index,
                modify_index: row.modify_index,
            });
            instance.map(ById)
        });
        let instances = instances.collect::<Result<Vec<_>, Broken>>()?;
        entry.instances = Rounds::new(instances.into_iter()).collect();
        self.state.tally.add(hosted.tally);
        self.state.list_node(&node);
        self.state.nodes.insert(node.name.clone(), Arc::new(entry));
        Ok(())
    }

    /// The state, once all is there.
    pub(in crate::catalog) fn finish(
        mut self,
        applied: Index,
        tables: Tables,
    ) -> Result<State, Broken> {
        self.services.finish(&mut self.state)?;
        self.state.applied = applied;
        self.state.tables = tables;
        Ok(self.state)
    }
}

/// Every check, and for each instance its own.
type Attached = (Vec<Arc<CheckEntry>>, Vec<Vec<Arc<CheckEntry>>>);

fn attach(checks: Vec<Row<Check>>, instances: &[Row<Service>]) -> Result<Attached, Broken> {
    let mut held = vec![Vec::new(); instances.len()];
    let mut all = Vec::with_capacity(checks.len());
    let place_of = |id: &ServiceId| instances.binary_search_by(|row| row.value.id.cmp(id)).ok();
    for Row {
        value: mut check,
        create_index,
        modify_index,
    } in checks
    {
        let place = check.service_id.as_ref().map(place_of);
        let place = match place {
            Some(None) => return Err(Broken("a check without its service")),
            Some(place) => place,
            None => None,
        };
        let owner = place.and_then(|place| Some((instances.get(place)?, held.get_mut(place)?)));
        if let (Some((row, _)), Some(id)) = (&owner, &mut check.service_id)
            && id.same_spelling(&row.value.id)
        {
            // In memory once.
            *id = row.value.id.clone();
        }
        let entry = Arc::new(CheckEntry {
            check,
            create_index,
            modify_index,
        });
        if let Some((_, own)) = owner {
            own.push(Arc::clone(&entry));
        }
        all.push(entry);
    }
    Ok((all, held))
}

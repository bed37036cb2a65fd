//! Makes a whole state from its entries, as a snapshot has them: in order, and with the indexes
//! that they had.
//!
//! Whatever is no part of an entry is made anew here, by the same rules as after a change, so that
//! the state is the one that the log gives. Slots are new and empty: nothing is published yet.

use std::sync::Arc;

use imbl::OrdSet;

use crate::catalog::keyed::{ByCheckId, ById, ByOwner};
use crate::catalog::pace::Pace;
use crate::catalog::state::{
    CheckEntry, Instance, LocationEntry, NodeEntry, ServiceEntry, State, Tables,
};
use crate::catalog::view::{NodeView, Standing};
use crate::types::{Check, Index, Node, Service, ServiceId, ServiceName};

use super::Broken;
use super::instances::enlist;

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

/// A state in the making. First come all services, then each node and what is on it; each of these
/// in the order of its key.
#[derive(Debug, Default)]
pub(in crate::catalog) struct Builder {
    state: State,
    open: Option<Host>,
    pace: Pace,
}

/// The node that instances and checks are added to.
#[derive(Debug)]
struct Host {
    row: NodeRow,
    instances: Vec<Row<Service>>,
    checks: Vec<Row<Check>>,
}

impl Builder {
    /// Adds a service whose instances are still to come.
    pub(in crate::catalog) fn service(&mut self, row: ServiceRow) -> Result<(), Broken> {
        let services = &mut self.state.services;
        let last = services.get_max();
        if self.open.is_some() || last.is_some_and(|(name, _)| *name >= row.name) {
            return Err(Broken("services are not in order"));
        }
        let mut entry = ServiceEntry::new(row.name, Arc::default(), row.instances_index);
        entry.checks_index = row.checks_index;
        entry.health_index = row.health_index;
        services.insert(entry.name.clone(), Arc::new(entry));
        Ok(())
    }

    /// Adds a node; what follows is on it.
    pub(in crate::catalog) fn node(&mut self, row: NodeRow) -> Result<(), Broken> {
        self.close()?;
        let last = self.state.nodes.get_max();
        if last.is_some_and(|(name, _)| *name >= row.node.name) {
            return Err(Broken("nodes are not in order"));
        }
        self.open = Some(Host {
            row,
            instances: Vec::new(),
            checks: Vec::new(),
        });
        Ok(())
    }

    /// Adds an instance of a service that is there.
    pub(in crate::catalog) fn instance(&mut self, row: Row<Service>) -> Result<(), Broken> {
        let host = self.open.as_mut();
        let host = host.ok_or(Broken("an instance without its node"))?;
        let last = host.instances.last();
        if last.is_some_and(|last| last.value.id >= row.value.id) {
            return Err(Broken("instances are not in order"));
        }
        host.instances.push(row);
        Ok(())
    }

    /// Adds a check, of the node or of an instance that is or will be on it.
    pub(in crate::catalog) fn check(&mut self, row: Row<Check>) -> Result<(), Broken> {
        let host = self.open.as_mut();
        let host = host.ok_or(Broken("a check without its node"))?;
        let last = host.checks.last();
        if last.is_some_and(|last| last.value.id >= row.value.id) {
            return Err(Broken("checks are not in order"));
        }
        host.checks.push(row);
        Ok(())
    }

    /// The state, once all is there.
    pub(in crate::catalog) fn finish(
        mut self,
        applied: Index,
        tables: Tables,
    ) -> Result<State, Broken> {
        self.close()?;
        if self.state.services().any(|service| service.is_empty()) {
            return Err(Broken("a service without instances"));
        }
        self.state.applied = applied;
        self.state.tables = tables;
        Ok(self.state)
    }

    /// Takes the open node with all that is on it into the state.
    fn close(&mut self) -> Result<(), Broken> {
        let Some(host) = self.open.take() else {
            return Ok(());
        };
        self.pace.step();
        let (checks, held) = attach(host.checks, &host.instances)?;
        for check in &checks {
            self.state.tally.count_check(check, true);
        }
        let node = Arc::new(host.row.node);
        let mut instances = OrdSet::new();
        for (row, checks) in host.instances.into_iter().zip(held) {
            instances.insert(ById(self.host(&node, row, checks)?));
        }
        let own = checks.iter().filter(|c| c.check.service_id.is_none());
        let own: Vec<_> = own.cloned().collect();
        let entry = NodeEntry {
            create_index: host.row.create_index,
            modify_index: host.row.modify_index,
            services_index: host.row.services_index,
            checks_index: host.row.checks_index,
            location: host.row.location.map(Arc::new),
            instances,
            standing: Standing::of(&own),
            own_checks: own.into_iter().map(ByCheckId).collect(),
            checks: checks.into_iter().map(ByCheckId).collect(),
            view: Arc::new(NodeView::new(&node)),
            slot: Arc::default(),
            node: Arc::clone(&node),
        };
        if node.id.is_some_and(|id| self.state.ids.contains_key(&id)) {
            return Err(Broken("two nodes with one id"));
        }
        self.state.list_node(&node);
        self.state.nodes.insert(node.name.clone(), Arc::new(entry));
        Ok(())
    }

    /// Takes an instance into its service.
    fn host(
        &mut self,
        node: &Node,
        row: Row<Service>,
        checks: Vec<Arc<CheckEntry>>,
    ) -> Result<Arc<Instance>, Broken> {
        let mut service = row.value;
        let state = &mut self.state;
        let entry = state.services.get_mut(&service.name).map(Arc::make_mut);
        let entry = entry.ok_or(Broken("an instance without its service"))?;
        entry.share_parts(&mut service);
        let instance = Arc::new(Instance {
            node: node.name.clone(),
            service: Arc::new(service),
            checks: checks.into(),
            create_index: row.create_index,
            modify_index: row.modify_index,
        });
        entry.instances.insert(ByOwner(Arc::clone(&instance)));
        let listed = (&mut state.tags, &mut state.service_addresses);
        enlist(entry, listed, &instance.service);
        state.tally.count_instance(true);
        Ok(instance)
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

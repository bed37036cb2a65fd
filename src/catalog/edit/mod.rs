//! Changes the state entry by entry, and keeps everything that refers to an entry in line: the sets
//! of nodes and services, the address and tag indexes, the indexes of what was changed.
//!
//! Owns the invariants of `state`; `apply` decides what a command means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::types::{Index, NodeName, ServiceId, ServiceName};

use super::state::{Instance, NodeEntry, ServiceEntry, State};
use super::watch::WatchKey;

pub(super) mod build;

mod checks;
mod instances;
mod nodes;

pub(super) use self::checks::is_same_check;
pub(super) use self::instances::is_same_service;

/// What a batch has touched: nothing outside of it differs from the published state.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Reads that may see something new, some of them several times.
    pub(super) keys: Vec<WatchKey>,
    /// Nodes added, changed or removed.
    pub(super) nodes: BTreeSet<NodeName>,
    /// Instances that DNS may see differently, by service, as node and id.
    pub(super) instances: BTreeMap<ServiceName, BTreeSet<(NodeName, ServiceId)>>,
}

/// An invariant of the state that did not hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken(pub(super) &'static str);

/// Changes `state` at `index`.
#[derive(Debug)]
pub(super) struct Edit<'a> {
    pub(super) state: &'a mut State,
    /// What readers see: a name that they know keeps its slot.
    pub(super) published: &'a State,
    pub(super) changes: &'a mut Changes,
    pub(super) index: Index,
}

/// Which reads of a service see a change; those of its health see every one.
#[derive(Clone, Copy, Debug)]
struct Touch {
    instances: bool,
    checks: bool,
}

impl Edit<'_> {
    fn node(&self, name: &NodeName) -> Result<&Arc<NodeEntry>, Broken> {
        let entry = self.state.nodes.get(name);
        entry.ok_or(Broken("a node that should exist does not"))
    }

    fn node_mut(&mut self, name: &NodeName) -> Result<&mut NodeEntry, Broken> {
        let entry = self.state.nodes.get_mut(name).map(Arc::make_mut);
        entry.ok_or(Broken("a node that should exist does not"))
    }

    fn touch_node(&mut self, name: &NodeName) {
        self.state.tables.nodes = self.index;
        self.changes.nodes.insert(name.clone());
        self.changes.keys.push(WatchKey::Nodes);
        self.changes.keys.push(WatchKey::NodeServices(name.clone()));
    }

    /// An instance on a node changes, and the looks of its checks if `checks`.
    fn touch_host(&mut self, node: &NodeName, checks: bool) -> Result<&mut NodeEntry, Broken> {
        let (index, keys) = (self.index, &mut self.changes.keys);
        keys.push(WatchKey::NodeServices(node.clone()));
        if checks {
            self.touch_check_keys(node);
        }
        let entry = self.node_mut(node)?;
        entry.services_index = index;
        if checks {
            entry.checks_index = index;
        }
        Ok(entry)
    }

    fn touch_check_keys(&mut self, node: &NodeName) {
        self.changes.keys.push(WatchKey::NodeChecks(node.clone()));
        self.touch_check_table();
    }

    fn touch_check_table(&mut self) {
        self.state.tables.checks = self.index;
        self.changes.keys.push(WatchKey::Checks);
    }

    fn touch_service(&mut self, name: &ServiceName, touch: Touch) -> Result<(), Broken> {
        let entry = self.state.services.get_mut(name).map(Arc::make_mut);
        let entry = entry.ok_or(Broken("a service that should exist does not"))?;
        entry.touch(self.index, touch);
        self.announce(name, touch);
        Ok(())
    }

    /// Notes who must be told of a change of a service.
    fn announce(&mut self, name: &ServiceName, touch: Touch) {
        let keys = &mut self.changes.keys;
        keys.push(WatchKey::ServiceHealth(name.clone()));
        if touch.instances {
            keys.push(WatchKey::ServiceInstances(name.clone()));
        }
        if touch.checks {
            keys.push(WatchKey::ServiceChecks(name.clone()));
        }
    }

    /// Notes that DNS may see an instance differently.
    fn mark(&mut self, instance: &Instance) {
        let owners = self.changes.instances.entry(instance.service.name.clone());
        let owner = (instance.node.clone(), instance.service.id.clone());
        owners.or_default().insert(owner);
    }
}

impl Touch {
    const INSTANCES: Self = Self {
        instances: true,
        checks: false,
    };
    const CHECKS: Self = Self {
        instances: false,
        checks: true,
    };
    const HEALTH: Self = Self {
        instances: false,
        checks: false,
    };
}

impl ServiceEntry {
    fn touch(&mut self, index: Index, touch: Touch) {
        self.health_index = index;
        if touch.instances {
            self.instances_index = index;
        }
        if touch.checks {
            self.checks_index = index;
        }
    }
}

//! Nodes: added, replaced, renamed, removed.

use std::sync::Arc;

use imbl::OrdSet;

use crate::catalog::keyed::{Addressed, ById};
use crate::catalog::state::{Instance, LocationEntry, NodeEntry, State};
use crate::catalog::view::{NodeView, Standing};
use crate::catalog::watch::WatchKey;
use crate::types::{Coordinate, Node, NodeName};

use super::{Broken, Edit, Touch};

impl Edit<'_> {
    /// Adds a node that is not there.
    pub(in crate::catalog) fn add_node(&mut self, node: Node) {
        let known = self.published.nodes.get(&node.name);
        let slot = known.map_or_else(Arc::default, |entry| Arc::clone(&entry.slot));
        let (node, index) = (Arc::new(node), self.index);
        let entry = NodeEntry {
            view: Arc::new(NodeView::new(&node)),
            create_index: index,
            modify_index: index,
            services_index: index,
            checks_index: index,
            location: None,
            instances: OrdSet::new(),
            checks: OrdSet::new(),
            own_checks: OrdSet::new(),
            standing: Standing::default(),
            slot,
            node: Arc::clone(&node),
        };
        self.insert_node(entry);
        let checks = WatchKey::NodeChecks(node.name.clone());
        self.changes.keys.push(checks);
    }

    /// Replaces a stored node of the same name, unless it is equal.
    pub(in crate::catalog) fn replace_node(&mut self, node: Node) -> Result<(), Broken> {
        let name = node.name.clone();
        let entry = self.node(&name)?;
        if *entry.node == node {
            return Ok(());
        }
        let mut entry = NodeEntry::clone(entry);
        self.unlist_node(&entry.node);
        entry.modify_index = self.index;
        entry.services_index = self.index;
        entry.node = Arc::new(node);
        entry.view = Arc::new(NodeView::new(&entry.node));
        let hosted: Vec<_> = entry.instances().cloned().collect();
        self.insert_node(entry);
        for instance in hosted {
            self.touch_service(&instance.service.name, Touch::INSTANCES)?;
            self.mark(&instance);
        }
        Ok(())
    }

    /// Gives a stored node another name (or another spelling of it); all that runs on it stays.
    pub(in crate::catalog) fn rename_node(
        &mut self,
        old: &NodeName,
        node: Node,
    ) -> Result<(), Broken> {
        let mut entry = NodeEntry::clone(self.node(old)?);
        let has_checks = !entry.checks.is_empty();
        let (name, other_name) = (node.name.clone(), node.name != *old);
        self.state.nodes.remove(old);
        self.unlist_node(&entry.node);
        if other_name {
            self.leave_name(old);
            let known = self.published.nodes.get(&name);
            entry.slot = known.map_or_else(Arc::default, |known| Arc::clone(&known.slot));
        }
        if other_name || has_checks {
            entry.checks_index = self.index;
            let checks = WatchKey::NodeChecks(name.clone());
            self.changes.keys.push(checks);
        }
        if has_checks {
            self.touch_check_table();
        }
        if let Some(location) = entry.location.take() {
            if other_name {
                self.leave_location(old);
            }
            entry.location = Some(self.locate(&name, location.coordinate));
        }
        entry.modify_index = self.index;
        entry.services_index = self.index;
        entry.node = Arc::new(node);
        entry.view = Arc::new(NodeView::new(&entry.node));
        let hosted: Vec<_> = entry.instances().cloned().collect();
        let moved: Vec<_> = hosted.iter().map(|old| renamed(old, &name)).collect();
        entry.instances = moved.iter().cloned().map(ById).collect();
        self.insert_node(entry);
        for (old, new) in hosted.iter().zip(&moved) {
            let checks = !old.checks.is_empty();
            let touch = Touch {
                checks,
                ..Touch::INSTANCES
            };
            self.exchange(Some(old), Some(new), touch)?;
        }
        Ok(())
    }

    /// Removes a node with everything on it.
    pub(in crate::catalog) fn remove_node(&mut self, name: &NodeName) -> Result<(), Broken> {
        let entry = Arc::clone(self.node(name)?);
        let hosted: Vec<_> = entry.instances().cloned().collect();
        for instance in hosted {
            self.remove_instance(&entry.node.name, &instance.service.id)?;
        }
        // Those of the instances have gone with them.
        for check in entry.node_checks() {
            self.state.tally.count_check(check, false);
        }
        if !entry.checks.is_empty() {
            self.touch_check_table();
        }
        self.state.nodes.remove(name);
        self.unlist_node(&entry.node);
        self.leave_name(&entry.node.name);
        if entry.location.is_some() {
            self.leave_location(&entry.node.name);
        }
        Ok(())
    }

    /// Says where a stored node is in the network, unless that is known already.
    pub(in crate::catalog) fn locate_node(
        &mut self,
        name: &NodeName,
        coordinate: Coordinate,
    ) -> Result<(), Broken> {
        let known = self.node(name)?.location.as_ref();
        if known.is_some_and(|known| known.coordinate == coordinate) {
            return Ok(());
        }
        let location = self.locate(name, coordinate);
        self.node_mut(name)?.location = Some(location);
        Ok(())
    }

    fn locate(&mut self, name: &NodeName, coordinate: Coordinate) -> Arc<LocationEntry> {
        self.touch_locations(name);
        Arc::new(LocationEntry {
            coordinate,
            modify_index: self.index,
        })
    }

    fn leave_location(&mut self, name: &NodeName) {
        self.state.tables.location_extinction = self.index;
        self.touch_locations(name);
    }

    fn touch_locations(&mut self, name: &NodeName) {
        self.state.tables.locations = self.index;
        self.changes.keys.push(WatchKey::Locations);
        let location = WatchKey::NodeLocation(name.clone());
        self.changes.keys.push(location);
    }

    fn insert_node(&mut self, entry: NodeEntry) {
        let node = Arc::clone(&entry.node);
        self.state.list_node(&node);
        // An equal key in another spelling would stay.
        self.state.nodes.remove(&node.name);
        self.state.nodes.insert(node.name.clone(), Arc::new(entry));
        self.touch_node(&node.name);
    }

    /// Removes what leads to a node: its id, address and name's end.
    fn unlist_node(&mut self, node: &Node) {
        if let Some(id) = node.id {
            self.state.ids.remove(&id);
        }
        if let Some(ip) = node.address.ip() {
            let owner = Addressed::new(ip, node.name.clone());
            self.state.node_addresses.remove(&owner);
        }
        if let Some(reversed) = reversed_if_dotted(&node.name) {
            self.state.dotted_nodes.remove(&reversed);
        }
    }

    fn leave_name(&mut self, name: &NodeName) {
        self.state.tables.node_extinction = self.index;
        self.touch_node(name);
        self.changes.keys.push(WatchKey::NodeChecks(name.clone()));
    }
}

impl State {
    /// Adds what leads to a node: its id, address and name's end.
    pub(super) fn list_node(&mut self, node: &Node) {
        if let Some(id) = node.id {
            self.ids.insert(id, node.name.clone());
        }
        if let Some(ip) = node.address.ip() {
            let owner = Addressed::new(ip, node.name.clone());
            self.node_addresses.insert(owner);
        }
        if let Some(reversed) = reversed_if_dotted(&node.name) {
            self.dotted_nodes.insert(reversed);
        }
    }
}

fn renamed(old: &Instance, node: &NodeName) -> Arc<Instance> {
    Arc::new(Instance {
        node: node.clone(),
        ..old.clone()
    })
}

/// A name with dots, in ASCII lower case, from its end to its start.
fn reversed_if_dotted(name: &NodeName) -> Option<Box<[u8]>> {
    let mut folded = name.folded();
    folded.reverse();
    folded.contains(&b'.').then_some(folded)
}

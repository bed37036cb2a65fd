//! What the catalog of a client agent holds: pictures of single services and nodes, put together.
//!
//! Owns what a new picture means for what is held. Each one is taken in by one command, so that
//! nobody sees a part of it.
//!
//! Views that meet on one node may be of different age. What both see (the node, its checks, an
//! instance or check that went from one service to another) is as the picture with the greater index
//! has it: a picture is as new as its index, and no change of what is in it is newer than that.
//!
//! **Invariant**: a service is held whole or not at all, and a node only while a view needs it.
//! **Invariant**: nodes are held without their ids: DNS needs none, and two views in which a node
//! has changed its name meanwhile must not exclude each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{
    Command, Corrupt, Deregistration, Instance, NodeEntry, Operation, Outcome, Refusal,
    Registration, State, Writer,
};
use crate::types::{Check, CheckId, Index, Node, NodeName, ServiceId, ServiceName};

/// Why a picture was not taken in. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HoldError {
    /// The catalog refuses a part of it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An invariant of the catalog is broken.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// The catalog, with what is known of where its parts came from.
#[derive(Debug)]
pub(super) struct Held {
    writer: Writer,
    /// Services that are held, with the index of the picture.
    services: BTreeMap<ServiceName, Index>,
    nodes: BTreeMap<NodeName, Told>,
}

/// How new what is held of a node is.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    node: Index,
    checks: Index,
    /// Whether the node itself is wanted, besides what runs on it.
    wanted: bool,
}

/// A new picture of a service on the way into the catalog.
struct Change<'a> {
    held: &'a Held,
    before: &'a State,
    name: &'a ServiceName,
    index: Index,
    operations: Vec<Operation>,
    told: BTreeMap<NodeName, Told>,
}

impl Held {
    /// Nothing yet.
    pub(super) fn new(writer: Writer) -> Self {
        Self {
            writer,
            services: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// Takes in a service as a server has it; instead of what was held of it, if anything was.
    ///
    /// # Errors
    /// [`HoldError`].
    pub(super) fn put_service(
        &mut self,
        name: &ServiceName,
        picture: &State,
        index: Index,
    ) -> Result<(), HoldError> {
        let before = self.writer.state();
        let mut change = Change {
            held: self,
            before: &before,
            name,
            index,
            operations: Vec::new(),
            told: BTreeMap::new(),
        };
        change.replace(picture);
        let (operations, told) = (change.operations, change.told);
        self.apply(operations)?;
        self.nodes.extend(told);
        self.services.insert(name.clone(), index);
        self.forget_nodes(&before, name);
        Ok(())
    }

    /// Lets go of a service.
    ///
    /// # Errors
    /// [`HoldError`].
    pub(super) fn drop_service(&mut self, name: &ServiceName) -> Result<(), HoldError> {
        self.put_service(name, &State::default(), Index(u64::MAX))?;
        self.services.remove(name);
        Ok(())
    }

    /// Takes in a node as a server has it.
    ///
    /// # Errors
    /// [`HoldError`].
    pub(super) fn put_node(&mut self, node: &Node, index: Index) -> Result<(), HoldError> {
        let mut told = self.nodes.get(&node.name).copied().unwrap_or_default();
        if told.node <= index {
            let registration = register_node(node, Vec::new());
            self.apply(vec![Operation::Register(Box::new(registration))])?;
            told.node = index;
        }
        told.wanted = true;
        self.nodes.insert(node.name.clone(), told);
        Ok(())
    }

    /// Lets go of a node, unless a service needs it.
    ///
    /// # Errors
    /// [`HoldError`].
    pub(super) fn drop_node(&mut self, name: &NodeName) -> Result<(), HoldError> {
        let Some(told) = self.nodes.get_mut(name) else {
            return Ok(());
        };
        told.wanted = false;
        let state = self.writer.state();
        let is_host = state
            .node(name)
            .is_some_and(|it| it.instances().count() > 0);
        if !is_host {
            self.nodes.remove(name);
            self.apply(vec![gone(Deregistration::Node(name.clone()))])?;
        }
        Ok(())
    }

    /// The catalog.
    pub(super) fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// Believes whatever comes next, however small its index: servers have begun to count anew.
    pub(super) fn begin_anew(&mut self) {
        self.services
            .values_mut()
            .for_each(|index| *index = Index::ZERO);
        for told in self.nodes.values_mut() {
            (told.node, told.checks) = (Index::ZERO, Index::ZERO);
        }
    }

    fn apply(&mut self, operations: Vec<Operation>) -> Result<(), HoldError> {
        if operations.is_empty() {
            return Ok(());
        }
        let index = Index(self.writer.applied().0 + 1);
        let command = Command {
            request: 0,
            operations,
        };
        let outcomes = self.writer.apply(vec![(index, command)])?;
        match outcomes.into_iter().next() {
            Some(Outcome::Refused(refusal)) => Err(refusal.into()),
            Some(Outcome::Applied { .. }) | None => Ok(()),
        }
    }

    /// Forgets the nodes of a service that are not in the catalog any more.
    fn forget_nodes(&mut self, before: &State, name: &ServiceName) {
        let state = self.writer.state();
        for instance in before
            .service(name)
            .into_iter()
            .flat_map(|it| it.instances())
        {
            if state.node(&instance.node).is_none() {
                self.nodes.remove(&instance.node);
            }
        }
    }

    /// The index of the picture that an instance or check of this service is from.
    fn index_of(&self, name: &ServiceName) -> Index {
        self.services.get(name).copied().unwrap_or_default()
    }
}

impl Change<'_> {
    /// What turns what is held of the service into `picture`.
    fn replace(&mut self, picture: &State) {
        let mut rows: BTreeMap<&NodeName, Vec<&Instance>> = BTreeMap::new();
        for instance in picture
            .service(self.name)
            .into_iter()
            .flat_map(|it| it.instances())
        {
            rows.entry(&instance.node).or_default().push(instance);
        }
        for (name, instances) in &rows {
            // An instance of a fragment always has its node.
            let Some(entry) = picture.node(name) else {
                continue;
            };
            self.put_node(entry);
            for instance in instances {
                self.put_instance(entry, instance);
            }
        }
        self.remove_gone(picture, &rows);
    }

    /// The node and its own checks, as far as nothing newer is known of them.
    fn put_node(&mut self, entry: &NodeEntry) {
        let name = &entry.node.name;
        let current = self.before.node(name);
        let mut told = self.held.nodes.get(name).copied().unwrap_or_default();
        if told.checks <= self.index {
            told.checks = self.index;
            let checks = entry.node_checks();
            let checks = checks.filter(|it| !self.is_newer(current, &it.check.id, None));
            let checks: Vec<_> = checks.map(|it| it.check.clone()).collect();
            for known in current.into_iter().flat_map(|it| it.node_checks()) {
                if entry.check(&known.check.id).is_none() {
                    let id = known.check.id.clone();
                    self.remove(Deregistration::Check(name.clone(), id));
                }
            }
            let mut registration = register_node(&entry.node, checks);
            registration.skip_node_update = told.node > self.index;
            self.register(registration);
        } else if told.node <= self.index {
            self.register(register_node(&entry.node, Vec::new()));
        }
        told.node = told.node.max(self.index);
        self.told.insert(name.clone(), told);
    }

    fn put_instance(&mut self, entry: &NodeEntry, instance: &Instance) {
        let current = self.before.node(&instance.node);
        let known = current.and_then(|it| it.instance(&instance.service.id));
        if let Some(known) = known {
            let other = &known.service.name;
            if other != self.name && self.held.index_of(other) > self.index {
                return;
            }
            if other == self.name && known.is_same(instance) {
                return;
            }
            for check in &known.checks {
                if entry.check(&check.check.id).is_none() {
                    let id = check.check.id.clone();
                    self.remove(Deregistration::Check(instance.node.clone(), id));
                }
            }
        }
        let id = Some(&instance.service.id);
        let checks = instance.checks.iter();
        let checks = checks.filter(|it| !self.is_newer(current, &it.check.id, id));
        let checks = checks.map(|it| it.check.clone()).collect();
        self.register(Registration {
            skip_node_update: true,
            service: Some((*instance.service).clone()),
            ..register_node(&entry.node, checks)
        });
    }

    /// Whether a check of the node is known to belong to another than `owner` from a newer picture.
    fn is_newer(
        &self,
        current: Option<&Arc<NodeEntry>>,
        id: &CheckId,
        owner: Option<&ServiceId>,
    ) -> bool {
        let Some(entry) = current else { return false };
        let Some(known) = entry.check(id) else {
            return false;
        };
        if known.check.service_id.as_ref() == owner {
            return false;
        }
        let holder = match entry.owner_of(known) {
            Some(instance) => self.held.index_of(&instance.service.name),
            None => {
                self.held
                    .nodes
                    .get(&entry.node.name)
                    .copied()
                    .unwrap_or_default()
                    .checks
            }
        };
        holder > self.index
    }

    /// Removes the instances that are not in `picture`, and nodes that nobody needs without them.
    fn remove_gone(&mut self, picture: &State, rows: &BTreeMap<&NodeName, Vec<&Instance>>) {
        let old = self.before.service(self.name).into_iter();
        let mut left: BTreeMap<&NodeName, BTreeSet<&ServiceId>> = BTreeMap::new();
        for instance in old.flat_map(|it| it.instances()) {
            let host = picture.node(&instance.node);
            let stays = host.and_then(|it| it.instance(&instance.service.id));
            if stays.is_none_or(|it| it.service.name != *self.name) {
                let ids = left.entry(&instance.node).or_default();
                ids.insert(&instance.service.id);
            }
        }
        for (node, ids) in left {
            let entry = self.before.node(node);
            let wanted = self.held.nodes.get(node).is_some_and(|told| told.wanted);
            let others = entry.is_some_and(|it| it.instances().count() > ids.len());
            if !wanted && !others && !rows.contains_key(node) {
                self.remove(Deregistration::Node(node.clone()));
                continue;
            }
            for id in ids {
                self.remove(Deregistration::Service(node.clone(), id.clone()));
            }
        }
    }

    fn register(&mut self, registration: Registration) {
        let registration = Box::new(registration);
        self.operations.push(Operation::Register(registration));
    }

    fn remove(&mut self, what: Deregistration) {
        self.operations.push(gone(what));
    }
}

fn gone(what: Deregistration) -> Operation {
    Operation::Deregister(what)
}

/// A node without its id, with checks of its own.
fn register_node(node: &Node, checks: Vec<Check>) -> Registration {
    Registration {
        node: Node {
            id: None,
            ..node.clone()
        },
        skip_node_update: false,
        service: None,
        checks,
    }
}

#[cfg(test)]
mod tests;

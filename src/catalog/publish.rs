//! Turns what a batch has changed into new views, and publishes them in the slots of `index`.
//!
//! **Invariant**: only [`commit`] stores into slots and links them, so that the view in a slot is
//! always that of the published state.
//! **Invariant**: at most one new view for each slot and batch.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::types::{NodeName, Service, ServiceId, ServiceName};

use super::edit::{Broken, Changes};
use super::index::{DnsIndex, Links, Slot};
use super::pace::Pace;
use super::parallel;
use super::state::{NodeEntry, ServiceEntry, State};
use super::view::{Eligibility, NodeView, ServiceView, eligibility};

/// New views, ready to be published.
#[derive(Debug, Default)]
pub(super) struct Views {
    nodes: Vec<Update<NodeView>>,
    services: Vec<Update<ServiceView>>,
}

/// What happens to one slot.
#[derive(Debug)]
enum Update<V> {
    /// A name appears.
    Link(Box<[u8]>, Arc<Slot<V>>, Arc<V>),
    /// A linked slot gets a newer view.
    Store(Arc<Slot<V>>, Arc<V>),
    /// A name goes.
    Unlink(Box<[u8]>, Arc<Slot<V>>),
}

/// Computes the views of `new` that differ from those of `old`, which is published.
pub(super) fn prepare(old: &State, new: &State, changes: &Changes) -> Result<Views, Broken> {
    let nodes = changes.nodes.iter();
    let nodes = nodes
        .filter_map(|name| node_update(old, new, name))
        .collect();
    let mut services = Vec::with_capacity(changes.instances.len());
    let mut pace = Pace::default();
    for (name, owners) in &changes.instances {
        pace.step();
        services.extend(service_update(old, new, name, owners)?);
    }
    Ok(Views { nodes, services })
}

/// The views of all that `state` has, where nothing is published yet.
pub(super) fn whole(state: &State) -> Views {
    let nodes = state.nodes().map(|entry| link_node(entry)).collect();
    // Each instance asks for its node: a hash takes less than comparing names on the way down a tree.
    let hosts = state.nodes().map(|entry| (&entry.node.name, entry));
    let hosts: HashMap<_, _> = hosts.collect();
    let services: Vec<_> = state.services().collect();
    let services = parallel::map(&services, |entry| {
        link_service(entry, |name| hosts.get(name).copied())
    });
    Views { nodes, services }
}

/// Publishes `views`: each slot's view before its link, each empty slot before it is unlinked.
pub(super) fn commit(dns: &DnsIndex, views: Views) {
    store(&dns.nodes, views.nodes);
    store(&dns.services, views.services);
}

fn store<V>(links: &Links<V>, updates: Vec<Update<V>>) {
    let mut pace = Pace::default();
    for update in updates {
        pace.step();
        match update {
            Update::Store(slot, view) => slot.store(Some(view)),
            Update::Link(name, slot, view) => {
                slot.store(Some(view));
                links.link(name, slot);
            }
            Update::Unlink(name, slot) => {
                slot.store(None);
                links.unlink(&name);
            }
        }
    }
}

fn node_update(old: &State, new: &State, name: &NodeName) -> Option<Update<NodeView>> {
    match (old.nodes.get(name), new.nodes.get(name)) {
        (None, None) => None,
        (None, Some(entry)) => Some(link_node(entry)),
        (Some(before), Some(entry)) => (!Arc::ptr_eq(&before.view, &entry.view))
            .then(|| Update::Store(Arc::clone(&entry.slot), Arc::clone(&entry.view))),
        (Some(before), None) => Some(Update::Unlink(name.folded(), Arc::clone(&before.slot))),
    }
}

fn link_node(entry: &NodeEntry) -> Update<NodeView> {
    let name = entry.node.name.folded();
    Update::Link(name, Arc::clone(&entry.slot), Arc::clone(&entry.view))
}

fn link_service<'a>(
    entry: &ServiceEntry,
    node: impl Fn(&NodeName) -> Option<&'a Arc<NodeEntry>>,
) -> Update<ServiceView> {
    let view = Arc::new(ServiceView::build(entry, node));
    Update::Link(entry.name.folded(), Arc::clone(&entry.slot), view)
}

fn service_update(
    old: &State,
    new: &State,
    name: &ServiceName,
    owners: &BTreeSet<(NodeName, ServiceId)>,
) -> Result<Option<Update<ServiceView>>, Broken> {
    let Some(entry) = new.services.get(name) else {
        let before = old.services.get(name);
        return Ok(before.map(|entry| Update::Unlink(name.folded(), Arc::clone(&entry.slot))));
    };
    let slot = Arc::clone(&entry.slot);
    let Some(current) = slot.load().as_ref().map(Arc::clone) else {
        return Ok(Some(link_service(entry, |name| new.nodes.get(name))));
    };
    let view = if is_mostly_new(entry, owners.len()) {
        Some(ServiceView::build(entry, |name| new.nodes.get(name)))
    } else {
        revise(&current, old, new, entry, owners)?
    };
    Ok(view.map(|view| Update::Store(slot, Arc::new(view))))
}

/// Whether so much has changed that it is cheaper to start from nothing.
fn is_mostly_new(entry: &ServiceEntry, changed: usize) -> bool {
    changed > 8 && changed > entry.len() / 8
}

/// The current view with the changed instances replaced; `None` if nothing differs.
fn revise(
    current: &ServiceView,
    old: &State,
    new: &State,
    entry: &ServiceEntry,
    owners: &BTreeSet<(NodeName, ServiceId)>,
) -> Result<Option<ServiceView>, Broken> {
    let mut view = current.clone();
    let mut changed = !view.name.same_spelling(&entry.name);
    view.name = entry.name.clone();
    for owner in owners {
        let before = part_of(old, &entry.name, owner);
        let after = part_of(new, &entry.name, owner);
        changed |= view
            .replace(before, after)
            .ok_or(Broken("an instance is not in its service's view"))?;
    }
    Ok(changed.then_some(view))
}

/// The part of one instance in a service's view, if it is one of the service's instances.
fn part_of<'a>(
    state: &'a State,
    name: &ServiceName,
    (node, id): &(NodeName, ServiceId),
) -> Option<(&'a Service, Eligibility)> {
    let node = state.nodes.get(node)?;
    let instance = node.instance(id)?;
    let eligibility = || eligibility(node, instance);
    (instance.service.name == *name).then(|| (&*instance.service, eligibility()))
}

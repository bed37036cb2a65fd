//! Puts a whole state in the place of the one that readers see, as after a snapshot.
//!
//! Owns the difference of two states that know nothing of each other; `publish` shows it. What is
//! the same in both keeps its view, so that no more is made anew than differs.
//!
//! **Invariant**: a name that both states have keeps its slot, so that a linked slot is never
//! replaced.

use std::sync::Arc;

use super::edit::Changes;
use super::pace::Pace;
use super::state::{Instance, NodeEntry, State};
use super::view::Standing;

/// Makes `new` the successor of `old`, which is published: with its slots, and its views where they
/// would be the same. What DNS may see differently.
pub(super) fn succeed(old: &State, new: &mut State) -> Changes {
    let mut changes = Changes::default();
    keep_services(old, new, &mut changes);
    keep_nodes(old, new, &mut changes);
    let mut pace = Pace::default();
    let mut difference = Difference {
        old,
        new,
        changes: &mut changes,
    };
    for entry in new.nodes() {
        pace.step();
        difference.node(old.node(&entry.node.name), Some(entry));
    }
    let gone = |entry: &&Arc<NodeEntry>| new.node(&entry.node.name).is_none();
    for entry in old.nodes().filter(gone) {
        pace.step();
        difference.node(Some(entry), None);
    }
    changes
}

fn keep_services(old: &State, new: &mut State, changes: &mut Changes) {
    for known in old.services() {
        let Some(entry) = new.services.get_mut(&known.name) else {
            continue;
        };
        let entry = Arc::make_mut(entry);
        entry.slot = Arc::clone(&known.slot);
        if !entry.name.same_spelling(&known.name) {
            changes.instances.entry(entry.name.clone()).or_default();
        }
    }
}

fn keep_nodes(old: &State, new: &mut State, changes: &mut Changes) {
    for known in old.nodes() {
        let Some(entry) = new.nodes.get_mut(&known.node.name) else {
            changes.nodes.insert(known.node.name.clone());
            continue;
        };
        let entry = Arc::make_mut(entry);
        entry.slot = Arc::clone(&known.slot);
        if entry.node.name.same_spelling(&known.node.name) && entry.node == known.node {
            entry.view = Arc::clone(&known.view);
        } else {
            changes.nodes.insert(entry.node.name.clone());
        }
    }
    for entry in new.nodes() {
        if !old.nodes.contains_key(&entry.node.name) {
            changes.nodes.insert(entry.node.name.clone());
        }
    }
}

/// Two states, and how DNS sees them differ.
struct Difference<'a> {
    old: &'a State,
    new: &'a State,
    changes: &'a mut Changes,
}

impl Difference<'_> {
    /// Compares what runs on a node; `None` where it is not there.
    fn node(&mut self, before: Option<&Arc<NodeEntry>>, after: Option<&Arc<NodeEntry>>) {
        let same_host = before.zip(after).is_some_and(|(before, after)| {
            Arc::ptr_eq(&before.view, &after.view) && before.standing == after.standing
        });
        let differs = |instance: &Instance, other: Option<&Arc<NodeEntry>>| {
            let other = other.and_then(|entry| entry.instance(&instance.service.id));
            !(same_host && other.is_some_and(|other| is_same(instance, other)))
        };
        for instance in after.into_iter().flat_map(|entry| entry.instances()) {
            if differs(instance, before) {
                self.mark(instance);
            }
        }
        for instance in before.into_iter().flat_map(|entry| entry.instances()) {
            if differs(instance, after) {
                self.mark(instance);
            }
        }
    }

    fn mark(&mut self, instance: &Instance) {
        let name = &instance.service.name;
        let owners = self.changes.instances.entry(name.clone()).or_default();
        // A service that only one of them has comes or goes whole.
        if self.old.services.contains_key(name) && self.new.services.contains_key(name) {
            owners.insert((instance.node.clone(), instance.service.id.clone()));
        }
    }
}

/// Whether DNS sees no difference, as far as the instances decide.
fn is_same(left: &Instance, right: &Instance) -> bool {
    let (one, other) = (&left.service, &right.service);
    one.id.same_spelling(&other.id)
        && one.name.same_spelling(&other.name)
        && one == other
        && Standing::of(&left.checks) == Standing::of(&right.checks)
}

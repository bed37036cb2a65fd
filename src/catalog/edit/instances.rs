//! Service instances: put and removed, and the service side of every change of one.

use std::sync::Arc;

use imbl::OrdSet;

use crate::catalog::index::Slot;
use crate::catalog::keyed::{Addressed, ByCheckId, ById, ByOwner, Counted};
use crate::catalog::state::{CheckEntry, Instance, ServiceEntry};
use crate::catalog::view::ServiceView;
use crate::catalog::watch::WatchKey;
use crate::types::{Check, Index, NodeName, Service, ServiceId, ServiceName};

use super::{Broken, Edit, Touch};

impl Edit<'_> {
    /// Adds an instance or replaces the one with its id, unless it is equal; its checks stay.
    pub(in crate::catalog) fn put_instance(
        &mut self,
        node: &NodeName,
        mut service: Service,
    ) -> Result<(), Broken> {
        let entry = self.node(node)?;
        let old = entry.instance(&service.id).cloned();
        if let Some(old) = &old
            && is_same_service(&old.service, &service)
        {
            return Ok(());
        }
        let name = entry.node.name.clone();
        if let Some(entry) = self.state.services.get(&service.name) {
            entry.share_parts(&mut service);
        }
        let kept = old.as_deref();
        let new = Arc::new(Instance {
            node: name,
            checks: kept.map_or_else(Box::default, |old| old.checks.clone()),
            create_index: kept.map_or(self.index, |old| old.create_index),
            modify_index: self.index,
            service: Arc::new(service),
        });
        // Checks show the name and the tags of their service.
        let checks = kept.is_some_and(|old| {
            let same = old.service.name.same_spelling(&new.service.name)
                && old.service.tags == new.service.tags;
            !old.checks.is_empty() && !same
        });
        let touch = Touch {
            checks,
            ..Touch::INSTANCES
        };
        if old.is_none() {
            self.state.tally.count_instance(true);
        }
        let entry = self.touch_host(node, checks)?;
        entry.instances.insert(ById(Arc::clone(&new)));
        self.exchange(old.as_ref(), Some(&new), touch)
    }

    /// Adds an instance that is not there with checks that are not there either: what
    /// [`put_instance`](Self::put_instance) and then [`put_check`](Self::put_check) for each would
    /// do, but each place is found and changed once. Registrations are mostly so.
    pub(in crate::catalog) fn add_instance(
        &mut self,
        node: &NodeName,
        mut service: Service,
        checks: Vec<Check>,
    ) -> Result<(), Broken> {
        if let Some(entry) = self.state.services.get(&service.name) {
            entry.share_parts(&mut service);
        }
        let index = self.index;
        let mut checks: Vec<_> = checks
            .into_iter()
            .map(|mut check| {
                // In memory once.
                check.service_id = Some(service.id.clone());
                Arc::new(CheckEntry {
                    check,
                    create_index: index,
                    modify_index: index,
                })
            })
            .collect();
        checks.sort_unstable_by(|left, right| left.check.id.cmp(&right.check.id));
        self.state.tally.count_instance(true);
        for check in &checks {
            self.state.tally.count_check(check, true);
        }
        let touch = Touch {
            checks: !checks.is_empty(),
            ..Touch::INSTANCES
        };
        let entry = self.touch_host(node, touch.checks)?;
        for check in &checks {
            entry.checks.insert(ByCheckId(Arc::clone(check)));
        }
        let new = Arc::new(Instance {
            node: entry.node.name.clone(),
            service: Arc::new(service),
            checks: checks.into(),
            create_index: index,
            modify_index: index,
        });
        entry.instances.insert(ById(Arc::clone(&new)));
        self.exchange(None, Some(&new), touch)
    }

    /// Removes an instance and its checks, if it is there.
    pub(in crate::catalog) fn remove_instance(
        &mut self,
        node: &NodeName,
        id: &ServiceId,
    ) -> Result<(), Broken> {
        let Some(old) = self.node(node)?.instance(id).cloned() else {
            return Ok(());
        };
        let touch = Touch {
            checks: !old.checks.is_empty(),
            ..Touch::INSTANCES
        };
        let entry = self.touch_host(node, touch.checks)?;
        entry.instances.remove(id);
        for check in &old.checks {
            entry.checks.remove(&check.check.id);
        }
        self.state.tally.count_instance(false);
        for check in &old.checks {
            self.state.tally.count_check(check, false);
        }
        self.exchange(Some(&old), None, touch)
    }

    /// Replaces `old` by `new` on the side of services; `None` means that there is none.
    pub(super) fn exchange(
        &mut self,
        old: Option<&Arc<Instance>>,
        new: Option<&Arc<Instance>>,
        touch: Touch,
    ) -> Result<(), Broken> {
        // First in, then out: a service does not go in between.
        if let Some(new) = new {
            self.enter_service(new, touch);
        }
        if let Some(old) = old {
            self.leave_service(old, new, touch)?;
        }
        if touch.instances {
            self.state.tables.services = self.index;
            self.changes.keys.push(WatchKey::Services);
        }
        Ok(())
    }

    fn enter_service(&mut self, new: &Arc<Instance>, touch: Touch) {
        let name = &new.service.name;
        let (published, index) = (self.published, self.index);
        let services = &mut self.state.services;
        let entry = services.entry(name.clone()).or_insert_with(|| {
            let known = published.services.get(name);
            let slot = known.map_or_else(Arc::default, |known| Arc::clone(&known.slot));
            Arc::new(ServiceEntry::new(name.clone(), slot, index))
        });
        let entry = Arc::make_mut(entry);
        entry.instances.insert(ByOwner(Arc::clone(new)));
        entry.touch(index, touch);
        if touch.instances {
            let listed = (&mut self.state.tags, &mut self.state.service_addresses);
            enlist(entry, listed, &new.service);
        }
        self.announce(name, touch);
        self.mark(new);
    }

    fn leave_service(
        &mut self,
        old: &Arc<Instance>,
        new: Option<&Arc<Instance>>,
        touch: Touch,
    ) -> Result<(), Broken> {
        let name = &old.service.name;
        let place = ByOwner(Arc::clone(old));
        // In the same place, the new instance has replaced the old one already.
        let replaced =
            new.is_some_and(|new| new.service.name == *name && ByOwner(Arc::clone(new)) == place);
        if replaced && !touch.instances {
            return Ok(());
        }
        let entry = self.state.services.get_mut(name).map(Arc::make_mut);
        let entry = entry.ok_or(Broken("an instance without its service"))?;
        if !replaced && entry.instances.remove(&place).is_none() {
            return Err(Broken("an instance that its service does not know"));
        }
        if touch.instances {
            for tag in distinct(&old.service.tags) {
                if entry.tags.remove(tag) {
                    self.state.tags.remove(&tag.to_ascii_lowercase().into());
                }
            }
            if let Some(ip) = old.service.address.ip() {
                let owner = Addressed::new(ip, entry.name.clone());
                self.state.service_addresses.remove(&owner);
            }
        }
        entry.touch(self.index, touch);
        if entry.is_empty() {
            self.state.services.remove(name);
            self.state.tables.service_extinction = self.index;
            let all = Touch {
                instances: true,
                checks: true,
            };
            self.announce(name, all);
        }
        self.announce(name, touch);
        self.mark(old);
        Ok(())
    }
}

impl ServiceEntry {
    /// A service without instances.
    pub(super) fn new(name: ServiceName, slot: Arc<Slot<ServiceView>>, index: Index) -> Self {
        Self {
            name,
            instances_index: index,
            checks_index: index,
            health_index: index,
            instances: OrdSet::new(),
            tags: Counted::default(),
            slot,
        }
    }

    /// Takes names and tags from what is stored already where they are equal, so that they are in
    /// memory once.
    pub(super) fn share_parts(&self, service: &mut Service) {
        let neighbour = self.instances.get_max();
        self.share_with(neighbour.map(|ByOwner(neighbour)| neighbour), service);
    }

    /// The same, with all tags of `neighbour` if they are equal.
    pub(super) fn share_with(&self, neighbour: Option<&Arc<Instance>>, service: &mut Service) {
        if self.name.same_spelling(&service.name) {
            service.name = self.name.clone();
        }
        let neighbour = neighbour.filter(|neighbour| neighbour.service.tags == service.tags);
        if let Some(neighbour) = neighbour {
            service.tags = Arc::clone(&neighbour.service.tags);
        } else {
            let held = |tag: &Arc<str>| Arc::clone(self.tags.held(tag).unwrap_or(tag));
            service.tags = service.tags.iter().map(held).collect();
        }
    }
}

/// The tags of the whole catalog, and its services by address.
type Listed<'a> = (
    &'a mut Counted<Arc<str>>,
    &'a mut Counted<Addressed<ServiceName>>,
);

/// Lists the tags and the address of an instance that its service has taken in.
fn enlist(entry: &mut ServiceEntry, (tags, addresses): Listed<'_>, service: &Service) {
    for tag in distinct(&service.tags) {
        if entry.tags.add(Arc::clone(tag)) {
            tags.add(tag.to_ascii_lowercase().into());
        }
    }
    if let Some(ip) = service.address.ip() {
        addresses.add(Addressed::new(ip, entry.name.clone()));
    }
}

/// Equal to the letter: names and ids also compare by their spelling here.
pub(in crate::catalog) fn is_same_service(left: &Service, right: &Service) -> bool {
    left.id.same_spelling(&right.id) && left.name.same_spelling(&right.name) && left == right
}

/// Each tag once. Sorted, since a registration may bring very many.
pub(super) fn distinct(tags: &[Arc<str>]) -> Vec<&Arc<str>> {
    let mut distinct: Vec<&Arc<str>> = tags.iter().collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tags_are_told_apart_in_time() {
        // Comparing each with each would take minutes.
        let tags: Vec<Arc<str>> = (0..400_000)
            .map(|n| format!("{:0200}", n / 2).into())
            .collect();
        assert_eq!(distinct(&tags).len(), 200_000);
    }
}

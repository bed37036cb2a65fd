//! Checks: put and removed, with their instance or their node.

use std::sync::Arc;

use imbl::OrdSet;

use crate::catalog::keyed::{ByCheckId, ById};
use crate::catalog::pace::Pace;
use crate::catalog::state::{CheckEntry, Instance, NodeEntry};
use crate::catalog::view::Standing;
use crate::types::{Check, CheckId, NodeName};

use super::{Broken, Edit, Touch};

/// An instance before and after a change.
type Exchange = (Arc<Instance>, Arc<Instance>);

impl Edit<'_> {
    /// Adds a check or replaces the one with its id, unless it is equal. Its service must be there.
    pub(in crate::catalog) fn put_check(
        &mut self,
        node: &NodeName,
        mut check: Check,
    ) -> Result<(), Broken> {
        let entry = self.node(node)?;
        if let Some(service) = &mut check.service_id {
            let instance = entry.instance(service);
            let instance = instance.ok_or(Broken("a check without its service"))?;
            *service = instance.service.id.clone();
        }
        let old = entry.check(&check.id).cloned();
        if let Some(old) = &old {
            check.id = old.check.id.clone();
            if is_same_check(&old.check, &check) {
                return Ok(());
            }
        }
        let new = Arc::new(CheckEntry {
            check,
            create_index: old.as_ref().map_or(self.index, |old| old.create_index),
            modify_index: self.index,
        });
        self.replace_check(node, old.as_ref(), Some(&new))
    }

    /// Removes a check, if it is there.
    pub(in crate::catalog) fn remove_check(
        &mut self,
        node: &NodeName,
        id: &CheckId,
    ) -> Result<(), Broken> {
        match self.node(node)?.check(id).cloned() {
            Some(old) => self.replace_check(node, Some(&old), None),
            None => Ok(()),
        }
    }

    /// Replaces `old` by `new`, both of one id, where they belong: with an instance, or with the
    /// node itself. `None` means that there is none.
    fn replace_check(
        &mut self,
        node: &NodeName,
        old: Option<&Arc<CheckEntry>>,
        new: Option<&Arc<CheckEntry>>,
    ) -> Result<(), Broken> {
        let index = self.index;
        for (check, added) in old
            .map(|old| (old, false))
            .into_iter()
            .chain(new.map(|new| (new, true)))
        {
            self.state.tally.count_check(check, added);
        }
        let entry = self.node_mut(node)?;
        entry.checks_index = index;
        replace_in(&mut entry.checks, old, new);
        let own = |check: &&Arc<CheckEntry>| check.check.service_id.is_none();
        let (own_old, own_new) = (old.filter(own), new.filter(own));
        replace_in(&mut entry.own_checks, own_old, own_new);
        let instances = entry.replace_in_instances(old, new)?;
        self.touch_check_keys(node);
        for (old, new) in instances {
            self.exchange(Some(&old), Some(&new), Touch::CHECKS)?;
        }
        if own_old.is_some() || own_new.is_some() {
            self.own_checks_changed(node)?;
        }
        Ok(())
    }

    /// A node's own checks decide the health of all that runs on it.
    fn own_checks_changed(&mut self, node: &NodeName) -> Result<(), Broken> {
        let entry = self.node_mut(node)?;
        let standing = Standing::of(entry.own_checks.iter().map(|ByCheckId(check)| check));
        let seen_by_dns = entry.standing != standing;
        entry.standing = standing;
        let hosted: Vec<_> = entry.instances().cloned().collect();
        let mut pace = Pace::default();
        for instance in hosted {
            pace.step();
            self.touch_service(&instance.service.name, Touch::HEALTH)?;
            if seen_by_dns {
                self.mark(&instance);
            }
        }
        Ok(())
    }
}

impl NodeEntry {
    /// Replaces a check in the lists of the instances it belonged and belongs to. The instances
    /// before and after.
    fn replace_in_instances(
        &mut self,
        old: Option<&Arc<CheckEntry>>,
        new: Option<&Arc<CheckEntry>>,
    ) -> Result<Vec<Exchange>, Broken> {
        let service = |check: &Arc<CheckEntry>| check.check.service_id.clone();
        let (left, joined) = (old.and_then(service), new.and_then(service));
        let left = left.filter(|left| joined.as_ref() != Some(left));
        let lost = left.map(|id| (id, None));
        let gained = joined.map(|id| (id, new));
        let mut replaced = Vec::with_capacity(1);
        for (id, new) in lost.into_iter().chain(gained) {
            let before = self.instance(&id).cloned();
            let before = before.ok_or(Broken("a check without its service"))?;
            let after = with_check(&before, old, new);
            self.instances.insert(ById(Arc::clone(&after)));
            replaced.push((before, after));
        }
        Ok(replaced)
    }
}

fn replace_in(
    checks: &mut OrdSet<ByCheckId>,
    old: Option<&Arc<CheckEntry>>,
    new: Option<&Arc<CheckEntry>>,
) {
    match (old, new) {
        (_, Some(new)) => drop(checks.insert(ByCheckId(Arc::clone(new)))),
        (Some(old), None) => drop(checks.remove(&old.check.id)),
        (None, None) => {}
    }
}

/// The instance with `old` replaced by `new` among its checks.
fn with_check(
    instance: &Instance,
    old: Option<&Arc<CheckEntry>>,
    new: Option<&Arc<CheckEntry>>,
) -> Arc<Instance> {
    let kept = instance.checks.iter();
    let kept = kept.filter(|check| old.is_none_or(|old| old.check.id != check.check.id));
    let mut checks: Vec<_> = kept.chain(new).cloned().collect();
    checks.sort_unstable_by(|left, right| left.check.id.cmp(&right.check.id));
    Arc::new(Instance {
        checks: checks.into(),
        ..instance.clone()
    })
}

/// Equal to the letter: the id of the service also compares by its spelling here.
pub(in crate::catalog) fn is_same_check(left: &Check, right: &Check) -> bool {
    let same_service = match (&left.service_id, &right.service_id) {
        (Some(left), Some(right)) => left.same_spelling(right),
        (left, right) => left == right,
    };
    same_service && left == right
}

//! What the catalog has yet to be told.

use std::collections::BTreeSet;

use crate::types::{CheckId, ServiceId};

/// Entries whose place in the catalog is not, or not surely, that of this agent: an id that the
/// agent knows is to be registered, any other to be removed.
///
/// **Invariant**: at most `length_max` ids. Beyond that only the wish for a full comparison is
/// kept, which finds the same differences.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) node: bool,
    pub(super) services: BTreeSet<ServiceId>,
    pub(super) checks: BTreeSet<CheckId>,
    pub(super) compare: bool,
    length_max: usize,
}

impl Pending {
    pub(super) fn new(length_max: usize) -> Self {
        Self {
            node: false,
            services: BTreeSet::new(),
            checks: BTreeSet::new(),
            compare: false,
            length_max,
        }
    }

    pub(super) fn service(&mut self, id: ServiceId) {
        self.services.insert(id);
        self.bound();
    }

    pub(super) fn check(&mut self, id: CheckId) {
        self.checks.insert(id);
        self.bound();
    }

    /// Takes everything, leaving nothing.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::new(self.length_max);
        std::mem::replace(self, empty)
    }

    /// Puts back what could not be told.
    pub(super) fn merge(&mut self, mut other: Self) {
        self.node |= other.node;
        self.compare |= other.compare;
        self.services.append(&mut other.services);
        self.checks.append(&mut other.checks);
        self.bound();
    }

    /// Puts in what a comparison has found, however much: it is about to be told.
    pub(super) fn merge_unbounded(&mut self, other: Self) {
        let length_max = std::mem::replace(&mut self.length_max, usize::MAX);
        self.merge(other);
        self.length_max = length_max;
    }

    /// Number of ids.
    pub(super) fn len(&self) -> usize {
        self.services.len() + self.checks.len()
    }

    fn bound(&mut self) {
        if self.len() > self.length_max {
            self.services.clear();
            self.checks.clear();
            self.compare = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_bound_only_a_comparison_is_wished_for() {
        let mut pending = Pending::new(2);
        pending.service("a".parse().unwrap());
        pending.check("b".parse().unwrap());
        assert!(!pending.compare);
        pending.check("c".parse().unwrap());
        assert!(pending.compare);
        assert_eq!(pending.len(), 0);
        let taken = pending.take();
        assert!(!pending.compare);
        pending.merge(taken);
        assert!(pending.compare);
    }
}

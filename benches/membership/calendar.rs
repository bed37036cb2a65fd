//! What is to happen, and when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use herald::gossip::actions::Time;

/// What is to happen, in the order of time; of what happens at one time, what was added first.
pub(super) struct Calendar<T> {
    entries: BinaryHeap<Reverse<Entry<T>>>,
    added: u64,
}

struct Entry<T> {
    at: Time,
    order: u64,
    what: T,
}

impl<T> Default for Calendar<T> {
    fn default() -> Self {
        Self {
            entries: BinaryHeap::new(),
            added: 0,
        }
    }
}

impl<T> Calendar<T> {
    /// Has something happen at a time.
    pub(super) fn add(&mut self, at: Time, what: T) {
        self.added += 1;
        let order = self.added;
        self.entries.push(Reverse(Entry { at, order, what }));
    }

    /// What happens next, if it is not later than `until`.
    pub(super) fn take_due(&mut self, until: Time) -> Option<(Time, T)> {
        let next = self.entries.peek()?;
        if next.0.at > until {
            return None;
        }
        let Reverse(entry) = self.entries.pop()?;
        Some((entry.at, entry.what))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

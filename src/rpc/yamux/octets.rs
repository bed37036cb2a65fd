//! Queues of octets that take no memory while they are empty, and a count over many of them.
//!
//! **Invariant**: the count is that of the octets in all queues that share it, whatever becomes of
//! them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets in all queues that share it. Clones are the same count.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<AtomicUsize>);

impl Tally {
    /// Octets now.
    pub(super) fn octets(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    // Only the state of one session counts here, under its lock, so that no order is needed.
    fn add(&self, octets: usize) {
        self.0.fetch_add(octets, Ordering::Relaxed);
    }

    fn remove(&self, octets: usize) {
        self.0.fetch_sub(octets, Ordering::Relaxed);
    }
}

/// Octets in order. Its bound is its user's.
#[derive(Debug)]
pub(super) struct Octets {
    queue: VecDeque<u8>,
    tally: Tally,
}

impl Octets {
    /// None, to be counted in `tally`.
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            queue: VecDeque::new(),
            tally,
        }
    }

    /// Octets that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Octets that wait here and in all queues of the same tally.
    pub(super) fn len_of_all(&self) -> usize {
        self.tally.octets()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends octets.
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.queue.extend(octets);
        self.tally.add(octets.len());
    }

    /// Moves at most `limit` octets to `sink`, in at most two parts.
    pub(super) fn take(&mut self, limit: usize, mut sink: impl FnMut(&[u8])) -> usize {
        let taken = limit.min(self.queue.len());
        let mut left = taken;
        let (first, second) = self.queue.as_slices();
        for part in [first, second] {
            let part = part.get(..left.min(part.len())).unwrap_or_default();
            sink(part);
            left -= part.len();
        }
        self.queue.drain(..taken);
        self.tally.remove(taken);
        if self.queue.is_empty() {
            self.clear();
        }
        taken
    }

    /// Forgets the octets and gives the memory back.
    pub(super) fn clear(&mut self) {
        self.tally.remove(self.queue.len());
        self.queue = VecDeque::new();
    }

    /// Octets of memory.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

impl Drop for Octets {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_come_out_in_order_and_an_empty_queue_has_no_memory() {
        let (mut octets, mut out) = (Octets::new(Tally::default()), Vec::new());
        let mut expected = Vec::new();
        for round in 0..50_u8 {
            let part = vec![round; usize::from(round) % 7 + 1];
            octets.push(&part);
            expected.extend_from_slice(&part);
            octets.take(3, |part| out.extend_from_slice(part));
        }
        octets.take(usize::MAX, |part| out.extend_from_slice(part));
        assert_eq!(out, expected);
        assert_eq!((octets.len(), octets.capacity()), (0, 0));
    }

    #[test]
    fn octets_are_counted_over_all_queues() {
        let tally = Tally::default();
        let mut first = Octets::new(tally.clone());
        let mut second = Octets::new(tally.clone());
        first.push(&[0; 10]);
        second.push(&[0; 20]);
        first.take(4, |_| ());
        assert_eq!((tally.octets(), second.len_of_all()), (26, 26));
        first.clear();
        assert_eq!(tally.octets(), 20);
        drop(second);
        assert_eq!(tally.octets(), 0);
    }
}

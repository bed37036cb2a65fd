//! How much was applied, and where in the log: snapshots and the length of the log go by octets as
//! well as by entries, since one entry may have some megabytes.

use std::collections::VecDeque;

use crate::types::Index;

/// Octets of commands since the last snapshot that ask for another one, and that the log keeps
/// behind a snapshot, at most.
const OCTETS: u64 = 64 << 20;

/// What was applied since this server started.
#[derive(Debug)]
pub(super) struct Volume {
    /// Octets that are to be kept, at most, and between two steps.
    kept: u64,
    step: u64,
    total: u64,
    /// What there was when the last snapshot was made.
    at_snapshot: u64,
    /// One for each step: an entry, and the octets up to it. The oldest one first.
    marks: VecDeque<(Index, u64)>,
}

impl Default for Volume {
    fn default() -> Self {
        Self::new(OCTETS)
    }
}

impl Volume {
    fn new(kept: u64) -> Self {
        Self {
            kept,
            step: kept / 8,
            total: 0,
            at_snapshot: 0,
            marks: VecDeque::new(),
        }
    }

    /// So many octets were applied, up to `index`. Whether it is time to look again at what is due.
    pub(super) fn add(&mut self, index: Index, octets: u64) -> bool {
        self.total += octets;
        let marked = self.marks.back().map_or(0, |(_, total)| *total);
        if self.total < marked + self.step {
            return false;
        }
        self.marks.push_back((index, self.total));
        // The first one stays behind which enough is left.
        while let Some((_, second)) = self.marks.get(1)
            && self.total - second >= self.kept
        {
            self.marks.pop_front();
        }
        true
    }

    /// A snapshot is made of all that was applied so far.
    pub(super) fn begin_snapshot(&mut self) {
        self.at_snapshot = self.total;
    }

    /// Whether so much was applied that another snapshot is due.
    pub(super) fn wants_snapshot(&self) -> bool {
        self.total - self.at_snapshot >= self.kept
    }

    /// Up to where the log need not be kept for servers that were away for a short time.
    pub(super) fn beyond(&self) -> Option<Index> {
        let (index, total) = self.marks.front()?;
        (self.total - total >= self.kept).then_some(*index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_after_so_many_octets_and_again_until_it_is_made() {
        let mut volume = Volume::new(800);
        for index in 1..=7 {
            assert!(volume.add(Index(index), 100));
            assert!(!volume.wants_snapshot());
        }
        assert!(!volume.add(Index(8), 99));
        assert!(volume.add(Index(9), 1) && volume.wants_snapshot());
        assert!(volume.add(Index(10), 100) && volume.wants_snapshot());
        volume.begin_snapshot();
        assert!(!volume.wants_snapshot());
        assert!(volume.add(Index(11), 800) && volume.wants_snapshot());
    }

    #[test]
    fn what_is_kept_is_bounded_by_octets() {
        let mut volume = Volume::new(800);
        for index in 1..=8 {
            volume.add(Index(index), 100);
            assert_eq!(volume.beyond(), None);
        }
        for index in 9..=1_000 {
            volume.add(Index(index), 100);
            assert_eq!(volume.beyond(), Some(Index(index - 8)));
            assert!(volume.marks.len() <= 9);
        }
        // One that has more than all that is to be kept.
        volume.add(Index(1_001), 5_000);
        assert_eq!(volume.beyond(), Some(Index(1_000)));
    }

    #[test]
    fn many_small_entries_share_a_mark() {
        let mut volume = Volume::new(800);
        let looks = (1..=1_000).filter(|index| volume.add(Index(*index), 1));
        assert_eq!(looks.count(), 10);
        assert_eq!(volume.beyond(), Some(Index(200)));
    }
}

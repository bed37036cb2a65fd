//! The log as everybody sees it: where it begins and ends, what is known of it, and its most recent
//! entries. In memory, pure; what has left the window is on disk.
//!
//! **Invariant**: an entry leaves the window only once it lasts on disk; what the window says is
//! never behind what was accepted.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::alias::{EntryOf, LogIdOf};

use crate::raft::types::Types;

use super::facts::{Fact, Facts};
use super::record::weight;

/// Why an entry cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("index {index} does not follow, {next} does")]
pub(super) struct NotNext {
    index: u64,
    next: u64,
}

/// Where the entries of a range are.
#[derive(Debug)]
pub(super) struct Found {
    /// Those that are on disk only; empty if there are none.
    pub(super) old: Range<u64>,
    /// Those that follow.
    pub(super) recent: Vec<EntryOf<Types>>,
}

/// The log as it was accepted, lasting or not.
#[derive(Debug)]
pub(super) struct Window {
    facts: Facts,
    /// Index of the first entry; that of the next one if there is none.
    first: u64,
    /// Index of the entry that will follow.
    next: u64,
    last: Option<LogIdOf<Types>>,
    /// The end of the log; how much of it depends on its octets.
    recent: VecDeque<EntryOf<Types>>,
    recent_octets: usize,
    /// `None` where there is no disk, so that everything stays.
    recent_max: Option<usize>,
    /// Entries before this index last.
    durable: u64,
}

impl Window {
    /// A log without entries.
    pub(super) fn new(facts: Facts, recent_max: Option<usize>) -> Self {
        let first = facts.purged.as_ref().map_or(0, |purged| purged.index + 1);
        Self {
            first,
            next: first,
            last: facts.purged,
            facts,
            recent: VecDeque::new(),
            recent_octets: 0,
            recent_max,
            durable: first,
        }
    }

    /// What is known beside the entries.
    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The last entry; the last purged one if there is none after it.
    pub(super) fn last(&self) -> Option<LogIdOf<Types>> {
        self.last
    }

    /// How far the log is known to be decided, as far as it is here: one that was cut short by a
    /// snapshot that never got whole is not longer than its entries. Those are decided only if the
    /// same leader wrote them: others may be about to be overwritten.
    pub(super) fn committed(&self) -> Option<LogIdOf<Types>> {
        let (committed, last) = (self.facts.committed?, self.last?);
        if committed.index <= last.index && committed <= last {
            Some(committed)
        } else if committed.leader_id == last.leader_id {
            Some(last)
        } else {
            self.facts.purged
        }
    }

    /// Entries before this index are to go from the disk.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Adds an entry to the end. The first one of all may have any index.
    ///
    /// # Errors
    /// It does not follow the last one.
    pub(super) fn append(&mut self, entry: EntryOf<Types>) -> Result<(), NotNext> {
        let index = entry.log_id.index;
        if self.is_empty() && self.facts.purged.is_none() {
            (self.first, self.next, self.durable) = (index, index, index);
        }
        if index != self.next {
            let next = self.next;
            return Err(NotNext { index, next });
        }
        self.next += 1;
        self.last = Some(entry.log_id);
        self.recent_octets += weight(&entry);
        self.recent.push_back(entry);
        Ok(())
    }

    /// Removes the entries after `position`; all of them if there is none. The index from which on
    /// they are gone.
    pub(super) fn truncate(&mut self, position: Option<LogIdOf<Types>>) -> u64 {
        let from = position.map_or(self.first, |position| position.index + 1);
        let from = from.clamp(self.first, self.next);
        if from == self.next {
            return from;
        }
        self.last = position.filter(|_| from > self.first).or(self.facts.purged);
        while self.next > from {
            self.next -= 1;
            if let Some(entry) = self.recent.pop_back() {
                self.recent_octets -= weight(&entry);
            }
        }
        self.durable = self.durable.min(from);
        from
    }

    /// Removes the entries up to `position`. Whether it had not come so far yet.
    pub(super) fn purge(&mut self, position: LogIdOf<Types>) -> bool {
        if self
            .facts
            .purged
            .is_some_and(|purged| purged.index >= position.index)
        {
            return false;
        }
        self.facts.set(Fact::Purged(position));
        self.first = position.index + 1;
        while self.recent_first() < self.first
            && let Some(entry) = self.recent.pop_front()
        {
            self.recent_octets -= weight(&entry);
        }
        if self.next <= self.first {
            self.next = self.first;
            self.last = Some(position);
        }
        self.durable = self.durable.max(self.first);
        true
    }

    /// Takes `fact` in place of what was there.
    pub(super) fn set(&mut self, fact: Fact) {
        self.facts.set(fact);
    }

    /// All entries before `index` last: those that are too many need not stay.
    pub(super) fn set_durable(&mut self, index: u64) {
        self.durable = index.min(self.next);
        let Some(recent_max) = self.recent_max else {
            return;
        };
        while self.recent_octets > recent_max
            && self.recent_first() < self.durable
            && let Some(entry) = self.recent.pop_front()
        {
            self.recent_octets -= weight(&entry);
        }
    }

    /// Where the entries of `range` are, as far as there are any; of the recent ones not more than
    /// `octets_max`, unless the first is longer. They are left out if older ones come first and
    /// `octets_max` is not the greatest number that there is.
    pub(super) fn find(&self, range: &Range<u64>, octets_max: usize) -> Found {
        let end = range.end.min(self.next);
        let start = range.start.clamp(self.first, end.max(self.first));
        let recent_first = self.recent_first();
        let old = start..end.min(recent_first).max(start);
        let mut recent = Vec::new();
        if old.is_empty() || octets_max == usize::MAX {
            let skipped = start.saturating_sub(recent_first);
            let length = end.saturating_sub(start.max(recent_first));
            let entries = self.recent.iter();
            let entries = entries.skip(usize::try_from(skipped).unwrap_or(usize::MAX));
            let mut octets = 0_usize;
            for entry in entries.take(usize::try_from(length).unwrap_or(usize::MAX)) {
                octets = octets.saturating_add(weight(entry));
                if octets > octets_max && !recent.is_empty() {
                    break;
                }
                recent.push(entry.clone());
            }
        }
        Found { old, recent }
    }

    fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// Index of the first entry in the window.
    fn recent_first(&self) -> u64 {
        self.next - self.recent.len() as u64
    }
}

//! The deadlines of many checks in one queue, so that one task can wait for all of them.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

/// At most one deadline per key; setting, removing and finding the earliest take logarithmic time.
#[derive(Debug)]
pub struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_key: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets the deadline of `key`, replacing an earlier one; `None` removes it.
    pub fn set(&mut self, key: &K, deadline: Option<Instant>) {
        let before = match deadline {
            Some(deadline) => self.by_key.insert(key.clone(), deadline),
            None => self.by_key.remove(key),
        };
        if before == deadline {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, key.clone()));
        }
        if let Some(deadline) = deadline {
            self.by_time.insert((deadline, key.clone()));
        }
    }

    /// Whether `key` has a deadline.
    pub fn contains(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the key with the earliest deadline, if that has been reached.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        self.next().filter(|deadline| *deadline <= now)?;
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn keys_come_in_order_of_their_latest_deadline() {
        let now = clock::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.set(&"a", Some(at(1)));
        timers.set(&"b", Some(at(2)));
        timers.set(&"c", Some(at(2)));
        timers.set(&"a", Some(at(3)));
        timers.set(&"c", None);
        assert_eq!(timers.next(), Some(at(2)));
        assert_eq!(timers.pop(at(1)), None);
        assert_eq!(timers.pop(at(9)), Some("b"));
        assert_eq!(timers.pop(at(9)), Some("a"));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.next(), None);
        assert!(!timers.contains(&"a"));
    }
}

//! Names that servers have said do not exist: believed for a short time, and bounded on their own,
//! so that no flood of them takes the place of names that do.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::Wanted;

/// The table.
#[derive(Debug)]
pub(super) struct Missing {
    /// Until when each is believed.
    until: HashMap<Wanted, Instant>,
    /// The same in the order in which they end; an entry whose time is another one now is old.
    order: VecDeque<(Instant, Wanted)>,
    entries_max: usize,
    time: Duration,
}

impl Missing {
    /// An empty table that believes each of up to `entries_max` for `time`.
    pub(super) fn new(entries_max: usize, time: Duration) -> Self {
        Self {
            until: HashMap::new(),
            order: VecDeque::new(),
            entries_max,
            time,
        }
    }

    /// Whether `wanted` is known not to exist.
    pub(super) fn holds(&self, wanted: &Wanted, now: Instant) -> bool {
        self.until.get(wanted).is_some_and(|until| *until > now)
    }

    /// A server says that it does not exist. The oldest goes where there are too many.
    pub(super) fn put(&mut self, wanted: Wanted, now: Instant) {
        self.sweep(now);
        let until = now + self.time;
        if self.until.get(&wanted) == Some(&until) {
            return;
        }
        self.until.insert(wanted.clone(), until);
        self.order.push_back((until, wanted));
        while self.order.len() > self.entries_max {
            self.pop();
        }
    }

    /// It exists.
    pub(super) fn remove(&mut self, wanted: &Wanted) {
        self.until.remove(wanted);
    }

    /// Forgets what is not believed any more.
    pub(super) fn sweep(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.pop();
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    fn pop(&mut self) {
        if let Some((until, wanted)) = self.order.pop_front()
            && self.until.get(&wanted) == Some(&until)
        {
            self.until.remove(&wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn name(number: usize) -> Wanted {
        Wanted::Service(format!("n{number}").parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_believed_to_be_missing_for_its_time() {
        let mut missing = Missing::new(4, Duration::from_secs(1));
        missing.put(name(1), clock::now());
        assert!(missing.holds(&name(1), clock::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!missing.holds(&name(1), clock::now()));
        missing.sweep(clock::now());
        assert_eq!((missing.len(), missing.order.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_the_oldest_goes() {
        let mut missing = Missing::new(4, Duration::from_secs(1));
        for number in 0..100 {
            missing.put(name(number), clock::now());
            tokio::time::advance(Duration::from_millis(1)).await;
            missing.put(name(1_000), clock::now());
            assert!(missing.len() <= 4 && missing.order.len() <= 4);
        }
        assert!(missing.holds(&name(1_000), clock::now()));
        assert!(missing.holds(&name(99), clock::now()));
        assert!(!missing.holds(&name(0), clock::now()));
        missing.remove(&name(99));
        assert!(!missing.holds(&name(99), clock::now()));
    }
}

//! Keeps the log short where others decide how often something happens.

use std::collections::HashMap;
use std::time::Duration;

use crate::gossip::actions::Time;

/// Time between two lines about one name.
const INTERVAL: Duration = Duration::from_secs(60);

/// Names that are kept in mind; beyond them nothing new is told.
const NAMES_MAX: usize = 1_024;

/// Who was told of lately.
#[derive(Debug, Default)]
pub(super) struct OncePerMinute {
    told: HashMap<String, Time>,
}

impl OncePerMinute {
    /// Whether a line about `name` is due.
    pub(super) fn tells(&mut self, now: Time, name: &str) -> bool {
        if let Some(told) = self.told.get_mut(name) {
            let due = now.saturating_sub(*told) >= INTERVAL;
            if due {
                *told = now;
            }
            return due;
        }
        if self.told.len() >= NAMES_MAX {
            self.told
                .retain(|_, told| now.saturating_sub(*told) < INTERVAL);
        }
        let room = self.told.len() < NAMES_MAX;
        if room {
            self.told.insert(name.to_owned(), now);
        }
        room
    }
}

/// Counts what happens and says once a minute how often.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: u64,
    told: Option<Time>,
}

impl Tally {
    /// Counts one more. How many there were since the last line, if another is due.
    pub(super) fn add(&mut self, now: Time) -> Option<u64> {
        self.count += 1;
        if self
            .told
            .is_some_and(|told| now.saturating_sub(told) < INTERVAL)
        {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_name_is_told_once_a_minute() {
        let mut once = OncePerMinute::default();
        assert!(once.tells(at(0), "a"));
        assert!(!once.tells(at(59), "a"));
        assert!(once.tells(at(59), "b"));
        assert!(once.tells(at(60), "a"));
    }

    #[test]
    fn invented_names_fill_neither_log_nor_memory() {
        let mut once = OncePerMinute::default();
        let told = |once: &mut OncePerMinute, now| {
            let names = 0..2_000;
            names.filter(|n| once.tells(now, &format!("n{n}"))).count()
        };
        assert_eq!(told(&mut once, at(0)), NAMES_MAX);
        assert_eq!(once.told.len(), NAMES_MAX);
        assert_eq!(told(&mut once, at(59)), 0);
    }

    #[test]
    fn what_happens_often_is_told_with_its_number() {
        let mut tally = Tally::default();
        assert_eq!(tally.add(at(0)), Some(1));
        assert_eq!(tally.add(at(1)), None);
        assert_eq!(tally.add(at(59)), None);
        assert_eq!(tally.add(at(60)), Some(3));
    }
}

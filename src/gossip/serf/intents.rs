//! Intents about nodes that are not members yet: they are kept for a while, since an intent may
//! travel faster than the news of the node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::LamportTime;
use crate::gossip::actions::Time;
use crate::gossip::swim::Name;

/// Time for which an intent is kept.
const KEPT: Duration = Duration::from_secs(5 * 60);
/// Intents that are kept, for each member, and in any case.
const EACH_MEMBER: usize = 4;
const LEAST: usize = 1_024;

/// What a node means to do. Of two at one time, leaving wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Intent {
    Join,
    Leave,
}

/// How many of something are kept that anybody can name, where there are so many members.
pub(super) fn capacity(members: usize) -> usize {
    members.saturating_mul(EACH_MEMBER).max(LEAST)
}

#[derive(Debug, Default)]
pub(super) struct Intents {
    newest: BTreeMap<Name, (LamportTime, Intent, Time)>,
    /// The same by age.
    ages: BTreeSet<(Time, Name)>,
}

impl Intents {
    /// Keeps an intent: whether it is newer than what was kept. The oldest makes room.
    pub(super) fn keep(
        &mut self,
        node: &str,
        intent: Intent,
        time: LamportTime,
        now: Time,
        members: usize,
    ) -> bool {
        if let Some((known, kind, _)) = self.newest.get(node)
            && (time, intent) <= (*known, *kind)
        {
            return false;
        }
        self.remove(node);
        while self.newest.len() >= capacity(members) {
            self.drop_oldest();
        }
        let name = Name::from(node);
        self.ages.insert((now, name.clone()));
        self.newest.insert(name, (time, intent, now));
        true
    }

    /// Takes out what is kept about a node that is a member now.
    pub(super) fn take(&mut self, node: &str, now: Time) -> Option<(LamportTime, Intent)> {
        let (time, intent, kept) = self.remove(node)?;
        (now.saturating_sub(kept) <= KEPT).then_some((time, intent))
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some((kept, _)) = self.ages.first()
            && now.saturating_sub(*kept) > KEPT
        {
            self.drop_oldest();
        }
    }

    fn remove(&mut self, node: &str) -> Option<(LamportTime, Intent, Time)> {
        let (name, value) = self.newest.remove_entry(node)?;
        self.ages.remove(&(value.2, name));
        Some(value)
    }

    fn drop_oldest(&mut self) {
        if let Some((_, name)) = self.ages.pop_first() {
            self.newest.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1);

    #[test]
    fn the_newest_intent_is_kept_and_leaving_wins_a_tie() {
        let mut intents = Intents::default();
        assert!(intents.keep("a", Intent::Join, 5, NOW, 1));
        assert!(!intents.keep("a", Intent::Join, 5, NOW, 1));
        assert!(!intents.keep("a", Intent::Leave, 4, NOW, 1));
        assert!(intents.keep("a", Intent::Leave, 5, NOW, 1));
        assert!(!intents.keep("a", Intent::Join, 5, NOW, 1));
        assert_eq!(intents.take("a", NOW), Some((5, Intent::Leave)));
        assert_eq!(intents.take("a", NOW), None);
    }

    #[test]
    fn an_intent_is_forgotten_after_five_minutes() {
        let mut intents = Intents::default();
        intents.keep("a", Intent::Join, 5, NOW, 1);
        intents.keep("b", Intent::Join, 5, NOW + KEPT, 1);
        intents.expire(NOW + KEPT);
        assert_eq!(intents.newest.len(), 2);
        assert_eq!(intents.take("a", NOW + KEPT * 2), None);
        intents.expire(NOW + KEPT * 2 + Duration::from_secs(1));
        assert!(intents.newest.is_empty() && intents.ages.is_empty());
    }

    #[test]
    fn made_up_names_push_out_the_oldest_and_no_more_than_the_cap_are_kept() {
        let mut intents = Intents::default();
        for number in 0..5_000_u64 {
            let now = NOW + Duration::from_millis(number);
            assert!(intents.keep(&format!("n{number}"), Intent::Leave, number, now, 300));
        }
        assert_eq!(intents.newest.len(), 1_200);
        assert_eq!(intents.ages.len(), 1_200);
        assert!(intents.newest.contains_key("n4999"));
        assert!(!intents.newest.contains_key("n0"));
    }
}

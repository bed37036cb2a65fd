//! User events that were told of late, so that each is told to the agent once only.

use super::LamportTime;
use super::clock::Clock;

/// Events of one time that are told: few say something at once, and each new one is compared with
/// all of its time.
const EVENTS_OF_ONE_TIME_MAX: usize = 1_024;

/// Points in time that are remembered; what is older is dropped unread.
const SLOTS: u64 = 512;
/// Octets of events that are remembered at most.
const OCTETS_MAX: usize = 4 << 20;
/// Octets that an event takes besides name and payload, about.
const OVERHEAD: usize = 64;

/// What was told at one time.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) time: LamportTime,
    pub(super) events: Vec<(Box<str>, Box<[u8]>)>,
}

/// The events of the last 512 points in time.
#[derive(Debug)]
pub(super) struct Events {
    /// Ascending in time, none older than [`SLOTS`].
    slots: std::collections::VecDeque<Slot>,
    /// What is older than this is of no interest.
    minimum: LamportTime,
    octets: usize,
}

impl Events {
    pub(super) fn new(minimum: LamportTime) -> Self {
        Self {
            slots: std::collections::VecDeque::new(),
            minimum,
            octets: 0,
        }
    }

    /// From now on nothing older than `time` is of interest.
    pub(super) fn ignore_before(&mut self, time: LamportTime) {
        self.minimum = self.minimum.max(time);
    }

    /// Takes an event that `clock` has witnessed: whether it is to be told.
    pub(super) fn take(
        &mut self,
        clock: Clock,
        time: LamportTime,
        name: &str,
        payload: &[u8],
    ) -> bool {
        let oldest = clock.time().saturating_sub(SLOTS);
        while self.slots.front().is_some_and(|slot| slot.time < oldest) {
            self.drop_oldest();
        }
        if time < self.minimum || time < oldest {
            return false;
        }
        let octets = name.len() + payload.len() + OVERHEAD;
        let place = match self.slots.binary_search_by_key(&time, |slot| slot.time) {
            Ok(place) => place,
            Err(place) => {
                let events = Vec::new();
                self.slots.insert(place, Slot { time, events });
                place
            }
        };
        let Some(slot) = self.slots.get_mut(place) else {
            return false;
        };
        let known = |(known, carried): &(Box<str>, Box<[u8]>)| {
            known.as_ref() == name && carried.as_ref() == payload
        };
        if slot.events.len() >= EVENTS_OF_ONE_TIME_MAX || slot.events.iter().any(known) {
            return false;
        }
        slot.events.push((name.into(), payload.into()));
        self.octets += octets;
        self.shrink();
        true
    }

    /// Everything that is remembered, in order.
    pub(super) fn slots(&self) -> impl ExactSizeIterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Where there is too much, the oldest is forgotten, and with it everything from before: else
    /// it would be told again.
    fn shrink(&mut self) {
        while self.octets > OCTETS_MAX {
            let Some(oldest) = self.slots.front() else {
                return;
            };
            self.minimum = self.minimum.max(oldest.time.saturating_add(1));
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            let octets =
                |(name, payload): &(Box<str>, Box<[u8]>)| name.len() + payload.len() + OVERHEAD;
            self.octets -= slot.events.iter().map(octets).sum::<usize>();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(events: &mut Events, clock: &mut Clock, time: u64, name: &str, payload: &[u8]) -> bool {
        clock.witness(time);
        events.take(*clock, time, name, payload)
    }

    #[test]
    fn an_event_is_told_once_and_another_at_the_same_time_too() {
        let (mut events, mut clock) = (Events::new(0), Clock::new());
        assert!(told(&mut events, &mut clock, 5, "a", b"x"));
        assert!(!told(&mut events, &mut clock, 5, "a", b"x"));
        assert!(told(&mut events, &mut clock, 5, "a", b"y"));
        assert!(told(&mut events, &mut clock, 5, "b", b"x"));
        assert!(told(&mut events, &mut clock, 4, "a", b"x"));
        let times: Vec<_> = events.slots().map(|slot| slot.time).collect();
        assert_eq!(times, [4, 5]);
    }

    #[test]
    fn an_event_from_before_the_last_512_times_is_dropped() {
        let (mut events, mut clock) = (Events::new(0), Clock::new());
        assert!(told(&mut events, &mut clock, 1_000, "a", b""));
        assert!(!told(&mut events, &mut clock, 488, "a", b""));
        assert!(told(&mut events, &mut clock, 489, "a", b""));
        assert!(told(&mut events, &mut clock, 1_001, "a", b""));
        assert_eq!(events.slots().len(), 2);
    }

    #[test]
    fn an_event_below_the_minimum_is_dropped() {
        let (mut events, mut clock) = (Events::new(10), Clock::new());
        assert!(!told(&mut events, &mut clock, 9, "a", b""));
        assert!(told(&mut events, &mut clock, 10, "a", b""));
        events.ignore_before(20);
        events.ignore_before(15);
        assert!(!told(&mut events, &mut clock, 19, "a", b""));
    }

    #[test]
    fn a_flood_is_bounded_and_told_once_all_the_same() {
        let (mut events, mut clock) = (Events::new(0), Clock::new());
        let payload = vec![0; 9_000];
        for time in 1..=500_u64 {
            for name in ["a", "b"] {
                assert!(told(&mut events, &mut clock, time, name, &payload));
                assert!(!told(&mut events, &mut clock, time, name, &payload));
            }
            assert!(events.octets <= OCTETS_MAX);
        }
        assert!(!told(&mut events, &mut clock, 1, "a", &payload));
        let kept = events.slots().len();
        assert!(kept < 500 && kept > 200, "{kept}");
    }

    proptest! {
        #[test]
        fn each_event_is_told_exactly_once_whatever_the_order_and_repetition(
            arrivals in proptest::collection::vec((1_u64..400, 0_u8..3), 0..600),
        ) {
            let (mut events, mut clock) = (Events::new(0), Clock::new());
            let mut count = std::collections::BTreeMap::new();
            for (time, payload) in &arrivals {
                let first = told(&mut events, &mut clock, *time, "e", &[*payload]);
                *count.entry((*time, *payload)).or_insert(0) += u32::from(first);
            }
            prop_assert!(count.values().all(|told| *told == 1), "{count:?}");
        }
    }
}

//! Lamport time: which of two things was said first, without clocks that agree.

use super::LamportTime;

/// How far ahead a time may be and still be believed. Nobody says that many things while another
/// hears nothing; a time from further off would only wear the clock out.
const AHEAD_MAX: u64 = 1 << 32;

/// The latest time that a node which joins takes over from the pool: all members have it, however
/// it came about, and whoever stayed behind would neither hear the others nor be heard.
const JOIN_MAX: u64 = 1 << 62;

/// A clock that moves with what is said and heard. Starts at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock(LamportTime);

impl Clock {
    pub(super) fn new() -> Self {
        Self(1)
    }

    /// The time of what is said next.
    pub(super) fn time(self) -> LamportTime {
        self.0
    }

    /// Takes the present time for something to say, and moves on.
    pub(super) fn take(&mut self) -> LamportTime {
        let time = self.0;
        self.0 = self.0.saturating_add(1);
        time
    }

    /// Moves past a time that somebody has used. `false`, and nothing is changed, if it is too far
    /// ahead to be true.
    pub(super) fn witness(&mut self, time: LamportTime) -> bool {
        if time > self.0.saturating_add(AHEAD_MAX) {
            return false;
        }
        if time >= self.0 {
            self.0 = time.saturating_add(1);
        }
        true
    }

    /// Goes on from the time of the pool that this node joins.
    pub(super) fn join(&mut self, time: LamportTime) {
        if time <= JOIN_MAX {
            self.resume(time);
        }
    }

    /// Goes on from a time that this node itself has kept.
    pub(super) fn resume(&mut self, time: LamportTime) {
        self.0 = self.0.max(time.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_moves_past_what_it_hears_and_never_back() {
        let mut clock = Clock::new();
        assert_eq!(clock.take(), 1);
        assert!(clock.witness(10));
        assert_eq!(clock.time(), 11);
        assert!(clock.witness(3));
        assert_eq!(clock.time(), 11);
        assert!(clock.witness(11));
        assert_eq!(clock.take(), 12);
    }

    #[test]
    fn time_too_far_ahead_is_not_believed() {
        let mut clock = Clock::new();
        assert!(!clock.witness(u64::MAX));
        assert!(!clock.witness(AHEAD_MAX + 2));
        assert_eq!(clock.time(), 1);
        assert!(clock.witness(AHEAD_MAX + 1));
        assert_eq!(clock.time(), AHEAD_MAX + 2);
    }

    #[test]
    fn whoever_joins_takes_the_time_of_the_pool_however_late_it_is() {
        let mut clock = Clock::new();
        clock.join(JOIN_MAX + 1);
        assert_eq!(clock.time(), 1);
        clock.join(5 * AHEAD_MAX);
        assert_eq!(clock.time(), 5 * AHEAD_MAX + 1);
        clock.join(7);
        assert_eq!(clock.time(), 5 * AHEAD_MAX + 1);
    }
}

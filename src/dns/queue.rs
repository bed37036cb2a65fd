//! Decides how long a query may have waited: keeps the answered ones fresh when more arrive than
//! can be answered.
//!
//! A queue absorbs bursts, and it makes every query late once it is never empty. While bursts
//! drain, only the deadline holds. When the shortest wait of a whole deadline's time was above
//! the target, the queue is standing: from then on queries older than the target are shed, and
//! the kernel's queue is cut to what can be answered in half that time, since a query that the
//! kernel refuses costs this thread nothing, and one that it queues costs a receive. The cut is
//! undone step by step once queries wait less than a quarter of the target.
//!
//! Pure: time comes in with each batch. The clock is the wall clock, the only one that the kernel
//! stamps datagrams with; where it jumps, the worst is one wrong window.

use std::time::Duration;

/// The smallest queue worth having, in octets as the kernel counts: some 300 small queries.
const OCTETS_MIN: usize = 128 * 1024;

/// Windows of a cut queue for each deadline.
const WINDOWS: u32 = 4;

/// The state of one socket's queue.
#[derive(Debug)]
pub(crate) struct Queue {
    deadline: Duration,
    target: Duration,
    octets_max: usize,
    octets: usize,
    window: Window,
}

/// What was seen since `start`.
#[derive(Debug)]
struct Window {
    start: Duration,
    batches: u32,
    sum: Duration,
    least: Duration,
}

/// What holds for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Queries that have waited longer are shed.
    pub(crate) wait_max: Duration,
    /// The size that the kernel's queue shall have from now on, if it changes.
    pub(crate) resize: Option<usize>,
}

impl Queue {
    /// A queue of `octets_max` octets where no query waits longer than `deadline` and, under
    /// sustained load, than `target`.
    pub(crate) fn new(deadline: Duration, target: Duration, octets_max: usize) -> Self {
        Self {
            deadline,
            target: target.min(deadline),
            octets_max,
            octets: octets_max,
            window: Window::new(Duration::ZERO),
        }
    }

    /// Takes note of a batch read at `now` (time since the epoch) whose oldest query has waited
    /// `wait`.
    pub(crate) fn observe(&mut self, now: Duration, wait: Duration) -> Verdict {
        let resize = self.turn(now).filter(|octets| *octets != self.octets);
        if let Some(octets) = resize {
            self.octets = octets;
        }
        // What was queued before a cut tells nothing about the queue since.
        if !self.is_cut() || now.saturating_sub(wait) >= self.window.start {
            self.window.note(wait);
        }
        let wait_max = if self.is_cut() {
            self.target
        } else {
            self.deadline
        };
        Verdict { wait_max, resize }
    }

    fn is_cut(&self) -> bool {
        self.octets < self.octets_max
    }

    /// Ends the window if its time is over; the size that follows from it.
    fn turn(&mut self, now: Duration) -> Option<usize> {
        let length = if self.is_cut() {
            self.deadline / WINDOWS
        } else {
            self.deadline
        };
        let past = now.checked_sub(self.window.start);
        if past.is_some_and(|past| past < length) {
            return None;
        }
        let window = std::mem::replace(&mut self.window, Window::new(now));
        match past {
            None => return None, // the clock was set back
            Some(past) if past > 2 * self.deadline => return Some(self.octets_max), // idle
            Some(_) => {}
        }
        let wait = window.sum.checked_div(window.batches)?;
        if self.is_cut() {
            Some(self.adjust(wait))
        } else if window.least > self.target {
            Some(self.scale(wait))
        } else {
            None
        }
    }

    /// The next size of a cut queue where queries waited `wait` on average.
    fn adjust(&self, wait: Duration) -> usize {
        if wait > self.target * 3 / 4 {
            self.scale(wait)
        } else if wait < self.target / 4 {
            self.octets.saturating_mul(2).min(self.octets_max)
        } else {
            self.octets
        }
    }

    /// The size at which a query waits half the target, when it waits `wait` at this one: waiting
    /// time is proportional to the queue.
    fn scale(&self, wait: Duration) -> usize {
        let wanted = u128::try_from(self.octets).unwrap_or(u128::MAX) * self.target.as_nanos();
        let octets = wanted / (2 * wait.as_nanos()).max(1);
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        octets.clamp(OCTETS_MIN.min(self.octets), self.octets)
    }
}

impl Window {
    fn new(start: Duration) -> Self {
        Self {
            start,
            batches: 0,
            sum: Duration::ZERO,
            least: Duration::MAX,
        }
    }

    fn note(&mut self, wait: Duration) {
        self.batches += 1;
        self.sum = self.sum.saturating_add(wait);
        self.least = self.least.min(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_millis(100);
    const TARGET: Duration = Duration::from_millis(5);
    const FULL: usize = 4 << 20;

    fn ms(millis: u64) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    /// Feeds one batch for each millisecond of `times`; `wait` says how long its oldest waited.
    fn run(
        queue: &mut Queue,
        times: std::ops::Range<u64>,
        wait: impl Fn(usize) -> Duration,
    ) -> Verdict {
        let mut last = None;
        for time in times {
            let waited = wait(queue.octets);
            last = Some(queue.observe(ms(time), waited));
        }
        last.unwrap()
    }

    fn queue() -> Queue {
        Queue::new(DEADLINE, TARGET, FULL)
    }

    /// A server that answers so slowly that a full queue takes 80 ms.
    fn standing(octets: usize) -> Duration {
        let (octets, full) = (u32::try_from(octets).unwrap(), u32::try_from(FULL).unwrap());
        Duration::from_millis(80) * (octets / 4_096) / (full / 4_096)
    }

    #[test]
    fn a_burst_that_drains_is_answered_up_to_the_deadline() {
        let mut queue = queue();
        run(&mut queue, 0..200, |_| Duration::from_micros(10));
        let verdict = run(&mut queue, 200..290, |_| Duration::from_millis(60));
        assert_eq!(verdict.wait_max, DEADLINE);
        let verdict = run(&mut queue, 290..400, |_| Duration::from_micros(10));
        assert_eq!(
            verdict,
            Verdict {
                wait_max: DEADLINE,
                resize: None
            }
        );
    }

    #[test]
    fn a_standing_queue_is_cut_to_less_than_the_target() {
        let mut queue = queue();
        let verdict = run(&mut queue, 0..250, standing);
        assert_eq!(verdict.wait_max, TARGET);
        assert!(standing(queue.octets) <= TARGET / 2, "{}", queue.octets);
        // It settles there.
        let settled = queue.octets;
        run(&mut queue, 250..5_000, standing);
        assert_eq!(queue.octets, settled);
    }

    #[test]
    fn the_queue_is_whole_again_within_a_second_after_the_load() {
        let mut queue = queue();
        run(&mut queue, 0..1_000, standing);
        let verdict = run(&mut queue, 1_000..2_000, |_| Duration::from_micros(50));
        assert_eq!(queue.octets, FULL);
        assert_eq!(verdict.wait_max, DEADLINE);
    }

    #[test]
    fn a_pause_or_a_set_clock_cuts_nothing() {
        let mut queue = queue();
        run(&mut queue, 0..150, |_| Duration::from_micros(10));
        // Stopped for half a second: all that is queued is old, and shed by the deadline.
        let verdict = queue.observe(ms(650), Duration::from_millis(500));
        assert_eq!(
            verdict,
            Verdict {
                wait_max: DEADLINE,
                resize: None
            }
        );
        let back = queue.observe(Duration::from_secs(1), Duration::ZERO);
        assert_eq!(
            back,
            Verdict {
                wait_max: DEADLINE,
                resize: None
            }
        );
    }

    #[test]
    fn an_idle_time_makes_the_queue_whole() {
        let mut queue = queue();
        run(&mut queue, 0..1_000, standing);
        assert!(queue.octets < FULL);
        queue.observe(ms(1_500), Duration::from_micros(10));
        assert_eq!(queue.octets, FULL);
    }

    #[test]
    fn an_outlier_never_closes_the_queue() {
        let mut queue = queue();
        run(&mut queue, 0..10_000, |_| Duration::from_secs(3_600));
        assert_eq!(queue.octets, OCTETS_MIN);
    }
}

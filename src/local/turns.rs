//! Runs of checks that are due or in flight.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::types::CheckId;

use super::definition::CheckDefinition;

/// Which bound a run counts against besides that of all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Sends a few packets, or looks into memory.
    Light,
    /// Starts a program.
    Heavy,
}

/// A run that may start now.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) id: CheckId,
    /// Tells this run from earlier ones of the same check.
    pub(super) number: u64,
    /// When it should have started.
    pub(super) due: Instant,
    /// Fires once nobody waits for its result any more.
    pub(super) stop: CancellationToken,
}

/// A turn with what is to be done.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) turn: Turn,
    pub(super) definition: Arc<CheckDefinition>,
    /// Most octets of output.
    pub(super) octets_max: usize,
}

/// Runs that wait for their start, first come, first served, and those in flight: at most one for
/// each check.
///
/// **Invariant**: a queue is at most as long as was said at its start. A run that finds it full
/// waits for its check's next turn.
#[derive(Debug)]
pub(super) struct Turns {
    light: VecDeque<(CheckId, u64)>,
    heavy: VecDeque<(CheckId, u64)>,
    runs: BTreeMap<CheckId, Run>,
    length_max: usize,
    number: u64,
}

#[derive(Debug)]
struct Run {
    number: u64,
    due: Instant,
    /// Stops it when dropped; `None` while it waits for its start.
    started: Option<DropGuard>,
}

impl Turns {
    pub(super) fn new(length_max: usize) -> Self {
        Self {
            light: VecDeque::new(),
            heavy: VecDeque::new(),
            runs: BTreeMap::new(),
            length_max,
            number: 0,
        }
    }

    /// Queues a run. Whether there was room.
    pub(super) fn push(&mut self, id: &CheckId, weight: Weight, due: Instant) -> bool {
        if self.queue(weight).len() >= self.length_max {
            return false;
        }
        self.number += 1;
        let number = self.number;
        self.queue(weight).push_back((id.clone(), number));
        let run = Run {
            number,
            due,
            started: None,
        };
        self.runs.insert(id.clone(), run);
        true
    }

    /// Takes the next run that is still wanted.
    pub(super) fn pop(&mut self, weight: Weight) -> Option<Turn> {
        loop {
            let (id, number) = self.queue(weight).pop_front()?;
            let Some(run) = self.runs.get_mut(&id).filter(|run| run.number == number) else {
                continue;
            };
            let stop = CancellationToken::new();
            run.started = Some(stop.clone().drop_guard());
            let due = run.due;
            return Some(Turn {
                id,
                number,
                due,
                stop,
            });
        }
    }

    /// Takes note that a run has ended. Whether it is the one that is waited for.
    pub(super) fn end(&mut self, id: &CheckId, number: u64) -> bool {
        let current = self.runs.get(id).is_some_and(|run| run.number == number);
        if current {
            self.cancel(id);
        }
        current
    }

    /// Gives up the run of a check, if there is one.
    pub(super) fn cancel(&mut self, id: &CheckId) {
        self.runs.remove(id);
    }

    /// Whether runs wait for their start.
    pub(super) fn has(&self, weight: Weight) -> bool {
        match weight {
            Weight::Light => !self.light.is_empty(),
            Weight::Heavy => !self.heavy.is_empty(),
        }
    }

    fn queue(&mut self, weight: Weight) -> &mut VecDeque<(CheckId, u64)> {
        match weight {
            Weight::Light => &mut self.light,
            Weight::Heavy => &mut self.heavy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn id(text: &str) -> CheckId {
        text.parse().unwrap()
    }

    #[test]
    fn runs_start_in_the_order_in_which_they_were_due() {
        let (mut turns, now) = (Turns::new(10), clock::now());
        for name in ["b", "a"] {
            assert!(turns.push(&id(name), Weight::Light, now));
        }
        assert!(turns.push(&id("program"), Weight::Heavy, now));
        let mut light = || turns.pop(Weight::Light).map(|turn| turn.id.to_string());
        assert_eq!(light().as_deref(), Some("b"));
        assert_eq!(light().as_deref(), Some("a"));
        assert_eq!(light(), None);
        assert!(turns.has(Weight::Heavy));
    }

    #[test]
    fn a_run_that_was_given_up_neither_starts_nor_counts() {
        let (mut turns, now) = (Turns::new(10), clock::now());
        turns.push(&id("a"), Weight::Light, now);
        turns.cancel(&id("a"));
        turns.push(&id("a"), Weight::Light, now);
        let turn = turns.pop(Weight::Light).unwrap();
        assert!(turns.pop(Weight::Light).is_none());
        turns.cancel(&id("a"));
        assert!(turn.stop.is_cancelled());
        assert!(!turns.end(&id("a"), turn.number));
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let (mut turns, now) = (Turns::new(1), clock::now());
        assert!(turns.push(&id("a"), Weight::Light, now));
        assert!(!turns.push(&id("b"), Weight::Light, now));
        assert!(turns.push(&id("b"), Weight::Heavy, now));
    }
}

//! When a session asks whether its peer lives, and when it has waited long enough.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Settings;
use crate::clock;

/// Shortest pause of the timer, so that an interval of zero does not keep a processor busy.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Stands for times that are too far away to count.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What the time says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The peer is to be asked.
    Ask,
    /// The peer has not answered, or not taken any octets, in time.
    Silent,
}

/// The timers of a session: one of the runtime's serves them all.
#[derive(Debug)]
pub(super) struct Timers {
    settings: Settings,
    sleep: Pin<Box<Sleep>>,
    ask: Instant,
    /// Until when the peer may answer.
    answer: Option<Instant>,
    /// Until when the peer may take octets.
    write: Option<Instant>,
}

impl Timers {
    /// The first question comes one interval from now.
    pub(super) fn new(settings: Settings) -> Self {
        let ask = after(clock::now(), settings.ping_interval);
        Self {
            settings,
            sleep: Box::pin(tokio::time::sleep_until(ask)),
            ask,
            answer: None,
            write: None,
        }
    }

    /// The connection takes no octets at the moment.
    pub(super) fn stalled(&mut self) {
        if self.write.is_none() {
            self.write = Some(after(clock::now(), self.settings.answer_timeout));
        }
    }

    /// The connection has taken octets.
    pub(super) fn moved(&mut self) {
        self.write = None;
    }

    /// Waits for the next thing due. `owes_answer` tells whether a question is still unanswered.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        owes_answer: impl Fn() -> bool,
    ) -> Poll<Due> {
        let next = self.next();
        if self.sleep.deadline() != next {
            self.sleep.as_mut().reset(next);
        }
        if self.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let now = clock::now();
        if self.write.is_some_and(|write| write <= now) {
            return Poll::Ready(Due::Silent);
        }
        if self.answer.is_some_and(|answer| answer <= now) {
            if owes_answer() {
                return Poll::Ready(Due::Silent);
            }
            self.answer = None;
        }
        if self.ask <= now {
            self.ask = after(now, self.settings.ping_interval.max(PAUSE_MIN));
            if self.answer.is_none() || !owes_answer() {
                self.answer = Some(after(now, self.settings.answer_timeout));
            }
            return Poll::Ready(Due::Ask);
        }
        // Only an answer in time was due.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn next(&self) -> Instant {
        let others = [self.answer, self.write];
        others.into_iter().flatten().fold(self.ask, Instant::min)
    }
}

fn after(now: Instant, pause: Duration) -> Instant {
    now + pause.min(FAR)
}

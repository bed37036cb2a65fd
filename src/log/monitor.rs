//! Who listens to the log while it is written: each at a level and in a format of its own.
//!
//! **Invariant**: writing the log never waits for a listener. What one does not take in time is
//! lost to it, and it is told how much.
//! **Invariant**: while nobody listens, an event that the agent's own log does not want costs what
//! it costs without this file.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tracing::Level;

use super::{Event, Format};
use crate::clock::{self, Utc};

/// Most listeners at a time.
const LISTENERS_MAX: usize = 16;

/// Most octets that wait for one listener.
const WAITING_OCTETS_MAX: usize = 256 * 1024;

/// Why nobody may listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// There are too many already. Safe to retry later.
    #[error("too many listen to the log, at most {LISTENERS_MAX} may")]
    TooMany,
}

/// Hands lines to whoever listens. Clones share the listeners.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The rank of the most verbose level that a listener wants; 0 while nobody listens.
    wanted: AtomicU8,
    listeners: Mutex<Vec<Arc<Queue>>>,
}

/// What waits for one listener.
#[derive(Debug)]
struct Queue {
    level: Level,
    format: Format,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: String,
    /// Lines that there was no room for behind these.
    lost: u64,
    waker: Option<Waker>,
}

/// One who listens, until dropped.
#[derive(Debug)]
pub struct Listener {
    monitor: Monitor,
    queue: Arc<Queue>,
}

impl Monitor {
    /// Lets somebody listen to events of this level and graver ones.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen(&self, level: Level, format: Format) -> Result<Listener, ListenError> {
        let queue = Arc::new(Queue {
            level,
            format,
            waiting: Mutex::default(),
        });
        self.change(|listeners| {
            if listeners.len() >= LISTENERS_MAX {
                return Err(ListenError::TooMany);
            }
            listeners.push(Arc::clone(&queue));
            Ok(())
        })?;
        let monitor = self.clone();
        Ok(Listener { monitor, queue })
    }

    /// Whether anybody listens to events of this level.
    pub fn wants(&self, level: Level) -> bool {
        rank(level) <= self.shared.wanted.load(Ordering::Relaxed)
    }

    /// The most verbose level that somebody listens to.
    pub fn verbosity(&self) -> Option<Level> {
        let wanted = self.shared.wanted.load(Ordering::Relaxed);
        LEVELS.into_iter().find(|level| rank(*level) == wanted)
    }

    /// Hands an event to those who want it.
    pub fn publish(&self, event: &Event<'_>) {
        let (mut plain, mut json) = (None, None);
        for queue in lock(&self.shared.listeners).iter() {
            if event.level <= queue.level {
                let line = match queue.format {
                    Format::Plain => &mut plain,
                    Format::Json => &mut json,
                };
                queue.push(line.get_or_insert_with(|| event.line(queue.format)));
            }
        }
    }

    /// Changes who listens, and what is wanted with it.
    fn change<R>(&self, change: impl FnOnce(&mut Vec<Arc<Queue>>) -> R) -> R {
        let mut listeners = lock(&self.shared.listeners);
        let result = change(&mut listeners);
        let ranks = listeners.iter().map(|queue| rank(queue.level));
        let wanted = ranks.max().unwrap_or_default();
        let before = self.shared.wanted.swap(wanted, Ordering::Relaxed);
        drop(listeners);
        if before != wanted {
            // Places in the code that log remember whether anybody wants to know.
            tracing_core::callsite::rebuild_interest_cache();
        }
        result
    }
}

impl Queue {
    fn push(&self, line: &str) {
        let mut waiting = lock(&self.waiting);
        if waiting.lost > 0 || waiting.lines.len() + line.len() > WAITING_OCTETS_MAX {
            // What follows a gap must not stand before the word of it.
            waiting.lost += 1;
        } else {
            waiting.lines.push_str(line);
        }
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
    }
}

impl Listener {
    /// The lines that have come since the last time, at least one.
    pub fn poll_lines(&mut self, context: &mut Context<'_>) -> Poll<String> {
        let mut waiting = lock(&self.queue.waiting);
        if waiting.lines.is_empty() && waiting.lost == 0 {
            waiting.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut lines = std::mem::take(&mut waiting.lines);
        let lost = std::mem::take(&mut waiting.lost);
        drop(waiting);
        if lost > 0 {
            lines.push_str(&gap(lost, self.queue.format));
        }
        Poll::Ready(lines)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let own = Arc::clone(&self.queue);
        self.monitor
            .change(|listeners| listeners.retain(|queue| !Arc::ptr_eq(queue, &own)));
    }
}

/// What a listener reads where it has missed lines.
fn gap(lost: u64, format: Format) -> String {
    let event = Event {
        time: Utc::new(clock::since_epoch()),
        level: Level::WARN,
        module: "monitor",
        message: "this client reads too slowly, lines were left out",
        fields: &[("lines", lost.to_string())],
    };
    event.line(format)
}

/// Every level, the gravest first.
const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

/// 1 for the gravest level, to 5 for the most verbose.
fn rank(level: Level) -> u8 {
    LEVELS
        .into_iter()
        .zip(1..)
        .find(|(known, _)| *known == level)
        .map_or(0, |(_, rank)| rank)
}

/// A panic elsewhere does not make the log useless.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn say(monitor: &Monitor, level: Level, message: &str) {
        monitor.publish(&Event {
            time: Utc::new(Duration::ZERO),
            level,
            module: "test",
            message,
            fields: &[],
        });
    }

    fn read(listener: &mut Listener) -> Option<String> {
        match listener.poll_lines(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(lines) => Some(lines),
            Poll::Pending => None,
        }
    }

    #[test]
    fn each_listener_hears_its_level_in_its_format() {
        let monitor = Monitor::default();
        assert_eq!(monitor.verbosity(), None);
        let mut warn = monitor.listen(Level::WARN, Format::Plain).unwrap();
        let mut debug = monitor.listen(Level::DEBUG, Format::Json).unwrap();
        assert_eq!(monitor.verbosity(), Some(Level::DEBUG));
        assert!(monitor.wants(Level::DEBUG) && !monitor.wants(Level::TRACE));
        say(&monitor, Level::DEBUG, "a");
        assert_eq!(read(&mut warn), None);
        assert!(read(&mut debug).unwrap().contains("\"@message\":\"a\""));
        say(&monitor, Level::ERROR, "b");
        let line = "    1970-01-01T00:00:00.000Z [ERROR] test: b\n";
        assert_eq!(read(&mut warn).unwrap(), line);
        drop(debug);
        assert_eq!(monitor.verbosity(), Some(Level::WARN));
        drop(warn);
        assert!(!monitor.wants(Level::ERROR));
    }

    #[test]
    fn a_slow_listener_loses_lines_and_is_told_how_many() {
        let monitor = Monitor::default();
        let mut slow = monitor.listen(Level::INFO, Format::Plain).unwrap();
        let long = "x".repeat(100_000);
        for _ in 0..5 {
            say(&monitor, Level::INFO, &long);
        }
        // Even what would fit: the order must not lie.
        say(&monitor, Level::INFO, "short");
        let lines = read(&mut slow).unwrap();
        assert!(lines.len() < WAITING_OCTETS_MAX + 200);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines.len(), 3);
        let gap = "[WARN]  monitor: this client reads too slowly, lines were left out: lines=4";
        assert!(lines[2].ends_with(gap), "{}", lines[2]);
        say(&monitor, Level::INFO, "again");
        assert!(read(&mut slow).unwrap().ends_with("test: again\n"));
    }

    #[test]
    fn the_number_of_listeners_is_bounded() {
        let monitor = Monitor::default();
        let listen = || monitor.listen(Level::INFO, Format::Plain);
        let mut listeners: Vec<_> = (0..LISTENERS_MAX).map(|_| listen().unwrap()).collect();
        assert_eq!(listen().unwrap_err(), ListenError::TooMany);
        listeners.pop();
        assert!(listen().is_ok());
    }

    #[test]
    fn a_listener_that_waits_is_woken() {
        let monitor = Monitor::default();
        let mut listener = monitor.listen(Level::INFO, Format::Plain).unwrap();
        let woken = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(listener.poll_lines(&mut context).is_pending());
        say(&monitor, Level::DEBUG, "not wanted");
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        say(&monitor, Level::INFO, "wanted");
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(listener.poll_lines(&mut context).is_ready());
    }

    #[derive(Default)]
    struct Wakes(AtomicU8);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

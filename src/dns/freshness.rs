//! How far this server's memory may lag behind the cluster.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// The value that says that there is nobody to lag behind.
const LEADING: i64 = i64::MAX;

/// Written by whoever follows the leader, read by every DNS worker. Lock-free.
#[derive(Debug)]
pub struct Freshness {
    loaded: AtomicBool,
    /// Milliseconds between `start` and the last word from a leader, or [`LEADING`].
    heard: AtomicI64,
    start: Instant,
}

impl Default for Freshness {
    fn default() -> Self {
        Self::new()
    }
}

impl Freshness {
    /// No state is loaded yet; this server counts as the leader until told otherwise.
    pub fn new() -> Self {
        Self {
            loaded: AtomicBool::new(false),
            heard: AtomicI64::new(LEADING),
            start: clock::monotonic(),
        }
    }

    /// A state is loaded and this server leads, as a single server does once it has started.
    pub fn fresh() -> Self {
        let freshness = Self::new();
        freshness.set_loaded();
        freshness
    }

    /// A first state of the catalog is in memory; before this, names get SERVFAIL.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// This server leads: what it answers is never stale.
    pub fn lead(&self) {
        self.heard.store(LEADING, Ordering::Relaxed);
    }

    /// This server follows and heard from its leader `ago`.
    pub fn heard(&self, ago: Duration) {
        let then = self.now().saturating_sub(millis(ago));
        self.heard.store(then, Ordering::Relaxed);
    }

    fn now(&self) -> i64 {
        millis(clock::monotonic().duration_since(self.start))
    }

    /// Whether a first state is in memory.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Whether this server leads, so that nothing it answers is older than what others know.
    pub fn leads(&self) -> bool {
        self.heard.load(Ordering::Relaxed) == LEADING
    }

    /// Time since this server last heard from a leader; zero while it leads, which is told without
    /// reading a clock.
    pub fn age(&self) -> Duration {
        match self.heard.load(Ordering::Relaxed) {
            LEADING => Duration::ZERO,
            then => {
                let age = self.now().saturating_sub(then);
                Duration::from_millis(u64::try_from(age).unwrap_or(0))
            }
        }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(LEADING - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_stale_from_the_last_word_of_its_leader() {
        let freshness = Freshness::new();
        assert!(!freshness.is_loaded());
        assert_eq!(freshness.age(), Duration::ZERO);
        freshness.heard(Duration::from_secs(6));
        assert!(freshness.age() >= Duration::from_secs(6));
        freshness.lead();
        assert_eq!(freshness.age(), Duration::ZERO);
        assert!(Freshness::fresh().is_loaded());
    }
}

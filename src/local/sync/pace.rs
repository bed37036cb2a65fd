//! When everything is compared with the catalog: the more nodes, the less often, so that servers do
//! not spend all their time on agents that have nothing to tell.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

/// Up to so many nodes compare in every interval.
const NODES_AT_ONCE: u64 = 128;
/// Longest time until a comparison after a server has joined.
const AFTER_SERVER_MAX: Duration = Duration::from_secs(2);

/// How many nodes there are, as somebody knows who is asked each time. One by default.
#[derive(Clone)]
pub struct NodeCount(Arc<dyn Fn() -> usize + Send + Sync>);

impl NodeCount {
    /// Asks `count`, which must not wait.
    pub fn new(count: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        Self(Arc::new(count))
    }

    /// The number now.
    pub fn get(&self) -> usize {
        (self.0)()
    }
}

impl Default for NodeCount {
    fn default() -> Self {
        Self::new(|| 1)
    }
}

impl fmt::Debug for NodeCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("NodeCount")
            .field(&self.get())
            .finish()
    }
}

/// Time until the next comparison: between one and two intervals of this size of the cluster.
pub(super) fn next(interval: Duration, nodes: usize) -> Duration {
    staggered(interval.saturating_mul(factor(nodes)))
}

/// Time until a comparison after a server has joined.
pub(super) fn after_server() -> Duration {
    AFTER_SERVER_MAX.mul_f64(rand::rng().random())
}

/// `duration` and up to as much again, so that many agents do not act together.
pub(super) fn staggered(duration: Duration) -> Duration {
    duration.saturating_add(duration.mul_f64(rand::rng().random()))
}

/// How many times longer than the interval comparisons are apart: one more each time the number of
/// nodes has doubled beyond [`NODES_AT_ONCE`].
fn factor(nodes: usize) -> u32 {
    let nodes = u64::try_from(nodes).unwrap_or(u64::MAX);
    let doublings = match nodes.checked_next_power_of_two() {
        Some(power) => power.trailing_zeros(),
        None => u64::BITS,
    };
    doublings.saturating_sub(NODES_AT_ONCE.trailing_zeros()) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_further_apart_the_more_nodes_there_are() {
        for (nodes, expected) in [
            (0, 1),
            (1, 1),
            (100, 1),
            (128, 1),
            (129, 2),
            (200, 2),
            (256, 2),
            (257, 3),
            (1_000, 4),
            (2_000, 5),
            (10_000, 8),
            (1_000_000, 14),
            (usize::MAX, 58),
        ] {
            assert_eq!(factor(nodes), expected, "{nodes} nodes");
        }
    }

    #[test]
    fn agents_do_not_compare_together() {
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        let times: Vec<_> = (0..100).map(|_| next(minute, 300)).collect();
        assert!(
            times
                .iter()
                .all(|time| (3 * minute..=6 * minute).contains(time))
        );
        let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(last.abs_diff(*first) > 10 * second, "{first:?} to {last:?}");
        assert!(after_server() <= 2 * second);
    }

    #[test]
    fn the_number_of_nodes_is_asked_each_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let nodes = Arc::new(AtomicUsize::new(3));
        let asked = Arc::clone(&nodes);
        let count = NodeCount::new(move || asked.load(Ordering::Relaxed));
        assert_eq!(count.get(), 3);
        nodes.store(300, Ordering::Relaxed);
        assert_eq!(count.get(), 300);
        assert_eq!(format!("{:?}", NodeCount::default()), "NodeCount(1)");
    }
}

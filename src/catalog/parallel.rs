//! The same work on many entries at once, on all cores: for a start, while nothing else goes on.
//!
//! Results come in the order of the entries, whoever makes which: nothing depends on the cores.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

/// Entries that a thread takes at a time: few enough that none is left waiting long for another.
const PORTION: usize = 64;

/// What `each` makes of all `entries`, in their order.
pub(super) fn map<T: Sync, R: Send>(entries: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let start = next.fetch_add(PORTION, Ordering::Relaxed);
            let end = start.saturating_add(PORTION).min(entries.len());
            let Some(portion) = entries.get(start..end).filter(|found| !found.is_empty()) else {
                return done;
            };
            done.push((start, portion.iter().map(&each).collect::<Vec<R>>()));
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let helpers = cores.min(entries.len().div_ceil(PORTION)).saturating_sub(1);
    let mut portions = thread::scope(|scope| {
        let spawn = |_| Builder::new().spawn_scoped(scope, work);
        // Where the system refuses a thread, the others do its work.
        let running: Vec<_> = (0..helpers).map_while(|n| spawn(n).ok()).collect();
        let mut portions = work();
        for helper in running {
            match helper.join() {
                Ok(done) => portions.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        portions
    });
    portions.sort_unstable_by_key(|(start, _)| *start);
    portions.into_iter().flat_map(|(_, done)| done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_entries() {
        for length in [0, 1, PORTION, 10 * PORTION + 7] {
            let entries: Vec<_> = (0..length).collect();
            let doubled: Vec<_> = entries.iter().map(|entry| entry * 2).collect();
            assert_eq!(map(&entries, |entry| entry * 2), doubled);
        }
    }
}

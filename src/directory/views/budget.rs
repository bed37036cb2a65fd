//! How many names may be asked for the first time: so many in a second, and so many at a time.

use std::time::Duration;

use tokio::time::Instant;

/// Room for first reads.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: f64,
    left: f64,
    filled: Instant,
    under_way: usize,
    under_way_max: usize,
}

impl Budget {
    /// Full at `now`.
    pub(super) fn new(per_second: u32, under_way_max: usize, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            left: per_second,
            filled: now,
            under_way: 0,
            under_way_max,
        }
    }

    /// Begins a read. Whether there was room; what is read again is not counted by the second.
    pub(super) fn begin(&mut self, now: Instant, first: bool) -> bool {
        if self.under_way >= self.under_way_max {
            return false;
        }
        if first {
            let since = now.saturating_duration_since(self.filled);
            let since = since.min(Duration::from_secs(1)).as_secs_f64();
            self.left = (self.left + since * self.per_second).min(self.per_second);
            self.filled = now;
            if self.left < 1.0 {
                return false;
            }
            self.left -= 1.0;
        }
        self.under_way += 1;
        true
    }

    /// A read has ended.
    pub(super) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[tokio::test(start_paused = true)]
    async fn so_many_begin_in_a_second() {
        let mut budget = Budget::new(500, 64, clock::now());
        let mut begun = 0;
        let mut try_all = |budget: &mut Budget, tries| {
            for _ in 0..tries {
                if budget.begin(clock::now(), true) {
                    budget.end();
                    begun += 1;
                }
            }
            begun
        };
        assert_eq!(try_all(&mut budget, 2_000), 500);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(try_all(&mut budget, 2_000), 550);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(try_all(&mut budget, 2_000), 1_050);
        assert!(budget.begin(clock::now(), false), "again is not first");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_under_way() {
        let mut budget = Budget::new(500, 2, clock::now());
        assert!(budget.begin(clock::now(), true) && budget.begin(clock::now(), false));
        assert!(!budget.begin(clock::now(), true) && !budget.begin(clock::now(), false));
        budget.end();
        assert!(budget.begin(clock::now(), true));
    }
}

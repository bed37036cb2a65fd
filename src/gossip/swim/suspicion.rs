//! How long a suspect has to speak up: the more nodes suspect it independently, the less.
//!
//! A node that hears of nobody else who misses the suspect is probably at fault itself, so it waits
//! six times as long (Lifeguard).

use std::time::Duration;

use super::{Config, Name};
use crate::gossip::actions::Time;

/// Bounds of a suspicion in a pool of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Further accusers that shorten it; 0 where a pool is too small to have them.
    pub confirmations: u32,
    /// Time once all of them have spoken.
    pub least: Duration,
    /// Time while none has.
    pub most: Duration,
}

impl Bounds {
    /// For a pool of `nodes`, dead ones that are still known included.
    pub fn new(config: &Config, nodes: usize) -> Self {
        let wanted = config.suspicion_multiplier.saturating_sub(2);
        let others = u32::try_from(nodes.saturating_sub(2)).unwrap_or(u32::MAX);
        let confirmations = if others < wanted { 0 } else { wanted };
        // Peers cut the scale to three decimals; so do we, to agree on the instant.
        let scale = (count(nodes).log10().max(1.0) * 1_000.0).floor() / 1_000.0;
        let least = (config.probe_interval * config.suspicion_multiplier).mul_f64(scale);
        let most = least.saturating_mul(config.suspicion_max_multiplier.max(1));
        Self {
            confirmations,
            least,
            most: if confirmations == 0 { least } else { most },
        }
    }

    /// Time that a suspect has after `confirmed` further accusers.
    pub fn timeout(&self, confirmed: u32) -> Duration {
        if confirmed == 0 {
            return self.most;
        }
        let share = f64::from(confirmed.saturating_add(1)).ln()
            / f64::from(self.confirmations.saturating_add(1)).ln();
        let cut = (self.most.saturating_sub(self.least)).mul_f64(share.clamp(0.0, 1.0));
        let millis = self.most.saturating_sub(cut).as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)).max(self.least)
    }
}

/// A number of nodes for a logarithm; at least 1.
fn count(nodes: usize) -> f64 {
    f64::from(u32::try_from(nodes.max(1)).unwrap_or(u32::MAX))
}

/// A running suspicion of one node.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    started: Time,
    bounds: Bounds,
    /// The first accuser, then those who confirmed: at most `bounds.confirmations` more.
    accusers: Vec<Name>,
}

impl Suspicion {
    /// Begins now, on the word of `from`.
    pub(super) fn new(now: Time, from: Name, bounds: Bounds) -> Self {
        Self {
            started: now,
            bounds,
            accusers: vec![from],
        }
    }

    /// Whether the word of `from` counts: it has not spoken yet, and more are wanted.
    pub(super) fn confirm(&mut self, from: &str) -> bool {
        let counts = self.confirmed() < self.bounds.confirmations
            && self.accusers.iter().all(|known| **known != *from);
        if counts {
            self.accusers.push(from.into());
        }
        counts
    }

    /// When the suspect is dead.
    pub(super) fn deadline(&self) -> Time {
        self.started + self.bounds.timeout(self.confirmed())
    }

    /// Gives the suspect `time` more.
    pub(super) fn postpone(&mut self, time: Duration) {
        self.started += time;
    }

    fn confirmed(&self) -> u32 {
        u32::try_from(self.accusers.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(bounds: Bounds) -> (u32, f64, f64) {
        let (least, most) = (bounds.least.as_secs_f64(), bounds.most.as_secs_f64());
        (bounds.confirmations, least, most)
    }

    #[test]
    fn small_pools_do_not_wait_for_confirmations() {
        for nodes in 0..=3 {
            assert_eq!(
                seconds(Bounds::new(&Config::lan(), nodes)),
                (0, 4.0, 4.0),
                "{nodes} nodes"
            );
        }
    }

    #[test]
    fn bounds_grow_with_the_digits_of_the_pool() {
        for (nodes, least) in [(4, 4.0), (10, 4.0), (20, 5.204), (100, 8.0), (1_000, 12.0)] {
            let bounds = Bounds::new(&Config::lan(), nodes);
            assert_eq!(bounds.confirmations, 2);
            assert!(
                (bounds.least.as_secs_f64() - least).abs() < 0.005,
                "{nodes} nodes: {bounds:?}"
            );
            assert_eq!(bounds.most, bounds.least * 6);
        }
    }

    #[test]
    fn each_confirmation_shortens_the_wait() {
        let bounds = Bounds::new(&Config::lan(), 9);
        let waits: Vec<_> = (0..=3).map(|confirmed| bounds.timeout(confirmed)).collect();
        assert_eq!(
            waits,
            [24_000, 11_381, 4_000, 4_000].map(Duration::from_millis)
        );
    }

    #[test]
    fn an_accuser_counts_once_and_the_first_not_at_all() {
        let bounds = Bounds::new(&Config::lan(), 9);
        let mut suspicion = Suspicion::new(Duration::ZERO, "a".into(), bounds);
        assert!(!suspicion.confirm("a"));
        assert_eq!(suspicion.deadline(), Duration::from_secs(24));
        assert!(suspicion.confirm("b"));
        assert!(!suspicion.confirm("b"));
        assert!(suspicion.confirm("c"));
        assert!(!suspicion.confirm("d"));
        assert_eq!(suspicion.deadline(), Duration::from_secs(4));
    }
}

//! Keeps one view current: reads again and again, each time waiting for a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{Semaphore, mpsc, watch};

use super::keeper::{REGRESSIONS_MAX, Told};
use super::{How, Source, Wanted};
use crate::types::{Consistency, Index};

/// Times of the reads that keep views current.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Reads that wait at a time. A few more places are left for `consul`.
    pub(super) reads_max: usize,
    /// How long each waits for a change, while there are no more views than that.
    pub(super) wait: Duration,
    /// How long a round of all takes where there are more.
    pub(super) round: Duration,
    /// How long the reads of `consul` wait: a fraction of the age from which an answer is stale.
    pub(super) beat: Duration,
    /// Least time between two reads of one view: what changes all the time is not read all the time.
    pub(super) gap: Duration,
    /// The same after a server has told something older than what is known.
    pub(super) behind: Duration,
    /// How often an address is looked for again.
    pub(super) address: Duration,
    /// Longest time for an answer besides its wait.
    pub(super) limit: Duration,
    /// First pause after a failure; each further one is twice as long.
    pub(super) retry_min: Duration,
    /// Longest pause of `consul`, which finds out when servers are back.
    pub(super) beat_retry_max: Duration,
    /// Longest pause of the others, which are told that.
    pub(super) retry_max: Duration,
    /// Up to so long after servers are back, so that not all begin together.
    pub(super) stagger: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            reads_max: 1_000,
            wait: Duration::from_secs(60),
            round: Duration::from_secs(20),
            beat: Duration::from_secs(2),
            gap: Duration::from_millis(50),
            behind: Duration::from_millis(500),
            address: Duration::from_secs(5),
            limit: Duration::from_secs(5),
            retry_min: Duration::from_millis(100),
            beat_retry_max: Duration::from_secs(5),
            retry_max: Duration::from_secs(60),
            stagger: Duration::from_millis(500),
        }
    }
}

impl Pace {
    /// How long one of so many views waits for a change.
    fn wait(&self, views: usize) -> Duration {
        if views <= self.reads_max {
            return self.wait;
        }
        let share = u32::try_from(self.reads_max).unwrap_or(u32::MAX);
        let views = u32::try_from(views).unwrap_or(u32::MAX);
        self.wait.min(self.round * share / views.max(1))
    }

    /// The pause after so many failures in a row: between half of it and all.
    fn pause(&self, failures: u32, beats: bool) -> Duration {
        let most = if beats {
            self.beat_retry_max
        } else {
            self.retry_max
        };
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(0);
        let longest = match doubled {
            0 => most,
            doubled => self.retry_min.saturating_mul(doubled).min(most),
        };
        longest / 2 + (longest / 2).mul_f64(rand::rng().random())
    }
}

/// What all followers share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) source: Arc<dyn Source>,
    pub(super) pace: Pace,
    pub(super) told: mpsc::Sender<Told>,
    /// Places for reads that wait.
    pub(super) places: Arc<Semaphore>,
    /// Views that there are.
    pub(super) views: Arc<AtomicUsize>,
    /// Wakes those that wait after a failure.
    pub(super) woken: watch::Sender<()>,
}

/// One view to be kept current.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) shared: Shared,
    pub(super) wanted: Wanted,
    /// Which of several views that one name has had.
    pub(super) life: u64,
    /// Index of what is known.
    pub(super) index: Index,
    /// How often in a row a server has told something older than that.
    pub(super) regressions: u8,
    /// Whether it is the one that tells whether servers can be reached.
    pub(super) beats: bool,
}

/// What became of one read.
enum Outcome {
    Told,
    Failed,
    /// Nobody listens any more.
    Ended,
}

impl Follower {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut woken = self.shared.woken.subscribe();
        let mut failures = 0_u32;
        let is_address = matches!(self.wanted, Wanted::Address(_));
        loop {
            if is_address && failures == 0 {
                tokio::time::sleep(staggered(self.shared.pace.address)).await;
            }
            woken.mark_unchanged();
            match self.read(is_address).await {
                Outcome::Told => {
                    if self.beats && failures > 0 {
                        self.shared.woken.send_replace(());
                    }
                    failures = 0;
                    let pace = &self.shared.pace;
                    let behind = self.regressions > 0;
                    tokio::time::sleep(if behind { pace.behind } else { pace.gap }).await;
                }
                Outcome::Failed => {
                    failures = failures.saturating_add(1);
                    self.rest(failures, &mut woken).await;
                }
                Outcome::Ended => return,
            }
        }
    }

    /// Reads once and tells what is new.
    async fn read(&mut self, is_address: bool) -> Outcome {
        let pace = &self.shared.pace;
        let _place = if self.beats {
            None
        } else {
            self.shared.places.acquire().await.ok()
        };
        let how = How {
            consistency: Consistency::Stale,
            // Who counts from the beginning again is not waited for.
            index: if self.regressions > 0 {
                Index::ZERO
            } else {
                self.index
            },
            wait: if self.beats {
                pace.beat
            } else {
                pace.wait(self.shared.views.load(Ordering::Relaxed))
            },
            limit: pace.limit,
            follows: true,
        };
        let picture = match self.shared.source.read(&self.wanted, &how).await {
            Ok(picture) => picture,
            Err(error) => {
                tracing::debug!("{} cannot be kept current: {error}", self.wanted);
                return Outcome::Failed;
            }
        };
        // After a regression the keeper may have believed what is older, and must hear of this.
        let is_news = is_address || picture.index != self.index || self.regressions > 0;
        if picture.index < self.index && !(picture.follows && self.regressions >= REGRESSIONS_MAX) {
            self.regressions += u8::from(picture.follows);
        } else {
            (self.index, self.regressions) = (picture.index, 0);
        }
        let told = Told::Followed {
            wanted: self.wanted.clone(),
            life: self.life,
            last_contact: picture.last_contact,
            picture: is_news.then_some(picture),
        };
        match self.shared.told.send(told).await {
            Ok(()) => Outcome::Told,
            Err(_) => Outcome::Ended,
        }
    }

    /// Waits after a failure: for a time, or until soon after somebody can be asked again.
    async fn rest(&self, failures: u32, woken: &mut watch::Receiver<()>) {
        let pace = &self.shared.pace;
        let pause = tokio::time::sleep(pace.pause(failures, self.beats));
        tokio::select! {
            () = pause => {}
            Ok(()) = woken.changed() => {
                if !self.beats {
                    tokio::time::sleep(staggered(pace.stagger)).await;
                }
            }
        }
    }
}

/// Between half of a time and all of it.
fn staggered(time: Duration) -> Duration {
    time / 2 + (time / 2).mul_f64(rand::rng().random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_views_than_places_wait_for_a_shorter_time_each() {
        let pace = Pace::default();
        assert_eq!(pace.wait(1), pace.wait);
        assert_eq!(pace.wait(1_000), pace.wait);
        assert_eq!(pace.wait(2_000), Duration::from_secs(10));
        assert!(pace.wait(8_192) * 8_192 / 1_000 <= pace.round);
    }

    #[test]
    fn pauses_grow_up_to_their_bound() {
        let pace = Pace::default();
        for (failures, beats, most) in [
            (1, true, 100),
            (2, true, 200),
            (3, false, 400),
            (30, true, 5_000),
            (33, true, 5_000),
            (u32::MAX, false, 60_000),
        ] {
            let (pause, most) = (pace.pause(failures, beats), Duration::from_millis(most));
            assert!(pause >= most / 2 && pause <= most, "{failures}: {pause:?}");
        }
    }
}

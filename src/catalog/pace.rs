//! Keeps the writer from holding a core for long: a node that fails changes all of its services at
//! once, and where every core is taken, DNS workers shall not wait until the last one is done.

/// Steps, each of a few microseconds, between two offers of the core.
const STEPS: usize = 16;

/// Counts the steps of a loop whose length others decide.
#[derive(Debug, Default)]
pub(super) struct Pace(usize);

impl Pace {
    /// Notes one step, and now and then lets others have the core.
    pub(super) fn step(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(STEPS) {
            std::thread::yield_now();
        }
    }
}

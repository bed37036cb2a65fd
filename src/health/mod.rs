//! Health checks: how a check is carried out, and one small state machine for each.
//!
//! Owns the checked description of a check's means ([`Mechanism`]), the rules that turn results
//! and the passing of time into a status ([`Machine`]), the deadlines of all checks in one queue
//! ([`Timers`]), and the runners of all types ([`Runner`]). All but the runners is pure: `local`
//! keeps the machines, owns the one timer that drives them, starts the runs that they ask for, and
//! tells the catalog.
//!
//! **Invariant**: deadlines are instants of the monotonic clock, so that a jump of the wall clock
//! neither expires nor saves a check.

mod machine;
mod mechanism;
mod output;
mod run;
mod timers;

pub use machine::{Actions, Input, Limits, Machine, Report};
pub use mechanism::{Http, Mechanism, MechanismError, Schedule, Settings};
pub use output::cap as cap_output;
pub use run::{Followed, FollowedCheck, Probe, Roots, Runner, RunnerConfig};
pub use timers::Timers;

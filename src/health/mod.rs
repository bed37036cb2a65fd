//! Health checks: how a check is carried out, and one small state machine for each.
//!
//! Owns the checked description of a check's means ([`Mechanism`]), the rules that turn results
//! and the passing of time into a status ([`Machine`]), and the deadlines of all checks in one
//! queue ([`Timers`]). Everything here is pure: `local` keeps the machines, owns the one timer that
//! drives them, and tells the catalog.
//!
//! Today only TTL checks have results, which their services report. The other types are checked
//! and kept with all their settings, and stay in the status they were registered with.
//!
//! **Invariant**: deadlines are instants of the monotonic clock, so that a jump of the wall clock
//! neither expires nor saves a check.

mod machine;
mod mechanism;
mod output;
mod timers;

pub use machine::{Actions, Input, Limits, Machine, Report};
pub use mechanism::{Http, Mechanism, MechanismError, Schedule, Settings};
pub use output::cap as cap_output;
pub use timers::Timers;

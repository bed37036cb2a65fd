//! Reads time; the only place that does, so that tests can see where time enters.
//!
//! **Invariant**: timers, deadlines and leases run on the monotonic clock. The wall clock is only
//! shown to people (SOA serial, log lines).

use std::time::{Duration, SystemTime};

/// The monotonic clock of async code; tests may pause it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads this clock"
)]
pub fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The monotonic clock of plain threads.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads this clock"
)]
pub fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

/// Time since 1970-01-01 UTC by the wall clock; zero if that clock is set before then.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads this clock"
)]
pub fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

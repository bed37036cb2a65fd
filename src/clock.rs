//! Reads time; the only place that does, so that tests can see where time enters.
//!
//! **Invariant**: timers, deadlines and leases run on the monotonic clock. The wall clock is only
//! shown to people (SOA serial, log lines).

use std::fmt;
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

/// A time of the wall clock as people read it. Displayed as RFC 3339 writes it, in UTC with
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// Year, month and day.
    date: (u64, u64, u64),
    /// Hour, minute and second.
    time: (u64, u64, u64),
    milliseconds: u32,
}

impl Utc {
    /// The time this long after 1970-01-01.
    pub fn new(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs();
        Self {
            date: date(seconds / 86_400),
            time: (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60),
            milliseconds: since_epoch.subsec_millis(),
        }
    }

    /// As Go's `time.String` writes whole seconds: `2026-11-22 10:28:20 +0000 UTC`.
    pub fn to_go_string(self) -> String {
        let ((year, month, day), (hour, minute, second)) = (self.date, self.time);
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((year, month, day), (hour, minute, second)) = (self.date, self.time);
        let milliseconds = self.milliseconds;
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"
        )
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted in years that begin in March, the leap day is the last of its year, and months follow
    // a pattern of 153 days for every five.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_795_342_844_406, "2026-11-22T10:20:44.406Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let time = Utc::new(Duration::from_millis(milliseconds));
            assert_eq!(time.to_string(), text);
        }
        let time = Utc::new(Duration::from_millis(1_795_342_844_406));
        assert_eq!(time.to_go_string(), "2026-11-22 10:20:44 +0000 UTC");
    }
}

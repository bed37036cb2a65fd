//! The state machine of one check.

use std::time::Duration;

use tokio::time::Instant;

use crate::types::Status;

use super::output;

/// What bounds a check in time and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A TTL check turns critical when this long has passed without a report; `None` for all
    /// other types.
    pub ttl: Option<Duration>,
    /// The check asks for its service to be removed after this long in critical state; `None`
    /// never.
    pub reap_after: Option<Duration>,
    /// Most octets of output that are kept. Default 4,096 (`check_output_max_size`).
    pub output_octets_max: usize,
    /// Time between two runs; `None` for a check that does not run.
    pub interval: Option<Duration>,
    /// Good results in a row before a run check turns passing (or warning, as they say); 0 and 1
    /// mean the first. Default 0.
    pub success_before_passing: u32,
    /// Bad results in a row before it turns warning. Default 0: as many as for critical, so that
    /// it turns critical without having warned.
    pub failures_before_warning: u32,
    /// Bad results in a row before it turns critical; 0 and 1 mean the first. Default 0.
    pub failures_before_critical: u32,
}

impl Limits {
    /// A check that neither runs, nor expires, nor removes its service.
    pub const NONE: Self = Self {
        ttl: None,
        reap_after: None,
        output_octets_max: 4_096,
        interval: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
    };
}

/// A result: of a run, of a service about itself, or of a time to live that ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The status from now on.
    pub status: Status,
    /// What is shown with it.
    pub output: Box<str>,
}

/// What happens to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The service reported about itself.
    Report(Report),
    /// A run has ended with this result, its output bounded already.
    Finished(Report),
    /// A run has ended without a result.
    Abandoned,
    /// The instant of [`Machine::wake`] was reached.
    Timer,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Show this as the check's status and output.
    pub report: Option<Report>,
    /// Remove the service of the check.
    pub reap: bool,
    /// Start a run, which was due then.
    pub run: Option<Instant>,
}

/// The state of one check over time. Pure: it is told the time, and says when it wants to be
/// called again.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    /// Output of the last report, without what expiry says.
    reported: Box<str>,
    expires: Option<Instant>,
    critical_since: Option<Instant>,
    /// The status that is shown.
    status: Status,
    turns: Turns,
}

/// When a check runs, and what its last results were.
#[derive(Debug, Default)]
struct Turns {
    next: Option<Instant>,
    /// A run is in flight.
    running: bool,
    /// It is to be followed by another at once.
    again: bool,
    /// Good results in a row.
    successes: u32,
    /// Bad results in a row.
    failures: u32,
}

impl Machine {
    /// A check without a result. The first report of a TTL check is due within its time to live.
    ///
    /// Time in critical state counts from now where whoever registered the check said that it is
    /// critical, else from the first critical result: that nobody has looked yet is no reason to
    /// remove a service.
    pub fn new(now: Instant, limits: Limits, said: Option<Status>) -> Self {
        let mut machine = Self {
            limits,
            reported: Box::default(),
            expires: None,
            critical_since: None,
            status: said.unwrap_or(Status::Critical),
            turns: Turns::default(),
        };
        machine.redefine(now, limits);
        if let Some(status) = said {
            machine.enter(now, status);
        }
        machine
    }

    /// Goes on, after a restart, from what was shown before: a TTL check until `until`, at most one
    /// time to live from now. Without that time left it is expired, if it was not critical anyway.
    /// What is shown now.
    pub fn resume(&mut self, now: Instant, before: Report, until: Option<Instant>) -> Report {
        self.enter(now, before.status);
        if self.is_ttl() {
            let until = until.filter(|until| *until > now);
            self.expires = match until {
                Some(until) => self.expires.min(Some(until)),
                None if before.status == Status::Critical => None,
                None => Some(now),
            };
            if self.expires.is_some() {
                self.reported.clone_from(&before.output);
            }
        }
        self.expire(now).unwrap_or(before)
    }

    /// When a TTL check turns critical, should nobody report until then.
    pub fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Takes on the limits of a new definition. The status, and since when it holds, stay; the
    /// time to live begins anew.
    pub fn redefine(&mut self, now: Instant, limits: Limits) {
        self.limits = limits;
        self.expires = limits.ttl.and_then(|ttl| now.checked_add(ttl));
    }

    /// Runs for the first time in `delay` and from then on once in every interval; a check that
    /// does not run stays so. What was in flight is no longer waited for, and results are counted
    /// anew.
    pub fn begin(&mut self, now: Instant, delay: Duration) {
        self.turns = Turns {
            next: self.limits.interval.and_then(|_| now.checked_add(delay)),
            ..Turns::default()
        };
    }

    /// Runs now instead of at its next turn, or again as soon as the run in flight has ended.
    pub fn hurry(&mut self, now: Instant) {
        if self.turns.running {
            self.turns.again = true;
        } else if self.turns.next.is_some() {
            self.turns.next = Some(now);
        }
    }

    /// Whether the service itself reports the status.
    pub fn is_ttl(&self) -> bool {
        self.limits.ttl.is_some()
    }

    /// Takes in one input.
    pub fn handle(&mut self, now: Instant, input: Input) -> Actions {
        match input {
            Input::Report(report) => self.report(now, &report),
            Input::Finished(report) => {
                self.land(now);
                self.weigh(now, report)
            }
            Input::Abandoned => {
                self.land(now);
                Actions::default()
            }
            Input::Timer => Actions {
                report: self.expire(now),
                reap: self.reap_at().is_some_and(|at| at <= now),
                run: self.take_turn(now),
            },
        }
    }

    /// When [`Input::Timer`] is due; `None` never.
    pub fn wake(&self) -> Option<Instant> {
        let run = self.turns.next;
        self.expires
            .into_iter()
            .chain(self.reap_at())
            .chain(run)
            .min()
    }

    /// When the run is due that is to start now. Turns keep their distance: those that were missed
    /// are left out, and so is one whose predecessor is still in flight.
    fn take_turn(&mut self, now: Instant) -> Option<Instant> {
        let due = self.turns.next.take_if(|at| *at <= now)?;
        let interval = self
            .limits
            .interval
            .filter(|interval| !interval.is_zero())?;
        let late = now.saturating_duration_since(due);
        let turns = late.as_nanos() / interval.as_nanos() + 1;
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        self.turns.next = due.checked_add(interval.saturating_mul(turns));
        let in_flight = std::mem::replace(&mut self.turns.running, true);
        (!in_flight).then_some(due)
    }

    fn land(&mut self, now: Instant) {
        self.turns.running = false;
        if std::mem::take(&mut self.turns.again) {
            self.hurry(now);
        }
    }

    /// Shows a result once there have been enough of its kind in a row. One that is held back but
    /// says what is shown already brings its output.
    fn weigh(&mut self, now: Instant, report: Report) -> Actions {
        let limits = self.limits;
        let (successes, failures) = match report.status {
            Status::Critical => (0, self.turns.failures.saturating_add(1)),
            Status::Passing | Status::Warning => (self.turns.successes.saturating_add(1), 0),
        };
        (self.turns.successes, self.turns.failures) = (successes, failures);
        let warns = limits.failures_before_warning;
        let shown = match report.status {
            Status::Critical if failures >= limits.failures_before_critical => Status::Critical,
            Status::Critical if warns > 0 && failures >= warns => Status::Warning,
            good @ (Status::Passing | Status::Warning)
                if successes >= limits.success_before_passing =>
            {
                good
            }
            same if same == self.status => same,
            _ => return Actions::default(),
        };
        self.enter(now, shown);
        Actions {
            report: Some(Report {
                status: shown,
                ..report
            }),
            ..Actions::default()
        }
    }

    fn report(&mut self, now: Instant, report: &Report) -> Actions {
        let output = output::cap(&report.output, self.limits.output_octets_max);
        self.reported.clone_from(&output);
        self.expires = self.limits.ttl.and_then(|ttl| now.checked_add(ttl));
        self.enter(now, report.status);
        Actions {
            report: Some(Report {
                status: report.status,
                output,
            }),
            ..Actions::default()
        }
    }

    /// Turns critical if the time to live is over. It runs again from the next report on.
    fn expire(&mut self, now: Instant) -> Option<Report> {
        let at = self.expires.take_if(|at| *at <= now)?;
        // The time of expiry counts, not that of this call, should the driver be late.
        self.enter(at, Status::Critical);
        let output = match &*self.reported {
            "" => "TTL expired".into(),
            last => format!("TTL expired (last output before timeout follows): {last}").into(),
        };
        Some(Report {
            status: Status::Critical,
            output,
        })
    }

    fn enter(&mut self, now: Instant, status: Status) {
        self.status = status;
        self.critical_since = match status {
            Status::Critical => self.critical_since.or(Some(now)),
            Status::Passing | Status::Warning => None,
        };
    }

    fn reap_at(&self) -> Option<Instant> {
        self.critical_since?.checked_add(self.limits.reap_after?)
    }
}

#[cfg(test)]
mod tests;

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
    /// A result came in.
    Report(Report),
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
        };
        machine.redefine(now, limits);
        if let Some(status) = said {
            machine.enter(now, status);
        }
        machine
    }

    /// Takes on the limits of a new definition. The status, and since when it holds, stay; the
    /// time to live begins anew.
    pub fn redefine(&mut self, now: Instant, limits: Limits) {
        self.limits = limits;
        self.expires = limits.ttl.and_then(|ttl| now.checked_add(ttl));
    }

    /// Whether the service itself reports the status.
    pub fn is_ttl(&self) -> bool {
        self.limits.ttl.is_some()
    }

    /// Takes in one input.
    pub fn handle(&mut self, now: Instant, input: Input) -> Actions {
        match input {
            Input::Report(report) => self.report(now, &report),
            Input::Timer => Actions {
                report: self.expire(now),
                reap: self.reap_at().is_some_and(|at| at <= now),
            },
        }
    }

    /// When [`Input::Timer`] is due; `None` never.
    pub fn wake(&self) -> Option<Instant> {
        self.expires.into_iter().chain(self.reap_at()).min()
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
            reap: false,
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
mod tests {
    use super::*;
    use crate::clock;

    const LIMITS: Limits = Limits {
        ttl: Some(Duration::from_secs(10)),
        reap_after: Some(Duration::from_secs(30)),
        output_octets_max: 16,
    };

    fn report(status: Status, output: &str) -> Report {
        Report {
            status,
            output: output.into(),
        }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_report_restarts_the_time_to_live() {
        let start = clock::now();
        let mut check = Machine::new(start, LIMITS, Some(Status::Critical));
        let passing = report(Status::Passing, "hi");
        let actions = check.handle(start + seconds(9), Input::Report(passing.clone()));
        assert_eq!(actions.report, Some(passing));
        assert_eq!(check.wake(), Some(start + seconds(19)));
        let early = check.handle(start + seconds(18), Input::Timer);
        assert_eq!(early, Actions::default());
    }

    #[test]
    fn silence_beyond_the_time_to_live_is_critical() {
        let start = clock::now();
        let mut check = Machine::new(start, LIMITS, Some(Status::Passing));
        let actions = check.handle(start + seconds(10), Input::Timer);
        assert_eq!(
            actions.report,
            Some(report(Status::Critical, "TTL expired"))
        );
        assert_eq!(check.wake(), Some(start + seconds(40)));
        check.handle(
            start + seconds(11),
            Input::Report(report(Status::Passing, "hi")),
        );
        let actions = check.handle(start + seconds(21), Input::Timer);
        let text = "TTL expired (last output before timeout follows): hi";
        assert_eq!(actions.report, Some(report(Status::Critical, text)));
        assert!(!actions.reap);
    }

    #[test]
    fn a_service_critical_for_too_long_is_removed() {
        let start = clock::now();
        let mut check = Machine::new(start, LIMITS, Some(Status::Passing));
        let critical = || Input::Report(report(Status::Critical, ""));
        check.handle(start + seconds(5), critical());
        // A second critical report does not restart the count.
        check.handle(start + seconds(14), critical());
        check.handle(start + seconds(24), Input::Timer);
        assert_eq!(check.wake(), Some(start + seconds(35)));
        assert!(!check.handle(start + seconds(34), Input::Timer).reap);
        assert!(check.handle(start + seconds(35), Input::Timer).reap);
        check.handle(
            start + seconds(35),
            Input::Report(report(Status::Warning, "")),
        );
        assert!(!check.handle(start + seconds(44), Input::Timer).reap);
    }

    #[test]
    fn a_late_timer_counts_from_the_instant_of_expiry() {
        let start = clock::now();
        let mut check = Machine::new(start, LIMITS, Some(Status::Passing));
        let actions = check.handle(start + seconds(40), Input::Timer);
        assert_eq!(actions.report.unwrap().status, Status::Critical);
        assert!(actions.reap);
    }

    #[test]
    fn a_new_definition_keeps_the_time_in_critical_state() {
        let start = clock::now();
        let mut check = Machine::new(start, LIMITS, Some(Status::Critical));
        let reap_after = Some(seconds(20));
        check.redefine(
            start + seconds(5),
            Limits {
                ttl: None,
                reap_after,
                ..LIMITS
            },
        );
        assert_eq!(check.wake(), Some(start + seconds(20)));
    }

    #[test]
    fn a_check_that_nobody_has_looked_at_removes_nothing() {
        let start = clock::now();
        let unseen = Limits {
            ttl: None,
            ..LIMITS
        };
        assert_eq!(Machine::new(start, unseen, None).wake(), None);
        let mut check = Machine::new(start, LIMITS, None);
        check.handle(start + seconds(10), Input::Timer);
        assert_eq!(check.wake(), Some(start + seconds(40)));
    }

    #[test]
    fn limits_beyond_the_clock_never_come() {
        let endless = Limits {
            ttl: Some(Duration::MAX),
            reap_after: Some(Duration::MAX),
            ..LIMITS
        };
        let check = Machine::new(clock::now(), endless, Some(Status::Critical));
        assert_eq!(check.wake(), None);
    }

    #[test]
    fn long_output_is_capped() {
        let start = clock::now();
        let mut check = Machine::new(start, LIMITS, Some(Status::Passing));
        let long = report(Status::Passing, &"x".repeat(20));
        let shown = check.handle(start, Input::Report(long)).report.unwrap();
        assert_eq!(
            *shown.output,
            *"xxxxxxxxxxxxxxxx ... (captured 16 of 20 bytes)"
        );
    }
}

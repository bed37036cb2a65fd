use super::*;
use crate::clock;

const LIMITS: Limits = Limits {
    ttl: Some(Duration::from_secs(10)),
    reap_after: Some(Duration::from_secs(30)),
    output_octets_max: 16,
    ..Limits::NONE
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

const RUN: Limits = Limits {
    interval: Some(Duration::from_secs(10)),
    ..Limits::NONE
};

/// Seconds after the start at which runs begin, each of which ends `takes` seconds later.
fn runs_until(check: &mut Machine, start: Instant, end: u64, takes: u64) -> Vec<u64> {
    let mut begun = Vec::new();
    let mut ends = None;
    for second in 0..=end {
        let now = start + seconds(second);
        if ends == Some(second) {
            check.handle(now, Input::Finished(report(Status::Passing, "")));
            ends = None;
        }
        if check.wake().is_some_and(|at| at <= now) && check.handle(now, Input::Timer).run.is_some()
        {
            assert_eq!(ends, None, "no two runs at a time");
            begun.push(second);
            ends = Some(second + takes);
        }
    }
    begun
}

/// The statuses shown after each result, where `+` is good, `!` a warning and `-` bad; a result
/// that is held back shows `.`.
fn shown(limits: Limits, said: Status, results: &str) -> String {
    let now = clock::now();
    let mut check = Machine::new(now, limits, Some(said));
    let status = |letter| match letter {
        '+' => Status::Passing,
        '!' => Status::Warning,
        _ => Status::Critical,
    };
    let show = |actions: Actions| match actions.report.map(|report| report.status) {
        None => '.',
        Some(Status::Passing) => '+',
        Some(Status::Warning) => '!',
        Some(Status::Critical) => '-',
    };
    results
        .chars()
        .map(|letter| show(check.handle(now, Input::Finished(report(status(letter), "out")))))
        .collect()
}

#[test]
fn a_check_runs_once_in_every_interval_from_its_first_turn_on() {
    let start = clock::now();
    let mut check = Machine::new(start, RUN, None);
    assert_eq!(check.wake(), None);
    check.begin(start, seconds(3));
    assert_eq!(runs_until(&mut check, start, 40, 1), [3, 13, 23, 33]);
}

#[test]
fn a_run_that_is_still_in_flight_is_not_started_twice() {
    let start = clock::now();
    let mut check = Machine::new(start, RUN, None);
    check.begin(start, seconds(0));
    assert_eq!(runs_until(&mut check, start, 60, 15), [0, 20, 40, 60]);
}

#[test]
fn turns_that_were_missed_are_left_out() {
    let start = clock::now();
    let mut check = Machine::new(start, RUN, None);
    check.begin(start, seconds(5));
    let late = check.handle(start + seconds(47), Input::Timer);
    assert_eq!(late.run, Some(start + seconds(5)));
    assert_eq!(check.wake(), Some(start + seconds(55)));
}

#[test]
fn an_abandoned_run_is_followed_by_the_next() {
    let start = clock::now();
    let mut check = Machine::new(start, RUN, None);
    check.begin(start, seconds(0));
    assert!(check.handle(start, Input::Timer).run.is_some());
    assert_eq!(check.handle(start, Input::Abandoned), Actions::default());
    assert!(
        check
            .handle(start + seconds(10), Input::Timer)
            .run
            .is_some()
    );
}

#[test]
fn a_hurried_check_runs_at_once_or_right_after_the_run_in_flight() {
    let start = clock::now();
    let mut check = Machine::new(start, RUN, None);
    check.begin(start, seconds(9));
    check.hurry(start);
    assert!(check.handle(start, Input::Timer).run.is_some());
    check.hurry(start + seconds(1));
    assert_eq!(check.wake(), Some(start + seconds(10)));
    check.handle(start + seconds(2), Input::Abandoned);
    assert_eq!(check.wake(), Some(start + seconds(2)));
}

#[test]
fn without_thresholds_every_result_is_shown() {
    assert_eq!(shown(RUN, Status::Critical, "+-!+--"), "+-!+--");
}

#[test]
fn results_count_only_in_a_row() {
    let limits = Limits {
        success_before_passing: 2,
        failures_before_critical: 3,
        ..RUN
    };
    // Held back, a result that agrees with what is shown still brings its output.
    assert_eq!(shown(limits, Status::Critical, "+-++"), ".-.+");
    assert_eq!(shown(limits, Status::Passing, "--+--+---"), "..+..+..-");
    assert_eq!(shown(limits, Status::Passing, "---!!"), "..-.!");
}

#[test]
fn a_check_may_warn_before_it_turns_critical() {
    let limits = Limits {
        failures_before_warning: 2,
        failures_before_critical: 4,
        ..RUN
    };
    assert_eq!(shown(limits, Status::Passing, "-----+"), ".!!--+");
}

#[test]
fn time_in_critical_state_counts_from_the_status_that_is_shown() {
    let start = clock::now();
    let limits = Limits {
        reap_after: Some(seconds(5)),
        failures_before_critical: 2,
        ..RUN
    };
    let mut check = Machine::new(start, limits, Some(Status::Passing));
    let bad = || Input::Finished(report(Status::Critical, ""));
    check.handle(start, bad());
    assert_eq!(check.wake(), None);
    check.handle(start + seconds(1), bad());
    assert_eq!(check.wake(), Some(start + seconds(6)));
    assert!(check.handle(start + seconds(6), Input::Timer).reap);
}

#[test]
fn the_output_of_a_run_is_kept_as_its_runner_bounded_it() {
    let start = clock::now();
    let mut check = Machine::new(
        start,
        Limits {
            interval: RUN.interval,
            ..LIMITS
        },
        None,
    );
    let long = report(Status::Passing, &"x".repeat(30));
    let actions = check.handle(start, Input::Finished(long.clone()));
    assert_eq!(actions.report, Some(long));
}

//! When checks run, and what becomes of their results.

use super::*;
use crate::health::Settings;
use crate::local::turns::Weight;

/// A TCP check of every so many seconds.
fn tcp(id: &str, target: &str, interval: u64) -> CheckDefinition {
    let settings = Settings {
        tcp: target.to_owned(),
        interval: seconds(interval),
        ..Settings::default()
    };
    CheckDefinition {
        id: Some(check(id)),
        ..CheckDefinition::new(Mechanism::checked(settings).unwrap())
    }
}

fn alias(id: &str, service: &str) -> CheckDefinition {
    let settings = Settings {
        alias_service: service.to_owned(),
        ..Settings::default()
    };
    CheckDefinition {
        id: Some(check(id)),
        ..CheckDefinition::new(Mechanism::checked(settings).unwrap())
    }
}

impl Fixture {
    /// Ids of the runs that are to start, in order.
    fn started(&mut self) -> Vec<(String, u64)> {
        let mut started = Vec::new();
        while let Some(start) = self.core.take_turn(Weight::Light) {
            started.push((start.turn.id.to_string(), start.turn.number));
            // The test ends it; its stop signal is not looked at.
        }
        started
    }

    /// Lets `count` seconds pass one by one; after how many of them the check was started.
    fn runs_in(&mut self, count: u64) -> Vec<u64> {
        let mut at = Vec::new();
        for second in 1..=count {
            self.pass_time(1);
            for (id, number) in self.started() {
                at.push(second);
                self.end(&id, number, Status::Passing);
            }
        }
        at
    }

    fn end(&mut self, id: &str, number: u64, status: Status) {
        let report = Report {
            status,
            output: "ran".into(),
        };
        self.core
            .end_run(self.now, &check(id), number, Some(report));
    }
}

#[test]
fn first_runs_are_spread_over_the_interval() {
    let mut agent = Fixture::new();
    for number in 0..1_000 {
        let id = format!("c{number}");
        let definition = tcp(&id, "127.0.0.1:1", 10);
        agent.core.register_check(agent.now, definition).unwrap();
    }
    for round in 0..3 {
        let mut in_second = [0; 10];
        for count in &mut in_second {
            agent.pass_time(1);
            for (id, number) in agent.started() {
                *count += 1;
                agent.end(&id, number, Status::Passing);
            }
        }
        assert_eq!(in_second.iter().sum::<u32>(), 1_000, "round {round}");
        let even = in_second.iter().all(|count| (60..=140).contains(count));
        assert!(even, "round {round}: {in_second:?}");
    }
}

#[test]
fn the_same_seed_spreads_alike() {
    let due = || {
        let mut agent = Fixture::new();
        agent.register("web", &[tcp("a", "127.0.0.1:1", 60)]);
        agent.core.next().unwrap() - agent.now
    };
    assert_eq!(due(), due());
    assert!(due() < seconds(60));
}

#[test]
fn a_check_registered_again_as_it_is_keeps_its_turns() {
    let mut agent = Fixture::new();
    agent.register("web", &[tcp("a", "127.0.0.1:1", 10)]);
    let first = agent.runs_in(10);
    let [turn] = first[..] else {
        panic!("one run in one interval: {first:?}");
    };
    let mut again = Vec::new();
    for second in 1..=10 {
        agent.register("web", &[tcp("a", "127.0.0.1:1", 10)]);
        again.extend(agent.runs_in(1).iter().map(|_| second));
    }
    assert_eq!(again, [turn]);
}

#[test]
fn a_run_in_flight_counts_after_the_check_is_registered_again_as_it_is() {
    let mut agent = Fixture::new();
    agent.register("web", &[tcp("a", "127.0.0.1:1", 10)]);
    agent.pass_time(10);
    let start = agent.core.take_turn(Weight::Light).unwrap();
    agent.register("web", &[tcp("a", "127.0.0.1:1", 10)]);
    assert!(!start.turn.stop.is_cancelled());
    agent.end("a", start.turn.number, Status::Passing);
    assert_eq!(agent.checks(), ["a passing ran"]);
}

#[test]
fn a_result_of_what_a_check_was_before_is_not_shown() {
    let mut agent = Fixture::new();
    agent.register("web", &[tcp("a", "127.0.0.1:1", 10)]);
    agent.pass_time(10);
    let start = agent.core.take_turn(Weight::Light).unwrap();
    agent.register("web", &[tcp("a", "127.0.0.1:2", 10)]);
    assert!(start.turn.stop.is_cancelled(), "nobody waits for it");
    agent.end("a", start.turn.number, Status::Passing);
    assert_eq!(agent.checks(), ["a critical"]);
    assert_eq!(agent.runs_in(10).len(), 1);
    assert_eq!(agent.checks(), ["a passing ran"]);
}

#[test]
fn a_check_that_is_gone_is_neither_started_nor_shown() {
    let mut agent = Fixture::new();
    agent.register("web", &[tcp("a", "127.0.0.1:1", 10), tcp("b", "x:1", 10)]);
    agent.pass_time(10);
    let start = agent.core.take_turn(Weight::Light).unwrap();
    agent
        .core
        .deregister_service(&"w1".parse().unwrap())
        .unwrap();
    assert!(start.turn.stop.is_cancelled());
    assert_eq!(agent.started(), []);
    agent.end("a", start.turn.number, Status::Passing);
    assert_eq!(agent.checks(), [] as [&str; 0]);
    assert_eq!(agent.core.next(), None);
}

#[test]
fn a_slow_run_is_not_started_twice() {
    let mut agent = Fixture::new();
    agent.register("web", &[tcp("a", "127.0.0.1:1", 10)]);
    agent.pass_time(10);
    let started = agent.started();
    let [(id, number)] = &started[..] else {
        panic!("one run: {started:?}");
    };
    agent.pass_time(20);
    assert_eq!(agent.started(), []);
    agent.end(id, *number, Status::Passing);
    assert_eq!(agent.runs_in(10).len(), 1);
}

#[test]
fn a_run_without_a_result_changes_nothing_and_is_followed_by_another() {
    let mut agent = Fixture::new();
    agent.register("web", &[tcp("a", "127.0.0.1:1", 10)]);
    agent.pass_time(10);
    let (id, number) = agent.started().remove(0);
    agent.core.end_run(agent.now, &check(&id), number, None);
    assert_eq!(agent.checks(), ["a critical"]);
    assert_eq!(agent.runs_in(10).len(), 1);
}

#[test]
fn an_alias_looks_at_once_and_again_with_every_change_of_what_it_follows() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("up", 1_000)]);
    agent
        .core
        .register_check(agent.now, alias("follows", "w1"))
        .unwrap();
    let looks = |agent: &mut Fixture| {
        agent.core.tick(agent.now);
        let started = agent.started();
        for (id, number) in &started {
            agent.end(id, *number, Status::Passing);
        }
        started.len()
    };
    assert_eq!(looks(&mut agent), 1);
    assert_eq!(looks(&mut agent), 0);
    agent.report("up", Status::Passing, "").unwrap();
    assert_eq!(looks(&mut agent), 1);
    agent.core.node_maintenance(agent.now, Some(""));
    assert_eq!(looks(&mut agent), 1);
    assert_eq!(looks(&mut agent), 0);
}

#[test]
fn a_critical_service_is_removed_exactly_when_its_time_is_over() {
    let mut agent = Fixture::new();
    let mut reaping = tcp("a", "127.0.0.1:1", 10);
    reaping.deregister_critical_service_after = Some(seconds(90));
    agent.register("web", &[reaping]);
    agent.pass_time(10);
    let (id, number) = agent.started().remove(0);
    agent.end(&id, number, Status::Critical);
    for _ in 0..89 {
        agent.pass_time(1);
        for (id, number) in agent.started() {
            agent.end(&id, number, Status::Critical);
        }
        assert_eq!(agent.core.state().services().count(), 1);
    }
    agent.pass_time(1);
    assert_eq!(agent.core.state().services().count(), 0);
    assert_eq!(agent.core.next(), None);
}

#[test]
fn checks_are_counted_by_status() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("a", 10), ttl("b", 10), ttl("c", 10)]);
    agent.report("a", Status::Passing, "").unwrap();
    agent.report("b", Status::Warning, "").unwrap();
    agent.register("web", &[ttl("a", 10)]);
    let counts = |agent: &Fixture| {
        [Status::Passing, Status::Warning, Status::Critical]
            .map(|status| agent.core.state().count(status))
    };
    assert_eq!(counts(&agent), [1, 1, 1]);
    agent.core.deregister_check(&check("b")).unwrap();
    agent.pass_time(10);
    assert_eq!(counts(&agent), [0, 0, 2]);
}

use std::time::Duration;

use tokio::time::Instant;

mod turns;

use super::*;
use crate::clock;
use crate::health::Mechanism;
use crate::local::definition::tests::{service, ttl};
use crate::local::error::MaintenanceError;
use crate::types::Address;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

mod files;

struct Fixture {
    core: Core,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self {
            core: Core::new(limits, true, "n1".parse().unwrap(), 7),
            now: clock::now(),
        }
    }

    fn register(&mut self, name: &str, checks: &[CheckDefinition]) {
        self.try_register(name, "w1", checks, false).unwrap();
    }

    fn try_register(
        &mut self,
        name: &str,
        id: &str,
        checks: &[CheckDefinition],
        replace: bool,
    ) -> Result<(), RegisterError> {
        let definition = ServiceDefinition {
            service: service(name, id),
            checks: checks.to_vec(),
        };
        self.core.register_service(self.now, definition, replace)
    }

    fn report(&mut self, id: &str, status: Status, output: &str) -> Result<(), ReportError> {
        let report = Report {
            status,
            output: output.into(),
        };
        self.core.report(self.now, &id.parse().unwrap(), report)
    }

    fn pass_time(&mut self, count: u64) {
        self.now += seconds(count);
        self.core.tick(self.now);
    }

    /// `id status output` of every check.
    fn checks(&self) -> Vec<String> {
        let show = |check: &Check| format!("{} {} {}", check.id, check.status, check.output);
        let checks = self.core.state().checks();
        checks
            .map(|local| show(&local.check).trim_end().to_owned())
            .collect()
    }

    /// Ids that the catalog is to be told about since the last call.
    fn told(&mut self) -> Vec<String> {
        let pending = self.core.pending().take();
        let services = pending.services.iter().map(ToString::to_string);
        services
            .chain(pending.checks.iter().map(ToString::to_string))
            .collect()
    }
}

fn check(id: &str) -> CheckId {
    id.parse().unwrap()
}

#[test]
fn a_registration_tells_the_catalog_of_the_service_and_its_checks() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("", 10)]);
    assert_eq!(agent.told(), ["w1", "service:w1"]);
    assert_eq!(agent.checks(), ["service:w1 critical"]);
}

#[test]
fn checks_not_in_a_new_registration_stay_and_keep_the_old_name_of_their_service() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("old", 10)]);
    agent.register("site", &[ttl("new", 10)]);
    assert_eq!(agent.checks(), ["new critical", "old critical"]);
    let old = agent.core.state().check(&check("old")).unwrap();
    assert_eq!(old.service_name.as_ref().unwrap().as_str(), "web");
}

#[test]
fn checks_not_in_a_new_registration_go_when_that_is_asked_for() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("old", 10)]);
    agent.told();
    agent
        .try_register("web", "w1", &[ttl("new", 10)], true)
        .unwrap();
    assert_eq!(agent.checks(), ["new critical"]);
    assert_eq!(agent.told(), ["w1", "new", "old"]);
}

#[test]
fn a_present_check_keeps_status_and_output() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("a", 10)]);
    agent.report("a", Status::Passing, "hi").unwrap();
    let mut again = ttl("a", 10);
    again.status = Some(Status::Warning);
    agent.register("web", &[again]);
    assert_eq!(agent.checks(), ["a passing hi"]);
}

#[test]
fn a_check_registered_again_by_itself_keeps_status_and_output_too() {
    let mut agent = Fixture::new();
    let mut definition = ttl("a", 10);
    agent
        .core
        .register_check(agent.now, definition.clone())
        .unwrap();
    agent.report("a", Status::Passing, "hi").unwrap();
    definition.status = Some(Status::Warning);
    agent.core.register_check(agent.now, definition).unwrap();
    assert_eq!(agent.checks(), ["a passing hi"]);
}

#[test]
fn a_check_without_id_takes_its_name() {
    let mut agent = Fixture::new();
    let mut definition = ttl("", 10);
    let error = agent.core.register_check(agent.now, definition.clone());
    assert_eq!(error, Err(RegisterError::CheckName));
    definition.name = "memory".into();
    agent.core.register_check(agent.now, definition).unwrap();
    assert_eq!(agent.checks(), ["memory critical"]);
}

#[test]
fn a_missed_time_to_live_is_told_at_once() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("a", 10)]);
    agent.report("a", Status::Passing, "hi").unwrap();
    agent.told();
    agent.pass_time(9);
    assert_eq!(agent.told(), [] as [&str; 0]);
    agent.pass_time(1);
    assert_eq!(agent.told(), ["a"]);
    let text = "TTL expired (last output before timeout follows): hi";
    assert_eq!(agent.checks(), [format!("a critical {text}")]);
}

#[test]
fn another_output_alone_is_told_later_and_a_status_at_once() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("a", 1000)]);
    agent.report("a", Status::Passing, "one").unwrap();
    agent.told();
    agent.report("a", Status::Passing, "two").unwrap();
    assert_eq!(agent.checks(), ["a passing two"]);
    assert!(agent.core.output_waits(&check("a")));
    agent.pass_time(299);
    agent.report("a", Status::Passing, "three").unwrap();
    assert_eq!(agent.told(), [] as [&str; 0]);
    agent.pass_time(1);
    assert_eq!(agent.told(), ["a"]);
    agent.report("a", Status::Passing, "four").unwrap();
    agent.report("a", Status::Warning, "five").unwrap();
    assert_eq!(agent.told(), ["a"]);
    assert!(!agent.core.output_waits(&check("a")));
}

#[test]
fn a_heartbeat_without_news_tells_nobody() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("a", 10)]);
    agent.report("a", Status::Passing, "").unwrap();
    agent.told();
    let generation = agent.core.generation();
    agent.report("a", Status::Passing, "").unwrap();
    assert_eq!(agent.core.generation(), generation);
    assert_eq!(agent.told(), [] as [&str; 0]);
}

#[test]
fn a_service_critical_for_too_long_goes_with_all_its_checks() {
    let mut agent = Fixture::new();
    let mut reaping = ttl("a", 10);
    reaping.deregister_critical_service_after = Some(seconds(5));
    reaping.status = Some(Status::Passing);
    agent.register("web", &[reaping, ttl("b", 100)]);
    agent.pass_time(10);
    agent.pass_time(4);
    assert_eq!(agent.core.state().services().count(), 1);
    agent.told();
    agent.pass_time(1);
    assert_eq!(agent.core.state().services().count(), 0);
    assert_eq!(agent.checks(), [] as [&str; 0]);
    assert_eq!(agent.told(), ["w1", "a", "b"]);
    assert_eq!(agent.core.next(), None);
}

#[test]
fn checks_of_the_node_remove_no_service() {
    let mut agent = Fixture::new();
    let mut reaping = ttl("a", 10);
    reaping.deregister_critical_service_after = Some(seconds(5));
    agent.core.register_check(agent.now, reaping).unwrap();
    agent.pass_time(10);
    agent.pass_time(300);
    assert_eq!(agent.checks(), ["a critical TTL expired"]);
    assert_eq!(agent.core.next(), None);
}

#[test]
fn reports_are_only_for_ttl_checks() {
    let mut agent = Fixture::new();
    agent.core.node_maintenance(agent.now, Some(""));
    assert!(matches!(
        agent.report("_node_maintenance", Status::Passing, ""),
        Err(ReportError::NotTtl { .. })
    ));
    assert!(matches!(
        agent.report("nope", Status::Passing, ""),
        Err(ReportError::Unknown(_))
    ));
}

#[test]
fn maintenance_keeps_its_first_reason_and_ends() {
    let mut agent = Fixture::new();
    agent.register("web", &[]);
    let (now, id) = (agent.now, "w1".parse().unwrap());
    for reason in ["first", "second"] {
        agent
            .core
            .service_maintenance(now, &id, Some(reason))
            .unwrap();
    }
    agent.core.node_maintenance(now, Some(""));
    assert_eq!(
        agent.checks(),
        [
            "_node_maintenance critical",
            "_service_maintenance:w1 critical"
        ]
    );
    let notes = |id| {
        agent
            .core
            .state()
            .check(&check(id))
            .unwrap()
            .check
            .notes
            .clone()
    };
    assert_eq!(*notes("_service_maintenance:w1"), *"first");
    assert_eq!(
        *notes("_node_maintenance"),
        *"Maintenance mode is enabled for this node, but no reason was provided. This is a default message."
    );
    assert_eq!(agent.core.state().health(&id).as_str(), "maintenance");
    agent.core.service_maintenance(now, &id, None).unwrap();
    agent.core.node_maintenance(now, None);
    assert_eq!(agent.core.state().health(&id).as_str(), "passing");
    let unknown = agent
        .core
        .service_maintenance(now, &"nope".parse().unwrap(), None);
    assert!(matches!(unknown, Err(MaintenanceError::Unknown(_))));
}

#[test]
fn a_refused_registration_changes_nothing() {
    let limits = Limits {
        services_max: 1,
        checks_max: 1,
        ..Limits::default()
    };
    let mut agent = Fixture::with(limits);
    agent.register("web", &[ttl("a", 10)]);
    agent.told();
    let before = agent.checks();
    let script = Mechanism::checked(crate::health::Settings {
        args: vec!["/bin/true".into()],
        interval: seconds(1),
        ..crate::health::Settings::default()
    });
    let script = CheckDefinition {
        id: Some(check("a")),
        ..CheckDefinition::new(script.unwrap())
    };
    let mut lost = ttl("a", 10);
    lost.service_id = Some("nope".parse().unwrap());
    let error = agent.core.register_check(agent.now, lost).unwrap_err();
    assert_eq!(error.to_string(), r#"ServiceID "nope" does not exist"#);
    for (id, checks, expected) in [
        (
            "w1",
            vec![ttl("serfHealth", 1)],
            "this agent has 1 checks, which is the limit",
        ),
        (
            "w1",
            vec![ttl("b", 1)],
            "this agent has 1 checks, which is the limit",
        ),
        (
            "w2",
            vec![],
            "this agent has 1 services, which is the limit",
        ),
        (
            "w1",
            vec![script],
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
        ),
        (
            "Consul",
            vec![],
            "service id \"Consul\" is kept by the servers themselves and cannot be registered",
        ),
    ] {
        let error = agent.try_register("site", id, &checks, true).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let mut unspecified = service("site", "w1");
    unspecified.address = Address::from_text("0.0.0.0");
    let definition = ServiceDefinition {
        service: unspecified,
        checks: Vec::new(),
    };
    let error = agent.core.register_service(agent.now, definition, true);
    assert_eq!(error, Err(RegisterError::ServiceAddress));
    assert_eq!(agent.checks(), before);
    assert_eq!(agent.told(), [] as [&str; 0]);
    let name = &agent.core.state().services().next().unwrap().name;
    assert_eq!(name.as_str(), "web");
}

#[test]
fn a_removed_check_has_no_deadline_left() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("a", 10)]);
    agent.report("a", Status::Passing, "one").unwrap();
    agent.report("a", Status::Passing, "two").unwrap();
    agent.core.deregister_check(&check("a")).unwrap();
    assert_eq!(agent.core.next(), None);
    assert!(agent.core.deregister_check(&check("a")).is_err());
}

#[test]
fn a_check_that_moves_to_another_service_does_not_go_with_the_first() {
    let mut agent = Fixture::new();
    agent.register("web", &[ttl("a", 10)]);
    agent
        .try_register("web", "w2", &[ttl("a", 10)], false)
        .unwrap();
    agent
        .core
        .deregister_service(&"w1".parse().unwrap())
        .unwrap();
    assert_eq!(agent.checks(), ["a critical"]);
}

#[test]
fn the_checks_that_herald_makes_itself_cannot_be_registered() {
    let mut agent = Fixture::with(Limits::default());
    for id in [
        "serfHealth",
        "_NODE_maintenance",
        "_service_maintenance:web",
    ] {
        let refused = agent.core.register_check(agent.now, ttl(id, 10));
        assert!(
            matches!(refused, Err(RegisterError::Reserved { .. })),
            "{id}"
        );
    }
    assert!(agent.checks().is_empty());
}

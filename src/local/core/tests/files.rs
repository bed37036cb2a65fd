//! What configuration files define, and define differently later.

use super::*;
use crate::health::{Mechanism, Settings};
use crate::local::files::{FileDefinitions, FilesError, Placed};
use crate::types::CheckType;

fn placed<T>(place: &str, definition: T) -> Placed<T> {
    Placed {
        place: place.into(),
        definition,
    }
}

/// Services by id, each with TTL checks of these ids and times.
fn services(list: &[(&str, &[(&str, u64)])]) -> FileDefinitions {
    let services = list.iter().map(|(id, checks)| {
        let checks = checks.iter().map(|(id, seconds)| ttl(id, *seconds));
        let definition = ServiceDefinition {
            service: service("web", id),
            checks: checks.collect(),
        };
        placed(&format!("{id}.json:1"), definition)
    });
    FileDefinitions {
        services: services.collect(),
        checks: Vec::new(),
    }
}

/// A check that stands by itself.
fn alone(id: &str, service: Option<&str>) -> Placed<CheckDefinition> {
    let definition = CheckDefinition {
        service_id: service.map(|id| id.parse().unwrap()),
        ..ttl(id, 10)
    };
    placed(&format!("{id}.json:1"), definition)
}

fn script() -> CheckDefinition {
    let settings = Settings {
        args: vec!["true".into()],
        interval: seconds(10),
        ..Settings::default()
    };
    CheckDefinition {
        id: Some("script".parse().unwrap()),
        ..CheckDefinition::new(Mechanism::checked(settings).unwrap())
    }
}

impl Fixture {
    fn load(&mut self, definitions: &FileDefinitions) -> Result<(), FilesError> {
        let limits = self.core.limits.clone();
        self.core.load(self.now, definitions, limits)
    }

    fn service_ids(&self) -> Vec<String> {
        let services = self.core.state().services();
        services.map(|service| service.id.to_string()).collect()
    }
}

#[test]
fn what_files_define_is_registered_and_told() {
    let mut fixture = Fixture::new();
    let mut definitions = services(&[("a", &[("", 10)])]);
    definitions.checks = vec![alone("node", None), alone("extra", Some("a"))];
    fixture.load(&definitions).unwrap();
    assert_eq!(fixture.service_ids(), ["a"]);
    let checks = ["extra critical", "node critical", "service:a critical"];
    assert_eq!(fixture.checks(), checks);
    assert_eq!(fixture.told(), ["a", "extra", "node", "service:a"]);
}

#[test]
fn checks_that_stand_by_themselves_have_no_type() {
    let mut fixture = Fixture::new();
    let mut definitions = services(&[("a", &[("own", 10)])]);
    definitions.checks = vec![alone("node", None), alone("extra", Some("a"))];
    fixture.load(&definitions).unwrap();
    let type_of = |fixture: &Fixture, id: &str| {
        let id = id.parse().unwrap();
        fixture.core.state().check(&id).unwrap().check.check_type
    };
    assert_eq!(type_of(&fixture, "own"), CheckType::Ttl);
    assert_eq!(type_of(&fixture, "node"), CheckType::Unknown);
    assert_eq!(type_of(&fixture, "extra"), CheckType::Unknown);
    // Registered over HTTP it has one again.
    fixture
        .core
        .register_check(fixture.now, ttl("node", 10))
        .unwrap();
    assert_eq!(type_of(&fixture, "node"), CheckType::Ttl);
}

#[test]
fn a_second_load_adds_removes_and_keeps() {
    let mut fixture = Fixture::new();
    fixture.register("api", &[ttl("over-http", 60)]);
    let mut first = services(&[("kept", &[("k", 60)]), ("gone", &[("g", 60)])]);
    first.checks = vec![alone("node", None)];
    fixture.load(&first).unwrap();
    fixture.report("k", Status::Passing, "fine").unwrap();
    fixture.told();
    let second = services(&[("kept", &[("k", 60), ("k2", 60)]), ("new", &[])]);
    fixture.load(&second).unwrap();
    assert_eq!(fixture.service_ids(), ["kept", "new", "w1"]);
    let checks = ["k passing fine", "k2 critical", "over-http critical"];
    assert_eq!(fixture.checks(), checks);
    assert_eq!(fixture.told(), ["gone", "new", "g", "k2", "node"]);
}

#[test]
fn what_is_defined_as_before_is_not_touched() {
    let mut fixture = Fixture::new();
    let definitions = services(&[("a", &[("c", 10)])]);
    fixture.load(&definitions).unwrap();
    fixture.report("c", Status::Passing, "").unwrap();
    fixture.told();
    fixture.pass_time(6);
    fixture.load(&definitions).unwrap();
    assert!(fixture.told().is_empty());
    // Its time to live has not begun anew either.
    fixture.pass_time(5);
    assert_eq!(fixture.checks(), ["c critical TTL expired"]);
}

#[test]
fn a_changed_definition_keeps_the_status_of_its_checks() {
    let mut fixture = Fixture::new();
    let mut definitions = services(&[("a", &[("c", 10)])]);
    fixture.load(&definitions).unwrap();
    fixture.report("c", Status::Passing, "fine").unwrap();
    fixture.told();
    let definition = &mut definitions.services[0].definition;
    definition.service.port = 81;
    definition.checks[0].notes = "other".into();
    fixture.load(&definitions).unwrap();
    assert_eq!(fixture.checks(), ["c passing fine"]);
    assert_eq!(fixture.told(), ["a", "c"]);
    let id = "a".parse().unwrap();
    assert_eq!(fixture.core.state().service(&id).unwrap().port, 81);
}

#[test]
fn what_was_registered_over_http_stays() {
    let mut fixture = Fixture::new();
    fixture
        .load(&services(&[("w1", &[("c", 10)]), ("w2", &[])]))
        .unwrap();
    // The first is registered again over HTTP, the second gets a check.
    fixture.register("web", &[ttl("c", 20)]);
    let check = CheckDefinition {
        service_id: Some("w2".parse().unwrap()),
        ..ttl("added", 60)
    };
    fixture.core.register_check(fixture.now, check).unwrap();
    fixture.load(&services(&[("w2", &[])])).unwrap();
    assert_eq!(fixture.service_ids(), ["w1", "w2"]);
    assert_eq!(fixture.checks(), ["added critical", "c critical"]);
    // Gone from the files, a service takes all its checks with it.
    fixture.load(&FileDefinitions::default()).unwrap();
    assert_eq!(fixture.service_ids(), ["w1"]);
    assert_eq!(fixture.checks(), ["c critical"]);
}

#[test]
fn what_was_deregistered_over_http_comes_back_with_the_next_load() {
    let mut fixture = Fixture::new();
    let definitions = services(&[("a", &[("c", 10)])]);
    fixture.load(&definitions).unwrap();
    fixture
        .core
        .deregister_service(&"a".parse().unwrap())
        .unwrap();
    fixture.load(&definitions).unwrap();
    assert_eq!(fixture.service_ids(), ["a"]);
    assert_eq!(fixture.checks(), ["c critical"]);
}

#[test]
fn tags_that_others_set_stay_while_the_files_say_the_same() {
    let mut fixture = Fixture::new();
    let mut definitions = services(&[("a", &[])]);
    definitions.services[0]
        .definition
        .service
        .enable_tag_override = true;
    fixture.load(&definitions).unwrap();
    let id = "a".parse().unwrap();
    fixture.core.adopt_tags(&id, &["blue".into()].into());
    fixture.told();
    fixture.load(&definitions).unwrap();
    assert!(fixture.core.state().service(&id).unwrap().has_tag("blue"));
    assert!(fixture.told().is_empty());
}

#[test]
fn a_refused_definition_names_its_place_and_nothing_changes() {
    let mut fixture = Fixture::new();
    fixture.load(&services(&[("a", &[("c", 10)])])).unwrap();
    fixture.told();
    let with = |check| FileDefinitions {
        checks: vec![check],
        ..services(&[("b", &[])])
    };
    let mut consul = services(&[("b", &[]), ("consul", &[])]);
    consul.services[0].definition.service.port = 1;
    let unknown = with(alone("x", Some("a")));
    let reserved = with(alone("serfHealth", None));
    let program = with(placed("p.json:7", script()));
    for (definitions, text) in [
        (&consul, "consul.json:1: service id \"consul\" is kept"),
        (&unknown, "x.json:1: ServiceID \"a\" does not exist"),
        (&reserved, "serfHealth.json:1: check id"),
        (
            &program,
            "p.json:7: check \"script\": Scripts are disabled on this agent; to enable",
        ),
    ] {
        let error = fixture.load(definitions).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
        assert_eq!(fixture.service_ids(), ["a"]);
        assert_eq!(fixture.checks(), ["c critical"]);
        assert!(fixture.told().is_empty());
    }
}

#[test]
fn a_check_of_a_file_may_belong_to_a_service_registered_over_http() {
    let mut fixture = Fixture::new();
    fixture.register("web", &[]);
    let definitions = FileDefinitions {
        checks: vec![alone("x", Some("w1"))],
        ..FileDefinitions::default()
    };
    fixture.load(&definitions).unwrap();
    assert_eq!(fixture.checks(), ["x critical"]);
}

#[test]
fn programs_run_from_files_where_they_are_enabled_for_all_or_for_files() {
    for (all, files) in [(true, false), (false, true)] {
        let limits = Limits {
            enable_script_checks: all,
            enable_local_script_checks: files,
            ..Limits::default()
        };
        let mut fixture = Fixture::with(limits);
        let definitions = FileDefinitions {
            checks: vec![placed("p.json:7", script())],
            ..FileDefinitions::default()
        };
        fixture.load(&definitions).unwrap();
        assert_eq!(fixture.checks(), ["script critical"]);
        let over_http = fixture.core.register_check(fixture.now, script());
        assert_eq!(over_http.is_ok(), all);
    }
}

#[test]
fn of_definitions_with_equal_ids_the_last_counts() {
    let mut fixture = Fixture::new();
    let mut definitions = services(&[("a", &[("one", 10)]), ("A", &[("two", 10)])]);
    definitions.checks = vec![alone("two", None), alone("two", Some("a"))];
    fixture.load(&definitions).unwrap();
    assert_eq!(fixture.service_ids(), ["A"]);
    assert_eq!(fixture.checks(), ["two critical"]);
    let two = fixture.core.state().check(&"two".parse().unwrap()).unwrap();
    assert_eq!(two.check.service_id.as_ref().unwrap().as_str(), "A");
}

#[test]
fn limits_count_what_there_would_be_in_the_end() {
    let limits = Limits {
        services_max: 2,
        checks_max: 2,
        ..Limits::default()
    };
    let mut fixture = Fixture::with(limits);
    fixture
        .load(&services(&[("a", &[("c", 10)]), ("b", &[("d", 10)])]))
        .unwrap();
    // All others: at no time are there more than two.
    fixture
        .load(&services(&[("e", &[("x", 10)]), ("f", &[("y", 10)])]))
        .unwrap();
    let error = fixture
        .load(&services(&[("e", &[]), ("f", &[]), ("g", &[])]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "with the configuration files this agent would have 3 services, 2 are allowed"
    );
    let many: &[(&str, u64)] = &[("x", 1), ("y", 1), ("z", 1)];
    let error = fixture.load(&services(&[("e", many)])).unwrap_err();
    assert!(
        error.to_string().contains("3 checks, 2 are allowed"),
        "{error}"
    );
    assert_eq!(fixture.checks(), ["x critical", "y critical"]);
}

#[test]
fn another_limit_of_outputs_holds_for_every_check() {
    let mut fixture = Fixture::new();
    let definitions = services(&[("a", &[("c", 10)])]);
    fixture.load(&definitions).unwrap();
    let limits = Limits {
        output_octets_max: 4,
        ..Limits::default()
    };
    fixture
        .core
        .load(fixture.now, &definitions, limits)
        .unwrap();
    fixture.report("c", Status::Passing, "0123456789").unwrap();
    assert_eq!(
        fixture.checks(),
        ["c passing 0123 ... (captured 4 of 10 bytes)"]
    );
}

mod arbitrary {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What happens at an agent, with the numbers of services.
    #[derive(Clone, Debug)]
    enum Event {
        Load(BTreeSet<u8>),
        LoadRefused(BTreeSet<u8>),
        Register(u8),
        Deregister(u8),
    }

    fn event() -> impl Strategy<Value = Event> {
        let set = || proptest::collection::btree_set(0..6_u8, 0..5);
        prop_oneof![
            3 => set().prop_map(Event::Load),
            1 => set().prop_map(Event::LoadRefused),
            2 => (0..6_u8).prop_map(Event::Register),
            1 => (0..6_u8).prop_map(Event::Deregister),
        ]
    }

    fn definitions(numbers: &BTreeSet<u8>) -> FileDefinitions {
        let names: Vec<String> = numbers.iter().map(|number| format!("s{number}")).collect();
        let checks: Vec<(String, u64)> = names.iter().map(|id| (format!("c-{id}"), 60)).collect();
        let checks: Vec<[(&str, u64); 1]> = checks.iter().map(|(id, at)| [(&**id, *at)]).collect();
        let list: Vec<(&str, &[(&str, u64)])> = names
            .iter()
            .zip(&checks)
            .map(|(id, checks)| (&**id, &checks[..]))
            .collect();
        services(&list)
    }

    proptest! {
        #[test]
        fn files_and_http_each_keep_what_is_theirs(
            events in proptest::collection::vec(event(), 0..20)
        ) {
            let mut fixture = Fixture::new();
            // What is there, and which of it belongs to the files.
            let (mut present, mut of_files) = (BTreeSet::new(), BTreeSet::new());
            for event in events {
                match event {
                    Event::Load(numbers) => {
                        fixture.load(&definitions(&numbers)).unwrap();
                        present.retain(|number| !of_files.contains(number));
                        present.extend(&numbers);
                        of_files = numbers;
                    }
                    Event::LoadRefused(numbers) => {
                        let mut definitions = definitions(&numbers);
                        definitions.checks.push(alone("serfHealth", None));
                        prop_assert!(fixture.load(&definitions).is_err());
                    }
                    Event::Register(number) => {
                        let (id, check) = (format!("s{number}"), format!("c-s{number}"));
                        fixture.try_register("web", &id, &[ttl(&check, 60)], false).unwrap();
                        present.insert(number);
                        of_files.remove(&number);
                    }
                    Event::Deregister(number) => {
                        let id = format!("s{number}").parse().unwrap();
                        let known = fixture.core.deregister_service(&id).is_ok();
                        prop_assert_eq!(known, present.remove(&number));
                    }
                }
                let ids: Vec<String> = present.iter().map(|number| format!("s{number}")).collect();
                prop_assert_eq!(fixture.service_ids(), ids);
                let checks: Vec<String> =
                    present.iter().map(|number| format!("c-s{number} critical")).collect();
                prop_assert_eq!(fixture.checks(), checks);
            }
        }
    }
}

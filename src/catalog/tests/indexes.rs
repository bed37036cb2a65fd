//! Which index each change moves, and so whom it wakes.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn keys() -> Vec<(&'static str, WatchKey)> {
    vec![
        ("nodes", WatchKey::Nodes),
        ("services", WatchKey::Services),
        ("checks", WatchKey::Checks),
        ("node n1", WatchKey::NodeServices(name("n1"))),
        ("node n2", WatchKey::NodeServices(name("n2"))),
        ("checks n1", WatchKey::NodeChecks(name("n1"))),
        ("checks n2", WatchKey::NodeChecks(name("n2"))),
        ("web", WatchKey::ServiceInstances(name("web"))),
        ("checks web", WatchKey::ServiceChecks(name("web"))),
        ("health web", WatchKey::ServiceHealth(name("web"))),
        ("db", WatchKey::ServiceInstances(name("db"))),
        ("checks db", WatchKey::ServiceChecks(name("db"))),
        ("health db", WatchKey::ServiceHealth(name("db"))),
        ("locations", WatchKey::Locations),
        ("location n1", WatchKey::NodeLocation(name("n1"))),
        ("location n2", WatchKey::NodeLocation(name("n2"))),
    ]
}

/// `web` runs on n1, `db` on n2; each has a check.
fn catalog() -> Catalog {
    let mut catalog = Catalog::new();
    for (number, service_name) in [("1", "web"), ("2", "db")] {
        let host = node(&format!("n{number}"), &format!("10.0.0.{number}"));
        let own = service(service_name, service_name, &["x"], "");
        let checks = vec![check(service_name, Some(service_name), Status::Passing)];
        catalog.change([registration(host, Some(own), checks)]);
    }
    catalog
}

/// The keys whose index `operation` moves, which must be those that it wakes.
fn moved(catalog: &mut Catalog, operation: Operation) -> Vec<&'static str> {
    let keys = keys();
    let before = catalog.reader.state();
    let mut watchers: Vec<_> = keys
        .iter()
        .map(|(_, key)| catalog.reader.watch(key))
        .collect();
    let index = catalog.change([operation]);
    let after = catalog.reader.state();
    let mut moved = Vec::new();
    for ((text, key), watcher) in keys.iter().zip(&mut watchers) {
        let (old, new) = (before.index_of(key), after.index_of(key));
        assert!(old <= new, "{text} goes backwards");
        assert_eq!(poll(watcher.changed()).is_ready(), old != new, "{text}");
        if old != new {
            assert_eq!(new, index, "{text}");
            moved.push(*text);
        }
    }
    moved
}

/// Polls once.
fn poll<F: Future>(future: F) -> Poll<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    pin!(future).poll(&mut context)
}

#[test]
fn an_instance_moves_its_service_and_node() {
    let new = on("n1", Some(service("web2", "web", &[], "")), vec![]);
    let expected = ["services", "node n1", "web", "health web"];
    let mut catalog = catalog();
    assert_eq!(moved(&mut catalog, new), expected);
    let mut changed = service("web2", "web", &[], "");
    changed.port = 81;
    let changed = on("n1", Some(changed), vec![]);
    assert_eq!(moved(&mut catalog, changed.clone()), expected);
    assert_eq!(moved(&mut catalog, changed), [""; 0]);
    let removed = deregister_service("n1", "web2");
    assert_eq!(moved(&mut catalog, removed), expected);
}

#[test]
fn a_check_moves_the_health_of_its_service_alone() {
    let mut catalog = catalog();
    let expected = ["checks", "checks n1", "checks web", "health web"];
    let change = on(
        "n1",
        None,
        vec![check("web", Some("web"), Status::Critical)],
    );
    assert_eq!(moved(&mut catalog, change.clone()), expected);
    assert_eq!(moved(&mut catalog, change), [""; 0]);
    assert_eq!(moved(&mut catalog, deregister_check("n1", "web")), expected);
}

#[test]
fn a_node_check_moves_the_health_of_all_that_runs_there() {
    let mut catalog = catalog();
    let change = on("n1", None, vec![check("node", None, Status::Passing)]);
    let expected = ["checks", "checks n1", "health web"];
    assert_eq!(moved(&mut catalog, change), expected);
    assert_eq!(
        moved(&mut catalog, deregister_check("n1", "node")),
        expected
    );
}

#[test]
fn a_node_moves_the_instances_of_all_that_runs_there() {
    let mut catalog = catalog();
    let change = registration(node("n1", "10.0.0.9"), None, vec![]);
    let expected = ["nodes", "node n1", "web", "health web"];
    assert_eq!(moved(&mut catalog, change), expected);
}

#[test]
fn an_instance_that_goes_takes_its_checks_out_of_every_view() {
    let mut catalog = catalog();
    let expected = [
        "services",
        "checks",
        "node n1",
        "checks n1",
        "web",
        "checks web",
        "health web",
    ];
    assert_eq!(
        moved(&mut catalog, deregister_service("n1", "web")),
        expected
    );
}

#[test]
fn tags_show_in_the_checks_of_their_service() {
    let mut catalog = catalog();
    let change = on("n1", Some(service("web", "web", &["y"], "")), vec![]);
    let expected = [
        "services",
        "checks",
        "node n1",
        "checks n1",
        "web",
        "checks web",
        "health web",
    ];
    assert_eq!(moved(&mut catalog, change), expected);
}

#[test]
fn a_node_that_goes_moves_everything_on_it() {
    let mut catalog = catalog();
    let expected = [
        "nodes",
        "services",
        "checks",
        "node n1",
        "checks n1",
        "web",
        "checks web",
        "health web",
    ];
    assert_eq!(moved(&mut catalog, deregister_node("n1")), expected);
}

#[test]
fn a_coordinate_moves_only_what_shows_coordinates() {
    let mut catalog = catalog();
    let expected = ["locations", "location n1"];
    assert_eq!(moved(&mut catalog, locate("n1", 1)), expected);
    assert_eq!(moved(&mut catalog, locate("N1", 1)), [""; 0]);
    assert_eq!(moved(&mut catalog, locate("n1", 2)), expected);
    assert_eq!(moved(&mut catalog, locate("n9", 2)), [""; 0]);
    let entry = catalog.reader.state();
    let entry = entry.node(&name("n1")).unwrap();
    assert_eq!(entry.modify_index, Index(1));
    let location = entry.location.as_ref().unwrap();
    assert_eq!(location.coordinate, located(name("n1"), 2).coordinate);
}

#[test]
fn a_coordinate_goes_and_is_renamed_with_its_node() {
    let mut catalog = Catalog::new();
    let location = |catalog: &Catalog, node: &str| {
        let state = catalog.reader.state();
        let entry = state.node(&name(node))?;
        Some(entry.location.as_ref()?.coordinate.vector[0])
    };
    catalog.change([registration(
        node_with_id("n1", "10.0.0.1", 1),
        None,
        vec![],
    )]);
    catalog.change([locate("n1", 3)]);
    let renamed = catalog.change([registration(
        node_with_id("n2", "10.0.0.1", 1),
        None,
        vec![],
    )]);
    assert_eq!(location(&catalog, "n2"), Some(3.0));
    for key in [
        WatchKey::Locations,
        WatchKey::NodeLocation(name("n1")),
        WatchKey::NodeLocation(name("n2")),
    ] {
        assert_eq!(catalog.index(&key), renamed);
    }
    let gone = catalog.change([deregister_node("n2")]);
    assert_eq!(catalog.index(&WatchKey::NodeLocation(name("n2"))), gone);
    catalog.change([registration(node("n2", "10.0.0.1"), None, vec![])]);
    assert_eq!(location(&catalog, "n2"), None);
}

#[test]
fn a_missing_service_has_the_extinction_index_or_that_of_the_table() {
    let mut catalog = Catalog::new();
    let missing = WatchKey::ServiceHealth(name("missing"));
    assert_eq!(catalog.index(&missing), Index(1));
    catalog.change([registration(node("n1", "10.0.0.1"), None, vec![])]);
    catalog.change([on("n1", Some(service("a", "web", &[], "")), vec![])]);
    assert_eq!(catalog.index(&missing), Index(2));
    let gone = catalog.change([deregister_service("n1", "a")]);
    catalog.change([on("n1", Some(service("b", "db", &[], "")), vec![])]);
    assert_eq!(catalog.index(&missing), gone);
    assert_eq!(catalog.index(&WatchKey::ServiceHealth(name("web"))), gone);
}

#[test]
fn a_service_in_another_case_is_the_same_key() {
    let catalog = catalog();
    let (lower, upper) = (name("web"), name("WEB"));
    assert_eq!(
        catalog.index(&WatchKey::ServiceHealth(lower)),
        catalog.index(&WatchKey::ServiceHealth(upper))
    );
}

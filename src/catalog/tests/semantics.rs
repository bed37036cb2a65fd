//! What registrations and deregistrations mean.

use super::*;
use crate::catalog::Refusal;
use crate::catalog::state::AddressOwner;
use crate::types::NodeName;

fn ids(catalog: &Catalog, service: &str) -> Vec<String> {
    let state = catalog.reader.state();
    let Some(entry) = state.service(&name(service)) else {
        return Vec::new();
    };
    let instances = entry.instances();
    instances
        .map(|instance| format!("{}/{}", instance.node, instance.service.id))
        .collect()
}

#[test]
fn lists_are_in_order_of_node_and_id() {
    let mut catalog = Catalog::new();
    for (node_name, id) in [("n2", "a"), ("N1", "b"), ("n1", "A"), ("n10", "c")] {
        let service = service(id, "web", &[], "");
        catalog.change([registration(
            node(node_name, "10.0.0.1"),
            Some(service),
            vec![],
        )]);
    }
    assert_eq!(ids(&catalog, "WEB"), ["n1/A", "n1/b", "n10/c", "n2/a"]);
}

#[test]
fn the_node_is_replaced_whole_unless_it_is_skipped() {
    let mut catalog = Catalog::new();
    let mut full = node("n1", "10.0.0.1");
    full.meta = Meta::from_pairs([("k".to_owned(), "v".to_owned())]);
    catalog.change([registration(full, None, vec![])]);
    catalog.change([on("n1", Some(service("a", "web", &[], "")), vec![])]);
    let state = catalog.reader.state();
    assert_eq!(
        state.node(&name("n1")).unwrap().node.meta.get("k"),
        Some("v")
    );
    catalog.change([registration(node("n1", "10.0.0.2"), None, vec![])]);
    let state = catalog.reader.state();
    let entry = state.node(&name("n1")).unwrap();
    assert!(entry.node.meta.is_empty());
    assert_eq!(
        (entry.create_index, entry.modify_index),
        (Index(1), Index(3))
    );
    assert_eq!(entry.instances().count(), 1);
}

#[test]
fn a_skipped_node_that_is_missing_is_created() {
    let mut catalog = Catalog::new();
    catalog.change([on("n1", None, vec![])]);
    assert!(catalog.reader.state().node(&name("N1")).is_some());
}

#[test]
fn a_known_id_under_another_name_renames_the_node() {
    let mut catalog = Catalog::new();
    let checks = vec![check("c", Some("a"), Status::Passing)];
    catalog.change([registration(
        node_with_id("old", "10.0.0.1", 1),
        Some(service("a", "web", &[], "")),
        checks,
    )]);
    catalog.change([registration(
        node_with_id("new", "10.0.0.1", 1),
        None,
        vec![],
    )]);
    let state = catalog.reader.state();
    assert!(state.node(&name("old")).is_none());
    let entry = state.node(&name("new")).unwrap();
    assert_eq!(
        (entry.create_index, entry.modify_index),
        (Index(1), Index(2))
    );
    assert_eq!(entry.checks().count(), 1);
    assert_eq!(ids(&catalog, "web"), ["new/a"]);
    let renamed = state.node_by_id(entry.node.id.unwrap()).unwrap();
    assert_eq!(renamed.node.name.as_str(), "new");
    let owner = state.owner_of([10, 0, 0, 1].into());
    assert_eq!(owner, Some(AddressOwner::Node(name("new"))));
}

#[test]
fn the_name_of_a_node_that_is_alive_cannot_be_taken() {
    let mut catalog = Catalog::new();
    let alive = vec![check("serfHealth", None, Status::Passing)];
    catalog.change([registration(node_with_id("n1", "10.0.0.1", 1), None, alive)]);
    let thief = registration(node_with_id("N1", "10.0.0.2", 2), None, vec![]);
    let outcome = catalog.apply(vec![thief.clone()]);
    assert!(matches!(
        outcome,
        Outcome::Refused(Refusal::NodeNameTaken { .. })
    ));
    let dead = vec![check("serfHealth", None, Status::Critical)];
    catalog.change([on("n1", None, dead)]);
    catalog.change([thief]);
    let state = catalog.reader.state();
    assert_eq!(state.node(&name("n1")).unwrap().node.name.as_str(), "N1");
    assert_eq!(state.nodes().count(), 1);
}

#[test]
fn a_new_spelling_of_a_name_is_kept() {
    let mut catalog = Catalog::new();
    catalog.change([registration(
        node("n1", "10.0.0.1"),
        Some(service("a", "web", &["Blue"], "")),
        vec![],
    )]);
    let other = Some(service("A", "WEB", &["BLUE"], ""));
    catalog.change([registration(node("N1", "10.0.0.1"), other, vec![])]);
    let state = catalog.reader.state();
    assert_eq!(ids(&catalog, "web"), ["N1/A"]);
    let entry = state.service(&name("web")).unwrap();
    assert_eq!(entry.tags(), ["BLUE".into()]);
    let instance = state.node(&name("n1")).unwrap();
    let instance = instance.instance(&name("a")).unwrap();
    assert_eq!(instance.service.name.as_str(), "WEB");
    assert_eq!(
        (instance.create_index, instance.modify_index),
        (Index(1), Index(2))
    );
}

#[test]
fn an_equal_registration_changes_nothing() {
    let mut catalog = Catalog::new();
    let same = || {
        registration(
            node("n1", "10.0.0.1"),
            Some(service("a", "web", &["x"], "10.0.0.9")),
            vec![
                check("c1", Some("a"), Status::Passing),
                check("c2", None, Status::Passing),
            ],
        )
    };
    catalog.change([same()]);
    assert_eq!(catalog.change([same()]), Index(2));
    let state = catalog.reader.state();
    let instance = state
        .node(&name("n1"))
        .unwrap()
        .instance(&name("a"))
        .unwrap();
    assert_eq!(instance.modify_index, Index(1));
    for key in [WatchKey::Nodes, WatchKey::Services, WatchKey::Checks] {
        assert_eq!(catalog.index(&key), Index(1), "{key:?}");
    }
}

#[test]
fn a_check_without_its_service_refuses_the_whole_command() {
    let mut catalog = Catalog::new();
    let bad = vec![check("c", Some("missing"), Status::Passing)];
    let outcome = catalog.apply(vec![
        registration(node("n1", "10.0.0.1"), None, vec![]),
        registration(node("n2", "10.0.0.2"), None, bad),
    ]);
    let node = "n2".to_owned();
    let refusal = Refusal::MissingService { node };
    let text = "failed inserting check: Missing service registration on node \"n2\"";
    assert_eq!(refusal.to_string(), text);
    assert_eq!(outcome, Outcome::Refused(refusal));
    let state = catalog.reader.state();
    assert_eq!(state.nodes().count(), 0);
    assert_eq!(state.applied(), Index(1));
    assert!(catalog.reader.dns().node(b"n1").is_none());
}

#[test]
fn what_goes_takes_its_checks_along() {
    let mut catalog = Catalog::new();
    let checks = vec![
        check("c1", Some("a"), Status::Passing),
        check("c2", None, Status::Passing),
    ];
    let service = Some(service("a", "web", &[], "10.0.0.9"));
    catalog.change([registration(node("n1", "10.0.0.1"), service, checks)]);
    catalog.change([deregister_service("N1", "A")]);
    let state = catalog.reader.state();
    let checks: Vec<_> = state.checks_in(None).collect();
    assert_eq!(checks.len(), 1);
    assert_eq!(checks[0].1.check.id.as_str(), "c2");
    assert_eq!(state.services().count(), 0);
    assert_eq!(state.owner_of([10, 0, 0, 9].into()), None);
    catalog.change([deregister_check("n1", "C2")]);
    assert_eq!(catalog.reader.state().checks_in(None).count(), 0);
    catalog.change([deregister_node("n1")]);
    assert_eq!(catalog.reader.state().nodes().count(), 0);
    assert_eq!(catalog.reader.state().owner_of([10, 0, 0, 1].into()), None);
}

#[test]
fn removing_what_is_not_there_changes_nothing() {
    let mut catalog = Catalog::new();
    catalog.change([registration(node("n1", "10.0.0.1"), None, vec![])]);
    catalog.change([
        deregister_node("other"),
        deregister_service("n1", "a"),
        deregister_check("n1", "c"),
    ]);
    assert_eq!(catalog.index(&WatchKey::Nodes), Index(1));
}

#[test]
fn a_service_id_under_another_name_moves_with_its_checks() {
    let mut catalog = Catalog::new();
    let checks = vec![check("c", Some("a"), Status::Passing)];
    let web = Some(service("a", "web", &[], ""));
    catalog.change([registration(node("n1", "10.0.0.1"), web, checks)]);
    catalog.change([on("n1", Some(service("a", "api", &[], "")), vec![])]);
    assert!(ids(&catalog, "web").is_empty());
    assert_eq!(ids(&catalog, "api"), ["n1/a"]);
    let state = catalog.reader.state();
    let instance = state.service(&name("api")).unwrap().instances().next();
    assert_eq!(instance.unwrap().checks.len(), 1);
}

#[test]
fn a_check_can_move_to_another_service() {
    let mut catalog = Catalog::new();
    let web = Some(service("a", "web", &[], ""));
    let checks = vec![check("c", None, Status::Critical)];
    catalog.change([registration(node("n1", "10.0.0.1"), web, checks)]);
    let api = Some(service("b", "api", &[], ""));
    let moved = vec![check("c", Some("b"), Status::Critical)];
    catalog.change([on("n1", api, moved)]);
    let state = catalog.reader.state();
    let critical: Vec<_> = state.checks_in(Some(Status::Critical)).collect();
    assert_eq!(critical[0].2.unwrap().service.name.as_str(), "api");
    assert_eq!(state.node(&name("n1")).unwrap().node_checks().count(), 0);
    assert_eq!(
        catalog
            .reader
            .state()
            .checks_in(Some(Status::Passing))
            .count(),
        0
    );
}

#[test]
fn reverse_lookups_find_the_first_node_then_a_service() {
    let mut catalog = Catalog::new();
    let shared = [10, 0, 0, 1].into();
    for node_name in ["n2", "n1"] {
        let own = Some(service("a", "web", &[], "::ffff:10.0.0.7"));
        catalog.change([registration(node(node_name, "10.0.0.1"), own, vec![])]);
    }
    let owner = |catalog: &Catalog, ip| catalog.reader.state().owner_of(ip);
    assert_eq!(
        owner(&catalog, shared),
        Some(AddressOwner::Node(name("n1")))
    );
    let web = Some(AddressOwner::Service(name("web")));
    assert_eq!(owner(&catalog, [10, 0, 0, 7].into()), web);
    catalog.change([deregister_node("n1")]);
    assert_eq!(
        owner(&catalog, shared),
        Some(AddressOwner::Node(name("n2")))
    );
    assert_eq!(owner(&catalog, [10, 0, 0, 7].into()), web);
    catalog.change([deregister_service("n2", "a")]);
    assert_eq!(owner(&catalog, [10, 0, 0, 7].into()), None);
}

#[test]
fn an_entry_out_of_order_is_corrupt_and_publishes_nothing() {
    let mut catalog = Catalog::new();
    let register = |node_name| Command {
        request: 0,
        operations: vec![registration(node(node_name, "10.0.0.1"), None, vec![])],
    };
    let batch = vec![(Index(5), register("n1")), (Index(5), register("n2"))];
    let corrupt = catalog.writer.apply(batch).unwrap_err();
    assert_eq!(corrupt.index, Index(5));
    assert_eq!(catalog.reader.applied(), Index::ZERO);
    assert_eq!(catalog.reader.state().nodes().count(), 0);
    catalog
        .writer
        .apply(vec![(Index(5), register("n1"))])
        .unwrap();
    let names: Vec<NodeName> = catalog
        .reader
        .state()
        .nodes()
        .map(|n| n.node.name.clone())
        .collect();
    assert_eq!(names, [name("n1")]);
}

#[test]
fn equal_parts_are_in_memory_once() {
    let mut catalog = Catalog::new();
    for id in ["a", "b"] {
        let web = Some(service(id, "web", &["x", "y"], ""));
        let checks = vec![check(id, Some(id), Status::Passing)];
        catalog.change([registration(node("n1", "10.0.0.1"), web, checks)]);
    }
    catalog.change([on("n1", Some(service("c", "web", &["y"], "")), vec![])]);
    let state = catalog.reader.state();
    let entry = state.service(&name("web")).unwrap();
    let tags: Vec<_> = entry.instances().map(|i| &i.service.tags).collect();
    assert!(std::sync::Arc::ptr_eq(tags[0], tags[1]));
    assert!(std::sync::Arc::ptr_eq(&tags[0][1], &tags[2][0]));
}

//! Rows of a small catalog: two nodes, each with an instance of `web`.

use super::*;
use crate::catalog::{Command, Location, Operation, Registration, open_server};
use crate::filter::{RowKind, ServiceRow};
use crate::types::{Address, Check, CheckType, Meta, Service, Weights};

/// A node with an instance of `web` with this tag, and a check on each with these states.
fn registration(node: &str, tag: &str, states: [Status; 2]) -> Operation {
    let check = |id: &str, status, service_id| Check {
        id: id.parse().unwrap(),
        name: id.into(),
        status,
        notes: "".into(),
        output: "".into(),
        service_id,
        check_type: CheckType::Unknown,
        definition: None,
    };
    let service = Service {
        id: "web".parse().unwrap(),
        name: "web".parse().unwrap(),
        tags: [tag.into(), "All".into()].into(),
        address: Address::None,
        port: 80,
        meta: Meta::default(),
        weights: Weights::default(),
        enable_tag_override: false,
        tagged_addresses: None,
    };
    let of_service = check("own", states[1], Some(service.id.clone()));
    Operation::Register(Box::new(Registration {
        node: Node {
            id: None,
            name: node.parse().unwrap(),
            address: Address::from_text("10.0.0.1"),
            tagged_addresses: std::collections::BTreeMap::new(),
            meta: Meta::from_pairs([("on".to_owned(), node.to_owned())]),
        },
        skip_node_update: false,
        service: Some(service),
        checks: vec![check("node", states[0], None), of_service],
    }))
}

/// A place so many seconds away from the start.
fn place(node: &str, seconds: f64) -> Location {
    let coordinate = Coordinate::new(&[seconds, 0., 0., 0., 0., 0., 0., 0.], 0.1, 0.0, 0.0);
    Location {
        node: node.parse().unwrap(),
        coordinate: coordinate.unwrap(),
    }
}

/// Three nodes, of which `a` and `b` have told where they are: `b` at the start, `a` a second away.
fn state() -> Arc<State> {
    let (mut writer, reader) = open_server();
    let operations = vec![
        registration("a", "V1", [Status::Passing, Status::Warning]),
        registration("b", "v2", [Status::Passing; 2]),
        registration("c", "v1", [Status::Critical, Status::Passing]),
        Operation::Locate(vec![place("a", 1.0), place("b", 0.0)]),
    ];
    let command = Command {
        request: 1,
        operations,
    };
    writer
        .apply(vec![(crate::types::Index(1), command)])
        .unwrap();
    reader.state()
}

/// Nodes of the instances of `web` that a selection shows, in its order.
fn shown(selection: &Selection, own: Option<&str>) -> String {
    let (state, web) = (state(), "web".parse().unwrap());
    let own: Option<NodeName> = own.map(|name| name.parse().unwrap());
    let rows = instances_of(&state, &web)
        .filter(|(node, instance)| selection.takes_healthy(node, instance))
        .filter(|(_, instance)| selection.takes_row(&ServiceRow(&instance.service)));
    let rows = selection.in_order(&state, own.as_ref(), rows, |(node, _)| node);
    rows.map(|(node, _)| node.node.name.as_str()).collect()
}

fn near(node: &str) -> Selection {
    Selection {
        near: Some(node.into()),
        ..Selection::default()
    }
}

#[test]
fn nothing_that_is_asked_for_shows_all_by_name() {
    assert_eq!(shown(&Selection::default(), Some("b")), "abc");
}

#[test]
fn an_instance_has_all_tags_in_any_case() {
    for (tags, expected) in [
        (&["v1"][..], "ac"),
        (&["V2"], "b"),
        (&["v1", "ALL"], "ac"),
        (&["v1", "v2"], ""),
    ] {
        let selection = Selection {
            tags: tags.iter().map(ToString::to_string).collect(),
            ..Selection::default()
        };
        assert_eq!(shown(&selection, None), expected, "{tags:?}");
    }
}

#[test]
fn a_node_has_all_of_the_metadata() {
    let on = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|&(key, value)| (key.into(), value.into()));
        Selection {
            node_meta: pairs.collect(),
            ..Selection::default()
        }
    };
    assert_eq!(shown(&on(&[("on", "b")]), None), "b");
    assert_eq!(shown(&on(&[("on", "b"), ("off", "")]), None), "");
    assert!(on(&[("on", "b")]).looks_at_nodes());
    assert!(!Selection::default().looks_at_nodes());
}

#[test]
fn neither_a_warning_nor_a_check_of_the_node_may_be_in_the_way_of_passing() {
    let selection = Selection {
        passing: true,
        ..Selection::default()
    };
    assert_eq!(shown(&selection, None), "b");
}

#[test]
fn a_filter_leaves_what_it_matches() {
    let filter = Filter::parse("\"v2\" in Tags", RowKind::Service).unwrap();
    let selection = Selection {
        filter: Some(filter),
        ..Selection::default()
    };
    assert_eq!(shown(&selection, None), "b");
}

#[test]
fn the_nearest_come_first_and_those_that_are_nowhere_last() {
    assert_eq!(shown(&near("a"), None), "abc");
    assert_eq!(shown(&near("b"), None), "bac");
    assert_eq!(shown(&near("_agent"), Some("b")), "bac");
}

#[test]
fn rows_keep_their_order_where_nobody_knows_from_where_to_measure() {
    for (asked, own) in [
        ("c", None),
        ("nobody", None),
        ("no such name", None),
        ("_agent", None),
        ("_agent", Some("c")),
    ] {
        assert_eq!(shown(&near(asked), own), "abc", "{asked}");
    }
}

#[test]
fn a_node_is_found_by_its_name_and_not_by_what_is_none() {
    let state = state();
    let found = find_node(&state, "B").map(|entry| entry.node.name.as_str());
    assert_eq!(found, Some("b"));
    for nobody in [
        "",
        "d",
        "no such name",
        "066b383c-0000-4000-8000-ccfaaa2eaa71",
    ] {
        assert!(find_node(&state, nobody).is_none());
    }
}

#[test]
fn a_service_is_told_with_its_tags_on_the_selected_nodes_alone() {
    let selection = Selection {
        node_meta: vec![("on".into(), "b".into())],
        ..Selection::default()
    };
    let state = state();
    let services: Vec<_> = selection.tags_on_nodes(&state).into_iter().collect();
    let (name, tags) = &services[0];
    assert_eq!((services.len(), *name), (1, "web"));
    assert_eq!(tags.iter().copied().collect::<Vec<_>>(), ["All", "v2"]);
}

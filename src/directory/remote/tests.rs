//! Recorded answers as states, hostile ones, and what the texts of servers mean.

use std::path::Path;
use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::plan::steps;
use super::*;
use crate::catalog::fragment::Fragment;
use crate::catalog::{State, WatchKey};
use crate::directory::WriteError;
use crate::directory::wire::{Rows, read_answer};
use crate::msgpack::Reader;

/// The method whose answers have rows of a kind, and the field that they stand in.
const KINDS: [(&str, Rows, &str); 10] = [
    ("Catalog.ListNodes", Rows::Nodes, "Nodes"),
    ("Catalog.ListServices", Rows::Names, "Services"),
    ("Catalog.ServiceNodes", Rows::Instances, "ServiceNodes"),
    ("Catalog.NodeServices", Rows::NodeServices, "NodeServices"),
    ("Health.NodeChecks", Rows::Checks, "HealthChecks"),
    ("Health.ServiceChecks", Rows::Checks, "HealthChecks"),
    ("Health.ChecksInState", Rows::Checks, "HealthChecks"),
    ("Health.ServiceNodes", Rows::Health, "Nodes"),
    ("Internal.ServiceDump", Rows::Health, "Nodes"),
    ("Coordinate.ListNodes", Rows::Locations, "Coordinates"),
];

/// Recorded calls that have a result: method, answer, and what is in it. Read once.
fn recordings() -> &'static [(String, Vec<u8>, Value)] {
    static RECORDINGS: OnceLock<Vec<(String, Vec<u8>, Value)>> = OnceLock::new();
    RECORDINGS.get_or_init(read_recordings)
}

fn read_recordings() -> Vec<(String, Vec<u8>, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rpc");
    let mut found = Vec::new();
    for group in ["catalog", "health", "internal", "coordinate"] {
        for by in ["agent", "check"] {
            let text = std::fs::read(directory.join(format!("{by}_{group}.json"))).unwrap();
            let entries: Vec<Value> = serde_json::from_slice(&text).unwrap();
            for entry in entries {
                let decoded = &entry["decoded"];
                if decoded["response_header"]["Error"] != "" {
                    continue;
                }
                let octets = entry["response_hex"].as_str().unwrap().as_bytes();
                let octets = data_encoding::HEXLOWER.decode(octets).unwrap();
                let mut reader = Reader::new(&octets);
                reader.skip().unwrap();
                let method = entry["method"].as_str().unwrap().to_owned();
                found.push((
                    method,
                    reader.rest().to_owned(),
                    decoded["response"].clone(),
                ));
            }
        }
    }
    found
}

fn state_of(octets: &[u8], rows: Rows) -> (State, u64) {
    let mut fragment = Fragment::default();
    let meta = read_answer(octets, Some(rows), &mut fragment).unwrap();
    (fragment.finish(Index(meta.index)), meta.index)
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// Octets that are no text stand as such in recordings.
fn is_text(row: &Value) -> bool {
    !row.to_string().contains("$raw")
}

#[test]
fn every_recorded_answer_becomes_a_state_with_all_of_its_rows() {
    let mut seen = std::collections::BTreeSet::new();
    for (method, octets, decoded) in recordings() {
        let Some((_, rows, field)) = KINDS.iter().find(|(name, ..)| name == method) else {
            continue;
        };
        let (state, index) = state_of(octets, *rows);
        assert_eq!(Some(index), decoded["Index"].as_u64(), "{method}");
        let list = decoded[field].as_array().cloned().unwrap_or_default();
        for row in list.iter().filter(|row| is_text(row)) {
            assert_row(&state, *rows, row);
            seen.insert(method.clone());
        }
        for (name, tags) in decoded[field].as_object().into_iter().flatten() {
            if *rows == Rows::Names {
                let entry = state.service(&name.parse().unwrap()).unwrap();
                let mut expected: Vec<_> = tags.as_array().cloned().unwrap_or_default();
                expected.sort_by_key(ToString::to_string);
                let found: Vec<_> = entry.tags().iter().map(|tag| Value::from(&**tag)).collect();
                assert_eq!(found, expected, "{name}");
                seen.insert(method.clone());
            }
        }
        if *rows == Rows::NodeServices && decoded[field].is_object() {
            let node = text(&decoded[field]["Node"], "Node");
            let entry = state.node(&node.parse().unwrap()).unwrap();
            let services = decoded[field]["Services"].as_object().unwrap();
            assert_eq!(entry.instances().count(), services.len());
            for row in services.values() {
                assert_service(&state, node, row);
            }
            seen.insert(method.clone());
        }
    }
    // A kind that was never recorded with rows would make all of this say nothing.
    let missing: Vec<_> = KINDS
        .iter()
        .filter(|(name, ..)| !seen.contains(*name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn assert_row(state: &State, rows: Rows, row: &Value) {
    match rows {
        Rows::Nodes => assert_node(state, row),
        Rows::Instances => {
            let entry = state.node(&text(row, "Node").parse().unwrap()).unwrap();
            let id = text(row, "ServiceID").parse().unwrap();
            let instance = entry.instance(&id).unwrap();
            assert_eq!(instance.service.name.as_str(), text(row, "ServiceName"));
            assert_eq!(u64::from(instance.service.port), row["ServicePort"]);
            assert_eq!(instance.modify_index.0, row["ModifyIndex"]);
            assert_eq!(entry.node.address.to_string(), text(row, "Address"));
        }
        Rows::Checks => assert_check(state, row),
        Rows::Health => {
            assert_node(state, &row["Node"]);
            assert_service(state, text(&row["Node"], "Node"), &row["Service"]);
            for check in row["Checks"].as_array().into_iter().flatten() {
                assert_check(state, check);
            }
        }
        Rows::Locations => {
            let entry = state.node(&text(row, "Node").parse().unwrap()).unwrap();
            let found = entry.location.as_ref().unwrap().coordinate;
            let told = numbers(&row["Coord"]["Vec"]);
            assert_eq!(told.len(), found.vector.len());
            // JSON may lose the last digit of a number.
            let mut pairs = told.iter().zip(&found.vector);
            assert!(
                pairs.all(|(told, found)| (told - found).abs() < 1e-12),
                "{row}"
            );
        }
        Rows::Names | Rows::NodeServices => unreachable!("these are no lists"),
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().unwrap().iter();
    list.map(|number| number.as_f64().unwrap()).collect()
}

fn assert_node(state: &State, row: &Value) {
    let entry = state.node(&text(row, "Node").parse().unwrap()).unwrap();
    assert_eq!(entry.node.address.to_string(), text(row, "Address"));
    assert_eq!(entry.create_index.0, row["CreateIndex"]);
    assert_eq!(entry.modify_index.0, row["ModifyIndex"]);
    let id = entry.node.id.map(|id| id.to_string());
    assert_eq!(id.unwrap_or_default(), text(row, "ID"));
    let meta = row["Meta"].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(entry.node.meta.iter().count(), meta);
}

fn assert_service(state: &State, node: &str, row: &Value) {
    let entry = state.node(&node.parse().unwrap()).unwrap();
    let instance = entry.instance(&text(row, "ID").parse().unwrap()).unwrap();
    assert_eq!(instance.service.name.as_str(), text(row, "Service"));
    assert_eq!(u64::from(instance.service.port), row["Port"]);
    assert_eq!(instance.create_index.0, row["CreateIndex"]);
    assert_eq!(instance.modify_index.0, row["ModifyIndex"]);
    let tags = row["Tags"].as_array().map_or(0, Vec::len);
    assert_eq!(instance.service.tags.len(), tags);
}

fn assert_check(state: &State, row: &Value) {
    let entry = state.node(&text(row, "Node").parse().unwrap()).unwrap();
    let check = entry.check(&text(row, "CheckID").parse().unwrap()).unwrap();
    assert_eq!(check.check.status.as_str(), text(row, "Status"));
    assert_eq!(&*check.check.output, text(row, "Output"));
    assert_eq!(check.modify_index.0, row["ModifyIndex"]);
    let owner = entry
        .owner_of(check)
        .map(|owner| owner.service.name.as_str());
    assert_eq!(owner.unwrap_or_default(), text(row, "ServiceName"));
}

/// An answer of `count` nodes with names of their own.
fn nodes(count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::old(&mut out);
    writer.map(1);
    writer.text("Nodes");
    writer.array(count);
    for number in 0..count {
        writer.map(1);
        writer.text("Node");
        writer.text(&format!("n{number}"));
    }
    out
}

#[test]
fn an_answer_of_more_rows_than_are_kept_is_an_error() {
    let mut fragment = Fragment::default();
    let error = read_answer(&nodes(400_001), Some(Rows::Nodes), &mut fragment).unwrap_err();
    let error = ReadError::from(error).to_string();
    assert!(
        error.ends_with("answer has more than 400000 entries"),
        "{error}"
    );
    let (state, _) = state_of(&nodes(10_000), Rows::Nodes);
    assert_eq!(state.nodes().count(), 10_000);
}

#[test]
fn an_answer_that_announces_more_than_it_has_is_an_error() {
    for (_, rows, field) in KINDS {
        for count in [
            [0xdd, 0xff, 0xff, 0xff, 0xff],
            [0xdf, 0xff, 0xff, 0xff, 0xff],
        ] {
            let mut octets = Vec::new();
            let mut writer = Writer::old(&mut octets);
            writer.map(1);
            writer.text(field);
            writer.raw(&count);
            let read = read_answer(&octets, Some(rows), &mut Fragment::default());
            assert!(read.is_err(), "{rows:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(octets in vec(any::<u8>(), 0..200)) {
        for (_, rows, field) in KINDS {
            let mut answer = vec![0x81];
            Writer::old(&mut answer).text(field);
            answer.extend_from_slice(&octets);
            let mut fragment = Fragment::default();
            drop(read_answer(&answer, Some(rows), &mut fragment));
            drop(fragment.finish(Index(1)));
        }
    }

    #[test]
    fn no_damaged_recording_makes_the_reader_panic(
        place in any::<prop::sample::Index>(),
        octet in any::<u8>(),
        which in any::<prop::sample::Index>(),
    ) {
        let (method, octets, _) = which.get(recordings());
        let mut octets = octets.clone();
        let place = place.index(octets.len().max(1));
        if let Some(damaged) = octets.get_mut(place) {
            *damaged = octet;
        }
        for (_, rows, _) in KINDS.iter().filter(|(name, ..)| name == method) {
            let mut fragment = Fragment::default();
            drop(read_answer(&octets, Some(*rows), &mut fragment));
            drop(fragment.finish(Index(1)));
        }
    }
}

#[test]
fn names_alone_are_asked_for_alone() {
    let methods = |keys: &[WatchKey]| -> Vec<_> {
        let steps = steps(keys).into_iter();
        steps
            .map(|step| (step.method, step.rows, step.counts))
            .collect()
    };
    let names = ("Catalog.ListServices", Some(Rows::Names), true);
    assert_eq!(methods(&[WatchKey::Services]), [names]);
    let both = [
        ("Catalog.ListServices", None, true),
        ("Catalog.ListNodes", Some(Rows::Nodes), true),
        ("Internal.ServiceDump", Some(Rows::Health), false),
    ];
    assert_eq!(methods(&[WatchKey::Services, WatchKey::Nodes]), both);
}

#[test]
fn what_servers_say_keeps_its_meaning() {
    let remote = |error| ReadError::Remote(error);
    let hop = |text: &str| format!("{HOP}{text}");
    for text in [
        "No path to datacenter",
        "rpc error making call: No path to datacenter",
    ] {
        assert_eq!(told(text), ReadError::NoPathToDatacenter);
    }
    for text in ["Permission denied", "rpc error making call: ACL not found"] {
        assert_eq!(told(text), remote(RemoteError::Denied(hop(text))));
    }
    for text in [
        "Must provide node",
        "rpc error making call: failed inserting check: x",
    ] {
        assert_eq!(told(text), remote(RemoteError::Refused(hop(text))));
        assert!(WriteError::from(told(text)).is_refusal());
    }
    let text = "No cluster leader";
    assert_eq!(told(text), remote(RemoteError::Unavailable(hop(text))));
    let text = "EOF";
    assert_eq!(told(text), remote(RemoteError::Failed(hop(text))));
}

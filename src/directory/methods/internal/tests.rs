//! Recorded calls, dumps and what wakes them, and events.

mod keys;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use proptest::prelude::*;

use super::*;
use crate::catalog::{Operation, Registration};
use crate::directory::methods::fixture::{Fixture, Recorded, read, recorded, written};
use crate::directory::wire::{CheckServiceNodesReply, NodeDumpReply, QueryOptions};
use crate::msgpack::Reader;
use crate::types::{Address, Check, CheckType, Meta, Node, Service, Status, Weights};

const FILES: [&str; 2] = ["agent_internal.json", "check_internal.json"];

/// The recorded calls of one method, without those that access control refuses.
fn calls(method: &str) -> Vec<Recorded> {
    let calls = FILES.into_iter().flat_map(recorded);
    calls
        .filter(|call| call.method == method && !call.guarded)
        .collect()
}

/// A node with an instance and its check, as the test client of the recordings registers it; its
/// names end in `suffix`.
fn registration(suffix: &str, id: &str) -> Registration {
    let service = Service {
        id: format!("rcsvc-{suffix}1").parse().unwrap(),
        name: format!("rcsvc-{suffix}").parse().unwrap(),
        tags: ["v1", "Prim"].map(Into::into).into(),
        address: Address::None,
        port: 8080,
        meta: meta("a", "b"),
        weights: Weights::default(),
        enable_tag_override: false,
        tagged_addresses: None,
    };
    let check = Check {
        id: format!("rcsvc-{suffix}c").parse().unwrap(),
        name: "ck".into(),
        status: Status::Passing,
        notes: "".into(),
        output: "o1".into(),
        service_id: Some(service.id.clone()),
        check_type: CheckType::Unknown,
        definition: None,
    };
    let tagged = [("lan", "10.9.8.7"), ("wan", "1.2.3.4")].into_iter();
    Registration {
        node: Node {
            id: Some(id.parse().unwrap()),
            name: format!("rc-a-{suffix}").parse().unwrap(),
            address: Address::from_text("10.9.8.7"),
            tagged_addresses: tagged
                .map(|(label, address)| (label.into(), Address::from_text(address)))
                .collect(),
            meta: meta("rk", "rv"),
        },
        skip_node_update: false,
        service: Some(service),
        checks: vec![check],
    }
}

fn meta(key: &str, value: &str) -> Meta {
    let pairs = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Meta::from_pairs(pairs)
}

async fn register(fixture: &Fixture, registration: Registration) -> u64 {
    let operation = Operation::Register(Box::new(registration));
    fixture.write(operation).await.0
}

/// A registration of a small node without anything on it.
fn bare(node: &str) -> Registration {
    let mut bare = registration("x", "00000000-0000-4000-8000-000000000001");
    bare.node.id = None;
    bare.node.name = node.parse().unwrap();
    (bare.service, bare.checks) = (None, Vec::new());
    bare
}

/// The same node with an instance and a check.
fn full(node: &str) -> Registration {
    let mut full = registration("x", "00000000-0000-4000-8000-000000000001");
    full.node = bare(node).node;
    full
}

#[tokio::test]
async fn a_node_is_shown_as_recorded() {
    let nodes = [
        ("69f624", "e9d59d6a-0000-4000-8000-b6f46cfa9c13", 329),
        ("b06925", "066b383c-0000-4000-8000-ccfaaa2eaa71", 233),
    ];
    for (suffix, id, index) in nodes {
        let fixture = Fixture::new().await;
        // Other writes come first, so that the indexes are the recorded ones.
        while fixture.methods.directory.reader().applied().0 < index - 1 {
            register(&fixture, bare("other")).await;
        }
        let stored = register(&fixture, registration(suffix, id)).await;
        assert_eq!(stored, index);
        let name = format!("rc-a-{suffix}");
        let calls = calls("Internal.NodeInfo");
        let shows = |call: &&Recorded| read::<NodeRequest<'_>>(&call.request).node == name;
        let call = calls.iter().find(shows).unwrap();
        let answer = fixture.call(&call.method, &call.request).await.unwrap();
        // The client that was recorded registered a service with nil for no further addresses.
        // Agents send an empty map, compare what they read with that, and so are given one.
        let recorded = with_map(&call.response, b"TaggedAddresses\xc0\xa4Tags");
        assert_eq!(answer, recorded, "{name}");
    }
}

/// The same with an empty map for the nil in the middle of `part`, which is in it once.
fn with_map(octets: &[u8], part: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    let places = octets.windows(part.len()).enumerate();
    let places: Vec<usize> = places
        .filter(|(_, window)| *window == part)
        .map(|(place, _)| place)
        .collect();
    assert_eq!(places.len(), 1);
    let nil = part.iter().position(|octet| *octet == 0xc0).unwrap();
    octets[places[0] + nil] = 0x80;
    octets
}

fn node_request(node: &str, index: u64) -> NodeRequest<'_> {
    NodeRequest {
        datacenter: "dc1".into(),
        node: node.into(),
        options: options(index, ""),
    }
}

fn options(index: u64, filter: &str) -> QueryOptions<'_> {
    QueryOptions {
        min_query_index: index,
        filter: filter.into(),
        ..QueryOptions::default()
    }
}

fn nodes_request(index: u64, filter: &str) -> DatacenterRequest<'_> {
    DatacenterRequest {
        datacenter: "dc1".into(),
        options: options(index, filter),
        ..DatacenterRequest::default()
    }
}

fn services_request(index: u64, filter: &str) -> ServiceDumpRequest<'_> {
    ServiceDumpRequest {
        datacenter: "dc1".into(),
        options: options(index, filter),
        ..ServiceDumpRequest::default()
    }
}

/// The nodes of a dump, each with the number of its services and checks.
fn nodes_of(reply: &[u8]) -> Vec<(String, usize, usize)> {
    let reply: NodeDumpReply<'_> = read(reply);
    let rows = reply.dump.unwrap_or_default().into_iter();
    rows.map(|row| {
        let services = row.services.unwrap_or_default().len();
        let checks = row.checks.unwrap_or_default().len();
        (row.node.into_owned(), services, checks)
    })
    .collect()
}

/// The instances of a dump: node, id and the number of checks.
fn instances_of(reply: &[u8]) -> Vec<(String, String, usize)> {
    let reply: CheckServiceNodesReply<'_> = read(reply);
    let rows = reply.nodes.unwrap_or_default().into_iter();
    rows.map(|row| {
        let checks = row.checks.unwrap_or_default().len();
        (
            row.node.unwrap().node.into_owned(),
            row.service.unwrap().id.into_owned(),
            checks,
        )
    })
    .collect()
}

#[tokio::test]
async fn dumps_show_every_node_and_every_instance() {
    let fixture = Fixture::new().await;
    register(&fixture, full("b")).await;
    register(&fixture, bare("a")).await;
    let reply = fixture
        .ask("Internal.NodeDump", &nodes_request(0, ""))
        .await;
    let expected = [("a", 0, 0), ("b", 1, 1)];
    let expected = expected.map(|(node, services, checks)| (node.to_owned(), services, checks));
    assert_eq!(nodes_of(&reply), expected);
    let reply = fixture
        .ask("Internal.ServiceDump", &services_request(0, ""))
        .await;
    let row = ("b".to_owned(), "rcsvc-x1".to_owned(), 1);
    assert_eq!(instances_of(&reply), [row]);
    let reply = fixture
        .ask("Internal.NodeInfo", &node_request("B", 0))
        .await;
    assert_eq!(nodes_of(&reply), [("b".to_owned(), 1, 1)]);
}

#[tokio::test]
async fn dumps_without_rows_are_nil() {
    let fixture = Fixture::new().await;
    for (method, request) in [
        ("Internal.NodeDump", written(&nodes_request(0, ""))),
        ("Internal.ServiceDump", written(&services_request(0, ""))),
        ("Internal.NodeInfo", written(&node_request("nobody", 0))),
        ("Internal.NodeInfo", written(&node_request("no name", 0))),
    ] {
        let reply = fixture.call(method, &request).await.unwrap();
        let rows = if method == "Internal.ServiceDump" {
            "Nodes"
        } else {
            "Dump"
        };
        let mut nil = Vec::new();
        let mut writer = Writer::old(&mut nil);
        writer.text(rows);
        writer.nil();
        assert!(reply.windows(nil.len()).any(|part| part == nil), "{method}");
    }
}

#[tokio::test]
async fn a_dump_of_another_kind_of_services_is_empty() {
    let fixture = Fixture::new().await;
    register(&fixture, full("a")).await;
    for (kind, use_kind, count) in [
        ("", false, 1),
        ("", true, 1),
        ("mesh-gateway", false, 1),
        ("mesh-gateway", true, 0),
        ("nonsense", true, 0),
    ] {
        let request = ServiceDumpRequest {
            kind: kind.into(),
            use_kind,
            ..services_request(0, "")
        };
        let reply = fixture.ask("Internal.ServiceDump", &request).await;
        assert_eq!(instances_of(&reply).len(), count, "{kind} {use_kind}");
    }
}

#[tokio::test]
async fn filters_leave_rows_out() {
    let fixture = Fixture::new().await;
    for node in ["a", "b"] {
        register(&fixture, full(node)).await;
    }
    let reply = fixture
        .ask("Internal.NodeDump", &nodes_request(0, "Node == b"))
        .await;
    assert_eq!(nodes_of(&reply), [("b".to_owned(), 1, 1)]);
    let request = services_request(0, "Node.Node == a and Service.Port == 8080");
    let reply = fixture.ask("Internal.ServiceDump", &request).await;
    assert_eq!(instances_of(&reply).len(), 1);
    for (method, request) in [
        ("Internal.NodeDump", written(&nodes_request(0, "Nope == b"))),
        ("Internal.ServiceDump", written(&services_request(0, "=="))),
    ] {
        let fault = fixture.call(method, &request).await.unwrap_err();
        assert!(matches!(fault, Fault::Answer(_)), "{fault:?}");
    }
}

/// Whether `future` still waits after it has been looked at.
async fn waits<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn dumps_wake_for_nodes_services_and_checks() {
    let fixture = Fixture::new().await;
    let mut changes = vec![bare("a"), bare("b"), full("b")];
    let mut failed = full("b");
    failed.checks[0].status = Status::Critical;
    changes.push(failed);
    for change in changes {
        let index = fixture.methods.directory.reader().applied().0.max(1);
        let of_nodes = nodes_request(index, "");
        let of_services = services_request(index, "");
        let mut of_nodes = pin!(fixture.ask("Internal.NodeDump", &of_nodes));
        let mut of_services = pin!(fixture.ask("Internal.ServiceDump", &of_services));
        assert!(waits(of_nodes.as_mut()).await && waits(of_services.as_mut()).await);
        let stored = register(&fixture, change).await;
        let (of_nodes, of_services) = tokio::join!(of_nodes, of_services);
        for reply in [of_nodes, of_services] {
            assert_eq!(read::<QueryMeta<'_>>(&reply).index, stored);
        }
    }
}

#[tokio::test]
async fn a_blocking_read_of_a_node_wakes_for_its_checks_and_not_for_other_nodes() {
    let fixture = Fixture::new().await;
    for node in ["a", "b"] {
        register(&fixture, full(node)).await;
    }
    let index = fixture.methods.directory.reader().applied().0;
    let request = node_request("b", index);
    let mut reading = pin!(fixture.ask("Internal.NodeInfo", &request));
    assert!(waits(reading.as_mut()).await);
    let mut failed = full("a");
    failed.checks[0].status = Status::Critical;
    register(&fixture, failed).await;
    assert!(waits(reading.as_mut()).await);
    let mut failed = full("b");
    failed.checks[0].status = Status::Critical;
    let changed = register(&fixture, failed).await;
    let reply = reading.await;
    assert_eq!(read::<QueryMeta<'_>>(&reply).index, changed);
}

#[tokio::test]
async fn reads_and_events_need_this_datacenter() {
    let fixture = Fixture::new().await;
    for datacenter in ["", "dc2", "a.b"] {
        let request = written(&EventFireRequest {
            datacenter: datacenter.into(),
            name: "foo".into(),
            ..EventFireRequest::default()
        });
        for method in ["EventFire", "NodeInfo", "NodeDump", "ServiceDump"] {
            let method = format!("Internal.{method}");
            let fault = fixture.call(&method, &request).await.unwrap_err();
            assert_eq!(fault, Fault::Answer("No path to datacenter".to_owned()));
        }
    }
}

#[tokio::test]
async fn an_event_is_told_as_it_came_and_answered_as_recorded() {
    let fixture = Fixture::new().await;
    let mut told = fixture.methods.membership.lan.events();
    let calls = calls("Internal.EventFire");
    assert_eq!(calls.len(), 3);
    for call in &calls {
        let answer = fixture.call(&call.method, &call.request).await.unwrap();
        assert_eq!(answer, call.response);
        let request: EventFireRequest<'_> = read(&call.request);
        let event = told.recv().await.unwrap();
        assert_eq!(event.name, format!("consul:event:{}", request.name));
        assert_eq!(event.payload, request.payload);
        assert!(!event.coalesce);
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_sent_is_refused() {
    let fixture = Fixture::new().await;
    let refusal = async |name: &str, payload: &[u8]| {
        let request = EventFireRequest {
            datacenter: "dc1".into(),
            name: name.into(),
            payload,
            ..EventFireRequest::default()
        };
        let body = written(&request);
        fixture.call("Internal.EventFire", &body).await.unwrap_err()
    };
    let text = |text: &str| Fault::Answer(text.to_owned());
    assert_eq!(refusal("", b"x").await, text("Missing name"));
    let too_long = "1 error occurred:\n\t* error broadcasting event to segment \"\": user event \
                    exceeds configured limit of 512 bytes before encoding\n\n";
    assert_eq!(refusal("foo", &[0; 513]).await, text(too_long));
    assert_eq!(refusal(&"x".repeat(600), b"").await, text(too_long));
}

const METHODS: [&str; 5] = [
    "EventFire",
    "NodeInfo",
    "NodeDump",
    "ServiceDump",
    "KeyringOperation",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_answered(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        on_fixture(async |fixture| {
            for method in METHODS {
                let method = format!("Internal.{method}");
                // No such octets name the datacenter, so that none of these reads waits.
                drop(fixture.call(&method, &body).await);
            }
        });
    }

    #[test]
    fn recorded_requests_with_a_wrong_octet_are_answered_or_wait(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        octet in any::<u8>(),
    ) {
        let calls: Vec<_> = FILES.into_iter().flat_map(recorded).collect();
        let call = which.get(&calls);
        let mut body = call.request.clone();
        *place.get_mut(&mut body) = octet;
        on_fixture(async |fixture| {
            let answer = fixture.call(&call.method, &body);
            let wait = std::time::Duration::from_secs(2);
            match tokio::time::timeout(wait, answer).await {
                Ok(Ok(answer)) => Reader::new(&answer).skip().unwrap(),
                Ok(Err(fault)) => assert!(fault.to_string().len() < 1_000, "{fault}"),
                Err(_) => {
                    let options: QueryOptions<'_> = read(&body);
                    assert!(options.min_query_index > 0, "{} waits", call.method);
                }
            }
        });
    }
}

fn on_fixture(test: impl AsyncFnOnce(Fixture)) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async { test(Fixture::new().await).await });
}

//! Registrations of real agents, and ones that are wrong.

use crate::directory::methods::fixture::{Fixture, read, recorded, written};
use crate::directory::wire::{
    HealthCheck, HealthChecksReply, Map, Node, NodeRequest, NodeService, NodeServiceListReply,
    NodesReply, RegisterRequest, ServiceAddress, ServiceNodesReply, ServiceRequest, Text, Weights,
};
use crate::rpc::Fault;

/// A registration of node `n1`.
fn request<'a>() -> RegisterRequest<'a> {
    RegisterRequest {
        datacenter: "dc1".into(),
        node: "n1".into(),
        address: "10.0.0.1".into(),
        ..RegisterRequest::default()
    }
}

fn node_request(node: &str) -> NodeRequest<'_> {
    NodeRequest {
        datacenter: "dc1".into(),
        node: node.into(),
        ..NodeRequest::default()
    }
}

async fn services(fixture: &Fixture, node: &str) -> Vec<u8> {
    let request = node_request(node);
    fixture.ask("Catalog.NodeServiceList", &request).await
}

async fn checks(fixture: &Fixture, node: &str) -> Vec<u8> {
    fixture.ask("Health.NodeChecks", &node_request(node)).await
}

/// The error of a registration, which must have one.
async fn error(fixture: &Fixture, request: &RegisterRequest<'_>) -> String {
    let answer = fixture.call("Catalog.Register", &written(request)).await;
    match answer {
        Err(Fault::Answer(text)) => text,
        other => panic!("{request:?}: {other:?}"),
    }
}

/// Sees to it that a service is the one that was sent, but for its indexes.
fn assert_kept(mut kept: NodeService<'_>, sent: &NodeService<'_>) {
    (kept.create_index, kept.modify_index) = (0, 0);
    assert_eq!(&kept, sent);
}

/// Agents compare what a server has with what they have sent, nil and empty told apart, and register
/// all again that is not the same, once a minute or so.
#[tokio::test]
async fn what_an_agent_has_registered_comes_back_as_it_was_sent() {
    let fixture = Fixture::new().await;
    let (mut nodes, mut services_kept, mut checks_kept) = (0, 0, 0);
    for call in recorded("agent_catalog.json") {
        if call.method != "Catalog.Register" || call.guarded {
            continue;
        }
        let sent: RegisterRequest<'_> = read(&call.request);
        if sent.service.as_ref().is_some_and(|it| it.weights.is_none()) {
            // Of another client, which leaves out more than agents do.
            continue;
        }
        fixture.ask("Catalog.Register", &sent).await;
        let answer = services(&fixture, &sent.node).await;
        let answer: NodeServiceListReply<'_> = read(&answer);
        let list = answer.node_services;
        let node = list.node.unwrap();
        assert_eq!(node.id, sent.id);
        if !sent.skip_node_update {
            assert_eq!(node.meta, sent.node_meta);
            assert_eq!(node.tagged_addresses, sent.tagged_addresses);
            nodes += 1;
        }
        if let Some(service) = &sent.service {
            let all = list.services.into_iter().flatten();
            let kept = all.into_iter().find(|kept| kept.id == service.id);
            assert_kept(kept.unwrap(), service);
            services_kept += 1;
        }
        let answer = checks(&fixture, &sent.node).await;
        let answer: HealthChecksReply<'_> = read(&answer);
        let all: Vec<HealthCheck<'_>> = answer.health_checks.unwrap_or_default();
        for check in sent.checks.iter().flatten().chain(&sent.check) {
            let mut kept = all.iter().find(|kept| kept.id == check.id).unwrap().clone();
            (kept.create_index, kept.modify_index) = (0, 0);
            assert_eq!(&kept, check);
            checks_kept += 1;
        }
    }
    assert_eq!((nodes, services_kept, checks_kept), (1, 2, 2));
}

#[tokio::test]
async fn a_service_with_nothing_is_nil_on_its_node_and_empty_in_rows_of_services() {
    let fixture = Fixture::new().await;
    let service = NodeService {
        service: "web".into(),
        ..NodeService::default()
    };
    let registration = RegisterRequest {
        service: Some(service),
        ..request()
    };
    fixture.ask("Catalog.Register", &registration).await;
    let answer = services(&fixture, "n1").await;
    let answer: NodeServiceListReply<'_> = read(&answer);
    let expected = NodeService {
        id: "web".into(),
        service: "web".into(),
        weights: Some(Weights {
            passing: 1,
            warning: 1,
        }),
        tagged_addresses: Some(Map(Vec::new())),
        ..NodeService::default()
    };
    let mut kept = answer.node_services.services.unwrap();
    assert_kept(kept.remove(0), &expected);
    let rows = ServiceRequest {
        datacenter: "dc1".into(),
        service_name: "web".into(),
        ..ServiceRequest::default()
    };
    let answer = fixture.ask("Catalog.ServiceNodes", &rows).await;
    let answer: ServiceNodesReply<'_> = read(&answer);
    let row = answer.service_nodes.unwrap().remove(0);
    assert_eq!(row.service_tags, Some(Vec::new()));
    assert_eq!(row.service_meta, Some(Map(Vec::new())));
    assert_eq!(row.service_tagged_addresses, None);
}

async fn assert_refused(wrong: &[(RegisterRequest<'_>, &str)]) {
    let fixture = Fixture::new().await;
    for (wrong, expected) in wrong {
        let text = error(&fixture, wrong).await;
        assert!(text.starts_with(expected), "{text}");
    }
    let nodes = fixture
        .call("Catalog.ListNodes", b"\x81\xaaDatacenter\xa3dc1")
        .await;
    let nodes = nodes.unwrap();
    let nodes: Option<Vec<Node<'_>>> = read::<NodesReply<'_>>(&nodes).nodes;
    assert_eq!(nodes, None);
}

#[tokio::test]
async fn a_wrong_node_is_refused_and_changes_nothing() {
    let without = |change: fn(&mut RegisterRequest<'_>)| {
        let mut wrong = request();
        change(&mut wrong);
        wrong
    };
    assert_refused(&[
        (
            without(|it| it.datacenter = Text::default()),
            "No path to datacenter",
        ),
        (
            without(|it| it.datacenter = "dc2".into()),
            "No path to datacenter",
        ),
        (without(|it| it.node = Text::default()), "Must provide node"),
        (
            without(|it| it.address = Text::default()),
            "Must provide address if SkipNodeUpdate is not set",
        ),
        (
            without(|it| it.id = "not-a-uuid".into()),
            "Bad node ID: node id \"not-a-uuid\" is not a UUID",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_wrong_service_is_refused_and_changes_nothing() {
    let service = |service: NodeService<'static>| RegisterRequest {
        service: Some(service),
        ..request()
    };
    let port = |port| NodeService {
        service: "web".into(),
        port,
        ..NodeService::default()
    };
    let tagged = ServiceAddress {
        address: "10.0.0.2".into(),
        port: 70_000,
    };
    let nameless = NodeService {
        id: "x".into(),
        ..NodeService::default()
    };
    let far = NodeService {
        tagged_addresses: Some(Map(vec![("lan".into(), tagged)])),
        ..port(80)
    };
    assert_refused(&[
        (service(nameless), "Must provide service name with ID"),
        (service(port(-1)), "Invalid port -1: it must be between"),
        (
            service(port(65_536)),
            "Invalid port 65536: it must be between",
        ),
        (service(far), "Invalid port 70000: it must be between"),
    ])
    .await;
}

#[tokio::test]
async fn a_wrong_check_is_refused_and_changes_nothing() {
    let check = |change: fn(&mut HealthCheck<'_>)| {
        let mut check = HealthCheck {
            name: "z".into(),
            ..HealthCheck::default()
        };
        change(&mut check);
        RegisterRequest {
            check: Some(check),
            ..request()
        }
    };
    assert_refused(&[
        (
            check(|it| it.node = "other".into()),
            "check node \"other\" does not match node \"n1\"",
        ),
        (
            check(|it| it.service_id = "nosuch".into()),
            "failed inserting check: Missing service registration on node \"n1\"",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_state_of_a_check_that_does_not_exist_is_refused() {
    let check = HealthCheck {
        name: "c".into(),
        status: "unwell".into(),
        ..HealthCheck::default()
    };
    let wrong = RegisterRequest {
        check: Some(check),
        ..request()
    };
    let text = error(&Fixture::new().await, &wrong).await;
    assert!(text.contains("unwell"), "{text}");
}

#[tokio::test]
async fn a_check_and_a_list_of_checks_are_both_registered_with_their_types() {
    let fixture = Fixture::new().await;
    let check = |name: &'static str, kind: &'static str| HealthCheck {
        name: name.into(),
        check_type: kind.into(),
        ..HealthCheck::default()
    };
    let both = RegisterRequest {
        check: Some(check("one", "ttl")),
        checks: Some(vec![check("two", "maintenance"), check("three", "")]),
        ..request()
    };
    fixture.ask("Catalog.Register", &both).await;
    let answer = checks(&fixture, "n1").await;
    let answer: HealthChecksReply<'_> = read(&answer);
    let all = answer.health_checks.unwrap();
    let shown: Vec<_> = all
        .iter()
        .map(|check| (&*check.id, &*check.check_type, &*check.status, &*check.node))
        .collect();
    let expected = [
        ("one", "ttl", "critical", "n1"),
        ("three", "", "critical", "n1"),
        ("two", "maintenance", "critical", "n1"),
    ];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_service_of_a_mesh_is_registered_as_a_usual_one() {
    let fixture = Fixture::new().await;
    let service = NodeService {
        kind: "connect-proxy".into(),
        service: "web-proxy".into(),
        port: 21_000,
        ..NodeService::default()
    };
    assert!(service.is_in_mesh());
    let registration = RegisterRequest {
        service: Some(service),
        ..request()
    };
    fixture.ask("Catalog.Register", &registration).await;
    let answer = services(&fixture, "n1").await;
    let answer: NodeServiceListReply<'_> = read(&answer);
    let kept = answer.node_services.services.unwrap().remove(0);
    assert_eq!((&*kept.kind, kept.port), ("", 21_000));
}

/// An agent that lets others change the tags of a service copies them from the answer: its copy of
/// none is an empty list, and to be told nil would make it register again and again.
#[tokio::test]
async fn tags_that_others_may_change_are_never_nil() {
    let fixture = Fixture::new().await;
    for (id, enable_tag_override, tags) in [("a", true, Some(Vec::new())), ("b", false, None)] {
        let mut registration = request();
        registration.service = Some(NodeService {
            id: id.into(),
            service: "web".into(),
            enable_tag_override,
            ..NodeService::default()
        });
        fixture.ask("Catalog.Register", &registration).await;
        let answer = services(&fixture, "n1").await;
        let list = read::<NodeServiceListReply<'_>>(&answer).node_services;
        let all = list.services.unwrap();
        let found = all.iter().find(|service| service.id == id).unwrap();
        assert_eq!(found.tags, tags, "{id}");
    }
}

//! Reads that wait for a change.

use std::pin::pin;
use std::time::Duration;

use crate::directory::methods::fixture::{Fixture, read, written};
use crate::directory::wire::{
    CheckServiceNodesReply, NodeService, NodesReply, QueryOptions, RegisterRequest, ServiceRequest,
};

fn register(service: &str, port: i64) -> RegisterRequest<'_> {
    RegisterRequest {
        datacenter: "dc1".into(),
        node: "n1".into(),
        address: "10.0.0.1".into(),
        service: Some(NodeService {
            service: service.into(),
            port,
            ..NodeService::default()
        }),
        ..RegisterRequest::default()
    }
}

fn ask(service: &str, index: u64) -> Vec<u8> {
    written(&request(service, index))
}

fn request(service: &str, index: u64) -> ServiceRequest<'_> {
    ServiceRequest {
        datacenter: "dc1".into(),
        service_name: service.into(),
        options: QueryOptions {
            min_query_index: index,
            max_query_time: 160_000_000_000,
            ..QueryOptions::default()
        },
        ..ServiceRequest::default()
    }
}

/// Index of an answer.
async fn index(fixture: &Fixture, request: &[u8]) -> u64 {
    let answer = fixture.call("Health.ServiceNodes", request).await.unwrap();
    read::<CheckServiceNodesReply<'_>>(&answer).meta.index
}

#[tokio::test]
async fn a_read_wakes_for_its_service_alone() {
    let fixture = Fixture::new().await;
    fixture.ask("Catalog.Register", &register("web", 1)).await;
    let seen = index(&fixture, &ask("web", 0)).await;
    let request = ask("web", seen);
    let mut waiting = pin!(index(&fixture, &request));
    let still = tokio::time::timeout(Duration::from_millis(5), &mut waiting);
    assert!(still.await.is_err());
    fixture.ask("Catalog.Register", &register("db", 1)).await;
    // The same again changes nothing.
    fixture.ask("Catalog.Register", &register("web", 1)).await;
    let still = tokio::time::timeout(Duration::from_millis(5), &mut waiting);
    assert!(still.await.is_err());
    fixture.ask("Catalog.Register", &register("web", 2)).await;
    assert!(waiting.await > seen);
}

#[tokio::test]
async fn a_service_that_cannot_exist_waits_for_others_and_has_no_rows() {
    let fixture = Fixture::new().await;
    let request = ask(&"x".repeat(600), 0);
    let answer = fixture.call("Health.ServiceNodes", &request).await.unwrap();
    let answer = read::<CheckServiceNodesReply<'_>>(&answer);
    assert_eq!((answer.nodes, answer.meta.index), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_passes_answers_the_same_index() {
    let fixture = Fixture::new().await;
    let mut request = request("nothing", 1_000);
    // Nobody on another thread is waited for, during which the clock of the test would run ahead.
    request.options.allow_stale = true;
    let begin = crate::clock::now();
    assert_eq!(index(&fixture, &written(&request)).await, 1);
    let took = crate::clock::now() - begin;
    assert!((160..=170).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn a_datacenter_must_be_named() {
    let fixture = Fixture::new().await;
    for (request, error) in [
        (
            written(&ServiceRequest {
                service_name: "web".into(),
                ..ServiceRequest::default()
            }),
            "No path to datacenter",
        ),
        (
            written(&ServiceRequest {
                datacenter: "dc1".into(),
                ..ServiceRequest::default()
            }),
            "Must provide service name",
        ),
        (
            written(&ServiceRequest {
                datacenter: "dc2".into(),
                ..ServiceRequest::default()
            }),
            "No path to datacenter",
        ),
    ] {
        let fault = fixture
            .call("Health.ServiceNodes", &request)
            .await
            .unwrap_err();
        assert_eq!(fault.to_string(), error);
    }
    let nodes = fixture
        .call("Catalog.ListNodes", b"\x81\xaaDatacenter\xa3dc1")
        .await
        .unwrap();
    assert_eq!(read::<NodesReply<'_>>(&nodes).nodes, None);
}

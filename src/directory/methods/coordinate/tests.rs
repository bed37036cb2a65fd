//! Recorded calls, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::catalog::{Location, Operation, Registration};
use crate::directory::methods::fixture::{Fixture, read, recorded, written};
use crate::directory::wire::{CoordinateRecord, LocationsReply};
use crate::types::{Address, Coordinate, Meta, Node};

async fn register(fixture: &Fixture, node: &str) {
    let node = Node {
        id: None,
        name: node.parse().unwrap(),
        address: Address::None,
        tagged_addresses: std::collections::BTreeMap::new(),
        meta: Meta::default(),
    };
    let registration = Registration {
        node,
        skip_node_update: false,
        service: None,
        checks: Vec::new(),
    };
    let operation = Operation::Register(Box::new(registration));
    fixture.write(operation).await;
}

async fn locate(fixture: &Fixture, node: &str, numbers: &CoordinateRecord) {
    let coordinate = Coordinate::new(
        numbers.vector.as_slice(),
        numbers.error,
        numbers.adjustment,
        numbers.height,
    );
    let location = Location {
        node: node.parse().unwrap(),
        coordinate: coordinate.unwrap(),
    };
    fixture.write(Operation::Locate(vec![location])).await;
}

const FILES: [&str; 2] = ["agent_coordinate.json", "check_coordinate.json"];

#[tokio::test]
async fn updates_are_answered_as_recorded() {
    let fixture = Fixture::new().await;
    let mut compared = 0;
    for call in FILES.into_iter().flat_map(recorded) {
        if call.method != "Coordinate.Update" {
            continue;
        }
        match fixture.call(&call.method, &call.request).await {
            Ok(answer) => assert_eq!((answer, ""), (call.response, &*call.error)),
            Err(fault) => assert_eq!(fault, Fault::Answer(call.error)),
        }
        compared += 1;
    }
    assert_eq!(compared, 8);
}

#[tokio::test]
async fn reads_are_answered_as_recorded() {
    let mut compared = 0;
    for call in FILES.into_iter().flat_map(recorded) {
        if !matches!(&*call.method, "Coordinate.Node" | "Coordinate.ListNodes") {
            continue;
        }
        let fixture = Fixture::new().await;
        let expected: LocationsReply<'_> = read(&call.response);
        for location in expected.locations.iter().flatten() {
            register(&fixture, &location.node).await;
            locate(&fixture, &location.node, &location.coordinate).await;
        }
        register(&fixture, "nobody-knows-where").await;
        let answer = fixture.call(&call.method, &call.request).await.unwrap();
        // The index is that of another log; all else is the same.
        let mut found: LocationsReply<'_> = read(&answer);
        assert!(found.meta.index > 0);
        found.meta.index = expected.meta.index;
        assert_eq!(written(&found), call.response, "{}", call.method);
        compared += 1;
    }
    assert_eq!(compared, 8);
}

#[tokio::test]
async fn servers_of_datacenters_are_listed_as_recorded() {
    let fixture = Fixture::new().await;
    let mut compared = 0;
    for call in FILES.into_iter().flat_map(recorded) {
        if call.method == "Coordinate.ListDatacenters" {
            let answer = fixture.call(&call.method, &call.request).await.unwrap();
            assert_eq!(answer, call.response);
            compared += 1;
        }
    }
    assert_eq!(compared, 2);
}

#[tokio::test]
async fn recorded_requests_are_read_in_full() {
    let mut compared = 0;
    // Agents write every key; the other callers do not.
    for call in recorded("agent_coordinate.json") {
        let request: CoordinateUpdate<'_> = match &*call.method {
            "Coordinate.Update" => read(&call.request),
            _ => continue,
        };
        if call.request.first() == Some(&0x85) {
            assert_eq!(written(&request), call.request);
            compared += 1;
        }
    }
    assert_eq!(compared, 2);
}

#[tokio::test]
async fn an_update_shows_within_a_period() {
    let fixture = Fixture::new().await;
    let directory = &fixture.methods.directory;
    directory.write_locations(
        std::time::Duration::from_millis(10),
        &crate::metrics::Metrics::new(),
        &crate::task::Tasks::new(),
    );
    register(&fixture, "n1").await;
    let mut watcher = directory
        .reader()
        .watch(&WatchKey::NodeLocation("n1".parse().unwrap()));
    let request = update_of("n1", Some(&Coordinate::START));
    assert_eq!(fixture.ask("Coordinate.Update", &request).await, [EMPTY]);
    watcher.changed().await;
    let reply = fixture
        .ask(
            "Coordinate.Node",
            &NodeRequest {
                datacenter: "dc1".into(),
                node: "N1".into(),
                ..NodeRequest::default()
            },
        )
        .await;
    let reply: LocationsReply<'_> = read(&reply);
    let expected = LocationRecord::new("n1", &Coordinate::START);
    assert_eq!(reply.locations, Some(vec![expected]));
}

fn update_of<'a>(node: &'a str, coordinate: Option<&Coordinate>) -> CoordinateUpdate<'a> {
    CoordinateUpdate {
        coordinate: coordinate.map(CoordinateRecord::from),
        datacenter: "dc1".into(),
        node: node.into(),
        ..CoordinateUpdate::default()
    }
}

async fn refusal(fixture: &Fixture, request: &impl Encode) -> Fault {
    let body = written(request);
    fixture.call("Coordinate.Update", &body).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_update_is_refused() {
    let fixture = Fixture::new().await;
    let start = Coordinate::START;
    let not_a_number = Coordinate {
        error: f64::NAN,
        ..start
    };
    let nowhere = CoordinateUpdate {
        datacenter: Text::default(),
        ..update_of("n1", Some(&start))
    };
    let elsewhere = CoordinateUpdate {
        datacenter: "dc2".into(),
        ..update_of("n1", Some(&start))
    };
    for (request, text) in [
        (update_of("n1", None), "field Coord: it is missing"),
        (update_of("", Some(&start)), "Must provide node"),
        (update_of("n1", Some(&not_a_number)), "invalid coordinate"),
        (nowhere, "No path to datacenter"),
        (elsewhere, "No path to datacenter"),
    ] {
        assert_eq!(
            refusal(&fixture, &request).await,
            Fault::Answer(text.to_owned())
        );
    }
}

#[tokio::test]
async fn a_filter_is_refused() {
    let fixture = Fixture::new().await;
    let request = written(&DatacenterRequest {
        datacenter: "dc1".into(),
        options: QueryOptions {
            filter: "Node == a".into(),
            ..QueryOptions::default()
        },
        ..DatacenterRequest::default()
    });
    for method in ["Coordinate.ListNodes", "Coordinate.Node"] {
        let fault = fixture.call(method, &request).await.unwrap_err();
        assert!(matches!(fault, Fault::Answer(_)), "{fault:?}");
    }
}

#[tokio::test]
async fn a_blocking_read_wakes_for_its_node_only() {
    let fixture = Fixture::new().await;
    for node in ["a", "b"] {
        register(&fixture, node).await;
        locate(&fixture, node, &(&Coordinate::START).into()).await;
    }
    let index = fixture.methods.directory.reader().applied().0;
    let request = NodeRequest {
        datacenter: "dc1".into(),
        node: "b".into(),
        options: QueryOptions {
            min_query_index: index,
            ..QueryOptions::default()
        },
    };
    let mut read_b = std::pin::pin!(fixture.ask("Coordinate.Node", &request));
    let moved = CoordinateRecord {
        height: 1.0,
        ..(&Coordinate::START).into()
    };
    tokio::select! {
        biased;
        _ = &mut read_b => panic!("the read did not wait"),
        () = locate(&fixture, "a", &moved) => {}
    }
    assert!(futures_are_pending(read_b.as_mut()).await);
    locate(&fixture, "b", &moved).await;
    let reply = read_b.await;
    let reply: LocationsReply<'_> = read(&reply);
    assert!(reply.meta.index > index);
}

/// Whether it still waits after it has been looked at once.
async fn futures_are_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
    })
    .await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_answered(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            for method in ["Update", "ListNodes", "Node", "ListDatacenters"] {
                let method = format!("Coordinate.{method}");
                drop(fixture.call(&method, &body).await);
            }
        });
    }
}

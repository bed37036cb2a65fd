//! Octets that are no requests.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::directory::methods::fixture::{Fixture, recorded};

/// Every method that reads a request, and one that is not there.
const METHODS: [&str; 28] = [
    "Status.Ping",
    "Status.Leader",
    "Status.Peers",
    "Status.RaftStats",
    "Catalog.ListDatacenters",
    "Catalog.Register",
    "Catalog.Deregister",
    "Catalog.ListNodes",
    "Catalog.ListServices",
    "Catalog.ServiceList",
    "Catalog.ServiceNodes",
    "Catalog.NodeServices",
    "Catalog.NodeServiceList",
    "Catalog.GatewayServices",
    "Health.ServiceNodes",
    "Health.NodeChecks",
    "Health.ServiceChecks",
    "Health.ChecksInState",
    "Coordinate.Update",
    "Coordinate.ListNodes",
    "Coordinate.Node",
    "Coordinate.ListDatacenters",
    "Internal.EventFire",
    "Internal.KeyringOperation",
    "Internal.NodeInfo",
    "Internal.NodeDump",
    "Internal.ServiceDump",
    "Nope.Nope",
];

/// Calls with a paused clock, so that a read that waits is over at once.
fn call(method: &str, body: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let fixture = Fixture::new().await;
        drop(fixture.call(method, body).await);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_octets_are_answered(method in 0..METHODS.len(), body in vec(any::<u8>(), 0..200)) {
        call(METHODS[method], &body);
    }

    #[test]
    fn recorded_requests_with_wrong_octets_are_answered(
        file in 0..2_usize,
        place in any::<prop::sample::Index>(),
        wrong in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
    ) {
        let calls = recorded(["agent_catalog.json", "agent_health.json"][file]);
        let recorded = &calls[place.index(calls.len())];
        let mut body = recorded.request.clone();
        for (place, octet) in wrong {
            let place = place.index(body.len());
            body[place] = octet;
        }
        body.truncate(length.index(2 * body.len()));
        call(&recorded.method, &body);
    }
}

#[tokio::test]
async fn many_entries_of_one_octet_are_refused_before_they_take_memory() {
    // {"Checks": [nil, nil, …]}
    let count: u32 = 1_000_000;
    let mut body = vec![0x81, 0xa6];
    body.extend_from_slice(b"Checks");
    body.push(0xdd);
    body.extend_from_slice(&count.to_be_bytes());
    body.resize(body.len() + 1_000_000, 0xc0);
    let fault = Fixture::new().await.call("Catalog.Register", &body).await;
    let text = fault.unwrap_err().to_string();
    assert!(text.contains("Checks") && text.contains("4096"), "{text}");
}

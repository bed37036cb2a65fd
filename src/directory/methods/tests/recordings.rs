//! What was recorded is read and written again without a change of an octet.

use crate::directory::methods::fixture::{Recorded, recorded, written};
use crate::directory::wire::{
    CheckServiceNodesReply, DatacenterRequest, Decode, DeregisterRequest, Encode,
    HealthChecksReply, NodeDumpReply, NodeRequest, NodeServiceListReply, NodeServicesReply,
    NodesReply, RegisterRequest, ServiceNodesReply, ServiceRequest, ServicesReply, StateRequest,
};
use crate::msgpack::Reader;

use super::tree::Tree;

/// Reads a value as a record and writes it again.
fn again<'a, T: Decode<'a> + Encode>(octets: &'a [u8]) -> Vec<u8> {
    let mut reader = Reader::new(octets);
    let record = T::read(&mut reader).unwrap_or_else(|error| panic!("{error}: {octets:02x?}"));
    assert_eq!(reader.rest(), b"");
    written(&record)
}

/// The request of a call, read and written again; `None` for methods whose requests have no fields
/// that anybody reads.
fn request(call: &Recorded) -> Option<Vec<u8>> {
    let octets = &call.request;
    Some(match call.method.as_str() {
        "Catalog.Register" => again::<RegisterRequest<'_>>(octets),
        "Catalog.Deregister" => again::<DeregisterRequest<'_>>(octets),
        "Catalog.ListNodes" | "Catalog.ListServices" | "Internal.NodeDump" => {
            again::<DatacenterRequest<'_>>(octets)
        }
        "Catalog.ServiceNodes"
        | "Catalog.GatewayServices"
        | "Health.ServiceNodes"
        | "Health.ServiceChecks" => again::<ServiceRequest<'_>>(octets),
        "Catalog.NodeServices"
        | "Catalog.NodeServiceList"
        | "Health.NodeChecks"
        | "Internal.NodeInfo"
        | "Coordinate.Node" => again::<NodeRequest<'_>>(octets),
        "Health.ChecksInState" => again::<StateRequest<'_>>(octets),
        _ => return None,
    })
}

/// The result of a call, read and written again; `None` for methods whose results are values alone.
fn result(call: &Recorded) -> Option<Vec<u8>> {
    let octets = &call.response;
    Some(match call.method.as_str() {
        "Catalog.ListNodes" => again::<NodesReply<'_>>(octets),
        "Catalog.ListServices" => again::<ServicesReply<'_>>(octets),
        "Catalog.ServiceNodes" => again::<ServiceNodesReply<'_>>(octets),
        "Catalog.NodeServices" => again::<NodeServicesReply<'_>>(octets),
        "Catalog.NodeServiceList" => again::<NodeServiceListReply<'_>>(octets),
        "Health.ServiceNodes" | "Internal.ServiceDump" => {
            again::<CheckServiceNodesReply<'_>>(octets)
        }
        "Health.NodeChecks" | "Health.ServiceChecks" | "Health.ChecksInState" => {
            again::<HealthChecksReply<'_>>(octets)
        }
        "Internal.NodeInfo" | "Internal.NodeDump" => again::<NodeDumpReply<'_>>(octets),
        _ => return None,
    })
}

const FILES: [&str; 6] = [
    "agent_catalog.json",
    "agent_health.json",
    "agent_internal.json",
    "check_catalog.json",
    "check_health.json",
    "check_internal.json",
];

fn calls() -> impl Iterator<Item = Recorded> {
    FILES.into_iter().flat_map(recorded)
}

#[test]
fn requests_of_agents_keep_every_octet() {
    let mut equal = 0;
    for call in calls().filter(|call| call.canonical) {
        let Some(written) = request(&call) else {
            continue;
        };
        // Go writes the maps of users in no order.
        assert_eq!(
            Tree::of(&written),
            Tree::of(&call.request),
            "{}",
            call.method
        );
        if written == call.request {
            equal += 1;
        }
    }
    assert_eq!(equal, 32);
}

#[test]
fn results_keep_every_octet() {
    let (mut equal, mut reordered) = (0, 0);
    for call in calls().filter(|call| call.error.is_empty() && !call.guarded) {
        let Some(written) = result(&call) else {
            continue;
        };
        assert_eq!(
            Tree::of(&written),
            Tree::of(&call.response),
            "{}",
            call.method
        );
        if written == call.response {
            equal += 1;
        } else {
            reordered += 1;
        }
    }
    assert_eq!((equal, reordered), (71, 83));
}

//! What the catalog says of a member: its health, and its service if it is a server.

use crate::gossip::tags::Server;
use crate::types::{
    Address, Check, CheckType, Member, Meta, SERF_HEALTH, SERVERS_SERVICE, Service, Status, Weights,
};

/// A key of the metadata by which [`is_servers_service`] knows what is kept here.
const RAFT_VERSION: &str = "raft_version";

/// The check that every member has.
pub(super) fn health(alive: bool) -> Check {
    let (status, output) = if alive {
        (Status::Passing, "Agent alive and reachable")
    } else {
        (Status::Critical, "Agent not live or unreachable")
    };
    Check {
        id: SERF_HEALTH.parse().expect("the id is short"),
        name: "Serf Health Status".into(),
        status,
        notes: Box::default(),
        output: output.into(),
        service_id: None,
        check_type: CheckType::Unknown,
        definition: None,
    }
}

/// The service that every server has.
pub(super) fn servers_service(member: &Member, server: &Server) -> Service {
    let [least, greatest, spoken, ..] = member.versions;
    let meta = [
        ("non_voter", server.read_replica.to_string()),
        (RAFT_VERSION, server.raft_version.to_string()),
        ("serf_protocol_current", spoken.to_string()),
        ("serf_protocol_max", greatest.to_string()),
        ("serf_protocol_min", least.to_string()),
        ("version", server.build.to_string()),
    ];
    Service {
        id: SERVERS_SERVICE.parse().expect("the id is short"),
        name: SERVERS_SERVICE.parse().expect("the name is a label"),
        tags: [].into(),
        address: Address::None,
        port: server.address.port(),
        meta: Meta::from_pairs(meta.map(|(key, value)| (key.to_owned(), value))),
        weights: Weights::default(),
        enable_tag_override: false,
        tagged_addresses: None,
    }
}

/// Whether `service` is one that was registered here for a server, and not by somebody who likes
/// its name.
pub(super) fn is_servers_service(service: &Service) -> bool {
    service.name.as_str() == SERVERS_SERVICE && service.meta.get(RAFT_VERSION).is_some()
}

//! Servers as gossip shows them, for the tests of who founds a cluster and who votes.

use std::net::SocketAddr;

use super::OwnServer;
use crate::gossip::tags::{Agent, AgentServer};
use crate::raft::{Peer, ServerId};
use crate::types::{Member, MemberStatus, NodeId};

/// The id of the server with this number.
pub(super) fn id(number: u8) -> ServerId {
    ServerId(number.into())
}

/// Its name and address.
pub(super) fn peer(number: u8) -> Peer {
    Peer {
        name: format!("s{number}"),
        address: SocketAddr::from(([10, 0, 0, number], 8300)),
    }
}

/// It, from within.
pub(super) fn own(number: u8, expect: u32) -> OwnServer {
    OwnServer {
        id: id(number),
        peer: peer(number),
        datacenter: "dc1".parse().unwrap(),
        bootstrap: false,
        expect,
        joins: false,
    }
}

/// It, as others see it.
pub(super) fn server(number: u8, expect: u32) -> Member {
    let agent = Agent {
        node: "any".parse().unwrap(),
        id: NodeId::from_u128(number.into()),
        datacenter: "dc1".parse().unwrap(),
        version: "0.1.0".to_owned(),
        server: Some(AgentServer {
            port: 8300,
            wan_join_port: None,
            bootstrap: false,
            expect,
            tls: false,
            commands: 1,
        }),
    };
    Member {
        name: format!("s{number}"),
        address: [10, 0, 0, number].into(),
        port: 8301,
        tags: agent.lan_tags(),
        status: MemberStatus::Alive,
        versions: [1, 5, 2, 2, 5, 4],
    }
}

/// The member with a tag.
pub(super) fn with(mut member: Member, name: &str, value: &str) -> Member {
    member.tags.insert(name.to_owned(), value.to_owned());
    member
}

/// The member with another status.
pub(super) fn now(member: Member, status: MemberStatus) -> Member {
    Member { status, ..member }
}

/// The same, but of Consul.
pub(super) fn foreign(mut member: Member) -> Member {
    member.tags.remove("impl");
    member
}

//! Tests of the catalog through its public face: a writer, a reader and their views.

mod dns;
mod golden;
mod indexes;
mod model;
mod semantics;
mod snapshots;
mod stored;

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::types::{
    Address, Check, CheckType, Coordinate, Index, Meta, Node, NodeId, NodeName, Service, Status,
    TaggedAddress, Weights,
};

use super::{
    Command, Deregistration, Location, Operation, Outcome, Reader, Registration, WatchKey, Writer,
    open_server,
};

/// A catalog whose log is written by hand.
struct Catalog {
    writer: Writer,
    reader: Reader,
}

impl Catalog {
    fn new() -> Self {
        let (writer, reader) = open_server();
        Self { writer, reader }
    }

    fn apply(&mut self, operations: Vec<Operation>) -> Outcome {
        let index = self.writer.applied().next();
        let command = Command {
            request: 0,
            operations,
        };
        let mut outcomes = self.writer.apply(vec![(index, command)]).unwrap();
        outcomes.pop().unwrap()
    }

    /// Applies operations that must not be refused.
    fn change<const N: usize>(&mut self, operations: [Operation; N]) -> Index {
        match self.apply(operations.into()) {
            Outcome::Applied { index } => index,
            Outcome::Refused(refusal) => panic!("{refusal}"),
        }
    }

    fn index(&self, key: &WatchKey) -> Index {
        self.reader.state().index_of(key)
    }
}

fn name<N: FromStr<Err: std::fmt::Debug>>(text: &str) -> N {
    text.parse().unwrap()
}

fn node(name: &str, address: &str) -> Node {
    Node {
        id: None,
        name: name.parse().unwrap(),
        address: Address::from_text(address),
        tagged_addresses: BTreeMap::new(),
        meta: Meta::default(),
    }
}

fn node_with_id(name: &str, address: &str, id: u8) -> Node {
    let id = format!("00000000-0000-0000-0000-0000000000{id:02x}");
    Node {
        id: Some(id.parse::<NodeId>().unwrap()),
        ..node(name, address)
    }
}

fn service(id: &str, name: &str, tags: &[&str], address: &str) -> Service {
    Service {
        id: id.parse().unwrap(),
        name: name.parse().unwrap(),
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
        address: Address::from_text(address),
        port: 80,
        meta: Meta::default(),
        weights: Weights {
            passing: 3,
            warning: 2,
        },
        enable_tag_override: false,
        tagged_addresses: None,
    }
}

fn with_tagged(mut service: Service, label: &str, address: &str) -> Service {
    let tagged = TaggedAddress {
        address: Address::from_text(address),
        port: 80,
    };
    let addresses = service.tagged_addresses.get_or_insert_default();
    addresses.insert(label.into(), tagged);
    service
}

fn check(id: &str, service: Option<&str>, status: Status) -> Check {
    Check {
        id: id.parse().unwrap(),
        name: "check".into(),
        status,
        notes: "".into(),
        output: "".into(),
        service_id: service.map(|id| id.parse().unwrap()),
        check_type: CheckType::Unknown,
        definition: None,
    }
}

fn registration(node: Node, service: Option<Service>, checks: Vec<Check>) -> Operation {
    Operation::Register(Box::new(Registration {
        node,
        skip_node_update: false,
        service,
        checks,
    }))
}

/// Registers without changing the node.
fn on(node_name: &str, service: Option<Service>, checks: Vec<Check>) -> Operation {
    Operation::Register(Box::new(Registration {
        node: node(node_name, ""),
        skip_node_update: true,
        service,
        checks,
    }))
}

/// `node` is this many seconds away from where everybody starts.
fn located(node: NodeName, seconds: u8) -> Location {
    let mut coordinate = Coordinate::START;
    coordinate.vector[0] = seconds.into();
    Location { node, coordinate }
}

fn locate(node: &str, seconds: u8) -> Operation {
    Operation::Locate(vec![located(name(node), seconds)])
}

fn deregister_node(node: &str) -> Operation {
    Operation::Deregister(Deregistration::Node(name(node)))
}

fn deregister_service(node: &str, id: &str) -> Operation {
    Operation::Deregister(Deregistration::Service(name(node), name(id)))
}

fn deregister_check(node: &str, id: &str) -> Operation {
    Operation::Deregister(Deregistration::Check(name(node), name(id)))
}

//! What benches share: a catalog of any size, and figures about the process.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use herald::catalog::{Command, Operation, Registration, Writer};
use herald::types::{
    Address, Check, CheckType, Index, Meta, Node, NodeName, Service, ServiceName, Status, Weights,
};

/// Commands that are applied together while filling.
const BATCH: usize = 512;

/// Whether only a short run was asked for, to see that everything works.
pub(crate) fn is_smoke() -> bool {
    std::env::var_os("HERALD_BENCH_SMOKE").is_some()
}

/// As the command line says, small and quick for a smoke run.
pub(crate) fn criterion() -> Criterion {
    let mut criterion = Criterion::default();
    if is_smoke() {
        criterion = criterion
            .sample_size(10)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(200));
    }
    criterion.configure_from_args()
}

/// Name of service `number`.
pub(crate) fn service_name(number: usize) -> ServiceName {
    let name = format!("service-{number}");
    name.parse().expect("a short label is a name")
}

/// Name of node `number`.
pub(crate) fn node_name(number: usize) -> NodeName {
    let name = format!("node-{number}");
    name.parse().expect("a short label is a name")
}

/// Fills an empty catalog: instance `i` of service `s` is on node
/// `(s * instances_per_service + i) % nodes`, at an address and port of its own. Each has an id of
/// 20 octets, one tag, one metadata pair, and one passing check with 40 octets of output.
pub(crate) fn fill(
    writer: &mut Writer,
    nodes: usize,
    services: usize,
    instances_per_service: usize,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut put = |operation, last| {
        batch.push(operation);
        if batch.len() == BATCH || last {
            apply(writer, batch.drain(..));
        }
    };
    for number in 0..nodes {
        put(register_node(number), number + 1 == nodes);
    }
    for service in 0..services {
        for instance in 0..instances_per_service {
            let number = service * instances_per_service + instance;
            let last = number + 1 == services * instances_per_service;
            let operation = register(number % nodes, service, number, Status::Passing);
            put(operation, last);
        }
    }
}

/// Applies each operation as a command of its own, all as one batch.
pub(crate) fn apply(writer: &mut Writer, operations: impl IntoIterator<Item = Operation>) {
    let first = writer.applied().0 + 1;
    let commands = operations.into_iter().zip(first..);
    let batch = commands.map(|(operation, index)| {
        let command = Command {
            request: 0,
            operations: vec![operation],
        };
        (Index(index), command)
    });
    let outcomes = writer.apply(batch.collect());
    outcomes.expect("the log is in order");
}

/// Registers node `number` with an address of its own and one metadata pair.
pub(crate) fn register_node(number: usize) -> Operation {
    let node = Node {
        id: None,
        name: node_name(number),
        address: Address::V4(address(10, number)),
        tagged_addresses: BTreeMap::new(),
        meta: Meta::from_pairs([("zone".to_owned(), format!("zone-{}", number % 3))]),
    };
    registration(node, false, None, Vec::new())
}

/// Registers instance `number` of a service on a node that is there, with its check.
pub(crate) fn register(node: usize, service: usize, number: usize, status: Status) -> Operation {
    let id = format!("instance-{number:011}");
    let service = Service {
        id: id.parse().expect("20 octets are an id"),
        name: service_name(service),
        tags: Arc::new(["production".into()]),
        address: Address::V4(address(11, number)),
        port: 20_000 + u16::try_from(number % 10_000).expect("below 10,000"),
        meta: Meta::from_pairs([("version".to_owned(), "1.0.0".to_owned())]),
        weights: Weights::default(),
        enable_tag_override: false,
        tagged_addresses: None,
    };
    let check = check(number, status);
    registration(stored_node(node), true, Some(service), vec![check])
}

/// Sets the status of the check of instance `number`.
pub(crate) fn set_status(node: usize, number: usize, status: Status) -> Operation {
    registration(stored_node(node), true, None, vec![check(number, status)])
}

/// Sets the status of a check of the node itself.
pub(crate) fn set_node_status(node: usize, status: Status) -> Operation {
    let check = Check {
        id: "node".parse().expect("4 octets are an id"),
        service_id: None,
        ..check(0, status)
    };
    registration(stored_node(node), true, None, vec![check])
}

fn check(number: usize, status: Status) -> Check {
    let id = format!("instance-{number:011}");
    Check {
        id: format!("service:{id}")
            .parse()
            .expect("28 octets are an id"),
        name: "Service check".into(),
        status,
        notes: "".into(),
        output: "TCP connect 10.123.123.123:20000: Success".into(),
        service_id: Some(id.parse().expect("20 octets are an id")),
        check_type: CheckType::Tcp,
        definition: None,
    }
}

fn stored_node(number: usize) -> Node {
    Node {
        id: None,
        name: node_name(number),
        address: Address::None,
        tagged_addresses: BTreeMap::new(),
        meta: Meta::default(),
    }
}

fn registration(
    node: Node,
    skip_node_update: bool,
    service: Option<Service>,
    checks: Vec<Check>,
) -> Operation {
    Operation::Register(Box::new(Registration {
        node,
        skip_node_update,
        service,
        checks,
    }))
}

fn address(network: u8, number: usize) -> Ipv4Addr {
    let [.., high, middle, low] = number.to_be_bytes();
    Ipv4Addr::new(network, high, middle, low)
}

/// Memory of this process that is in RAM, in octets.
pub(crate) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse::<usize>().ok());
    pages.unwrap_or(0) * 4_096
}

/// Numbers below `bound`, evenly spread, from a fixed seed.
pub(crate) struct Spread(u64);

impl Spread {
    /// From the start.
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // Xorshift: quick, and good enough to visit everything.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bound = u64::try_from(bound).expect("a usize has at most 64 bits");
        usize::try_from(self.0 % bound).expect("below a usize")
    }
}

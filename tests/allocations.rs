//! In the steady state a UDP query costs no allocation, from the socket to the socket, a filter none
//! for each row, and gossip none for a probe.
//!
//! The counter sees every thread of this program, so all is one test and the client allocates
//! nothing either.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[path = "allocations/gossip.rs"]
mod gossip;

use std::alloc::System;
use std::net::UdpSocket;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use herald::catalog::{Command, Operation, Registration, open_server};
use herald::dns::{
    self, Config, Freshness, Handler, Options, Received, Reply, Responder, Settings, Sources,
    StaticZones,
};
use herald::filter::{Filter, HealthRow, RowKind};
use herald::metrics::Metrics;
use herald::task::Tasks;
use herald::types::{Address, Meta, Node, Service, Weights};
use prometheus_client::metrics::counter::Counter;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Queries before the count starts, and while it runs.
const WARM: usize = 2_000;
const COUNTED: usize = 20_000;

/// Queries that are under way at one time, so that the engine sees batches.
const BURST: usize = 20;

/// Sets the response bit.
struct Identity;

impl Handler for Identity {
    fn handle(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        buffer[2] |= 0x80;
        Reply::Send(received.length)
    }
}

/// A query for `name` with id 7 and RD.
fn query(name: &str, record: u8) -> Vec<u8> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, record, 0, 1]);
    query
}

/// Real answers from a catalog where `web` has ten instances, each on a node of its own.
fn sources() -> Sources {
    let (mut writer, catalog) = open_server();
    for number in 1..=10 {
        let node = Node {
            id: None,
            name: format!("node-{number}").parse().unwrap(),
            address: Address::from_text(&format!("10.0.0.{number}")),
            tagged_addresses: [].into(),
            meta: Meta::default(),
        };
        let service = Service {
            id: "web".parse().unwrap(),
            name: "web".parse().unwrap(),
            tags: ["v1".into()].into(),
            address: Address::from_text(""),
            port: 8080,
            meta: Meta::default(),
            weights: Weights {
                passing: 1,
                warning: 1,
            },
            enable_tag_override: false,
            tagged_addresses: None,
        };
        let registration = Registration {
            node,
            skip_node_update: false,
            service: Some(service),
            checks: Vec::new(),
        };
        let operations = vec![Operation::Register(Box::new(registration))];
        let command = Command {
            request: 0,
            operations,
        };
        writer
            .apply(vec![(writer.applied().next(), command)])
            .unwrap();
    }
    let options = Options::new("dc1".parse().unwrap(), "node-1".parse().unwrap());
    Sources {
        catalog,
        settings: Arc::new(ArcSwap::from_pointee(Settings::new(options).unwrap())),
        freshness: Arc::new(Freshness::fresh()),
        unencodable: Counter::default(),
    }
}

fn ask(client: &UdpSocket, queries: &[Vec<u8>], answers: u8, count: usize) {
    let mut buffer = [0; 1_500];
    for _ in 0..count / BURST {
        for query in queries.iter().cycle().take(BURST) {
            client.send(query).unwrap();
        }
        for _ in 0..BURST {
            let length = client.recv(&mut buffer).unwrap();
            assert!(length >= 12 && buffer[2] & 0x80 != 0);
            assert_eq!((buffer[3] & 0x0f, buffer[7]), (0, answers));
        }
    }
}

/// Allocations of [`COUNTED`] queries after the first [`WARM`].
fn count<H: Handler>(
    addresses: &[&str],
    batching: bool,
    handlers: impl Fn() -> H + Send + Sync + 'static,
    queries: &[Vec<u8>],
    answers: u8,
) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let tasks = Tasks::new();
    let config = Config {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        port: 0,
        workers: NonZeroUsize::new(1),
        batching,
        // A slow machine sheds nothing here.
        queue_deadline: Duration::from_secs(60),
        queue_target: Duration::from_secs(60),
        ..Config::default()
    };
    let handle = {
        let _inside = runtime.enter();
        dns::start(
            &config,
            StaticZones::none(),
            handlers,
            &Metrics::new(),
            &tasks,
        )
        .unwrap()
    };
    let mut target = handle.addresses()[0];
    if target.ip().is_unspecified() {
        target.set_ip([127, 0, 0, 5].into());
    }
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(target).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    ask(&client, queries, answers, WARM);
    let region = Region::new(ALLOCATOR);
    ask(&client, queries, answers, COUNTED);
    let change = region.change();
    runtime.block_on(tasks.stop(Duration::from_secs(2)));
    change.allocations + change.reallocations
}

#[test]
fn the_steady_state_costs_no_allocation() {
    a_udp_query_costs_no_allocation();
    a_filtered_row_costs_no_allocation();
    gossip::a_probe_costs_no_allocation();
    gossip::an_answer_to_a_ping_costs_no_allocation();
    gossip::a_compound_costs_no_allocation();
    gossip::hostile_input_allocates_little();
    gossip::an_announced_push_pull_reserves_nothing();
}

/// Every operator on every type of field, but for regular expressions, which keep a cache.
fn a_filtered_row_costs_no_allocation() {
    let state = sources().catalog.state();
    let datacenter = "dc1".parse().unwrap();
    let filter = "not (Node.Address == `10.0.0.99` or Node.ID == x or Node.Meta.rack == 7) \
                  and Service.Port == 8080 and v1 in Service.Tags and v2 not in Service.Tags \
                  and Service.Meta is empty and Checks is empty and not Checks.Status != passing \
                  and Service.EnableTagOverride == false and Node.Node contains node \
                  and Service.TaggedAddresses.lan.Port != 80 and Service.Kind == ``";
    let filter = Filter::parse(filter, RowKind::Health).unwrap();
    let region = Region::new(ALLOCATOR);
    let mut taken = 0;
    for node in state.nodes() {
        for instance in node.instances() {
            let row = HealthRow {
                node,
                instance,
                datacenter: &datacenter,
            };
            taken += usize::from(filter.takes(&row));
        }
    }
    let change = region.change();
    assert_eq!(taken, 10);
    assert_eq!(change.allocations + change.reallocations, 0, "filtering");
}

fn a_udp_query_costs_no_allocation() {
    let any = [query("web.service.consul", 33)];
    for addresses in [
        &["127.0.0.1"][..],
        &["0.0.0.0"],
        &["127.0.0.1", "127.0.0.2"],
    ] {
        let allocations = count(addresses, true, || Identity, &any, 0);
        assert_eq!(allocations, 0, "batched on {addresses:?}");
    }
    let allocations = count(&["127.0.0.1"], false, || Identity, &any, 0);
    assert_eq!(allocations, 0, "one by one");

    let sources = sources();
    let real = move || Responder::new(sources.clone());
    for (what, name, record) in [
        ("SRV", "web.service.consul", 33),
        ("A", "web.service.consul", 1),
        ("A of a tag", "v1.web.service.dc1.consul", 1),
        ("SRV as RFC 2782 has it", "_web._tcp.service.consul", 33),
    ] {
        let queries = [query(name, record)];
        let allocations = count(&["127.0.0.1"], true, real.clone(), &queries, 3);
        assert_eq!(allocations, 0, "{what}");
    }
    let one = [
        query("node-7.node.consul", 1),
        query("7.0.0.10.in-addr.arpa", 12),
    ];
    let allocations = count(&["0.0.0.0"], true, real, &one, 1);
    assert_eq!(allocations, 0, "nodes and reverse names");
}

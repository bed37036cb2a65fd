//! The catalog: applying and publishing changes, lookups as a DNS worker makes them, and memory.
//!
//! `HERALD_BENCH_SMOKE=1` makes everything small and quick; `HERALD_BENCH_INSTANCES` sets the size
//! of the catalog whose memory is measured (1,000,000).

#![expect(clippy::print_stdout, reason = "benches print their figures")]

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use herald::catalog::index::{ServiceView, Slot};
use herald::catalog::{Reader, State, Writer, open_server, snapshot};
use herald::clock;
use herald::types::Status;

use support::Spread;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writes per second beside the hot lookups.
const WRITES_PER_SECOND: u32 = 10_000;

fn main() {
    let mut criterion = support::criterion();
    memory();
    check_change(&mut criterion);
    register(&mut criterion);
    node_fails(&mut criterion);
    lookup_hot(&mut criterion);
    lookup_uniform(&mut criterion);
    criterion.final_summary();
}

fn filled(nodes: usize, services: usize, instances_per_service: usize) -> (Writer, Reader) {
    let (mut writer, reader) = open_server();
    support::fill(&mut writer, nodes, services, instances_per_service);
    (writer, reader)
}

/// Resident memory for each instance: 100 instances per service and per node.
fn memory() {
    let smoke = if support::is_smoke() {
        20_000
    } else {
        1_000_000
    };
    let asked = std::env::var("HERALD_BENCH_INSTANCES").ok();
    let instances = asked.and_then(|text| text.parse().ok()).unwrap_or(smoke);
    let hundredth = instances / 100;
    let (before, start) = (support::resident(), clock::monotonic());
    let (writer, reader) = filled(hundredth, hundredth, 100);
    let took = start.elapsed();
    let octets = support::resident().saturating_sub(before);
    println!(
        "catalog/memory: {} octets per instance at {instances} instances \
         ({} MiB; filled in {took:.2?}, {:.2?} per instance)",
        octets / instances,
        octets >> 20,
        took / u32::try_from(instances).unwrap_or(u32::MAX),
    );
    snapshot(&reader.state(), instances);
    drop((writer, reader));
}

/// Time to write a snapshot, to read it, and to install it in an empty catalog.
fn snapshot(state: &State, instances: usize) {
    let mut octets = Vec::new();
    let start = clock::monotonic();
    snapshot::write(state, &mut octets).expect("memory takes all");
    let written = start.elapsed();
    let start = clock::monotonic();
    let restored = snapshot::read(&mut &octets[..]).expect("was just written");
    let read = start.elapsed();
    let (mut writer, reader) = open_server();
    let start = clock::monotonic();
    writer.install(restored).expect("it is newer than nothing");
    let installed = start.elapsed();
    let start = clock::monotonic();
    assert_eq!(reader.state().digest(), state.digest());
    println!(
        "catalog/snapshot: {} octets per instance at {instances} instances; written in \
         {written:.2?}, read in {read:.2?}, installed in {installed:.2?}; digest in {:.2?}",
        octets.len() / instances,
        start.elapsed() / 2,
    );
}

/// A check of one instance among 10 or 10,000 turns critical or recovers, in one catalog: 10,000
/// nodes run an instance of the big service each, ten of them one of the small service too.
fn check_change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catalog/apply/check_change");
    let nodes = 10_000;
    let (mut writer, _reader) = filled(nodes, 1, nodes);
    let small = (0..10).map(|node| support::register(node, 1, nodes + node, Status::Passing));
    support::apply(&mut writer, small);
    for instances in [10, nodes] {
        let first = if instances == nodes { 0 } else { nodes };
        let (mut spread, mut failing) = (Spread::new(), vec![false; instances]);
        let mut next = || {
            let place = spread.below(instances);
            failing[place] = !failing[place];
            support::set_status(place, first + place, status(failing[place]))
        };
        group.bench_function(BenchmarkId::from_parameter(instances), |bencher| {
            bencher.iter_batched(
                &mut next,
                |operation| support::apply(&mut writer, [operation]),
                BatchSize::SmallInput,
            );
        });
    }
}

fn status(failing: bool) -> Status {
    if failing {
        Status::Critical
    } else {
        Status::Passing
    }
}

/// New instances with a check each, in a catalog of 100,000.
fn register(criterion: &mut Criterion) {
    let services = if support::is_smoke() { 100 } else { 1_000 };
    let (mut writer, _reader) = filled(services, services, 100);
    let mut number = services * 100;
    let mut next = || {
        number += 1;
        support::register(
            number % services,
            number % services,
            number,
            Status::Passing,
        )
    };
    let mut group = criterion.benchmark_group("catalog/apply/register");
    for batch in [1_usize, 64] {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter_batched(
                || (0..batch).map(|_| next()).collect::<Vec<_>>(),
                |operations| support::apply(&mut writer, operations),
                BatchSize::SmallInput,
            );
        });
    }
}

/// A node with 1,000 services, each with 10 instances on nodes, turns critical or recovers.
fn node_fails(criterion: &mut Criterion) {
    let (mut writer, _reader) = open_server();
    for node in 0..10 {
        support::apply(&mut writer, [support::register_node(node)]);
        let instances = (0..1_000).map(|service| {
            let number = node * 1_000 + service;
            support::register(node, service, number, Status::Passing)
        });
        support::apply(&mut writer, instances);
    }
    let mut failing = false;
    criterion.bench_function("catalog/apply/node_fails/1000", |bencher| {
        bencher.iter(|| {
            failing = !failing;
            let operation = support::set_node_status(0, status(failing));
            support::apply(&mut writer, [operation]);
        });
    });
}

/// What a worker does for a name that it has met: load the view, pick an instance.
fn load(slot: &Slot<ServiceView>, place: usize) -> u16 {
    let view = slot.load();
    let instances = view.as_ref().map(|view| view.all.instances());
    let instance = instances.and_then(|instances| instances.get(place));
    instance.map_or(0, |instance| instance.port)
}

fn lookup_hot(criterion: &mut Criterion) {
    let (mut writer, reader) = filled(100, 1, 100);
    let slot = reader.dns().service(b"service-0").expect("was filled");
    let mut group = criterion.benchmark_group("catalog/lookup/hot");
    group.bench_function("quiet", |bencher| {
        bencher.iter(|| load(black_box(&slot), black_box(7)));
    });
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let (start, mut written) = (clock::monotonic(), 0_u32);
        while !stopped.load(Ordering::Relaxed) {
            let due = start.elapsed().as_secs_f64() * f64::from(WRITES_PER_SECOND);
            while f64::from(written) < due {
                let operation = support::set_status(3, 3, status(written % 2 == 0));
                support::apply(&mut writer, [operation]);
                written += 1;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        f64::from(written) / start.elapsed().as_secs_f64()
    });
    group.bench_function("writer", |bencher| {
        bencher.iter(|| load(black_box(&slot), black_box(7)));
    });
    stop.store(true, Ordering::Relaxed);
    let rate = thread.join().expect("the writer does not panic");
    println!("catalog/lookup/hot/writer: {rate:.0} writes/s beside it");
}

/// Random names and instances of catalogs of growing size: as a worker that has met all names, and
/// as one that has met none.
fn lookup_uniform(criterion: &mut Criterion) {
    let sizes: &[usize] = if support::is_smoke() {
        &[1_000, 10_000]
    } else {
        &[1_000, 10_000, 100_000, 1_000_000]
    };
    let mut group = criterion.benchmark_group("catalog/lookup/uniform");
    for &instances in sizes {
        let services = instances / 100;
        let (_writer, reader) = filled(services, services, 100);
        let names: Vec<_> = (0..services)
            .map(|number| support::service_name(number).folded())
            .collect();
        let slot = |name: &[u8]| reader.dns().service(name).expect("was filled");
        let slots: Vec<_> = names.iter().map(|name| slot(name)).collect();
        let mut spread = Spread::new();
        group.bench_function(BenchmarkId::new("met", instances), |bencher| {
            bencher.iter(|| load(&slots[spread.below(services)], spread.below(100)));
        });
        group.bench_function(BenchmarkId::new("new", instances), |bencher| {
            bencher.iter(|| load(&slot(&names[spread.below(services)]), spread.below(100)));
        });
    }
}

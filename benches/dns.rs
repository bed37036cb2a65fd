//! Building answers: octets in, octets out, no socket.
//!
//! `HERALD_BENCH_SMOKE=1` makes everything small and quick.

mod support;

use std::hint::black_box;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use criterion::{BenchmarkId, Criterion, Throughput};
use herald::catalog::{Reader, Writer, open_server};
use herald::clock;
use herald::dns::{
    Freshness, Handler, Options, Received, Reply, Responder, Settings, Sources, Transport,
};
use herald::types::Status;

use support::Spread;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writes per second beside the lookups in a whole catalog.
const WRITES_PER_SECOND: u32 = 10_000;
/// Octets of the buffer that the engine hands over.
const BUFFER_OCTETS: usize = 65_535;
/// Instances of each service of a whole catalog.
const INSTANCES: usize = 10;
/// Queries prepared for uniformly random names.
const QUERIES: usize = 1 << 16;

fn main() {
    let mut criterion = support::criterion();
    single(&mut criterion);
    growth(&mut criterion);
    whole_catalog(&mut criterion);
    criterion.final_summary();
}

/// One responder with its buffer.
struct Asker {
    responder: Responder,
    buffer: Vec<u8>,
}

impl Asker {
    fn new(catalog: Reader, change: impl FnOnce(&mut Options)) -> Self {
        let datacenter = "dc1".parse().expect("a label is a datacenter");
        let mut options = Options::new(datacenter, support::node_name(0));
        change(&mut options);
        let settings = Settings::new(options).expect("the defaults are sound");
        let sources = Sources {
            catalog,
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            freshness: Arc::new(Freshness::fresh()),
            unencodable: prometheus_client::metrics::counter::Counter::default(),
        };
        Self {
            responder: Responder::new(sources),
            buffer: vec![0; BUFFER_OCTETS],
        }
    }

    fn ask(&mut self, query: &Query) -> usize {
        let received = Received {
            length: query.length,
            transport: Transport::Udp,
            source: SocketAddr::from(([127, 0, 0, 1], 5353)),
        };
        self.buffer[..query.length].copy_from_slice(&query.octets[..query.length]);
        match self.responder.handle(&received, &mut self.buffer) {
            Reply::Send(length) => length,
            other => panic!("{other:?}"),
        }
    }

    /// Answers to a query.
    fn answers(&mut self, query: &Query) -> usize {
        self.ask(query);
        usize::from(u16::from_be_bytes([self.buffer[6], self.buffer[7]]))
    }
}

/// A query in place.
#[derive(Clone, Copy)]
struct Query {
    octets: [u8; 64],
    length: usize,
}

impl Query {
    fn new(name: &str, qtype: u8, edns: Option<u16>) -> Self {
        let mut octets = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in name.split('.') {
            octets.push(u8::try_from(label.len()).expect("labels are short"));
            octets.extend(label.as_bytes());
        }
        octets.extend([0, 0, qtype, 0, 1]);
        if let Some(size) = edns {
            octets[11] = 1;
            let [high, low] = size.to_be_bytes();
            octets.extend([0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
        }
        let length = octets.len();
        octets.resize(64, 0);
        Self {
            octets: octets.try_into().expect("names are short"),
            length,
        }
    }
}

const A: u8 = 1;
const SRV: u8 = 33;

fn filled(nodes: usize, services: usize, instances_per_service: usize) -> (Writer, Reader) {
    let (mut writer, reader) = open_server();
    support::fill(&mut writer, nodes, services, instances_per_service);
    (writer, reader)
}

fn no_metadata(options: &mut Options) {
    options.enable_additional_node_meta_txt = false;
}

/// A responder over a catalog that is filled when it is first wanted, so that a filter on the
/// command line also saves the filling.
struct Lazy {
    shape: (usize, usize, usize),
    change: fn(&mut Options),
    filled: Option<(Writer, Asker)>,
}

impl Lazy {
    fn new(shape: (usize, usize, usize), change: fn(&mut Options)) -> Self {
        Self {
            shape,
            change,
            filled: None,
        }
    }

    /// The responder, once it is seen to give so many answers.
    fn asker(&mut self, query: &Query, answers: Range<usize>) -> &mut Asker {
        let (_, asker) = self.filled.get_or_insert_with(|| {
            let (nodes, services, instances) = self.shape;
            let (writer, catalog) = filled(nodes, services, instances);
            (writer, Asker::new(catalog, self.change))
        });
        let found = asker.answers(query);
        assert!(answers.contains(&found), "{found} answers");
        asker
    }
}

/// One service: all of one instance, or three of a thousand.
fn single(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dns/answer");
    group.throughput(Throughput::Elements(1));
    let mut one = Lazy::new((1, 1, 1), no_metadata);
    let mut one_txt = Lazy::new((1, 1, 1), |_| {});
    let mut many = Lazy::new((100, 1, 1000), |_| {});
    let service = "service-0.service.consul";
    for (id, lazy, name, qtype, edns, answers) in [
        ("srv/1", &mut one, service, SRV, Some(1232), 1..2),
        ("srv/1_txt", &mut one_txt, service, SRV, Some(1232), 1..2),
        ("srv/3_of_1000", &mut many, service, SRV, None, 3..4),
    ] {
        let query = Query::new(name, qtype, edns);
        group.bench_function(id, |bencher| {
            let asker = lazy.asker(&query, answers.clone());
            bencher.iter(|| black_box(asker.ask(&query)));
        });
    }
    for (id, lazy, name, qtype, edns, answers) in [
        ("a/1", &mut one, service, A, Some(1232), 1..2),
        ("a/3_of_1000", &mut many, service, A, None, 3..4),
    ] {
        let query = Query::new(name, qtype, edns);
        group.bench_function(id, |bencher| {
            let asker = lazy.asker(&query, answers.clone());
            bencher.iter(|| black_box(asker.ask(&query)));
        });
    }
    for (id, name, qtype, answers) in [
        ("srv/edns_of_1000", service, SRV, 20..40),
        ("a/edns_of_1000", service, A, 60..80),
        ("nxdomain", "no.service.consul", A, 0..1),
        ("node", "node-7.node.consul", A, 1..2),
    ] {
        let query = Query::new(name, qtype, Some(1232));
        group.bench_function(id, |bencher| {
            let asker = many.asker(&query, answers.clone());
            bencher.iter(|| black_box(asker.ask(&query)));
        });
    }
    group.finish();
}

/// The same answer out of ever more instances.
fn growth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dns/answer/srv/growth");
    group.throughput(Throughput::Elements(1));
    for instances in [10, 100, 1000, 10_000] {
        let mut lazy = Lazy::new((instances.min(1000), 1, instances), |_| {});
        let query = Query::new("service-0.service.consul", SRV, None);
        group.bench_function(BenchmarkId::from_parameter(instances), |bencher| {
            let asker = lazy.asker(&query, 3..4);
            bencher.iter(|| black_box(asker.ask(&query)));
        });
    }
    group.finish();
}

/// One name, or uniformly random ones, in catalogs of up to a million instances, while another
/// thread writes.
fn whole_catalog(criterion: &mut Criterion) {
    let sizes: &[(&str, usize)] = if support::is_smoke() {
        &[("1k", 1000), ("100k", 100_000)]
    } else {
        &[("1k", 1000), ("100k", 100_000), ("1M", 1_000_000)]
    };
    for (label, instances) in sizes {
        let (services, nodes) = (instances / INSTANCES, instances / 100);
        let query = |service| Query::new(&format!("service-{service}.service.consul"), A, None);
        let hot = query(services / 2);
        let mut lazy = Lazy::new((nodes, services, INSTANCES), no_metadata);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut bench = |kind: &str, queries: &[Query]| {
                let mut group = criterion.benchmark_group(format!("dns/answer/catalog/{kind}"));
                group.throughput(Throughput::Elements(1));
                let mut next = 0;
                group.bench_function(*label, |bencher| {
                    lazy.asker(&hot, 3..4);
                    let (writer, asker) = lazy.filled.take().expect("filled just now");
                    stop.store(false, Ordering::Relaxed);
                    let writing = scope.spawn(|| write(writer, nodes, *instances, &stop));
                    let mut asker = asker;
                    bencher.iter(|| {
                        next = (next + 1) % queries.len();
                        black_box(asker.ask(&queries[next]))
                    });
                    stop.store(true, Ordering::Relaxed);
                    let writer = writing.join().expect("the log is in order");
                    lazy.filled = Some((writer, asker));
                });
                group.finish();
            };
            bench("hot", &[hot]);
            let mut spread = Spread::new();
            let names = (0..QUERIES).map(|_| query(spread.below(services)));
            bench("uniform", &names.collect::<Vec<_>>());
        });
    }
}

/// Changes checks all over the catalog, ten at a time, at a steady rate, until it is to stop.
fn write(mut writer: Writer, nodes: usize, instances: usize, stop: &AtomicBool) -> Writer {
    const BATCH: u32 = 10;
    let (mut spread, start) = (Spread::new(), clock::monotonic());
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = Duration::from_secs(1) * written / WRITES_PER_SECOND;
        if let Some(early) = due.checked_sub(start.elapsed()) {
            std::thread::sleep(early);
        }
        let changes = (0..BATCH).map(|_| {
            let number = spread.below(instances);
            let passes = spread.below(2) == 0;
            let status = if passes {
                Status::Passing
            } else {
                Status::Warning
            };
            support::set_status(number % nodes, number, status)
        });
        support::apply(&mut writer, changes);
        written += BATCH;
    }
    writer
}

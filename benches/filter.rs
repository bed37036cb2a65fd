//! Filters: what one costs for each row of `health/service`, and what reading one costs.
//!
//! `HERALD_BENCH_SMOKE=1` makes everything small and quick.

mod support;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use herald::catalog::{State, open_server};
use herald::filter::{Filter, HealthRow, RowKind};
use herald::types::Datacenter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Instances of the service that is read.
const ROWS: usize = 1_000;

/// What is measured, by name.
const FILTERS: [(&str, &str); 6] = [
    ("port", "Service.Port == 80"),
    ("tag", "v1 in Service.Tags"),
    ("address", "Node.Address == `10.0.0.7`"),
    ("meta", "Node.Meta.rack == 7 and Service.Meta.version != v1"),
    ("checks", "not Checks.Status != passing"),
    ("matches", "Service.ID matches `-[0-9]*7$`"),
];

fn main() {
    let mut criterion = support::criterion();
    rows(&mut criterion);
    read(&mut criterion);
    criterion.final_summary();
}

/// Time for all rows of a service; throughput counts rows.
fn rows(criterion: &mut Criterion) {
    let (mut writer, reader) = open_server();
    support::fill(&mut writer, ROWS, 1, ROWS);
    let state = reader.state();
    let datacenter: Datacenter = "dc1".parse().expect("a label is a datacenter");
    let mut group = criterion.benchmark_group("filter/rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("none", |bencher| {
        bencher.iter(|| health_rows(&state, &datacenter).map(black_box).count());
    });
    for (name, text) in FILTERS {
        let filter = Filter::parse(text, RowKind::Health).expect("the filter is in order");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let rows = health_rows(&state, &datacenter);
                rows.filter(|row| filter.takes(row)).count()
            });
        });
    }
    group.finish();
}

fn health_rows<'a>(
    state: &'a Arc<State>,
    datacenter: &'a Datacenter,
) -> impl Iterator<Item = HealthRow<'a>> {
    let service = state.service(&support::service_name(0));
    let instances = service.into_iter().flat_map(|entry| entry.instances());
    instances.filter_map(move |instance| {
        let node = state.node(&instance.node)?;
        Some(HealthRow {
            node,
            instance,
            datacenter,
        })
    })
}

/// Time to read a filter.
fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter/read");
    for (name, text) in FILTERS {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Filter::parse(black_box(text), RowKind::Health));
        });
    }
    group.finish();
}

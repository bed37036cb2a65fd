//! The log: appends per second on disk and in memory, how large its file gets, and how long it
//! takes to open.
//!
//! On disk an append counts once it is synced; the file system and what a sync takes there are
//! printed, and a file system in memory is refused. `HERALD_BENCH_DIRECTORY` says where (default:
//! below `target`), `HERALD_BENCH_SMOKE=1` makes everything small and quick.

#![expect(clippy::print_stdout, reason = "benches print their figures")]

#[path = "support/disk.rs"]
mod disk;
mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use disk::Place;
use herald::raft::{Load, open_load, run_load};
use herald::task::Tasks;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Octets of a command: about a registration with one check.
const OCTETS: usize = 300;

fn main() {
    let place = Place::new("raft");
    println!("{}", place.describe());
    let runtime = Runtime::new().expect("the system has threads");
    let mut criterion = support::criterion();
    appends(&mut criterion, &runtime, &place);
    growth(&runtime, &place);
    criterion.final_summary();
}

fn appends(criterion: &mut Criterion, runtime: &Runtime, place: &Place) {
    for (name, on_disk) in [("disk", true), ("memory", false)] {
        let mut group = criterion.benchmark_group(format!("raft/append/{name}"));
        group.sample_size(10);
        for (in_flight, entries) in [(1, 100), (64, 5_000), (512, 20_000)] {
            let load = Load {
                entries,
                in_flight,
                octets: OCTETS,
                kept: u64::MAX,
            };
            group.throughput(Throughput::Elements(entries));
            group.bench_function(BenchmarkId::from_parameter(in_flight), |bencher| {
                bencher.iter_custom(|rounds| {
                    let rounds = (0..rounds).map(|_| {
                        let directory = on_disk.then(|| place.fresh());
                        runtime.block_on(run(directory.as_deref(), None, load))
                    });
                    rounds.sum()
                });
            });
        }
        group.finish();
    }
}

/// A rolling load: what the file takes, and how long it takes to open after an end and a kill.
fn growth(runtime: &Runtime, place: &Place) {
    let entries = if support::is_smoke() {
        20_000
    } else {
        1_000_000
    };
    let load = Load {
        entries,
        in_flight: 512,
        octets: OCTETS,
        kept: entries / 10,
    };
    let (directory, image) = (place.fresh(), place.fresh());
    let took = runtime.block_on(run(Some(&directory), Some(&image), load));
    let mebibytes = |directory: &Path| {
        let file = fs::metadata(directory.join("log.redb")).expect("the log is there");
        file.len() >> 20
    };
    println!(
        "raft/growth: {entries} entries of {OCTETS} octets, {} kept, in {took:?}: {} MiB",
        load.kept,
        mebibytes(&directory)
    );
    for (end, directory) in [("an end", &directory), ("a kill", &image)] {
        let tasks = Tasks::new();
        let opened = runtime.block_on(open_load(directory, &tasks));
        let (entries, took) = opened.expect("the log opens");
        println!("raft/open: {entries} entries after {end} in {took:?}");
    }
}

async fn run(directory: Option<&Path>, image: Option<&Path>, load: Load) -> Duration {
    let tasks = Tasks::new();
    let took = run_load(directory, image, load, &tasks).await;
    if image.is_none()
        && let Some(directory) = directory
    {
        fs::remove_dir_all(directory).expect("nobody has the log any more");
    }
    took.expect("the disk holds")
}

//! Pools of membership protocols on a simulated network: thousands of runs of what must hold, a
//! thousand members that join at once, and what two hundred cost.
//!
//!     cargo bench --bench membership            all of it; ends with an error if something fails
//!     cargo bench --bench membership -- 17      each property with the seed 17, as in a failure
//!     HERALD_BENCH_SMOKE=1                      small and quick
//!
//! The time is that of one thread for members and network together.

#![expect(clippy::print_stdout, reason = "a bench shows a table")]

#[path = "membership/network.rs"]
mod network;
#[path = "membership/properties.rs"]
mod properties;
mod support;

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use herald::clock;
use herald::gossip::swim::Config;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use network::{Network, Traffic};
use properties::{Property, Run};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Octets of a member's meta: the tags of an agent take about as many.
const META_OCTETS: usize = 180;

fn main() -> ExitCode {
    let seed = std::env::args().find_map(|argument| argument.parse().ok());
    let mut failed = false;
    println!(
        "{:50} {:>6} {:>9} {:>9} {:>9} {:>7} {:>7}",
        "property", "runs", "mean", "greatest", "bound", "deaths", "refuted"
    );
    let small = support::is_smoke();
    for (property, runs) in properties::ALL.into_iter().zip([2_000, 2_000, 500]) {
        let runs = if small { runs / 100 } else { runs };
        let seeds = seed.map_or(0..runs, |seed| seed..seed + 1);
        failed |= !try_property(property, seeds);
    }
    if seed.is_none() {
        let results = [
            storm(if small { 100 } else { 1_000 }),
            cost(if small { 50 } else { 200 }),
        ];
        for wrong in results.into_iter().filter_map(Result::err) {
            println!("failed: {wrong}");
            failed = true;
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Runs a property with each seed and shows a line. Whether it held.
fn try_property((name, property): Property, seeds: std::ops::Range<u64>) -> bool {
    let mut runs = 0_u32;
    let mut total = Run::default();
    let mut greatest = Run::default();
    for seed in seeds {
        let run = match property(seed) {
            Ok(run) => run,
            Err(wrong) => {
                println!("failed: {name}: {wrong}");
                println!("repeat with: cargo bench --bench membership -- {seed}");
                return false;
            }
        };
        runs += 1;
        total.took += run.took;
        total.false_deaths += run.false_deaths;
        total.refutations += run.refutations;
        greatest.took = greatest.took.max(run.took);
        greatest.bound = greatest.bound.max(run.bound);
    }
    let mean = total.took.as_secs_f64() / f64::from(runs.max(1));
    println!(
        "{name:50} {runs:>6} {mean:>7.1} s {:>7.1} s {:>7.1} s {:>7} {:>7}",
        greatest.took.as_secs_f64(),
        greatest.bound.as_secs_f64(),
        total.false_deaths,
        total.refutations,
    );
    true
}

/// All but the first join it within two seconds.
fn storm(count: usize) -> Result<(), String> {
    let start = clock::monotonic();
    let mut network = Network::new(1, Config::lan(), count, META_OCTETS);
    for who in 1..count {
        let after = network.random_time(Duration::from_secs(2));
        network.join(who, 0, after);
    }
    let step = Duration::from_secs(1);
    let took = network.run_until(Duration::from_secs(300), step, Network::agrees)?;
    println!("\n{count} members join within 2 s: all know all after {took:?}");
    show(count, took, network.traffic, start.elapsed());
    network.run_for(Duration::from_secs(60));
    quiet(&mut network)?;
    if network.false_deaths != 0 {
        return Err(format!("{} false deaths in a storm", network.false_deaths));
    }
    Ok(())
}

/// A minute of a pool that has nothing to tell.
fn quiet(network: &mut Network) -> Result<(), String> {
    let minute = Duration::from_secs(60);
    network.traffic = Traffic::default();
    let start = clock::monotonic();
    network.run_for(minute);
    let elapsed = start.elapsed();
    println!("a quiet minute of {} members", network.len());
    show(network.len(), minute, network.traffic, elapsed);
    network.agrees()
}

/// What a member costs in a pool of a size as sites have them.
fn cost(count: usize) -> Result<(), String> {
    println!();
    let region = Region::new(ALLOCATOR);
    let mut network = Network::new(2, Config::lan(), count, META_OCTETS);
    for who in 1..count {
        network.join(
            who,
            0,
            Duration::from_millis(10) * u32::try_from(who).unwrap_or(0),
        );
    }
    let step = Duration::from_secs(1);
    network.run_until(Duration::from_secs(300), step, Network::agrees)?;
    network.run_for(Duration::from_secs(60));
    let held = region.change();
    let octets = held.bytes_allocated.saturating_sub(held.bytes_deallocated);
    quiet(&mut network)?;
    let member = octets / count;
    println!(
        "memory: {member} octets a member, {} for each node that it knows",
        member / count
    );
    Ok(())
}

/// Shows what a pool has cost, for each member and second.
fn show(count: usize, time: Duration, traffic: Traffic, elapsed: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let each = |total: u64| total as f64 / count as f64 / time.as_secs_f64();
    let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    println!(
        "  for each member and second: {:.1} packets, {:.1} messages, {:.0} octets; {:.2} streams, \
         {:.0} octets; {:.1} us of time",
        each(traffic.packets),
        each(traffic.messages),
        each(traffic.packet_octets),
        each(traffic.streams),
        each(traffic.stream_octets),
        each(nanos) / 1_000.0,
    );
}

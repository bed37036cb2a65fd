//! What the failure of a node with many services does to the latency of DNS: half of the time
//! nothing changes, half of the time the node's own check turns critical and back, which takes one
//! instance out of each of its services and puts it in again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use herald::clock::monotonic;

use super::process::Server;
use super::{Load, Seen, millis, query, saturate, say};

/// Time between two changes of the node.
const INTERVAL: Duration = Duration::from_millis(500);

/// Share of the saturation that is asked for: no queue builds up by itself.
const LOAD: f64 = 0.25;

/// Rounds, each with a quiet and a busy half.
const ROUNDS: u32 = 5;

/// Starts the server, which must fill its catalog (`filled:SERVICES:INSTANCES`), and prints the
/// latencies of both halves of SECONDS.
pub(crate) fn run(seconds: &str, program: &str, rest: &[String]) -> anyhow::Result<()> {
    let time = Duration::from_secs(seconds.parse().context("SECONDS")?) / (2 * ROUNDS);
    let mut server = Server::start(program, rest)?;
    let mut load = Load::new(server.address, query("service-0.service.consul", "SRV")?)?;
    let rate = LOAD * saturate(&mut load, Duration::from_secs(2))?;
    let (mut quiet, mut busy, mut changes) = (Seen::new(), Seen::new(), Vec::new());
    for _ in 0..ROUNDS {
        quiet.add(&load.open_loop(rate, time)?);
        quiet.add(&load.settle());
        let is_over = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let changing = scope.spawn(|| change(&mut server, &is_over));
            let seen = load.open_loop(rate, time);
            is_over.store(true, Ordering::Relaxed);
            changes.extend(changing.join().expect("it does not panic")?);
            seen
        });
        busy.add(&seen?);
        busy.add(&load.settle());
    }
    changes.sort_unstable();
    say(&format!(
        "{rate:.0} queries/s; {} changes of the node, each published in {:.2} ms (median), {:.2} ms \
         (longest)\n",
        changes.len(),
        millis(changes.get(changes.len() / 2).copied().unwrap_or_default()),
        millis(changes.last().copied().unwrap_or_default()),
    ))?;
    say("| DNS while | answered | lost | p50 | p99 | longest |\n|---|---|---|---|---|---|")?;
    for (name, seen) in [
        ("nothing changes", &quiet),
        ("the node fails and recovers", &busy),
    ] {
        say(&format!(
            "| {name} | {} | {} | {:.2} ms | {:.2} ms | {:.2} ms |",
            seen.answers,
            seen.sent - seen.answers,
            seen.quantile(0.50),
            seen.quantile(0.99),
            millis(seen.longest),
        ))?;
    }
    server.stop()
}

/// Lets the node fail and recover until it is over; how long the server took for each.
fn change(server: &mut Server, is_over: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let start = monotonic();
    let due = |times: &[Duration]| INTERVAL * u32::try_from(times.len()).unwrap_or(u32::MAX);
    // An even number, so that the node is well in the end.
    while times.len() % 2 == 1 || !is_over.load(Ordering::Relaxed) {
        if start.elapsed() < due(&times) {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let command = if times.len() % 2 == 0 {
            "fail"
        } else {
            "recover"
        };
        let applied = server.ask(command)?.get("applied_us");
        times.push(Duration::from_micros(applied));
    }
    Ok(times)
}

//! Three servers under load, on a real disk, for `benches/cluster/run`.
//!
//! `registrations ROUNDS SECONDS HERALD [CONSUL]` registers services over 1, 64 and 512 connections.
//!
//! `visible SAMPLES HERALD [CONSUL]` shows when what was acknowledged is in DNS.
//!
//! `kills KILLS HERALD [CONSUL]` kills the leader again and again.
//!
//! `clients ROUNDS SECONDS LOAD HERALD` asks a client agent and a server, with `benches/overload`'s
//! load.
//!
//! `restart SERVICES HERALD` kills a server with a hundred instances of each, and starts it again.
//!
//! `disk` says which file system this is on. HERALD and CONSUL are programs; the servers are started
//! by this program and end with it.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and times are small and never negative"
)]

use std::time::Duration;

use anyhow::{Context, Result};
use disk::Place;
use servers::Kind;

mod clients;
#[path = "../support/connection.rs"]
mod connection;
#[path = "../support/disk.rs"]
mod disk;
mod figures;
mod kills;
mod registrations;
mod restart;
mod servers;
mod visible;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let place = Place::new("cluster");
    runtime.block_on(async {
        tokio::select! {
            done = carry_out(&arguments, &place) => done,
            // Ended by hand: the servers and their files go with what is dropped here.
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    })
}

async fn carry_out(arguments: &[&str], place: &Place) -> Result<()> {
    match arguments {
        ["registrations", rounds, seconds, programs @ ..] if !programs.is_empty() => {
            let rounds = rounds.parse().context("ROUNDS")?;
            let time = Duration::from_secs(seconds.parse().context("SECONDS")?);
            registrations::measure(rounds, time, &beside(programs), place).await
        }
        ["visible", samples, programs @ ..] if !programs.is_empty() => {
            let samples = samples.parse().context("SAMPLES")?;
            visible::measure(samples, &beside(programs), place).await
        }
        ["kills", kills, programs @ ..] if !programs.is_empty() => {
            let mut kinds = beside(programs);
            kinds.extend(programs.get(1).map(|consul| Kind::quick_consul(consul)));
            kills::measure(kills.parse().context("KILLS")?, &kinds, place).await
        }
        ["clients", rounds, seconds, load, herald] => {
            let rounds = rounds.parse().context("ROUNDS")?;
            clients::measure(rounds, seconds, load, herald, place).await
        }
        ["restart", services, herald] => {
            let services = services.parse().context("SERVICES")?;
            restart::measure(services, herald, place).await
        }
        ["disk"] => figures::say(&place.describe()),
        _ => figures::say(
            "usage: cluster_load registrations ROUNDS SECONDS HERALD [CONSUL]\n       \
             cluster_load visible SAMPLES HERALD [CONSUL]\n       \
             cluster_load kills KILLS HERALD [CONSUL]\n       \
             cluster_load clients ROUNDS SECONDS LOAD HERALD\n       \
             cluster_load restart SERVICES HERALD\n       \
             cluster_load disk\n",
        ),
    }
}

/// herald, and Consul if it is there.
fn beside<'a>(programs: &[&'a str]) -> Vec<Kind<'a>> {
    let herald = programs.first().map(|herald| Kind::herald(herald));
    let consul = programs.get(1).map(|consul| Kind::consul(consul));
    herald.into_iter().chain(consul).collect()
}

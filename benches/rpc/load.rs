//! Load for the bench of the agent RPC: calls to servers that run already.
//!
//! `calls ROUNDS SECONDS SERVER …` calls with one stream and with many. `sessions COUNT SECONDS
//! SERVER …` holds sessions open that do nothing. `waits COUNT CHANGES SERVER …` holds blocked
//! reads, makes changes and sees who wakes. A SERVER is `NAME=PID@ADDRESS:PORT`.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and times are small and never negative"
)]

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use herald::task::Tasks;

use server::Server;

mod calls;
mod requests;
mod server;
mod sessions;
mod waits;

const USAGE: &str = "usage: rpc_load calls ROUNDS SECONDS SERVER ...\n       \
    rpc_load sessions COUNT SECONDS SERVER ...\n       \
    rpc_load waits COUNT CHANGES SERVER ...\n\
    a SERVER is NAME=PID@ADDRESS:PORT\n";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, first, second, servers @ ..] = arguments.as_slice() else {
        return say(USAGE);
    };
    let servers = servers.iter().map(|text| text.parse());
    let servers: Vec<Server> = servers.collect::<Result<_>>()?;
    let number = |text: &String| text.parse::<usize>().with_context(|| text.clone());
    let (first, second) = (number(first)?, number(second)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let tasks = Tasks::new();
        let table = match mode.as_str() {
            "calls" => {
                let time = Duration::from_secs(second as u64);
                calls::measure(first, time, &servers, &tasks).await?
            }
            "sessions" => {
                let time = Duration::from_secs(second as u64);
                sessions::measure(first, time, &servers, &tasks).await?
            }
            "waits" => waits::measure(first, second, &servers, &tasks).await?,
            _ => USAGE.to_owned(),
        };
        say(&table)
    })
}

fn say(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// The smallest latency that this share of all stays within.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// The middle one; of two the greater.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Rows under a heading, as a table in Markdown.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&text| text.to_owned()).collect();
    let rule = vec!["---".to_owned(); head.len()];
    let rows = rows.iter().cloned();
    [head, rule].into_iter().chain(rows).map(line).collect()
}

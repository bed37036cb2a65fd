//! Load for the registrations bench: new services, each with a check, at agents that run already.
//!
//! `ROUNDS SECONDS COUNT NAME=PID@ADDRESS:PORT …` registers at one agent after the other, over one
//! connection and then over many, for SECONDS or until COUNT services are registered. Every round
//! begins with an empty agent. At its end every service that was acknowledged must be in the agent
//! and, with its check passing, in the catalog, or this fails.
//!
//! An agent may acknowledge first and tell the catalog later, so its CPU is counted until it is
//! quiet.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and times are small and never negative"
)]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agent::Agent;
use anyhow::{Context, Result, bail};
use connection::Connection;
use herald::clock::monotonic;
use serde_json::json;
use tokio::task::JoinSet;

mod agent;
#[path = "../support/connection.rs"]
mod connection;

/// Connections that register side by side.
const CONNECTIONS: [usize; 2] = [1, 64];

/// Connections that clear an agent between rounds.
const CLEARING: usize = 64;

/// Longest wait until the catalog has what was acknowledged: more than the minute between two of
/// an agent's comparisons with it.
const CATALOG_WAIT: Duration = Duration::from_secs(150);

/// Time to live of the checks: they do not run out while this is measured.
const TTL: &str = "30m";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, seconds, count, agents @ ..] = arguments.as_slice() else {
        return say("usage: registrations_load ROUNDS SECONDS COUNT NAME=PID@ADDRESS:PORT ...\n");
    };
    let plan = Plan {
        rounds: rounds.parse().context("ROUNDS")?,
        time: Duration::from_secs(seconds.parse().context("SECONDS")?),
        count: count.parse().context("COUNT")?,
    };
    let agents: Vec<Agent> = agents
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(&plan, &agents))
}

struct Plan {
    rounds: usize,
    time: Duration,
    /// Most services of one round.
    count: usize,
}

/// What was seen of one agent with so many connections, over all rounds.
#[derive(Default)]
struct Seen {
    /// Registrations per second of each round.
    rates: Vec<f64>,
    /// Shares of a core that the agent took while registrations came.
    busy: Vec<f64>,
    /// From a request to its answer.
    latencies: Vec<Duration>,
    cpu: Duration,
    /// Acknowledged services that the catalog did not have when the last one was acknowledged.
    behind: usize,
}

async fn measure(plan: &Plan, agents: &[Agent]) -> Result<()> {
    let mut seen = CONNECTIONS.map(|_| agents.iter().map(|_| Seen::default()).collect::<Vec<_>>());
    for round in 1..=plan.rounds {
        for (connections, seen) in CONNECTIONS.iter().zip(&mut seen) {
            for (agent, seen) in agents.iter().zip(seen) {
                let name = format!("web-{round}-{connections}");
                one_round(plan, agent, *connections, name, seen).await?;
                eprintln!(
                    "round {round}: {}, connections: {connections}, registrations/s: {:.0}",
                    agent.name,
                    seen.rates.last().copied().unwrap_or_default(),
                );
            }
        }
    }
    for seen in &mut seen {
        seen.iter_mut().for_each(Seen::sort);
    }
    say(&table(agents, &seen))
}

/// Registers, sees that all of it arrived, and leaves the agent empty.
async fn one_round(
    plan: &Plan,
    agent: &Agent,
    connections: usize,
    name: String,
    seen: &mut Seen,
) -> Result<()> {
    let before = agent.quiet().await?;
    let job = Arc::new(Job {
        name,
        count: plan.count,
        until: monotonic() + plan.time,
        next: AtomicUsize::new(0),
    });
    let begin = monotonic();
    let acknowledged = carry_out(agent, connections, &job, Job::register).await?;
    let (elapsed, busy) = (begin.elapsed(), agent.cpu()?.saturating_sub(before));
    // One read, whose cost is small beside that of all the registrations.
    let known = agent.catalog_services().await?;
    let ids: Vec<String> = acknowledged.iter().map(|(id, _)| id.clone()).collect();
    seen.behind += ids.iter().filter(|id| !known.contains(*id)).count();
    seen.cpu += agent.quiet().await?.saturating_sub(before);
    seen.rates.push(ids.len() as f64 / elapsed.as_secs_f64());
    seen.busy.push(busy.as_secs_f64() / elapsed.as_secs_f64());
    let latencies = acknowledged.into_iter().map(|(_, latency)| latency);
    seen.latencies.extend(latencies);
    verify(agent, &ids).await?;
    clear(agent, &job.name, ids.len()).await
}

/// What the connections of a round share.
struct Job {
    /// What the ids of this round begin with.
    name: String,
    count: usize,
    until: Instant,
    next: AtomicUsize,
}

impl Job {
    /// The next service, if there is to be one.
    fn next(&self) -> Option<String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let wanted = number < self.count && monotonic() < self.until;
        wanted.then(|| format!("{}-{number}", self.name))
    }

    /// The request that registers a service under its id, with a check that passes.
    fn register(id: &str) -> (String, String) {
        let check = json!({"TTL": TTL, "Status": "passing"});
        let body = json!({"ID": id, "Name": id, "Port": 8080, "Tags": ["bench"], "Check": check});
        ("/v1/agent/service/register".to_owned(), body.to_string())
    }

    /// The request that removes it.
    fn deregister(id: &str) -> (String, String) {
        let path = format!("/v1/agent/service/deregister/{id}");
        (path, String::new())
    }
}

/// Sends the request of every service of a job; the ids in the order of each connection, with the
/// time that the answer took.
async fn carry_out(
    agent: &Agent,
    connections: usize,
    job: &Arc<Job>,
    request: fn(&str) -> (String, String),
) -> Result<Vec<(String, Duration)>> {
    let mut running = JoinSet::new();
    for _ in 0..connections {
        let mut connection = Connection::open(agent.address).await?;
        let job = Arc::clone(job);
        running.spawn(async move {
            let mut done = Vec::new();
            while let Some(id) = job.next() {
                let (path, body) = request(&id);
                let sent = monotonic();
                connection.put(&path, body).await?;
                done.push((id, sent.elapsed()));
            }
            anyhow::Ok(done)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = running.join_next().await {
        all.append(&mut done??);
    }
    Ok(all)
}

/// Waits until the agent and the catalog have every service, and the catalog its check.
async fn verify(agent: &Agent, acknowledged: &[String]) -> Result<()> {
    let begin = monotonic();
    loop {
        let places = [
            ("the agent's services", agent.own_services().await?),
            ("the catalog's services", agent.catalog_services().await?),
            ("the passing checks", agent.passing_services().await?),
        ];
        let lost = places.iter().find_map(|(place, known)| {
            let missing = acknowledged.iter().filter(|id| !known.contains(*id));
            let count = missing.count();
            (count > 0).then(|| format!("{count} services are not among {place}"))
        });
        match lost {
            None => return Ok(()),
            Some(lost) if begin.elapsed() > CATALOG_WAIT => {
                bail!("{} acknowledged and lost: {lost}", agent.name)
            }
            Some(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Removes the services of a round, whose numbers have no gaps.
async fn clear(agent: &Agent, name: &str, count: usize) -> Result<()> {
    let removal = Arc::new(Job {
        name: name.to_owned(),
        count,
        until: monotonic() + CATALOG_WAIT,
        next: AtomicUsize::new(0),
    });
    carry_out(agent, CLEARING, &removal, Job::deregister).await?;
    let begin = monotonic();
    loop {
        let own = agent.own_services().await?;
        let catalog = agent.catalog_services().await?;
        let left = own.union(&catalog).filter(|id| id.starts_with(name));
        match left.count() {
            0 => return Ok(()),
            left if begin.elapsed() > CATALOG_WAIT => {
                bail!("{} still has {left} services that were removed", agent.name)
            }
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

impl Seen {
    fn sort(&mut self) {
        self.rates.sort_by(f64::total_cmp);
        self.busy.sort_by(f64::total_cmp);
        self.latencies.sort_unstable();
    }

    fn quantile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        let latency = self.latencies.get(place).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e3
    }

    /// Microseconds per registration.
    fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len().max(1) as f64
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied().unwrap_or_default();
    match sorted.len() % 2 {
        1 => upper,
        _ => upper.midpoint(sorted.get(middle.wrapping_sub(1)).copied().unwrap_or(upper)),
    }
}

/// A row of the table: what it shows, how, and whether a ratio of agents means something.
type Row = (&'static str, fn(&Seen) -> String, Option<fn(&Seen) -> f64>);

const ROWS: [Row; 6] = [
    (
        "registrations/s",
        |seen| format!("{:.0}", median(&seen.rates)),
        Some(|seen| median(&seen.rates)),
    ),
    (
        "latency p50, p99, longest",
        |seen| {
            let [half, most, all] = [0.5, 0.99, 1.0].map(|share| seen.quantile(share));
            format!("{half:.2} ms, {most:.2} ms, {all:.1} ms")
        },
        None,
    ),
    (
        "CPU per registration",
        |seen| format!("{:.0} µs", seen.cpu_each()),
        Some(Seen::cpu_each),
    ),
    (
        "of a core meanwhile",
        |seen| format!("{:.0} %", 100.0 * median(&seen.busy)),
        None,
    ),
    (
        "not in the catalog at the last answer",
        |seen| format!("{} of {}", seen.behind, seen.latencies.len()),
        None,
    ),
    // `verify` has seen all of them, else there would be no table.
    ("acknowledged and lost", |_| "0".to_owned(), None),
];

fn table(agents: &[Agent], seen: &[Vec<Seen>]) -> String {
    let mut lines = Vec::new();
    let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
    let ratio = match names.as_slice() {
        [first, second] => format!(" {first} / {second} |"),
        _ => String::new(),
    };
    lines.push(format!(
        "\n| connections | | {} |{ratio}",
        names.join(" | ")
    ));
    let columns = 2 + names.len() + usize::from(names.len() == 2);
    lines.push(format!("|{}", "---|".repeat(columns)));
    for (connections, seen) in CONNECTIONS.iter().zip(seen) {
        for (title, show, figure) in ROWS {
            let shown: Vec<String> = seen.iter().map(show).collect();
            let ratio = match (seen.as_slice(), figure) {
                ([first, second], Some(figure)) => {
                    format!(" {:.2} |", figure(first) / figure(second))
                }
                ([_, _], None) => " |".to_owned(),
                _ => String::new(),
            };
            lines.push(format!(
                "| {connections} | {title} | {} |{ratio}",
                shown.join(" | ")
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn say(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

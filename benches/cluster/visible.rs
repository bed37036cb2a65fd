//! How long after its acknowledgement a registration is in DNS, at the server that acknowledged it
//! and at all three. From the acknowledgement on each server is asked without a pause.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use herald::clock::monotonic;
use tokio::task::LocalSet;

use super::connection::Connection;
use super::disk::Place;
use super::figures::{Table, spread};
use super::registrations::{Job, carry_out, clear, registration};
use super::servers::{Cluster, Kind, Server, look_up};

/// Connections that register meanwhile, in the second half.
const OTHERS: usize = 64;
/// Longest wait until a server has it.
const VISIBLE: Duration = Duration::from_secs(30);
/// Nodes that the services are on.
const NODES: usize = 100;

/// A line of the table: its title, and what it shows of one cluster.
type Row = (&'static str, fn(&Seen) -> String);

/// What was seen of one cluster.
#[derive(Default)]
struct Seen {
    /// From the acknowledgement to the answer of the last of all servers.
    everywhere: Vec<Duration>,
    /// To the answer of the server that acknowledged.
    here: Vec<Duration>,
    /// First answers of that server without it.
    not_at_once: usize,
}

pub(crate) async fn measure(samples: usize, kinds: &[Kind<'_>], place: &Place) -> Result<()> {
    let clusters = Cluster::start_all(kinds, place).await?;
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.title).collect();
    let mut table = Table::new(["acknowledged, then in DNS", ""].into_iter().chain(titles));
    for others in [0, OTHERS] {
        let mut all = Vec::new();
        for cluster in &clusters {
            cluster.leader().await?;
            cluster.quiet().await?;
            let seen = one_half(cluster, samples, others).await?;
            eprintln!(
                "{}, {others} others: {}",
                cluster.title,
                spread(&seen.everywhere)
            );
            all.push(seen);
        }
        let rows: [Row; 3] = [
            ("on all three: p50, p99, longest", |seen| {
                spread(&seen.everywhere)
            }),
            ("on the one that acknowledged", |seen| spread(&seen.here)),
            ("there, not at once", |seen| {
                format!("{} of {}", seen.not_at_once, seen.here.len())
            }),
        ];
        for (title, shown) in rows {
            let meanwhile = match others {
                0 => "one registers".to_owned(),
                others => format!("{others} more register"),
            };
            let mut cells = vec![meanwhile, title.to_owned()];
            cells.extend(all.iter().map(shown));
            table.row(&cells);
        }
    }
    table.print()
}

async fn one_half(cluster: &Cluster, samples: usize, others: usize) -> Result<Seen> {
    let name = format!("seen-{others}");
    let tasks = LocalSet::new();
    let job = Job::new(
        format!("{name}-other"),
        monotonic() + Duration::from_secs(600),
    );
    let seen = tasks
        .run_until(async {
            let over = Rc::clone(&job);
            let measured = async {
                let seen = sample(cluster, &name, samples).await;
                over.end();
                seen
            };
            let (seen, done) = tokio::join!(measured, carry_out(cluster, others, job));
            done?;
            seen
        })
        .await?;
    clear(cluster, &name).await?;
    Ok(seen)
}

/// Registers one service after the other, each at the next server.
async fn sample(cluster: &Cluster, name: &str, samples: usize) -> Result<Seen> {
    let mut connections: Vec<Connection> = Vec::new();
    for server in &cluster.servers {
        connections.push(server.connect().await?);
    }
    let mut seen = Seen::default();
    for number in 0..samples {
        let (name, place) = (format!("{name}-{number}"), number % connections.len());
        let body = registration(&name, number % NODES);
        if let Some(connection) = connections.get_mut(place) {
            connection.put("/v1/catalog/register", body).await?;
        }
        let since = monotonic();
        let [first, second, third] = cluster.servers.as_slice() else {
            continue;
        };
        let ask = |server| until_there(server, &name, since);
        let asked = tokio::try_join!(ask(first), ask(second), ask(third))?;
        let all = [asked.0, asked.1, asked.2];
        seen.everywhere
            .extend(all.iter().map(|(time, _)| *time).max());
        if let Some((time, asked)) = all.get(place) {
            seen.here.push(*time);
            seen.not_at_once += usize::from(*asked > 1);
        }
    }
    Ok(seen)
}

/// Asks until the answer has it; since when that is so, and how often it was asked.
async fn until_there(server: &Server, name: &str, since: Instant) -> Result<(Duration, u32)> {
    let mut asked = 0;
    loop {
        asked += 1;
        let answer = look_up(server.dns(), name).await?;
        let elapsed = since.elapsed();
        if !answer.message.answers.is_empty() {
            return Ok((elapsed, asked));
        }
        ensure!(elapsed < VISIBLE, "{} does not know {name}", server.name);
    }
}

//! Registrations per second: `PUT /v1/catalog/register` of new services with a check each, over
//! connections that are kept and spread over the three servers. Every round begins with an empty
//! catalog; at its end every server must have everything that was acknowledged.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use herald::clock::monotonic;
use serde_json::json;
use tokio::task::LocalSet;

use super::connection::Connection;
use super::disk::Place;
use super::figures::{Table, median, spread};
use super::servers::{Cluster, Kind, cpu};

/// Connections that register side by side.
const CONNECTIONS: [usize; 3] = [1, 64, 512];
/// Nodes that the services are on.
const NODES: usize = 100;
/// Longest wait until every server has what was acknowledged, or nothing any more.
const CATALOG: Duration = Duration::from_secs(60);
/// Pause of a connection that got no acknowledgement.
const PAUSE: Duration = Duration::from_millis(20);

/// What was seen of one cluster with so many connections, over all rounds.
#[derive(Default)]
struct Seen {
    /// Registrations per second of each round.
    rates: Vec<f64>,
    /// Shares of one core that the three servers took, and the load.
    busy: Vec<f64>,
    load: Vec<f64>,
    /// From a request to its acknowledgement.
    latencies: Vec<Duration>,
    cpu: Duration,
    refused: usize,
}

pub(crate) async fn measure(
    rounds: usize,
    time: Duration,
    kinds: &[Kind<'_>],
    place: &Place,
) -> Result<()> {
    let clusters = Cluster::start_all(kinds, place).await?;
    let mut seen = CONNECTIONS.map(|_| kinds.iter().map(|_| Seen::default()).collect::<Vec<_>>());
    for round in 1..=rounds {
        for (connections, seen) in CONNECTIONS.iter().zip(&mut seen) {
            for (cluster, seen) in clusters.iter().zip(seen) {
                let name = format!("web-{round}-{connections}");
                one_round(cluster, *connections, name, time, seen).await?;
                eprintln!(
                    "round {round}: {}, connections: {connections}, registrations/s: {:.0}",
                    cluster.title,
                    seen.rates.last().copied().unwrap_or_default(),
                );
            }
        }
    }
    let titles = clusters.iter().map(|cluster| cluster.title);
    show(&titles.collect::<Vec<_>>(), &seen)
}

/// Registers, sees that all of it arrived everywhere, and leaves the catalog empty.
async fn one_round(
    cluster: &Cluster,
    connections: usize,
    name: String,
    time: Duration,
    seen: &mut Seen,
) -> Result<()> {
    cluster.leader().await?;
    let before = cluster.quiet().await?;
    let own = cpu("self")?;
    let begin = monotonic();
    let done = carry_out(cluster, connections, Job::new(name.clone(), begin + time)).await?;
    let elapsed = begin.elapsed().as_secs_f64();
    let busy = cluster.cpu()?.saturating_sub(before);
    let own = cpu("self")?.saturating_sub(own);
    seen.cpu += cluster.quiet().await?.saturating_sub(before);
    seen.rates.push(done.acknowledged.len() as f64 / elapsed);
    seen.busy.push(busy.as_secs_f64() / elapsed);
    seen.load.push(own.as_secs_f64() / elapsed);
    seen.latencies.extend(&done.latencies);
    seen.refused += done.refused;
    verify(cluster, &done.acknowledged).await?;
    clear(cluster, &name).await
}

/// What connections share that register side by side.
pub(crate) struct Job {
    /// What the names of its services begin with.
    name: String,
    until: Cell<Instant>,
    next: Cell<usize>,
}

/// What has come of it.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) acknowledged: BTreeSet<String>,
    latencies: Vec<Duration>,
    /// Requests with another answer than 200, or with none.
    refused: usize,
}

impl Job {
    pub(crate) fn new(name: String, until: Instant) -> Rc<Self> {
        let (until, next) = (Cell::new(until), Cell::new(0));
        Rc::new(Self { name, until, next })
    }

    /// Nothing more is registered.
    pub(crate) fn end(&self) {
        self.until.set(monotonic());
    }

    fn next(&self) -> Option<(String, String)> {
        let number = self.next.replace(self.next.get() + 1);
        let name = format!("{}-{number}", self.name);
        let body = registration(&name, number % NODES);
        (monotonic() < self.until.get()).then_some((name, body))
    }
}

/// The body that registers a service with a check that passes.
pub(crate) fn registration(name: &str, node: usize) -> String {
    let check = json!({"CheckID": format!("service:{name}"), "Name": "Service check",
        "Status": "passing", "ServiceID": name});
    let service = json!({"ID": name, "Service": name, "Port": 8080, "Tags": ["bench"]});
    let body = json!({"Node": format!("node-{node}"), "Address": format!("10.0.0.{node}"),
        "Service": service, "Check": check});
    body.to_string()
}

/// Registers over so many connections, the first one to the first server, until the job is over.
pub(crate) async fn carry_out(cluster: &Cluster, connections: usize, job: Rc<Job>) -> Result<Done> {
    let tasks = LocalSet::new();
    let mut running = Vec::new();
    for server in cluster.servers.iter().cycle().take(connections) {
        let (connection, job) = (server.connect().await?, Rc::clone(&job));
        running.push(tasks.spawn_local(register(connection, job)));
    }
    let gathered = async {
        let mut all = Done::default();
        for one in running {
            let mut one = one.await??;
            all.acknowledged.append(&mut one.acknowledged);
            all.latencies.append(&mut one.latencies);
            all.refused += one.refused;
        }
        Ok(all)
    };
    tasks.run_until(gathered).await
}

async fn register(mut connection: Connection, job: Rc<Job>) -> Result<Done> {
    let mut done = Done::default();
    while let Some((name, body)) = job.next() {
        let sent = monotonic();
        match connection.put("/v1/catalog/register", body).await {
            Ok(()) => {
                done.latencies.push(sent.elapsed());
                done.acknowledged.insert(name);
            }
            Err(error) => {
                if done.refused == 0 {
                    eprintln!("not acknowledged: {error:#}");
                }
                done.refused += 1;
                tokio::time::sleep(PAUSE).await;
                connection = connection.reopen().await?;
            }
        }
    }
    Ok(done)
}

/// Waits until every server has every service, with its check.
pub(crate) async fn verify(cluster: &Cluster, acknowledged: &BTreeSet<String>) -> Result<()> {
    let begin = monotonic();
    for server in cluster.running() {
        loop {
            let places = [
                ("services", server.services().await?),
                ("passing checks", server.passing().await?),
            ];
            let lost = places.iter().find_map(|(place, known)| {
                let count = acknowledged.difference(known).count();
                (count > 0).then(|| format!("{count} are not among the {place} of {}", server.name))
            });
            match lost {
                None => break,
                Some(lost) if begin.elapsed() > CATALOG => {
                    bail!("{}: acknowledged and lost: {lost}", cluster.title)
                }
                Some(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
    Ok(())
}

/// Removes the nodes, and with them all services whose names begin so.
pub(crate) async fn clear(cluster: &Cluster, name: &str) -> Result<()> {
    let leader = cluster.leader().await?;
    if let Some(leader) = cluster.servers.get(leader) {
        let mut connection = leader.connect().await?;
        for node in 0..NODES {
            let body = json!({"Node": format!("node-{node}")});
            let path = "/v1/catalog/deregister";
            connection.put(path, body.to_string()).await?;
        }
    }
    let begin = monotonic();
    for server in cluster.running() {
        while server
            .services()
            .await?
            .iter()
            .any(|known| known.starts_with(name))
        {
            if begin.elapsed() > CATALOG {
                bail!("{}: {} still has {name}", cluster.title, server.name);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

/// A row of the table: what it shows, how, and what a ratio is made of.
type Row = (&'static str, fn(&Seen) -> String, Option<fn(&Seen) -> f64>);

const ROWS: [Row; 6] = [
    (
        "registrations/s",
        |seen| format!("{:.0}", median(&seen.rates)),
        Some(|seen| median(&seen.rates)),
    ),
    (
        "latency p50, p99, longest",
        |seen| spread(&seen.latencies),
        None,
    ),
    (
        "CPU per registration, all servers",
        |seen| format!("{:.0} µs", seen.cpu_each()),
        Some(Seen::cpu_each),
    ),
    (
        "of a core meanwhile: servers, load",
        |seen| {
            let [servers, load] = [&seen.busy, &seen.load].map(|shares| 100.0 * median(shares));
            format!("{servers:.0} %, {load:.0} %")
        },
        None,
    ),
    ("not acknowledged", |seen| seen.refused.to_string(), None),
    // `verify` has seen all of them, else there would be no table.
    ("acknowledged and lost", |_| "0".to_owned(), None),
];

impl Seen {
    /// Microseconds.
    fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len().max(1) as f64
    }
}

fn show(titles: &[&str], seen: &[Vec<Seen>]) -> Result<()> {
    let ratio = (titles.len() > 1).then_some("herald / Consul");
    let mut table = Table::new(
        ["connections", ""]
            .into_iter()
            .chain(titles.iter().copied())
            .chain(ratio),
    );
    for (connections, seen) in CONNECTIONS.iter().zip(seen) {
        for (title, shown, figure) in ROWS {
            let mut cells = vec![connections.to_string(), title.to_owned()];
            cells.extend(seen.iter().map(shown));
            if let [first, second, ..] = seen.as_slice() {
                let ratio = figure.map(|figure| figure(first) / figure(second));
                cells.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
            }
            table.row(&cells);
        }
    }
    table.print()
}

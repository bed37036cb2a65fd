//! The leader is killed again and again: how long nobody acknowledges a write, and whether DNS of
//! the others goes on meanwhile. Everything that was acknowledged must be on every server at the end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use herald::clock::monotonic;
use tokio::task::LocalSet;

use super::disk::Place;
use super::figures::{Table, quantile};
use super::registrations::{registration, verify};
use super::servers::{Cluster, Kind, Server, look_up};

/// Between two writes at each living server while nobody leads.
const WRITES: Duration = Duration::from_millis(20);
/// Writes without an answer at one server, at most.
const WRITES_MAX: usize = 200;
/// Between two lookups at each living server.
const LOOKUPS: Duration = Duration::from_millis(5);
/// How long DNS is asked before the kill, and once somebody leads again.
const AROUND: Duration = Duration::from_millis(500);
/// Longest wait for the next acknowledgement.
const WRITABLE: Duration = Duration::from_secs(120);
/// The service that is looked up.
const KNOWN: &str = "known";

/// A line of the table: its title, and what it shows of one cluster.
type Row = (&'static str, fn(&Seen) -> String);

/// What was seen of one cluster.
#[derive(Default)]
struct Seen {
    /// From each kill to the next acknowledgement.
    gaps: Vec<Duration>,
    lookups: usize,
    /// Lookups without the right answer.
    failed: usize,
    acknowledged: BTreeSet<String>,
}

pub(crate) async fn measure(kills: usize, kinds: &[Kind<'_>], place: &Place) -> Result<()> {
    let mut clusters = Cluster::start_all(kinds, place).await?;
    let mut seen: Vec<Seen> = kinds.iter().map(|_| Seen::default()).collect();
    for cluster in &clusters {
        let first = cluster.servers.first().context("three servers")?;
        let mut connection = first.connect().await?;
        let body = registration(KNOWN, 0);
        connection.put("/v1/catalog/register", body).await?;
    }
    for kill in 1..=kills {
        for (cluster, seen) in clusters.iter_mut().zip(&mut seen) {
            one_kill(cluster, kill, seen).await?;
            eprintln!(
                "kill {kill}: {}, {:.2} s, {} of {} lookups failed so far",
                cluster.title,
                seen.gaps.last().copied().unwrap_or_default().as_secs_f64(),
                seen.failed,
                seen.lookups,
            );
        }
    }
    for (cluster, seen) in clusters.iter().zip(&seen) {
        // The last one killed is back.
        cluster.all_know(KNOWN).await?;
        cluster.leader().await?;
        verify(cluster, &seen.acknowledged).await?;
    }
    let titles = clusters.iter().map(|cluster| cluster.title);
    let first = format!("leader killed {kills} times");
    let mut table = Table::new([first.as_str()].into_iter().chain(titles));
    let rows: [Row; 3] = [
        ("no write acknowledged for: median, longest", |seen| {
            let [half, all] = [0.5, 1.0].map(|share| quantile(&seen.gaps, share) / 1e3);
            format!("{half:.2} s, {all:.2} s")
        }),
        ("failed lookups on the two others meanwhile", |seen| {
            format!("{} of {}", seen.failed, seen.lookups)
        }),
        ("acknowledged and lost", |seen| {
            format!("0 of {}", seen.acknowledged.len())
        }),
    ];
    for (title, shown) in rows {
        let mut cells = vec![title.to_owned()];
        cells.extend(seen.iter().map(shown));
        table.row(&cells);
    }
    table.print()
}

/// Kills the leader, waits for the next one, and starts the first one again.
async fn one_kill(cluster: &mut Cluster, number: usize, seen: &mut Seen) -> Result<()> {
    cluster.all_know(KNOWN).await?;
    let leader = cluster.leader().await?;
    // Whoever came back last has the log, and what it puts off is done.
    cluster.quiet().await?;
    let watch = Rc::new(Watch::new(number));
    let tasks = LocalSet::new();
    let gap = tasks
        .run_until(async {
            let others = cluster.servers.iter().enumerate();
            let others = others.filter(|(place, _)| *place != leader);
            let targets: Vec<_> = others.map(|(_, server)| Target::of(server)).collect();
            let mut asking = Vec::new();
            for target in &targets {
                asking.push(tasks.spawn_local(ask(*target, Rc::clone(&watch))));
            }
            tokio::time::sleep(AROUND).await;
            let gone = cluster.servers.get_mut(leader).context("it leads")?;
            gone.kill()?;
            let since = monotonic();
            for target in &targets {
                tasks.spawn_local(write(*target, Rc::clone(&watch)));
            }
            let gap = watch.first_acknowledgement(since).await?;
            tokio::time::sleep(AROUND).await;
            watch.over.set(true);
            for one in asking {
                one.await?;
            }
            anyhow::Ok(gap)
        })
        .await?;
    seen.gaps.push(gap);
    seen.lookups += watch.lookups.get();
    seen.failed += watch.failed.get();
    seen.acknowledged
        .append(&mut watch.acknowledged.borrow_mut());
    let gone = cluster.servers.get_mut(leader).context("it led")?;
    gone.start()
}

/// Where a server is asked.
#[derive(Clone, Copy)]
struct Target {
    ip: std::net::Ipv4Addr,
    http: std::net::SocketAddr,
    dns: std::net::SocketAddr,
}

impl Target {
    fn of(server: &Server) -> Self {
        Self {
            ip: server.ip,
            http: server.address(),
            dns: server.dns(),
        }
    }
}

/// What those who ask and write around one kill tell.
struct Watch {
    /// Number of the kill.
    number: usize,
    over: Cell<bool>,
    next: Cell<usize>,
    acknowledged: RefCell<BTreeSet<String>>,
    first: Cell<Option<Instant>>,
    lookups: Cell<usize>,
    failed: Cell<usize>,
}

impl Watch {
    fn new(number: usize) -> Self {
        Self {
            number,
            over: Cell::new(false),
            next: Cell::new(0),
            acknowledged: RefCell::default(),
            first: Cell::new(None),
            lookups: Cell::new(0),
            failed: Cell::new(0),
        }
    }

    async fn first_acknowledgement(&self, since: Instant) -> Result<Duration> {
        loop {
            if let Some(first) = self.first.get() {
                return Ok(first.saturating_duration_since(since));
            }
            ensure!(
                since.elapsed() < WRITABLE,
                "nobody writes after {WRITABLE:?}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Looks a known service up until it is over.
async fn ask(target: Target, watch: Rc<Watch>) {
    while !watch.over.get() {
        let answer = look_up(target.dns, KNOWN).await;
        watch.lookups.set(watch.lookups.get() + 1);
        let failure = match answer {
            Ok(answer) if answer.message.answers.len() == 1 => None,
            Ok(answer) => Some(format!("{}", answer.code())),
            Err(error) => Some(error.to_string()),
        };
        if let Some(failure) = failure {
            eprintln!("lookup at {}: {failure}", target.ip);
            watch.failed.set(watch.failed.get() + 1);
        }
        tokio::time::sleep(LOOKUPS).await;
    }
}

/// Begins a write now and then, whatever becomes of those before, until one is acknowledged.
async fn write(target: Target, watch: Rc<Watch>) {
    let under_way = Rc::new(Cell::new(0));
    while watch.first.get().is_none() && !watch.over.get() {
        if under_way.get() < WRITES_MAX {
            under_way.set(under_way.get() + 1);
            let (watch, under_way) = (Rc::clone(&watch), Rc::clone(&under_way));
            tokio::task::spawn_local(async move {
                // Refusals and broken connections are what a kill brings.
                drop(write_once(target, &watch).await);
                under_way.set(under_way.get() - 1);
            });
        }
        tokio::time::sleep(WRITES).await;
    }
}

async fn write_once(target: Target, watch: &Watch) -> Result<()> {
    let number = watch.next.replace(watch.next.get() + 1);
    let name = format!("kill-{}-{number}", watch.number);
    let body = registration(&name, number % 100);
    let mut connection = super::connection::Connection::open(target.http).await?;
    connection.put("/v1/catalog/register", body).await?;
    if watch.first.get().is_none() {
        watch.first.set(Some(monotonic()));
    }
    watch.acknowledged.borrow_mut().insert(name);
    Ok(())
}

//! Calls that are answered at once: how many, how soon, at which cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use herald::clock::monotonic;
use herald::task::Tasks;
use tokio::task::JoinSet;

use super::requests;
use super::server::{Server, Session};
use super::{median, quantile, table};

/// Streams of one session that call side by side.
const STREAMS: [usize; 2] = [1, 64];

/// Instances of the service that is read.
const INSTANCES: u16 = 3;

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
}

const KINDS: [(&str, Kind); 2] = [
    ("Health.ServiceNodes", Kind::Read),
    ("Catalog.Register", Kind::Write),
];

/// What was seen in all rounds.
#[derive(Default)]
struct Seen {
    rates: Vec<f64>,
    cpu: Vec<f64>,
    latencies: Vec<Duration>,
}

/// Calls each server in turn, in interleaved rounds, over one session.
pub(crate) async fn measure(
    rounds: usize,
    time: Duration,
    servers: &[Server],
    tasks: &Tasks,
) -> Result<String> {
    let mut rows = Vec::new();
    let next = Arc::new(AtomicU64::new(0));
    for (method, kind) in KINDS {
        for streams in STREAMS {
            let mut seen: Vec<Seen> = servers.iter().map(|_| Seen::default()).collect();
            for _ in 0..rounds {
                for (server, seen) in servers.iter().zip(&mut seen) {
                    let session = server.session(tasks);
                    prepare(&session).await?;
                    one_round(server, &session, streams, kind, time, &next, seen).await?;
                }
            }
            for (server, seen) in servers.iter().zip(seen) {
                rows.push(row(method, streams, server, seen));
            }
        }
    }
    let head = [
        "method",
        "streams",
        "server",
        "calls/s",
        "p50",
        "p99",
        "CPU a call",
    ];
    Ok(table(&head, &rows))
}

/// Leaves nothing on the server but the service that is read.
async fn prepare(session: &Session) -> Result<()> {
    session
        .call("Catalog.Deregister", &requests::deregister())
        .await?;
    for instance in 1..=INSTANCES {
        let id = format!("web:{instance}");
        let body = requests::register(&id, 8_000 + instance);
        session.call("Catalog.Register", &body).await?;
    }
    Ok(())
}

async fn one_round(
    server: &Server,
    session: &Session,
    streams: usize,
    kind: Kind,
    time: Duration,
    next: &Arc<AtomicU64>,
    seen: &mut Seen,
) -> Result<()> {
    let before = server.used()?;
    let begin = monotonic();
    let until = begin + time;
    let mut callers = JoinSet::new();
    for _ in 0..streams {
        let (session, next) = (session.clone(), Arc::clone(next));
        callers.spawn(async move { call_until(&session, kind, until, &next).await });
    }
    let mut latencies = Vec::new();
    while let Some(of_caller) = callers.join_next().await {
        latencies.append(&mut of_caller??);
    }
    let elapsed = begin.elapsed();
    let cpu = server.used()?.cpu_since(&before);
    let calls = latencies.len() as f64;
    seen.rates.push(calls / elapsed.as_secs_f64());
    seen.cpu.push(cpu.as_secs_f64() * 1e6 / calls);
    seen.latencies.extend(latencies);
    Ok(())
}

/// Calls one time after the other; how long each took.
async fn call_until(
    session: &Session,
    kind: Kind,
    until: Instant,
    next: &AtomicU64,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    while monotonic() < until {
        let sent = monotonic();
        match kind {
            Kind::Read => {
                let body = requests::health("web", 0);
                let answer = session.call("Health.ServiceNodes", &body).await?;
                latencies.push(sent.elapsed());
                let (_, rows) = requests::health_answer(&answer)?;
                ensure!(rows == usize::from(INSTANCES), "{rows} instances");
            }
            Kind::Write => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let body = requests::register(&format!("new-{number}"), 80);
                session.call("Catalog.Register", &body).await?;
                latencies.push(sent.elapsed());
            }
        }
    }
    Ok(latencies)
}

fn row(method: &str, streams: usize, server: &Server, mut seen: Seen) -> Vec<String> {
    seen.latencies.sort_unstable();
    let latency = |share| format!("{:.0?}", quantile(&seen.latencies, share));
    vec![
        method.to_owned(),
        streams.to_string(),
        server.name.clone(),
        format!("{:.0}", median(seen.rates.clone())),
        latency(0.5),
        latency(0.99),
        format!("{:.0} µs", median(seen.cpu.clone())),
    ]
}

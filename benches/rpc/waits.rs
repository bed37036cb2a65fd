//! Blocked reads: who wakes at a change, and how soon.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use herald::clock::monotonic;
use herald::task::Tasks;
use tokio::task::LocalSet;

use super::requests;
use super::server::{Server, Session};
use super::{quantile, table};

/// Services that are waited for, with as many readers each.
const SERVICES: usize = 100;
/// Blocked reads of one session.
const OF_SESSION: usize = 200;
/// How long reads that should not wake are given to do so.
const QUIET: Duration = Duration::from_millis(500);
/// Longest wait for those that should.
const WAKE: Duration = Duration::from_secs(20);
/// Longer than this takes.
const WAIT: Duration = Duration::from_secs(590);

/// What the readers have been told so far.
#[derive(Default)]
struct Woken {
    /// Service and time of each answer.
    answers: Vec<(usize, Instant)>,
    failures: Vec<String>,
}

type Shared = Rc<RefCell<Woken>>;

/// Blocks `count` reads at each server, one server after the other, and makes `changes`.
pub(crate) async fn measure(
    count: usize,
    changes: usize,
    servers: &[Server],
    tasks: &Tasks,
) -> Result<String> {
    let mut rows = Vec::new();
    for server in servers {
        let local = LocalSet::new();
        rows.push(
            local
                .run_until(one_server(count, changes, server, tasks))
                .await?,
        );
    }
    let head = [
        "server",
        "blocked reads",
        "memory each",
        "readers of a service",
        "woken by a change, of others",
        "wake-up p50",
        "p99",
        "longest",
        "CPU a change",
    ];
    Ok(table(&head, &rows))
}

async fn one_server(
    count: usize,
    changes: usize,
    server: &Server,
    tasks: &Tasks,
) -> Result<Vec<String>> {
    let writer = server.session(tasks);
    writer
        .call("Catalog.Deregister", &requests::deregister())
        .await?;
    for service in 0..SERVICES {
        change(&writer, service, 1_000).await?;
    }
    let before = server.used()?;
    let woken = Shared::default();
    let sessions: Vec<Session> = (0..count.div_ceil(OF_SESSION))
        .map(|_| server.session(tasks))
        .collect();
    for number in 0..count {
        let session = sessions[number / OF_SESSION].clone();
        let woken = Rc::clone(&woken);
        // Ends with the set that it runs in.
        tokio::task::spawn_local(read(session, number % SERVICES, woken));
    }
    settle(&woken, count).await?;
    tokio::time::sleep(QUIET).await;
    let blocked = server.used()?;
    let memory = blocked.memory.saturating_sub(before.memory) as f64 / 1_024.0 / count as f64;
    let (mut latencies, mut others) = (Vec::new(), 0);
    let mut cpu = Duration::ZERO;
    for number in 0..changes {
        let service = number % SERVICES;
        woken.borrow_mut().answers.clear();
        let start = server.used()?;
        let sent = monotonic();
        change(&writer, service, 2_000 + u16::try_from(number)?).await?;
        settle(&woken, count / SERVICES).await?;
        tokio::time::sleep(QUIET).await;
        cpu += server.used()?.cpu_since(&start);
        for (of, at) in &woken.borrow().answers {
            if *of == service {
                latencies.push(at.duration_since(sent));
            } else {
                others += 1;
            }
        }
    }
    ensure!(
        latencies.len() == changes * (count / SERVICES),
        "{} woke",
        latencies.len()
    );
    latencies.sort_unstable();
    let latency = |share| format!("{:.1?}", quantile(&latencies, share));
    Ok(vec![
        server.name.clone(),
        count.to_string(),
        format!("{memory:.1} KiB"),
        (count / SERVICES).to_string(),
        others.to_string(),
        latency(0.5),
        latency(0.99),
        latency(1.0),
        format!("{:.1} ms", cpu.as_secs_f64() * 1e3 / changes as f64),
    ])
}

async fn change(writer: &Session, service: usize, port: u16) -> Result<()> {
    let body = requests::register(&format!("waited-{service}"), port);
    writer.call("Catalog.Register", &body).await?;
    Ok(())
}

/// Reads a service again and again: at once, and then whenever it has changed.
async fn read(session: Session, service: usize, woken: Shared) {
    let mut index = 0;
    loop {
        match read_once(&session, service, index).await {
            Ok(seen) => {
                index = seen;
                let answer = (service, monotonic());
                woken.borrow_mut().answers.push(answer);
            }
            Err(error) => {
                woken.borrow_mut().failures.push(format!("{error:#}"));
                return;
            }
        }
    }
}

async fn read_once(session: &Session, service: usize, index: u64) -> Result<u64> {
    let body = requests::health(&format!("waited-{service}"), index);
    let answer = session
        .call_within("Health.ServiceNodes", &body, WAIT)
        .await?;
    let (seen, rows) = requests::health_answer(&answer)?;
    ensure!(rows == 1, "{rows} instances");
    Ok(seen)
}

/// Waits until there are so many answers.
async fn settle(woken: &Shared, count: usize) -> Result<()> {
    let until = monotonic() + WAKE;
    loop {
        {
            let woken = woken.borrow();
            ensure!(woken.failures.is_empty(), "{:?}", woken.failures.first());
            if woken.answers.len() >= count {
                return Ok(());
            }
            ensure!(monotonic() < until, "only {} answers", woken.answers.len());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

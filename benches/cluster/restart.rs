//! A server with a large catalog is killed and started again: how long until it answers DNS rightly,
//! and how much memory that takes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use herald::clock::monotonic;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::connection::Connection;
use super::disk::Place;
use super::figures::{Table, say};
use super::servers::{Cluster, Kind, Server, look_up};

/// Connections that fill the catalog.
const CONNECTIONS: usize = 256;
/// Instances of each service.
const INSTANCES: usize = 100;
/// Services that are looked at afterwards.
const VERIFIED: usize = 1_000;
/// Longest wait for the first right answer.
const ANSWERS: Duration = Duration::from_secs(300);

/// So many services with a hundred instances each, on as many nodes.
pub(crate) async fn measure(services: usize, herald: &str, place: &Place) -> Result<()> {
    let kind = Kind::herald(herald);
    let flags = ["-server".to_owned(), "-bootstrap".to_owned()];
    let mut server = Server::spawn(&kind, "s1".to_owned(), Cluster::ip(1, 1), place, &flags)?;
    writable(&server).await?;
    let instances = services * INSTANCES;
    let begin = monotonic();
    fill(&server, services).await?;
    let filled = begin.elapsed();
    let (before, most_before) = (server.memory("VmRSS")?, server.memory("VmHWM")?);
    eprintln!("filled in {filled:.1?}");
    server.kill()?;
    let files = files(&server)?;
    let begin = monotonic();
    server.start()?;
    // Written last: whatever answers for it has all of the log.
    let last = format!("service-{}", services - 1);
    let answered = loop {
        let answer = look_up(server.dns(), &last).await;
        if answer.is_ok_and(|answer| !answer.message.answers.is_empty()) {
            break begin.elapsed();
        }
        ensure!(
            begin.elapsed() < ANSWERS,
            "no answer: {}",
            server.last_words()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let most = server.memory("VmHWM")?;
    writable(&server).await?;
    let written = begin.elapsed();
    verify(&server, services).await?;
    let after = server.memory("VmRSS")?;
    say(&format!(
        "\nFilled in {:.0} s ({:.0} registrations/s), on disk: {files}\n",
        filled.as_secs_f64(),
        instances as f64 / filled.as_secs_f64()
    ))?;
    let mebibytes = |kibibytes: u64| format!("{} MiB", kibibytes >> 10);
    let title = format!("kill -9 with {instances} instances, then a start");
    let mut table = Table::new([title.as_str(), "figure", "bar"]);
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    for (title, figure, bar) in [
        (
            "first right answer of DNS after",
            seconds(answered),
            "<= 5 s",
        ),
        ("HTTP answers and writes after", seconds(written), ""),
        (
            "memory before the kill: now, at most",
            [before, most_before].map(mebibytes).join(", "),
            "",
        ),
        ("memory at most until the first answer", mebibytes(most), ""),
        ("memory after", mebibytes(after), ""),
        (
            "instances missing of services looked at",
            "0".to_owned(),
            "0",
        ),
    ] {
        table.row(&[title.to_owned(), figure, bar.to_owned()]);
    }
    table.print()
}

/// Waits until it leads and takes writes.
async fn writable(server: &Server) -> Result<()> {
    let begin = monotonic();
    loop {
        let written = async {
            let mut connection = server.connect().await?;
            let body = json!({"Node": "first", "Address": "10.255.255.255"});
            connection
                .put("/v1/catalog/register", body.to_string())
                .await
        };
        match written.await {
            Ok(()) => return Ok(()),
            Err(_) if begin.elapsed() < ANSWERS => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error.context(server.last_words())),
        }
    }
}

/// Services, evenly spread and the last one, have all their instances, each with its check.
async fn verify(server: &Server, services: usize) -> Result<()> {
    let spread = (0..services).step_by(services.div_ceil(VERIFIED));
    for number in spread.chain([services - 1]) {
        let path = format!("/v1/health/service/service-{number}?stale&passing");
        let found = server.get(&path).await?;
        let found = found.as_array().map_or(0, Vec::len);
        ensure!(
            found == INSTANCES,
            "service-{number} has {found} passing instances of {INSTANCES}"
        );
    }
    Ok(())
}

/// Registers nodes, then instance after instance of one service after the other: 20 octets of id, a
/// tag, a pair of metadata, and a check with 40 octets of output each.
async fn fill(server: &Server, services: usize) -> Result<()> {
    let nodes = services;
    carry_out(server, nodes, move |number| {
        let [.., high, low] = number.to_be_bytes();
        let meta = json!({"zone": format!("zone-{}", number % 3)});
        json!({"Node": format!("node-{number}"), "Address": format!("10.0.{high}.{low}"),
            "NodeMeta": meta})
    })
    .await?;
    carry_out(server, services * INSTANCES, move |number| {
        let [.., high, middle, low] = number.to_be_bytes();
        let id = format!("instance-{number:011}");
        let check = json!({"CheckID": format!("service:{id}"), "Name": "Service check",
            "Status": "passing", "ServiceID": id,
            "Output": "TCP connect 10.123.123.123:20000: Success"});
        let service = json!({"ID": id, "Service": format!("service-{}", number / INSTANCES),
            "Tags": ["production"], "Address": format!("11.{high}.{middle}.{low}"),
            "Port": 20_000 + number % 10_000, "Meta": {"version": "1.0.0"}});
        json!({"Node": format!("node-{}", number % nodes), "SkipNodeUpdate": true,
            "Service": service, "Check": check})
    })
    .await
}

/// Registers bodies number 0 to `count` over many connections.
async fn carry_out(
    server: &Server,
    count: usize,
    body: impl Fn(usize) -> Value + Copy + 'static,
) -> Result<()> {
    let tasks = LocalSet::new();
    let next = Rc::new(Cell::new(0));
    let mut running = Vec::new();
    for _ in 0..CONNECTIONS {
        let (mut connection, next) = (server.connect().await?, Rc::clone(&next));
        running.push(tasks.spawn_local(async move {
            loop {
                let number = next.replace(next.get() + 1);
                if number >= count {
                    return anyhow::Ok(());
                }
                register(&mut connection, body(number)).await?;
            }
        }));
    }
    let all = async {
        for one in running {
            one.await??;
        }
        Ok(())
    };
    tasks.run_until(all).await
}

async fn register(connection: &mut Connection, body: Value) -> Result<()> {
    connection
        .put("/v1/catalog/register", body.to_string())
        .await
}

/// What a restart reads.
fn files(server: &Server) -> Result<String> {
    let mut found = Vec::new();
    let mut directories = vec![server.directory.join("data")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if entry.metadata()?.len() >= 1 << 20 {
                let name = entry.file_name().to_string_lossy().into_owned();
                found.push(format!("{name} {} MiB", entry.metadata()?.len() >> 20));
            }
        }
    }
    Ok(found.join(", "))
}

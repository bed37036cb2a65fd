//! What a DNS query costs at a client agent beside what it costs at a server of the same cluster:
//! the same name, which both have met, under the same load.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use herald::clock::monotonic;

use super::disk::Place;
use super::figures::{Table, median, say};
use super::registrations::registration;
use super::servers::{Cluster, Kind, Server, look_up};

/// The service that is looked up.
const NAME: &str = "web";
/// Longest wait until the client answers.
const WARM: Duration = Duration::from_secs(20);
/// Core of the agent that is asked, and of the load.
const CORES: [&str; 2] = ["1", "0"];

/// Measures with the program of `benches/overload/load.rs`.
pub(crate) async fn measure(
    rounds: usize,
    seconds: &str,
    load: &str,
    herald: &str,
    place: &Place,
) -> Result<()> {
    let kind = Kind::herald(herald);
    let cluster = Cluster::start(&kind, 1, place).await?;
    let leader = cluster.leader().await?;
    let server = cluster.servers.get(leader).context("it leads")?;
    let (join, ip) = (format!("-retry-join={}", server.ip), Cluster::ip(1, 9));
    let client = Server::spawn(&kind, "c1".to_owned(), ip, place, &[join])?;
    let mut connection = server.connect().await?;
    let body = registration(NAME, 1);
    connection.put("/v1/catalog/register", body).await?;
    cluster.all_know(NAME).await?;
    if let Some(code) = warm(&client).await? {
        return say(&format!(
            "\nSKIPPED: CPU per query at a client agent: its DNS answers {code} for a name that its \
             servers have\n"
        ));
    }
    cluster.quiet().await?;
    let mut figures = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        for (agent, figures) in [server, &client].into_iter().zip(&mut figures) {
            figures.push(one_round(agent, seconds, load)?);
            eprintln!("round {round}: {}, {:?} µs", agent.name, figures.last());
        }
    }
    let [server, client] = figures.map(|figures| median(&figures));
    let mut table = Table::new([
        "CPU per UDP query",
        "server",
        "client agent",
        "ratio",
        "bar",
    ]);
    table.row(&[
        format!("{NAME}.service.consul SRV, {rounds} rounds of {seconds} s"),
        format!("{server:.2} µs"),
        format!("{client:.2} µs"),
        format!("{:.2}", client / server),
        "<= 1.1".to_owned(),
    ]);
    table.print()
}

/// Asks the client until it answers; what it says instead if it does not.
async fn warm(client: &Server) -> Result<Option<String>> {
    let begin = monotonic();
    let mut code = "nothing".to_owned();
    while begin.elapsed() < WARM {
        if let Ok(answer) = look_up(client.dns(), NAME).await {
            if answer.message.answers.len() == 1 {
                return Ok(None);
            }
            code = answer.code().to_string();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(client.cpu().is_ok(), "the client agent has ended");
    Ok(Some(code))
}

/// Microseconds of the agent for each answer.
fn one_round(agent: &Server, seconds: &str, load: &str) -> Result<f64> {
    let process = agent.process()?.to_string();
    let [own, other] = CORES;
    let pin = |cores: &str| {
        let pinned = Command::new("taskset")
            .args(["-apc", cores, &process])
            .output();
        pinned.context("taskset of util-linux")
    };
    let before_pinned = pin(own)?;
    ensure!(before_pinned.status.success(), "core {own} cannot be had");
    let before = agent.cpu()?;
    let record = format!("{NAME}.service.consul");
    let output = Command::new("taskset")
        .args(["-c", other, load, "closed", seconds])
        .args([&agent.dns().to_string(), &record, "SRV"])
        .output()?;
    let took = agent.cpu()?.saturating_sub(before);
    pin(&format!("{other},{own}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let answers = text
        .split_whitespace()
        .find_map(|pair| pair.strip_prefix("answers="));
    let answers: f64 = match answers.map(str::parse) {
        Some(Ok(answers)) if answers > 0.0 => answers,
        _ => bail!(
            "the load says {text:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
    };
    Ok(took.as_secs_f64() * 1e6 / answers)
}

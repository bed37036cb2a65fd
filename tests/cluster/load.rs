//! Servers that are killed while registrations come in, and one that was away for long.

use std::net::Ipv4Addr;
use std::time::Duration;

use herald::clock;
use serde_json::json;

use crate::support::cluster::{Server, TestCluster, within};
use crate::support::load::Load;

const WEB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// How often the leader is killed where the environment asks for no other number.
const KILLS: usize = 5;

/// The places of those that run.
fn running(cluster: &TestCluster) -> Vec<usize> {
    let servers = cluster.servers.iter().enumerate();
    let running = servers.filter(|(_, server)| server.runs());
    running.map(|(place, _)| place).collect()
}

/// How long it takes until one of those that run takes a write. It holds it while nobody leads.
async fn until_writable(cluster: &TestCluster, service: &str) -> Duration {
    let start = clock::monotonic();
    within(async || {
        let server = cluster.running().next().expect("some run");
        server.register(service, WEB).await.is_ok()
    })
    .await;
    start.elapsed()
}

#[tokio::test]
async fn the_leader_is_killed_again_and_again() {
    let kills = std::env::var("HERALD_LEADER_KILLS").ok();
    let kills = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let mut cluster = TestCluster::start(41, 3).await;
    let load = Load::begin(&cluster).await;
    let mut spans = Vec::new();
    for number in 0..kills {
        let leader = cluster.elects().await;
        load.goes_on_at(&[0, 1, 2]).await;
        cluster.servers[leader].kill();
        spans.push(until_writable(&cluster, &format!("killed{number}")).await);
        load.goes_on_at(&running(&cluster)).await;
        cluster.servers[leader].start();
    }
    cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    for number in 0..kills {
        cluster.all_answer(&format!("killed{number}"), &[WEB]).await;
    }
    load.finish(&cluster).await;
    spans.sort();
    let (median, max) = (spans[spans.len() / 2], spans[spans.len() - 1]);
    eprintln!("{kills} leaders killed: a write again after {median:?} (median), {max:?} (most)");
}

#[tokio::test]
async fn five_servers_go_on_without_two_and_come_back_from_none() {
    let mut cluster = TestCluster::start(42, 5).await;
    let load = Load::begin(&cluster).await;
    let leader = cluster.elects().await;
    cluster.servers[leader].kill();
    cluster.servers[(leader + 1) % 5].kill();
    cluster.elects().await;
    load.goes_on_at(&running(&cluster)).await;
    for server in cluster.servers.iter_mut().filter(|it| it.runs()) {
        server.kill();
    }
    cluster.servers.iter_mut().for_each(Server::start);
    let leader = cluster.elects().await;
    load.goes_on_at(&running(&cluster)).await;
    // Two of five are no majority.
    for further in 0..3 {
        cluster.servers[(leader + further) % 5].kill();
    }
    let left = running(&cluster);
    within(async || {
        for place in &left {
            if !cluster.servers[*place].leader().await.is_empty() {
                return false;
            }
        }
        true
    })
    .await;
    let acknowledged = async || left.iter().map(|it| load.acknowledged_by(*it)).sum::<u64>();
    let before = acknowledged().await;
    for place in &left {
        let server = &cluster.servers[*place];
        within(async || server.extended_errors("steady").await == [3]).await;
        server.register("refused", WEB).await.unwrap_err();
    }
    assert_eq!(acknowledged().await, before);
    for server in cluster.servers.iter_mut().filter(|it| !it.runs()) {
        server.start();
    }
    cluster.elects().await;
    load.goes_on_at(&running(&cluster)).await;
    load.finish(&cluster).await;
}

/// The position that the newest snapshot of a server is of.
pub(super) fn newest_snapshot(server: &Server) -> Option<u64> {
    let directory = server.directory.0.join("data/raft/snapshots");
    let files = std::fs::read_dir(directory).ok()?;
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let positions = names.filter_map(|name| {
        let (_, position) = name.strip_suffix(".snapshot")?.split_once('-')?;
        position.parse().ok()
    });
    positions.max()
}

#[tokio::test]
async fn who_was_away_for_longer_than_the_log_is_kept_gets_a_snapshot() {
    let mut cluster = TestCluster::empty(43);
    for number in 1..=3 {
        let flags = [
            "-bootstrap-expect=3",
            "-hcl=raft_snapshot_threshold = 100",
            "-hcl=raft_trailing_logs = 10",
        ];
        cluster.add(number, &flags);
    }
    let leader = cluster.elects().await;
    let load = Load::begin(&cluster).await;
    cluster.servers[leader].register("gone", WEB).await.unwrap();
    cluster.all_answer("gone", &[WEB]).await;
    let away = (leader + 1) % 3;
    let (last, _) = cluster.servers[away].digest().await.unwrap();
    cluster.servers[away].kill();
    let node = json!({"Node": "node-gone"});
    let deregistered = cluster.servers[leader].put("/v1/catalog/deregister", &node);
    deregistered.await.unwrap();
    // The second one after that: the log begins behind where it was.
    within(async || {
        let mut running = cluster.running();
        running.all(|server| newest_snapshot(server).is_some_and(|at| at > last + 200))
    })
    .await;
    cluster.servers[away].start();
    cluster.elects().await;
    cluster.all_answer("gone", &[]).await;
    load.goes_on_at(&[0, 1, 2]).await;
    let received = r#"herald_raft_requests_received_total{kind="snapshot"}"#;
    let received = cluster.servers[away].figure(received).await;
    assert!(received > Some(0), "{received:?}");
    load.finish(&cluster).await;
}

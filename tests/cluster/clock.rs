//! Servers whose wall clock jumps.

use std::path::Path;

use herald::clock;
use serde_json::{Value, json};

use crate::support::cluster::{Server, TestCluster, within};
use crate::support::load::Load;

/// What pretends another time to a program.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Puts the clock of a server that may run off by so many seconds.
fn put_off(server: &Server, seconds: &str) {
    let written = server.directory.write("clock.new", seconds);
    std::fs::rename(written, server.directory.0.join("clock")).unwrap();
}

/// By how many hours the clock of a server is off.
async fn hours_off(server: &Server) -> i64 {
    let host = server.get("/v1/agent/host").await.unwrap();
    let time = host["CollectionTime"].as_u64().expect("it tells its time");
    let seconds = |time: u64| i64::try_from(time).expect("it is not that late");
    let off = seconds(time / 1_000_000_000) - seconds(clock::since_epoch().as_secs());
    (off + 1_800).div_euclid(3_600)
}

#[tokio::test]
async fn wall_clocks_that_jump_change_nothing() {
    if !Path::new(LIBRARY).exists() {
        eprintln!("SKIPPED: {LIBRARY} is missing; apt-get install faketime");
        return;
    }
    let mut cluster = TestCluster::empty(63);
    for number in 1..=3 {
        let name = format!("s{number}");
        let mut server = cluster.prepare(&name, number, &["-bootstrap-expect=3"]);
        put_off(&server, "+0");
        let clock = server.directory.0.join("clock").display().to_string();
        let variables = [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", &clock),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        server.variables = variables.into();
        server.start();
        cluster.servers.push(server);
    }
    let leader = cluster.elects().await;
    // A check that nobody passes again within the hour.
    for server in &cluster.servers {
        let name = format!("ttl-{}", server.name);
        let body = json!({"Name": name, "Port": 80, "Check": {"TTL": "1h"}});
        server
            .put("/v1/agent/service/register", &body)
            .await
            .unwrap();
        let pass = format!("/v1/agent/check/pass/service:{name}");
        server.put(&pass, &Value::Null).await.unwrap();
        cluster.all_answer(&name, &[server.ip]).await;
    }
    let load = Load::begin(&cluster).await;
    let term = cluster.servers[leader].figure("herald_raft_term").await;
    for place in [leader, (leader + 1) % 3] {
        let server = &cluster.servers[place];
        for (jump, hours) in [("+86400", 24), ("-86400", -24), ("+0", 0)] {
            put_off(server, jump);
            within(async || hours_off(server).await == hours).await;
            load.goes_on_at(&[0, 1, 2]).await;
            for server in &cluster.servers {
                cluster
                    .all_answer(&format!("ttl-{}", server.name), &[server.ip])
                    .await;
            }
        }
    }
    // A machine that is slow may cause an election, but not each of the jumps.
    let now = cluster.servers[leader].figure("herald_raft_term").await;
    assert!(now <= term.map(|term| term + 2), "{now:?} after {term:?}");
    load.finish(&cluster).await;
}

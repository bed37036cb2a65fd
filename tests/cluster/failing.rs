//! Servers that are killed, stopped and started again, under a load.

use std::net::Ipv4Addr;
use std::time::Duration;

use herald::client::http::RequestError;
use herald::clock;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::cluster::{Server, TestCluster, within};
use crate::support::load::Load;

const WEB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// How long a leader sleeps: for longer than others take to call it dead, and lead without it.
const SLEEP: Duration = Duration::from_secs(10);

/// Registers, again and again while nobody leads.
async fn register(server: &Server, service: &str) {
    within(async || server.register(service, WEB).await.is_ok()).await;
}

/// The index of a read of the catalog, if there is an answer.
async fn index(server: &Server, query: &str) -> Option<u64> {
    let path = format!("/v1/catalog/services{query}");
    let (headers, _) = server.http().read::<Value>(&path).await.ok()?;
    headers["X-Consul-Index"].to_str().ok()?.parse().ok()
}

/// The same of the first answer.
async fn first_index(server: &Server, query: &str) -> u64 {
    let mut found = None;
    within(async || {
        found = index(server, query).await;
        found.is_some()
    })
    .await;
    found.expect("it was waited for")
}

#[tokio::test]
async fn when_the_leader_is_killed_another_leads_and_dns_never_fails() {
    let mut cluster = TestCluster::start(11, 3).await;
    let load = Load::begin(&cluster).await;
    let leader = cluster.elects().await;
    register(&cluster.servers[leader], "web").await;
    cluster.all_answer("web", &[WEB]).await;
    load.goes_on_at(&[0, 1, 2]).await;
    cluster.servers[leader].kill();
    let asking = async {
        loop {
            for server in cluster.running() {
                assert_eq!(
                    server.addresses("web").await,
                    ["10.0.0.1"],
                    "{}",
                    server.name
                );
            }
        }
    };
    let going_on = async {
        let next = cluster.elects().await;
        assert_ne!(next, leader);
        for server in cluster.running() {
            register(server, &format!("after-{}", server.name)).await;
        }
    };
    tokio::select! {
        () = going_on => {}
        () = asking => {}
    }
    let names: Vec<_> = cluster.running().map(|it| it.name.clone()).collect();
    cluster.servers[leader].start();
    for name in names {
        cluster.all_answer(&format!("after-{name}"), &[WEB]).await;
    }
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    load.goes_on_at(&[0, 1, 2]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn servers_that_are_all_killed_at_once_come_back_with_everything() {
    let mut cluster = TestCluster::start(12, 3).await;
    let load = Load::begin(&cluster).await;
    for number in 0..20 {
        register(&cluster.servers[number % 3], &format!("web{number}")).await;
    }
    load.goes_on_at(&[0, 1, 2]).await;
    let voters = cluster.servers[0].voters().await;
    let mut before = Vec::new();
    for server in &cluster.servers {
        before.push(index(server, "?stale").await.expect("it runs"));
    }
    let heard = index(&cluster.servers[0], "").await;
    cluster.servers.iter_mut().for_each(Server::kill);
    cluster.servers.iter_mut().for_each(Server::start);
    for (server, before) in cluster.servers.iter().zip(before) {
        let now = first_index(server, "?stale").await;
        assert!(now >= before, "{}: {now} after {before}", server.name);
    }
    cluster.elects().await;
    for number in 0..20 {
        cluster.all_answer(&format!("web{number}"), &[WEB]).await;
    }
    for server in &cluster.servers {
        let now = first_index(server, "").await;
        assert!(Some(now) >= heard, "{}: {now} after {heard:?}", server.name);
        assert_eq!(server.voters().await, voters);
    }
    load.goes_on_at(&[0, 1, 2]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn a_server_without_a_majority_answers_from_what_it_has_saved() {
    let mut cluster = TestCluster::start(13, 3).await;
    let load = Load::begin(&cluster).await;
    load.goes_on_at(&[0, 1, 2]).await;
    // What it has acknowledged itself it knows, if only just.
    register(&cluster.servers[0], "web").await;
    let seen = index(&cluster.servers[0], "?stale").await;
    cluster.servers.iter_mut().for_each(Server::kill);
    let alone = &mut cluster.servers[0];
    alone.start();
    within(async || alone.try_addresses("web").await == Some(vec!["10.0.0.1".to_owned()])).await;
    assert!(Some(first_index(alone, "?stale").await) >= seen);
    // It says that this may be old: stale answer (RFC 8914 §4.4).
    assert_eq!(alone.extended_errors("web").await, [3]);
    let acknowledged = load.acknowledged_by(0);
    let before = clock::now();
    let refused = alone.register("more", WEB).await;
    let Err(RequestError::Status { status, text }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((status.as_u16(), text.as_str()), (500, "No cluster leader"));
    // It has waited for a leader before.
    assert!(before.elapsed() >= Duration::from_secs(1));
    assert_eq!(load.acknowledged_by(0), acknowledged);
    let stale = alone.get("/v1/catalog/service/web?stale").await.unwrap();
    assert_eq!(stale[0]["Address"], "10.0.0.1");
    assert_eq!(alone.addresses("web").await, ["10.0.0.1"]);
    for server in cluster.servers.iter_mut().filter(|it| !it.runs()) {
        server.start();
    }
    cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn restarting_one_after_the_other_loses_nothing() {
    let mut cluster = TestCluster::start(14, 3).await;
    let load = Load::begin(&cluster).await;
    for place in 0..3 {
        register(&cluster.servers[place], &format!("before{place}")).await;
        cluster.servers[place].terminate().await;
        register(&cluster.servers[(place + 1) % 3], &format!("during{place}")).await;
        cluster.servers[place].start();
        cluster.elects().await;
        load.goes_on_at(&[0, 1, 2]).await;
    }
    for place in 0..3 {
        cluster.all_answer(&format!("before{place}"), &[WEB]).await;
        cluster.all_answer(&format!("during{place}"), &[WEB]).await;
    }
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn a_leader_that_sleeps_for_long_follows_when_it_wakes_up() {
    let cluster = TestCluster::start(15, 3).await;
    let load = Load::begin(&cluster).await;
    let leader = cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    let (asleep, fell_asleep) = (&cluster.servers[leader], clock::monotonic());
    asleep.signal(Signal::SIGSTOP);
    let others: Vec<_> = (0..3).filter(|place| *place != leader).collect();
    let old = format!("{}:8300", asleep.ip);
    within(async || {
        let heard = cluster.servers[others[0]].leader().await;
        !heard.is_empty() && heard != old
    })
    .await;
    register(&cluster.servers[others[0]], "web").await;
    while fell_asleep.elapsed() < SLEEP {
        load.goes_on_at(&others).await;
    }
    // A read that waits at the door is the first thing that it sees: it must not take itself for
    // the leader still.
    let known = index(&cluster.servers[others[0]], "").await;
    let waking = async {
        load.goes_on_at(&others).await;
        asleep.signal(Signal::SIGCONT);
    };
    let (first, ()) = tokio::join!(index(asleep, ""), waking);
    assert!(
        first.is_none() || first >= known,
        "{first:?} after {known:?}"
    );
    cluster.elects().await;
    cluster.all_answer("web", &[WEB]).await;
    register(asleep, "awake").await;
    cluster.all_answer("awake", &[WEB]).await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    load.goes_on_at(&[0, 1, 2]).await;
    load.finish(&cluster).await;
}

//! Servers that are killed, stopped and started again.

use std::net::Ipv4Addr;
use std::time::Duration;

use herald::client::http::RequestError;
use herald::clock;
use nix::sys::signal::Signal;

use crate::support::cluster::{Server, TestCluster, within};
use crate::support::load::Load;

const WEB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Registers, again and again while nobody leads.
async fn register(server: &Server, service: &str) {
    within(async || server.register(service, WEB).await.is_ok()).await;
}

#[tokio::test]
async fn when_the_leader_is_killed_another_leads_and_dns_never_fails() {
    let mut cluster = TestCluster::start(11, 3).await;
    let leader = cluster.elects().await;
    cluster.servers[leader].register("web", WEB).await.unwrap();
    cluster.all_answer("web", &[WEB]).await;
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
    cluster.same_catalogs().await;
}

#[tokio::test]
async fn servers_that_are_all_killed_at_once_come_back_with_everything() {
    let mut cluster = TestCluster::start(12, 3).await;
    for number in 0..20 {
        let server = &cluster.servers[number % 3];
        server.register(&format!("web{number}"), WEB).await.unwrap();
    }
    let before = cluster.same_catalogs().await;
    let voters = cluster.servers[0].voters().await;
    cluster.servers.iter_mut().for_each(Server::kill);
    cluster.servers.iter_mut().for_each(Server::start);
    cluster.elects().await;
    for number in 0..20 {
        cluster.all_answer(&format!("web{number}"), &[WEB]).await;
    }
    assert!(
        cluster.same_catalogs().await >= before,
        "no index goes back"
    );
    for server in &cluster.servers {
        assert_eq!(server.voters().await, voters);
    }
}

#[tokio::test]
async fn a_server_without_a_majority_answers_from_what_it_has_saved() {
    let mut cluster = TestCluster::start(13, 3).await;
    register(&cluster.servers[0], "web").await;
    cluster.all_answer("web", &[WEB]).await;
    // With the next entry each server keeps that the one before is decided.
    register(&cluster.servers[0], "later").await;
    cluster.all_answer("later", &[WEB]).await;
    cluster.same_catalogs().await;
    cluster.servers.iter_mut().for_each(Server::kill);
    let alone = &mut cluster.servers[0];
    alone.start();
    within(async || alone.try_addresses("web").await == Some(vec!["10.0.0.1".to_owned()])).await;
    // It says that this may be old: stale answer (RFC 8914 §4.4).
    assert_eq!(alone.extended_errors("web").await, [3]);
    let before = clock::now();
    let refused = alone.register("more", WEB).await;
    let Err(RequestError::Status { status, text }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((status.as_u16(), text.as_str()), (500, "No cluster leader"));
    // It has waited for a leader before.
    assert!(before.elapsed() >= Duration::from_secs(1));
    let stale = alone.get("/v1/catalog/service/web?stale").await.unwrap();
    assert_eq!(stale[0]["Address"], "10.0.0.1");
    assert_eq!(alone.addresses("web").await, ["10.0.0.1"]);
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
async fn a_leader_that_sleeps_follows_when_it_wakes_up() {
    let cluster = TestCluster::start(15, 3).await;
    let load = Load::begin(&cluster).await;
    let leader = cluster.elects().await;
    cluster.servers[leader].signal(Signal::SIGSTOP);
    let others: Vec<_> = (0..3).filter(|place| *place != leader).collect();
    let old = format!("{}:8300", cluster.servers[leader].ip);
    within(async || {
        let heard = cluster.servers[others[0]].leader().await;
        !heard.is_empty() && heard != old
    })
    .await;
    register(&cluster.servers[others[0]], "web").await;
    load.goes_on_at(&others).await;
    cluster.servers[leader].signal(Signal::SIGCONT);
    cluster.elects().await;
    cluster.all_answer("web", &[WEB]).await;
    register(&cluster.servers[leader], "awake").await;
    cluster.all_answer("awake", &[WEB]).await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    load.goes_on_at(&[0, 1, 2]).await;
    load.finish(&cluster).await;
}

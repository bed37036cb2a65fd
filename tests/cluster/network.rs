//! Servers that cannot hear each other, or only one way.

use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;

use crate::support::cluster::{TestCluster, within};
use crate::support::load::Load;
use crate::support::network::{Cut, Network};

/// Extended error of an answer that may be old (RFC 8914 §4.4).
const STALE: u16 = 3;
/// Extended error of one that there is no data for yet (RFC 8914 §4.15).
const NOT_READY: u16 = 14;
const WEB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The places of the others.
fn others(cluster: &TestCluster, place: usize) -> Vec<usize> {
    (0..cluster.servers.len())
        .filter(|it| *it != place)
        .collect()
}

/// Waits until another one than the server at `old` leads, as the others know.
async fn another_leads(cluster: &TestCluster, old: usize) {
    let address = format!("{}:8300", cluster.servers[old].ip);
    within(async || {
        for place in others(cluster, old) {
            let leader = cluster.servers[place].leader().await;
            if leader.is_empty() || leader == address {
                return false;
            }
        }
        true
    })
    .await;
}

async fn term(cluster: &TestCluster, place: usize) -> u64 {
    let term = cluster.servers[place].figure("herald_raft_term").await;
    term.expect("servers tell their term")
}

/// The server at `cut` takes no writes, the others do.
async fn only_the_others_go_on(cluster: &TestCluster, load: &Load, cut: usize) {
    within(async || cluster.servers[cut].leader().await.is_empty()).await;
    let before = load.acknowledged_by(cut);
    load.goes_on_at(&others(cluster, cut)).await;
    assert_eq!(load.acknowledged_by(cut), before, "nobody has decided that");
}

#[tokio::test]
async fn a_leader_without_a_majority_takes_no_writes_and_its_dns_says_that_it_is_old() {
    let Some(network) = Network::new("minority", 3) else {
        return;
    };
    let cluster = network.cluster().await;
    let load = Load::begin(&cluster).await;
    let old = cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    network.cut(old, Cut::Off);
    another_leads(&cluster, old).await;
    only_the_others_go_on(&cluster, &load, old).await;
    let alone = &cluster.servers[old];
    within(async || alone.extended_errors("steady").await == [STALE]).await;
    for place in others(&cluster, old) {
        let errors = cluster.servers[place].extended_errors("steady").await;
        assert_eq!(errors, [] as [u16; 0]);
    }
    network.heal(old);
    cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    within(async || alone.extended_errors("steady").await.is_empty()).await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn a_leader_that_is_heard_but_hears_nobody_is_replaced() {
    let Some(network) = Network::new("deaf-leader", 3) else {
        return;
    };
    let cluster = network.cluster().await;
    let load = Load::begin(&cluster).await;
    let old = cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    network.cut(old, Cut::Deaf);
    another_leads(&cluster, old).await;
    only_the_others_go_on(&cluster, &load, old).await;
    let place = others(&cluster, old)[0];
    let settled = term(&cluster, place).await;
    load.goes_on_at(&others(&cluster, old)).await;
    network.heal(old);
    cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    assert!(
        term(&cluster, place).await <= settled + 2,
        "elections came to an end"
    );
    load.finish(&cluster).await;
}

#[tokio::test]
async fn a_follower_that_hears_nobody_does_not_disturb_the_others() {
    let Some(network) = Network::new("deaf-follower", 3) else {
        return;
    };
    let cluster = network.cluster().await;
    let load = Load::begin(&cluster).await;
    let leader = cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    let before = term(&cluster, leader).await;
    let deaf = others(&cluster, leader)[0];
    network.cut(deaf, Cut::Deaf);
    only_the_others_go_on(&cluster, &load, deaf).await;
    let old = &cluster.servers[deaf];
    within(async || old.extended_errors("steady").await == [STALE]).await;
    // By now it has wanted an election several times.
    load.goes_on_at(&others(&cluster, deaf)).await;
    for place in others(&cluster, deaf) {
        let known = cluster.servers[place].leader().await;
        assert_eq!(known, format!("{}:8300", cluster.servers[leader].ip));
    }
    assert!(term(&cluster, leader).await <= before + 1);
    network.heal(deaf);
    cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    assert!(term(&cluster, leader).await <= before + 1);
    load.finish(&cluster).await;
}

#[tokio::test]
async fn a_client_does_not_believe_that_something_is_missing_where_nobody_leads() {
    let Some(network) = Network::new("client", 4) else {
        return;
    };
    let mut cluster = network.cluster_of(3).await;
    let client = network.client(4);
    let is_web = async |service| client.try_addresses(service).await == Some(vec![WEB.to_string()]);
    within(async || {
        client
            .try_addresses("consul")
            .await
            .is_some_and(|it| it.len() == 3)
    })
    .await;
    let leader = cluster.elects().await;
    let register = async |service| cluster.servers[leader].register(service, WEB).await.is_ok();
    within(async || register("early").await).await;
    cluster.all_answer("early", &[WEB]).await;
    // One of them does not hear of the next, and is the only one that is left.
    let left = others(&cluster, leader)[0];
    network.cut(left, Cut::Off);
    within(async || register("late").await).await;
    within(async || cluster.servers[left].leader().await.is_empty()).await;
    for place in others(&cluster, left) {
        cluster.servers[place].kill();
        // Their systems would deliver what they have sent, though they are gone.
        network.cut(place, Cut::Off);
    }
    network.heal(left);
    // What the client has never asked for it is told by whoever is left.
    within(async || is_web("early").await).await;
    for _ in 0..5 {
        let answer = client.ask("late.service.consul A").await;
        assert_eq!(answer.code(), ResponseCode::ServFail);
        assert_eq!(client.extended_errors("late").await, [NOT_READY]);
    }
    for place in others(&cluster, left) {
        network.heal(place);
        cluster.servers[place].start();
    }
    within(async || is_web("late").await).await;
    // From those who follow a leader it is believed.
    within(async || client.ask("never.service.consul A").await.code() == ResponseCode::NXDomain)
        .await;
}

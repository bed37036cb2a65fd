//! Servers that go for good, move, or are rebuilt.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::support::cluster::{Server, TestCluster, within};
use crate::support::load::Load;

const WEB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The id of the server with this name, as another knows it.
async fn id_of(server: &Server, name: &str) -> Option<String> {
    let configuration = server.get("/v1/operator/raft/configuration").await.ok()?;
    let servers = configuration["Servers"].as_array()?;
    let found = servers.iter().find(|server| server["Node"] == name)?;
    found["ID"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_rebuilt_machine_takes_its_place_again() {
    let mut cluster = TestCluster::start(21, 3).await;
    let load = Load::begin(&cluster).await;
    cluster.servers[0].register("web", WEB).await.unwrap();
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    let old = id_of(&cluster.servers[0], "s3").await;
    let mut lost = cluster.servers.pop().expect("there are three");
    lost.kill();
    // The same name and address, and nothing of what was on its disk.
    cluster.add(3, &["-bootstrap-expect=3"]);
    within(async || {
        let now = id_of(&cluster.servers[0], "s3").await;
        now.is_some() && now != old
    })
    .await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    cluster.all_answer("web", &[WEB]).await;
    cluster.elects().await;
    load.goes_on_at(&[0, 1]).await;
    // Its vote counts: with another one gone the two go on.
    cluster.servers[0].kill();
    let leader = cluster.elects().await;
    cluster.servers[leader].register("more", WEB).await.unwrap();
    cluster.all_answer("more", &[WEB]).await;
    load.goes_on_at(&[1]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn a_server_with_another_address_is_found_there() {
    let mut cluster = TestCluster::start(22, 3).await;
    let load = Load::begin(&cluster).await;
    cluster.servers[0].register("web", WEB).await.unwrap();
    cluster.servers[2].kill();
    let elsewhere = TestCluster::ip(22, 33);
    cluster.servers[2].start_at(elsewhere);
    let moved = ("s3".to_owned(), format!("{elsewhere}:8300"));
    within(async || {
        for server in &cluster.servers {
            if !server.voters().await.contains(&moved) {
                return false;
            }
        }
        true
    })
    .await;
    cluster.elects().await;
    cluster.servers[2].register("moved", WEB).await.unwrap();
    cluster.all_answer("web", &[WEB]).await;
    cluster.all_answer("moved", &[WEB]).await;
    // The load knows the third one where it was only.
    load.goes_on_at(&[0, 1]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn who_leaves_is_a_voter_no_more_also_the_leader() {
    let mut cluster = TestCluster::start(23, 3).await;
    let load = Load::begin(&cluster).await;
    let mut places = vec![0, 1, 2];
    for left in ["two", "one"] {
        let leader = cluster.elects().await;
        let mut server = cluster.servers.remove(leader);
        places.remove(leader);
        server.ends();
        server.put("/v1/agent/leave", &Value::Null).await.unwrap();
        server.ended().await;
        let names: Vec<_> = cluster.servers.iter().map(|it| &*it.name).collect();
        cluster.all_have_voters(&names).await;
        cluster.elects().await;
        cluster.servers[0].register(left, WEB).await.unwrap();
        cluster.all_answer(left, &[WEB]).await;
        load.goes_on_at(&places).await;
    }
    load.finish(&cluster).await;
}

#[tokio::test]
async fn who_failed_keeps_its_vote_until_an_operator_takes_it() {
    let mut cluster = TestCluster::start(24, 3).await;
    let load = Load::begin(&cluster).await;
    cluster.servers[2].kill();
    let leader = cluster.elects().await;
    let failed = async || {
        let members = cluster.servers[leader].get("/v1/agent/members").await;
        let members = members.unwrap();
        let mut members = members.as_array().unwrap().iter();
        members.any(|member| member["Name"] == "s3" && member["Status"] == 4)
    };
    within(failed).await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    let address = format!("{}:8300", cluster.servers[2].ip);
    let path = format!("/v1/operator/raft/peer?address={address}");
    let http = cluster.servers[leader].http();
    http.delete(&path, &json!(null)).await.unwrap();
    cluster.all_have_voters(&["s1", "s2"]).await;
    load.goes_on_at(&[0, 1]).await;
    load.finish(&cluster).await;
}

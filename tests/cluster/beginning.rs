//! How servers become a cluster.

use std::net::Ipv4Addr;

use serde_json::json;

use crate::support::cluster::{Server, TestCluster, within};
use crate::support::directory::Directory;
use crate::support::load::Load;

const WEB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

#[tokio::test]
async fn three_servers_choose_one_and_each_takes_and_answers_everything() {
    let cluster = TestCluster::start(1, 3).await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    for (service, server) in ["one", "two", "three"].iter().zip(&cluster.servers) {
        server.register(service, WEB).await.unwrap();
        // Whoever acknowledges shows it at once.
        assert_eq!(server.addresses(service).await, ["10.0.0.1"], "{service}");
        cluster.all_answer(service, &[WEB]).await;
    }
    for server in &cluster.servers {
        let own = json!({"Name": format!("own-{}", server.name), "Port": 80});
        server
            .put("/v1/agent/service/register", &own)
            .await
            .unwrap();
    }
    for server in &cluster.servers {
        let service = format!("own-{}", server.name);
        cluster.all_answer(&service, &[server.ip]).await;
    }
    for server in &cluster.servers {
        assert_eq!(server.extended_errors("one").await, [] as [u16; 0]);
    }
    cluster.same_catalogs().await;
}

#[tokio::test]
async fn the_commands_of_common_guides_make_a_cluster_of_three_and_a_client() {
    let ip = |number| TestCluster::ip(2, number);
    let spawn = |number: u8, server: bool, further: String| {
        let (name, directory) = (format!("guide{number}"), Directory::new());
        let data = directory.0.join("data");
        let arguments = [
            "agent".to_owned(),
            format!("--server={server}"),
            further,
            format!("--node={name}"),
            format!("--bind={}", ip(number)),
            format!("--client={}", ip(number)),
            format!("--data-dir={}", data.display()),
        ];
        // `--join ADDRESS` as it is typed: two words.
        let words = arguments.iter().flat_map(|text| text.split(' '));
        let words: Vec<_> = words.map(str::to_owned).collect();
        Server::spawn(&name, ip(number), directory, &words)
    };
    let join = || format!("--join {}", ip(1));
    let mut cluster = TestCluster::empty(2);
    cluster
        .servers
        .push(spawn(1, true, "--bootstrap-expect=3".to_owned()));
    let first = &cluster.servers[0];
    within(async || first.get("/v1/agent/self").await.is_ok()).await;
    cluster.servers.push(spawn(2, true, join()));
    cluster.servers.push(spawn(3, true, join()));
    cluster.elects().await;
    cluster
        .all_have_voters(&["guide1", "guide2", "guide3"])
        .await;
    let client = spawn(4, false, join());
    within(async || client.get("/v1/agent/self").await.is_ok()).await;
    let web = json!({"Name": "web", "Port": 80});
    client
        .put("/v1/agent/service/register", &web)
        .await
        .unwrap();
    cluster.all_answer("web", &[ip(4)]).await;
}

#[tokio::test]
async fn servers_that_expect_different_numbers_name_each_other_and_begin_nothing() {
    let mut cluster = TestCluster::empty(3);
    cluster.add(1, &["-bootstrap-expect=2"]);
    cluster.add(2, &["-bootstrap-expect=3"]);
    let [first, second] = &*cluster.servers else {
        panic!("there are two");
    };
    within(async || first.log().contains("s2 has bootstrap_expect 3")).await;
    within(async || second.log().contains("s1 has bootstrap_expect 2")).await;
    for server in &cluster.servers {
        assert_eq!(server.leader().await, "");
        assert_eq!(server.voters().await, []);
        // Nothing was ever loaded here: not ready (RFC 8914 §4.15).
        assert_eq!(server.extended_errors("web").await, [14]);
    }
}

#[tokio::test]
async fn a_fourth_server_learns_and_gets_a_vote() {
    let mut cluster = TestCluster::start(4, 3).await;
    let load = Load::begin(&cluster).await;
    let leader = cluster.elects().await;
    cluster.servers[leader].register("web", WEB).await.unwrap();
    cluster.add(4, &[]);
    cluster.all_have_voters(&["s1", "s2", "s3", "s4"]).await;
    cluster.all_answer("web", &[WEB]).await;
    load.goes_on_at(&[0, 1, 2]).await;
    let late = &cluster.servers[3];
    late.register("late", WEB).await.unwrap();
    cluster.all_answer("late", &[WEB]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn a_server_with_a_log_does_not_found_another_cluster() {
    let mut cluster = TestCluster::empty(5);
    cluster.add(1, &["-bootstrap-expect=1"]);
    cluster.elects().await;
    let load = Load::begin(&cluster).await;
    load.goes_on_at(&[0]).await;
    let server = &mut cluster.servers[0];
    server.register("web", WEB).await.unwrap();
    server.kill();
    server.start();
    cluster.elects().await;
    cluster.all_answer("web", &[WEB]).await;
    load.goes_on_at(&[0]).await;
    load.finish(&cluster).await;
    let log = cluster.servers[0].log();
    assert!(log.contains("in a cluster already"), "{log}");
}

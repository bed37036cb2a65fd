//! Client agents of several servers: what their DNS says, whoever is gone.

use std::net::Ipv4Addr;

use serde_json::json;

use crate::support::cluster::{Server, TestCluster, within};
use crate::support::load::Load;

const SERVICE: &str = "/v1/agent/service/register";

/// Registers `web` with a check at the agent.
async fn register_web(agent: &Server) {
    let web = json!({"Name": "web", "Port": 80, "Check": {"TTL": "1h"}});
    within(async || agent.put(SERVICE, &web).await.is_ok()).await;
}

/// Waits until these agents have exactly these addresses of `web`.
async fn answer(agents: &[&Server], expected: &[Ipv4Addr]) {
    let mut expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
    expected.sort();
    for agent in agents {
        within(async || {
            let mut have = agent.try_addresses("web").await.unwrap_or_default();
            have.sort();
            have == expected
        })
        .await;
    }
}

/// Status and output of the check of `web` at the agent.
async fn check(agent: &Server) -> Option<(String, String)> {
    let checks = agent.get("/v1/agent/checks").await.ok()?;
    let check = &checks["service:web"];
    let text = |key: &str| check[key].as_str().map(str::to_owned);
    Some((text("Status")?, text("Output")?))
}

#[tokio::test]
async fn clients_answer_what_servers_have_and_go_on_without_them() {
    let mut cluster = TestCluster::start(61, 3).await;
    let load = Load::begin(&cluster).await;
    let (mut one, two) = (cluster.client("c1", 11), cluster.client("c2", 12));
    // Registered at a client, it is in DNS everywhere.
    register_web(&one).await;
    register_web(&two).await;
    let pass = "/v1/agent/check/pass/service:web";
    within(async || two.put(pass, &json!({})).await.is_ok()).await;
    let warn = "/v1/agent/check/warn/service:web?note=slow";
    within(async || one.put(warn, &json!({})).await.is_ok()).await;
    let both = [one.ip, two.ip];
    cluster.all_answer("web", &both).await;
    answer(&[&one, &two], &both).await;
    // Whose agent dies is in no answer. What checks say is on the disk within a second.
    let kept = one.directory.0.join("data/local/checks");
    within(async || std::fs::read_to_string(&kept).is_ok_and(|it| it.contains("slow"))).await;
    one.kill();
    cluster.all_answer("web", &[two.ip]).await;
    answer(&[&two], &[two.ip]).await;
    // It comes back with what it had, and what it knew of it.
    one.start();
    cluster.all_answer("web", &both).await;
    answer(&[&one, &two], &both).await;
    let known = Some(("warning".to_owned(), "slow".to_owned()));
    assert_eq!(check(&one).await, known);
    // Without any server the clients answer what they have seen, and say so.
    cluster.servers.iter_mut().for_each(Server::kill);
    for client in [&one, &two] {
        within(async || {
            assert_eq!(client.addresses("web").await.len(), 2, "{}", client.name);
            client.extended_errors("web").await == [3]
        })
        .await;
    }
    cluster.servers.iter_mut().for_each(Server::start);
    cluster.elects().await;
    let web = Ipv4Addr::new(10, 0, 0, 1);
    within(async || cluster.servers[0].register("web", web).await.is_ok()).await;
    let all = [one.ip, two.ip, web];
    cluster.all_answer("web", &all).await;
    answer(&[&one, &two], &all).await;
    for client in [&one, &two] {
        within(async || client.extended_errors("web").await.is_empty()).await;
    }
    load.goes_on_at(&[0, 1, 2]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn with_allow_stale_off_a_follower_asks_the_leader() {
    let mut cluster = TestCluster::empty(62);
    for number in 1..=3 {
        let off = "-hcl=dns_config { allow_stale = false }";
        cluster.add(number, &["-bootstrap-expect=3", off]);
    }
    let leader = cluster.elects().await;
    for number in 0..20 {
        let (name, ip) = (format!("web{number}"), Ipv4Addr::new(10, 0, 0, number));
        let leader = &cluster.servers[leader];
        within(async || leader.register(&name, ip).await.is_ok()).await;
        for server in cluster.running() {
            // At once, wherever it is asked.
            assert_eq!(server.addresses(&name).await, [ip.to_string()], "{name}");
            assert_eq!(server.extended_errors(&name).await, [0_u16; 0]);
        }
    }
    let left = (leader + 1) % 3;
    for place in (0..3).filter(|place| *place != left) {
        cluster.servers[place].kill();
    }
    let alone = &cluster.servers[left];
    within(async || alone.extended_errors("web0").await == [22]).await;
    assert!(alone.addresses("web0").await.is_empty());
}

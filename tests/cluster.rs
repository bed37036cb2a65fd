//! What the API says about the pools that an agent is in, and does in them.

use std::net::SocketAddr;

use data_encoding::BASE64;
use herald::gossip::keyring::{Key, Keyring};
use herald::gossip::membership::Membership;
use herald::types::MemberStatus;
use serde_json::{Value, json};

use crate::gossip;
use crate::support::eventually;
use crate::support::http::{Reply, get, put, request};
use crate::support::parts::Parts;

mod beginning;
mod changing;
mod clients;
mod clock;
mod disk;
mod failing;
mod history;
mod load;
mod network;

/// An API and the pools behind it.
struct Member {
    parts: Parts,
    lan: gossip::Node,
    wan: Option<gossip::Node>,
}

/// A pool for `name` on 127.0.77.`last`.
fn pool(name: &str, last: u8, keyring: Option<&Keyring>) -> gossip::Node {
    let mut setup = gossip::setup(name, last);
    setup.config.bind = SocketAddr::from(([127, 0, 77, last], 0));
    setup.config.own.address = setup.config.bind;
    setup.config.keyring = keyring.cloned();
    setup.start()
}

impl Member {
    /// A client agent: in the LAN pool only.
    async fn client(name: &str, last: u8) -> Self {
        Self::of(pool(name, last, None), None).await
    }

    /// A server: in both pools.
    async fn server(name: &str, last: u8, keyring: Option<&Keyring>) -> Self {
        let wan = pool(&format!("{name}.dc1"), last, keyring);
        Self::of(pool(name, last, keyring), Some(wan)).await
    }

    async fn of(lan: gossip::Node, wan: Option<gossip::Node>) -> Self {
        let membership = Membership {
            lan: lan.pool.clone(),
            wan: wan.as_ref().map(|wan| wan.pool.clone()),
        };
        let parts = Parts::start_in(membership).await;
        Self { parts, lan, wan }
    }

    async fn get(&self, path: &str) -> Reply {
        get(self.parts.address, path).await
    }

    async fn put(&self, path: &str, body: &str) -> Reply {
        put(self.parts.address, path, body).await
    }

    /// Joins `other` over the API.
    async fn join(&self, other: &Self) {
        let path = format!("/v1/agent/join/{}", other.lan.address());
        let reply = self.put(&path, "").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, ""));
        assert_eq!(reply.header("Content-Type"), None);
    }

    /// Names and states of the members that it lists.
    async fn members(&self, query: &str) -> Vec<(String, u64)> {
        let list = self.get(&format!("/v1/agent/members{query}")).await.json();
        let members = list.as_array().unwrap().iter();
        members
            .map(|member| {
                let name = member["Name"].as_str().unwrap().to_owned();
                (name, member["Status"].as_u64().unwrap())
            })
            .collect()
    }

    async fn sees(&self, expected: &[(&str, u64)]) {
        eventually(async || {
            let members = self.members("").await;
            let members = members.iter().map(|(name, status)| (&**name, *status));
            members.eq(expected.iter().copied())
        })
        .await;
    }

    async fn events(&self, name: &str) -> Value {
        self.get(&format!("/v1/event/list?name={name}"))
            .await
            .json()
    }

    async fn kill(self) {
        self.lan.kill().await;
        if let Some(wan) = self.wan {
            wan.kill().await;
        }
    }
}

#[tokio::test]
async fn agents_join_fail_and_are_forced_to_leave() {
    let (server, client) = (
        Member::server("n1", 1, None).await,
        Member::client("n2", 2).await,
    );
    client.join(&server).await;
    server.sees(&[("n1", 1), ("n2", 1)]).await;
    let listed = client.get("/v1/agent/members?segment=_all").await.json();
    let of = |key: &str| listed[0][key].clone();
    assert_eq!(
        (of("Addr"), of("Port")),
        (json!("127.0.77.1"), json!(server.lan.address().port()))
    );
    assert_eq!((of("DelegateCur"), of("ProtocolMax")), (json!(4), json!(5)));
    assert_eq!(server.members("?wan=1").await, [("n1.dc1".to_owned(), 1)]);
    assert_eq!(client.get("/v1/agent/members?wan=1").await.text(), "null");
    let unknown = server.put("/v1/agent/force-leave/n9", "").await;
    let text = "agent: No node found with name 'n9'";
    assert_eq!((unknown.status, unknown.text().as_str()), (500, text));
    client.kill().await;
    server.sees(&[("n1", 1), ("n2", 4)]).await;
    let left = server.put("/v1/agent/force-leave/n2", "").await;
    assert_eq!((left.status, left.text().as_str()), (200, ""));
    server.sees(&[("n1", 1), ("n2", 3)]).await;
    let pruned = server.put("/v1/agent/force-leave/n2?prune", "").await;
    assert_eq!((pruned.status, pruned.text().as_str()), (200, ""));
    server.sees(&[("n1", 1)]).await;
    server.kill().await;
}

#[tokio::test]
async fn a_server_that_failed_leaves_the_wan_pool_under_its_full_name() {
    let (first, second) = (
        Member::server("n1", 11, None).await,
        Member::server("n2", 12, None).await,
    );
    second.join(&first).await;
    let wan = first.wan.as_ref().unwrap();
    let path = format!("/v1/agent/join/{}?wan=1", wan.address());
    assert_eq!(second.put(&path, "").await.status, 200);
    wan.sees("n2.dc1", MemberStatus::Alive).await;
    second.kill().await;
    wan.sees("n2.dc1", MemberStatus::Failed).await;
    first.sees(&[("n1", 1), ("n2", 4)]).await;
    assert_eq!(first.put("/v1/agent/force-leave/n2", "").await.status, 200);
    wan.sees("n2.dc1", MemberStatus::Left).await;
    first.kill().await;
}

#[tokio::test]
async fn datacenters_are_those_of_the_servers_that_have_not_left() {
    let server = |datacenter: &str, last| {
        let mut setup = gossip::setup(&format!("n1.{datacenter}"), last);
        setup.config.own.tags = gossip::tags(&[("role", "consul"), ("dc", datacenter)]);
        setup.start()
    };
    let (own, other) = (server("dc1", 41), server("dc2", 42));
    let member = Member::of(pool("n1", 43, None), Some(own)).await;
    let known = async || member.get("/v1/catalog/datacenters").await.json();
    assert_eq!(known().await, json!(["dc1"]));
    let path = format!("/v1/agent/join/{}?wan=1", other.address());
    assert_eq!(member.put(&path, "").await.status, 200);
    eventually(async || known().await == json!(["dc1", "dc2"])).await;
    other.kill().await;
    let wan = member.wan.as_ref().unwrap();
    wan.sees("n1.dc2", MemberStatus::Failed).await;
    assert_eq!(known().await, json!(["dc1", "dc2"]));
    let left = member.put("/v1/agent/force-leave/n1.dc2", "").await;
    assert_eq!(left.status, 500);
    wan.pool.force_leave("n1.dc2", false).await.unwrap();
    eventually(async || known().await == json!(["dc1"])).await;
    member.kill().await;
}

#[tokio::test]
async fn who_cannot_be_joined_is_named() {
    let client = Member::client("n1", 21).await;
    for (path, text) in [
        (
            "127.0.77.254:1",
            "1 error occurred:\n\t* Failed to join 127.0.77.254:1: dial tcp 127.0.77.254:1: \
             connect: connection refused\n\n",
        ),
        ("127.0.77.254?wan=1", "Must be a server to join WAN cluster"),
    ] {
        let reply = client.put(&format!("/v1/agent/join/{path}"), "").await;
        assert_eq!((reply.status, reply.text().as_str()), (500, text));
    }
    let nobody = client.put("/v1/agent/join/", "").await;
    assert_eq!(
        (nobody.status, nobody.text().as_str()),
        (400, "Missing address to join")
    );
    client.kill().await;
}

#[tokio::test]
async fn an_agent_that_leaves_has_left_once_it_is_answered() {
    let (stays, goes) = (
        Member::client("n1", 31).await,
        Member::client("n2", 32).await,
    );
    goes.join(&stays).await;
    stays.sees(&[("n1", 1), ("n2", 1)]).await;
    let reply = goes.put("/v1/agent/leave", "").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, ""));
    stays.sees(&[("n1", 1), ("n2", 3)]).await;
    stays.kill().await;
    goes.kill().await;
}

#[tokio::test]
async fn events_reach_the_agents_that_they_are_for() {
    let (first, second) = (
        Member::client("n1", 41).await,
        Member::client("n2", 42).await,
    );
    second.join(&first).await;
    first.sees(&[("n1", 1), ("n2", 1)]).await;
    let fired = second
        .put("/v1/event/fire/deploy?node=^n", "v1")
        .await
        .json();
    assert_eq!(fired["Payload"], BASE64.encode(b"v1"));
    assert_eq!(fired["LTime"], 0);
    for member in [&first, &second] {
        eventually(async || member.events("deploy").await != json!([])).await;
        let kept = member.events("deploy").await;
        assert_eq!(
            (&kept[0]["ID"], &kept[0]["NodeFilter"]),
            (&fired["ID"], &json!("^n"))
        );
        assert!(kept[0]["LTime"].as_u64().unwrap() > 0);
        assert_eq!(kept.as_array().unwrap().len(), 1);
    }
    // What is one octet too long once it is wrapped is refused by the pool.
    let long = "x".repeat(430);
    let reply = first.put("/v1/event/fire/deploy", &long).await;
    let text = "1 error occurred:\n\t* error broadcasting event to segment \"\": user event \
                exceeds configured limit of 512 bytes after encoding\n\n";
    assert_eq!((reply.status, reply.text().as_str()), (400, text));
    first.kill().await;
    second.kill().await;
}

fn body(octet: u8) -> String {
    json!({"Key": BASE64.encode(&[octet; 16])}).to_string()
}

#[tokio::test]
async fn keys_are_rotated_on_both_pools_through_the_api() {
    let ring = Keyring::new(Key::new(&[b'a'; 16]).unwrap());
    let (first, second) = (
        Member::server("n1", 51, Some(&ring)).await,
        Member::server("n2", 52, Some(&ring)).await,
    );
    second.join(&first).await;
    first.sees(&[("n1", 1), ("n2", 1)]).await;
    let path = "/v1/operator/keyring";
    let change = async |method: &str, octet: u8| {
        let reply = request(first.parts.address, method, path, &[], &body(octet)).await;
        (reply.status, reply.text())
    };
    let done = (200, String::new());
    let missing = change("PUT", b'b').await;
    let text = "5 errors occurred:\n\
                \t* WAN error: 1/1 nodes reported failure\n\
                \t* n1.dc1: requested key is not in the keyring\n\
                \t* dc1 (LAN) error: 2/2 nodes reported failure\n\
                \t* n1: requested key is not in the keyring\n\
                \t* n2: requested key is not in the keyring\n\n";
    assert_eq!(missing, (500, text.to_owned()));
    assert_eq!(change("POST", b'b').await, done);
    assert_eq!(change("PUT", b'b').await, done);
    let (old, new) = (BASE64.encode(&[b'a'; 16]), BASE64.encode(&[b'b'; 16]));
    let listed = first.get(&format!("{path}?relay-factor=1")).await.json();
    assert_eq!(
        listed,
        json!([
            {"WAN": true, "Datacenter": "dc1", "Segment": "", "NumNodes": 1,
             "Keys": {&old: 1, &new: 1}, "PrimaryKeys": {&new: 1}},
            {"WAN": false, "Datacenter": "dc1", "Segment": "", "NumNodes": 2,
             "Keys": {&old: 2, &new: 2}, "PrimaryKeys": {&new: 2}},
        ])
    );
    assert_eq!(change("DELETE", b'a').await, done);
    let local = second.get(&format!("{path}?local-only=true")).await.json();
    assert_eq!(local.as_array().unwrap().len(), 1);
    assert_eq!(
        (&local[0]["WAN"], &local[0]["Keys"]),
        (&json!(false), &json!({&new: 2}))
    );
    let (status, text) = change("DELETE", b'b').await;
    assert_eq!(status, 500);
    assert!(
        text.contains("\t* n1: removing the primary key is not allowed\n"),
        "{text}"
    );
    first.kill().await;
    second.kill().await;
}

#[tokio::test]
async fn pools_without_keys_say_so_and_clients_are_not_asked() {
    let (server, client) = (
        Member::server("n1", 61, None).await,
        Member::client("n2", 62).await,
    );
    let empty = "4 errors occurred:\n\
                 \t* WAN error: 1/1 nodes reported failure\n\
                 \t* n1.dc1: Keyring is empty (encryption not enabled)\n\
                 \t* dc1 (LAN) error: 1/1 nodes reported failure\n\
                 \t* n1: Keyring is empty (encryption not enabled)\n\n";
    let reply = server.get("/v1/operator/keyring").await;
    assert_eq!((reply.status, reply.text().as_str()), (500, empty));
    let none = empty.replace("Keyring is empty", "No keyring to modify");
    let address = server.parts.address;
    let reply = request(address, "POST", "/v1/operator/keyring", &[], &body(b'a')).await;
    assert_eq!((reply.status, reply.text()), (500, none));
    let reply = client.get("/v1/operator/keyring").await;
    let text = "keyring operations must run against a server node";
    assert_eq!((reply.status, reply.text().as_str()), (500, text));
    server.kill().await;
    client.kill().await;
}

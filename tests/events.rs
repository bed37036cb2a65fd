//! Events that users send: what an agent keeps of what its pool tells it, and how it is asked.

use herald::gossip::serf::UserEvent;
use herald::msgpack::Writer;
use serde_json::json;

use crate::support::eventually;
use crate::support::http::get;
use crate::support::node::Node;

/// A user event that carries an event whose id ends in `number`, with these fields.
fn told(number: u8, name: &str, fields: &[(&str, &str)]) -> UserEvent {
    let mut payload = Vec::new();
    let mut writer = Writer::new(&mut payload);
    writer.map(fields.len() + 3);
    for (key, value) in [("ID", &*id(number)), ("n", name)].iter().chain(fields) {
        writer.text(key);
        writer.text(value);
    }
    writer.text("v");
    writer.unsigned(1_u8);
    UserEvent {
        time: u64::from(number),
        name: format!("consul:event:{name}"),
        payload,
        coalesce: false,
    }
}

fn id(number: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{number:02x}")
}

impl Node {
    fn tell(&self, event: UserEvent) {
        assert_eq!(self.tell.send(event).unwrap(), 1);
    }

    /// The names of the events that it lists, once the last of them is `last`.
    async fn events_until(&self, last: &str) -> Vec<String> {
        let mut names = Vec::new();
        eventually(async || {
            let listed = self.get("/v1/event/list").await.json();
            let events = listed.as_array().unwrap().iter();
            names = events
                .map(|event| event["Name"].as_str().unwrap().to_owned())
                .collect();
            names.last().is_some_and(|name| name == last)
        })
        .await;
        names
    }
}

#[tokio::test]
async fn events_are_listed_with_the_index_of_the_newest() {
    let node = Node::start().await;
    let empty = node.get("/v1/event/list").await;
    assert_eq!((empty.text().as_str(), empty.index()), ("[]", 1));
    assert_eq!(empty.header("X-Consul-KnownLeader"), None);
    node.tell(told(5, "deploy", &[("p", "now"), ("nf", "^n")]));
    node.tell(told(6, "drain", &[]));
    assert_eq!(node.events_until("drain").await, ["deploy", "drain"]);
    let both = node.get("/v1/event/list").await;
    assert_eq!(both.index(), 6);
    assert_eq!(
        both.json(),
        json!([
            {"ID": id(5), "Name": "deploy", "Payload": "bm93", "NodeFilter": "^n",
             "ServiceFilter": "", "TagFilter": "", "Version": 1, "LTime": 5},
            {"ID": id(6), "Name": "drain", "Payload": null, "NodeFilter": "",
             "ServiceFilter": "", "TagFilter": "", "Version": 1, "LTime": 6},
        ])
    );
    let one = node.get("/v1/event/list?name=deploy").await;
    assert_eq!((one.json()[0]["LTime"].clone(), one.index()), (json!(5), 5));
    let other = node.get("/v1/event/list?name=Deploy").await;
    assert_eq!((other.text().as_str(), other.index()), ("[]", 1));
}

#[tokio::test]
async fn only_events_for_this_agent_are_kept() {
    let node = Node::start().await;
    node.register(json!({"Name": "web", "ID": "w1", "Tags": ["v1"]}))
        .await;
    let mut broken = told(20, "broken", &[]);
    broken.payload.truncate(9);
    let mut foreign = told(21, "foreign", &[]);
    foreign.name = "foreign".to_owned();
    let mut nameless = told(22, "nameless", &[]);
    nameless.payload = vec![0x80];
    for event in [
        told(1, "node", &[("nf", "n1")]),
        told(2, "other-node", &[("nf", "n2")]),
        told(3, "service", &[("sf", "^web$")]),
        told(4, "other-service", &[("sf", "db")]),
        told(5, "tag", &[("sf", "w"), ("tf", "v[0-9]")]),
        told(6, "other-tag", &[("sf", "w"), ("tf", "v2")]),
        told(7, "unclear", &[("nf", "[")]),
        told(8, "_rexec", &[]),
        broken,
        foreign,
        nameless,
        told(9, "last", &[]),
    ] {
        node.tell(event);
    }
    let kept = node.events_until("last").await;
    assert_eq!(kept, ["node", "service", "tag", "last"]);
}

#[tokio::test]
async fn a_read_waits_while_its_index_is_that_of_the_newest_event() {
    let node = Node::start().await;
    let address = node.address;
    // The index of a list without events is 1.
    let waiting = get(address, "/v1/event/list?index=1");
    let (first, ()) = tokio::join!(waiting, async { node.tell(told(9, "one", &[])) });
    assert_eq!(
        (first.json()[0]["Name"].clone(), first.index()),
        (json!("one"), 9)
    );
    // An event of another name wakes nobody; the index is not in any order.
    let waiting = get(address, "/v1/event/list?name=one&index=9");
    let (second, ()) = tokio::join!(waiting, async {
        node.tell(told(200, "two", &[]));
        node.events_until("two").await;
        node.tell(told(3, "one", &[]));
    });
    assert_eq!(
        (second.json()[1]["LTime"].clone(), second.index()),
        (json!(3), 3)
    );
    // Any other index is answered at once, the same after the wait.
    let other = node.get("/v1/event/list?index=4000").await;
    assert_eq!(
        (other.json().as_array().unwrap().len(), other.index()),
        (3, 3)
    );
    let same = node.get("/v1/event/list?name=one&index=3&wait=10ms").await;
    assert_eq!(
        (same.json().as_array().unwrap().len(), same.index()),
        (2, 3)
    );
    let bad = node.get("/v1/event/list?index=abc").await;
    assert_eq!((bad.status, bad.text().as_str()), (400, "Invalid index"));
}

#[tokio::test]
async fn bad_events_are_the_fault_of_who_sends_them() {
    let node = Node::start().await;
    let long = "x".repeat(600);
    for (path, body, text) in [
        ("", "", "Missing name"),
        (
            "dep?tag=a",
            "",
            "Cannot provide tag filter without service filter",
        ),
        ("dep?dc=dc2", "", "No path to datacenter"),
        (
            "dep",
            long.as_str(),
            "1 error occurred:\n\t* error broadcasting event to segment \"\": user event exceeds \
             configured limit of 512 bytes before encoding\n\n",
        ),
    ] {
        let reply = node.put(&format!("/v1/event/fire/{path}"), body).await;
        assert_eq!((reply.status, reply.text().as_str()), (400, text), "{path}");
    }
    for (query, which) in [
        ("node=[", "node"),
        ("service=(", "service"),
        ("service=a&tag=[", "tag"),
    ] {
        let reply = node.put(&format!("/v1/event/fire/dep?{query}"), "").await;
        let expected = format!("Invalid {which} filter: error parsing regexp: ");
        let text = reply.text();
        // Where the reference's server refuses, with 500, the request is wrong all the same.
        assert!(reply.status == 400 && text.starts_with(&expected), "{text}");
    }
    assert_eq!(node.get("/v1/event/list").await.text(), "[]");
}

#[tokio::test]
async fn paths_have_their_methods() {
    let node = Node::start().await;
    for (reply, allow) in [
        (node.put("/v1/event/list", "").await, "OPTIONS,GET"),
        (node.get("/v1/event/fire/dep").await, "OPTIONS,PUT"),
        (node.get("/v1/agent/leave").await, "OPTIONS,PUT"),
        (node.get("/v1/agent/join/127.0.0.1").await, "OPTIONS,PUT"),
        (node.get("/v1/agent/force-leave/n2").await, "OPTIONS,PUT"),
    ] {
        assert_eq!((reply.status, reply.header("Allow")), (405, Some(allow)));
    }
}

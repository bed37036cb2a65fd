//! herald and plain serf agents.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::json;

use super::agents::{Agent as _, HttpAgent, PORT, Role, SerfAgent, forgets, remembers, sees};
use super::process::address;
use crate::support::eventually;

/// A herald server `h` and a serf agent `s` in one pool; `None` without serf.
async fn pair(
    group: u8,
    more: serde_json::Value,
    flags: &[&str],
) -> Option<(HttpAgent, SerfAgent)> {
    let serf = SerfAgent::start("s", address(group, 2), flags).await?;
    let herald = HttpAgent::herald("h", address(group, 1), Role::Server, more).await;
    let joined = herald.join(serf.address).await;
    joined.is(
        0,
        "Successfully joined cluster by contacting 1 nodes.\n",
        "",
    );
    sees(&herald, "s", "alive").await;
    sees(&serf, "h", "alive").await;
    Some((herald, serf))
}

#[tokio::test]
async fn each_sees_the_other_alive_with_its_tags() {
    let flags = ["-tag=role=cache", "-tag=rack=r 1"];
    let Some((herald, serf)) = pair(61, json!({}), &flags).await else {
        return;
    };
    let tags = herald.tags("s").await.unwrap();
    let tags: Vec<(&str, &str)> = tags.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(tags, [("rack", "r 1"), ("role", "cache")]);
    let tags = serf.tags("h").await.unwrap();
    for (key, value) in [
        ("role", "consul"),
        ("dc", "dc1"),
        ("port", "8300"),
        ("vsn", "2"),
        ("build", "1.8.7:herald"),
        ("bootstrap", "1"),
        ("wan_join_port", "8302"),
    ] {
        assert_eq!(tags.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(tags["impl"].starts_with("herald/"), "{tags:?}");
    // A member without the role of an agent is nobody's node.
    assert!(!herald.has_node("s").await);
}

#[tokio::test]
async fn a_killed_serf_agent_is_failed_and_comes_back_alive() {
    let Some((herald, mut serf)) = pair(62, json!({}), &[]).await else {
        return;
    };
    remembers(&serf, "h", &herald).await;
    serf.process.kill();
    sees(&herald, "s", "failed").await;
    serf.restart().await;
    sees(&herald, "s", "alive").await;
    sees(&serf, "h", "alive").await;
}

#[tokio::test]
async fn a_killed_herald_agent_is_failed_and_comes_back_alive() {
    let Some((mut herald, serf)) = pair(63, json!({}), &[]).await else {
        return;
    };
    remembers(&herald, "s", &herald).await;
    herald.process.kill();
    sees(&serf, "h", "failed").await;
    herald.restart().await;
    sees(&serf, "h", "alive").await;
    sees(&herald, "s", "alive").await;
}

#[tokio::test]
async fn whoever_leaves_has_left_for_the_other() {
    let Some((herald, serf)) = pair(64, json!({}), &[]).await else {
        return;
    };
    let second = SerfAgent::start("t", address(64, 3), &[]).await.unwrap();
    let target = format!("{}:{PORT}", herald.address);
    let joined = second.run(&["join", &target], &[]).await;
    assert_eq!(joined.code, 0, "{}", joined.err);
    sees(&herald, "t", "alive").await;
    assert_eq!(serf.run(&["leave"], &[]).await.code, 0);
    sees(&herald, "s", "left").await;
    herald
        .run(&["leave"])
        .await
        .is(0, "Graceful leave complete\n", "");
    sees(&second, "h", "left").await;
}

#[tokio::test]
async fn a_failed_agent_can_be_declared_to_have_left_from_either_side() {
    let Some((herald, mut serf)) = pair(65, json!({}), &[]).await else {
        return;
    };
    let target = format!("-join={}:{PORT}", herald.address);
    let mut second = SerfAgent::start("t", address(65, 3), &[&target])
        .await
        .unwrap();
    sees(&serf, "t", "alive").await;
    second.process.kill();
    sees(&serf, "t", "failed").await;
    sees(&herald, "t", "failed").await;
    herald.run(&["force-leave", "t"]).await.is(0, "", "");
    sees(&serf, "t", "left").await;
    sees(&herald, "t", "left").await;
    // From the other side, and for good. Then two are left, who need nobody's confirmation.
    let pruned = serf.run(&["force-leave", "-prune", "t"], &[]).await;
    assert_eq!(pruned.code, 0, "{}", pruned.err);
    forgets(&herald, "t").await;
    serf.process.kill();
    sees(&herald, "s", "failed").await;
    herald
        .run(&["force-leave", "-prune", "s"])
        .await
        .is(0, "", "");
    forgets(&herald, "s").await;
}

#[tokio::test]
async fn user_events_go_both_ways() {
    let Some((herald, serf)) = pair(66, json!({}), &[]).await else {
        return;
    };
    let fired = herald.run(&["event", "-name=deploy", "v2"]).await;
    assert_eq!(fired.code, 0, "{}", fired.err);
    assert!(fired.out.starts_with("Event ID: "), "{}", fired.out);
    eventually(async || {
        let log = serf.process.log();
        log.contains("user-event: consul:event:deploy")
    })
    .await;
    // What the reference puts into an event: a map in the new dialect.
    let mut payload = b"\x84\xa2ID\xd9\x24b54fe110-7af5-cafc-d1fb-afc8ba432b1c".to_vec();
    payload.extend(b"\xa1n\xa7restart\xa1p\xc4\x03now\xa1v\x01");
    let more = [
        OsStr::new("consul:event:restart"),
        OsStr::from_bytes(&payload),
    ];
    let sent = serf.run(&["event", "-coalesce=false"], &more).await;
    assert_eq!(sent.code, 0, "{}", sent.err);
    eventually(async || {
        let events = herald.get("/v1/event/list?name=restart").await.json();
        events[0]["ID"] == "b54fe110-7af5-cafc-d1fb-afc8ba432b1c" && events[0]["Payload"] == "bm93"
    })
    .await;
}

/// Keys of 16 octets, in base64.
const KEYS: [&str; 2] = ["AAECAwQFBgcICQoLDA0ODw==", "EBESExQVFhcYGRobHB0eHw=="];

#[tokio::test]
async fn an_encrypted_pool_is_joined_with_its_key_only() {
    let encrypted = json!({"encrypt": KEYS[0]});
    let flag = format!("-encrypt={}", KEYS[0]);
    let Some((herald, serf)) = pair(67, encrypted, &[&flag]).await else {
        return;
    };
    for (number, more) in [(3, json!({"encrypt": KEYS[1]})), (4, json!({}))] {
        let other = HttpAgent::herald("other", address(67, number), Role::Client, more).await;
        let refused = other.join(serf.address).await;
        assert_eq!(refused.code, 1, "{}", refused.out);
        let refused = other.join(herald.address).await;
        assert_eq!(refused.code, 1, "{}", refused.out);
        assert_eq!(other.statuses().await.len(), 1);
    }
    assert!(!serf.statuses().await.contains_key("other"));
    assert!(!herald.statuses().await.contains_key("other"));
}

#[tokio::test]
async fn keys_are_rotated_over_both_kinds_of_agents() {
    let encrypted = json!({"encrypt": KEYS[0]});
    let flag = format!("-encrypt={}", KEYS[0]);
    let Some((herald, serf)) = pair(68, encrypted, &[&flag]).await else {
        return;
    };
    // From serf: the LAN pool only.
    for step in ["-install", "-use"] {
        let done = serf
            .run(&["keys", &format!("{step}={}", KEYS[1])], &[])
            .await;
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    }
    let listed = serf.run(&["keys", "-list"], &[]).await;
    for key in KEYS {
        assert!(
            listed.out.contains(&format!("{key}  [2/2]")),
            "{}",
            listed.out
        );
    }
    // From herald: back to the first, and away with the second, in both of its pools.
    for step in ["-install", "-use"] {
        let done = herald
            .run(&["keyring", &format!("{step}={}", KEYS[0])])
            .await;
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    }
    let done = serf
        .run(&["keys", &format!("-remove={}", KEYS[1])], &[])
        .await;
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let listed = herald.run(&["keyring", "-list"]).await;
    assert_eq!(listed.code, 0, "{}", listed.err);
    assert!(
        listed.out.contains(&format!("{} [2/2]", KEYS[0])),
        "{}",
        listed.out
    );
    assert!(!listed.out.contains(KEYS[1]), "{}", listed.out);
    // And they still hear each other.
    let fired = herald.run(&["event", "-name=after", "x"]).await;
    assert_eq!(fired.code, 0, "{}", fired.err);
    eventually(async || {
        serf.process
            .log()
            .contains("user-event: consul:event:after")
    })
    .await;
}

#[tokio::test]
async fn round_trip_times_are_known_to_both() {
    let Some((herald, serf)) = pair(69, json!({}), &[]).await else {
        return;
    };
    // Coordinates come with the answers to probes.
    eventually(async || serf.run(&["rtt", "s", "h"], &[]).await.code == 0).await;
    let reached = serf.run(&["reachability"], &[]).await;
    assert!(reached.out.contains("Successfully"), "{}", reached.out);
    drop(herald);
}

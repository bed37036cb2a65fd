//! Who is in a pool, and who has gone.

use std::sync::Arc;
use std::time::Duration;

use herald::gossip::admission::{Admission, Candidate, Refusal};
use herald::gossip::pool::{JoinFailure, retry_join};
use herald::types::MemberStatus::{Alive, Failed, Left, None as Unknown};

use super::{Node, setup, tags};
use crate::support::eventually;

#[tokio::test]
async fn two_pools_see_each_other_with_their_tags() {
    let nodes = Node::cluster(["a", "b"], 1).await;
    for node in &nodes {
        let members = node.pool.members();
        for (member, of) in members.iter().zip(&nodes) {
            assert_eq!(member.tags["of"], member.name);
            assert_eq!(member.tags["role"], "test");
            assert_eq!(member.address, of.address().ip());
            assert_eq!(member.port, of.address().port());
        }
    }
    for node in nodes {
        node.kill().await;
    }
}

#[tokio::test]
async fn one_of_five_that_dies_has_failed_for_the_others() {
    let [victim, others @ ..] = Node::cluster(["a", "b", "c", "d", "e"], 10).await;
    victim.kill().await;
    for node in &others {
        node.sees("a", Failed).await;
        assert_eq!(node.alive(), ["b", "c", "d", "e"]);
        let suspicions = "herald_gossip_suspicions_total{pool=\"lan\"}";
        eventually(async || node.figure(suspicions) >= 1.0).await;
    }
    for node in others {
        node.kill().await;
    }
}

#[tokio::test]
async fn one_that_leaves_has_left_and_answers_nothing_more() {
    let [leaver, other] = Node::cluster(["a", "b"], 20).await;
    let address = leaver.address();
    leaver.pool.leave().await.unwrap();
    other.sees("a", Left).await;
    assert!(leaver.pool.leave().await.is_err());
    assert!(leaver.pool.fire("x", b"", false).await.is_err());
    // Both sockets are closed.
    eventually(async || std::net::TcpListener::bind(address).is_ok()).await;
    eventually(async || std::net::UdpSocket::bind(address).is_ok()).await;
    leaver.kill().await;
    other.kill().await;
}

#[tokio::test]
async fn one_that_returns_under_its_name_is_alive_again() {
    let [victim, other] = Node::cluster(["a", "b"], 25).await;
    let address = victim.address();
    victim.kill().await;
    other.sees("a", Failed).await;
    let mut again = setup("a", 25);
    again.config.bind = address;
    again.config.own.address = address;
    again.config.own.tags = tags(&[("of", "again")]);
    let again = again.start();
    again.join(&other).await;
    // The new process begins with incarnation 1, which is old news: it must refute.
    other.sees("a", Alive).await;
    eventually(async || other.pool.members()[0].tags == tags(&[("of", "again")])).await;
    again.sees("b", Alive).await;
    again.kill().await;
    other.kill().await;
}

#[tokio::test]
async fn other_tags_reach_everybody() {
    let nodes = Node::cluster(["a", "b", "c"], 30).await;
    let mut changed = nodes[2].pool.members_changed();
    changed.mark_unchanged();
    nodes[0].pool.set_tags(tags(&[("v", "2")])).await.unwrap();
    changed.changed().await.unwrap();
    for node in &nodes {
        eventually(async || node.pool.members()[0].tags == tags(&[("v", "2")])).await;
    }
    let long = tags(&[("v", &"x".repeat(600))]);
    let refused = nodes[0].pool.set_tags(long).await.unwrap_err();
    assert!(refused.to_string().contains("512"), "{refused}");
    for node in nodes {
        node.kill().await;
    }
}

#[tokio::test]
async fn one_that_failed_can_be_declared_gone_and_forgotten() {
    let [victim, one, other] = Node::cluster(["a", "b", "c"], 35).await;
    victim.kill().await;
    one.sees("a", Failed).await;
    other.sees("a", Failed).await;
    one.pool.force_leave("a", false).await.unwrap();
    other.sees("a", Left).await;
    one.pool.force_leave("a", true).await.unwrap();
    one.sees("a", Unknown).await;
    other.sees("a", Unknown).await;
    assert!(one.pool.force_leave("nobody", false).await.is_err());
    one.kill().await;
    other.kill().await;
}

#[tokio::test]
async fn a_name_stays_with_whoever_has_it() {
    let [holder, other] = Node::cluster(["a", "b"], 40).await;
    let second = setup("a", 42).start();
    let target = other.address().to_string();
    second.pool.join(&[target], false).await;
    let members = other.pool.members();
    assert_eq!(members.len(), 2);
    assert_eq!(members[0].port, holder.address().port());
    assert_eq!(members[0].address, holder.address().ip());
    for node in [holder, other, second] {
        node.kill().await;
    }
}

#[tokio::test]
async fn targets_that_are_not_reached_are_told_with_the_reason() {
    let node = setup("a", 45).start();
    let targets = ["127.0.0.1:1".to_owned(), "x:y".to_owned()];
    let joined = node.pool.join(&targets, false).await;
    assert_eq!(joined.reached, 0);
    let failures = [
        JoinFailure::Join("dial tcp 127.0.0.1:1: connect: connection refused".to_owned()),
        JoinFailure::Lookup("address x:y: invalid port".to_owned()),
    ];
    let expected = targets.into_iter().zip(failures);
    assert_eq!(joined.failed, expected.collect::<Vec<_>>());
    node.kill().await;
}

#[tokio::test]
async fn joining_is_tried_again_until_somebody_is_reached_or_attempts_are_used_up() {
    let node = setup("a", 46).start();
    let interval = Duration::from_millis(1);
    let nobody = ["127.0.0.1:1".to_owned()];
    let error = retry_join(&node.pool, &nobody, interval, 3).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "no agent joined in 3 attempts, the last one: 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: \
         connection refused"
    );
    let later = std::net::TcpListener::bind("127.0.21.47:0").unwrap();
    let address = later.local_addr().unwrap();
    drop(later);
    let targets = [address.to_string()];
    let trying = retry_join(&node.pool, &targets, interval, 0);
    let starting = async {
        let mut later = setup("b", 47);
        (later.config.bind, later.config.own.address) = (address, address);
        later.start()
    };
    let (reached, later) = tokio::join!(trying, starting);
    assert_eq!(reached, Ok(1));
    node.sees("b", Alive).await;
    node.kill().await;
    later.kill().await;
}

/// Joins nobody who says of himself what `role=test` members say.
struct Shy;

impl Admission for Shy {
    fn may_join(&self, present: &[Candidate<'_>]) -> Result<(), Refusal> {
        let found = present.iter().find(|member| member.tags["role"] == "test");
        found.map_or(Ok(()), |member| {
            Err(Refusal(format!("{} is a test", member.name)))
        })
    }
    fn may_merge(&self, _candidates: &[Candidate<'_>]) -> Result<(), Refusal> {
        Ok(())
    }
    fn may_enter(&self, _candidate: &Candidate<'_>) -> Result<(), Refusal> {
        Ok(())
    }
}

#[tokio::test]
async fn one_that_may_not_join_is_never_seen_by_the_others() {
    let other = setup("b", 50).start();
    let mut shy = setup("a", 51);
    shy.admission = Arc::new(Shy);
    let shy = shy.start();
    let target = other.address().to_string();
    let joined = shy.pool.join(std::slice::from_ref(&target), false).await;
    assert_eq!(joined.reached, 0);
    assert_eq!(
        joined.failed,
        [(target, JoinFailure::Join("b is a test".to_owned()))]
    );
    assert_eq!(other.alive(), ["b"]);
    assert_eq!(shy.alive(), ["a"]);
    shy.kill().await;
    other.kill().await;
}

#[tokio::test]
async fn members_outside_the_allowed_networks_are_not_talked_to() {
    let other = setup("b", 55).start();
    let mut confined = setup("a", 56);
    confined.config.allowed = vec!["127.0.21.56/32".parse().unwrap()];
    let confined = confined.start();
    let joined = confined
        .pool
        .join(&[other.address().to_string()], false)
        .await;
    assert_eq!(joined.reached, 0);
    assert_eq!(
        joined.failed[0].1.to_string(),
        "address 127.0.21.55 is not in the allowed networks"
    );
    let joined = other
        .pool
        .join(&[confined.address().to_string()], false)
        .await;
    assert_eq!(joined.reached, 0);
    assert_eq!(confined.alive(), ["a"]);
    confined.kill().await;
    other.kill().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let node = setup("a", 60).start();
    let mut second = setup("b", 60);
    second.config.bind = node.address();
    let error = second.try_start().err().expect("the port is taken");
    let address = node.address();
    let text = format!("cannot listen on {address} for gossip: Address already in use");
    assert!(error.to_string().starts_with(&text), "{error}");
    node.kill().await;
}

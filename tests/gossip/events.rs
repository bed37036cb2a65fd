//! User events.

use herald::gossip::serf::UserEvent;

use super::Node;

async fn next(events: &mut tokio::sync::broadcast::Receiver<UserEvent>) -> UserEvent {
    let limit = std::time::Duration::from_secs(10);
    let event = tokio::time::timeout(limit, events.recv()).await;
    event.expect("the event comes within 10 s").unwrap()
}

#[tokio::test]
async fn events_reach_all_members_in_both_directions_once() {
    let nodes = Node::cluster(["a", "b", "c"], 70).await;
    let mut followers: Vec<_> = nodes.iter().map(|node| node.pool.events()).collect();
    let first = nodes[0].pool.fire("deploy", b"v1", false).await.unwrap();
    for follower in &mut followers {
        let event = next(follower).await;
        let expected = UserEvent {
            time: first,
            name: "deploy".to_owned(),
            payload: b"v1".to_vec(),
            coalesce: false,
        };
        assert_eq!(event, expected);
    }
    let second = nodes[2].pool.fire("deploy", b"v2", true).await.unwrap();
    assert!(second > first);
    for follower in &mut followers {
        let event = next(follower).await;
        assert_eq!((event.time, &*event.payload), (second, &b"v2"[..]));
        assert!(event.coalesce);
    }
    let long = vec![0; 600];
    assert!(nodes[0].pool.fire("long", &long, false).await.is_err());
    for follower in &mut followers {
        assert!(follower.try_recv().is_err(), "each event comes once");
    }
    for node in nodes {
        node.kill().await;
    }
}

#[tokio::test]
async fn one_that_joins_later_hears_of_earlier_events_unless_it_ignores_them() {
    let [old] = Node::cluster(["a"], 75).await;
    old.pool.fire("before", b"1", false).await.unwrap();
    let target = [old.address().to_string()];
    let curious = super::setup("b", 76).start();
    let mut heard = curious.pool.events();
    assert_eq!(curious.pool.join(&target, false).await.reached, 1);
    assert_eq!(next(&mut heard).await.name, "before");
    let ignorant = super::setup("c", 77).start();
    let mut ignored = ignorant.pool.events();
    assert_eq!(ignorant.pool.join(&target, true).await.reached, 1);
    old.pool.fire("after", b"2", false).await.unwrap();
    assert_eq!(next(&mut ignored).await.name, "after");
    assert_eq!(next(&mut heard).await.name, "after");
    for node in [old, curious, ignorant] {
        node.kill().await;
    }
}

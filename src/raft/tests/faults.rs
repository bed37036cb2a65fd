//! Servers that cannot hear each other.

use super::*;

/// Longer than several elections.
const ELECTIONS: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_leader_on_its_own_answers_no_fresh_read_and_takes_no_write() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await.id();
    let before = cluster.leader().await.write().await;
    cluster.network.isolate(old);
    let (others, alone): (Vec<_>, Vec<_>) = cluster
        .servers
        .iter()
        .partition(|server| server.id() != old);
    let alone = alone[0];
    eventually("it notices that it is alone", async || {
        !alone.status().leads()
    })
    .await;
    eventually("another one leads", async || {
        others.iter().any(|server| server.status().leads())
    })
    .await;
    let index = others[0].write().await;
    assert!(index > before);
    let (leased, confirmed, written) = tokio::join!(
        alone.raft.fresh(Consistency::Default),
        alone.raft.fresh(Consistency::Consistent),
        alone.propose(),
    );
    assert_eq!(leased, Err(FreshError::NoLeader));
    assert_eq!(confirmed, Err(FreshError::NoLeader));
    assert_eq!(written, Err(ProposeError::NoLeader));
    // What it has it still tells whoever asks for no more.
    let stale = alone.raft.fresh(Consistency::Stale).await.unwrap();
    assert!((before..index).contains(&stale));
    assert_eq!(alone.status().leader, None);
    cluster.network.heal();
    cluster.converge().await;
    let alone = cluster
        .servers
        .iter()
        .find(|server| server.id() == old)
        .unwrap();
    assert!(alone.write().await > index);
    cluster.stop().await;
}

#[tokio::test]
async fn a_write_is_held_until_another_server_leads() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await.id();
    let mut others = cluster.servers.iter().filter(|server| server.id() != old);
    let other = others.next_back().unwrap();
    let before = other.write().await;
    cluster.network.isolate(old);
    let written = other.propose().await;
    // It may have been on its way to the old leader, never to be answered.
    match written {
        Ok(Outcome::Applied { index }) => assert!(index > before),
        Err(ProposeError::Deadline { .. }) => {}
        written => panic!("{written:?}"),
    }
    assert!(other.write().await > before);
    cluster.stop().await;
}

#[tokio::test]
async fn who_cannot_hear_the_leader_does_not_disturb_it() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await.id();
    let term = cluster.leader().await.status().term;
    let deaf = cluster
        .servers
        .iter()
        .find(|server| server.id() != leader)
        .unwrap();
    cluster.network.cut(leader, deaf.id());
    tokio::time::sleep(ELECTIONS).await;
    assert_eq!(deaf.status().leader, None);
    let now = cluster.leader().await;
    assert_eq!((now.id(), now.status().term), (leader, term));
    now.write().await;
    cluster.network.heal();
    cluster.converge().await;
    assert_eq!(cluster.leader().await.status().term, term);
    cluster.stop().await;
}

#[tokio::test]
async fn a_leader_that_hears_nobody_is_replaced_without_endless_elections() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await.id();
    let term = cluster.leader().await.status().term;
    for server in &cluster.servers {
        if server.id() != old {
            cluster.network.cut(server.id(), old);
        }
    }
    let others: Vec<_> = cluster
        .servers
        .iter()
        .filter(|one| one.id() != old)
        .collect();
    eventually("another one leads", async || {
        others.iter().any(|server| server.status().leads())
    })
    .await;
    others[0].write().await;
    tokio::time::sleep(ELECTIONS).await;
    let terms = cluster.servers.iter().map(|server| server.status().term);
    assert!(terms.max().unwrap() <= term + 4, "elections came to an end");
    let written = others[0].write().await;
    cluster.network.heal();
    cluster.converge().await;
    assert!(cluster.servers[0].reader.applied() >= written);
    cluster.stop().await;
}

#[tokio::test]
async fn who_was_away_for_longer_than_the_log_is_kept_gets_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await.id();
    let away = cluster
        .servers
        .iter()
        .position(|server| server.id() != leader)
        .unwrap();
    let id = cluster.servers[away].id();
    cluster.network.isolate(id);
    let leader = cluster.leader().await;
    for _ in 0..50 {
        leader.write().await;
    }
    let library = leader.raft.node.core.library.clone();
    let position = leader.reader.applied().0;
    library.trigger().snapshot().await.unwrap();
    let made = library.wait(Some(LONG));
    made.metrics(
        |metrics| metrics.snapshot.is_some_and(|id| id.index >= position),
        "snapshot",
    )
    .await
    .unwrap();
    library.trigger().purge_log(position).await.unwrap();
    library
        .wait(Some(LONG))
        .metrics(|metrics| metrics.purged.is_some(), "purged")
        .await
        .unwrap();
    let last = leader.write().await;
    cluster.network.heal();
    cluster.converge().await;
    assert!(cluster.servers[away].reader.applied() >= last);
    assert_eq!(cluster.network.snapshots(), 1);
    cluster.stop().await;
}

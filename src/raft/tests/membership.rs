//! Who the servers are, and who leads.

use std::collections::BTreeSet;

use openraft::ChangeMembers;

use super::*;

#[tokio::test]
async fn the_leader_steps_down_in_favour_of_another() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await.id();
    let before = cluster.leader().await.write().await;
    assert!(cluster.leader().await.raft.step_down().await);
    let old = cluster
        .servers
        .iter()
        .find(|server| server.id() == old)
        .unwrap();
    assert!(!old.status().leads());
    assert!(old.write().await > before);
    assert!(old.raft.step_down().await, "it does not lead any more");
    cluster.stop().await;
}

#[tokio::test]
async fn a_server_learns_then_votes_then_goes() {
    let mut cluster = Cluster::start(1).await;
    let network = cluster.network.clone();
    let second = TestServer::start(config(2, None), &network).await.unwrap();
    let (id, peer) = (second.id(), second.config.peer.clone());
    let refused = second.raft.change(Change::Promote(id)).await;
    assert_eq!(refused, Err(ChangeError::NotLeading));
    let leader = cluster.leader().await;
    let index = leader.write().await;
    let unknown = leader.raft.change(Change::Promote(id)).await;
    assert!(matches!(unknown, Err(ChangeError::Failed(_))));
    leader
        .raft
        .change(Change::AddLearner(id, peer.clone()))
        .await
        .unwrap();
    eventually("it has learned", async || second.reader.applied() >= index).await;
    eventually("it knows that", async || {
        second.status().role == Role::Learner
    })
    .await;
    let progress = || leader.raft.progress();
    eventually("the leader knows", async || {
        progress().get(&id) >= Some(&index)
    })
    .await;
    leader.raft.change(Change::Promote(id)).await.unwrap();
    eventually("it votes", async || second.status().role == Role::Follower).await;
    let moved = Peer {
        name: "moved".to_owned(),
        address: ([127, 0, 0, 2], 8300).into(),
    };
    leader
        .raft
        .change(Change::Update(id, moved.clone()))
        .await
        .unwrap();
    let knows = |server: &TestServer| {
        let status = server.status();
        status
            .servers
            .iter()
            .any(|server| server.peer == moved && server.voter)
    };
    eventually("both know the new address", async || {
        knows(leader) && knows(&second)
    })
    .await;
    leader.raft.change(Change::Remove(id)).await.unwrap();
    eventually("it is gone", async || leader.status().servers.len() == 1).await;
    leader.write().await;
    assert!(matches!(
        leader.raft.change(Change::Remove(leader.id())).await,
        Err(ChangeError::Failed(_))
    ));
    second.stop().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_cluster_is_founded_once() {
    let mut cluster = Cluster::start(3).await;
    cluster.leader().await.write().await;
    cluster.converge().await;
    for server in &cluster.servers {
        eventually("it knows the others", async || {
            server.status().servers.len() == 3
        })
        .await;
        assert!(server.status().is_initialized());
        let servers = BTreeMap::from([(server.id(), server.config.peer.clone())]);
        let founded = server.raft.bootstrap(servers).await;
        assert!(matches!(founded, Err(ChangeError::Failed(_))));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_cluster_has_so_many_servers_and_no_more() {
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let peer = leader.config.peer.clone();
    for number in 2..=64 {
        let learner = Change::AddLearner(ServerId(number), peer.clone());
        assert_eq!(leader.raft.change(learner).await, Ok(()));
    }
    let refused = leader
        .raft
        .change(Change::AddLearner(ServerId(65), peer.clone()));
    let text = refused.await.unwrap_err().to_string();
    assert_eq!(text, "a cluster has at most 64 servers");
    // One that is in it already may move.
    let known = Change::AddLearner(ServerId(64), peer);
    assert_eq!(leader.raft.change(known).await, Ok(()));
    cluster.stop().await;
}

#[tokio::test]
async fn who_was_never_reached_has_got_nowhere() {
    let mut cluster = Cluster::start(1).await;
    let network = cluster.network.clone();
    let second = TestServer::start(config(2, None), &network).await.unwrap();
    let (id, peer) = (second.id(), second.config.peer.clone());
    network.isolate(id);
    let leader = cluster.leader().await;
    let learns = leader.raft.change(Change::AddLearner(id, peer)).await;
    assert_eq!(learns, Ok(()));
    let index = leader.write().await;
    assert_eq!(leader.raft.progress().get(&id), None);
    network.heal();
    eventually("it has kept up", async || {
        leader.raft.progress().get(&id) >= Some(&index)
    })
    .await;
    // It applies what it has stored once it hears that this is decided.
    eventually("it has applied it", async || {
        second.reader.applied() >= index
    })
    .await;
    cluster.stop().await;
}

/// A change has two steps: between them both the old and the new voters must agree. Whoever began
/// this one stops leading, or is dropped, after the first.
#[tokio::test]
async fn a_change_that_nobody_finishes_is_settled() {
    let mut cluster = Cluster::start(1).await;
    let network = cluster.network.clone();
    let second = TestServer::start(config(2, None), &network).await.unwrap();
    let (id, peer) = (second.id(), second.config.peer.clone());
    let leader = cluster.leader().await;
    let learns = leader.raft.change(Change::AddLearner(id, peer)).await;
    assert_eq!(learns, Ok(()));
    network.isolate(id);
    let library = leader.raft.node.core.library.clone();
    let promote = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
    tokio::select! {
        changed = library.change_membership(promote, true) => panic!("{changed:?}"),
        () = eventually("it has begun", async || leader.status().unsettled) => {}
    }
    network.heal();
    let index = leader.write().await;
    eventually("both have it", async || {
        [leader, &second]
            .iter()
            .all(|it| it.reader.applied() >= index && it.status().unsettled)
    })
    .await;
    let vote = |server: &TestServer| {
        let status = server.status();
        !status.unsettled && status.servers.iter().filter(|it| it.voter).count() == 2
    };
    let refused = second.raft.change(Change::Settle).await;
    assert_eq!(refused, Err(ChangeError::NotLeading));
    assert_eq!(leader.raft.change(Change::Settle).await, Ok(()));
    eventually("both vote, and that is all", async || {
        vote(leader) && vote(&second)
    })
    .await;
    // With nothing left to be settled it changes nothing.
    assert_eq!(leader.raft.change(Change::Settle).await, Ok(()));
    assert!(vote(leader) && leader.write().await > index);
    second.stop().await;
    cluster.stop().await;
}

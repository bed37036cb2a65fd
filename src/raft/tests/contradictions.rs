//! What no server of a cluster would send, told to a server itself: it refuses that, and goes on.

use std::io::Write as _;

use openraft::alias::{LogIdOf, SnapshotMetaOf, VoteOf};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::AppendEntriesRequest;
use openraft::{Membership, StoredMembership};

use super::*;
use crate::raft::peer::Answers as _;
use crate::raft::types::Types;

const STRANGER: ServerId = ServerId(9);

fn position(term: u64, index: u64) -> LogIdOf<Types> {
    let node_id = STRANGER;
    LogIdOf::<Types>::new(LeaderId { term, node_id }, index)
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_not_installed() {
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let before = leader.write().await;
    let term = leader.status().term + 1;
    let vote = VoteOf::<Types>::new_committed(term, STRANGER);
    let voters = vec![std::collections::BTreeSet::from([STRANGER])];
    let peers = BTreeMap::from([(STRANGER, leader.config.peer.clone())]);
    let servers = Membership::new(voters, peers).unwrap();
    let last = Some(position(term, before.0 + 100));
    let meta = SnapshotMetaOf::<Types> {
        last_log_id: last,
        last_membership: StoredMembership::new(last, servers),
    };
    let node = &leader.raft.node;
    for _ in 0..2 {
        let mut incoming = node.incoming(STRANGER).unwrap();
        incoming.write_all(b"no snapshot at all").unwrap();
        let image = incoming.finish().unwrap();
        let refused = node.install(vote, meta.clone(), image).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    assert!(leader.write().await > before);
    cluster.stop().await;
}

#[tokio::test]
async fn entries_that_contradict_what_is_decided_are_refused() {
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let before = leader.write().await;
    let metrics = leader.raft.node.core.library.metrics();
    let decided = metrics.borrow_watched().local_committed.unwrap();
    let term = decided.leader_id.term + 1;
    let request = AppendEntriesRequest::<Types> {
        vote: VoteOf::<Types>::new_committed(term, STRANGER),
        prev_log_id: Some(position(term, decided.index)),
        entries: Vec::new(),
        leader_commit: None,
    };
    let refused = leader.raft.node.append(request).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(leader.write().await > before);
    cluster.stop().await;
}

#[tokio::test]
async fn nobody_but_a_voter_is_handed_the_lead() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await.id();
    let term = cluster.leader().await.status().term;
    let follows = |server: &&TestServer| server.id() != leader;
    let follower = cluster.servers.iter().find(follows).unwrap();
    let vote = VoteOf::<Types>::new(term + 1, STRANGER);
    let mut request = openraft::raft::VoteRequest::new(vote, Some(position(term, 1_000)));
    request.leadership_transfer = true;
    let refused = follower.raft.node.vote(request, false).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(follower.raft.node.newest().term, term);
    cluster.stop().await;
}

#[tokio::test]
async fn a_vote_alone_makes_no_log() {
    let network = Simulated::new(seed());
    let server = TestServer::start(config(1, None), &network).await.unwrap();
    let node = &server.raft.node;
    let vote = VoteOf::<Types>::new(1, STRANGER);
    let request = openraft::raft::VoteRequest::new(vote, Some(position(0, 0)));
    let answer = node.vote(request, false).await.unwrap();
    assert!(answer.vote_granted);
    assert!(!node.is_initialized());
    assert_eq!(node.newest().term, 1);
    server.stop().await;
}

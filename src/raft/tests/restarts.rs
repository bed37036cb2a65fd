//! Servers that end and come back.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::storage::RaftLogReader as _;

use super::*;
use crate::raft::log_store::LogStore;
use crate::raft::peer::Answers as _;
use crate::raft::types::{Proposal, Types};

/// Makes a snapshot of all that is applied, and empties the log behind it.
async fn compact(server: &TestServer) {
    let library = &server.raft.node.core.library;
    let position = server.reader.applied().0;
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
}

#[tokio::test]
async fn all_end_and_come_back_with_what_they_had() {
    let directory = Directory::new();
    let mut cluster = Cluster::of(directory.configs(3)).await;
    for _ in 0..20 {
        cluster.leader().await.write().await;
    }
    compact(cluster.leader().await).await;
    let last = cluster.leader().await.write().await;
    // The next command tells the others that the one before it is decided.
    cluster.leader().await.write().await;
    cluster.converge().await;
    let configs = cluster.stop().await;
    let mut cluster = Cluster::unfounded(configs).await;
    for server in &cluster.servers {
        // Before anybody leads.
        assert!(server.reader.applied() >= last);
    }
    assert!(cluster.leader().await.write().await > last);
    cluster.converge().await;
    cluster.stop().await;
}

#[tokio::test]
async fn one_without_the_others_answers_from_what_it_had() {
    let directory = Directory::new();
    let mut cluster = Cluster::of(directory.configs(3)).await;
    let last = cluster.leader().await.write().await;
    cluster.leader().await.write().await;
    cluster.converge().await;
    let mut configs = cluster.stop().await;
    configs.truncate(1);
    configs[0].hold = Duration::from_millis(200);
    let cluster = Cluster::unfounded(configs).await;
    let server = &cluster.servers[0];
    assert!(server.raft.fresh(Consistency::Stale).await.unwrap() >= last);
    assert!(server.reader.applied() >= last);
    assert_eq!(server.propose().await, Err(ProposeError::NoLeader));
    let fresh = server.raft.fresh(Consistency::Default).await;
    assert_eq!(fresh, Err(FreshError::NoLeader));
    cluster.stop().await;
}

#[tokio::test]
async fn one_alone_leads_again_at_once() {
    let directory = Directory::new();
    let cluster = Cluster::of(directory.configs(1)).await;
    let last = cluster.servers[0].write().await;
    let mut cluster = Cluster::unfounded(cluster.stop().await).await;
    let start = crate::clock::monotonic();
    cluster.leader().await;
    assert!(start.elapsed() < LONG / 2);
    assert!(cluster.servers[0].write().await > last);
    cluster.stop().await;
}

#[tokio::test]
async fn a_log_without_its_snapshot_is_refused_with_the_repair() {
    let directory = Directory::new();
    let cluster = Cluster::of(directory.configs(1)).await;
    cluster.servers[0].write().await;
    compact(&cluster.servers[0]).await;
    let config = cluster.stop().await.remove(0);
    let kept = config.directory.as_ref().unwrap().join("snapshots");
    std::fs::remove_dir_all(kept).unwrap();
    let started = TestServer::start(config, &Simulated::new(seed())).await;
    let Err(StartError::Log(text)) = started.map(|_| ()) else {
        panic!("it must not start");
    };
    assert!(text.contains("move"), "{text}");
}

/// What it had sent last it may not have stored, while others have.
#[tokio::test]
async fn a_leader_that_comes_back_leads_only_once_it_is_elected_again() {
    for count in [1, 3] {
        let directory = Directory::new();
        let mut cluster = Cluster::of(directory.configs(count)).await;
        cluster.leader().await.write().await;
        cluster.converge().await;
        // So that nobody else begins to lead while one after the other ends.
        for number in 1..=count {
            cluster.network.isolate(ServerId(number));
        }
        let terms = cluster.servers.iter().map(|server| server.status().term);
        let term = terms.max().unwrap();
        let mut cluster = Cluster::unfounded(cluster.stop().await).await;
        let next = cluster.leader().await.status().term;
        assert!(next > term, "{count}: {next} after {term}");
        cluster.stop().await;
    }
}

/// Entries that only the leader and another server have are decided. The other one loses its log:
/// its vote must not make the third one lead, which lacks them too.
#[tokio::test]
async fn who_has_lost_its_log_makes_nobody_lead_who_lacks_what_it_had() {
    let directory = Directory::new();
    let mut cluster = Cluster::of(directory.configs(3)).await;
    cluster.leader().await.write().await;
    cluster.converge().await;
    let leader = cluster.leader().await.id();
    let others: Vec<_> = cluster.servers.iter().map(TestServer::id).collect();
    let others: Vec<_> = others.into_iter().filter(|id| *id != leader).collect();
    let (behind, forgetful) = (others[0], others[1]);
    cluster.network.isolate(behind);
    let last = cluster.leader().await.write().await;
    let mut configs = cluster.stop().await;
    let forgotten = configs
        .iter()
        .find(|config| config.id == forgetful)
        .unwrap();
    std::fs::remove_dir_all(forgotten.directory.as_ref().unwrap()).unwrap();
    let place = configs
        .iter()
        .position(|config| config.id == leader)
        .unwrap();
    let knowing = configs.remove(place);
    let mut cluster = Cluster::unfounded(configs).await;
    // The time of several elections.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(
        cluster
            .servers
            .iter()
            .all(|server| !server.status().leads())
    );
    // With the one that knows they are a majority again.
    let started = TestServer::start(knowing, &cluster.network).await.unwrap();
    cluster.servers.push(started);
    let next = cluster.leader().await;
    assert_eq!(next.id(), leader);
    assert!(next.write().await > last);
    cluster.converge().await;
    // By now it votes.
    let others: Vec<_> = cluster.servers.iter().collect();
    let voter = others
        .iter()
        .find(|server| server.id() == forgetful)
        .unwrap();
    cluster.network.isolate(leader);
    eventually("another one leads", async || {
        let mut leads = others.iter().filter(|server| server.id() != leader);
        leads.any(|server| server.status().leads())
    })
    .await;
    voter.write().await;
    cluster.stop().await;
}

/// What a leader would send to a server that it takes for empty: the log in this directory, without
/// its end, and that all of it is decided.
async fn most_of(config: &Config) -> AppendEntriesRequest<Types> {
    let tasks = Tasks::new();
    let mut log = LogStore::open(config.directory.as_deref(), &tasks).unwrap();
    let vote = log.read_vote().await.unwrap().unwrap();
    let mut entries = log.try_get_log_entries(..).await.unwrap();
    let last = entries.pop().map(|entry| entry.log_id);
    log.end();
    drop(log);
    assert!(tasks.stop(LONG).await);
    AppendEntriesRequest {
        vote,
        prev_log_id: None,
        entries,
        leader_commit: last,
    }
}

/// As above, but the one that lost its log has got a part of it back and starts again: that it is
/// not empty any more does not mean that nothing is missing.
#[tokio::test]
async fn who_has_got_back_a_part_of_its_log_votes_for_nobody_after_a_restart_either() {
    let directory = Directory::new();
    let mut cluster = Cluster::of(directory.configs(3)).await;
    cluster.leader().await.write().await;
    cluster.converge().await;
    let leader = cluster.leader().await.id();
    let mut others = (1..=3).map(ServerId).filter(|id| *id != leader);
    let (behind, forgetful) = (others.next().unwrap(), others.next().unwrap());
    cluster.network.isolate(behind);
    let last = cluster.leader().await.write().await;
    let mut configs = cluster.stop().await;
    let mut take = |id| {
        let place = configs.iter().position(|config| config.id == id);
        configs.remove(place.unwrap())
    };
    let (knowing, behind, forgetful) = (take(leader), take(behind), take(forgetful));
    let kept = forgetful.directory.clone().unwrap();
    std::fs::remove_dir_all(&kept).unwrap();
    let network = Simulated::new(seed());
    let alone = TestServer::start(forgetful, &network).await.unwrap();
    let answer = alone.raft.node.append(most_of(&knowing).await).await;
    assert_eq!(answer.unwrap(), AppendEntriesResponse::Success);
    eventually("it has a part", async || {
        let status = alone.status();
        status.is_initialized() && status.lacking
    })
    .await;
    let forgetful = alone.stop().await;
    let mut cluster = Cluster::unfounded(vec![behind, forgetful]).await;
    assert!(cluster.servers[1].status().lacking);
    // The time of several elections.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut servers = cluster.servers.iter();
    assert!(servers.all(|server| !server.status().leads()));
    let started = TestServer::start(knowing, &cluster.network).await.unwrap();
    cluster.servers.push(started);
    let next = cluster.leader().await;
    assert_eq!(next.id(), leader);
    assert!(next.write().await > last);
    cluster.converge().await;
    let restored = &cluster.servers[1];
    eventually("nothing is missing", async || !restored.status().lacking).await;
    assert!(!kept.join("lacking").exists());
    cluster.stop().await;
}

/// The leader counts on what a server had once, until it hears otherwise.
#[tokio::test]
async fn a_leader_fills_a_log_that_was_taken_away() {
    let directory = Directory::new();
    let mut cluster = Cluster::of(directory.configs(3)).await;
    for _ in 0..20 {
        cluster.leader().await.write().await;
    }
    cluster.converge().await;
    let leader = cluster.leader().await.id();
    let mut places = 0..cluster.servers.len();
    let place = places
        .find(|place| cluster.servers[*place].id() != leader)
        .unwrap();
    let config = cluster.servers.remove(place).stop().await;
    std::fs::remove_dir_all(config.directory.as_ref().unwrap()).unwrap();
    let started = TestServer::start(config, &cluster.network).await.unwrap();
    cluster.servers.push(started);
    let last = cluster.leader().await.write().await;
    cluster.converge().await;
    assert!(
        cluster
            .servers
            .iter()
            .all(|server| server.reader.applied() >= last)
    );
    cluster.stop().await;
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_stops_writes_but_not_reads() {
    let mut cluster = Cluster::start(1).await;
    let server = cluster.leader().await;
    let last = server.write().await;
    let library = &server.raft.node.core.library;
    let shown = |text: &str| server.metrics.plain_text().contains(text);
    assert!(shown("raft_stopped 0"), "{}", server.metrics.plain_text());
    let unreadable = Proposal(bytes::Bytes::from_static(b"of a newer release"));
    assert!(library.client_write(unreadable).await.is_err());
    eventually("it has stopped", async || {
        server.status().role == Role::Stopped
    })
    .await;
    assert!(shown("raft_stopped 1"), "{}", server.metrics.plain_text());
    assert_eq!(server.propose().await, Err(ProposeError::NoLeader));
    let stale = server.raft.fresh(Consistency::Stale).await;
    assert_eq!(stale, Ok(last));
    assert_eq!(server.reader.applied(), last);
    cluster.stop().await;
}

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::*;
use crate::catalog::{Command, Deregistration, Operation, open_server, stored};
use crate::metrics::Metrics;
use crate::raft::peer::Asks;
use crate::raft::proposer::Porter;
use crate::raft::status::Status;
use crate::raft::{self, FreshError, Raft};
use crate::rpc::Pending;
use crate::task::Tasks;
use crate::types::{Consistency, Index};

/// Tells who was asked, and how much at once. Nobody ever answers.
struct Silent(mpsc::Sender<(ServerId, usize)>);

impl Asks for Silent {
    fn propose(
        &self,
        leader: ServerId,
        _: SocketAddr,
        commands: Vec<Bytes>,
    ) -> Pending<'_, Result<Vec<Result<Outcome, ProposeError>>, AskError>> {
        self.0.try_send((leader, commands.len())).unwrap();
        Box::pin(std::future::pending())
    }

    fn read_index(
        &self,
        _: ServerId,
        _: SocketAddr,
        _: Consistency,
    ) -> Pending<'_, Result<Result<Index, FreshError>, AskError>> {
        Box::pin(std::future::pending())
    }

    fn is_in_cluster(&self, _: SocketAddr) -> Pending<'_, std::io::Result<bool>> {
        Box::pin(std::future::pending())
    }
}

fn following(leader: u128) -> Arc<Status> {
    Arc::new(Status {
        leader: Some(ServerId(leader)),
        leader_address: Some(([127, 0, 0, 1], 8300).into()),
        ..Status::default()
    })
}

async fn alone(tasks: &Tasks) -> Raft {
    raft::alone(open_server().0, &Metrics::new(), tasks).await
}

fn command() -> Bytes {
    let gone = "gone".parse().unwrap();
    stored::encode(&Command {
        request: 0,
        operations: vec![Operation::Deregister(Deregistration::Node(gone))],
    })
}

fn queued() -> (Queued, oneshot::Receiver<Result<Outcome, Fate>>) {
    let (answer, outcome) = oneshot::channel();
    let caller = Caller {
        answer: Some(answer),
        sent: false,
    };
    let command = command();
    (Queued { command, caller }, outcome)
}

#[tokio::test]
async fn what_comes_meanwhile_goes_together_and_to_the_next_leader_at_once() {
    let tasks = Tasks::new();
    let raft = alone(&tasks).await;
    // Given a leader that has taken as many batches as may be under way.
    let mut core = raft.node.core.clone();
    let (asked, mut batches) = mpsc::channel(THERE_MAX + 1);
    core.asks = Arc::new(Silent(asked));
    core.status = watch::channel(following(2)).0;
    let status = core.status.clone();
    let (queue, waiting) = mpsc::channel(64);
    let (_porter, brought) = mpsc::channel(1);
    let told = async {
        let mut outcomes = Vec::new();
        let mut push = async || {
            let (queued, outcome) = queued();
            outcomes.push(outcome);
            assert!(queue.send(queued).await.is_ok());
        };
        for _ in 0..THERE_MAX {
            push().await;
            assert_eq!(batches.recv().await, Some((ServerId(2), 1)));
        }
        // When more comes, it waits.
        for _ in 0..3 {
            push().await;
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(batches.try_recv().is_err());
        // Then another leader gets it, though the first has not answered.
        status.send_replace(following(3));
        assert_eq!(batches.recv().await, Some((ServerId(3), 3)));
    };
    tokio::select! {
        () = Sender::new(core, 512).run(waiting, brought) => panic!("it has ended"),
        () = told => {}
    }
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn what_others_bring_is_not_brought_further() {
    let tasks = Tasks::new();
    let raft = alone(&tasks).await;
    let mut core = raft.node.core.clone();
    let (asked, mut batches) = mpsc::channel(1);
    core.asks = Arc::new(Silent(asked));
    core.status = watch::channel(following(2)).0;
    let (_queue, waiting) = mpsc::channel(1);
    let (porter, brought) = mpsc::channel(1);
    let porter = Porter(porter);
    let results = tokio::select! {
        () = Sender::new(core, 512).run(waiting, brought) => panic!("it has ended"),
        results = porter.bring(vec![command(); 2]) => results,
    };
    assert_eq!(results, [Err(Fate::NotLeading), Err(Fate::NotLeading)]);
    assert!(batches.try_recv().is_err());
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn everybody_gets_the_outcomes_of_their_own_commands() {
    let tasks = Tasks::new();
    let raft = alone(&tasks).await;
    let core = raft.node.core.clone();
    let (queue, waiting) = mpsc::channel(4);
    let (porter, brought) = mpsc::channel(1);
    let porter = Porter(porter);
    let ((first, one), (second, two)) = (queued(), queued());
    assert!(queue.send(first).await.is_ok());
    assert!(queue.send(second).await.is_ok());
    let mut sender = std::pin::pin!(Sender::new(core, 512).run(waiting, brought));
    let told = async { tokio::join!(porter.bring(vec![command(); 3]), one, two) };
    let (theirs, one, two) = tokio::select! {
        () = &mut sender => panic!("it has ended"),
        told = told => told,
    };
    let ours = [one.unwrap(), two.unwrap()];
    let mut all: Vec<_> = ours.iter().chain(&theirs).cloned().collect();
    let index = |outcome: &Result<Outcome, Fate>| match outcome {
        Ok(Outcome::Applied { index }) => index.0,
        other => panic!("{other:?}"),
    };
    // Each caller's in their order, and none twice.
    assert!(index(&ours[0]) < index(&ours[1]));
    assert!(theirs.is_sorted_by_key(index));
    all.sort_by_key(index);
    assert_eq!(all.iter().map(index).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

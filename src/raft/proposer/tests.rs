use tokio::time::timeout;

use super::*;
use crate::catalog::{Deregistration, Operation, Reader, open_server};
use crate::raft::status::Role;
use crate::raft::{self, Config, Raft};
use crate::task::Tasks;
use crate::types::{Index, NodeId};

fn command() -> Command {
    Command {
        request: 0,
        operations: vec![Operation::Deregister(Deregistration::Node(
            "gone".parse().unwrap(),
        ))],
    }
}

async fn started(tasks: &Tasks) -> (Raft, Reader) {
    let (writer, reader) = open_server();
    let raft = raft::alone(writer, &Metrics::new(), tasks).await;
    (raft, reader)
}

/// A proposer whose queue nobody drains.
fn stuck(raft: &Raft, queue_length_max: usize) -> (Proposer, mpsc::Receiver<Queued>) {
    let (queue, queued) = mpsc::channel(queue_length_max);
    let proposer = Proposer {
        queue,
        queue_length_max,
        core: raft.node.core.clone(),
        counts: Counts::default(),
    };
    (proposer, queued)
}

#[tokio::test]
async fn commands_get_positions_in_order() {
    let tasks = Tasks::new();
    let (raft, reader) = started(&tasks).await;
    for index in 2..=4 {
        let outcome = raft.propose(&RequestContext::default(), command()).await;
        let index = Index(index);
        assert_eq!(outcome, Ok(Outcome::Applied { index }));
        assert_eq!(reader.applied(), index);
    }
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn many_at_once_are_all_carried_out() {
    let tasks = Tasks::new();
    let (raft, reader) = started(&tasks).await;
    let context = RequestContext::default();
    let proposed = (0..1_000).map(|_| raft.propose(&context, command()));
    let outcomes = futures_util::future::join_all(proposed).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(reader.applied(), Index(1_001));
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn nobody_orders_commands_after_the_end() {
    let tasks = Tasks::new();
    let (raft, _reader) = started(&tasks).await;
    assert!(tasks.stop(Duration::from_secs(10)).await);
    let outcome = raft.propose(&RequestContext::default(), command()).await;
    assert_eq!(outcome, Err(ProposeError::NoLeader));
}

#[tokio::test]
async fn the_threads_end_with_the_last_who_can_propose() {
    let tasks = Tasks::new();
    let (raft, reader) = started(&tasks).await;
    let mut status = raft.status_changed();
    drop(raft);
    let ended = async { while status.changed().await.is_ok() {} };
    assert!(timeout(Duration::from_secs(10), ended).await.is_ok());
    assert_eq!(reader.applied(), Index(0));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_a_slow_one_in_time() {
    let tasks = Tasks::new();
    let (raft, _reader) = started(&tasks).await;
    let (proposer, _queued) = stuck(&raft, 1);
    let context = RequestContext {
        deadline: Some(Duration::from_secs(3)),
        ..RequestContext::default()
    };
    let (waiting, refused) = tokio::join!(
        proposer.propose(&context, command()),
        proposer.propose(&context, command())
    );
    let limit = Duration::from_secs(3);
    assert_eq!(waiting, Err(ProposeError::Deadline { limit }));
    assert_eq!(refused, Err(ProposeError::Busy { limit: 1 }));
    let counts = &proposer.counts;
    assert_eq!((counts.refused.get(), counts.late.get()), (1, 1));
}

#[tokio::test]
async fn a_corrupt_catalog_stops_writes_while_reads_go_on() {
    let tasks = Tasks::new();
    // The first command comes at 2, behind what is applied.
    let (mut writer, reader) = open_server();
    writer.apply(vec![(Index(7), command())]).unwrap();
    let raft = raft::alone(writer, &Metrics::new(), &tasks).await;
    let context = RequestContext::default();
    // It stands in the log: another release may apply it.
    let outcome = raft.propose(&context, command()).await;
    assert!(matches!(outcome, Err(ProposeError::Deadline { .. })));
    let mut status = raft.status_changed();
    let stopped = status.wait_for(|status| status.role == Role::Stopped).await;
    assert_eq!(stopped.unwrap().leader, None);
    let outcome = raft.propose(&context, command()).await;
    assert_eq!(outcome, Err(ProposeError::NoLeader));
    assert_eq!(reader.state().applied(), Index(7));
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_command_is_held_until_there_is_a_leader_and_not_longer() {
    let tasks = Tasks::new();
    let (writer, _reader) = open_server();
    let mut config = Config::in_memory(NodeId::random(), "one", ([127, 0, 0, 1], 8300).into());
    config.hold = Duration::from_millis(300);
    let servers = [(config.id, config.peer.clone())].into();
    let metrics = Metrics::new();
    let raft = raft::start(config, writer, std::sync::Arc::new(()), &metrics, &tasks);
    let raft = raft.await.unwrap();
    let context = RequestContext::default();
    let start = clock::monotonic();
    let outcome = raft.propose(&context, command()).await;
    assert_eq!(outcome, Err(ProposeError::NoLeader));
    assert!(start.elapsed() >= Duration::from_millis(300));
    let (outcome, founded) =
        tokio::join!(raft.propose(&context, command()), raft.bootstrap(servers));
    assert_eq!(founded, Ok(()));
    assert_eq!(outcome, Ok(Outcome::Applied { index: Index(2) }));
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_command_that_is_too_large_for_a_message_is_refused_and_changes_nothing() {
    let tasks = Tasks::new();
    let (raft, reader) = started(&tasks).await;
    let mut large = command();
    let operation = large.operations[0].clone();
    large.operations = vec![operation; COMMAND_OCTETS_MAX / "gone".len()];
    let octets = stored::encode(&large).len();
    let before = reader.applied();
    let outcome = raft.propose(&RequestContext::default(), large).await;
    let limit = COMMAND_OCTETS_MAX;
    assert_eq!(outcome, Err(ProposeError::TooLarge { octets, limit }));
    assert_eq!(reader.applied(), before);
    let outcome = raft.propose(&RequestContext::default(), command()).await;
    assert!(outcome.is_ok());
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

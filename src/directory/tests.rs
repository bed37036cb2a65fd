//! Reads that wait, and writes that are seen once they are acknowledged.

use std::net::Ipv4Addr;
use std::pin::pin;

use super::*;
use crate::catalog::{Deregistration, Registration, open_server};
use crate::metrics::Metrics;
use crate::raft;
use crate::task::Tasks;
use crate::types::{Address, Meta, Node, Service, ServiceName, Weights};

const WAIT: Duration = Duration::from_secs(160);

async fn directory(tasks: &Tasks) -> Directory {
    let (writer, reader) = open_server();
    let metrics = Metrics::new();
    let proposer = raft::alone(writer, &metrics, tasks).await;
    let config = Config {
        datacenter: "dc1".parse().unwrap(),
        address: (Ipv4Addr::LOCALHOST, 8300).into(),
        wait_default: Duration::from_secs(300),
        wait_max: Duration::from_secs(600),
    };
    Directory::new(config, reader, proposer)
}

fn register(service: &str, port: u16) -> Vec<Operation> {
    let node = Node {
        id: None,
        name: "n1".parse().unwrap(),
        address: Address::from_text("10.0.0.1"),
        tagged_addresses: std::collections::BTreeMap::new(),
        meta: Meta::default(),
    };
    let service = Service {
        id: service.parse().unwrap(),
        name: service.parse().unwrap(),
        tags: Arc::new([]),
        address: Address::None,
        port,
        meta: Meta::default(),
        weights: Weights::default(),
        enable_tag_override: false,
        tagged_addresses: None,
    };
    vec![Operation::Register(Box::new(Registration {
        node,
        skip_node_update: false,
        service: Some(service),
        checks: Vec::new(),
    }))]
}

fn health(service: &str) -> WatchKey {
    WatchKey::ServiceHealth(service.parse().unwrap())
}

fn blocking(index: Index) -> RequestContext {
    RequestContext {
        index: Some(index),
        wait: Some(WAIT),
        ..RequestContext::default()
    }
}

async fn write(directory: &Directory, operations: Vec<Operation>) -> Index {
    let context = RequestContext::default();
    directory.write(&context, operations).await.unwrap()
}

/// Whether `read` is still waiting after everything that is ready has run.
macro_rules! still_waits {
    ($read:expr) => {
        tokio::time::timeout(Duration::from_millis(1), $read)
            .await
            .is_err()
    };
}

#[tokio::test]
async fn what_was_acknowledged_is_seen_everywhere() {
    let tasks = Tasks::new();
    let directory = directory(&tasks).await;
    let web: ServiceName = "web".parse().unwrap();
    for port in 1..200 {
        let index = write(&directory, register("web", port)).await;
        let reader = directory.reader();
        assert_eq!(reader.applied(), index);
        let state = reader.state();
        let instance = state.service(&web).unwrap().instances().next().unwrap();
        assert_eq!(
            (instance.service.port, instance.modify_index),
            (port, index)
        );
        let slot = reader.dns().service(b"web").unwrap();
        let view = slot.load().clone().unwrap();
        assert_eq!(view.all.instances()[0].port, port);
    }
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_refused_write_says_why() {
    let tasks = Tasks::new();
    let directory = directory(&tasks).await;
    let mut operations = register("web", 1);
    if let Some(Operation::Register(registration)) = operations.first_mut() {
        registration.checks.push(crate::types::Check {
            id: "c".parse().unwrap(),
            name: "".into(),
            status: crate::types::Status::Passing,
            notes: "".into(),
            output: "".into(),
            service_id: Some("other".parse().unwrap()),
            check_type: crate::types::CheckType::Unknown,
            definition: None,
        });
    }
    let context = RequestContext::default();
    let refused = directory.write(&context, operations).await;
    assert!(matches!(refused, Err(WriteError::Refused(_))));
    assert_eq!(directory.reader().state().nodes().count(), 0);
}

#[tokio::test]
async fn another_datacenter_is_not_reached() {
    let tasks = Tasks::new();
    let directory = directory(&tasks).await;
    let context = RequestContext {
        datacenter: Some("dc2".parse().unwrap()),
        ..RequestContext::default()
    };
    let read = directory.read(&context, &WatchKey::Nodes).await;
    assert_eq!(read.unwrap_err(), ReadError::NoPathToDatacenter);
    let write = directory.write(&context, register("web", 1)).await;
    assert_eq!(write.unwrap_err(), WriteError::NoPathToDatacenter);
}

#[tokio::test]
async fn a_read_without_an_index_does_not_wait() {
    let tasks = Tasks::new();
    let directory = directory(&tasks).await;
    for index in [None, Some(Index::ZERO)] {
        let context = RequestContext {
            index,
            ..RequestContext::default()
        };
        let answer = directory.read(&context, &health("web")).await.unwrap();
        assert_eq!(answer.index, Index(1));
    }
}

#[tokio::test]
async fn a_waiting_read_wakes_for_its_key_alone() {
    let tasks = Tasks::new();
    let directory = directory(&tasks).await;
    let index = write(&directory, register("web", 1)).await;
    let context = blocking(index);
    let key = health("web");
    let mut read = pin!(directory.read(&context, &key));
    assert!(still_waits!(&mut read));
    write(&directory, register("db", 1)).await;
    write(&directory, register("web", 1)).await;
    assert!(still_waits!(&mut read));
    let changed = write(&directory, register("web", 2)).await;
    let answer = read.await.unwrap();
    assert_eq!(answer.index, changed);
    assert!(answer.state.applied() >= changed);
}

#[tokio::test]
async fn a_change_since_the_index_is_answered_at_once() {
    let tasks = Tasks::new();
    let directory = directory(&tasks).await;
    let first = write(&directory, register("web", 1)).await;
    let second = write(&directory, register("web", 2)).await;
    let answer = directory.read(&blocking(first), &health("web")).await;
    assert_eq!(answer.unwrap().index, second);
}

#[tokio::test]
async fn a_service_that_appears_and_goes_wakes_its_readers() {
    let tasks = Tasks::new();
    let directory = directory(&tasks).await;
    let key = health("web");
    write(&directory, register("other", 1)).await;
    let missing = directory.read(&RequestContext::default(), &key).await;
    let context = blocking(missing.unwrap().index);
    let mut read = pin!(directory.read(&context, &key));
    assert!(still_waits!(&mut read));
    write(&directory, register("other", 2)).await;
    assert!(still_waits!(&mut read));
    let appeared = write(&directory, register("web", 1)).await;
    assert_eq!(read.await.unwrap().index, appeared);
    let context = blocking(appeared);
    let mut read = pin!(directory.read(&context, &key));
    assert!(still_waits!(&mut read));
    let (node, id) = ("n1".parse().unwrap(), "web".parse().unwrap());
    let deregister = Operation::Deregister(Deregistration::Service(node, id));
    let gone = write(&directory, vec![deregister]).await;
    assert_eq!(read.await.unwrap().index, gone);
}

mod waits {
    use super::*;

    /// How long a read with `context` takes when nothing changes, and its index.
    async fn time(context: RequestContext) -> (Duration, Index) {
        let tasks = Tasks::new();
        let directory = directory(&tasks).await;
        // Time stands still and jumps only when all tasks wait, so the write is not on that clock.
        let start = clock::now();
        let answer = directory.read(&context, &health("web")).await.unwrap();
        (clock::now() - start, answer.index)
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_passes_answers_the_same_index() {
        for _ in 0..20 {
            let (took, index) = time(blocking(Index(1))).await;
            assert!((WAIT..=WAIT * 17 / 16 + Duration::from_millis(1)).contains(&took));
            assert_eq!(index, Index(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_of_the_future_waits_and_answers_a_smaller_one() {
        let (took, index) = time(blocking(Index(1_000))).await;
        assert!(took >= WAIT);
        assert_eq!(index, Index(1));
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_and_a_zero_wait_are_the_default_and_a_long_one_is_cut() {
        for (wait, expected) in [(None, 300), (Some(0), 300), (Some(9_999), 600)] {
            let context = RequestContext {
                wait: wait.map(Duration::from_secs),
                ..blocking(Index(1))
            };
            let (took, _) = time(context).await;
            let expected = Duration::from_secs(expected);
            assert!((expected..=expected * 17 / 16 + Duration::from_millis(1)).contains(&took));
        }
    }
}

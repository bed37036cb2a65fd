//! The order by itself, and calls to servers on real sockets.

use std::collections::BTreeSet;

use tokio::net::TcpListener;

use super::*;
use crate::metrics::Metrics;
use crate::rpc::PoolConfig;
use crate::rpc::test_server::{NOTHING, TestServer, later};

fn addresses<const N: usize>(ports: [u16; N]) -> Vec<SocketAddr> {
    ports.map(|port| ([127, 0, 0, 1], port).into()).to_vec()
}

fn rotation(servers: &[SocketAddr]) -> Rotation {
    let rotation = Rotation::default();
    rotation.set(servers);
    rotation
}

fn order(rotation: &Rotation) -> Vec<SocketAddr> {
    rotation.lock().clone()
}

/// A caller with what is needed to watch it.
struct Watched {
    caller: Caller,
    metrics: Metrics,
    tasks: Tasks,
}

impl Watched {
    fn new(servers: &[SocketAddr]) -> Self {
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        let pool = Pool::new(PoolConfig::default(), &metrics, &tasks);
        let rotation = Arc::new(rotation(servers));
        // Servers are called in the order of the test.
        *rotation.lock() = servers.to_vec();
        Self {
            caller: Caller::new(pool, rotation),
            metrics,
            tasks,
        }
    }

    async fn call(&self, method: &str) -> Result<Vec<u8>, CallerError> {
        self.caller.call(method, NOTHING, later()).await
    }

    fn order(&self) -> Vec<SocketAddr> {
        order(&self.caller.rotation)
    }
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn a_new_list_keeps_the_order_of_those_that_stay() {
    let rotation = rotation(&addresses([1, 2, 3, 4]));
    let before = order(&rotation);
    let gone = before[1];
    let mut list = before.clone();
    list.retain(|it| *it != gone);
    list.extend(addresses([5]));
    rotation.set(&list);
    let mut after = order(&rotation);
    assert_eq!(after.len(), 4);
    let new = addresses([5])[0];
    assert!(after.contains(&new));
    after.retain(|it| *it != new);
    assert_eq!(after, [before[0], before[2], before[3]]);
}

#[test]
fn new_servers_enter_anywhere() {
    let firsts = (0..200).map(|_| rotation(&addresses([1, 2, 3])).first().unwrap());
    let firsts: BTreeSet<_> = firsts.collect();
    assert_eq!(firsts.into_iter().collect::<Vec<_>>(), addresses([1, 2, 3]));
}

#[test]
fn only_the_first_server_moves_to_the_end() {
    let rotation = rotation(&addresses([1, 2, 3]));
    let [first, second, third] = order(&rotation).try_into().unwrap();
    rotation.failed(second);
    assert_eq!(order(&rotation), [first, second, third]);
    rotation.failed(first);
    assert_eq!(order(&rotation), [second, third, first]);
    // Of calls that failed at the same time one counts.
    rotation.failed(first);
    assert_eq!(order(&rotation), [second, third, first]);
    rotation.set(&[]);
    rotation.failed(first);
    assert_eq!((rotation.len(), rotation.first()), (0, None));
    assert!(rotation.is_empty());
}

#[test]
fn a_new_order_has_the_same_servers() {
    let rotation = rotation(&addresses([1, 2, 3, 4, 5, 6, 7, 8]));
    let before = order(&rotation);
    let mut has_changed = false;
    for _ in 0..20 {
        rotation.shuffle();
        let mut after = order(&rotation);
        has_changed |= after != before;
        after.sort_unstable();
        assert_eq!(after, addresses([1, 2, 3, 4, 5, 6, 7, 8]));
    }
    assert!(has_changed);
}

#[test]
fn pauses_fill_the_time_for_a_leader_and_no_more() {
    let begin = clock::now();
    let hold = begin + HOLD;
    assert_eq!(pause(begin, hold, 0.0), Some(Duration::ZERO));
    assert_eq!(
        pause(begin, hold, 1.0),
        Some(Duration::from_micros(437_500))
    );
    let late = begin + Duration::from_millis(6_900);
    assert_eq!(pause(late, hold, 0.1), Some(Duration::from_micros(43_750)));
    assert_eq!(pause(late, hold, 0.9), None);
    assert_eq!(pause(hold, hold, 0.0), None);
}

#[tokio::test]
async fn without_servers_nothing_is_called() {
    let error = Watched::new(&[]).call("Test.Echo").await.unwrap_err();
    assert!(matches!(error, CallerError::NoServers));
    assert_eq!(error.to_string(), "No known Consul servers");
}

#[tokio::test]
async fn any_error_makes_the_next_call_go_to_another_server() {
    let (first, second) = (TestServer::start().await, TestServer::start().await);
    let watched = Watched::new(&[first.address, second.address]);
    watched.call("Test.Echo").await.unwrap();
    watched.call("Test.Echo").await.unwrap();
    let error = watched.call("Test.Fail").await.unwrap_err();
    assert_eq!(error.to_string(), "rpc error making call: no such node");
    assert_eq!(watched.order(), [second.address, first.address]);
    watched.call("Test.Echo").await.unwrap();
    assert_eq!(first.seen().calls, ["Test.Echo", "Test.Echo", "Test.Fail"]);
    assert_eq!(second.seen().calls, ["Test.Echo"]);
}

#[tokio::test]
async fn a_call_is_repeated_until_there_is_a_leader() {
    let server = TestServer::start().await;
    let watched = Watched::new(&[server.address]);
    assert_eq!(watched.call("Test.Elects").await.unwrap(), NOTHING);
    assert_eq!(server.seen().count("Test.Elects"), 3);
}

#[tokio::test]
async fn no_leader_is_told_within_the_deadline() {
    let (first, second) = (TestServer::start().await, TestServer::start().await);
    let watched = Watched::new(&[first.address, second.address]);
    let deadline = clock::now() + Duration::from_secs(2);
    let called = watched.caller.call("Test.NoLeader", NOTHING, deadline);
    let error = called.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "rpc error making call: No cluster leader"
    );
    assert!(clock::now() < deadline);
    // They are asked in turn, several times: pauses are 219 ms in the mean.
    let (first, second) = (first.seen().calls.len(), second.seen().calls.len());
    assert!(
        first >= 2 && first.abs_diff(second) <= 1,
        "{first} {second}"
    );
}

#[tokio::test]
async fn servers_that_cannot_be_reached_are_passed_over() {
    let server = TestServer::start().await;
    let watched = Watched::new(&[nobody().await, nobody().await, server.address]);
    watched.call("Test.Echo").await.unwrap();
    assert_eq!(watched.order()[0], server.address);
}

#[tokio::test]
async fn servers_that_cannot_be_reached_are_tried_once_each() {
    let servers = [nobody().await, nobody().await, nobody().await];
    let watched = Watched::new(&servers);
    let error = watched.call("Test.Echo").await.unwrap_err();
    let last = matches!(&error, CallerError::Call(CallError::Connect { server, .. }) if *server == servers[2]);
    assert!(last, "{error}");
    let text = watched.metrics.text();
    assert!(
        text.contains("herald_rpc_client_dials_failed_total 3"),
        "{text}"
    );
    assert_eq!(watched.order(), servers);
}

#[tokio::test]
async fn what_may_have_been_carried_out_is_not_repeated() {
    let (first, second) = (TestServer::start().await, TestServer::start().await);
    let watched = Watched::new(&[first.address, second.address]);
    let error = watched.call("Test.Cut").await.unwrap_err();
    assert!(
        matches!(error, CallerError::Call(CallError::Broken(_))),
        "{error}"
    );
    assert_eq!(
        (first.seen().calls.len(), second.seen().calls.len()),
        (1, 0)
    );
    let deadline = clock::now() + Duration::from_millis(300);
    let called = watched.caller.call("Test.Park", NOTHING, deadline);
    let error = called.await.unwrap_err();
    assert!(
        matches!(error, CallerError::Call(CallError::Deadline(_))),
        "{error}"
    );
    assert_eq!(
        (first.seen().calls.len(), second.seen().calls.len()),
        (1, 1)
    );
    assert_eq!(watched.order(), [first.address, second.address]);
}

#[tokio::test]
async fn the_first_server_is_asked_for_a_sign_of_life_every_two_to_three_minutes() {
    let server = TestServer::start().await;
    let watched = Watched::new(&[server.address, nobody().await]);
    watched.caller.keep_spread(&watched.tasks);
    // The task has begun to wait once it has run.
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(119)).await;
    tokio::time::resume();
    watched
        .caller
        .pool
        .call(server.address, "Test.Echo", NOTHING, later())
        .await
        .unwrap();
    assert_eq!(server.seen().calls, ["Test.Echo"]);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(62)).await;
    tokio::time::resume();
    // Whichever is first then: the other one does not answer, which makes this one the first.
    server.sees(|seen| seen.count("Status.Ping") == 1).await;
    assert_eq!(watched.order()[0], server.address);
}

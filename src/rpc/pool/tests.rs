//! Calls over real sockets. Where time matters, it is paused once the connection stands.

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{pause, resume};

use super::*;
use crate::rpc::TlsConfig;
use crate::rpc::test_server::{NOTHING, PATIENCE, TestServer, later};

type Called = Result<Vec<u8>, CallError>;

/// A pool with what is needed to watch it.
struct Watched {
    pool: Pool,
    metrics: Metrics,
    tasks: Tasks,
}

impl Watched {
    fn new(config: PoolConfig) -> Self {
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        Self {
            pool: Pool::new(config, &metrics, &tasks),
            metrics,
            tasks,
        }
    }

    async fn call(&self, server: SocketAddr, method: &str) -> Called {
        self.pool.call(server, method, NOTHING, later()).await
    }

    /// So many calls at the same time.
    async fn call_often(&self, count: usize, server: SocketAddr) -> Vec<Called> {
        let mut calls = JoinSet::new();
        for _ in 0..count {
            let pool = self.pool.clone();
            calls.spawn(async move { pool.call(server, "Test.Echo", NOTHING, later()).await });
        }
        calls.join_all().await
    }

    fn assert_counted(&self, line: &str) {
        let text = self.metrics.text();
        assert_eq!(text.matches(line).count(), 1, "{line} in\n{text}");
    }

    /// Calls in a task of its own; the call is given up when the task is dropped.
    fn park(&self, server: SocketAddr) {
        let pool = self.pool.clone();
        self.tasks.spawn(async move {
            drop(pool.call(server, "Test.Park", NOTHING, later()).await);
        });
    }
}

/// The paused time stands at this point, but for what timers round up.
fn assert_reached(point: Instant) {
    let over = clock::now().checked_duration_since(point);
    assert!(
        over.is_some_and(|it| it < Duration::from_millis(50)),
        "{over:?}"
    );
}

fn small() -> PoolConfig {
    PoolConfig {
        streams_max: 2,
        idle_streams_max: 1,
        idle_timeout: Duration::from_secs(20),
        ..PoolConfig::default()
    }
}

/// A listener that takes connections and never says anything, and a pool that waits for TLS on them.
async fn silent() -> (TcpListener, SocketAddr, Watched) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Tls::load(&TlsConfig::default(), "server.dc1.consul").unwrap();
    let config = PoolConfig {
        tls: Some(tls),
        ..PoolConfig::default()
    };
    (listener, address, Watched::new(config))
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn calls_after_each_other_share_one_stream() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    for number in 0..20_u8 {
        let body = [number];
        let called = watched
            .pool
            .call(server.address, "Test.Echo", &body, later());
        assert_eq!(called.await.unwrap(), body);
    }
    let seen = server.seen();
    assert_eq!((seen.connections, seen.streams), (1, 1));
    watched.assert_counted("herald_rpc_client_calls_total 20");
    watched.assert_counted("herald_rpc_client_sessions 1");
}

#[tokio::test]
async fn a_result_comes_whole_whatever_its_length() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    let mut body = vec![0xdb, 0, 0x20, 0, 0];
    body.resize(body.len() + (2 << 20), b'x');
    let called = watched
        .pool
        .call(server.address, "Test.Echo", &body, later());
    assert!(called.await.unwrap() == body);
    // What it took of the memory for answers is free again although the stream waits.
    assert_eq!(server.seen().streams, 1);
    assert!(watched.pool.0.budget.has(HELD_OCTETS_MAX));
}

#[tokio::test]
async fn a_longer_result_than_is_allowed_breaks_the_stream() {
    let config = PoolConfig {
        answer_octets_max: 1_000,
        ..small()
    };
    let (server, watched) = (TestServer::start().await, Watched::new(config));
    let mut body = vec![0xda, 0x10, 0];
    body.resize(body.len() + 0x1000, b'x');
    let called = watched
        .pool
        .call(server.address, "Test.Echo", &body, later());
    let error = called.await.unwrap_err();
    assert!(matches!(error, CallError::Broken(_)), "{error}");
    server.sees(|seen| seen.reset == 1).await;
}

#[tokio::test]
async fn an_error_of_the_server_finishes_its_stream() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    let error = watched.call(server.address, "Test.Fail").await.unwrap_err();
    assert_eq!(error.to_string(), "rpc error making call: no such node");
    assert!(matches!(error, CallError::Remote(text) if text == "no such node"));
    server.sees(|seen| seen.finished == 1).await;
    watched.call(server.address, "Test.Echo").await.unwrap();
    let seen = server.seen();
    assert_eq!((seen.connections, seen.streams, seen.reset), (1, 2, 0));
    watched.assert_counted("herald_rpc_client_calls_failed_total{kind=\"remote\"} 1");
}

#[tokio::test]
async fn a_call_that_is_dropped_resets_its_stream() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    let dropped = tokio::select! {
        _ = watched.call(server.address, "Test.Park") => false,
        _ = server.sees(|seen| seen.calls.len() == 1) => true,
    };
    assert!(dropped);
    server.sees(|seen| seen.reset == 1).await;
    watched.call(server.address, "Test.Echo").await.unwrap();
    assert_eq!(server.seen().connections, 1);
}

#[tokio::test]
async fn a_late_answer_is_a_deadline_and_resets_the_stream() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    watched.call(server.address, "Test.Echo").await.unwrap();
    pause();
    let limit = Duration::from_secs(5);
    let deadline = clock::now() + limit;
    let called = watched
        .pool
        .call(server.address, "Test.Park", NOTHING, deadline);
    let error = called.await.unwrap_err();
    assert!(
        matches!(error, CallError::Deadline(it) if it == limit),
        "{error}"
    );
    assert_reached(deadline);
    resume();
    server.sees(|seen| seen.reset == 1).await;
    watched.assert_counted("herald_rpc_client_calls_failed_total{kind=\"deadline\"} 1");
}

#[tokio::test]
async fn a_refused_connection_says_so_in_the_words_of_the_reference() {
    let (server, watched) = (nobody().await, Watched::new(small()));
    let error = watched.call(server, "Test.Echo").await.unwrap_err();
    let start = "rpc error getting client: failed to get conn";
    let end = format!("dial tcp {server}: connect: connection refused");
    assert_eq!(error.to_string(), format!("{start}: {end}"));
    assert!(matches!(error, CallError::Connect { server: it, .. } if it == server));
    watched.assert_counted("herald_rpc_client_dials_failed_total 1");
    watched.assert_counted("herald_rpc_client_calls_failed_total{kind=\"connect\"} 1");
    watched.assert_counted("herald_rpc_client_sessions 0");
}

#[tokio::test(start_paused = true)]
async fn callers_share_a_dial_and_its_failure() {
    let (_listener, address, watched) = silent().await;
    let begin = clock::now();
    for called in watched.call_often(20, address).await {
        let error = called.unwrap_err();
        let text = format!("failed to get conn: dial tcp {address}: i/o timeout");
        assert!(error.to_string().ends_with(&text), "{error}");
        assert!(matches!(error, CallError::Connect { .. }));
    }
    // Sharing makes them wait once, not one after the other.
    assert_reached(begin + Duration::from_secs(10));
    watched.assert_counted("herald_rpc_client_dials_failed_total 1");
    watched.assert_counted("herald_rpc_client_calls_failed_total{kind=\"connect\"} 20");
    // Who comes later tries again.
    watched.call(address, "Test.Echo").await.unwrap_err();
    watched.assert_counted("herald_rpc_client_dials_failed_total 2");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_while_dialling_means_that_nothing_was_sent() {
    let (_listener, address, watched) = silent().await;
    let deadline = clock::now() + Duration::from_secs(3);
    let called = watched.pool.call(address, "Test.Echo", NOTHING, deadline);
    let error = called.await.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error}");
    assert_reached(deadline);
}

#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    watched.call(server.address, "Test.Echo").await.unwrap();
    let called = watched
        .pool
        .call(server.address, "Test.Park", NOTHING, clock::now());
    let error = called.await.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error}");
    watched.call(server.address, "Test.Echo").await.unwrap();
    assert_eq!(server.seen().calls, ["Test.Echo", "Test.Echo"]);
}

#[tokio::test]
async fn callers_share_one_new_connection() {
    let config = PoolConfig::default();
    let (server, watched) = (TestServer::start().await, Watched::new(config));
    for called in watched.call_often(100, server.address).await {
        assert_eq!(called.unwrap(), NOTHING);
    }
    assert_eq!(server.seen().connections, 1);
    // As many streams wait as may; the others were finished or reset.
    server
        .sees(|seen| seen.streams - seen.finished - seen.reset <= 32)
        .await;
}

#[tokio::test]
async fn calls_beyond_the_places_wait_for_one() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    watched.park(server.address);
    watched.park(server.address);
    server.sees(|seen| seen.calls.len() == 2).await;
    pause();
    let deadline = clock::now() + Duration::from_secs(3);
    let called = watched
        .pool
        .call(server.address, "Test.Echo", NOTHING, deadline);
    let error = called.await.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error}");
    assert_reached(deadline);
    resume();
    let next = watched.call(server.address, "Test.Echo");
    // The parked calls end with their tasks, which frees both places.
    watched.tasks.stopping().cancel();
    tokio::time::timeout(PATIENCE, next)
        .await
        .unwrap()
        .unwrap_err();
}

#[tokio::test]
async fn a_session_without_calls_is_closed() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    watched.call(server.address, "Test.Echo").await.unwrap();
    pause();
    tokio::time::sleep(Duration::from_secs(19)).await;
    resume();
    watched.call(server.address, "Test.Echo").await.unwrap();
    pause();
    // It is the time since the last call that counts.
    tokio::time::sleep(Duration::from_secs(19)).await;
    watched.assert_counted("herald_rpc_client_sessions 1");
    assert_eq!(server.seen().closed, 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    resume();
    let seen = server.sees(|seen| seen.closed == 1).await;
    assert_eq!(seen.connections, 1);
    watched.assert_counted("herald_rpc_client_sessions 0");
    watched.call(server.address, "Test.Echo").await.unwrap();
    assert_eq!(server.seen().connections, 2);
}

#[tokio::test]
async fn a_session_with_a_call_under_way_is_kept() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    watched.park(server.address);
    server.sees(|seen| seen.calls.len() == 1).await;
    pause();
    tokio::time::sleep(Duration::from_secs(25)).await;
    resume();
    watched.call(server.address, "Test.Echo").await.unwrap();
    let seen = server.seen();
    assert_eq!((seen.connections, seen.closed), (1, 0));
}

#[tokio::test]
async fn a_server_that_goes_breaks_its_calls_and_is_dialled_anew() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    watched.call(server.address, "Test.Echo").await.unwrap();
    let error = watched.call(server.address, "Test.Cut").await.unwrap_err();
    assert_eq!(error.to_string(), "rpc error making call: EOF");
    assert!(matches!(error, CallError::Broken(_)));
    watched.assert_counted("herald_rpc_client_calls_failed_total{kind=\"broken\"} 1");
    watched.call(server.address, "Test.Echo").await.unwrap();
    assert_eq!(server.seen().connections, 2);
    let address = server.kill().await;
    let again = TestServer::at(address).await;
    // It may not have been noticed yet that the session has ended.
    if watched.call(address, "Test.Echo").await.is_err() {
        watched.call(address, "Test.Echo").await.unwrap();
    }
    assert_eq!(again.seen().connections, 1);
}

#[tokio::test]
async fn a_server_that_is_given_up_keeps_nobody_waiting() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    let other = TestServer::start().await;
    let given_up = async {
        server.sees(|seen| seen.count("Test.Park") == 1).await;
        other.sees(|seen| seen.count("Test.Park") == 1).await;
        watched.pool.give_up(server.address);
    };
    let waiting = watched.call(server.address, "Test.Park");
    watched.park(other.address);
    let (error, ()) = tokio::join!(waiting, given_up);
    let error = error.unwrap_err();
    assert!(matches!(error, CallError::Broken(_)), "{error}");
    // Its connection is not used again, and that of the other one is left alone.
    server.sees(|seen| seen.closed == 1).await;
    watched.call(server.address, "Test.Echo").await.unwrap();
    assert_eq!(server.seen().connections, 2);
    assert_eq!(other.seen().reset, 0);
}

#[tokio::test]
async fn who_dials_a_server_that_is_given_up_has_sent_nothing() {
    let (listener, address, watched) = silent().await;
    let given_up = async {
        drop(listener.accept().await.unwrap());
        watched.pool.give_up(address);
    };
    let (error, ()) = tokio::join!(watched.call(address, "Test.Echo"), given_up);
    let error = error.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_stream_that_the_server_resets_breaks_its_call_only() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    let error = watched
        .call(server.address, "Test.Reset")
        .await
        .unwrap_err();
    let text = "rpc error making call: connection reset";
    assert_eq!(error.to_string(), text);
    watched.call(server.address, "Test.Echo").await.unwrap();
    assert_eq!(server.seen().connections, 1);
}

#[tokio::test]
async fn what_is_no_answer_breaks_the_stream() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    for method in ["Test.Other", "Test.Half", "Test.Garbage"] {
        let error = watched.call(server.address, method).await.unwrap_err();
        assert!(matches!(error, CallError::Broken(_)), "{method}: {error}");
    }
    assert_eq!(server.seen().streams, 3);
    watched.call(server.address, "Test.Echo").await.unwrap();
    let seen = server.seen();
    assert_eq!((seen.connections, seen.streams), (1, 4));
}

#[tokio::test]
async fn a_stream_with_more_than_one_answer_is_not_used_again() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    let first = watched.call(server.address, "Test.Twice").await;
    assert_eq!(first.unwrap(), NOTHING);
    let called = watched
        .pool
        .call(server.address, "Test.Echo", &[7], later());
    assert_eq!(called.await.unwrap(), [7]);
    assert_eq!(server.seen().streams, 2);
}

#[tokio::test]
async fn pools_of_one_agent_count_together() {
    let (server, metrics, tasks) = (TestServer::start().await, Metrics::new(), Tasks::new());
    for _ in 0..2 {
        let pool = Pool::new(PoolConfig::default(), &metrics, &tasks);
        let called = pool.call(server.address, "Test.Echo", NOTHING, later());
        called.await.unwrap();
    }
    let text = metrics.text();
    assert_eq!(
        text.matches("herald_rpc_client_calls_total 2").count(),
        1,
        "{text}"
    );
}

#[tokio::test]
async fn servers_of_the_past_are_forgotten() {
    let (server, watched) = (TestServer::start().await, Watched::new(small()));
    watched.call(server.address, "Test.Echo").await.unwrap();
    for _ in 0..10 {
        watched.call(nobody().await, "Test.Echo").await.unwrap_err();
    }
    let mut known: Vec<_> = watched.pool.0.lock().keys().copied().collect();
    known.retain(|it| *it != server.address);
    assert_eq!(known.len(), 1, "the last one only: {known:?}");
}

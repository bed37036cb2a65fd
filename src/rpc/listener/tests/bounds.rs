//! Who is refused, and what is bounded.

use std::sync::atomic::Ordering;

use super::*;

/// Connections refused for a reason.
fn refused(served: &Served, reason: Refusal) -> u64 {
    served.counts.refusals(reason)
}

#[tokio::test]
async fn connections_that_are_for_nothing_known_are_closed_and_counted() {
    let served = Served::start(config());
    for (first, reason) in [
        (octet::FOREIGN_RAFT, Refusal::ForeignRaft),
        (0x02, Refusal::Octet),
        (octet::TLS, Refusal::Tls),
        (0x06, Refusal::Octet),
        (0x07, Refusal::Octet),
        (octet::SUBSCRIBE, Refusal::Subscribe),
        (0x16, Refusal::Octet),
        // Nobody serves Raft here.
        (octet::RAFT, Refusal::Octet),
        (0xff, Refusal::Octet),
    ] {
        let before = refused(&served, reason);
        let mut stream = served.connect(&[first]).await;
        assert_eq!(rest(&mut stream).await, b"");
        assert_eq!(refused(&served, reason), before + 1, "{first}");
    }
    let mut tls_only = config();
    tls_only.tls_only = true;
    let served = Served::start(tls_only);
    for first in [octet::CALLS, octet::SESSION, octet::SNAPSHOT] {
        let mut stream = served.connect(&[first]).await;
        assert_eq!(rest(&mut stream).await, b"");
    }
    assert_eq!(refused(&served, Refusal::Plain), 3);
}

#[tokio::test]
async fn one_address_has_so_many_connections_until_told_otherwise() {
    let mut few = config();
    few.connections_of_client_max = 2;
    let served = Served::start(few);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect(&[octet::CALLS]).await;
        let echo = request(1, "Test.Echo", b"\x05");
        stream.write_all(&echo).await.unwrap();
        take(&mut stream, 1).await;
        kept.push(stream);
    }
    let mut excess = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(rest(&mut excess).await, b"");
    assert_eq!(refused(&served, Refusal::ClientConnections), 1);
    served.of_client_max.store(3, Ordering::Relaxed);
    served.assert_answers().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_say_what_it_is_for_is_closed_in_time() {
    let served = Served::start(config());
    let started = crate::clock::now();
    let mut silent = served.duplex(b"").await;
    assert_eq!(rest(&mut silent).await, b"");
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!(refused(&served, Refusal::Silent), 1);
    drop(served.duplex(b"").await);
    // Afterwards there is no such limit.
    let mut stream = served.duplex(&[octet::CALLS]).await;
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    stream
        .write_all(&request(1, "Test.Echo", b"\x05"))
        .await
        .unwrap();
    let expected = response(1, "Test.Echo", "", b"\x05");
    assert_eq!(take(&mut stream, expected.len()).await, expected);
    assert_eq!(refused(&served, Refusal::Gone), 1);
}

#[tokio::test(start_paused = true)]
async fn half_a_request_holds_nobody_up_and_is_given_up() {
    let served = Served::start(config());
    let call = request(1, "Test.Echo", b"\x92\x01\x02");
    for cut in 1..call.len() {
        let started = crate::clock::now();
        let mut stream = served.duplex(&[octet::CALLS]).await;
        stream.write_all(&call[..cut]).await.unwrap();
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets).await.unwrap();
        assert_eq!((started.elapsed().as_secs(), octets), (60, vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_ends_its_stream() {
    let served = Served::start(config());
    let mut stream = served.duplex(&[octet::CALLS]).await;
    let call = request(1, "Test.Large", b"\x05");
    stream.write_all(&call).await.unwrap();
    tokio::time::sleep(Duration::from_secs(200)).await;
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).await.unwrap();
    assert_eq!(octets.len(), 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_only_waits_with_its_half_closed_is_answered_for_a_while() {
    let mut served = Served::start(config());
    let mut stream = served.duplex(&[octet::CALLS]).await;
    let started = crate::clock::now();
    let call = request(1, "Test.Park", b"\x80");
    stream.write_all(&call).await.unwrap();
    stream.shutdown().await.unwrap();
    served.parked.wait_for(|parked| *parked == 1).await.unwrap();
    served.parked.wait_for(|parked| *parked == 0).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn answers_beyond_what_one_address_may_have_are_errors() {
    let served = Served::start(config());
    let mut plain = served.connect(&[octet::CALLS]).await;
    // Nobody takes these; a fourth one would be more than 64 MiB.
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut stream = served.connect(&[octet::CALLS]).await;
        let call = request(1, "Test.Large", b"\x10");
        stream.write_all(&call).await.unwrap();
        take(&mut stream, 1).await;
        waiting.push(stream);
    }
    plain
        .write_all(&request(2, "Test.Large", b"\x10"))
        .await
        .unwrap();
    let error = "rpc: too many large answers wait to be taken, try again";
    let expected = response(2, "Test.Large", error, b"\x80");
    assert_eq!(take(&mut plain, expected.len()).await, expected);
    assert_eq!(served.counts.answers_refused.get(), 1);
    // The connection goes on, and others are answered.
    plain
        .write_all(&request(3, "Test.Echo", b"\x05"))
        .await
        .unwrap();
    let expected = response(3, "Test.Echo", "", b"\x05");
    assert_eq!(take(&mut plain, expected.len()).await, expected);
}

#[tokio::test]
async fn requests_of_one_address_wait_for_memory_and_leave_some_to_others() {
    let shares = Budget::shares(1 << 20, 1 << 19);
    let [first, second] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(|it| shares.of(it.into()));
    let held = first.try_hold(128).unwrap();
    assert!(first.try_hold(1).is_none());
    assert!(second.try_hold(128).is_some());
    drop(held);
    assert!(first.try_hold(128).is_some());
}

#[tokio::test]
async fn one_address_has_so_many_streams_over_its_sessions_and_one_more_is_reset() {
    let mut served = Served::start(config());
    Arc::get_mut(&mut served.server).unwrap().streams = Shares::new(3, 1);
    let park = request(1, "Test.Park", b"\x80");
    let mut first = served.duplex(&[octet::SESSION]).await;
    first.write_all(&frame(0, SYN, 1, &park)).await.unwrap();
    served.parked(1).await;
    let mut second = served.duplex(&[octet::SESSION]).await;
    second.write_all(&frame(0, SYN, 1, &park)).await.unwrap();
    assert_eq!(next_frame(&mut second).await, (1, RST, 1, vec![]));
    assert_eq!(served.counts.streams_refused.get(), 1);
    assert_eq!(served.counts.streams.get(), 1);
    // Once the first one is gone there is room.
    first.write_all(&frame(1, RST, 1, b"")).await.unwrap();
    served.parked(0).await;
    let echo = request(2, "Test.Echo", b"\x05");
    let mut sequence = 1;
    let answer = loop {
        // The place is free a moment after the call has ended.
        sequence += 2;
        let call = frame(0, SYN, sequence, &echo);
        second.write_all(&call).await.unwrap();
        let answer = next_frame(&mut second).await;
        if answer.0 == 0 {
            break answer;
        }
    };
    let expected = response(2, "Test.Echo", "", b"\x05");
    assert_eq!(answer, (0, 0, sequence, expected));
}

//! What becomes of calls, one after the other and beside each other.

use super::*;
use crate::rpc::serve::Carrier;

/// A session with one stream that a request opens.
async fn session(served: &Served, requests: &[u8]) -> TcpStream {
    let mut stream = served.connect(&[octet::SESSION]).await;
    stream.write_all(&frame(0, SYN, 1, requests)).await.unwrap();
    stream
}

fn answer(stream: u32, octets: Vec<u8>) -> Frame {
    (0, 0, stream, octets)
}

#[tokio::test]
async fn requests_sent_together_are_answered_in_their_order() {
    let served = Served::start(config());
    let calls = [
        ("Test.Echo", "", &b"\x01"[..]),
        ("Test.Fail", "no such node", b"\x80"),
        ("Test.Echo", "", b"\x93\x01\x02\x03"),
    ];
    let (mut requests, mut responses) = (Vec::new(), Vec::new());
    for (sequence, (method, error, body)) in (7..).zip(calls) {
        requests.extend(request(sequence, method, body));
        responses.extend(response(sequence, method, error, body));
    }
    let mut plain = served.connect(&[octet::CALLS]).await;
    plain.write_all(&requests).await.unwrap();
    assert_eq!(take(&mut plain, responses.len()).await, responses);
    // And if they come octet by octet.
    for octet in &requests {
        plain.write_all(&[*octet]).await.unwrap();
    }
    assert_eq!(take(&mut plain, responses.len()).await, responses);
    assert_eq!(
        (served.counts.calls.get(), served.counts.failures.get()),
        (6, 2)
    );
    plain.shutdown().await.unwrap();
    assert_eq!(rest(&mut plain).await, b"");
}

#[tokio::test]
async fn a_caller_that_has_finished_is_still_answered() {
    let served = Served::start(config());
    let call = request(1, "Test.Echo", b"\x05");
    let expected = response(1, "Test.Echo", "", b"\x05");
    let mut stream = served.connect(&[octet::SESSION]).await;
    stream
        .write_all(&frame(0, SYN | FIN, 1, &call))
        .await
        .unwrap();
    assert_eq!(next_frame(&mut stream).await, answer(1, expected.clone()));
    assert_eq!(next_frame(&mut stream).await, (1, FIN, 1, vec![]));
    let mut plain = served.connect(&[octet::CALLS]).await;
    plain.write_all(&call).await.unwrap();
    plain.shutdown().await.unwrap();
    assert_eq!(rest(&mut plain).await, expected);
}

#[tokio::test]
async fn a_call_that_is_none_is_answered_and_ends_its_stream_alone() {
    let served = Served::start(config());
    let error = "rpc: can't find method No.No";
    let mut calls = request(1, "No.No", b"\x80");
    // Octets after it are not served, nor do they take the answer from the caller.
    calls.extend(request(2, "Test.Echo", b"\x80"));
    let expected = response(1, "No.No", error, b"\x80");
    let mut stream = session(&served, &calls).await;
    assert_eq!(next_frame(&mut stream).await, answer(1, expected.clone()));
    assert_eq!(next_frame(&mut stream).await, (1, FIN, 1, vec![]));
    let other = frame(0, SYN, 3, &request(1, "Test.Echo", b"\x05"));
    stream.write_all(&other).await.unwrap();
    let echoed = response(1, "Test.Echo", "", b"\x05");
    assert_eq!(next_frame(&mut stream).await, answer(3, echoed));
    let mut plain = served.connect(&[octet::CALLS]).await;
    plain.write_all(&calls).await.unwrap();
    assert_eq!(rest(&mut plain).await, expected);
}

#[tokio::test]
async fn a_request_that_cannot_be_read_or_is_too_long_is_named_and_ends_its_stream() {
    let served = Served::start(config());
    for (body, reason) in [
        (&b"\xc1"[..], "octet 0xc1 does not begin a value"),
        (
            b"\xdb\xff\xff\xff\xff",
            "value is longer than 1048576 octets",
        ),
        (
            b"\xdf\xff\xff\xff\xff",
            "value is longer than 1048576 octets",
        ),
    ] {
        let call = request(3, "Test.Echo", body);
        let error = format!("codec.decoder: {reason}");
        let expected = response(3, "Test.Echo", &error, b"\x80");
        let mut stream = session(&served, &call).await;
        assert_eq!(next_frame(&mut stream).await, answer(1, expected.clone()));
        assert_eq!(next_frame(&mut stream).await, (1, FIN, 1, vec![]));
        let mut plain = served.connect(&[octet::CALLS]).await;
        plain.write_all(&call).await.unwrap();
        assert_eq!(rest(&mut plain).await, expected);
    }
    // Without a header there is nobody to tell.
    let mut plain = served.connect(&[octet::CALLS]).await;
    plain.write_all(b"\xdb\xff\xff\xff\xff").await.unwrap();
    assert_eq!(rest(&mut plain).await, b"");
}

#[tokio::test]
async fn calls_end_with_their_stream_session_and_connection() {
    let mut served = Served::start(config());
    let park = request(1, "Test.Park", b"\x80");
    let mut stream = session(&served, &park).await;
    stream.write_all(&frame(0, SYN, 3, &park)).await.unwrap();
    served.parked(2).await;
    // A stream that is reset.
    stream.write_all(&frame(1, RST, 1, b"")).await.unwrap();
    served.parked(1).await;
    assert_eq!(served.counts.abandoned.get(), 1);
    // A peer that has finished may still read.
    stream.write_all(&frame(1, FIN, 3, b"")).await.unwrap();
    let echo = frame(0, SYN, 5, &request(1, "Test.Echo", b"\x05"));
    stream.write_all(&echo).await.unwrap();
    next_frame(&mut stream).await;
    assert_eq!(*served.parked.borrow(), 1);
    // A session that ends.
    drop(stream);
    served.parked(0).await;
    // A connection that is reset.
    let mut plain = served.connect(&[octet::CALLS]).await;
    plain.write_all(&park).await.unwrap();
    served.parked(1).await;
    plain.set_zero_linger().unwrap();
    drop(plain);
    served.parked(0).await;
    assert_eq!(served.counts.abandoned.get(), 3);
}

#[tokio::test]
async fn a_panic_of_the_service_resets_its_stream_alone() {
    let mut served = Served::start(config());
    let mut stream = session(&served, &request(1, "Test.Park", b"\x80")).await;
    served.parked(1).await;
    let panics = frame(0, SYN, 3, &request(1, "Test.Panic", b"\x80"));
    stream.write_all(&panics).await.unwrap();
    assert_eq!(next_frame(&mut stream).await, (1, RST, 3, vec![]));
    let echo = frame(0, SYN, 5, &request(1, "Test.Echo", b"\x05"));
    stream.write_all(&echo).await.unwrap();
    let echoed = response(1, "Test.Echo", "", b"\x05");
    assert_eq!(next_frame(&mut stream).await, answer(5, echoed));
    assert_eq!(*served.parked.borrow(), 1);
    let mut plain = served.connect(&[octet::CALLS]).await;
    let panics = request(1, "Test.Panic", b"\x80");
    plain.write_all(&panics).await.unwrap();
    assert_eq!(rest(&mut plain).await, b"");
    served.assert_answers().await;
}

#[tokio::test]
async fn a_snapshot_connection_is_answered_once_and_closed() {
    let served = Served::start(config());
    let mut stream = served.connect(&[octet::SNAPSHOT]).await;
    stream.write_all(b"\x81\xa2Op\x00").await.unwrap();
    assert_eq!(rest(&mut stream).await, b"\x92\x01\x81\xa2Op\x00");
    // What follows the request does not take the answer from the caller.
    let mut stream = served.connect(&[octet::SNAPSHOT]).await;
    let archive = [&b"\x81\xa2Op\x01"[..], &vec![0; 1 << 18]].concat();
    stream.write_all(&archive).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"\x92\x01\x81\xa2Op\x01");
}

#[tokio::test]
async fn large_answers_arrive_whole() {
    let served = Served::start(config());
    let mut plain = served.connect(&[octet::CALLS]).await;
    plain
        .write_all(&request(1, "Test.Large", b"\x05"))
        .await
        .unwrap();
    let expected = response(1, "Test.Large", "", &large(b"\x05"));
    assert!(take(&mut plain, expected.len()).await == expected);
}

#[tokio::test]
async fn a_call_that_waits_takes_little_memory() {
    let served = Served::start(config());
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let (source, (_near, far)) = (served.server.source(peer), duplex(100));
    let serving = served.server.calls.serve(far, &source, Carrier::Stream);
    // In all a stream that waits takes this, its request, and what the runtime and the session need
    // for it, which is as much again.
    let octets = size_of_val(&serving);
    assert!(octets < 1_200, "{octets}");
}

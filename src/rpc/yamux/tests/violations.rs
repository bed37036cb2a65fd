//! Peers that break the protocol, or ask for too much.

use super::*;
use crate::rpc::yamux::WINDOW;

fn window() -> usize {
    usize::try_from(WINDOW).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_window_of_octets_is_kept_and_one_more_ends_the_session() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    session.peer.send(&data(0, 1, &vec![7; window()])).await;
    assert_eq!(session.peer.frames().await, []);
    session.peer.send(&data(0, 1, &[7])).await;
    assert_eq!(
        session.peer.last_frames().await,
        [Frame::bare(GO_AWAY, 0, 0, 1)]
    );
    assert!(matches!(
        session.end.await.unwrap(),
        SessionEnd::Protocol(_)
    ));
    // What came before can still be read.
    let mut octets = vec![0; window()];
    stream.read_exact(&mut octets).await.unwrap();
    assert_eq!(octets, vec![7; window()]);
    stream.read_u8().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn stream_zero_cannot_be_opened() {
    let mut session = Accepting::start(settings());
    session.peer.send(&header(UPDATE, SYN, 0, 0)).await;
    assert_eq!(
        session.peer.last_frames().await,
        [Frame::bare(GO_AWAY, 0, 0, 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_window_beyond_all_numbers_resets_its_stream_alone() {
    let mut session = Accepting::start(settings());
    let mut first = session.open(1).await;
    let mut second = session.open(3).await;
    session.peer.send(&header(UPDATE, 0, 1, u32::MAX)).await;
    assert_eq!(
        session.peer.frames().await,
        [Frame::bare(UPDATE, RST, 1, 0)]
    );
    let error = first.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    second.write_all(b"lives").await.unwrap();
    assert_eq!(session.peer.frames().await, [Frame::data(0, 3, b"lives")]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_opened_with_a_larger_window() {
    let mut session = Accepting::start(settings());
    session.peer.send(&header(UPDATE, SYN, 1, 10)).await;
    let mut stream = session.next().await;
    stream.write_all(&vec![1; window()]).await.unwrap();
    stream.write_all(&[2; 11]).await.unwrap();
    let received = session.peer.frames().await;
    let sent: usize = received.iter().map(|frame| frame.payload.len()).sum();
    assert_eq!(sent, window() + 10);
}

#[tokio::test(start_paused = true)]
async fn octets_of_no_stream_are_thrown_away_as_they_come() {
    let mut session = Accepting::start(settings());
    // Almost 4 GiB are announced; nothing is set aside for them.
    session.peer.send(&header(DATA, 0, 99, 5_000_000)).await;
    for _ in 0..500 {
        session.peer.send(&[1; 10_000]).await;
        assert!(session.memory() < 1_000);
    }
    let _stream = session.open(1).await;
}

#[tokio::test(start_paused = true)]
async fn one_stream_too_many_is_reset_and_there_is_room_again_later() {
    let settings = Settings {
        streams_max: 2,
        ..settings()
    };
    let mut session = Accepting::start(settings);
    let first = session.open(1).await;
    let mut second = session.open(3).await;
    session.peer.send(&data(SYN, 5, b"request")).await;
    session.peer.send(&data(0, 5, b"more of it")).await;
    assert_eq!(
        session.peer.frames().await,
        [Frame::bare(UPDATE, RST, 5, 0)]
    );
    second.write_all(b"lives").await.unwrap();
    assert_eq!(session.peer.frames().await, [Frame::data(0, 3, b"lives")]);
    drop(first);
    assert_eq!(
        session.peer.frames().await,
        [Frame::bare(UPDATE, RST, 1, 0)]
    );
    let _third = session.open(7).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_only_accepts_cannot_open_streams() {
    let mut session = Opening::start();
    session.peer.send(&data(SYN, 2, b"request")).await;
    assert_eq!(
        session.peer.frames().await,
        [Frame::bare(UPDATE, RST, 2, 0)]
    );
    assert!(!session.opener.is_closed());
}

/// Octets that a session takes from a peer which repeats itself and never reads, and what ended it.
async fn flood(
    session: &mut Accepting,
    mut make: impl FnMut(u32) -> Vec<u8>,
) -> (usize, SessionEnd) {
    let mut taken = 0;
    for round in 0..100_000 {
        let octets = make(round);
        let write = session.peer.0.write_all(&octets);
        match tokio::time::timeout(Duration::from_secs(1), write).await {
            Ok(written) => written.unwrap(),
            Err(_) => break,
        }
        taken += octets.len();
    }
    (taken, (&mut session.end).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_pings_and_never_listens_is_not_read_on_and_given_up() {
    let mut session = Accepting::start_over(settings(), 1_024);
    let (taken, end) = flood(&mut session, |round| header(PING, SYN, 0, round)).await;
    assert!(taken < 64 * 1_024, "{taken}");
    assert!(session.memory() < 64 * 1_024);
    assert!(matches!(end, SessionEnd::Silent(_)), "{end}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_opens_streams_and_never_listens_is_not_read_on_and_given_up() {
    let mut session = Accepting::start_over(settings(), 1_024);
    let open = |round| header(UPDATE, SYN, 2 * round + 1, 0);
    let (taken, end) = flood(&mut session, open).await;
    assert!(taken < 64 * 1_024, "{taken}");
    assert!(session.streams() <= 100);
    assert!(matches!(end, SessionEnd::Silent(_)), "{end}");
}

#[tokio::test(start_paused = true)]
async fn streams_opened_and_reset_in_turn_do_not_pile_up() {
    let mut session = Accepting::start_over(settings(), 1_024);
    // Every stream is dropped as soon as it comes.
    session.opened.close();
    for round in 0..10_000 {
        let number = 2 * round + 1;
        let mut octets = header(UPDATE, SYN, number, 0);
        octets.extend(header(UPDATE, RST, number, 0));
        session.peer.send(&octets).await;
        assert!(session.streams() <= 100);
        assert!(session.memory() < 64 * 1_024);
        let _ = session.peer.octets().await;
    }
    assert_eq!(session.peer.frames().await, []);
    assert_eq!(session.streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_number_used_over_and_over_does_not_pile_up() {
    // Answers cannot be written at all, while the same stream is opened and reset.
    let mut state = State::new(Side::Accepting { streams_max: 10 });
    let mut receiver = crate::rpc::yamux::receive::Receiver::new();
    let mut opened = Vec::new();
    for _ in 0..10_000 {
        let mut octets = header(UPDATE, SYN, 1, 0);
        octets.extend(header(UPDATE, RST, 1, 0));
        receiver.feed(&octets, &mut state, &mut opened).unwrap();
        for number in opened.drain(..) {
            state.release(number);
        }
        assert!(state.memory() < 8_192);
        drop(state.take_wakes());
    }
}

#[tokio::test(start_paused = true)]
async fn octets_that_nobody_reads_are_bounded_over_all_streams() {
    let settings = Settings {
        unread_octets_max: 100_000,
        ..settings()
    };
    let overflows = settings.overflows.clone();
    let mut session = Accepting::start(settings);
    let mut first = session.open(1).await;
    let mut second = session.open(3).await;
    session.peer.send(&data(0, 1, &vec![1; 60_000])).await;
    session.peer.send(&data(0, 3, &vec![3; 40_000])).await;
    assert_eq!(session.peer.frames().await, []);
    // One octet more voids the stream that it is of, and frees what that stream had.
    session.peer.send(&data(0, 3, &[3])).await;
    assert_eq!(
        session.peer.frames().await,
        [Frame::bare(UPDATE, RST, 3, 0)]
    );
    second.read_u8().await.unwrap_err();
    assert_eq!(overflows.get(), 1);
    // The other one goes on, with the room of both.
    session.peer.send(&data(0, 1, &vec![1; 40_000])).await;
    let mut octets = vec![0; 100_000];
    first.read_exact(&mut octets).await.unwrap();
    assert!(octets.iter().all(|octet| *octet == 1));
    assert_eq!(session.shared.with(|state| state.unread()), 0);
}

#[tokio::test(start_paused = true)]
async fn octets_that_the_peer_does_not_take_are_few_for_each_of_many_streams() {
    let mut session = Accepting::start(settings());
    let mut streams = Vec::new();
    for number in (1..200).step_by(2) {
        let mut stream = session.open(number).await;
        // The peer reads a window of each and allows no more.
        stream.write_all(&vec![1; 262_144]).await.unwrap();
        stream.flush().await.unwrap();
        session.peer.frames().await;
        streams.push(stream);
    }
    let window = vec![2; 262_144];
    for stream in &mut streams {
        let more = tokio::time::timeout(Duration::from_millis(1), stream.write_all(&window));
        more.await.unwrap_err();
    }
    let memory = session.memory();
    assert!(memory < 2 * ((2 << 20) + 100 * 4_096), "{memory}");
    // Each still goes on once it may.
    for (stream, number) in streams.iter_mut().zip((1..200).step_by(2)) {
        session.peer.send(&header(UPDATE, 0, number, 262_144)).await;
        stream.flush().await.unwrap();
        session.peer.frames().await;
        stream.write_all(&[3; 4_096]).await.unwrap();
    }
}

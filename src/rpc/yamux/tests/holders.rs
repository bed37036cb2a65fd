//! What holders of streams do, and what their peers see of it.

use super::*;
use crate::clock;
use crate::rpc::yamux::{WINDOW, serve};

#[tokio::test(start_paused = true)]
async fn after_the_peer_has_finished_the_answer_still_goes_out() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    session.peer.send(&data(FIN, 1, b"request")).await;
    let mut request = Vec::new();
    stream.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"request");
    stream.write_all(b"answer").await.unwrap();
    stream.shutdown().await.unwrap();
    let expected = [Frame::data(0, 1, b"answer"), Frame::bare(UPDATE, FIN, 1, 0)];
    assert_eq!(session.peer.frames().await, expected);
    drop(stream);
    // Both have finished: nothing more is said, and nothing kept.
    assert_eq!(session.peer.frames().await, []);
    assert_eq!(session.streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_unfinished_is_reset() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    session.peer.send(&data(0, 1, b"request")).await;
    stream.read_u8().await.unwrap();
    drop(stream);
    assert_eq!(
        session.peer.frames().await,
        [Frame::bare(UPDATE, RST, 1, 0)]
    );
    assert_eq!((session.streams(), session.memory() < 1_000), (0, true));
    // What was on its way is no harm.
    session.peer.send(&data(0, 1, b"more")).await;
    session.peer.send(&header(UPDATE, FIN, 1, 0)).await;
    assert_eq!(session.peer.frames().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_only_we_have_finished_is_kept_until_the_peer_has_too() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    stream.write_all(b"error").await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    // A reset would take the answer from a peer that has not read it yet.
    let expected = [Frame::data(0, 1, b"error"), Frame::bare(UPDATE, FIN, 1, 0)];
    assert_eq!(session.peer.frames().await, expected);
    assert_eq!(session.streams(), 1);
    session.peer.send(&header(UPDATE, FIN, 1, 0)).await;
    assert_eq!(session.peer.frames().await, []);
    assert_eq!(session.streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_peer_still_sends_on_a_finished_stream_is_thrown_away_until_it_would_wait() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    session.peer.send(&data(0, 1, b"unread")).await;
    stream.shutdown().await.unwrap();
    drop(stream);
    // A reset now might keep the peer from reading what we said before.
    session.peer.send(&data(0, 1, b"more")).await;
    let expected = [Frame::bare(UPDATE, FIN, 1, 0)];
    assert_eq!(session.peer.frames().await, expected);
    assert_eq!((session.streams(), session.memory() < 1_000), (1, true));
    let rest = usize::try_from(WINDOW).unwrap() - 10;
    session.peer.send(&data(0, 1, &vec![1; rest])).await;
    let expected = [Frame::bare(UPDATE, RST, 1, 0)];
    assert_eq!(session.peer.frames().await, expected);
    assert_eq!(session.streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_octets_of_a_peer_can_be_its_end_too() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    stream.shutdown().await.unwrap();
    drop(stream);
    session.peer.send(&data(FIN, 1, b"last")).await;
    let expected = [Frame::bare(UPDATE, FIN, 1, 0)];
    assert_eq!(session.peer.frames().await, expected);
    assert_eq!(session.streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn octets_after_the_end_reset_the_stream() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    let mut other = session.open(3).await;
    session.peer.send(&data(FIN, 1, b"last")).await;
    session.peer.send(&data(0, 1, b"more")).await;
    let expected = [Frame::bare(UPDATE, RST, 1, 0)];
    assert_eq!(session.peer.frames().await, expected);
    stream.read_u8().await.unwrap_err();
    other.write_all(b"lives").await.unwrap();
    assert_eq!(session.peer.frames().await, [Frame::data(0, 3, b"lives")]);
}

#[tokio::test(start_paused = true)]
async fn peers_that_never_finish_do_not_use_streams_up() {
    let mut session = Accepting::start(settings());
    for number in 0..1_000 {
        let mut stream = session.open(2 * number + 1).await;
        stream.shutdown().await.unwrap();
        drop(stream);
        let received = session.peer.frames().await;
        assert_eq!(received[0], Frame::bare(UPDATE, FIN, 2 * number + 1, 0));
        assert_eq!(received.len(), if number < 256 { 1 } else { 2 });
    }
    assert_eq!(session.streams(), 256);
}

#[tokio::test(start_paused = true)]
async fn a_reset_by_the_peer_is_heard_by_all_who_wait() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    let (first, second) = (stream.broken(), stream.broken());
    session.peer.send(&data(0, 1, b"request")).await;
    session.peer.send(&header(UPDATE, FIN, 1, 0)).await;
    let early = tokio::time::timeout(Duration::from_secs(1), stream.broken());
    early.await.unwrap_err();
    session.peer.send(&header(UPDATE, RST, 1, 0)).await;
    tokio::join!(first, second);
    stream.broken().await;
    let error = stream.write_all(b"answer").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(error.to_string(), "connection reset");
    drop(stream);
    assert_eq!(session.peer.frames().await, []);
    assert_eq!(session.streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_breaks_all_streams() {
    let mut session = Accepting::start(settings());
    let mut first = session.open(1).await;
    let second = session.open(3).await;
    session.peer.send(&data(0, 1, b"request")).await;
    drop(session.peer);
    assert!(matches!(session.end.await.unwrap(), SessionEnd::Closed));
    first.broken().await;
    second.broken().await;
    let mut request = Vec::new();
    let error = first.read_to_end(&mut request).await.unwrap_err();
    assert_eq!(
        (request.as_slice(), error.to_string()),
        (&b"request"[..], "EOF".to_owned())
    );
    first.write_all(b"answer").await.unwrap_err();
    first.shutdown().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn dropping_a_session_breaks_its_streams() {
    let (ours, peers) = duplex(1_024);
    let mut peer = Peer(peers);
    peer.send(&header(UPDATE, SYN, 1, 0)).await;
    let (sender, mut opened) = mpsc::channel(1);
    let serving = serve(ours, settings(), move |stream| {
        sender.try_send(stream).unwrap();
    });
    let timeout = tokio::time::timeout(Duration::from_secs(1), serving);
    assert!(timeout.await.is_err(), "it runs until it is dropped");
    opened.recv().await.unwrap().broken().await;
}

#[tokio::test(start_paused = true)]
async fn the_window_is_opened_again_by_reading_and_not_by_receiving() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    let half = usize::try_from(WINDOW / 2).unwrap();
    session.peer.send(&data(0, 1, &vec![1; 2 * half])).await;
    assert_eq!(session.peer.frames().await, []);
    let mut octets = vec![0; half - 1];
    stream.read_exact(&mut octets).await.unwrap();
    assert_eq!(session.peer.frames().await, []);
    stream.read_u8().await.unwrap();
    let expected = [Frame::bare(UPDATE, 0, 1, WINDOW / 2)];
    assert_eq!(session.peer.frames().await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_answer_longer_than_the_window_waits_for_the_peer() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    let mut other = session.open(3).await;
    let tasks = Tasks::new();
    tasks.spawn(async move {
        stream.write_all(&vec![1; 400_000]).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let sent = |frames: &[Frame]| frames.iter().map(|f| f.payload.len()).sum::<usize>();
    let received = session.peer.frames().await;
    assert_eq!(sent(&received), usize::try_from(WINDOW).unwrap());
    // The stream that waits holds nobody up.
    other.write_all(b"other").await.unwrap();
    assert_eq!(session.peer.frames().await, [Frame::data(0, 3, b"other")]);
    session.peer.send(&header(UPDATE, 0, 1, 200_000)).await;
    let received = session.peer.frames().await;
    assert_eq!(sent(&received), 400_000 - usize::try_from(WINDOW).unwrap());
    assert_eq!(received.last(), Some(&Frame::bare(UPDATE, FIN, 1, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_announced_with_its_first_octets() {
    let mut session = Opening::start();
    let mut stream = session.opener.open().unwrap();
    let _unused = session.opener.open().unwrap();
    assert_eq!(session.peer.frames().await, []);
    stream.write_all(b"request").await.unwrap();
    assert_eq!(
        session.peer.frames().await,
        [Frame::data(SYN, 1, b"request")]
    );
    session.peer.send(&header(UPDATE, ACK, 1, 0)).await;
    session.peer.send(&data(0, 1, b"answer")).await;
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
    stream.write_all(b"another").await.unwrap();
    assert_eq!(session.peer.frames().await, [Frame::data(0, 1, b"another")]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_never_announced_ends_without_a_word() {
    // Servers of the reference would end the session.
    let mut session = Opening::start();
    drop(session.opener.open().unwrap());
    let mut stream = session.opener.open().unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(stream);
    assert_eq!(session.peer.frames().await, []);
    let mut third = session.opener.open().unwrap();
    third.write_all(b"request").await.unwrap();
    assert_eq!(
        session.peer.frames().await,
        [Frame::data(SYN, 5, b"request")]
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_go_away_open_streams_go_on_and_no_more_are_opened() {
    let mut session = Opening::start();
    let mut stream = session.opener.open().unwrap();
    stream.write_all(b"request").await.unwrap();
    session.peer.send(&header(GO_AWAY, 0, 0, 0)).await;
    session.peer.send(&data(ACK, 1, b"answer")).await;
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(session.opener.is_closed());
    session.opener.open().unwrap_err();
    stream.write_all(b"more").await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_last_opener_and_stream() {
    let Opening {
        mut peer,
        opener,
        _tasks,
    } = Opening::start();
    let mut stream = opener.clone().open().unwrap();
    drop(opener);
    stream.write_all(b"request").await.unwrap();
    assert_eq!(peer.frames().await, [Frame::data(SYN, 1, b"request")]);
    stream.write_all(b"last").await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    // Everything was sent before.
    let expected = [Frame::data(0, 1, b"last"), Frame::bare(UPDATE, FIN, 1, 0)];
    assert_eq!(peer.last_frames().await, expected);
}

#[tokio::test(start_paused = true)]
async fn numbers_that_are_used_up_end_in_an_error() {
    let mut state = State::new(Side::Opening);
    let mut last = 0;
    for _ in 0..10 {
        last = state.open().unwrap();
    }
    assert_eq!(last, 19);
    state.skip_to(u32::MAX);
    assert_eq!(state.open().unwrap(), u32::MAX);
    state.open().unwrap_err();
    assert!(state.is_closed());
}

#[tokio::test(start_paused = true)]
async fn shutting_down_ends_as_soon_as_it_is_said() {
    let started = clock::now();
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    let before = started.elapsed();
    // In a task of its own, which nothing else wakes.
    let (done, shut) = oneshot::channel();
    let tasks = Tasks::new();
    tasks.spawn(async move {
        stream.shutdown().await.unwrap();
        done.send(()).unwrap();
    });
    shut.await.unwrap();
    assert_eq!(started.elapsed(), before);
}

#[tokio::test(start_paused = true)]
async fn streams_take_turns() {
    let mut session = Accepting::start(settings());
    let mut first = session.open(1).await;
    let mut second = session.open(3).await;
    // Both are taken before the connection is.
    first.write_all(&vec![1; 50_000]).await.unwrap();
    second.write_all(&vec![1; 50_000]).await.unwrap();
    let received = session.peer.frames().await;
    let turns: Vec<u32> = received.iter().map(|frame| frame.stream).collect();
    assert_eq!(turns, [1, 3, 1, 3, 1, 3, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_have_no_buffers() {
    let (ours, peers) = duplex(1 << 20);
    let mut peer = Peer(peers);
    let side = Side::Accepting { streams_max: 10 };
    let shared = Arc::new(Shared::new(State::new(side)));
    let mut driver = Driver::new(ours, settings(), shared);
    peer.send(&data(SYN, 1, b"request")).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let run = driver.run(|stream| streams.push(stream));
        let timeout = tokio::time::timeout(Duration::from_secs(1), run);
        assert!(timeout.await.is_err(), "the session goes on");
        streams[0].write_all(&vec![1; 50_000]).await.unwrap();
    }
    let sent: usize = peer.frames().await.iter().map(|f| f.payload.len()).sum();
    assert_eq!((sent, driver.memory()), (50_000, 0));
}

#[tokio::test(start_paused = true)]
async fn idle_streams_have_no_buffers() {
    let settings = Settings {
        streams_max: 10_000,
        ..settings()
    };
    let mut session = Accepting::start(settings);
    let mut streams = Vec::new();
    for number in 0..10_000 {
        session
            .peer
            .send(&data(SYN, 2 * number + 1, b"request"))
            .await;
        let mut stream = session.next().await;
        let mut request = [0; 7];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(b"answer").await.unwrap();
        stream.flush().await.unwrap();
        streams.push(stream);
        if number % 1_000 == 0 {
            let _ = session.peer.octets().await;
        }
    }
    let _ = session.peer.octets().await;
    assert_eq!(session.streams(), 10_000);
    assert!(session.memory() < 1_000, "{}", session.memory());
    let entry = std::mem::size_of::<crate::rpc::yamux::entry::Entry>();
    assert!(entry <= 192, "{entry}");
}

//! Pings, and peers that fall silent.

use super::*;
use crate::clock;

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_stays() {
    let started = clock::now();
    let mut session = Accepting::start(settings());
    let _stream = session.open(1).await;
    for token in 0..100 {
        let mut octets = [0; 12];
        session.peer.0.read_exact(&mut octets).await.unwrap();
        assert_eq!(frames(&octets), [Frame::bare(PING, SYN, 0, token)]);
        assert_eq!(started.elapsed().as_secs(), 30 * (u64::from(token) + 1));
        // Late, but in time.
        tokio::time::sleep(Duration::from_millis(9_900)).await;
        session.peer.send(&header(PING, ACK, 0, token)).await;
    }
    assert!(session.end.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_a_ping_is_given_up() {
    // A peer that says something, though nobody asked for it, lives until the next ping.
    for (answer, end_secs) in [(None, 40), (Some(7), 70)] {
        let started = clock::now();
        let mut session = Accepting::start(settings());
        let stream = session.open(1).await;
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(session.peer.frames().await, [Frame::bare(PING, SYN, 0, 0)]);
        if let Some(token) = answer {
            session.peer.send(&header(PING, ACK, 0, token)).await;
        }
        let end = session.end.await.unwrap();
        assert!(matches!(end, SessionEnd::Silent(_)), "{end}");
        assert_eq!(started.elapsed().as_secs(), end_secs);
        stream.broken().await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_ping_has_its_own_time_to_be_answered() {
    let settings = Settings {
        ping_interval: Duration::from_secs(4),
        ..settings()
    };
    let started = clock::now();
    let mut session = Accepting::start(settings);
    let mut octets = [0; 12];
    session.peer.0.read_exact(&mut octets).await.unwrap();
    session.peer.send(&header(PING, ACK, 0, 0)).await;
    session.peer.0.read_exact(&mut octets).await.unwrap();
    // Asked at 8 s; what was asked at 4 s has been answered.
    tokio::time::sleep(Duration::from_secs(9)).await;
    session.peer.send(&header(PING, ACK, 0, 1)).await;
    // The next ones were not sent while this was due, and come at 20 s.
    session.peer.0.read_exact(&mut octets).await.unwrap();
    assert_eq!(frames(&octets), [Frame::bare(PING, SYN, 0, 2)]);
    assert_eq!(started.elapsed().as_secs(), 20);
    assert!(session.end.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_octets_is_given_up() {
    let started = clock::now();
    let mut session = Accepting::start_over(settings(), 1_024);
    let mut stream = session.open(1).await;
    stream.write_all(&[1; 10_000]).await.unwrap();
    let end = session.end.await.unwrap();
    assert!(matches!(end, SessionEnd::Silent(_)), "{end}");
    assert_eq!(started.elapsed().as_secs(), 10);
    stream.write_all(&[1]).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_is_not_a_silent_one() {
    let settings = Settings {
        ping_interval: Duration::from_secs(3_600),
        ..settings()
    };
    let mut session = Accepting::start_over(settings, 1_024);
    let mut stream = session.open(1).await;
    stream.write_all(&[1; 10_000]).await.unwrap();
    let (mut received, mut part) = (0, [0; 1_024]);
    while received < 10_012 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        received += session.peer.0.read(&mut part).await.unwrap();
    }
    assert!(session.end.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_stalls_does_not_hold_up_reading() {
    let mut session = Accepting::start_over(settings(), 1_024);
    let mut writing = session.open(1).await;
    let mut reading = session.open(3).await;
    writing.write_all(&[1; 10_000]).await.unwrap();
    // The peer does not read, and is heard all the same.
    for round in 0..100_u8 {
        session.peer.send(&data(0, 3, &[round; 500])).await;
        let mut octets = [0; 500];
        reading.read_exact(&mut octets).await.unwrap();
        assert_eq!(octets, [round; 500]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_heard_need_not_answer_pings() {
    let mut session = Accepting::start(settings());
    let mut stream = session.open(1).await;
    for _ in 0..60 {
        session.peer.send(&data(0, 1, b"busy")).await;
        let mut octets = [0; 4];
        stream.read_exact(&mut octets).await.unwrap();
        tokio::time::sleep(Duration::from_secs(9)).await;
    }
    assert!(session.end.try_recv().is_err());
}

//! Snapshots of which one side hears no more while the other is there: in time that stands still.

use tokio::io::DuplexStream;

use super::hostile::piped;
use super::*;
use crate::clock;
use crate::raft::network::frame::{FRAME_OCTETS_MAX, FrameReader};
use crate::raft::network::message::{self, Numbered, Octets, Request, Response};
use crate::raft::network::{link::Link, send};

/// Longest wait for one part of a snapshot, on either side.
const PART: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

/// Says something and waits for the answer.
async fn ask(connection: &mut DuplexStream, number: u64, body: Request) -> Response {
    let mut octets = Vec::new();
    message::put(&mut octets, &Numbered { number, body }).unwrap();
    connection.write_all(&octets).await.unwrap();
    let frame = FrameReader::new(connection, FRAME_OCTETS_MAX).next().await;
    let answer: Numbered<Response> = message::read(&frame.unwrap().unwrap()).unwrap();
    assert_eq!(answer.number, number);
    answer.body
}

fn part() -> Request {
    Request::SnapshotPart(Octets(Bytes::from_static(b"part")))
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_does_not_go_on_is_thrown_away_and_the_next_one_is_taken() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = piped(&world, Purpose::Snapshot).await;
    let begun = ask(&mut connection, 1, Request::SnapshotBegin).await;
    assert!(matches!(begun, Response::SnapshotPart), "{begun:?}");
    for number in 2..5 {
        tokio::time::sleep(PART.saturating_sub(SECOND)).await;
        let kept = ask(&mut connection, number, part()).await;
        assert!(matches!(kept, Response::SnapshotPart), "{kept:?}");
    }
    // That its sender is there does not count.
    for number in 5..15 {
        tokio::time::sleep(PART / 10).await;
        let there = ask(&mut connection, number, Request::Ping).await;
        assert!(matches!(there, Response::Pong), "{there:?}");
    }
    tokio::time::sleep(SECOND).await;
    let refused = ask(&mut connection, 15, part()).await;
    let Response::Failed(text) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(text, "a part before the beginning");
    let begun = ask(&mut connection, 16, Request::SnapshotBegin).await;
    assert!(matches!(begun, Response::SnapshotPart), "{begun:?}");
}

/// A server that says that it is there, and of a snapshot no more than that it may begin.
async fn speechless(connection: DuplexStream) {
    let (reading, mut writing) = tokio::io::split(connection);
    let mut reading = FrameReader::new(reading, FRAME_OCTETS_MAX);
    while let Ok(Some(frame)) = reading.next().await {
        let Numbered { number, body } = message::read::<Numbered<Request>>(&frame).unwrap();
        let body = match body {
            Request::Ping => Response::Pong,
            Request::SnapshotBegin => Response::SnapshotPart,
            _ => continue,
        };
        let mut octets = Vec::new();
        message::put(&mut octets, &Numbered { number, body }).unwrap();
        writing.write_all(&octets).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_keep_a_part_in_time_is_not_waited_for() {
    let tasks = Tasks::new();
    let (ours, theirs) = tokio::io::duplex(4 << 20);
    tasks.spawn(speechless(theirs));
    let (reading, writing) = tokio::io::split(Box::new(ours) as Box<dyn crate::rpc::Octets>);
    let reading = FrameReader::new(reading, FRAME_OCTETS_MAX);
    let counts = Counts::of(&Metrics::new());
    let link = Link::start(reading, writing, Purpose::Snapshot, &counts, &tasks);
    for octets in [1_000, 5_000_000] {
        let snapshot = Snapshot {
            meta: meta(),
            snapshot: Image::Memory(vec![1; octets].into()),
        };
        let start = clock::now();
        let sent = send::send_over(&link, vote(1), snapshot);
        let sent = tokio::time::timeout(10 * PART, sent).await;
        let error = sent.expect("it gives up").unwrap_err().to_string();
        assert!(error.contains("not kept in time"), "{error}");
        let took = start.elapsed();
        assert!((PART..PART + SECOND).contains(&took), "{took:?}");
    }
    assert!(link.is_open(), "the server is there");
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_alone_hold_no_place_however_they_come() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = piped(&world, Purpose::Signs).await;
    let ping = |number| {
        let mut octets = Vec::new();
        let body = Request::Ping;
        message::put(&mut octets, &Numbered { number, body }).unwrap();
        octets
    };
    let start = clock::now();
    // A part of the next one always follows: no pause is between two.
    let mut rest = ping(1);
    for number in 2_u64.. {
        let next = ping(number);
        let (begin, end) = next.split_at(3);
        rest.extend_from_slice(begin);
        let sent = connection.write_all(&rest).await;
        if sent.is_err() || start.elapsed() > 100 * SECOND {
            break;
        }
        rest = end.to_vec();
        tokio::time::sleep(SECOND).await;
    }
    let took = start.elapsed();
    assert!((10 * SECOND..13 * SECOND).contains(&took), "{took:?}");
}

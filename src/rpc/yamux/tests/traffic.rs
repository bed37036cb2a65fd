//! Two of our sessions with each other.

use proptest::prelude::*;
use tokio::io::{ReadHalf, WriteHalf, split};

use super::*;
use crate::rpc::yamux::serve;

/// A pair of sessions over a connection that holds so many octets; each stream that one opens comes
/// out of the other.
struct Pair {
    opener: Opener,
    opened: mpsc::Receiver<Stream>,
    tasks: Tasks,
}

impl Pair {
    fn start(connection_octets: usize) -> Self {
        let (near, far) = duplex(connection_octets);
        let tasks = Tasks::new();
        let (sender, opened) = mpsc::channel(1_000);
        tasks.spawn(async move {
            let accept = move |stream| sender.try_send(stream).unwrap();
            let settings = Settings {
                streams_max: 1_000,
                ..settings()
            };
            let _ = serve(far, settings, accept).await;
        });
        Self {
            opener: Opener::start(near, settings(), &tasks),
            opened,
            tasks,
        }
    }

    /// A stream, from both ends.
    async fn open(&mut self) -> (Stream, Stream) {
        let mut near = self.opener.open().unwrap();
        near.write_all(b"!").await.unwrap();
        let mut far = self.opened.recv().await.unwrap();
        far.read_u8().await.unwrap();
        (near, far)
    }
}

/// Octets that differ by stream and place.
fn octets(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at * 31 + at / 251 + seed * 17) % 256).unwrap())
        .collect()
}

/// Writes `octets` in pieces and finishes.
async fn write_all(mut half: WriteHalf<Stream>, octets: Vec<u8>, piece: usize) {
    for piece in octets.chunks(piece) {
        half.write_all(piece).await.unwrap();
    }
    half.shutdown().await.unwrap();
}

/// Reads to the end, in pieces.
async fn read_all(mut half: ReadHalf<Stream>, piece: usize) -> Vec<u8> {
    let (mut octets, mut part) = (Vec::new(), vec![0; piece]);
    loop {
        match half.read(&mut part).await.unwrap() {
            0 => return octets,
            length => octets.extend(&part[..length]),
        }
    }
}

/// Sends `length` octets both ways on each stream at once, beside streams that nobody reads.
async fn exchange(connection_octets: usize, lengths: &[usize], piece: usize, unread: usize) {
    let mut pair = Pair::start(connection_octets);
    let mut kept = Vec::new();
    for _ in 0..unread {
        let (mut near, far) = pair.open().await;
        pair.tasks.spawn(async move {
            // Stops at the window.
            let _ = near.write_all(&vec![9; 1_000_000]).await;
        });
        kept.push(far);
    }
    let mut readers = Vec::new();
    for (seed, length) in lengths.iter().enumerate() {
        let (near, far) = pair.open().await;
        for (stream, seed) in [(near, 2 * seed), (far, 2 * seed + 1)] {
            let (read, write) = split(stream);
            pair.tasks
                .spawn(write_all(write, octets(seed, *length), piece));
            let (result, reader) = oneshot::channel();
            pair.tasks.spawn(async move {
                let _ = result.send(read_all(read, piece).await);
            });
            // What one end sends, the other one receives.
            readers.push((seed ^ 1, *length, reader));
        }
    }
    for (seed, length, reader) in readers {
        assert!(
            reader.await.unwrap() == octets(seed, length),
            "{seed} {length}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn all_octets_arrive_in_their_order(
        connection_octets in 1_usize..40_000,
        lengths in prop::collection::vec(0_usize..40_000, 1..12),
        piece in 1_usize..30_000,
    ) {
        // Octet by octet, a long way would take long.
        let slow = connection_octets.min(piece) < 64;
        let limit = if slow { 400 } else { 40_000 };
        let lengths: Vec<usize> = lengths.into_iter().map(|length| length.min(limit)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(exchange(connection_octets, &lengths, piece, 0));
    }
}

#[tokio::test]
async fn streams_that_nobody_reads_hold_nobody_up() {
    exchange(10_000, &[1_000_000, 500_000, 0, 1], 16_384, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_work_from_many_threads_at_once() {
    exchange(10_000, &[50_000; 100], 3_000, 3).await;
}

#[tokio::test(start_paused = true)]
async fn two_sessions_keep_each_other_alive() {
    let mut pair = Pair::start(1_024);
    let (mut near, mut far) = pair.open().await;
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    near.write_all(b"still here").await.unwrap();
    let mut heard = [0; 10];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
    assert!(!pair.opener.is_closed());
}

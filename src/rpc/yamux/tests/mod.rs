//! Sessions, seen from their connection and their streams. Time stands still, and goes on when
//! nobody has anything to do.

mod holders;
mod random;
mod time;
mod traffic;
mod transcripts;
mod violations;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};

use super::driver::Driver;
use super::shared::Shared;
use super::state::{Side, State};
use super::{Opener, SessionEnd, Settings, Stream};
use crate::task::Tasks;

const DATA: u8 = 0;
const UPDATE: u8 = 1;
const PING: u8 = 2;
const GO_AWAY: u8 = 3;
const SYN: u16 = 1;
const ACK: u16 = 2;
const FIN: u16 = 4;
const RST: u16 = 8;

fn settings() -> Settings {
    Settings {
        streams_max: 100,
        unread_octets_max: 64 << 20,
        overflows: Counter::default(),
        ping_interval: Duration::from_secs(30),
        answer_timeout: Duration::from_secs(10),
    }
}

/// A header.
fn header(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut octets = vec![0, kind];
    octets.extend(flags.to_be_bytes());
    octets.extend(stream.to_be_bytes());
    octets.extend(length.to_be_bytes());
    octets
}

/// A frame with octets of a stream.
fn data(flags: u16, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut octets = header(DATA, flags, stream, length);
    octets.extend(payload);
    octets
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u16,
    stream: u32,
    length: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// A frame without octets of a stream.
    fn bare(kind: u8, flags: u16, stream: u32, length: u32) -> Self {
        Self {
            kind,
            flags,
            stream,
            length,
            payload: Vec::new(),
        }
    }

    /// A frame with octets of a stream.
    fn data(flags: u16, stream: u32, payload: &[u8]) -> Self {
        Self {
            payload: payload.to_vec(),
            ..Self::bare(DATA, flags, stream, u32::try_from(payload.len()).unwrap())
        }
    }
}

/// Takes complete frames apart.
fn frames(mut octets: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !octets.is_empty() {
        let word = |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().unwrap());
        let mut frame = Frame::bare(
            octets[1],
            u16::from_be_bytes([octets[2], octets[3]]),
            word(4),
            word(8),
        );
        let end = match frame.kind {
            DATA => 12 + usize::try_from(frame.length).unwrap(),
            _ => 12,
        };
        frame.payload = octets[12..end].to_vec();
        octets = &octets[end..];
        frames.push(frame);
    }
    frames
}

/// The other end of a connection, frame by frame.
struct Peer(DuplexStream);

impl Peer {
    async fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).await.unwrap();
    }

    /// The octets that come before all is quiet, and whether the connection was closed then.
    async fn octets(&mut self) -> (Vec<u8>, bool) {
        let (mut octets, mut part) = (Vec::new(), [0; 4_096]);
        loop {
            // Passes at once if nobody else has anything to do.
            let quiet = Duration::from_millis(1);
            match tokio::time::timeout(quiet, self.0.read(&mut part)).await {
                Err(_) => return (octets, false),
                Ok(read) => match read.unwrap() {
                    0 => return (octets, true),
                    length => octets.extend(&part[..length]),
                },
            }
        }
    }

    /// The frames that come before all is quiet, on a connection that stays open.
    async fn frames(&mut self) -> Vec<Frame> {
        let (octets, closed) = self.octets().await;
        assert!(!closed, "the session has ended");
        frames(&octets)
    }

    /// The last frames of a connection.
    async fn last_frames(&mut self) -> Vec<Frame> {
        let (octets, closed) = self.octets().await;
        assert!(closed, "the session goes on");
        frames(&octets)
    }
}

/// An accepting session and its peer.
struct Accepting {
    peer: Peer,
    shared: Arc<Shared>,
    opened: mpsc::Receiver<Stream>,
    end: oneshot::Receiver<SessionEnd>,
    _tasks: Tasks,
}

impl Accepting {
    fn start(settings: Settings) -> Self {
        Self::start_over(settings, 1 << 20)
    }

    /// Over a connection that holds so many octets in each direction.
    fn start_over(settings: Settings, connection_octets: usize) -> Self {
        let (ours, peers) = duplex(connection_octets);
        let (sender, opened) = mpsc::channel(10_000);
        let (ended, end) = oneshot::channel();
        let streams_max = settings.streams_max;
        let state = settings.bound(State::new(Side::Accepting { streams_max }));
        let shared = Arc::new(Shared::new(state));
        let mut driver = Driver::new(ours, settings, Arc::clone(&shared));
        let tasks = Tasks::new();
        tasks.spawn(async move {
            let accept = |stream| {
                // Without a receiver the stream is dropped.
                let _ = sender.try_send(stream);
            };
            let _ = ended.send(driver.run(accept).await);
        });
        Self {
            peer: Peer(peers),
            shared,
            opened,
            end,
            _tasks: tasks,
        }
    }

    async fn next(&mut self) -> Stream {
        self.opened.recv().await.unwrap()
    }

    /// Opens a stream as agents do.
    async fn open(&mut self, number: u32) -> Stream {
        self.peer.send(&header(UPDATE, SYN, number, 0)).await;
        let stream = self.next().await;
        assert_eq!(
            self.peer.frames().await,
            [Frame::bare(UPDATE, ACK, number, 0)]
        );
        stream
    }

    fn streams(&self) -> usize {
        self.shared.with(|state| state.streams())
    }

    fn memory(&self) -> usize {
        self.shared.with(|state| state.memory())
    }
}

/// An opening session and its peer.
struct Opening {
    peer: Peer,
    opener: Opener,
    _tasks: Tasks,
}

impl Opening {
    fn start() -> Self {
        let (ours, peers) = duplex(1 << 20);
        let tasks = Tasks::new();
        Self {
            peer: Peer(peers),
            opener: Opener::start(ours, settings(), &tasks),
            _tasks: tasks,
        }
    }
}

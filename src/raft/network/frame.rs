//! Messages on a connection: each is its length (four octets, the greatest first) and as many
//! octets.
//!
//! **Invariant**: memory is taken for octets that have come, never for those that a length announces.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::rpc::{Held, Share, Shares};

/// Longest message, in octets: the greatest command and what goes around it.
pub(super) const FRAME_OCTETS_MAX: usize = (8 << 20) + (64 << 10);
/// Longest first message of a connection, in octets.
pub(super) const HELLO_OCTETS_MAX: usize = 1 << 10;
/// Longest time for a whole message that is short.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets a second of a longer one, at least.
const OCTETS_PER_SECOND_MIN: u64 = 128 << 10;
/// Octets of the length.
const PREFIX: usize = 4;
/// Room for octets that may come, at least.
const ROOM: usize = 16 << 10;
/// Unit of the memory that all strangers share. What is shorter is not counted.
const CHUNK: usize = 64 << 10;
/// Octets of messages that are being received of those who are no servers of the cluster.
const STRANGERS_OCTETS_MAX: usize = 256 << 20;
/// Of which one address may have so many.
const STRANGERS_OF_ADDRESS_OCTETS_MAX: usize = 64 << 20;

/// The memory for messages that strangers have begun.
pub(super) fn strangers_room() -> Shares {
    Shares::new(
        STRANGERS_OCTETS_MAX / CHUNK,
        STRANGERS_OF_ADDRESS_OCTETS_MAX / CHUNK,
    )
}

/// Reads messages; what has come of one is kept while nobody waits.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    inner: R,
    kept: BytesMut,
    octets_max: usize,
    /// When the message that is being received began; moved on while nobody could read.
    began: Option<Instant>,
    /// Where memory for messages is taken from; `None` for those who may have what they need.
    share: Option<Share>,
    held: Option<Held>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads messages of at most this many octets.
    pub(super) fn new(inner: R, octets_max: usize) -> Self {
        Self {
            inner,
            kept: BytesMut::new(),
            octets_max,
            began: None,
            share: None,
            held: None,
        }
    }

    /// Reads messages of at most this many octets from now on.
    pub(super) fn set_max(&mut self, octets_max: usize) {
        self.octets_max = octets_max;
    }

    /// Takes memory for messages from that share from now on.
    pub(super) fn set_share(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// For so long nobody has read, which is not the sender's fault.
    pub(super) fn pause(&mut self, paused: Duration) {
        self.began = self.began.map(|began| began + paused);
    }

    /// Whether a message has begun, but not ended.
    pub(super) fn is_amid(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The next message; `None` where the connection ends between two. It may be dropped and called
    /// again: nothing is lost.
    ///
    /// # Errors
    /// `InvalidData`: one is longer than it may be. `TimedOut`: it is not there in time.
    /// `QuotaExceeded`: strangers have begun too many. Others: the connection broke.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.take()? {
                (self.began, self.held) = (None, None);
                return Ok(Some(frame));
            }
            self.hold()?;
            let deadline = self.deadline();
            self.kept.reserve(ROOM);
            let read = self.inner.read_buf(&mut self.kept);
            let read = match deadline {
                Some(deadline) => timeout_at(deadline, read).await?,
                None => read.await,
            };
            if read? == 0 {
                let whole = self.kept.is_empty().then_some(None);
                return whole.ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// When the message that has begun must be there; one time for all of it, however it trickles.
    fn deadline(&mut self) -> Option<Instant> {
        if !self.is_amid() {
            return None;
        }
        let began = *self.began.get_or_insert_with(clock::now);
        let announced = self.kept.first_chunk::<PREFIX>();
        let announced = announced.map_or(0, |prefix| u32::from_be_bytes(*prefix));
        let slack = Duration::from_secs(u64::from(announced) / OCTETS_PER_SECOND_MIN);
        Some(began + MESSAGE_TIMEOUT + slack)
    }

    /// Takes room for what has come.
    fn hold(&mut self) -> io::Result<()> {
        let Some(share) = &self.share else {
            return Ok(());
        };
        let held = self.held.as_ref().map_or(0, Held::units);
        let more = (self.kept.len() / CHUNK).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let full = || io::Error::new(io::ErrorKind::QuotaExceeded, "too many octets of strangers");
        let more = share.try_hold(more).ok_or_else(full)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }

    /// A message that has come as a whole.
    fn take(&mut self) -> io::Result<Option<Bytes>> {
        let Some(prefix) = self.kept.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes(*prefix);
        let octets = usize::try_from(announced).unwrap_or(usize::MAX);
        if octets > self.octets_max {
            return Err(too_long(octets, self.octets_max));
        }
        if self.kept.len() - PREFIX < octets {
            return Ok(None);
        }
        let mut frame = self.kept.split_to(PREFIX + octets);
        Ok(Some(frame.split_off(PREFIX).freeze()))
    }
}

/// Writes a message behind what is in `out`; `write` adds its octets.
///
/// # Errors
/// `write` fails, or the message is too long. `out` is as before then.
pub(super) fn put(
    out: &mut Vec<u8>,
    write: impl FnOnce(Vec<u8>) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let start = out.len();
    let mut whole = std::mem::take(out);
    whole.extend_from_slice(&[0; PREFIX]);
    let mut written = write(whole)?;
    let octets = written.len() - start - PREFIX;
    let fits = u32::try_from(octets)
        .ok()
        .filter(|_| octets <= FRAME_OCTETS_MAX);
    let Some(length) = fits else {
        written.truncate(start);
        *out = written;
        return Err(too_long(octets, FRAME_OCTETS_MAX));
    };
    written[start..start + PREFIX].copy_from_slice(&length.to_be_bytes());
    *out = written;
    Ok(())
}

fn too_long(octets: usize, limit: usize) -> io::Error {
    let text = format!("a message of {octets} octets, at most {limit} are allowed");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn reader(octets: &[u8]) -> FrameReader<&[u8]> {
        FrameReader::new(octets, 10)
    }

    #[tokio::test]
    async fn messages_come_one_by_one() {
        let mut out = Vec::new();
        for body in [&b"one"[..], b"", b"three"] {
            let write = |mut out: Vec<u8>| {
                out.extend_from_slice(body);
                Ok(out)
            };
            put(&mut out, write).unwrap();
        }
        let mut reader = reader(&out);
        assert_eq!(reader.next().await.unwrap().unwrap(), "one");
        assert_eq!(reader.next().await.unwrap().unwrap(), "");
        assert!(reader.is_amid());
        assert_eq!(reader.next().await.unwrap().unwrap(), "three");
        assert!(!reader.is_amid());
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_huge_length_takes_no_memory() {
        let mut huge = FrameReader::new(&[0xff, 0xff, 0xff, 0xff][..], FRAME_OCTETS_MAX);
        let error = huge.next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let announced = u32::try_from(FRAME_OCTETS_MAX).unwrap().to_be_bytes();
        let mut greatest = FrameReader::new(&announced[..], FRAME_OCTETS_MAX);
        let error = greatest.next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(greatest.kept.capacity() <= 4 * ROOM);
    }

    /// How long a message is waited for of which a few octets come each second.
    async fn trickled(announced: u32, each: usize) -> (Duration, io::Error) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut reader = FrameReader::new(ours, FRAME_OCTETS_MAX);
        let trickle = async move {
            theirs.write_all(&announced.to_be_bytes()).await.unwrap();
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                theirs.write_all(&vec![0; each]).await.unwrap();
            }
        };
        let start = clock::now();
        tokio::select! {
            read = reader.next() => (start.elapsed(), read.unwrap_err()),
            () = trickle => unreachable!("it does not end"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_trickles_is_given_up() {
        let (took, error) = trickled(1_000, 1).await;
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(took < Duration::from_secs(12), "{took:?}");
        // A long one has longer.
        let (took, error) = trickled(8 << 20, 1_000).await;
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((60..80).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test]
    async fn strangers_share_what_messages_take() {
        let room = Shares::new(4, 2);
        let address = |last: u8| std::net::IpAddr::from([127, 0, 0, last]);
        let begin = async |last: u8, chunks: usize| {
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            let mut reader = FrameReader::new(ours, FRAME_OCTETS_MAX);
            reader.set_share(room.of(address(last)));
            theirs
                .write_all(&(1_u32 << 20).to_be_bytes())
                .await
                .unwrap();
            theirs.write_all(&vec![0; chunks * CHUNK]).await.unwrap();
            let pause = tokio::time::sleep(Duration::from_millis(1));
            let refused = tokio::select! {
                biased;
                read = reader.next() => Some(read.unwrap_err().kind()),
                () = pause => None,
            };
            (reader, theirs, refused)
        };
        let first = begin(1, 2).await;
        assert_eq!(first.2, None);
        assert_eq!(begin(1, 1).await.2, Some(io::ErrorKind::QuotaExceeded));
        assert_eq!(begin(2, 2).await.2, None);
        drop(first);
        assert_eq!(begin(1, 2).await.2, None);
    }

    #[test]
    fn a_message_that_is_too_long_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        let write = |mut out: Vec<u8>| {
            out.resize(out.len() + FRAME_OCTETS_MAX + 1, 0);
            Ok(out)
        };
        assert!(put(&mut out, write).is_err());
        assert_eq!(out, b"before");
    }
}

//! Messages on a connection: each is its length (four octets, the greatest first) and as many
//! octets.
//!
//! **Invariant**: memory is taken for octets that have come, never for those that a length announces.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Longest message, in octets: the greatest command and what goes around it.
pub(super) const FRAME_OCTETS_MAX: usize = (8 << 20) + (64 << 10);
/// Longest first message of a connection, in octets.
pub(super) const HELLO_OCTETS_MAX: usize = 1 << 10;
/// Longest wait for more of a message that has begun.
const REST_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of the length.
const PREFIX: usize = 4;
/// Room for octets that may come, at least.
const ROOM: usize = 16 << 10;

/// Reads messages; what has come of one is kept while nobody waits.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    inner: R,
    kept: BytesMut,
    octets_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads messages of at most this many octets.
    pub(super) fn new(inner: R, octets_max: usize) -> Self {
        Self {
            inner,
            kept: BytesMut::new(),
            octets_max,
        }
    }

    /// Reads messages of at most this many octets from now on.
    pub(super) fn set_max(&mut self, octets_max: usize) {
        self.octets_max = octets_max;
    }

    /// Whether a message has begun, but not ended.
    pub(super) fn is_amid(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The next message; `None` where the connection ends between two. It may be dropped and called
    /// again: nothing is lost.
    ///
    /// # Errors
    /// `InvalidData`: one is longer than it may be. Others: the connection broke.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            self.kept.reserve(ROOM);
            let amid = self.is_amid();
            let read = self.inner.read_buf(&mut self.kept);
            let read = if amid {
                timeout(REST_TIMEOUT, read).await?
            } else {
                read.await
            };
            if read? == 0 {
                let whole = self.kept.is_empty().then_some(None);
                return whole.ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
            }
        }
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

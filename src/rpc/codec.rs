//! Calls as octets: a header and a body, both values that say themselves where they end.
//!
//! Source: recorded calls between agents and servers; the headers are maps with sorted keys.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::shares::{Held, Share, Shares};
use crate::msgpack::{ReadError, Reader, Scanner, Writer};

/// Octets that are read at a time.
const CHUNK: usize = 4_096;

/// Longest wait for memory. Many who each hold a part and wait for more end one another's wait so.
const MEMORY_WAIT: Duration = Duration::from_secs(10);

/// Longest header: a method's name and a number.
pub(super) const HEADER_OCTETS_MAX: usize = 1_024;

/// Header of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestHeader {
    pub(super) method: String,
    pub(super) sequence: u64,
}

/// Header of a response; no error is success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResponseHeader {
    pub(super) error: String,
    pub(super) method: String,
    pub(super) sequence: u64,
}

/// Why nothing more can be read from a stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The connection or stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no value, or a longer one than is allowed.
    #[error("codec.decoder: {0}")]
    Value(#[from] ReadError),
    /// Too much is being read at the moment. A retry is safe.
    #[error("rpc: no memory for another large request within {MEMORY_WAIT:?}, try again")]
    Memory,
}

/// Reads values that follow each other on a stream, and keeps what comes after them.
///
/// **Invariant**: the buffer holds no more than the value that is being read and one further read;
/// it is given back while nothing is being read, so that idle streams cost nothing. What it holds
/// beyond one read is taken from a budget that all streams share.
#[derive(Debug)]
pub(super) struct Incoming<S> {
    stream: S,
    buffer: Vec<u8>,
    /// Where the value that is being read ends, as far as is known.
    scanner: Option<Scanner>,
    budget: Budget,
    held: Option<Held>,
}

/// Memory for values that are being read, shared by many streams; in units of [`CHUNK`].
#[derive(Clone, Debug)]
pub(super) struct Budget(Share);

impl Budget {
    /// At most `octets` at a time.
    pub(super) fn new(octets: usize) -> Self {
        Self(Share::new(octets / CHUNK))
    }

    /// For many addresses: at most `octets` at a time, and `of_source` of one address.
    pub(super) fn shares(octets: usize, of_source: usize) -> Shares {
        Shares::new(octets / CHUNK, of_source / CHUNK)
    }

    /// The share of one address.
    pub(super) fn of(share: Share) -> Self {
        Self(share)
    }

    /// Whether so many octets are free.
    #[cfg(test)]
    pub(super) fn has(&self, octets: usize) -> bool {
        self.0.try_hold(octets / CHUNK).is_some()
    }
}

impl<S: AsyncRead + Unpin> Incoming<S> {
    /// Reads from `stream`.
    pub(super) fn new(stream: S, budget: Budget) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            scanner: None,
            budget,
            held: None,
        }
    }

    /// The next value, at most `octets_max` long; `None` at the end of the stream between two
    /// values. Cancel-safe: called again with the same limit it goes on.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is useless then.
    pub(super) async fn value(&mut self, octets_max: usize) -> Result<Option<Vec<u8>>, FrameError> {
        loop {
            let scanner = self
                .scanner
                .get_or_insert_with(|| Scanner::new(1, octets_max));
            if let Some(octets) = scanner.advance(&self.buffer)? {
                self.scanner = None;
                let rest = self.buffer.split_off(octets.min(self.buffer.len()));
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            if !self.fill().await? {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Whether octets of a next value are here already.
    pub(super) fn is_begun(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Waits until the first octet of a next value is here; whether there is one. Cancel-safe.
    ///
    /// # Errors
    /// The stream failed.
    pub(super) async fn begin(&mut self) -> io::Result<bool> {
        if self.is_begun() {
            return Ok(true);
        }
        self.buffer = Vec::new();
        self.held = None;
        Ok(self.read().await? > 0)
    }

    /// Waits for the end of the stream while nothing is asked of it; reads ahead for that, but not
    /// more than one further read. Waits for ever once so much is here. Cancel-safe.
    ///
    /// # Errors
    /// The stream failed.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        while self.buffer.len() < CHUNK {
            if self.read().await? == 0 {
                return Ok(());
            }
        }
        std::future::pending().await
    }

    /// The stream, for writing.
    pub(super) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Reads once, after there is room for it; whether anything came.
    async fn fill(&mut self) -> Result<bool, FrameError> {
        let held = self.held.as_ref().map_or(0, Held::units);
        // The first read is free, so that small requests do not wait for large ones.
        if self.buffer.len() >= (held + 1) * CHUNK {
            let one = tokio::time::timeout(MEMORY_WAIT, self.budget.0.hold_one());
            let one = one.await.map_err(|_| FrameError::Memory)?;
            match &mut self.held {
                Some(held) => held.merge(one),
                None => self.held = Some(one),
            }
        }
        Ok(self.read().await? > 0)
    }

    /// Reads once; how many octets came.
    async fn read(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    /// The octets lie on the stack until there are some, so that nobody waits with a buffer.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; CHUNK];
        let mut octets = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut octets))?;
        self.buffer.extend_from_slice(octets.filled());
        Poll::Ready(Ok(octets.filled().len()))
    }
}

impl RequestHeader {
    /// Reads one from its octets.
    ///
    /// # Errors
    /// The value is no header.
    pub(super) fn read(octets: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(octets);
        let (mut method, mut sequence) = (String::new(), 0);
        for _ in 0..reader.map()? {
            match reader.octets()? {
                b"ServiceMethod" => method = String::from_utf8_lossy(reader.octets()?).into_owned(),
                b"Seq" => sequence = reader.unsigned()?,
                _ => reader.skip()?,
            }
        }
        Ok(Self { method, sequence })
    }

    /// Appends its octets.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::old(out);
        writer.map(2);
        writer.text("Seq");
        writer.unsigned(self.sequence);
        writer.text("ServiceMethod");
        writer.text(&self.method);
    }
}

impl ResponseHeader {
    /// Reads one from its octets.
    ///
    /// # Errors
    /// The value is no header.
    pub(super) fn read(octets: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(octets);
        let mut header = Self::default();
        for _ in 0..reader.map()? {
            match reader.octets()? {
                b"Error" => header.error = String::from_utf8_lossy(reader.octets()?).into_owned(),
                b"Seq" => header.sequence = reader.unsigned()?,
                b"ServiceMethod" => {
                    header.method = String::from_utf8_lossy(reader.octets()?).into_owned();
                }
                _ => reader.skip()?,
            }
        }
        Ok(header)
    }

    /// Appends its octets.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::old(out);
        writer.map(3);
        writer.text("Error");
        writer.text(&self.error);
        writer.text("Seq");
        writer.unsigned(self.sequence);
        writer.text("ServiceMethod");
        writer.text(&self.method);
    }
}

#[cfg(test)]
mod tests;

//! Owns the connection of a session: one future reads, writes and watches the time.
//!
//! **Invariant**: octets that cannot be written do not hold up reading, save that a peer which asks
//! and does not listen is not read any more.
//! **Invariant**: an idle session has no buffer.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{Flags, Header, Kind, Violation};
use super::receive::Receiver;
use super::shared::Shared;
use super::state::{Output, State};
use super::timers::{Due, Timers};
use super::{SessionEnd, Settings, Stream};

/// Octets of one read. They lie on the stack, so that sessions need no buffer to wait with.
const READ_OCTETS: usize = 16_384;
/// Reads and writes before other tasks have their turn.
const ROUNDS_MAX: usize = 32;
/// The reason of a go-away for a peer that broke the protocol.
const GO_AWAY_PROTOCOL: u32 = 1;

/// A session's connection. Dropping it ends the session.
pub(super) struct Driver<C> {
    connection: C,
    shared: Arc<Shared>,
    receiver: Receiver,
    /// Frames being written, and how much of them was.
    out: Vec<u8>,
    written: usize,
    /// The connection may still hold octets back.
    unflushed: bool,
    /// Too many answers are due to read on.
    crowded: bool,
    timers: Timers,
    answer_timeout: Duration,
    /// Streams that the peer has opened with the last read.
    opened: Vec<u32>,
}

impl<C> Driver<C>
where
    C: AsyncRead + AsyncWrite + Send + Unpin,
{
    /// Drives `connection` for the streams in `shared`.
    pub(super) fn new(connection: C, settings: Settings, shared: Arc<Shared>) -> Self {
        Self {
            connection,
            shared,
            receiver: Receiver::new(),
            out: Vec::new(),
            written: 0,
            unflushed: false,
            crowded: false,
            answer_timeout: settings.answer_timeout,
            timers: Timers::new(settings),
            opened: Vec::new(),
        }
    }

    /// Runs the session to its end; gives what the peer opens to `accept`.
    pub(super) async fn run(&mut self, mut accept: impl FnMut(Stream) + Send) -> SessionEnd {
        let end = poll_fn(|cx| self.poll(cx, &mut accept)).await;
        self.shared.with(State::end);
        match end {
            Ended::Done => {
                // Inside TLS this says that nothing was cut off.
                let shutdown = poll_fn(|cx| Pin::new(&mut self.connection).poll_shutdown(cx));
                // The session is over whether or not the peer hears of it.
                let _ = tokio::time::timeout(self.answer_timeout, shutdown).await;
                SessionEnd::Closed
            }
            Ended::By(SessionEnd::Protocol(reason)) => {
                poll_fn(|cx| {
                    self.say_go_away(cx);
                    Poll::Ready(())
                })
                .await;
                SessionEnd::Protocol(reason)
            }
            Ended::By(end) => end,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, accept: &mut impl FnMut(Stream)) -> Poll<Ended> {
        for _ in 0..ROUNDS_MAX {
            let moved = match self.poll_round(cx, accept) {
                Ok(moved) => moved,
                Err(end) => return Poll::Ready(end),
            };
            if !moved {
                return self.poll_timers(cx);
            }
        }
        cx.waker().wake_by_ref();
        self.poll_timers(cx)
    }

    /// Writes and reads once. Whether either got on.
    fn poll_round(
        &mut self,
        cx: &mut Context<'_>,
        accept: &mut impl FnMut(Stream),
    ) -> Result<bool, Ended> {
        let written = self.poll_write(cx)?;
        let read = self.poll_read(cx, accept)?;
        Ok(written || read)
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let shared = &self.shared;
        loop {
            let owes_answer = || shared.with(|state| state.owes_answer());
            match self.timers.poll(cx, owes_answer) {
                Poll::Pending => return Poll::Pending,
                // Wakes this task, if there was nothing to write.
                Poll::Ready(Due::Ask) => shared.with(State::ask),
                Poll::Ready(Due::Silent) => {
                    return Poll::Ready(SessionEnd::Silent(self.answer_timeout).into());
                }
            }
        }
    }

    /// Writes what is due. Whether octets were taken.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        if self.out.is_empty() {
            let out = &mut self.out;
            let output = self.shared.with(|state| {
                let output = state.fill(out, cx.waker());
                self.crowded = state.is_crowded();
                output
            });
            if output == Output::Nothing || output == Output::Done {
                self.out = Vec::new();
            }
            if output == Output::Done && !self.unflushed {
                return Err(Ended::Done);
            }
        }
        let mut moved = self.poll_write_out(cx)?;
        if self.out.is_empty() && self.unflushed {
            match Pin::new(&mut self.connection).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed.map_err(SessionEnd::Io)?;
                    self.unflushed = false;
                    self.timers.moved();
                    moved = true;
                }
                Poll::Pending => self.timers.stalled(),
            }
        }
        Ok(moved)
    }

    /// Writes frames until all are or the connection takes no more. Whether it took any.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        let mut moved = false;
        while let Some(rest) = self.out.get(self.written..)
            && !rest.is_empty()
        {
            match Pin::new(&mut self.connection).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => {
                    return Err(io::Error::from(io::ErrorKind::WriteZero).into());
                }
                Poll::Ready(Ok(octets)) => {
                    self.written = self.written.saturating_add(octets);
                    self.unflushed = true;
                    self.timers.moved();
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => {
                    self.timers.stalled();
                    return Ok(moved);
                }
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(moved)
    }

    /// Reads once. Whether octets came.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        accept: &mut impl FnMut(Stream),
    ) -> Result<bool, SessionEnd> {
        if self.crowded {
            // Writing goes on first, and wakes this task.
            return Ok(false);
        }
        let mut space = [const { MaybeUninit::uninit() }; READ_OCTETS];
        let mut octets = ReadBuf::uninit(&mut space);
        match Pin::new(&mut self.connection).poll_read(cx, &mut octets) {
            Poll::Pending => return Ok(false),
            Poll::Ready(read) => read?,
        }
        if octets.filled().is_empty() {
            return Err(SessionEnd::Closed);
        }
        let fed = self.shared.with(|state| {
            state.driver_awake();
            state.hear();
            let fed = self.receiver.feed(octets.filled(), state, &mut self.opened);
            self.crowded = state.is_crowded();
            fed
        });
        for number in std::mem::take(&mut self.opened) {
            accept(Stream::new(Arc::clone(&self.shared), number));
        }
        fed.map_err(|Violation(reason)| SessionEnd::Protocol(reason))?;
        Ok(true)
    }

    /// Tells the peer that it broke the protocol, if the connection takes that at once.
    fn say_go_away(&mut self, cx: &mut Context<'_>) {
        let header = Header {
            kind: Kind::GoAway,
            flags: Flags::NONE,
            stream: 0,
            length: GO_AWAY_PROTOCOL,
        };
        header.write(&mut self.out);
        // The connection is closed whether or not the peer hears why.
        if self.poll_write_out(cx).is_ok() {
            let _ = Pin::new(&mut self.connection).poll_flush(cx);
        }
    }
}

#[cfg(test)]
impl<C> Driver<C> {
    /// Octets of memory that its buffers take.
    pub(super) fn memory(&self) -> usize {
        self.out.capacity() + self.opened.capacity()
    }
}

impl<C> Drop for Driver<C> {
    fn drop(&mut self) {
        self.shared.with(State::end);
    }
}

/// Why a driver stops.
enum Ended {
    /// Nobody can use the session any more.
    Done,
    By(SessionEnd),
}

impl From<SessionEnd> for Ended {
    fn from(end: SessionEnd) -> Self {
        Self::By(end)
    }
}

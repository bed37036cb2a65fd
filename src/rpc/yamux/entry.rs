//! What a session knows of one stream: its windows, its octets, how far each side has come.
//!
//! **Invariant**: octets that nobody has read, octets that the peer may still send, and octets that
//! were read but not yet allowed again are one window together.

use std::io;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;
use tokio_util::sync::CancellationToken;

use super::WINDOW;
use super::frame::{Flags, Header, Kind, Violation};
use super::octets::{Octets, Tally};
use super::shared::Wakes;

/// Octets of a stream that wait to be sent; whoever writes more waits.
const UNSENT_OCTETS_MAX: usize = 65_536;
/// The same while the streams of the session have [`UNSENT_OCTETS_MANY`] unsent together.
const UNSENT_OCTETS_MIN: usize = 4_096;
/// Octets that wait to be sent on all streams of a session, from which on each may add few.
const UNSENT_OCTETS_MANY: usize = 2 << 20;
/// Octets of one frame, so that streams take turns.
const FRAME_OCTETS_MAX: usize = 16_384;

/// How far the opening of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// Ours; the peer has not heard of it.
    Unsaid,
    /// The peer's; we owe the answer.
    Unanswered,
    /// Both know.
    Said,
}

/// How far our half has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// Finished once everything has been sent.
    Finishing,
    Finished,
}

/// Whether the stream is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    No,
    /// By us; the peer is still to be told.
    Due,
    Done,
}

/// What becomes of a stream that nobody holds any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// Nothing is left to do.
    Gone,
    /// The peer is to be told that it is void.
    Reset,
    /// We have finished; the peer has not, and may still read.
    Abandoned,
}

/// Counts of the octets of all streams of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    /// Octets that nobody has read.
    pub(super) received: Tally,
    /// Octets to send.
    pub(super) unsent: Tally,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// Octets that nobody has read.
    received: Octets,
    /// Octets to send.
    unsent: Octets,
    /// Octets that the peer may still send.
    credit: u32,
    /// Octets read that the peer has not been allowed again.
    consumed: u32,
    /// Octets that we may still send.
    window: u32,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Tells that the stream is void; made for who asks.
    broken: Option<CancellationToken>,
    opening: Opening,
    sending: Sending,
    reset: Reset,
    /// The peer sends no more.
    peer_finished: bool,
    /// Somebody has the stream.
    held: bool,
    /// It is in the queue of those that have something to send.
    pub(super) queued: bool,
}

impl Entry {
    fn new(opening: Opening, tallies: &Tallies) -> Self {
        Self {
            received: Octets::new(tallies.received.clone()),
            unsent: Octets::new(tallies.unsent.clone()),
            credit: WINDOW,
            consumed: 0,
            window: WINDOW,
            reader: None,
            writer: None,
            broken: None,
            opening,
            sending: Sending::Open,
            reset: Reset::No,
            peer_finished: false,
            held: true,
            queued: false,
        }
    }

    /// A stream of ours, of which the peer hears with the first octets.
    pub(super) fn ours(tallies: &Tallies) -> Self {
        Self::new(Opening::Unsaid, tallies)
    }

    /// A stream that the peer has opened.
    pub(super) fn of_peer(tallies: &Tallies) -> Self {
        Self::new(Opening::Unanswered, tallies)
    }

    /// Whether somebody has the stream.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Whether nobody has the stream, and it only waits for the peer to finish.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.held && self.reset == Reset::No
    }

    /// Whether there is a frame to send.
    pub(super) fn has_output(&self) -> bool {
        match self.reset {
            Reset::Due => true,
            Reset::Done => false,
            Reset::No => {
                self.opening == Opening::Unanswered
                    || self.owes_window()
                    || (!self.unsent.is_empty() && self.window > 0)
                    || (self.unsent.is_empty() && self.sending == Sending::Finishing)
            }
        }
    }

    /// Whether so much was read that the peer is told.
    fn owes_window(&self) -> bool {
        self.held && self.consumed >= WINDOW / 2 && !self.peer_finished
    }

    /// Makes the stream void and frees its octets.
    fn void(&mut self, reset: Reset, wakes: &mut Wakes) {
        self.reset = reset;
        self.received.clear();
        self.unsent.clear();
        self.wake_all(wakes);
    }

    fn wake_all(&mut self, wakes: &mut Wakes) {
        wakes.wake(&mut self.reader);
        wakes.wake(&mut self.writer);
        wakes.cancel(&mut self.broken);
    }
}

/// What the peer does.
impl Entry {
    /// The peer announces octets. Whether they are to be kept.
    ///
    /// # Errors
    /// More than it may send.
    pub(super) fn announce(&mut self, length: u32, wakes: &mut Wakes) -> Result<bool, Violation> {
        if length == 0 || self.reset != Reset::No {
            return Ok(false);
        }
        if self.peer_finished {
            self.void(Reset::Due, wakes);
            return Ok(false);
        }
        let left = self.credit.checked_sub(length);
        self.credit = left.ok_or(Violation("octets beyond the window"))?;
        if !self.held && self.credit == 0 {
            // Nobody will read, so the peer would wait for ever to send more.
            self.void(Reset::Due, wakes);
        }
        Ok(self.reset == Reset::No)
    }

    /// Keeps octets that were announced, unless all streams together had more than `unread_max` that
    /// nobody has read: then the stream is void. Whether they were not too many.
    pub(super) fn deliver(&mut self, octets: &[u8], unread_max: usize, wakes: &mut Wakes) -> bool {
        if !self.held || self.reset != Reset::No {
            return true;
        }
        if self.received.len_of_all().saturating_add(octets.len()) > unread_max {
            self.void(Reset::Due, wakes);
            return false;
        }
        self.received.push(octets);
        wakes.wake(&mut self.reader);
        true
    }

    /// The peer allows `delta` octets more.
    pub(super) fn grant(&mut self, delta: u32, wakes: &mut Wakes) {
        match self.window.checked_add(delta) {
            Some(window) => self.window = window,
            None if self.reset == Reset::No => self.void(Reset::Due, wakes),
            None => {}
        }
    }

    /// The peer has finished. Whether nothing is left of the stream.
    pub(super) fn finish_peer(&mut self, wakes: &mut Wakes) -> bool {
        self.peer_finished = true;
        wakes.wake(&mut self.reader);
        !self.held && self.sending == Sending::Finished && self.reset != Reset::Due
    }

    /// The peer has reset the stream. Whether nothing is left of it.
    pub(super) fn reset_by_peer(&mut self, wakes: &mut Wakes) -> bool {
        self.void(Reset::Done, wakes);
        !self.held
    }

    /// The session has ended. What was received can still be read.
    pub(super) fn end(&mut self, wakes: &mut Wakes) {
        self.unsent.clear();
        self.wake_all(wakes);
    }
}

/// What the holder does.
impl Entry {
    /// Reads into `buf`; waits while there is nothing.
    pub(super) fn poll_read(
        &mut self,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
        ended: bool,
    ) -> Poll<io::Result<()>> {
        if self.reset != Reset::No {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !self.received.is_empty() {
            let taken = self
                .received
                .take(buf.remaining(), |part| buf.put_slice(part));
            // One window at most was received since the peer was last allowed more.
            let taken = u32::try_from(taken).unwrap_or(WINDOW);
            self.consumed = self.consumed.saturating_add(taken);
            return Poll::Ready(Ok(()));
        }
        if self.peer_finished {
            return Poll::Ready(Ok(()));
        }
        if ended {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF")));
        }
        park(&mut self.reader, cx);
        Poll::Pending
    }

    /// Takes octets to send; waits while too many have not been sent.
    pub(super) fn poll_write(
        &mut self,
        cx: &Context<'_>,
        octets: &[u8],
        ended: bool,
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.check_writable(ended) {
            return Poll::Ready(Err(error));
        }
        let unsent_max = if self.unsent.len_of_all() < UNSENT_OCTETS_MANY {
            UNSENT_OCTETS_MAX
        } else {
            // Some at least, so that each stream goes on when its own octets have left.
            UNSENT_OCTETS_MIN
        };
        let room = unsent_max.saturating_sub(self.unsent.len());
        if room == 0 && !octets.is_empty() {
            park(&mut self.writer, cx);
            return Poll::Pending;
        }
        let taken = octets.get(..room.min(octets.len())).unwrap_or_default();
        self.unsent.push(taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn check_writable(&self, ended: bool) -> io::Result<()> {
        if self.reset != Reset::No {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if ended {
            return Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "session shutdown",
            ));
        }
        if self.sending != Sending::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    /// Waits until everything has been given to the connection.
    pub(super) fn poll_flush(&mut self, cx: &Context<'_>, ended: bool) -> Poll<io::Result<()>> {
        if self.sending == Sending::Finished {
            return Poll::Ready(Ok(()));
        }
        if self.reset != Reset::No || ended {
            return Poll::Ready(self.check_writable(ended));
        }
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        park(&mut self.writer, cx);
        Poll::Pending
    }

    /// Finishes our half; waits until the peer is being told.
    pub(super) fn poll_shutdown(&mut self, cx: &Context<'_>, ended: bool) -> Poll<io::Result<()>> {
        match self.sending {
            Sending::Finished => return Poll::Ready(Ok(())),
            Sending::Open => {
                if let Err(error) = self.check_writable(ended) {
                    return Poll::Ready(Err(error));
                }
                if self.opening == Opening::Unsaid && self.unsent.is_empty() {
                    // The peer has not heard of it and need not: servers of the reference do not
                    // bear streams without octets.
                    self.sending = Sending::Finished;
                    self.peer_finished = true;
                    return Poll::Ready(Ok(()));
                }
                self.sending = Sending::Finishing;
            }
            Sending::Finishing if self.reset != Reset::No || ended => {
                let kind = io::ErrorKind::ConnectionReset;
                return Poll::Ready(Err(kind.into()));
            }
            Sending::Finishing => {}
        }
        park(&mut self.writer, cx);
        Poll::Pending
    }

    /// Cancelled once the stream is void, its session has ended, or nobody has it.
    pub(super) fn broken(&mut self, ended: bool) -> CancellationToken {
        if ended || self.reset != Reset::No {
            let token = CancellationToken::new();
            token.cancel();
            return token;
        }
        self.broken.get_or_insert_default().clone()
    }

    /// Nobody has the stream any more.
    pub(super) fn release(&mut self, wakes: &mut Wakes) -> Released {
        self.held = false;
        let finished = self.sending == Sending::Finished;
        match self.reset {
            Reset::Due => return Released::Reset,
            Reset::Done => return Released::Gone,
            Reset::No => {}
        }
        self.wake_all(wakes);
        if self.opening == Opening::Unsaid || (finished && self.peer_finished) {
            return Released::Gone;
        }
        if finished && self.credit > 0 {
            // A reset could overtake the peer's reading of what we have sent last.
            self.received.clear();
            return Released::Abandoned;
        }
        self.void(Reset::Due, wakes);
        Released::Reset
    }

    /// Gives up waiting for the peer to finish.
    pub(super) fn give_up(&mut self, wakes: &mut Wakes) {
        self.void(Reset::Due, wakes);
    }
}

/// What is sent.
impl Entry {
    /// Appends the frames that are due to `out`, with at most [`FRAME_OCTETS_MAX`] octets of the
    /// stream. Whether nothing is left of it.
    pub(super) fn fill(&mut self, stream: u32, out: &mut Vec<u8>, wakes: &mut Wakes) -> bool {
        match self.reset {
            Reset::Due => {
                self.reset = Reset::Done;
                if self.opening != Opening::Unsaid {
                    write_update(stream, Flags::RST, 0, out);
                }
                return !self.held;
            }
            Reset::Done => return !self.held,
            Reset::No => {}
        }
        self.fill_window(stream, out);
        self.fill_data(stream, out, wakes);
        if self.sending == Sending::Finishing && self.unsent.is_empty() {
            self.sending = Sending::Finished;
            write_update(stream, Flags::FIN, 0, out);
            wakes.wake(&mut self.writer);
        }
        false
    }

    /// Takes the stream, and allows what was read.
    fn fill_window(&mut self, stream: u32, out: &mut Vec<u8>) {
        if self.opening == Opening::Unanswered {
            self.opening = Opening::Said;
            write_update(stream, Flags::ACK, 0, out);
        }
        if self.owes_window() {
            let delta = std::mem::take(&mut self.consumed);
            self.credit = self.credit.saturating_add(delta);
            write_update(stream, Flags::NONE, delta, out);
        }
    }

    fn fill_data(&mut self, stream: u32, out: &mut Vec<u8>, wakes: &mut Wakes) {
        let window = usize::try_from(self.window).unwrap_or(usize::MAX);
        let octets = self.unsent.len().min(window).min(FRAME_OCTETS_MAX);
        let Ok(length) = u32::try_from(octets) else {
            return;
        };
        if length == 0 {
            return;
        }
        let flags = match self.opening {
            Opening::Unsaid => Flags::SYN,
            Opening::Unanswered | Opening::Said => Flags::NONE,
        };
        let header = Header {
            kind: Kind::Data,
            flags,
            stream,
            length,
        };
        header.write(out);
        self.opening = Opening::Said;
        self.window = self.window.saturating_sub(length);
        self.unsent.take(octets, |part| out.extend_from_slice(part));
        wakes.wake(&mut self.writer);
    }

    /// Octets of memory that the stream's own take.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.received.capacity() + self.unsent.capacity()
    }
}

fn write_update(stream: u32, flags: Flags, length: u32, out: &mut Vec<u8>) {
    let header = Header {
        kind: Kind::WindowUpdate,
        flags,
        stream,
        length,
    };
    header.write(out);
}

/// Leaves word of who waits.
fn park(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

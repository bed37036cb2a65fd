//! The protocol of a session, without I/O: what frames and holders of streams do to it, and which
//! frames are due.
//!
//! **Invariant**: a stream is in the table as long as somebody holds it or the peer is owed a frame
//! for it; beyond that only the last [`ABANDONED_MAX`] of which we have finished our half.
//! **Invariant**: octets of all streams that nobody has read are bounded together.
//! **Invariant**: what is due is bounded by the streams, and by what one read of the connection can
//! ask for beyond [`CONTROL_MAX`].

mod sending;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::task::{Context, Poll, Waker};

use prometheus_client::metrics::counter::Counter;
use tokio::io::ReadBuf;
use tokio_util::sync::CancellationToken;

use super::control::Control;
use super::entry::{Entry, Released, Tallies};
use super::frame::{Flags, Header, Kind, Violation};
use super::shared::Wakes;

/// Answers to pings and to streams that are not taken: with more due, nothing is read.
const CONTROL_MAX: usize = 64;
/// Streams that wait for nothing but the peer's end; of more, the oldest is reset.
const ABANDONED_MAX: usize = 256;
/// Tables shorter than this are not worth shrinking.
const SHRINK_MIN: usize = 64;

/// Who opens streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The peer: so many at a time.
    Accepting {
        /// Most of them; one more is reset.
        streams_max: usize,
    },
    /// We; what the peer opens is reset.
    Opening,
}

/// What follows the header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// The next header.
    Header,
    /// Octets that belong to a stream.
    Octets(Body),
}

/// Octets of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// Whose they are; `None`, they are not kept.
    pub(super) stream: Option<u32>,
    /// Octets to come.
    pub(super) left: u32,
    /// Whether the peer finishes the stream with them.
    pub(super) last: bool,
}

/// What there is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Frames were given.
    Some,
    /// Nothing at the moment.
    Nothing,
    /// Nothing any more: nobody can use the session.
    Done,
}

/// A session.
#[derive(Debug)]
pub(super) struct State {
    side: Side,
    /// Octets of all streams that nobody has read, at most.
    unread_max: usize,
    tallies: Tallies,
    /// Streams that were reset for want of room.
    overflows: Counter,
    streams: HashMap<u32, Entry>,
    /// Streams of which we only wait for the peer's end, oldest first.
    abandoned: VecDeque<u32>,
    /// Streams with something to send, in turn. May name some that are gone.
    ready: VecDeque<u32>,
    control: VecDeque<Control>,
    /// Streams that somebody holds.
    held: usize,
    /// The next stream of ours; `None` if there can be no more.
    next: Option<u32>,
    /// Somebody may open streams.
    openers: bool,
    /// Tokens of our pings.
    token: u32,
    /// The token of the ping that was not answered.
    asked: Option<u32>,
    ended: bool,
    /// Who owns the connection, if it has nothing to send.
    driver: Option<Waker>,
    wakes: Wakes,
}

impl State {
    /// A session without streams, of which each may fill its window.
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            unread_max: usize::MAX,
            tallies: Tallies::default(),
            overflows: Counter::default(),
            streams: HashMap::new(),
            abandoned: VecDeque::new(),
            ready: VecDeque::new(),
            control: VecDeque::new(),
            held: 0,
            next: Some(1),
            openers: true,
            token: 0,
            asked: None,
            ended: false,
            driver: None,
            wakes: Wakes::default(),
        }
    }

    /// Bounds the octets of all streams together that nobody has read; `overflows` counts the
    /// streams that are reset for it.
    pub(super) fn with_unread_max(mut self, octets: usize, overflows: Counter) -> Self {
        self.unread_max = octets;
        self.overflows = overflows;
        self
    }

    /// Who is to be woken for what was done.
    pub(super) fn take_wakes(&mut self) -> Wakes {
        std::mem::take(&mut self.wakes)
    }

    /// The session has ended: all streams are void, but what they received can still be read.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.next = None;
        for entry in self.streams.values_mut() {
            entry.end(&mut self.wakes);
        }
        self.streams.retain(|_, entry| entry.is_held());
        self.ready = VecDeque::new();
        self.control = VecDeque::new();
        self.abandoned = VecDeque::new();
    }

    /// Queues a stream if it has something to send, and wakes who sends it.
    fn enqueue(&mut self, stream: u32) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        if self.ended || entry.queued || !entry.has_output() {
            return;
        }
        entry.queued = true;
        if self.ready.len() >= 2 * self.streams.len() + SHRINK_MIN {
            // Mostly streams that are gone.
            let queued = self.streams.iter().filter(|(_, entry)| entry.queued);
            self.ready = queued.map(|(stream, _)| *stream).collect();
        } else {
            self.ready.push_back(stream);
        }
        self.wakes.wake(&mut self.driver);
    }

    fn remove(&mut self, stream: u32) {
        self.streams.remove(&stream);
        let few = self.streams.len() < self.streams.capacity() / 8;
        if few && self.streams.capacity() > SHRINK_MIN {
            self.streams.shrink_to(2 * self.streams.len());
        }
    }

    /// Forgets that a stream waits for the peer's end.
    fn recall(&mut self, stream: u32) {
        self.abandoned.retain(|other| *other != stream);
    }
}

/// What the peer does.
impl State {
    /// Takes the header of a frame. A stream that it opens is added to `opened`.
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub(super) fn handle(
        &mut self,
        header: Header,
        opened: &mut Vec<u32>,
    ) -> Result<Follows, Violation> {
        match header.kind {
            Kind::Ping if header.flags.has(Flags::SYN) => {
                self.control.push_back(Control::Answer(header.length));
            }
            Kind::Ping => {
                if header.flags.has(Flags::ACK) && self.asked == Some(header.length) {
                    self.asked = None;
                }
            }
            Kind::GoAway => self.next = None,
            Kind::Data | Kind::WindowUpdate => return self.handle_stream(header, opened),
        }
        Ok(Follows::Header)
    }

    fn handle_stream(
        &mut self,
        header: Header,
        opened: &mut Vec<u32>,
    ) -> Result<Follows, Violation> {
        if header.flags.has(Flags::SYN) {
            self.open_for_peer(header, opened)?;
        }
        let follows = match header.kind {
            Kind::Data => self.handle_data(header)?,
            _ => self.handle_update(header),
        };
        if header.flags.has(Flags::RST) {
            self.reset_by_peer(header.stream);
        } else if header.flags.has(Flags::FIN) && follows == Follows::Header {
            self.finish_by_peer(header.stream);
        }
        Ok(follows)
    }

    fn open_for_peer(&mut self, header: Header, opened: &mut Vec<u32>) -> Result<(), Violation> {
        let stream = header.stream;
        if stream == 0 {
            return Err(Violation("stream 0 opened"));
        }
        if self.streams.contains_key(&stream) {
            return Err(Violation("a stream opened twice"));
        }
        if header.flags.has(Flags::RST) {
            return Ok(());
        }
        let streams_max = match self.side {
            Side::Accepting { streams_max } => streams_max,
            Side::Opening => 0,
        };
        if self.streams.len().saturating_sub(self.abandoned.len()) >= streams_max {
            self.control.push_back(Control::Refuse(stream));
            return Ok(());
        }
        self.streams.insert(stream, Entry::of_peer(&self.tallies));
        self.held += 1;
        opened.push(stream);
        self.enqueue(stream);
        Ok(())
    }

    fn handle_data(&mut self, header: Header) -> Result<Follows, Violation> {
        let void = header.flags.has(Flags::RST);
        let (mut keep, mut recalled) = (false, false);
        if let Some(entry) = self.streams.get_mut(&header.stream)
            && !void
        {
            let abandoned = entry.is_abandoned();
            keep = entry.announce(header.length, &mut self.wakes)?;
            recalled = abandoned && !entry.is_abandoned();
        }
        if recalled {
            self.recall(header.stream);
        }
        self.enqueue(header.stream);
        if header.length == 0 {
            return Ok(Follows::Header);
        }
        Ok(Follows::Octets(Body {
            stream: keep.then_some(header.stream),
            left: header.length,
            last: header.flags.has(Flags::FIN) && !void,
        }))
    }

    fn handle_update(&mut self, header: Header) -> Follows {
        if let Some(entry) = self.streams.get_mut(&header.stream) {
            let abandoned = entry.is_abandoned();
            entry.grant(header.length, &mut self.wakes);
            if abandoned && !entry.is_abandoned() {
                self.recall(header.stream);
            }
            self.enqueue(header.stream);
        }
        Follows::Header
    }

    /// Keeps octets of a frame.
    pub(super) fn deliver(&mut self, stream: u32, octets: &[u8]) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            let fits = entry.deliver(octets, self.unread_max, &mut self.wakes);
            if !fits {
                self.overflows.inc();
                self.enqueue(stream);
            }
        }
    }

    /// The peer finishes a stream.
    pub(super) fn finish_by_peer(&mut self, stream: u32) {
        if let Some(entry) = self.streams.get_mut(&stream)
            && entry.finish_peer(&mut self.wakes)
        {
            self.recall(stream);
            self.remove(stream);
        }
    }

    fn reset_by_peer(&mut self, stream: u32) {
        if let Some(entry) = self.streams.get_mut(&stream)
            && entry.reset_by_peer(&mut self.wakes)
        {
            self.recall(stream);
            self.remove(stream);
        }
    }

    /// Whether so many answers are due that nothing is to be read.
    pub(super) fn is_crowded(&self) -> bool {
        self.control.len() >= CONTROL_MAX
    }
}

/// What holders of streams do.
impl State {
    /// Opens a stream.
    ///
    /// # Errors
    /// The session has ended, the peer takes no more, or all numbers were used.
    pub(super) fn open(&mut self) -> io::Result<u32> {
        let Some(stream) = self.next else {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "session shutdown",
            ));
        };
        self.next = stream.checked_add(2);
        self.streams.insert(stream, Entry::ours(&self.tallies));
        self.held += 1;
        Ok(stream)
    }

    /// Whether no more streams can be opened.
    pub(super) fn is_closed(&self) -> bool {
        self.next.is_none()
    }

    /// Nobody can open streams any more.
    pub(super) fn release_openers(&mut self) {
        self.openers = false;
        self.wakes.wake(&mut self.driver);
    }

    /// Does `act` with a stream that somebody holds, then queues what became due.
    fn hold<T>(
        &mut self,
        stream: u32,
        act: impl FnOnce(&mut Entry, bool) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let result = act(entry, self.ended);
        self.enqueue(stream);
        result
    }

    /// As [`Entry::poll_read`].
    pub(super) fn poll_read(
        &mut self,
        stream: u32,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.hold(stream, |entry, ended| entry.poll_read(cx, buf, ended))
    }

    /// As [`Entry::poll_write`].
    pub(super) fn poll_write(
        &mut self,
        stream: u32,
        cx: &Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.hold(stream, |entry, ended| entry.poll_write(cx, octets, ended))
    }

    /// As [`Entry::poll_flush`].
    pub(super) fn poll_flush(&mut self, stream: u32, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.hold(stream, |entry, ended| entry.poll_flush(cx, ended))
    }

    /// As [`Entry::poll_shutdown`].
    pub(super) fn poll_shutdown(&mut self, stream: u32, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.hold(stream, |entry, ended| entry.poll_shutdown(cx, ended))
    }

    /// As [`Entry::broken`].
    pub(super) fn broken(&mut self, stream: u32) -> CancellationToken {
        let entry = self.streams.get_mut(&stream);
        // Whoever asks holds it, so it is there.
        entry.map_or_else(CancellationToken::new, |entry| entry.broken(self.ended))
    }

    /// Nobody holds the stream any more.
    pub(super) fn release(&mut self, stream: u32) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        let released = entry.release(&mut self.wakes);
        self.held = self.held.saturating_sub(1);
        match released {
            Released::Reset if !self.ended => self.enqueue(stream),
            Released::Abandoned if !self.ended => self.abandon(stream),
            _ => self.remove(stream),
        }
        if self.held == 0 && !self.openers {
            self.wakes.wake(&mut self.driver);
        }
    }

    fn abandon(&mut self, stream: u32) {
        self.abandoned.push_back(stream);
        if self.abandoned.len() > ABANDONED_MAX
            && let Some(oldest) = self.abandoned.pop_front()
            && let Some(entry) = self.streams.get_mut(&oldest)
        {
            entry.give_up(&mut self.wakes);
            self.enqueue(oldest);
        }
    }
}

#[cfg(test)]
impl State {
    /// Octets of all streams that nobody has read.
    pub(super) fn unread(&self) -> usize {
        self.tallies.received.octets()
    }

    /// Goes on with this number.
    pub(super) fn skip_to(&mut self, number: u32) {
        self.next = Some(number);
    }

    /// Streams in the table.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Octets of memory that streams and queues take.
    pub(super) fn memory(&self) -> usize {
        let entries: usize = self.streams.values().map(Entry::memory).sum();
        entries + 8 * (self.ready.capacity() + self.control.capacity() + self.abandoned.capacity())
    }
}

//! Takes the octets of a connection apart, however they are cut.
//!
//! **Invariant**: nothing is kept but the part of one header; octets of streams go straight to
//! them, so that a length costs nothing before the octets come.

use super::frame::{HEADER_OCTETS, Header, Violation};
use super::state::{Body, Follows, State};

/// Where in a frame the connection is.
#[derive(Debug)]
enum Position {
    /// So many octets of a header were read.
    Header(usize),
    Body(Body),
}

/// What was read of the frame at hand.
#[derive(Debug)]
pub(super) struct Receiver {
    header: [u8; HEADER_OCTETS],
    position: Position,
}

impl Receiver {
    /// At the start of a frame.
    pub(super) fn new() -> Self {
        Self {
            header: [0; HEADER_OCTETS],
            position: Position::Header(0),
        }
    }

    /// Gives the octets that came to `state`. Streams that they open are added to `opened`.
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub(super) fn feed(
        &mut self,
        mut octets: &[u8],
        state: &mut State,
        opened: &mut Vec<u32>,
    ) -> Result<(), Violation> {
        while !octets.is_empty() {
            octets = match self.position {
                Position::Header(filled) => self.feed_header(filled, octets, state, opened)?,
                Position::Body(body) => self.feed_body(body, octets, state),
            };
        }
        Ok(())
    }

    fn feed_header<'a>(
        &mut self,
        filled: usize,
        octets: &'a [u8],
        state: &mut State,
        opened: &mut Vec<u32>,
    ) -> Result<&'a [u8], Violation> {
        let gap = self.header.get_mut(filled..).unwrap_or_default();
        let taken = gap.len().min(octets.len());
        let (octets, rest) = octets.split_at(taken);
        for (place, octet) in gap.iter_mut().zip(octets) {
            *place = *octet;
        }
        if filled + taken < HEADER_OCTETS {
            self.position = Position::Header(filled + taken);
            return Ok(rest);
        }
        self.position = match state.handle(Header::read(self.header)?, opened)? {
            Follows::Header => Position::Header(0),
            Follows::Octets(body) => Position::Body(body),
        };
        Ok(rest)
    }

    fn feed_body<'a>(&mut self, body: Body, octets: &'a [u8], state: &mut State) -> &'a [u8] {
        let left = usize::try_from(body.left).unwrap_or(usize::MAX);
        let (octets, rest) = octets.split_at(left.min(octets.len()));
        if let Some(stream) = body.stream {
            state.deliver(stream, octets);
        }
        let taken = u32::try_from(octets.len()).unwrap_or(body.left);
        let left = body.left.saturating_sub(taken);
        self.position = if left == 0 {
            if let (Some(stream), true) = (body.stream, body.last) {
                state.finish_by_peer(stream);
            }
            Position::Header(0)
        } else {
            Position::Body(Body { left, ..body })
        };
        rest
    }
}

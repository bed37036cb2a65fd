//! Frames of a session that belong to none of its streams.

use super::frame::{Flags, Header, Kind};

/// A frame of the session itself, or for a stream that it does not know.
#[derive(Debug)]
pub(super) enum Control {
    /// Whether the peer lives, with a token.
    Ask(u32),
    /// The peer's token, given back.
    Answer(u32),
    /// A stream that is not taken.
    Refuse(u32),
}

impl Control {
    /// Appends the frame to `out`.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let (kind, flags, stream, length) = match self {
            Self::Ask(token) => (Kind::Ping, Flags::SYN, 0, token),
            Self::Answer(token) => (Kind::Ping, Flags::ACK, 0, token),
            Self::Refuse(stream) => (Kind::WindowUpdate, Flags::RST, stream, 0),
        };
        let header = Header {
            kind,
            flags,
            stream,
            length,
        };
        header.write(out);
    }
}

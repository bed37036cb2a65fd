//! The header of a frame, 12 octets in network order: version, type, flags, stream, length.
//!
//! What the fields of a frame mean is for `state` to say.

/// Octets of a header.
pub(super) const HEADER_OCTETS: usize = 12;

/// The only version of the protocol.
const VERSION: u8 = 0;

/// How the peer broke the protocol. Its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) &'static str);

/// What a frame is for, which says what its length means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// So many octets of a stream follow.
    Data,
    /// So many octets more may be sent on a stream.
    WindowUpdate,
    /// A question whether the peer lives, or the answer; the length is a token to tell them by.
    Ping,
    /// No more streams are taken; the length says why.
    GoAway,
}

/// Flags of a frame. Unknown ones are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// No flag.
    pub(super) const NONE: Self = Self(0);
    /// Opens the stream; in a ping, asks.
    pub(super) const SYN: Self = Self(1);
    /// Takes the stream; in a ping, answers.
    pub(super) const ACK: Self = Self(2);
    /// The sender has finished the stream.
    pub(super) const FIN: Self = Self(4);
    /// The stream is void.
    pub(super) const RST: Self = Self(8);

    /// Whether `flag` is set.
    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    /// Stream; 0 is the session.
    pub(super) stream: u32,
    /// By kind: octets, octets, a token, a reason.
    pub(super) length: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// The version or the type is unknown.
    pub(super) fn read(octets: [u8; HEADER_OCTETS]) -> Result<Self, Violation> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = octets;
        if version != VERSION {
            return Err(Violation("unknown version"));
        }
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::WindowUpdate,
            2 => Kind::Ping,
            3 => Kind::GoAway,
            _ => return Err(Violation("unknown type of frame")),
        };
        Ok(Self {
            kind,
            flags: Flags(u16::from_be_bytes([f0, f1])),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }

    /// Appends the header to `out`.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let kind = match self.kind {
            Kind::Data => 0,
            Kind::WindowUpdate => 1,
            Kind::Ping => 2,
            Kind::GoAway => 3,
        };
        out.extend_from_slice(&[VERSION, kind]);
        out.extend_from_slice(&self.flags.0.to_be_bytes());
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(octets in any::<[u8; HEADER_OCTETS]>(), kind in 0_u8..4) {
            let mut octets = octets;
            (octets[0], octets[1]) = (0, kind);
            let mut written = Vec::new();
            Header::read(octets).unwrap().write(&mut written);
            prop_assert_eq!(written, octets);
        }
    }

    #[test]
    fn the_frame_that_opens_a_stream_is_read() {
        let header = Header::read([0, 1, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0]).unwrap();
        assert_eq!(
            (header.kind, header.stream, header.length),
            (Kind::WindowUpdate, 3, 0)
        );
        assert!(header.flags.has(Flags::SYN) && !header.flags.has(Flags::ACK));
    }

    #[test]
    fn other_versions_and_types_are_violations() {
        assert!(Header::read([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(Header::read([0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}

//! Room in a packet, and the packets that hold more than one message.

/// Messages in one packet at most: the count has one octet.
const PARTS_MAX: usize = 255;

/// Octets that a compound takes besides its messages: type and count.
const COMPOUND_OCTETS: usize = 2;

/// Octets that each message in a compound takes besides itself: its length.
pub(super) const PART_OCTETS: usize = 2;

/// Type octet of a compound.
const COMPOUND: u8 = 7;

/// Room that is left in a packet for messages that ride along.
#[derive(Debug)]
pub struct Room<'b> {
    /// Octets left.
    left: usize,
    /// Messages that may still be taken.
    parts_left: usize,
    /// Taken messages one after the other, and how long each is.
    octets: &'b mut Vec<u8>,
    lengths: &'b mut Vec<u16>,
}

impl<'b> Room<'b> {
    /// Room beside a message of `taken` octets (0 for none) in a packet of `octets_max`. Both
    /// buffers are cleared; then they hold the taken messages and how long each is.
    pub fn new(
        octets_max: usize,
        taken: usize,
        octets: &'b mut Vec<u8>,
        lengths: &'b mut Vec<u16>,
    ) -> Self {
        octets.clear();
        lengths.clear();
        let own = if taken == 0 { 0 } else { taken + PART_OCTETS };
        Self {
            left: octets_max.saturating_sub(COMPOUND_OCTETS + own),
            parts_left: PARTS_MAX - usize::from(taken != 0),
            octets,
            lengths,
        }
    }

    /// Takes `message` (with its type octet) if it and `overhead` further octets fit. Whether they
    /// did. Whoever offers has 2 octets of overhead: the message's length in the packet.
    pub fn offer(&mut self, message: &[u8], overhead: usize) -> bool {
        let needed = message.len().saturating_add(overhead);
        let Ok(length) = u16::try_from(message.len()) else {
            return false;
        };
        if needed > self.left || self.parts_left == 0 {
            return false;
        }
        self.left -= needed;
        self.parts_left -= 1;
        self.octets.extend_from_slice(message);
        self.lengths.push(length);
        true
    }

    /// Octets that the longest message may have that is still taken, with `overhead`.
    pub fn fits(&self, overhead: usize) -> usize {
        if self.parts_left == 0 {
            return 0;
        }
        self.left.saturating_sub(overhead)
    }
}

/// Appends one packet's payload: `first` (empty for none), and behind it what rides along, as a
/// compound if that makes more than one message.
pub(super) fn write_payload(out: &mut Vec<u8>, first: &[u8], octets: &[u8], lengths: &[u16]) {
    let parts = lengths.len() + usize::from(!first.is_empty());
    if let (2.., Ok(count)) = (parts, u8::try_from(parts)) {
        out.extend([COMPOUND, count]);
        if let (false, Ok(length)) = (first.is_empty(), u16::try_from(first.len())) {
            out.extend(length.to_be_bytes());
        }
        for length in lengths {
            out.extend(length.to_be_bytes());
        }
    }
    out.extend_from_slice(first);
    out.extend_from_slice(octets);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(octets_max: usize, first: &[u8], message: &[u8]) -> (usize, Vec<u8>) {
        let (mut octets, mut lengths) = (Vec::new(), Vec::new());
        let mut room = Room::new(octets_max, first.len(), &mut octets, &mut lengths);
        while room.offer(message, PART_OCTETS) {}
        let mut out = Vec::new();
        write_payload(&mut out, first, &octets, &lengths);
        (lengths.len(), out)
    }

    #[test]
    fn one_message_alone_is_no_compound() {
        assert_eq!(
            filled(12, b"0123456789", b"abc"),
            (0, b"0123456789".to_vec())
        );
        assert_eq!(filled(8, b"", b"abc"), (1, b"abc".to_vec()));
    }

    #[test]
    fn a_compound_has_lengths_before_bodies() {
        assert_eq!(
            filled(16, b"ping", b"abc"),
            (1, b"\x07\x02\x00\x04\x00\x03pingabc".to_vec())
        );
    }

    #[test]
    fn a_packet_never_grows_beyond_its_limit_and_uses_it_up() {
        for limit in 10..200 {
            let (_, out) = filled(limit, b"ping", b"abc");
            assert!(out.len() <= limit, "{} of {limit}", out.len());
            assert!(
                out.len() == 4 || limit - out.len() < 5,
                "{} of {limit}",
                out.len()
            );
        }
    }

    #[test]
    fn a_packet_holds_255_messages_at_most() {
        let (parts, out) = filled(10_000, b"p", b"x");
        assert_eq!((parts, out.get(1).copied()), (254, Some(255)));
        assert_eq!(filled(10_000, b"", b"x").0, 255);
    }
}

//! Compression of packets and streams: LZW as Go's `compress/lzw` has it, with octets as literals
//! and the least significant bit first.

use std::fmt;

use weezl::{BitOrder, LzwStatus, decode, encode};

use super::fields::read_map;
use super::{Malformed, kind};
use crate::msgpack::{Reader, Writer};

/// Bits of a literal.
const LITERAL_BITS: u8 = 8;

/// The only algorithm there is.
const LZW: u64 = 0;

/// Octets that room for the output grows by at least.
const ROOM_OCTETS_MIN: usize = 4 << 10;

/// Packets below this are sent as they are. Field names occur once in a message, and what wraps
/// compressed octets takes 15 itself: a ping or an accusation only grows, and so does an ack, whose
/// coordinate is as good as random. A packet gains from several messages, or from the tags of one;
/// the shortest that real agents were seen to gain from has 150 octets.
pub(super) const PACKET_OCTETS_MIN: usize = 100;

/// Octets between the type and the compressed ones: a map with the algorithm, and the length of
/// the compressed octets in two octets whatever it is.
const PACKET_HEAD: &[u8] = b"\x82\xa4Algo\x00\xa3Buf\xda";

/// Writes compressed content; keeps its tables.
pub(super) struct Deflater(encode::Encoder);

impl Deflater {
    pub(super) fn new() -> Self {
        Self(encode::Encoder::new(BitOrder::Lsb, LITERAL_BITS))
    }

    /// Appends `payload` to `out`, compressed if that is shorter. Whether it is.
    pub(super) fn append_packet(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if payload.len() >= PACKET_OCTETS_MIN && self.try_append(payload, out).is_some() {
            return true;
        }
        out.truncate(start);
        out.extend_from_slice(payload);
        false
    }

    /// Gives up as soon as nothing can be gained.
    fn try_append(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let head = 1 + PACKET_HEAD.len() + 2;
        let room = payload.len().checked_sub(head + 1)?;
        u16::try_from(room).ok()?;
        out.push(kind::COMPRESSED);
        out.extend_from_slice(PACKET_HEAD);
        let length_at = out.len();
        out.extend_from_slice(&[0; 2]);
        let start = out.len();
        out.resize(start + room, 0);
        let octets = self.deflate(payload, out.get_mut(start..)?)?;
        let length = u16::try_from(octets).ok()?;
        out.truncate(start + octets);
        out.get_mut(length_at..start)?
            .copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    /// Octets that are written into `room`; `None` if it is too small.
    fn deflate(&mut self, mut payload: &[u8], room: &mut [u8]) -> Option<usize> {
        self.0.reset();
        self.0.finish();
        let mut filled = 0;
        // The end is written by another call than the one that takes the last octet.
        loop {
            let result = self.0.encode_bytes(payload, room.get_mut(filled..)?);
            filled += result.consumed_out;
            payload = payload.get(result.consumed_in..)?;
            match result.status {
                Ok(LzwStatus::Done) => return Some(filled),
                Ok(_) if filled < room.len() => {}
                _ => return None,
            }
        }
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Deflater")
    }
}

/// Appends the content of a stream, compressed even if it grows by that.
pub(super) fn append_stream(content: &[u8], out: &mut Vec<u8>) {
    let compressed = encode::Encoder::new(BitOrder::Lsb, LITERAL_BITS)
        .encode(content)
        .expect("each octet is a literal");
    out.push(kind::COMPRESSED);
    let mut writer = Writer::old(out);
    writer.map(2);
    writer.text("Algo");
    writer.unsigned(LZW);
    writer.text("Buf");
    writer.octets(&compressed);
}

/// Reads what stands behind the type octet of compressed content: the compressed octets.
pub(super) fn read_compressed(body: &[u8]) -> Result<&[u8], Malformed> {
    let (mut algorithm, mut compressed) = (LZW, &[][..]);
    read_map(&mut Reader::new(body), |key, reader| {
        match key {
            b"Algo" => algorithm = reader.unsigned()?,
            b"Buf" => compressed = reader.octets()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if algorithm != LZW {
        return Err(Malformed("unknown compression algorithm"));
    }
    Ok(compressed)
}

/// Reads compressed content; keeps its tables.
pub(super) struct Inflater(decode::Decoder);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(decode::Decoder::new(BitOrder::Lsb, LITERAL_BITS))
    }

    /// Inflates into `room`, which grows as needed and never shrinks, and returns how many octets
    /// of it are filled.
    ///
    /// # Errors
    /// It is not what the compression writes, is cut, or inflates to more than `octets_max`.
    pub(super) fn inflate(
        &mut self,
        mut compressed: &[u8],
        room: &mut Vec<u8>,
        octets_max: usize,
    ) -> Result<usize, Malformed> {
        self.0.reset();
        let mut filled = 0;
        loop {
            let free = room.get_mut(filled..).unwrap_or_default();
            let result = self.0.decode_bytes(compressed, free);
            filled += result.consumed_out;
            compressed = compressed.get(result.consumed_in..).unwrap_or_default();
            let status = result
                .status
                .map_err(|_| Malformed("invalid compressed data"))?;
            if filled > octets_max {
                return Err(Malformed("compressed data inflates beyond the limit"));
            }
            let full = filled == room.len();
            match status {
                LzwStatus::Done => return Ok(filled),
                // One octet beyond the limit is room enough to see that it is exceeded.
                _ if full => {
                    let grown = room.len().saturating_mul(2).max(ROOM_OCTETS_MIN);
                    let grown = grown.min(octets_max.saturating_add(1));
                    room.reserve_exact(grown - room.len());
                    room.resize(grown, 0);
                }
                LzwStatus::Ok if result.consumed_in + result.consumed_out > 0 => {}
                _ => return Err(Malformed("compressed data is cut")),
            }
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Inflater")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Packs as for a packet and inflates again; what was written, if it was worth it.
    fn pack(payload: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![42];
        let packed = Deflater::new().append_packet(payload, &mut out);
        assert_eq!(out[0], 42);
        if !packed {
            assert_eq!(&out[1..], payload);
            return None;
        }
        assert!(out.len() - 1 < payload.len());
        assert_eq!(out[1], kind::COMPRESSED);
        let compressed = read_compressed(&out[2..]).unwrap();
        let mut room = Vec::new();
        let octets = Inflater::new()
            .inflate(compressed, &mut room, payload.len())
            .unwrap();
        assert_eq!(&room[..octets], payload);
        Some(out)
    }

    #[test]
    fn a_payload_that_repeats_itself_is_compressed() {
        for octets in [100, 101, 1_400, 5_000, 65_000] {
            assert!(pack(&vec![7; octets]).is_some(), "{octets}");
        }
    }

    #[test]
    fn a_payload_without_gain_is_sent_as_it_is() {
        let all: Vec<u8> = (0..=255).collect();
        assert!(pack(&all).is_none());
        assert!(pack(&[7; 99]).is_none());
        assert!(pack(&[]).is_none());
        // Its compressed octets would be more than the head of a packet can tell.
        let noise: Vec<u8> = (0..70_000_u32)
            .flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes())
            .collect();
        assert!(pack(&noise).is_none());
    }

    #[test]
    fn inflating_stops_at_the_limit() {
        let mut out = Vec::new();
        append_stream(&[7; 10_000], &mut out);
        let compressed = read_compressed(&out[1..]).unwrap();
        let mut inflater = Inflater::new();
        for room in [0, 5, 20_000] {
            let octets = inflater.inflate(compressed, &mut vec![0; room], 10_000);
            assert_eq!(octets, Ok(10_000));
            let mut room = vec![0; room];
            let beyond = Malformed("compressed data inflates beyond the limit");
            assert_eq!(inflater.inflate(compressed, &mut room, 9_999), Err(beyond));
        }
    }

    #[test]
    fn what_is_cut_does_not_inflate() {
        let mut out = Vec::new();
        append_stream(&[7; 300], &mut out);
        let compressed = read_compressed(&out[1..]).unwrap();
        for octets in 0..compressed.len() - 2 {
            let inflated = Inflater::new().inflate(&compressed[..octets], &mut Vec::new(), 1_000);
            assert!(inflated.is_err(), "{octets}");
        }
    }

    #[test]
    fn only_one_algorithm_is_known() {
        assert_eq!(read_compressed(b"\x81\xa3Buf\xa1x"), Ok(&b"x"[..]));
        assert_eq!(
            read_compressed(b"\x82\xa4Algo\x01\xa3Buf\xa1x"),
            Err(Malformed("unknown compression algorithm"))
        );
        assert!(read_compressed(b"\x81\xa4Algo").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn anything_is_inflated_as_it_was_compressed(
            payload in prop::collection::vec(0..8u8, 0..6_000),
        ) {
            pack(&payload);
            let mut out = Vec::new();
            append_stream(&payload, &mut out);
            let compressed = read_compressed(&out[1..]).unwrap();
            let mut room = Vec::new();
            let octets = Inflater::new().inflate(compressed, &mut room, 6_000).unwrap();
            prop_assert_eq!(&room[..octets], &payload);
        }
    }
}

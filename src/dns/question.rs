//! Decodes queries: what may be asked is decided here, before any name is looked up.
//!
//! Reads only; the one thing it writes are the octets of a question that was cut off, so that the
//! answer can repeat a whole one.
//!
//! **Invariant**: no octets, however wrong, make it panic, and its work is bounded by their number.

use super::edns::Edns;
use super::name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX, Name};

/// Octets of a message header (RFC 1035 §4.1.1).
pub(super) const HEADER_OCTETS: usize = 12;
/// The type of the pseudo-record that carries EDNS (RFC 6891 §6.1.1).
pub(super) const TYPE_OPT: u16 = 41;
/// Octets of a question after its name.
const QUESTION_TAIL_OCTETS: usize = 4;

/// A question in class IN or ANY, or another one.
pub(super) const CLASS_IN: u16 = 1;
/// Any class (RFC 1035 §3.2.5).
pub(super) const CLASS_ANY: u16 = 255;

/// What a packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// A response, or too short for a header: never answered, so that no two servers can be made
    /// to talk to each other for ever.
    Ignored,
    /// Against the format. The OPT record, where one could be read, gets its answer all the same.
    Malformed,
    /// Another operation than QUERY.
    OtherOperation,
    /// A header that announces a question that is not there.
    Empty,
    /// A query with one question.
    Query(Query),
}

/// A well-formed query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// Type asked for.
    pub(super) qtype: u16,
    /// Class asked for.
    pub(super) class: u16,
    /// Where the question ends in the buffer.
    pub(super) end: usize,
}

/// The larger parts of a query, kept in place so that they are not moved about.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// The name asked, if the packet is a query.
    pub(super) name: Name,
    /// What the OPT record says, if one was read; for queries against the format, too.
    pub(super) edns: Option<Edns>,
}

/// Decodes the packet in `buffer[..length]`.
pub(super) fn decode(buffer: &mut [u8], length: usize, asked: &mut Asked) -> Packet {
    let Asked { name, edns } = asked;
    *edns = None;
    let Some(header) = buffer.get(..length).and_then(Header::read) else {
        return Packet::Ignored;
    };
    if header.is_response {
        return Packet::Ignored;
    }
    if header.opcode != 0 {
        read_any_edns(buffer, length, &header, edns);
        return Packet::OtherOperation;
    }
    let [questions, answers, authority, additional] = header.counts;
    if questions != 1 || answers > 1 || authority > 1 || additional > 2 {
        read_any_edns(buffer, length, &header, edns);
        return Packet::Malformed;
    }
    if length == HEADER_OCTETS {
        return match (answers, authority, additional) {
            (0, 0, 0) => Packet::Empty,
            _ => Packet::Malformed,
        };
    }
    match question(buffer, length, name) {
        None => Packet::Malformed,
        Some(Question { end, .. }) if end > length && header.has_records() => Packet::Malformed,
        Some(question) => {
            let mut records = Records::new(buffer, length, question.end, edns);
            match records.walk(&header) {
                Some(()) => Packet::Query(Query {
                    qtype: question.qtype,
                    class: question.class,
                    end: question.end,
                }),
                None => Packet::Malformed,
            }
        }
    }
}

/// The header's parts that decide what happens.
struct Header {
    is_response: bool,
    opcode: u8,
    counts: [u16; 4],
}

impl Header {
    fn read(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<HEADER_OCTETS>()?;
        let [_, _, flags, _, q0, q1, an0, an1, ns0, ns1, ar0, ar1] = *header;
        Some(Self {
            is_response: flags & 0x80 != 0,
            opcode: (flags >> 3) & 0x0f,
            counts: [[q0, q1], [an0, an1], [ns0, ns1], [ar0, ar1]].map(u16::from_be_bytes),
        })
    }

    fn has_records(&self) -> bool {
        let [_, answers, authority, additional] = self.counts;
        (answers, authority, additional) != (0, 0, 0)
    }
}

struct Question {
    qtype: u16,
    class: u16,
    end: usize,
}

/// Reads the question and, where the packet ends inside it, completes it with type 0 and class IN,
/// as the reference reads it. A compressed name is none: nothing stands before it to point to.
fn question(buffer: &mut [u8], length: usize, name: &mut Name) -> Option<Question> {
    let octets = name.read(buffer.get(HEADER_OCTETS..length)?)?;
    let tail = HEADER_OCTETS + octets;
    let end = tail + QUESTION_TAIL_OCTETS;
    let [in0, in1] = CLASS_IN.to_be_bytes();
    match *buffer.get(tail..length.min(end))? {
        [_, _, _, _] => {}
        [type0, type1] => buffer
            .get_mut(tail..end)?
            .copy_from_slice(&[type0, type1, in0, in1]),
        [] => buffer
            .get_mut(tail..end)?
            .copy_from_slice(&[0, 0, in0, in1]),
        _ => return None,
    }
    let [type0, type1, class0, class1] = *buffer.get(tail..end)?.first_chunk()?;
    Some(Question {
        qtype: u16::from_be_bytes([type0, type1]),
        class: u16::from_be_bytes([class0, class1]),
        end,
    })
}

/// Reads the OPT record of a packet that is refused by its header, as far as the rest can be read.
fn read_any_edns(buffer: &[u8], length: usize, header: &Header, edns: &mut Option<Edns>) {
    let [questions, ..] = header.counts;
    let mut records = Records::new(buffer, length, HEADER_OCTETS, edns);
    let skipped = (0..questions).all(|_| {
        let name = records.skip_name();
        name.is_some() && records.take(QUESTION_TAIL_OCTETS).is_some()
    });
    if skipped {
        // What was read before a fault still counts.
        let _ = records.walk(header);
    }
}

/// Walks the records after the question, for the OPT record's sake.
struct Records<'a, 'e> {
    packet: &'a [u8],
    at: usize,
    edns: &'e mut Option<Edns>,
}

struct Record<'a> {
    /// Octets of the owner as written: 1 for the root.
    owner_octets: usize,
    rtype: u16,
    class: u16,
    ttl: [u8; 4],
    rdata: &'a [u8],
}

impl<'a, 'e> Records<'a, 'e> {
    fn new(buffer: &'a [u8], length: usize, at: usize, edns: &'e mut Option<Edns>) -> Self {
        Self {
            packet: buffer.get(..length).unwrap_or_default(),
            at,
            edns,
        }
    }

    /// `None` at the first fault. Octets after the last record are nobody's business.
    #[inline]
    fn walk(&mut self, header: &Header) -> Option<()> {
        let [_, answers, authority, additional] = header.counts;
        for _ in 0..u32::from(answers) + u32::from(authority) {
            let record = self.record()?;
            // RFC 6891 §6.1.1: the OPT record "MAY be placed anywhere within the additional data
            // section", and nowhere else.
            if record.rtype == TYPE_OPT {
                return None;
            }
        }
        for _ in 0..additional {
            let record = self.record()?;
            if record.rtype != TYPE_OPT {
                continue;
            }
            // RFC 6891 §6.1.1: "If a query message with more than one OPT RR is received, a FORMERR
            // (RCODE=1) MUST be returned." §6.1.2: its owner is the root.
            if record.owner_octets != 1 || self.edns.is_some() {
                return None;
            }
            *self.edns = Some(Edns::read(record.class, record.ttl, record.rdata)?);
        }
        Some(())
    }

    #[inline]
    fn record(&mut self) -> Option<Record<'a>> {
        let start = self.at;
        self.skip_name()?;
        let owner_octets = self.at - start;
        let fixed: &[u8; 10] = self.take(10)?.first_chunk()?;
        let [t0, t1, c0, c1, ttl0, ttl1, ttl2, ttl3, l0, l1] = *fixed;
        let rdata = self.take(u16::from_be_bytes([l0, l1]).into())?;
        Some(Record {
            owner_octets,
            rtype: u16::from_be_bytes([t0, t1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl: [ttl0, ttl1, ttl2, ttl3],
            rdata,
        })
    }

    fn take(&mut self, octets: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(octets)?;
        let taken = self.packet.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// Passes over a name, which must be whole: pointers lead to a place before the labels they
    /// end (RFC 1035 §4.1.4: "a prior occurance of the same name"), so that none leads in a circle.
    fn skip_name(&mut self) -> Option<()> {
        if self.packet.get(self.at) == Some(&0) {
            self.at += 1;
            return Some(()); // The root, which OPT records have.
        }
        let mut end = None;
        let (mut at, mut run, mut octets) = (self.at, self.at, 0_usize);
        loop {
            let octet = *self.packet.get(at)?;
            let length = usize::from(octet);
            if length <= LABEL_OCTETS_MAX {
                octets += 1 + length;
                at += 1 + length;
                if octets > NAME_OCTETS_MAX {
                    return None;
                }
                if length == 0 {
                    self.at = end.unwrap_or(at);
                    return Some(());
                }
            } else if octet >= 0xc0 {
                let low = *self.packet.get(at + 1)?;
                let target = usize::from(u16::from_be_bytes([octet & 0x3f, low]));
                if target >= run || target < HEADER_OCTETS {
                    return None;
                }
                end = end.or(Some(at + 2));
                at = target;
                run = target;
            } else {
                return None;
            }
        }
    }
}

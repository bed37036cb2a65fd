//! Writes an answer over its query: the question stays, to the letter, and everything after it is
//! overwritten.
//!
//! Owns the size limit, the form of records and the counts in the header; `compress` writes the
//! names in them. Which records there are is for others to say.
//!
//! **Invariant**: what does not fit changes nothing that counts: every record is written whole or
//! rolled back, so the message is well-formed at any time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::compress::{Known, Place, Written};
use super::edns::{Code, Edns, Subnet, Text};
use super::question::{CLASS_IN, HEADER_OCTETS, TYPE_OPT};
use super::settings::Settings;

/// Option code of an extended error (RFC 8914 §2).
const OPTION_ERROR: u16 = 15;

/// Record types that herald knows.
pub(super) mod rtype {
    /// IPv4 address (RFC 1035 §3.4.1).
    pub(in crate::dns) const A: u16 = 1;
    /// Name server (RFC 1035 §3.3.11).
    pub(in crate::dns) const NS: u16 = 2;
    /// Alias (RFC 1035 §3.3.1).
    pub(in crate::dns) const CNAME: u16 = 5;
    /// Start of authority (RFC 1035 §3.3.13).
    pub(in crate::dns) const SOA: u16 = 6;
    /// Pointer (RFC 1035 §3.3.12).
    pub(in crate::dns) const PTR: u16 = 12;
    /// Text (RFC 1035 §3.3.14).
    pub(in crate::dns) const TXT: u16 = 16;
    /// IPv6 address (RFC 3596 §2.1).
    pub(in crate::dns) const AAAA: u16 = 28;
    /// Service location (RFC 2782).
    pub(in crate::dns) const SRV: u16 = 33;
    /// Zone transfer (RFC 5936).
    pub(in crate::dns) const AXFR: u16 = 252;
    /// Everything (RFC 1035 §3.2.3).
    pub(in crate::dns) const ANY: u16 = 255;
}

/// Response codes (RFC 1035 §4.1.1, RFC 6891 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rcode {
    /// No error.
    NoError,
    /// The query is against the format.
    FormErr,
    /// It cannot be answered now.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// Not built.
    NotImp,
    /// Not answered here.
    Refused,
    /// EDNS version above herald's.
    BadVers,
}

impl Rcode {
    /// The four bits in the header and the eight in OPT.
    fn bits(self) -> (u8, u8) {
        match self {
            Self::NoError => (0, 0),
            Self::FormErr => (1, 0),
            Self::ServFail => (2, 0),
            Self::NxDomain => (3, 0),
            Self::NotImp => (4, 0),
            Self::Refused => (5, 0),
            Self::BadVers => (0, 1),
        }
    }
}

/// Why a record was not written; nothing of it is in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// It does not fit into what the client accepts.
    Full,
    /// A name in it would be longer than 255 octets: no message can carry it.
    Unencodable,
}

/// Sections after the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Answer.
    Answer,
    /// Authority.
    Authority,
    /// Additional.
    Additional,
}

/// A state to come back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    at: usize,
    known: Known,
    counts: [u16; 3],
}

/// What the header and the OPT record of an answer say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conclusion {
    /// Response code.
    pub(super) rcode: Rcode,
    /// AA.
    pub(super) authoritative: bool,
    /// TC.
    pub(super) truncated: bool,
}

/// An answer being written.
#[derive(Debug)]
pub(super) struct Message<'b> {
    pub(super) buffer: &'b mut [u8],
    pub(super) settings: &'b Settings,
    /// Zone of generated names, in wire format.
    pub(super) zone: &'b [u8],
    /// Where the next octet goes.
    pub(super) at: usize,
    /// Records end here, so that the OPT record always fits.
    pub(super) end: usize,
    pub(super) known: Known,
    counts: [u16; 3],
    question: u16,
}

impl<'b> Message<'b> {
    /// An answer to the query whose question ends at `question_end`, of at most `octets_max` octets
    /// with its OPT record. Generated names are made below `zone`.
    pub(super) fn new(
        buffer: &'b mut [u8],
        settings: &'b Settings,
        zone: &'b [u8],
        question_end: usize,
        octets_max: usize,
        edns: Option<&Edns>,
    ) -> Self {
        let reserved = edns.map_or(0, Edns::octets);
        Self {
            end: octets_max.min(buffer.len()).saturating_sub(reserved),
            buffer,
            settings,
            zone,
            at: question_end,
            known: Known::default(),
            counts: [0; 3],
            question: u16::from(question_end > HEADER_OCTETS),
        }
    }

    /// Number of records in the answer section.
    #[inline]
    pub(super) fn answers(&self) -> usize {
        let [answers, ..] = self.counts;
        answers.into()
    }

    /// Octets that records may still take.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// The state now.
    #[inline]
    pub(super) fn mark(&self) -> Mark {
        Mark {
            at: self.at,
            known: self.known,
            counts: self.counts,
        }
    }

    /// Takes back everything after `mark`.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.at = mark.at;
        self.known = mark.known;
        self.counts = mark.counts;
    }

    /// Writes one record whole, or nothing of it.
    fn record(
        &mut self,
        section: Section,
        write: impl FnOnce(&mut Self) -> Result<Place, Unwritten>,
    ) -> Result<Place, Unwritten> {
        let mark = self.mark();
        let written = write(self);
        if written.is_err() {
            self.rewind(mark);
        } else {
            let [answers, authority, additional] = &mut self.counts;
            *match section {
                Section::Answer => answers,
                Section::Authority => authority,
                Section::Additional => additional,
            } += 1;
        }
        written
    }

    /// A or AAAA.
    pub(super) fn address(
        &mut self,
        section: Section,
        owner: Written<'_>,
        ttl: u32,
        ip: IpAddr,
    ) -> Result<(), Unwritten> {
        let written = self.record(section, |message| {
            let place = message.name(owner)?;
            match ip {
                IpAddr::V4(ip) => message.put(&address_v4(ttl, ip))?,
                IpAddr::V6(ip) => message.put(&address_v6(ttl, ip))?,
            }
            Ok(place)
        });
        written.map(drop)
    }

    /// SRV (RFC 2782) with priority 1 as an answer. Where the target was written.
    pub(super) fn srv(
        &mut self,
        ttl: u32,
        weight: u16,
        port: u16,
        target: Written<'_>,
    ) -> Result<Place, Unwritten> {
        self.record(Section::Answer, |message| {
            message.name(Written::Question)?;
            let start = message.at + 10;
            let [ttl0, ttl1, ttl2, ttl3] = ttl.to_be_bytes();
            let ([w0, w1], [p0, p1]) = (weight.to_be_bytes(), port.to_be_bytes());
            let [t0, t1] = rtype::SRV.to_be_bytes();
            message.put(&[
                t0, t1, 0, 1, ttl0, ttl1, ttl2, ttl3, 0, 0, 0, 1, w0, w1, p0, p1,
            ])?;
            let target = message.name(target)?;
            message.patch_length(start)?;
            Ok(target)
        })
    }

    /// A record whose RDATA is one name: CNAME, NS, PTR. Where that name was written.
    pub(super) fn pointer(
        &mut self,
        section: Section,
        owner: Written<'_>,
        rtype: u16,
        ttl: u32,
        target: Written<'_>,
    ) -> Result<Place, Unwritten> {
        self.record(section, |message| {
            message.name(owner)?;
            message.put(&head(rtype, ttl, 0))?;
            let start = message.at;
            let target = message.name(target)?;
            message.patch_length(start)?;
            Ok(target)
        })
    }

    /// A record with ready RDATA: TXT.
    pub(super) fn ready(
        &mut self,
        section: Section,
        owner: Written<'_>,
        rtype: u16,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<Place, Unwritten> {
        self.record(section, |message| {
            let place = message.name(owner)?;
            let length = u16::try_from(rdata.len()).map_err(|_| Unwritten::Unencodable)?;
            message.put(&head(rtype, ttl, length))?;
            message.put(rdata)?;
            Ok(place)
        })
    }

    /// SOA. `owner` is the apex, whose name servers are below this message's zone.
    pub(super) fn soa(
        &mut self,
        section: Section,
        owner: Written<'_>,
        serial: u32,
    ) -> Result<(), Unwritten> {
        let settings = self.settings;
        let written = self.record(section, |message| {
            let place = message.name(owner)?;
            message.put(&head(rtype::SOA, settings.soa_ttl, 0))?;
            let start = message.at;
            message.name(Written::NameServer)?;
            message.name(Written::Hostmaster)?;
            message.put(&serial.to_be_bytes())?;
            message.put(&settings.soa_timers)?;
            message.patch_length(start)?;
            Ok(place)
        });
        written.map(drop)
    }

    /// Writes header and OPT record. Octets of the whole message.
    pub(super) fn finish(
        &mut self,
        conclusion: Conclusion,
        edns: Option<&Edns>,
        errors: &[Option<(Code, Option<Text>)>],
    ) -> usize {
        let (low, high) = conclusion.rcode.bits();
        let [answers, authority, mut additional] = self.counts;
        if let Some(edns) = edns {
            self.end = self.buffer.len().min(self.end + edns.octets());
            if self.opt(edns, high, errors).is_ok() {
                additional += 1;
            }
        }
        let recursion_available = self.settings.recursion_available;
        if let Some(header) = self.buffer.first_chunk_mut::<HEADER_OCTETS>() {
            let [id0, id1, flags, more, ..] = *header;
            let flag = |on: bool, bit: u8| if on { bit } else { 0 };
            // QR; OPCODE and RD are the query's. AD and Z are never set, CD is the query's.
            let flags = 0x80
                | (flags & 0x79)
                | flag(conclusion.authoritative, 0x04)
                | flag(conclusion.truncated, 0x02);
            let more = flag(recursion_available, 0x80) | (more & 0x10) | low;
            let [[q0, q1], [an0, an1], [ns0, ns1], [ar0, ar1]] =
                [self.question, answers, authority, additional].map(u16::to_be_bytes);
            *header = [id0, id1, flags, more, q0, q1, an0, an1, ns0, ns1, ar0, ar1];
        }
        self.at
    }

    /// The OPT record: each extended error where it fits, its text where that fits too.
    fn opt(
        &mut self,
        edns: &Edns,
        rcode: u8,
        errors: &[Option<(Code, Option<Text>)>],
    ) -> Result<(), Unwritten> {
        let [t0, t1] = TYPE_OPT.to_be_bytes();
        let [s0, s1] = self.settings.edns_size.to_be_bytes();
        // Owner root, type, size, extended RCODE, version 0, flags (DO cleared), length.
        self.put(&[0, t0, t1, s0, s1, rcode, 0, 0, 0, 0, 0])?;
        let start = self.at;
        if let Some(subnet) = &edns.subnet {
            self.option(Subnet::code(), &[], subnet.octets())?;
        }
        for (code, text) in errors.iter().flatten() {
            let code = code.number().to_be_bytes();
            let text = text.as_ref().map_or(&[][..], Text::octets);
            if self.option(OPTION_ERROR, &code, text).is_err() {
                let _ = self.option(OPTION_ERROR, &code, &[]);
            }
        }
        self.patch_length(start)
    }

    fn option(&mut self, code: u16, head: &[u8], tail: &[u8]) -> Result<(), Unwritten> {
        let length = u16::try_from(head.len() + tail.len()).map_err(|_| Unwritten::Unencodable)?;
        let start = self.at;
        let ([c0, c1], [l0, l1]) = (code.to_be_bytes(), length.to_be_bytes());
        let written = self
            .put(&[c0, c1, l0, l1])
            .and_then(|()| self.put(head))
            .and_then(|()| self.put(tail));
        if written.is_err() {
            self.at = start;
        }
        written
    }

    #[inline]
    pub(super) fn put(&mut self, octets: &[u8]) -> Result<(), Unwritten> {
        let end = self.at + octets.len();
        if end > self.end {
            return Err(Unwritten::Full);
        }
        let place = self.buffer.get_mut(self.at..end).ok_or(Unwritten::Full)?;
        place.copy_from_slice(octets);
        self.at = end;
        Ok(())
    }

    /// Writes the length of RDATA that starts at `start` and ends here.
    #[inline]
    fn patch_length(&mut self, start: usize) -> Result<(), Unwritten> {
        let length = u16::try_from(self.at - start).map_err(|_| Unwritten::Unencodable)?;
        self.buffer
            .get_mut(start - 2..start)
            .ok_or(Unwritten::Full)?
            .copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// Type, class IN, TTL and length of RDATA (RFC 1035 §4.1.3).
fn head(rtype: u16, ttl: u32, length: u16) -> [u8; 10] {
    let ([t0, t1], [c0, c1]) = (rtype.to_be_bytes(), CLASS_IN.to_be_bytes());
    let ([ttl0, ttl1, ttl2, ttl3], [l0, l1]) = (ttl.to_be_bytes(), length.to_be_bytes());
    [t0, t1, c0, c1, ttl0, ttl1, ttl2, ttl3, l0, l1]
}

fn address_v4(ttl: u32, ip: Ipv4Addr) -> [u8; 14] {
    let mut record = [0; 14];
    let (start, rdata) = record.split_at_mut(10);
    start.copy_from_slice(&head(rtype::A, ttl, 4));
    rdata.copy_from_slice(&ip.octets());
    record
}

fn address_v6(ttl: u32, ip: Ipv6Addr) -> [u8; 26] {
    let mut record = [0; 26];
    let (start, rdata) = record.split_at_mut(10);
    start.copy_from_slice(&head(rtype::AAAA, ttl, 16));
    rdata.copy_from_slice(&ip.octets());
    record
}

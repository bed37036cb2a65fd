//! Writes names into an answer, compressed (RFC 1035 §4.1.4) unless that is turned off.
//!
//! Owns which ends of names are in the message already; `encode` writes the records around them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::encode::{Message, Unwritten};
use super::name::{NAME_OCTETS_MAX, Name, labels};
use super::question::HEADER_OCTETS;

/// Where no compression pointer leads any more: it has 14 bits (RFC 1035 §4.1.4).
const POINTER_END: usize = 0x4000;
/// Pointer to the question's name.
const QUESTION_POINTER: [u8; 2] = [0xc0, 0x0c];

/// A name already in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where it starts.
    pub(super) at: usize,
    /// Its octets as written: labels, then the root or a pointer.
    pub(super) octets: usize,
}

/// A name to write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written<'a> {
    /// The name asked, in its letter case.
    Question,
    /// One that is in the message already.
    Again(Place),
    /// The apex of the zone.
    Apex,
    /// `ns.<zone>`.
    NameServer,
    /// `hostmaster.<zone>`.
    Hostmaster,
    /// `<hex>.addr.<datacenter>.<zone>`.
    Address(IpAddr),
    /// `<labels>.node.<datacenter>.<zone>`; the labels in wire format without a root.
    Node(&'a [u8]),
    /// `<labels>.service.<datacenter>.<zone>`, likewise.
    Service(&'a [u8]),
    /// A whole name in wire format with its root; never compressed.
    Whole(&'a [u8]),
}

/// Ends of generated names that are in the message already, by position.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    zone: Option<u16>,
    datacenter: Option<u16>,
    addr: Option<u16>,
    node: Option<u16>,
    service: Option<u16>,
}

impl Message<'_> {
    /// Lets generated names end in those of the question, `name`: its zone, whose first label is
    /// `zone_label`, and the datacenter before it. Only where the letters are the same, so that the
    /// client's play with their case (0x20) stays in its own question.
    pub(super) fn reuse_question(&mut self, name: &Name, zone_label: usize) {
        let at = |label: usize| HEADER_OCTETS + name.start(label);
        let zone_at = at(zone_label);
        if !self.settings.compress || !(name.is_lower() || self.is_at(zone_at, self.zone)) {
            return;
        }
        self.known.zone = u16::try_from(zone_at).ok();
        let datacenter = &self.settings.datacenter_label;
        let datacenter_at = zone_label.checked_sub(1).map(at);
        self.known.datacenter = datacenter_at
            .filter(|at| self.is_at(*at, datacenter))
            .and_then(|at| u16::try_from(at).ok());
    }

    fn is_at(&self, at: usize, octets: &[u8]) -> bool {
        // Lengths differ more often than letters do.
        self.buffer.get(at) == octets.first()
            && self.buffer.get(at..at + octets.len()) == Some(octets)
    }

    /// Whether `name`, in wire format with its root, is the name asked.
    pub(super) fn is_question(&self, name: &[u8]) -> bool {
        let asked = self.buffer.get(HEADER_OCTETS..HEADER_OCTETS + name.len());
        asked.is_some_and(|asked| asked.eq_ignore_ascii_case(name))
    }

    /// Whether `name`, in wire format with its root, is the one that `written` stands for: the name
    /// asked, or one written whole.
    pub(super) fn is_same(&self, written: Written<'_>, name: &[u8]) -> bool {
        match written {
            Written::Question => self.is_question(name),
            Written::Again(place) => self.octets(place).eq_ignore_ascii_case(name),
            _ => false,
        }
    }

    /// Octets of a name in the message, in wire format as written.
    pub(super) fn octets(&self, place: Place) -> &[u8] {
        self.buffer
            .get(place.at..place.at + place.octets)
            .unwrap_or_default()
    }

    /// Octets that the glue of a target will take: an owner, which is `target` again, and an
    /// address.
    pub(super) fn glue_octets(&self, target: Place, ip: IpAddr) -> usize {
        let owner = match self.pointer_to(target.at) {
            Some(_) => 2,
            None => target.octets,
        };
        owner
            + match ip {
                IpAddr::V4(_) => 14,
                IpAddr::V6(_) => 26,
            }
    }

    #[inline]
    fn pointer_to(&self, at: usize) -> Option<[u8; 2]> {
        let at = u16::try_from(at).ok();
        let at = at.filter(|at| self.settings.compress && usize::from(*at) < POINTER_END)?;
        Some((0xc000 | at).to_be_bytes())
    }

    /// Writes a name. Where it is now.
    pub(super) fn name(&mut self, name: Written<'_>) -> Result<Place, Unwritten> {
        let at = self.at;
        match name {
            Written::Question if self.settings.compress => self.put(&QUESTION_POINTER)?,
            Written::Question => {
                let length = self.buffer.get(HEADER_OCTETS..).map_or(0, whole_octets);
                self.copy(HEADER_OCTETS, length)?;
            }
            Written::Again(place) => match self.pointer_to(place.at) {
                Some(pointer) => self.put(&pointer)?,
                None => self.copy(place.at, place.octets)?,
            },
            Written::Apex => self.zone()?,
            Written::NameServer => {
                self.put(b"\x02ns")?;
                self.zone()?;
            }
            Written::Hostmaster => {
                self.put(b"\x0ahostmaster")?;
                self.zone()?;
            }
            Written::Address(IpAddr::V4(ip)) => {
                self.put(&hexadecimal_v4(ip))?;
                self.addr()?;
            }
            Written::Address(IpAddr::V6(ip)) => {
                self.put(&hexadecimal_v6(ip))?;
                self.addr()?;
            }
            Written::Node(labels) => {
                self.check_length(labels, b"\x04node")?;
                self.put(labels)?;
                self.node()?;
            }
            Written::Service(labels) => {
                self.check_length(labels, b"\x07service")?;
                self.put(labels)?;
                self.service()?;
            }
            Written::Whole(octets) => self.put(octets)?,
        }
        Ok(Place {
            at,
            octets: self.at - at,
        })
    }

    /// Copies octets of a name that is in the message; a pointer at their end stays right.
    fn copy(&mut self, from: usize, octets: usize) -> Result<(), Unwritten> {
        let end = self.at + octets;
        if end > self.end || end > self.buffer.len() || from + octets > self.at {
            return Err(Unwritten::Full);
        }
        self.buffer.copy_within(from..from + octets, self.at);
        self.at = end;
        Ok(())
    }

    /// Names have at most 255 octets (RFC 1035 §2.3.4).
    fn check_length(&self, labels: &[u8], keyword: &[u8]) -> Result<(), Unwritten> {
        let below = self.settings.datacenter_label.len() + self.zone.len();
        if labels.len() + keyword.len() + below > NAME_OCTETS_MAX {
            return Err(Unwritten::Unencodable);
        }
        Ok(())
    }

    fn addr(&mut self) -> Result<(), Unwritten> {
        if let Some(at) = self.known.addr {
            return self.put(&(0xc000 | at).to_be_bytes());
        }
        self.known.addr = self.here();
        self.put(b"\x04addr")?;
        self.datacenter()
    }

    fn node(&mut self) -> Result<(), Unwritten> {
        if let Some(at) = self.known.node {
            return self.put(&(0xc000 | at).to_be_bytes());
        }
        self.known.node = self.here();
        self.put(b"\x04node")?;
        self.datacenter()
    }

    fn service(&mut self) -> Result<(), Unwritten> {
        if let Some(at) = self.known.service {
            return self.put(&(0xc000 | at).to_be_bytes());
        }
        self.known.service = self.here();
        self.put(b"\x07service")?;
        self.datacenter()
    }

    fn datacenter(&mut self) -> Result<(), Unwritten> {
        if let Some(at) = self.known.datacenter {
            return self.put(&(0xc000 | at).to_be_bytes());
        }
        self.known.datacenter = self.here();
        self.put(&self.settings.datacenter_label)?;
        self.zone()
    }

    fn zone(&mut self) -> Result<(), Unwritten> {
        if let Some(at) = self.known.zone {
            return self.put(&(0xc000 | at).to_be_bytes());
        }
        self.known.zone = self.here();
        self.put(self.zone)
    }

    /// This position, if a pointer may lead to it.
    #[inline]
    fn here(&self) -> Option<u16> {
        let at = u16::try_from(self.at).ok();
        at.filter(|at| self.settings.compress && usize::from(*at) < POINTER_END)
    }
}

/// Octets of the uncompressed name at the start of `wire`, with its root.
fn whole_octets(wire: &[u8]) -> usize {
    1 + labels(wire).map(|label| 1 + label.len()).sum::<usize>()
}

fn hexadecimal_v4(ip: Ipv4Addr) -> [u8; 9] {
    let mut label = [8; 9];
    let (_, digits) = label.split_at_mut(1);
    digits.copy_from_slice(&hexadecimal(ip.to_bits()));
    label
}

fn hexadecimal_v6(ip: Ipv6Addr) -> [u8; 33] {
    let mut label = [32; 33];
    let (_, digits) = label.split_at_mut(1);
    let words = ip.octets();
    let words = words.chunks_exact(4).map(|word| {
        let octets = word.first_chunk().copied().unwrap_or_default();
        u32::from_be_bytes(octets)
    });
    for (digits, word) in digits.chunks_exact_mut(8).zip(words) {
        digits.copy_from_slice(&hexadecimal(word));
    }
    label
}

/// Eight lower-case digits, all at once: each half octet is moved to an octet of its own, and those
/// above 9 are moved on to the letters.
fn hexadecimal(word: u32) -> [u8; 8] {
    let mut halves = u64::from(word);
    halves = (halves | halves << 16) & 0x0000_ffff_0000_ffff;
    halves = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    halves = (halves | halves << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((halves + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    let to_letter = u64::from(b'a' - b'9' - 1);
    (halves + 0x3030_3030_3030_3030 + letters * to_letter).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_lower_case_digits() {
        assert_eq!(&hexadecimal_v4([10, 0, 159, 255].into()), b"\x080a009fff");
        let ip = "2001:db8::abcd:ef01".parse().unwrap();
        assert_eq!(&hexadecimal_v6(ip), b"\x2020010db80000000000000000abcdef01");
        for word in [0, u32::MAX, 0x0123_4567, 0x89ab_cdef, 0x9a9a_0f0f] {
            assert_eq!(hexadecimal(word), *format!("{word:08x}").as_bytes());
        }
    }
}

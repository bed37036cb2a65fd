//! Reverse names: who has an address (RFC 1035 §3.5, RFC 3596 §2.5). Answered from an index, never
//! by a scan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::catalog::state::AddressOwner;

use super::answer::{Context, Tools, Verdict};
use super::compress::{Place, Written};
use super::encode::{Message, Rcode, Section, Unwritten, rtype};
use super::name::{LABEL_OCTETS_MAX, Name};
use super::question::HEADER_OCTETS;
use super::settings::Zone;
use super::zone;

/// Labels of a whole IPv4 name: four numbers and the apex's two.
const V4_LABELS: usize = 6;
/// Labels of a whole IPv6 name: 32 digits and the apex's two.
const V6_LABELS: usize = 34;

/// What a name below `arpa.` denotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reverse {
    /// A whole address.
    Address(IpAddr),
    /// Part of one, or an apex: it exists, since longer names may.
    Part,
    /// Neither.
    Other,
}

/// Answers a reverse name; `zone` owns the SOA. `None` if recursors are to be asked.
pub(super) fn answer(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    name: &Name,
    zone: &Zone,
) -> Option<Verdict> {
    let apex_label = name.labels().checked_sub(zone.labels)?;
    if apex_label == 0 && matches!(context.qtype, rtype::SOA | rtype::NS) {
        return Some(zone::answer_apex(context, tools, message));
    }
    let start = name.start(apex_label);
    let apex = Written::Again(Place {
        at: HEADER_OCTETS + start,
        octets: name.length() - start,
    });
    let owner = match read(name) {
        Reverse::Part => return Some(zone::deny(message, Rcode::NoError, apex)),
        Reverse::Address(ip) => tools.owner_of(ip.to_canonical()),
        Reverse::Other => None,
    };
    let Some(owner) = owner else {
        let forwarded = context.settings.recursion_available;
        return (!forwarded).then(|| zone::deny(message, Rcode::NxDomain, apex));
    };
    if !matches!(context.qtype, rtype::PTR | rtype::ANY) {
        return Some(zone::deny(message, Rcode::NoError, apex));
    }
    Some(match put(context, message, &owner) {
        Ok(_) => Verdict::answered(false),
        Err(Unwritten::Full) => Verdict::answered(true),
        Err(Unwritten::Unencodable) => {
            tools.count_unencodable();
            zone::deny(message, Rcode::NoError, apex)
        }
    })
}

fn put(
    context: &Context<'_>,
    message: &mut Message<'_>,
    owner: &AddressOwner,
) -> Result<Place, Unwritten> {
    let mut wire = Labels::default();
    let target = match owner {
        AddressOwner::Node(name) => wire.read(name.as_str()).map(Written::Node),
        AddressOwner::Service(name) => wire.read(name.as_str()).map(Written::Service),
    };
    let target = target.ok_or(Unwritten::Unencodable)?;
    let ttl = context.settings.node_ttl;
    message.pointer(Section::Answer, Written::Question, rtype::PTR, ttl, target)
}

/// Labels of a dotted name in wire format, without a root.
struct Labels {
    octets: [u8; 256],
}

impl Default for Labels {
    fn default() -> Self {
        Self { octets: [0; 256] }
    }
}

impl Labels {
    fn read(&mut self, text: &str) -> Option<&[u8]> {
        let mut at = 0;
        for label in text.split('.') {
            let end = at + 1 + label.len();
            let length = u8::try_from(label.len()).ok()?;
            if !(1..=LABEL_OCTETS_MAX).contains(&label.len()) {
                return None;
            }
            let (first, rest) = self.octets.get_mut(at..end)?.split_first_mut()?;
            *first = length;
            rest.copy_from_slice(label.as_bytes());
            at = end;
        }
        self.octets.get(..at)
    }
}

/// What a name below `arpa.` denotes.
pub(super) fn read(name: &Name) -> Reverse {
    let labels = name.labels();
    match name.suffix(labels.saturating_sub(2)) {
        b"\x07in-addr\x04arpa\0" => match labels {
            V4_LABELS => read_v4(name).map_or(Reverse::Other, Reverse::Address),
            ..V4_LABELS => Reverse::Part,
            _ => Reverse::Other,
        },
        b"\x03ip6\x04arpa\0" => match labels {
            V6_LABELS => read_v6(name).map_or(Reverse::Other, Reverse::Address),
            ..V6_LABELS => Reverse::Part,
            _ => Reverse::Other,
        },
        b"\x04arpa\0" => Reverse::Part,
        _ => Reverse::Other,
    }
}

/// Four decimal numbers without leading zeros, the last one first.
fn read_v4(name: &Name) -> Option<IpAddr> {
    let mut octets = [0; 4];
    for (label, octet) in octets.iter_mut().rev().enumerate() {
        let digits = name.label(label);
        let is_padded = digits.len() > 1 && digits.starts_with(b"0");
        let is_number = digits.iter().all(u8::is_ascii_digit) && !is_padded;
        *octet = std::str::from_utf8(digits)
            .ok()
            .filter(|_| is_number)?
            .parse()
            .ok()?;
    }
    Some(Ipv4Addr::from(octets).into())
}

/// 32 hexadecimal digits, the last one first.
fn read_v6(name: &Name) -> Option<IpAddr> {
    let mut bits = 0_u128;
    for label in (0..32).rev() {
        let &[digit] = name.label(label) else {
            return None;
        };
        let digit = char::from(digit).to_digit(16)?;
        bits = bits << 4 | u128::from(digit);
    }
    Some(Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use super::super::name::wire_from_text;
    use super::*;

    fn reverse(text: &str) -> Reverse {
        let mut name = Name::default();
        name.read(&wire_from_text(text, 255).unwrap()).unwrap();
        read(&name)
    }

    #[test]
    fn whole_names_are_addresses_and_shorter_ones_parts() {
        assert_eq!(
            reverse("1.0.0.10.IN-ADDR.arpa"),
            Reverse::Address(IpAddr::from([10, 0, 0, 1]))
        );
        let digits = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
        assert_eq!(
            reverse(&format!("{digits}.ip6.arpa")),
            Reverse::Address("2001:db8::1".parse().unwrap())
        );
        for part in [
            "10.in-addr.arpa",
            "in-addr.arpa",
            "ip6.arpa",
            "8.b.d.ip6.arpa",
            "arpa",
        ] {
            assert_eq!(reverse(part), Reverse::Part, "{part}");
        }
    }

    #[test]
    fn names_that_are_no_address_are_neither() {
        for other in [
            "5.1.0.0.10.in-addr.arpa",
            "256.0.0.10.in-addr.arpa",
            "01.0.0.10.in-addr.arpa",
            "x.0.0.10.in-addr.arpa",
            "+1.0.0.10.in-addr.arpa",
            "e164.arpa",
        ] {
            assert_eq!(reverse(other), Reverse::Other, "{other}");
        }
        assert_eq!(
            reverse("0.0.0.0.in-addr.arpa"),
            Reverse::Address(IpAddr::from([0, 0, 0, 0]))
        );
    }
}

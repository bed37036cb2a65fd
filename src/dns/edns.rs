//! EDNS (RFC 6891): what the OPT record of a query says, and the extended errors (RFC 8914) that
//! the one of an answer carries. `encode` writes it.

use std::fmt::{self, Write};

/// Option code of the client subnet (RFC 7871 §6).
const OPTION_SUBNET: u16 = 8;
/// Longest client subnet option: its head and an IPv6 address.
const SUBNET_OCTETS_MAX: usize = 4 + 16;
/// Longest text of an extended error, in octets; longer texts are cut.
const TEXT_OCTETS_MAX: usize = 160;

/// What the OPT record of a query says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edns {
    /// Octets of UDP payload that the client accepts, as sent.
    pub(super) size: u16,
    /// Version; herald speaks 0.
    pub(super) version: u8,
    /// The client subnet, to be sent back.
    pub(super) subnet: Option<Subnet>,
}

impl Edns {
    /// Reads an OPT record. `None` if it is against the format; options of another version than 0
    /// are not read, since their format is not known.
    pub(super) fn read(class: u16, ttl: [u8; 4], rdata: &[u8]) -> Option<Self> {
        let [_, version, _, _] = ttl;
        let mut edns = Self {
            size: class,
            version,
            subnet: None,
        };
        if version == 0 {
            edns.read_options(rdata)?;
        }
        Some(edns)
    }

    /// Checks that options fill the RDATA and keeps the first client subnet. Others are not known
    /// here and ignored (RFC 6891 §6.1.2).
    fn read_options(&mut self, rdata: &[u8]) -> Option<()> {
        let mut rest = rdata;
        while !rest.is_empty() {
            let (&[code0, code1, length0, length1], tail) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes([length0, length1]));
            let (option, tail) = tail.split_at_checked(length)?;
            rest = tail;
            if u16::from_be_bytes([code0, code1]) == OPTION_SUBNET {
                let read = Subnet::read(option)?;
                self.subnet = self.subnet.or(Some(read));
            }
        }
        Some(())
    }

    /// Octets of the answer's OPT record without extended errors.
    pub(super) fn octets(&self) -> usize {
        11 + self.subnet.map_or(0, |subnet| 4 + subnet.octets().len())
    }
}

/// The client subnet option's data as it goes back: the scope is 0, since no answer depends on
/// where the client is (RFC 7871 §7.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    data: [u8; SUBNET_OCTETS_MAX],
    length: usize,
}

impl Subnet {
    /// RFC 7871 §7.1.1: too few or too many address octets, or bits beyond the prefix, are FORMERR.
    fn read(option: &[u8]) -> Option<Self> {
        let (&[family0, family1, prefix, _scope], address) = option.split_first_chunk()?;
        let bits = match u16::from_be_bytes([family0, family1]) {
            0 => 0,
            1 => 32,
            2 => 128,
            _ => return None,
        };
        let fits = prefix <= bits && address.len() == usize::from(prefix.div_ceil(8));
        let beyond = match (prefix % 8, address.last()) {
            (0, _) | (_, None) => 0,
            (used, Some(last)) => last & (0xff >> used),
        };
        if !fits || beyond != 0 {
            return None;
        }
        let mut data = [0; SUBNET_OCTETS_MAX];
        data.get_mut(..4)?
            .copy_from_slice(&[family0, family1, prefix, 0]);
        data.get_mut(4..option.len())?.copy_from_slice(address);
        Some(Self {
            data,
            length: option.len(),
        })
    }

    /// The option's data.
    pub(super) fn octets(&self) -> &[u8] {
        self.data.get(..self.length).unwrap_or_default()
    }

    /// The option's code.
    pub(super) const fn code() -> u16 {
        OPTION_SUBNET
    }
}

/// INFO-CODE of an extended error (RFC 8914 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// 0: see the text.
    Other,
    /// 3: the answer may be older than the leader's.
    StaleAnswer,
    /// 14: no state is loaded yet.
    NotReady,
    /// 19: as `StaleAnswer`, on NXDOMAIN.
    StaleNxdomain,
    /// 22: nobody who knows can be reached.
    NoReachableAuthority,
}

impl Code {
    /// The number on the wire.
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Other => 0,
            Self::StaleAnswer => 3,
            Self::NotReady => 14,
            Self::StaleNxdomain => 19,
            Self::NoReachableAuthority => 22,
        }
    }
}

/// Why nothing was answered, in words for people; no allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    octets: [u8; TEXT_OCTETS_MAX],
    length: usize,
}

impl Text {
    /// What `arguments` say, cut at the longest text.
    pub(super) fn new(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self {
            octets: [0; TEXT_OCTETS_MAX],
            length: 0,
        };
        // Too long a text is cut and so still says how it starts.
        let _ = text.write_fmt(arguments);
        text
    }

    /// The text in UTF-8 (all of herald's are ASCII).
    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        let place = self.octets.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edns(rdata: &[u8]) -> Option<Edns> {
        Edns::read(4096, [0; 4], rdata)
    }

    mod rfc6891 {
        use super::*;

        #[test]
        fn unknown_options_are_ignored() {
            let read = edns(b"\0\x0a\0\x08cookie12\xff\xff\0\0").unwrap();
            assert_eq!((read.size, read.version, read.subnet), (4096, 0, None));
            assert_eq!(read.octets(), 11);
        }

        #[test]
        fn options_that_do_not_fill_the_rdata_are_malformed() {
            assert!(edns(b"\0\x0a\0\x09cookie12").is_none());
            assert!(edns(b"\0\x0a\0").is_none());
        }

        #[test]
        fn options_of_a_later_version_are_not_read() {
            let read = Edns::read(1232, [0, 1, 0, 0], b"\xff").unwrap();
            assert_eq!(read.version, 1);
        }
    }

    mod rfc7871 {
        use super::*;

        #[test]
        fn a_subnet_goes_back_with_scope_zero() {
            let read = edns(b"\0\x08\0\x07\0\x01\x18\x10\x0a\x01\x02").unwrap();
            assert_eq!(read.subnet.unwrap().octets(), b"\0\x01\x18\0\x0a\x01\x02");
            assert_eq!(read.octets(), 11 + 4 + 7);
        }

        #[test]
        fn a_subnet_against_its_format_is_malformed() {
            for option in [
                b"\0\x01\x18\0\x0a\x01".as_slice(),  // too few octets
                b"\0\x01\x18\0\x0a\x01\x02\x03",     // too many
                b"\0\x01\x17\0\x0a\x01\x03",         // a bit beyond the prefix
                b"\0\x01\x21\0\x0a\x01\x02\x03\x04", // longer than an address
                b"\0\x03\x08\0\x0a",                 // unknown family
                b"\0\x01\x18",
            ] {
                assert_eq!(Subnet::read(option), None, "{option:?}");
            }
            assert!(Subnet::read(b"\0\x01\x17\0\x0a\x01\x02").is_some());
            assert!(Subnet::read(b"\0\0\0\0").is_some());
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut() {
        let text = Text::new(format_args!("{}{}", "a", "b".repeat(TEXT_OCTETS_MAX)));
        assert_eq!(text.octets(), b"a");
    }
}

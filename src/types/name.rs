//! Names: of nodes, services, checks and datacenters.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// Longest name of a node or service, in octets: leaves room for `.service.<dc>.<domain>` below the
/// 255 octets of a whole name (RFC 1035 §2.3.4).
const NAME_OCTETS_MAX: usize = 180;
/// Longest label of a domain name, in octets (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;
/// Longest id of a service or check, in octets.
const ID_OCTETS_MAX: usize = 1024;

/// Why a text is no name. Nothing was changed; the same text fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("{what} is empty")]
    Empty {
        /// What the name denotes, as in `service name`.
        what: &'static str,
    },
    /// The name is longer than herald accepts.
    #[error("{what} has {octets} octets, at most {max} are allowed")]
    Length {
        /// What the name denotes.
        what: &'static str,
        /// Length found, in octets.
        octets: usize,
        /// Longest allowed, in octets.
        max: usize,
    },
    /// A dot-separated part is longer than a DNS label or empty: no question could ever name it.
    #[error(
        "{what} {name:?} has a label of {octets} octets, 1 to 63 are allowed (RFC 1035 section 2.3.4)"
    )]
    Label {
        /// What the name denotes.
        what: &'static str,
        /// The text that was refused.
        name: String,
        /// Length of the label, in octets.
        octets: usize,
    },
}

/// Whether `text` is one host-name label as Consul's own names use it: letters, digits, hyphens.
///
/// Other names are legal in the catalog and in the DNS, but are worth a warning.
pub fn is_dns_label(text: &str) -> bool {
    (1..=LABEL_OCTETS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

fn check_length(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty { what }),
        octets if octets > max => Err(NameError::Length { what, octets, max }),
        _ => Ok(()),
    }
}

fn check_labels(what: &'static str, text: &str) -> Result<(), NameError> {
    check_length(what, text, NAME_OCTETS_MAX)?;
    match text
        .split('.')
        .find(|label| !(1..=LABEL_OCTETS_MAX).contains(&label.len()))
    {
        None => Ok(()),
        Some(label) => Err(NameError::Label {
            what,
            name: text.to_owned(),
            octets: label.len(),
        }),
    }
}

/// ASCII case-insensitive order: the order in which lists are answered.
fn compare_folded(left: &str, right: &str) -> Ordering {
    let (mut left_rest, mut right_rest) = (left.as_bytes(), right.as_bytes());
    while let (Some((left_word, left_next)), Some((right_word, right_next))) = (
        left_rest.split_first_chunk(),
        right_rest.split_first_chunk(),
    ) {
        match fold_word(*left_word).cmp(&fold_word(*right_word)) {
            Ordering::Equal => (left_rest, right_rest) = (left_next, right_next),
            unequal => return unequal,
        }
    }
    // Less than a word is left of one of them. Filled up with zeros: where that is equal, the
    // shorter one is the beginning of the longer.
    first_word(left_rest)
        .cmp(&first_word(right_rest))
        .then_with(|| left.len().cmp(&right.len()))
}

/// The first eight octets, or all of them and zeros, folded.
fn first_word(octets: &[u8]) -> u64 {
    if let Some(word) = octets.first_chunk() {
        return fold_word(*word);
    }
    let mut word = [0; 8];
    // Two overlapping halves: a loop over octets takes several times as long.
    if let (Some(first), Some(last)) = (octets.first_chunk::<4>(), octets.last_chunk::<4>()) {
        let place = octets.len() - 4;
        word[..4].copy_from_slice(first);
        word[place..place + 4].copy_from_slice(last);
    } else {
        for (to, octet) in word.iter_mut().zip(octets) {
            *to = *octet;
        }
    }
    fold_word(word)
}

/// Eight octets in ASCII lower case, as a number of the same order.
///
/// Names are compared at every step of every lookup in an ordered map: a loop over octets was a
/// third of the time of applying a change.
fn fold_word(octets: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let word = u64::from_be_bytes(octets);
    let low = word & !HIGH;
    // The high bit of each octet says whether it is at least `A`, and whether it is above `Z`.
    let from_a = low + (0x80 - 0x41) * ONES;
    let above_z = low + (0x7f - 0x5a) * ONES;
    let capitals = from_a & !above_z & !word & HIGH;
    word | (capitals >> 2)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as it was registered.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name in ASCII lower case: the key that DNS lookups use.
            pub fn folded(&self) -> Box<[u8]> {
                self.0.as_bytes().to_ascii_lowercase().into()
            }

            /// Whether both are the same allocation, so that an equal spelling need not be kept
            /// twice.
            pub fn same_spelling(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&'static str, &str) -> Result<(), NameError> = $check;
                check($what, text)?;
                Ok(Self(text.into()))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }
        impl Eq for $name {}
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                compare_folded(&self.0, &other.0)
            }
        }
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                for part in self.0.as_bytes().chunks(32) {
                    let mut folded = [0; 32];
                    let folded = &mut folded[..part.len()];
                    folded.copy_from_slice(part);
                    folded.make_ascii_lowercase();
                    state.write(folded);
                }
                state.write_u8(0xff);
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, formatter)
            }
        }
    };
}

name! {
    /// Name of a node: dot-separated labels of 1 to 63 octets, 180 octets in all. Any octets are
    /// accepted; `[A-Za-z0-9-]` is what other software expects.
    NodeName, "node name", check_labels
}
name! {
    /// Name of a service: dot-separated labels of 1 to 63 octets, 180 octets in all.
    ///
    /// A name with a dot is accepted, but the dot makes it unreachable over DNS (dots separate
    /// tags there): callers log a warning where [`is_dns_label`] is false.
    ServiceName, "service name", check_labels
}
name! {
    /// Id of a service instance, unique on its node: 1 to 1,024 octets of any kind.
    ServiceId, "service id", |what, text| check_length(what, text, ID_OCTETS_MAX)
}
name! {
    /// Id of a check, unique on its node: 1 to 1,024 octets of any kind.
    CheckId, "check id", |what, text| check_length(what, text, ID_OCTETS_MAX)
}

/// Name of a datacenter: one DNS label in lower case, 1 to 63 octets (RFC 1035 §2.3.4) of
/// letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Datacenter(Arc<str>);

/// Why a text names no datacenter. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatacenterError {
    /// A character other than a letter, a digit, `-` or `_`.
    #[error("datacenter {name:?} may only have letters, digits, '-' and '_'")]
    Characters {
        /// The text that was refused.
        name: String,
    },
    /// Empty, or longer than a DNS label.
    #[error("datacenter has {octets} octets, 1 to 63 are allowed")]
    Length {
        /// Length found, in octets.
        octets: usize,
    },
}

impl Datacenter {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Datacenter {
    type Err = DatacenterError;
    fn from_str(text: &str) -> Result<Self, DatacenterError> {
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        match text.len() {
            1..=LABEL_OCTETS_MAX if text.bytes().all(allowed) => {
                Ok(Self(text.to_ascii_lowercase().into()))
            }
            1..=LABEL_OCTETS_MAX => Err(DatacenterError::Characters {
                name: text.to_owned(),
            }),
            octets => Err(DatacenterError::Length { octets }),
        }
    }
}

impl fmt::Display for Datacenter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_keep_their_spelling() {
        let registered: ServiceName = "Web".parse().unwrap();
        let asked: ServiceName = "wEB".parse().unwrap();
        assert_eq!(registered, asked);
        assert_eq!(registered.cmp(&asked), Ordering::Equal);
        assert_eq!(registered.as_str(), "Web");
        assert_eq!(&*registered.folded(), b"web");
    }

    #[test]
    fn the_order_is_that_of_folded_octets() {
        let texts = [
            "a",
            "A",
            "b",
            "Z",
            "[",
            "@",
            "`",
            "{",
            "z",
            "aaaaaaaa",
            "AAAAAAAAb",
            "aaaaaaaaB",
            "aaaaaaaab\0",
            "aaaaaaaa\0",
            "aaaaaaaac",
            "caf\u{e9}",
            "caf\u{c9}",
            "node-1234567",
            "node-12345678",
            "NODE-123456789",
            "node-12345679",
            "a\0",
            "a\0\0\0\0\0\0\0b",
        ];
        for left in texts {
            for right in texts {
                let expected = left.to_ascii_lowercase().cmp(&right.to_ascii_lowercase());
                assert_eq!(compare_folded(left, right), expected, "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn names_that_no_question_can_carry_are_refused() {
        let octets_63 = "a".repeat(63);
        assert!(octets_63.parse::<ServiceName>().is_ok());
        assert!(matches!(
            "a".repeat(64).parse::<ServiceName>(),
            Err(NameError::Label { octets: 64, .. })
        ));
        assert!(matches!(
            "".parse::<NodeName>(),
            Err(NameError::Empty { .. })
        ));
        assert!(matches!(
            "a..b".parse::<NodeName>(),
            Err(NameError::Label { octets: 0, .. })
        ));
        let long = [octets_63.as_str(); 4].join(".");
        assert!(matches!(
            long.parse::<NodeName>(),
            Err(NameError::Length { octets: 255, .. })
        ));
    }

    #[test]
    fn unfriendly_names_are_accepted() {
        for text in ["a b", "caf\u{e9}", "_x", "/etc/x", "nul\0", "a.b"] {
            assert!(text.parse::<ServiceName>().is_ok(), "{text:?}");
            assert!(!is_dns_label(text));
        }
    }

    #[test]
    fn datacenters_fold_to_lower_case() {
        assert_eq!("DC1".parse::<Datacenter>().unwrap().as_str(), "dc1");
        assert!(matches!(
            "d.c".parse::<Datacenter>(),
            Err(DatacenterError::Characters { .. })
        ));
        assert!(matches!(
            "".parse::<Datacenter>(),
            Err(DatacenterError::Length { octets: 0 })
        ));
    }
}

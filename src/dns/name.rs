//! Domain names in wire format: labels, each after its length, ended by the root (RFC 1035 §3.1).
//!
//! Owns the limits of names and the folded copy of a name that lookups use. Reading names out of
//! messages is `question`'s, writing them `encode`'s.

/// Longest name with its root, in octets (RFC 1035 §2.3.4).
pub(super) const NAME_OCTETS_MAX: usize = 255;
/// Longest label without its length octet (RFC 1035 §2.3.4).
pub(super) const LABEL_OCTETS_MAX: usize = 63;
/// Most labels of a name, the root not counted: each takes at least two octets of 254.
const LABELS_MAX: usize = 127;

/// Why a text is no domain name. Nothing was changed; the same text fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// A label is empty or too long.
    #[error("{name:?} has a label of {octets} octets, 1 to 63 are allowed")]
    Label {
        /// The text that was refused.
        name: String,
        /// Length of the label, in octets.
        octets: usize,
    },
    /// The whole name is too long.
    #[error("{name:?} takes {octets} octets, at most {max} are allowed")]
    Length {
        /// The text that was refused.
        name: String,
        /// Length in wire format, in octets.
        octets: usize,
        /// Longest allowed, in octets.
        max: usize,
    },
}

/// The wire format of a dotted text in ASCII lower case; the final dot may be left out and `.` is
/// the root. `octets_max` bounds the result.
pub(super) fn wire_from_text(text: &str, octets_max: usize) -> Result<Box<[u8]>, DomainError> {
    let mut wire = Vec::with_capacity(text.len() + 2);
    let labels = text.strip_suffix('.').unwrap_or(text);
    for label in labels.split('.').filter(|_| !labels.is_empty()) {
        match u8::try_from(label.len()) {
            Ok(length) if (1..=LABEL_OCTETS_MAX).contains(&label.len()) => wire.push(length),
            _ => {
                return Err(DomainError::Label {
                    name: text.to_owned(),
                    octets: label.len(),
                });
            }
        }
        wire.extend(label.bytes().map(|octet| octet.to_ascii_lowercase()));
    }
    wire.push(0);
    if wire.len() > octets_max {
        return Err(DomainError::Length {
            name: text.to_owned(),
            octets: wire.len(),
            max: octets_max,
        });
    }
    Ok(wire.into())
}

/// Number of labels of a name in wire format, the root not counted.
pub(super) fn count_labels(wire: &[u8]) -> usize {
    labels(wire).count()
}

/// The labels of a name in wire format, without their length octets.
pub(super) fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (length, tail) = rest.split_first()?;
        let (label, tail) = tail.split_at_checked(usize::from(*length))?;
        rest = tail;
        (!label.is_empty()).then_some(label)
    })
}

/// A name in ASCII lower case (RFC 4343 §3: names compare without regard to case), with the
/// positions of its labels.
///
/// **Invariant**: `octets[..length]` is a whole name in wire format, and `starts[..labels]` are the
/// positions of its length octets in ascending order.
#[derive(Clone, Debug)]
pub(super) struct Name {
    octets: [u8; 256],
    length: usize,
    starts: [u8; 128],
    labels: usize,
    is_lower: bool,
}

impl Default for Name {
    fn default() -> Self {
        Self {
            octets: [0; 256],
            length: 1,
            starts: [0; 128],
            labels: 0,
            is_lower: true,
        }
    }
}

impl Name {
    /// Takes over the name at the start of `wire`, folding it. `None` if there is no whole,
    /// uncompressed name of at most 255 octets; the value is the root then.
    pub(super) fn read(&mut self, wire: &[u8]) -> Option<usize> {
        self.length = 1;
        self.labels = 0;
        let mut at = 0_usize;
        let mut labels = 0_usize;
        loop {
            let octet = *wire.get(at)?;
            let length = usize::from(octet);
            if length == 0 {
                break;
            }
            // The two high bits tell a pointer (11) and the types of RFC 2671 and RFC 2673, which
            // RFC 6891 §5 withdrew, from a label.
            if length > LABEL_OCTETS_MAX || labels == LABELS_MAX {
                return None;
            }
            *self.starts.get_mut(labels)? = u8::try_from(at).ok()?;
            labels += 1;
            at += 1 + length;
        }
        let length = at + 1;
        if length > NAME_OCTETS_MAX {
            return None;
        }
        let kept = self.octets.get_mut(..length)?;
        // A length octet is at most 63 and so never an upper-case letter.
        let mut changed = 0;
        for (kept, octet) in kept.iter_mut().zip(wire.get(..length)?) {
            *kept = octet.to_ascii_lowercase();
            changed |= *kept ^ octet;
        }
        self.is_lower = changed == 0;
        self.length = length;
        self.labels = labels;
        Some(length)
    }

    /// Octets of the name, its root included.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Number of labels, the root not counted.
    pub(super) fn labels(&self) -> usize {
        self.labels
    }

    /// Whether it had no upper-case letter before it was folded.
    pub(super) fn is_lower(&self) -> bool {
        self.is_lower
    }

    /// Position of a label's length octet; that of the root for `label == labels()`.
    #[inline]
    pub(super) fn start(&self, label: usize) -> usize {
        if label < self.labels {
            self.starts
                .get(label)
                .map_or(0, |start| usize::from(*start))
        } else {
            self.length - 1
        }
    }

    /// The name from a label on, in wire format.
    #[inline]
    pub(super) fn suffix(&self, label: usize) -> &[u8] {
        self.octets
            .get(self.start(label)..self.length)
            .unwrap_or_default()
    }

    /// One label without its length octet; empty past the end.
    #[inline]
    pub(super) fn label(&self, label: usize) -> &[u8] {
        self.octets
            .get(self.start(label) + 1..self.start(label + 1))
            .unwrap_or_default()
    }

    /// The labels from `first` to before `end` in wire format, without a root.
    #[inline]
    pub(super) fn wire(&self, first: usize, end: usize) -> &[u8] {
        self.octets
            .get(self.start(first)..self.start(end))
            .unwrap_or_default()
    }
}

/// Labels joined with dots, as the catalog keys its names. Owns the octets where there are several
/// labels, so that none is allocated.
#[derive(Clone, Debug)]
pub(super) struct Dotted {
    octets: [u8; 256],
    length: usize,
}

impl Default for Dotted {
    fn default() -> Self {
        Self {
            octets: [0; 256],
            length: 0,
        }
    }
}

impl Dotted {
    /// Joins the labels of `wire`. `None` if there is none, or one holds a dot itself: such a name
    /// (`a\.b`) is another than that of two labels and never in the catalog.
    pub(super) fn join<'a>(&'a mut self, wire: &'a [u8]) -> Option<&'a [u8]> {
        let (first, rest) = wire.split_first()?;
        if rest.contains(&b'.') {
            return None;
        }
        if usize::from(*first) == rest.len() {
            return Some(rest);
        }
        self.length = 0;
        for label in labels(wire) {
            if self.length > 0 {
                self.push(b".")?;
            }
            self.push(label)?;
        }
        self.octets.get(..self.length)
    }

    fn push(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.length + octets.len();
        self.octets
            .get_mut(self.length..end)?
            .copy_from_slice(octets);
        self.length = end;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_lower_case_wire_names() {
        assert_eq!(&*wire_from_text("Consul.", 255).unwrap(), b"\x06consul\0");
        assert_eq!(&*wire_from_text("a.B", 255).unwrap(), b"\x01a\x01b\0");
        assert_eq!(&*wire_from_text(".", 255).unwrap(), b"\0");
        assert!(matches!(
            wire_from_text("a..b", 255),
            Err(DomainError::Label { octets: 0, .. })
        ));
        assert!(matches!(
            wire_from_text(&"a".repeat(64), 255),
            Err(DomainError::Label { octets: 64, .. })
        ));
        let long = ["a".repeat(63).as_str(); 4].join(".");
        assert!(matches!(
            wire_from_text(&long, 255),
            Err(DomainError::Length { octets: 257, .. })
        ));
    }

    #[test]
    fn names_are_folded_and_split() {
        let mut name = Name::default();
        assert_eq!(name.read(b"\x03WeB\x06consul\0rest"), Some(12));
        assert_eq!(name.labels(), 2);
        assert_eq!(name.label(0), b"web");
        assert_eq!(name.label(1), b"consul");
        assert_eq!(name.label(2), b"");
        assert_eq!(name.suffix(1), b"\x06consul\0");
        assert_eq!(name.suffix(2), b"\0");
        assert_eq!(name.wire(0, 1), b"\x03web");
    }

    #[test]
    fn a_label_with_a_dot_is_no_two_labels() {
        let mut dotted = Dotted::default();
        assert_eq!(dotted.join(b"\x01a\x01b"), Some(b"a.b".as_slice()));
        assert_eq!(dotted.join(b"\x03a-b"), Some(b"a-b".as_slice()));
        assert_eq!(dotted.join(b"\x03a.b"), None);
        assert_eq!(dotted.join(b""), None);
    }

    mod rfc1035 {
        use super::*;

        #[test]
        fn labels_end_at_63_octets_and_names_at_255() {
            let label = |octets: u8| {
                let mut wire = vec![octets];
                wire.resize(1 + usize::from(octets), b'a');
                wire
            };
            let name = |lengths: &[u8]| {
                let mut wire: Vec<u8> = lengths.iter().flat_map(|octets| label(*octets)).collect();
                wire.push(0);
                wire
            };
            let mut read = Name::default();
            assert_eq!(read.read(&name(&[63, 63, 63, 61])), Some(255));
            assert_eq!(read.read(&name(&[63, 63, 63, 62])), None);
            assert_eq!(read.read(&name(&[64])), None);
            assert_eq!(read.read(&name(&[1; 127])), Some(255));
            assert_eq!(read.read(b"\xc0\x0c"), None);
            assert_eq!(read.read(b"\x03ab"), None);
            assert_eq!(read.read(b""), None);
        }
    }
}

//! Encodes host names and metadata into the octets that DNS answers copy.
//!
//! Pure functions; what cannot be encoded is `None`, never a panic.

/// Longest label (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;
/// Longest name in wire format, with the root (RFC 1035 §2.3.4).
const NAME_OCTETS_MAX: usize = 255;
/// Longest character-string (RFC 1035 §3.3).
const STRING_OCTETS_MAX: usize = 255;
/// Longest RDATA: its length has 16 bits (RFC 1035 §3.2.1).
const RDATA_OCTETS_MAX: usize = 65_535;

/// The labels of `name` in wire format, without the root, in the letter case given. `None` if a
/// label is empty or longer than 63 octets, or the whole name, with the root, longer than 255.
pub(super) fn labels(name: &str) -> Option<Box<[u8]>> {
    let mut octets = Vec::with_capacity(name.len() + 1);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if !(1..=LABEL_OCTETS_MAX).contains(&label.len()) {
            return None;
        }
        octets.push(length);
        octets.extend_from_slice(label.as_bytes());
    }
    (octets.len() < NAME_OCTETS_MAX).then(|| octets.into())
}

/// A host name in wire format, with the root; a final dot makes no difference. `None` as for
/// [`labels`].
pub(super) fn host(name: &str) -> Option<Box<[u8]>> {
    let mut octets = labels(name.strip_suffix('.').unwrap_or(name))?.into_vec();
    octets.push(0);
    Some(octets.into())
}

/// RDATA of the TXT record for one metadata pair, as `key=value` (RFC 1464 §2). `None` if it is
/// longer than RDATA can be.
///
/// In the key, a grave accent quotes itself, `=`, and leading and trailing spaces; in the value
/// only itself. A key that starts with `rfc1035-` stands for a whole string: its value alone.
pub(super) fn txt(key: &str, value: &str) -> Option<Box<[u8]>> {
    let mut text = Vec::with_capacity(key.len() + value.len() + 2);
    if !starts_with_folded(key, "rfc1035-") {
        quote_key(key, &mut text);
        text.push(b'=');
    }
    for octet in value.bytes() {
        if octet == b'`' {
            text.push(b'`');
        }
        text.push(octet);
    }
    character_strings(&text)
}

fn starts_with_folded(text: &str, prefix: &str) -> bool {
    text.as_bytes()
        .get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

fn quote_key(key: &str, text: &mut Vec<u8>) {
    let leading = key.len() - key.trim_start_matches(' ').len();
    let trailing = key.trim_end_matches(' ').len();
    for (position, octet) in key.bytes().enumerate() {
        let outer_space = octet == b' ' && (position < leading || position >= trailing);
        if outer_space || octet == b'`' || octet == b'=' {
            text.push(b'`');
        }
        text.push(octet);
    }
}

fn character_strings(text: &[u8]) -> Option<Box<[u8]>> {
    let mut rdata = Vec::with_capacity(text.len() + text.len() / STRING_OCTETS_MAX + 1);
    if text.is_empty() {
        rdata.push(0); // At least one string, even if empty (RFC 1035 §3.3.14).
    }
    for string in text.chunks(STRING_OCTETS_MAX) {
        rdata.push(u8::try_from(string.len()).ok()?);
        rdata.extend_from_slice(string);
    }
    (rdata.len() <= RDATA_OCTETS_MAX).then(|| rdata.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    mod rfc1035 {
        use super::*;

        #[test]
        fn hosts_are_encoded_in_registered_case() {
            assert_eq!(host("Db.example").unwrap()[..], *b"\x02Db\x07example\0");
            assert_eq!(host("db.example."), host("db.example"));
        }

        #[test]
        fn limits_of_labels_and_names_are_exact() {
            let label = "a".repeat(63);
            assert!(labels(&label).is_some());
            assert!(labels(&"a".repeat(64)).is_none());
            for empty in ["", ".", "a..b", ".a", "a.."] {
                assert!(host(empty).is_none(), "{empty:?}");
            }
            let longest = [&label[..], &label, &label, &"a".repeat(61)].join(".");
            assert_eq!(host(&longest).unwrap().len(), 255);
            assert!(host(&[&label[..], &label, &label, &"a".repeat(62)].join(".")).is_none());
        }

        #[test]
        fn long_texts_are_split_at_255_octets() {
            let rdata = txt("k", &"v".repeat(512)).unwrap();
            assert_eq!((rdata[0], rdata[256], rdata[512]), (255, 255, 4));
            assert_eq!(rdata.len(), 3 + 2 + 512);
            assert!(txt("k", &"v".repeat(65_536)).is_none());
        }
    }

    mod rfc1464 {
        use super::*;

        fn text(key: &str, value: &str) -> String {
            let rdata = txt(key, value).unwrap();
            assert_eq!(usize::from(rdata[0]), rdata.len() - 1);
            String::from_utf8(rdata[1..].to_vec()).unwrap()
        }

        #[test]
        fn keys_and_values_are_quoted() {
            assert_eq!(text("key", "value"), "key=value");
            assert_eq!(text("key", ""), "key=");
            assert_eq!(text("a=b", "c=d"), "a`=b=c=d");
            assert_eq!(text("a`b", "c`d"), "a``b=c``d");
            assert_eq!(text("  a b ", " c "), "` ` a b` = c ");
            assert_eq!(text("  ", ""), "` ` =");
        }

        #[test]
        fn whole_strings_have_no_key() {
            assert_eq!(text("RFC1035-x", "v=spf1"), "v=spf1");
            assert_eq!(text("rfc1035", "x"), "rfc1035=x");
            assert_eq!(txt("rfc1035-x", "").unwrap()[..], [0]);
        }
    }
}

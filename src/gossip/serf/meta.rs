//! Tags as they travel with a node: an octet `ff`, then a map of texts.

use std::time::Duration;

use super::Tags;
use crate::msgpack::{ReadError, Reader, Writer};

/// Octet before the map. What begins otherwise is the one tag `role` of very old peers.
const MAP: u8 = 0xff;

/// Octets that tags may take.
pub const META_OCTETS_MAX: usize = 512;

/// Reads what a node says of itself; nothing at all is no tags.
///
/// # Errors
/// It is no map of texts, or no text.
pub fn decode(meta: &[u8]) -> Result<Tags, ReadError> {
    let Some((first, map)) = meta.split_first() else {
        return Ok(Tags::new());
    };
    if *first != MAP {
        let role = std::str::from_utf8(meta).map_err(|_| ReadError::Text)?;
        return Ok(Tags::from([("role".to_owned(), role.to_owned())]));
    }
    let mut reader = Reader::new(map);
    let mut tags = Tags::new();
    for _ in 0..reader.map()? {
        let key = reader.text()?.to_owned();
        tags.insert(key, reader.text()?.to_owned());
    }
    Ok(tags)
}

/// Writes tags.
///
/// # Errors
/// They take more than [`META_OCTETS_MAX`] octets: how many.
pub(super) fn encode(tags: &Tags) -> Result<Vec<u8>, usize> {
    let mut meta = vec![MAP];
    write(tags, &mut Writer::old(&mut meta));
    if meta.len() > META_OCTETS_MAX {
        return Err(meta.len());
    }
    Ok(meta)
}

/// How soon a node wants to be forgotten once it has failed (`rc_tm`, as Go prints durations), if
/// it says so.
pub(super) fn reconnect_timeout(tags: &Tags) -> Option<Duration> {
    let mut rest = tags.get("rc_tm")?.as_str();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let end = behind.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, next) = behind.split_at_checked(end.unwrap_or(behind.len()))?;
        let unit = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
        total = total.checked_add(part)?;
        rest = next;
    }
    (!total.is_zero()).then_some(total)
}

/// Writes tags as a map.
pub(super) fn write(tags: &Tags, writer: &mut Writer<'_>) {
    writer.map(tags.len());
    for (key, value) in tags {
        writer.text(key);
        writer.text(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn tags_travel_as_a_marked_map() {
        let k = tags(&[("k", "v")]);
        assert_eq!(encode(&k).unwrap(), b"\xff\x81\xa1k\xa1v");
        assert_eq!(decode(b"\xff\x81\xa1k\xa1v"), Ok(k));
        assert_eq!(encode(&Tags::new()).unwrap(), b"\xff\x80");
        assert_eq!(decode(b"\xff\x80"), Ok(Tags::new()));
        assert_eq!(decode(b""), Ok(Tags::new()));
    }

    #[test]
    fn meta_without_the_mark_is_a_role() {
        assert_eq!(decode(b"web"), Ok(tags(&[("role", "web")])));
    }

    #[test]
    fn broken_tags_are_refused() {
        for meta in [
            b"\xff".as_slice(),
            b"\xff\x81",
            b"\xff\x81\xa1k",
            b"\xff\x81\xa1k\x01",
            b"\xff\xdf\xff\xff\xff\xff",
            b"\xfe\xfe",
        ] {
            assert!(decode(meta).is_err(), "{meta:?}");
        }
    }

    #[test]
    fn a_node_may_want_to_be_forgotten_soon() {
        let wanted = |text| reconnect_timeout(&tags(&[("rc_tm", text)]));
        assert_eq!(wanted("1h30m0s"), Some(Duration::from_secs(5_400)));
        assert_eq!(wanted("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(wanted("15ms"), Some(Duration::from_millis(15)));
        for text in [
            "",
            "0s",
            "h",
            "1",
            "1x",
            "-1s",
            "1..5s",
            "s1",
            "99999999999999999999999h",
        ] {
            assert_eq!(wanted(text), None, "{text}");
        }
        assert_eq!(reconnect_timeout(&Tags::new()), None);
    }

    #[test]
    fn tags_of_512_octets_fit_and_one_more_does_not() {
        let fits = tags(&[("k", &"v".repeat(512 - 2 - 2 - 3))]);
        assert_eq!(encode(&fits).unwrap().len(), 512);
        let long = tags(&[("k", &"v".repeat(512 - 2 - 2 - 2))]);
        assert_eq!(encode(&long), Err(513));
    }
}

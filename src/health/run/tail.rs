//! Keeps the end of a long output within bounds.

use super::text;

/// The last octets that were written, and how many there were in all.
#[derive(Debug)]
pub(super) struct Tail {
    kept: Vec<u8>,
    octets_max: usize,
    total: u64,
}

impl Tail {
    pub(super) fn new(octets_max: usize) -> Self {
        Self {
            kept: Vec::new(),
            octets_max,
            total: 0,
        }
    }

    /// Takes more in. Holds at most twice what is kept in the end, and what came last.
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.total = self
            .total
            .saturating_add(octets.len().try_into().unwrap_or(u64::MAX));
        self.kept.extend_from_slice(octets);
        if self.kept.len() > self.octets_max.saturating_mul(2) {
            self.trim();
        }
    }

    /// The output, or its last octets under a line that says so.
    pub(super) fn into_text(mut self) -> String {
        self.trim();
        let whole = u64::try_from(self.octets_max).unwrap_or(u64::MAX) >= self.total;
        // A character that was cut is left out.
        let cut = |octet: &u8| !whole && octet & 0b1100_0000 == 0b1000_0000;
        let start = self
            .kept
            .iter()
            .take(3)
            .take_while(|octet| cut(octet))
            .count();
        let end = text(self.kept.get(start..).unwrap_or_default(), self.octets_max);
        if whole {
            return end;
        }
        let (kept, total) = (self.kept.len(), self.total);
        format!("Captured {kept} of {total} bytes\n...\n{end}")
    }

    fn trim(&mut self) {
        let excess = self.kept.len().saturating_sub(self.octets_max);
        drop(self.kept.drain(..excess));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(octets_max: usize, parts: &[&[u8]]) -> String {
        let mut tail = Tail::new(octets_max);
        for part in parts {
            tail.push(part);
        }
        assert!(tail.kept.len() <= 2 * octets_max);
        tail.into_text()
    }

    #[test]
    fn short_output_is_kept_whole() {
        assert_eq!(tail(4, &[]), "");
        assert_eq!(tail(4, &[b"ab", b"cd"]), "abcd");
    }

    #[test]
    fn of_long_output_the_end_is_kept() {
        let parts: [&[u8]; 4] = [b"abc", b"defghijklm", b"n", b"op"];
        assert_eq!(tail(4, &parts), "Captured 4 of 16 bytes\n...\nmnop");
        assert_eq!(tail(0, &[b"abc"]), "Captured 0 of 3 bytes\n...\n");
    }

    #[test]
    fn no_character_is_cut_and_no_replacement_exceeds_the_limit() {
        let long = "a\u{e9}bc".as_bytes();
        assert_eq!(tail(3, &[long]), "Captured 3 of 5 bytes\n...\nbc");
        assert_eq!(tail(4, &[b"\xff\xff\xff\xff"]), "\u{fffd}");
    }
}

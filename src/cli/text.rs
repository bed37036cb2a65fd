//! Text of others on a terminal: names, tags, outputs and log lines may hold characters that move
//! the cursor, set a title or ring. They are shown in the spelling of Rust and never carried out.

use std::borrow::Cow;

/// `text` on one line: every control character in the form `\n` or `\u{1b}`, and so are the
/// characters that break lines or turn the direction of writing.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, &[])
}

/// The same for a line that is laid out with tabs, which stay.
pub(super) fn escape_but_tabs(text: &str) -> Cow<'_, str> {
    escape_but(text, &['\t'])
}

/// The same for a text of several lines, whose line feeds and tabs stay.
pub(super) fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_but(text, &['\n', '\t'])
}

fn escape_but<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let escapes = |letter: char| is_effective(letter) && !kept.contains(&letter);
    if !text.contains(escapes) {
        return Cow::Borrowed(text);
    }
    let mut spelled = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if escapes(letter) {
            spelled.extend(letter.escape_default());
        } else {
            spelled.push(letter);
        }
    }
    Cow::Owned(spelled)
}

/// Whether a terminal does something other than show it.
fn is_effective(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Most octets of one character in UTF-8.
const CHARACTER_OCTETS_MAX: usize = 4;

/// Escapes a text that comes in parts, which may end within a character.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The beginning of a character: fewer than [`CHARACTER_OCTETS_MAX`] octets.
    begun: Vec<u8>,
}

impl Stream {
    /// What can be shown now; octets that are no UTF-8 become the replacement character.
    pub(super) fn escape_lines(&mut self, octets: &[u8]) -> String {
        let mut whole = std::mem::take(&mut self.begun);
        whole.extend_from_slice(octets);
        let mut shown = String::with_capacity(whole.len());
        let mut chunks = whole.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            shown += &escape_lines(chunk.valid());
            let invalid = chunk.invalid();
            let unfinished = std::str::from_utf8(invalid)
                .is_err_and(|error| error.error_len().is_none() && !invalid.is_empty());
            if unfinished && chunks.peek().is_none() && invalid.len() < CHARACTER_OCTETS_MAX {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                shown.push(char::REPLACEMENT_CHARACTER);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_carry_out_is_spelled() {
        for (text, shown) in [
            ("web-1 ünï \\n", "web-1 ünï \\n"),
            ("a\u{1b}[31mred", "a\\u{1b}[31mred"),
            ("\u{7}\0\u{7f}", "\\u{7}\\u{0}\\u{7f}"),
            ("two\r\nlines\t", "two\\r\\nlines\\t"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}b\u{2028}", "a\\u{202e}b\\u{2028}"),
        ] {
            assert_eq!(escape(text), shown);
        }
        assert_eq!(escape_but_tabs("a\tb\n"), "a\tb\\n");
        assert_eq!(escape_lines("a\n\tb\r\u{1b}c\n"), "a\n\tb\\r\\u{1b}c\n");
    }

    #[test]
    fn a_text_in_parts_reads_like_the_whole() {
        let text = "ü\u{1b}[0m \u{9b}€\n😀\n";
        for size in 1..text.len() {
            let mut stream = Stream::default();
            let parts = text.as_bytes().chunks(size);
            let shown: String = parts.map(|part| stream.escape_lines(part)).collect();
            assert_eq!(shown, escape_lines(text), "parts of {size}");
        }
    }

    #[test]
    fn octets_that_are_no_text_are_replaced() {
        let mut stream = Stream::default();
        assert_eq!(stream.escape_lines(b"a\xffb\xe2\x82"), "a\u{fffd}b");
        assert_eq!(stream.escape_lines(b"c\n"), "\u{fffd}c\n");
        assert_eq!(stream.escape_lines(b"\x9b2J"), "\u{fffd}2J");
    }
}

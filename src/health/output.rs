//! Keeps the output of checks within bounds.

/// The first `octets_max` octets of `text`, with a note of how much was left out. A character that
/// straddles the limit is left out whole.
pub fn cap(text: &str, octets_max: usize) -> Box<str> {
    if text.len() <= octets_max {
        return text.into();
    }
    let captured = (0..=octets_max)
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or_default();
    format!(
        "{captured} ... (captured {} of {} bytes)",
        captured.len(),
        text.len()
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_ends_in_a_note_of_what_is_missing() {
        assert_eq!(*cap(&"x".repeat(4096), 4096), "x".repeat(4096));
        assert_eq!(
            *cap(&"x".repeat(6000), 4096),
            format!("{} ... (captured 4096 of 6000 bytes)", "x".repeat(4096))
        );
    }

    #[test]
    fn no_character_is_cut() {
        assert_eq!(*cap("a\u{e9}", 2), *"a ... (captured 1 of 3 bytes)");
        assert_eq!(*cap("abc", 0), *" ... (captured 0 of 3 bytes)");
    }
}

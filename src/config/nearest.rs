//! Guesses which name was meant by a misspelt one.

/// The name that takes the fewest edits to reach from `word`, if they are few enough to be a slip:
/// at most a third of its letters, and at least one.
pub(crate) fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    names
        .iter()
        .map(|name| (distance(&word, name), *name))
        .filter(|(edits, _)| *edits <= limit)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Fewest insertions, deletions, replacements and swaps of neighbours from `left` to `right`.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(above.len());
        current.push(row + 1);
        for (column, b) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("dns_config", "dns_confg"), 1);
        assert_eq!(distance("serevr", "server"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not_guessed() {
        let names = ["datacenter", "data_dir", "server"];
        assert_eq!(nearest("datacentre", &names), Some("datacenter"));
        assert_eq!(nearest("Serevr", &names), Some("server"));
        assert_eq!(nearest("bogus_key", &names), None);
    }
}

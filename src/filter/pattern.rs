//! Regular expressions as clients of the reference write them, with a bound on what one costs.

use regex::{Regex, RegexBuilder};

use super::EXPRESSION_OCTETS_MAX;

/// A compiled regular expression in the syntax of RE2. It matches anywhere, in a time that follows
/// the length of the text.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// The text is no regular expression, or too large a one; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    reason: String,
}

impl Pattern {
    /// Compiles `expression`, in at most [`EXPRESSION_OCTETS_MAX`] octets of memory.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn new(expression: &str) -> Result<Self, PatternError> {
        let compiled = compile(expression);
        compiled.map(Self).map_err(|reason| PatternError { reason })
    }

    /// Whether some part of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// The expression, or what is wrong with it.
pub(super) fn compile(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(&with_literals(expression))
        .size_limit(EXPRESSION_OCTETS_MAX)
        .dfa_size_limit(EXPRESSION_OCTETS_MAX)
        .build()
        .map_err(|error| complaint(&error))
}

/// RE2 takes what stands between `\Q` and `\E`, or the end, as it is written; programs in Go quote
/// literals so. The same with each of its signs escaped.
fn with_literals(expression: &str) -> String {
    let mut written = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some(place) = rest.find('\\') {
        let (before, from) = rest.split_at(place);
        written.push_str(before);
        if let Some(quoted) = from.strip_prefix("\\Q") {
            let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            written.push_str(&regex::escape(literal));
            rest = after;
        } else {
            // The sign behind a backslash is not looked at: it may be another one.
            let end = from.chars().take(2).map(char::len_utf8).sum();
            let (pair, after) = from.split_at(end);
            written.push_str(pair);
            rest = after;
        }
    }
    written + rest
}

/// What is wrong with a regular expression, in one line.
fn complaint(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("compiled it takes more than {limit} octets")
        }
        error => {
            // The text draws the place; its last line says what is wrong.
            let text = error.to_string();
            let line = text.lines().last().unwrap_or_default();
            let reason = line.strip_prefix("error: ").unwrap_or(line);
            format!("error parsing regexp: {reason}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_literals_are_escaped() {
        for (expression, written) in [
            (r"^\Qa.b\E+$", r"^a\.b+$"),
            (r"\Q[", r"\["),
            (r"\\Q.", r"\\Q."),
            (r"\d\Q\E\w", r"\d\w"),
            ("ä\\", "ä\\"),
        ] {
            assert_eq!(with_literals(expression), written);
        }
    }
}

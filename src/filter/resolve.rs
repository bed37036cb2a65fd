//! Ties an expression to the fields of a kind of row.

use std::num::IntErrorKind;

use regex::{Regex, RegexBuilder};

use super::evaluate::{Comparison, Condition, Test};
use super::field::{Kind, RowKind, Selected};
use super::syntax::{self, Expression, Operator};
use super::{EXPRESSION_OCTETS_MAX, EXPRESSIONS_MAX, FilterError};

/// Checks each condition against the field that it selects.
///
/// # Errors
/// The first condition that does not suit the rows.
pub(super) fn resolve(expression: &Expression, kind: RowKind) -> Result<Test, FilterError> {
    Resolver {
        kind,
        expressions: 0,
    }
    .test(expression)
}

struct Resolver {
    kind: RowKind,
    /// Regular expressions so far.
    expressions: usize,
}

impl Resolver {
    fn test(&mut self, expression: &Expression) -> Result<Test, FilterError> {
        Ok(match expression {
            Expression::All(parts) => Test::All(self.tests(parts)?),
            Expression::Any(parts) => Test::Any(self.tests(parts)?),
            Expression::Not(part) => Test::Not(Box::new(self.test(part)?)),
            Expression::Condition(condition) => {
                Test::Condition(Box::new(self.condition(condition)?))
            }
        })
    }

    fn tests(&mut self, parts: &[Expression]) -> Result<Box<[Test]>, FilterError> {
        parts.iter().map(|part| self.test(part)).collect()
    }

    fn condition(&mut self, condition: &syntax::Condition) -> Result<Condition, FilterError> {
        let selector = || condition.selector.dotted();
        let selected = Selected::find(self.kind, &condition.selector);
        let selected = selected.ok_or_else(|| FilterError::Selector {
            selector: selector(),
        })?;
        let unsuitable = || FilterError::Operator {
            operator: condition.operator.name(condition.negated),
            selector: selector(),
        };
        let coerce = |value: &str, comparison: Result<Comparison, String>| {
            comparison.map_err(|reason| FilterError::Value {
                value: value.to_owned(),
                selector: selector(),
                reason,
            })
        };
        let kind = selected.kind();
        let comparison = match (&condition.operator, kind) {
            (Operator::Equal(value), Kind::Text) => Comparison::Text(value.as_str().into()),
            (Operator::Equal(value), Kind::Number) => {
                coerce(value, integer(value).map(Comparison::Number))?
            }
            (Operator::Equal(value), Kind::Switch) => {
                coerce(value, switch(value).map(Comparison::Switch))?
            }
            (Operator::Matches(expression), Kind::Text) => {
                Comparison::Matches(self.compile(expression)?)
            }
            (Operator::In(value), Kind::Text | Kind::Texts | Kind::Pairs | Kind::Places) => {
                Comparison::In(value.as_str().into())
            }
            (Operator::Empty, Kind::Texts | Kind::Pairs | Kind::Places | Kind::List) => {
                Comparison::Empty
            }
            _ => return Err(unsuitable()),
        };
        Ok(Condition {
            selected,
            comparison,
            negated: condition.negated,
        })
    }

    fn compile(&mut self, expression: &str) -> Result<Regex, FilterError> {
        self.expressions += 1;
        if self.expressions > EXPRESSIONS_MAX {
            return Err(FilterError::Expressions);
        }
        let compiled = RegexBuilder::new(&with_literals(expression))
            .size_limit(EXPRESSION_OCTETS_MAX)
            .dfa_size_limit(EXPRESSION_OCTETS_MAX)
            .build();
        compiled.map_err(|error| FilterError::Expression {
            expression: expression.to_owned(),
            reason: complaint(&error),
        })
    }
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

/// A whole number as Go writes it: with a sign, and in any of its bases.
fn integer(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'+' | b'-') => text.split_at(1),
        _ => ("", text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let reason = |reason: &str| Err(format!("strconv.ParseInt: parsing {text:?}: {reason}"));
    // A second sign would be taken for one of the number's own.
    if digits.starts_with(['+', '-']) {
        return reason("invalid syntax");
    }
    match i64::from_str_radix(&format!("{sign}{digits}"), base) {
        Ok(number) => Ok(number),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => reason("value out of range"),
            _ => reason("invalid syntax"),
        },
    }
}

/// A boolean as Go reads it.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
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

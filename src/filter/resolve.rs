//! Ties an expression to the fields of a kind of row.

use std::num::IntErrorKind;

use regex::Regex;

use super::evaluate::{Comparison, Condition, Test};
use super::field::{Kind, RowKind, Selected};
use super::pattern::compile;
use super::syntax::{self, Expression, Operator};
use super::{EXPRESSIONS_MAX, FilterError};

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
        let compiled = compile(expression);
        compiled.map_err(|reason| FilterError::Expression {
            expression: expression.to_owned(),
            reason,
        })
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

//! Filter expressions (`?filter=`): which rows a read shows, as the client describes them.
//!
//! A text is read once: `lexer` cuts it into tokens, `parser` makes a `syntax` tree of them, and
//! `resolve` ties that to the fields of one kind of row (`field`), so that an unknown selector, an
//! operator that its type does not have, or a value of the wrong form is an error before any row is
//! looked at. `evaluate` then asks each row (`row`) for borrowed values and allocates nothing. What
//! a filter is applied to, and what an error is answered with, is the business of others. The regular
//! expressions of filters (`pattern`) serve others too.
//!
//! ```text
//! expression = all { "or" all }            selector op value:  ==  !=  matches  contains
//! all        = not { "and" not }           selector op:        is empty
//! not        = "not" not | "(" expression ")" | condition
//!                                          value op selector:  in
//! ```
//!
//! Each operator but `==` has its opposite with `not`: `not in`, `is not empty`. Keywords are in
//! lower case and selectors are matched exactly.
//!
//! **Invariant**: a filter that was read has at most [`CONDITIONS_MAX`] conditions, of which
//! [`EXPRESSIONS_MAX`] match a regular expression, nested at most [`NESTING_MAX`] deep.
//! **Invariant**: no text makes reading panic or recurse without bound.

mod evaluate;
mod field;
mod lexer;
mod parser;
mod pattern;
mod resolve;
mod row;
mod syntax;

#[cfg(test)]
mod tests;

use self::evaluate::Test;
use self::lexer::SyntaxError;

pub use self::field::{CheckField, Field, NodeField, RowKind, ServiceField};
pub use self::pattern::{Pattern, PatternError};
pub use self::row::{
    CatalogRow, CheckRow, HealthRow, NodeRow, Row, ServiceRow, Short, Value, check_row,
};

/// Longest filter, in octets.
pub const OCTETS_MAX: usize = 8 * 1024;
/// Deepest nesting of parentheses and `not`.
pub const NESTING_MAX: usize = 64;
/// Most conditions in one filter.
pub const CONDITIONS_MAX: usize = 256;
/// Most regular expressions in one filter.
pub const EXPRESSIONS_MAX: usize = 16;
/// Most memory for one compiled regular expression, in octets.
pub const EXPRESSION_OCTETS_MAX: usize = 256 * 1024;

/// Why a text is no filter; nothing was changed, and the same text fails again. The texts are those
/// of the reference, which clients show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text is too long.
    #[error("filter has {octets} octets, at most {OCTETS_MAX} are allowed")]
    Length {
        /// Length found, in octets.
        octets: usize,
    },
    /// The text does not follow the grammar.
    #[error("{0}")]
    Syntax(#[from] SyntaxError),
    /// No row has this field.
    #[error("Selector {selector:?} is not valid")]
    Selector {
        /// The selector, its parts joined by dots.
        selector: String,
    },
    /// The field cannot be asked this.
    #[error("Invalid match operator {operator:?} for selector {selector:?}")]
    Operator {
        /// The operator as the reference calls it.
        operator: &'static str,
        /// The selector.
        selector: String,
    },
    /// The value is none that the field could have.
    #[error("Failed to coerce value {value:?} for selector {selector:?}: {reason}")]
    Value {
        /// The value as written.
        value: String,
        /// The selector.
        selector: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The value of `matches` is no regular expression, or too large a one.
    #[error("Failed to compile regular expression {expression:?}: {reason}")]
    Expression {
        /// The regular expression as written.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Too many conditions match regular expressions.
    #[error("filter has more than {EXPRESSIONS_MAX} regular expressions")]
    Expressions,
}

/// A filter that was read for one kind of row.
#[derive(Clone, Debug)]
pub struct Filter {
    kind: RowKind,
    test: Test,
}

impl Filter {
    /// Reads `text` as a filter of rows of this kind. Regular expressions have the syntax of RE2
    /// and match anywhere; their classes (`\d`, `\w`) include letters and digits beyond ASCII.
    ///
    /// # Errors
    /// [`FilterError`]; an empty text is one too, since whoever has no filter does not read one.
    pub fn parse(text: &str, kind: RowKind) -> Result<Self, FilterError> {
        if text.len() > OCTETS_MAX {
            let octets = text.len();
            return Err(FilterError::Length { octets });
        }
        let expression = parser::parse(text)?;
        resolve::resolve(&expression, kind).map(|test| Self { kind, test })
    }

    /// Whether the row is shown. Allocates nothing, but for what a regular expression remembers
    /// between rows.
    pub fn takes<R: Row>(&self, row: &R) -> bool {
        debug_assert_eq!(self.kind, R::KIND, "a filter is for rows of one kind");
        self.test.holds(row)
    }

    /// Whether a row costs much: it takes a regular expression.
    pub fn is_costly(&self) -> bool {
        self.test.any(&|condition| condition.is_expression())
    }
}

//! The tree of an expression as written, before its selectors are known to exist.

use std::fmt;

/// An expression. What parentheses group stays a node of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// Joined by `and`: two or more.
    All(Vec<Expression>),
    /// Joined by `or`: two or more.
    Any(Vec<Expression>),
    /// `not` before it.
    Not(Box<Expression>),
    /// One condition.
    Condition(Condition),
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) selector: Selector,
    pub(super) operator: Operator,
    /// Whether the opposite is asked for.
    pub(super) negated: bool,
}

/// Names of fields and keys, from the outside in; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector(pub(super) Vec<String>);

/// What is asked about the selected field, with the value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `selector == value`
    Equal(String),
    /// `selector matches value`
    Matches(String),
    /// `value in selector`, and `selector contains value`, which means the same.
    In(String),
    /// `selector is empty`
    Empty,
}

impl Operator {
    /// What the reference calls it in errors.
    pub(super) fn name(&self, negated: bool) -> &'static str {
        match (self, negated) {
            (Self::Equal(_), false) => "Equal",
            (Self::Equal(_), true) => "Not Equal",
            (Self::Matches(_), false) => "Matches",
            (Self::Matches(_), true) => "Not Matches",
            (Self::In(_), false) => "In",
            (Self::In(_), true) => "Not In",
            (Self::Empty, false) => "Is Empty",
            (Self::Empty, true) => "Is Not Empty",
        }
    }
}

impl Selector {
    /// The parts joined by dots, as errors show them.
    pub(super) fn dotted(&self) -> String {
        self.0.join(".")
    }
}

/// Whether `text` can stand in a selector without quotes: a letter, then letters, digits and `_`.
pub(super) fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
}

/// Writes the expression so that reading it gives the same again.
impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => join(formatter, parts, " and "),
            Self::Any(parts) => join(formatter, parts, " or "),
            Self::Not(part) => {
                formatter.write_str("not ")?;
                grouped(formatter, part)
            }
            Self::Condition(condition) => write!(formatter, "{condition}"),
        }
    }
}

fn join(formatter: &mut fmt::Formatter<'_>, parts: &[Expression], word: &str) -> fmt::Result {
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            formatter.write_str(word)?;
        }
        grouped(formatter, part)?;
    }
    Ok(())
}

fn grouped(formatter: &mut fmt::Formatter<'_>, part: &Expression) -> fmt::Result {
    match part {
        Expression::All(_) | Expression::Any(_) => write!(formatter, "({part})"),
        Expression::Not(_) | Expression::Condition(_) => write!(formatter, "{part}"),
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selector = &self.selector;
        let not = if self.negated { "not " } else { "" };
        match &self.operator {
            Operator::Equal(value) => {
                let sign = if self.negated { "!=" } else { "==" };
                write!(formatter, "{selector} {sign} {}", Quoted(value))
            }
            Operator::Matches(value) => {
                write!(formatter, "{selector} {not}matches {}", Quoted(value))
            }
            Operator::In(value) => write!(formatter, "{} {not}in {selector}", Quoted(value)),
            Operator::Empty => write!(formatter, "{selector} is {not}empty"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            match number {
                0 => formatter.write_str(part)?,
                _ if is_word(part) => write!(formatter, ".{part}")?,
                _ => write!(formatter, "[{}]", Quoted(part))?,
            }
        }
        Ok(())
    }
}

/// A text in double quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"")?;
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(formatter, "\\{letter}")?,
                _ if letter.is_control() => write!(formatter, "\\U{:08x}", u32::from(letter))?,
                _ => write!(formatter, "{letter}")?,
            }
        }
        formatter.write_str("\"")
    }
}

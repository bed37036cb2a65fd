//! Asks rows whether they fulfil a filter. Nothing here can fail any more: `resolve` has checked
//! that each condition suits its field.

use regex::Regex;

use super::field::{Part, Selected};
use super::row::{Row, Value};

/// A resolved expression.
#[derive(Clone, Debug)]
pub(super) enum Test {
    All(Box<[Test]>),
    Any(Box<[Test]>),
    Not(Box<Test>),
    Condition(Box<Condition>),
}

/// One condition on one field.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) selected: Selected,
    pub(super) comparison: Comparison,
    pub(super) negated: bool,
}

/// What the field is compared with.
#[derive(Clone, Debug)]
pub(super) enum Comparison {
    Text(Box<str>),
    Number(i64),
    Switch(bool),
    Matches(Regex),
    In(Box<str>),
    Empty,
}

impl Test {
    /// Whether the row fulfils it.
    pub(super) fn holds<R: Row>(&self, row: &R) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(row)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(row)),
            Self::Not(test) => !test.holds(row),
            Self::Condition(condition) => condition.holds(row),
        }
    }

    /// Whether any of its conditions is such.
    pub(super) fn any(&self, such: &dyn Fn(&Condition) -> bool) -> bool {
        match self {
            Self::All(tests) | Self::Any(tests) => tests.iter().any(|test| test.any(such)),
            Self::Not(test) => test.any(such),
            Self::Condition(condition) => such(condition),
        }
    }
}

impl Condition {
    pub(super) fn is_expression(&self) -> bool {
        matches!(self.comparison, Comparison::Matches(_))
    }

    fn holds<R: Row>(&self, row: &R) -> bool {
        let field = self.selected.field;
        if self.selected.each {
            // Also where the opposite is asked for, any one decides.
            return row.any_check(|check| self.holds_for(check.value(field)));
        }
        self.holds_for(row.value(field))
    }

    fn holds_for(&self, value: Value<'_>) -> bool {
        let found = self.selected.part.of_value(value);
        // A key that is not there equals nothing, and so is unequal to everything.
        found.is_some_and(|value| self.comparison.holds(&value)) != self.negated
    }
}

impl Part {
    /// This part of `value`; `None` where there is no such key.
    fn of_value<'a>(&self, value: Value<'a>) -> Option<Value<'a>> {
        match self {
            Self::Whole => Some(value),
            Self::Key(key) => match value {
                Value::Meta(meta) => meta.get(key).map(Value::Text),
                Value::Addresses(addresses) => addresses.get(key).map(Into::into),
                _ => None,
            },
            Self::KeyAddress(key) | Self::KeyPort(key) => {
                let Value::Places(places) = value else {
                    return None;
                };
                let place = places.get(key)?;
                Some(match self {
                    Self::KeyPort(_) => Value::Number(place.port.into()),
                    _ => (&place.address).into(),
                })
            }
        }
    }
}

impl Comparison {
    fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Text(wanted), value) => text_of(value) == Some(wanted),
            (Self::Number(wanted), Value::Number(number)) => wanted == number,
            (Self::Switch(wanted), Value::Switch(switch)) => wanted == switch,
            (Self::Matches(regex), value) => {
                text_of(value).is_some_and(|text| regex.is_match(text))
            }
            (Self::In(wanted), value) => contains(value, wanted),
            (Self::Empty, value) => is_empty(value),
            (Self::Number(_) | Self::Switch(_), _) => false,
        }
    }
}

fn text_of<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    match value {
        Value::Text(text) => Some(text),
        Value::Short(short) => Some(short.as_str()),
        _ => None,
    }
}

/// Whether `wanted` is an element, a key or, in a text, a part.
fn contains(value: &Value<'_>, wanted: &str) -> bool {
    match value {
        Value::Texts(texts) => texts.iter().any(|text| **text == *wanted),
        Value::Meta(meta) => meta.get(wanted).is_some(),
        Value::Addresses(addresses) => addresses.contains_key(wanted),
        Value::Places(places) => places.contains_key(wanted),
        value => text_of(value).is_some_and(|text| text.contains(wanted)),
    }
}

fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Texts(texts) => texts.is_empty(),
        Value::Meta(meta) => meta.is_empty(),
        Value::Addresses(addresses) => addresses.is_empty(),
        Value::Places(places) => places.is_empty(),
        Value::List { is_empty } => *is_empty,
        _ => false,
    }
}

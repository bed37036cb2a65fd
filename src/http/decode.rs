//! Reads the JSON of a request body into a tree, within bounds.
//!
//! As clients of the reference rely on: the first value counts and what follows it is ignored;
//! the later of two equal keys wins (in [`super::fields`]).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::query::{cut, shown};

/// Deepest nesting of lists and objects.
const DEPTH_MAX: usize = 32;
/// Most values in one body: a tree takes several times the octets of its text.
const VALUES_MAX: usize = 200_000;

/// One JSON value; objects keep all their keys in the order given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction or exponent that fits 64 bits, signed or not.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// An object.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// What it is, for error texts: `the string "80"`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => format!("the string {}", cut(text)),
            Self::List(_) => "a list".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }
}

/// Why octets are no acceptable JSON. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// No value at all.
    #[error("EOF")]
    Empty,
    /// The value does not end.
    #[error("unexpected EOF")]
    Truncated,
    /// Not JSON, or past a bound, at or after the field named by `path`.
    #[error("{path}{reason}")]
    Invalid {
        /// Where, as in `field Check.TTL: `; empty at the top.
        path: String,
        /// What is wrong, with the limit.
        reason: String,
    },
}

/// Reads the first JSON value of `text`.
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn decode(text: &[u8]) -> Result<Value, DecodeError> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(DecodeError::Empty);
    }
    let mut tracker = Tracker::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let seed = Tree {
        tracker: &mut tracker,
        depth: 0,
    };
    seed.deserialize(&mut deserializer).map_err(|error| {
        if error.is_eof() {
            DecodeError::Truncated
        } else {
            DecodeError::Invalid {
                path: tracker.path(),
                reason: error.to_string(),
            }
        }
    })
}

/// Where decoding is: the keys that lead there stay behind when it fails.
#[derive(Debug, Default)]
struct Tracker {
    keys: Vec<String>,
    values: usize,
}

impl Tracker {
    fn path(&self) -> String {
        match self.keys.join(".") {
            path if path.is_empty() => path,
            path => format!("field {}: ", shown(&path)),
        }
    }
}

struct Tree<'a> {
    tracker: &'a mut Tracker,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.tracker.values += 1;
        if self.tracker.values > VALUES_MAX {
            return Err(D::Error::custom(format_args!(
                "more than {VALUES_MAX} values in one body"
            )));
        }
        deserializer.deserialize_any(self)
    }
}

impl Tree<'_> {
    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth == DEPTH_MAX {
            let limit = format_args!("nested deeper than {DEPTH_MAX} levels");
            return Err(E::custom(limit));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(Tree {
            tracker: &mut *self.tracker,
            depth,
        })? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            self.tracker.keys.push(key);
            let value = map.next_value_seed(Tree {
                tracker: &mut *self.tracker,
                depth,
            })?;
            let key = self.tracker.keys.pop().unwrap_or_default();
            fields.push((key, value));
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        decode(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_first_value_counts_and_the_rest_is_ignored() {
        assert_eq!(decode(b"{} junk"), Ok(Value::Object(Vec::new())));
        assert_eq!(decode(b" 1 2"), Ok(Value::Integer(1)));
    }

    #[test]
    fn numbers_keep_their_kind() {
        assert_eq!(
            decode(b"18446744073709551615"),
            Ok(Value::Integer(u64::MAX.into()))
        );
        assert_eq!(
            decode(b"-9223372036854775808"),
            Ok(Value::Integer(i64::MIN.into()))
        );
        assert_eq!(decode(b"80.0"), Ok(Value::Float(80.0)));
        assert_eq!(decode(b"1e2"), Ok(Value::Float(100.0)));
    }

    #[test]
    fn missing_and_cut_bodies_are_told_apart() {
        assert_eq!(error(""), "EOF");
        assert_eq!(error(" \n"), "EOF");
        assert_eq!(error("{\"a\":"), "unexpected EOF");
        assert_eq!(error("[1,"), "unexpected EOF");
    }

    #[test]
    fn errors_name_the_field() {
        for bad in ["NaN", "\"\\ud800\"", "1e999", "Infinity", "nul"] {
            let text = format!("{{\"Service\":{{\"Port\":{bad}}}}}");
            assert!(
                error(&text).starts_with("field Service.Port: "),
                "{}",
                error(&text)
            );
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(decode(deep(DEPTH_MAX).as_bytes()).is_ok());
        assert!(error(&deep(DEPTH_MAX + 1)).contains("deeper than 32 levels"));
        let objects = "{\"Meta\":".repeat(10_000);
        assert!(error(&objects).starts_with("field Meta.Meta"));
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let many = format!("[{}1]", "1,".repeat(VALUES_MAX));
        assert!(error(&many).contains("more than 200000 values"));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&octets);
        }
    }
}

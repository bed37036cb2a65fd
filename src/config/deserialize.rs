//! Turns a located tree into the `raw` structures: keys of structures match without regard to
//! case, an unknown one is refused with the nearest known one, types are strict.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::Problem;
use super::later::{asks_for_nothing, is_later};
use super::nearest::nearest;
use super::tree::{Entry, Node, Value};

/// Name of the structure that takes an object alone for a list of one.
const SEVERAL: &str = "Several";

/// Structures whose keys are also known without underscores, as in
/// `deregisterCriticalServiceAfter`.
const WITHOUT_UNDERSCORES: [&str; 2] = ["RawCheck", "RawService"];

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let result = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            Value::Object(entries) => visitor.visit_map(Members {
                entries: entries.iter(),
                known: None,
                current: None,
            }),
            Value::Number(number) => visit_number(number, visitor),
        };
        result.map_err(|problem| problem.or_at(&self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let result = match &self.value {
            Value::Object(entries) => check_keys(
                &Known {
                    structure: name,
                    names: known,
                },
                entries,
            )
            .and_then(|()| {
                visitor.visit_map(Members {
                    entries: entries.iter(),
                    known: Some(Known {
                        structure: name,
                        names: known,
                    }),
                    current: None,
                })
            }),
            value => Err(serde::de::Error::invalid_type(
                describe(value),
                &"an object",
            )),
        };
        result.map_err(|problem| problem.or_at(&self.place))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.value {
            Value::Object(_) if name == SEVERAL => visitor.visit_newtype_struct(Alone(self)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn visit_number<'de, V: Visitor<'de>>(
    number: &serde_json::Number,
    visitor: V,
) -> Result<V::Value, Problem> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(value), ..) => visitor.visit_u64(value),
        (_, Some(value), _) => visitor.visit_i64(value),
        (.., Some(value)) => visitor.visit_f64(value),
        _ => Err(serde::de::Error::custom(format_args!(
            "number {number} is out of range"
        ))),
    }
}

/// How `value` is named in a complaint.
fn describe(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Boolean(value) => Unexpected::Bool(*value),
        Value::Number(_) => Unexpected::Other("a number"),
        Value::Text(text) => Unexpected::Str(text),
        Value::List(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

/// The keys of a structure.
#[derive(Clone, Copy)]
struct Known {
    structure: &'static str,
    names: &'static [&'static str],
}

impl Known {
    /// The name of the field that `key` spells.
    fn find(&self, key: &str) -> Option<&'static str> {
        let loose = WITHOUT_UNDERSCORES.contains(&self.structure);
        let same = |name: &&&str| {
            name.eq_ignore_ascii_case(key)
                || (loose && without_underscores(name).eq(without_underscores(key)))
        };
        self.names.iter().find(same).copied()
    }
}

fn without_underscores(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes()
        .filter(|octet| *octet != b'_')
        .map(|octet| octet.to_ascii_lowercase())
}

/// Refuses keys that the structure does not have, and the same key in two spellings.
fn check_keys(known: &Known, entries: &[Entry]) -> Result<(), Problem> {
    for (position, entry) in entries.iter().enumerate() {
        let same = |other: &&Entry| other.key.eq_ignore_ascii_case(&entry.key);
        if let Some(first) = entries.iter().take(position).find(same) {
            let message = format!("is given twice, first as {:?}", first.key);
            return Err(Problem::at(entry.place.clone(), message).below(&entry.key));
        }
        if known.find(&entry.key).is_none() {
            if is_later(known.structure, &entry.key) {
                if asks_for_nothing(&entry.key, &entry.node.value) {
                    continue;
                }
                return Err(Problem::later(entry.place.clone(), &entry.key));
            }
            let meant = nearest(&entry.key, known.names);
            return Err(Problem::unknown_key(entry.place.clone(), &entry.key, meant));
        }
    }
    Ok(())
}

struct Members<'de> {
    entries: std::slice::Iter<'de, Entry>,
    /// The structure's fields; `None` where the keys are free.
    known: Option<Known>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        // What is not known passed `check_keys` because it asks for nothing, and so does `null`.
        let known = self.known;
        self.current = self.entries.find(|entry| {
            known.is_none_or(|known| {
                known.find(&entry.key).is_some() && !matches!(entry.node.value, Value::Null)
            })
        });
        let Some(entry) = self.current else {
            return Ok(None);
        };
        let key = self
            .known
            .and_then(|known| known.find(&entry.key))
            .unwrap_or(&entry.key);
        let key: StrDeserializer<'_, Problem> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        let entry = self
            .current
            .take()
            .expect("serde asks for a value only after its key");
        seed.deserialize(&entry.node)
            .map_err(|problem| problem.or_at(&entry.node.place).below(&entry.key))
    }
}

/// The members of a list; `null` says nothing, and is skipped.
struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Node>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        let said = |(_, node): &(usize, &Node)| !matches!(node.value, Value::Null);
        let Some((position, node)) = self.0.find(said) else {
            return Ok(None);
        };
        let value = seed.deserialize(node).map_err(|problem| {
            problem
                .or_at(&node.place)
                .below(&format!("item {}", position + 1))
        })?;
        Ok(Some(value))
    }
}

/// A value that is read as a list of one.
struct Alone<'de>(&'de Node);

impl<'de> Deserializer<'de> for Alone<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_seq(One(Some(self.0)))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit option
        unit_struct newtype_struct seq tuple tuple_struct struct map enum identifier ignored_any
    }
}

struct One<'de>(Option<&'de Node>);

impl<'de> SeqAccess<'de> for One<'de> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        let read = |node: &'de Node| seed.deserialize(node).map_err(|p| p.or_at(&node.place));
        self.0.take().map(read).transpose()
    }
}

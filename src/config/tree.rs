//! Configuration as a tree whose every value remembers where it was written, so that each complaint
//! can name file and line. Trees of several files and of the flags are merged into one.

use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::Problem;

/// Deepest nesting of lists and objects that is read.
pub(super) const DEPTH_MAX: usize = 32;

/// Objects whose keys the operator chooses, so that their case tells them apart.
const FREE_KEYS: [&str; 3] = ["node_meta", "service_ttl", "response_headers"];

/// Top-level keys of which every file may have one or several: none hides another.
const LISTED: [&str; 4] = ["check", "checks", "service", "services"];

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// A file's path, or `flag -x`.
    pub(super) source: Arc<str>,
    /// Line in the file, from 1.
    pub(super) line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{}:{line}", self.source),
            None => formatter.write_str(&self.source),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value of JSON or HCL.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Entry>),
}

/// One member of an object.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// An object without members.
    pub(super) fn empty(source: &str) -> Self {
        let place = Place {
            source: source.into(),
            line: None,
        };
        Self {
            place,
            value: Value::Object(Vec::new()),
        }
    }

    /// A value by itself, as if a file had said so.
    pub(super) fn alone(source: &str, value: Value) -> Self {
        let place = Place {
            source: source.into(),
            line: None,
        };
        Self { place, value }
    }

    /// `value` below the dotted `path`, as if a file had said so.
    pub(super) fn at(source: &str, path: &str, value: Value) -> Self {
        let mut keys = path.rsplit('.');
        let leaf = Self::pair(source, keys.next().unwrap_or_default(), value);
        keys.fold(leaf, |node, key| Self::pair(source, key, node.value))
    }

    /// An object with one member.
    pub(super) fn pair(source: &str, key: &str, value: Value) -> Self {
        let place = Place {
            source: source.into(),
            line: None,
        };
        let entry = Entry {
            key: key.to_owned(),
            place: place.clone(),
            node: Self {
                place: place.clone(),
                value,
            },
        };
        Self {
            place,
            value: Value::Object(vec![entry]),
        }
    }

    /// Reads JSON text: one object.
    ///
    /// # Errors
    /// It is not JSON, nested too deeply, not an object, or has a key twice in one object.
    pub(super) fn parse(source: &str, text: &str) -> Result<Self, Problem> {
        let source: Arc<str> = source.into();
        let whole: &RawValue = serde_json::from_str(text).map_err(|error| {
            // A value cut off by a line feed is reported at the start of the next line.
            let line = error.line() - usize::from(error.column() == 0 && error.line() > 1);
            let place = Place {
                source: Arc::clone(&source),
                line: Some(line),
            };
            Problem::at(place, syntax_complaint(&error))
        })?;
        let reader = Reader {
            source,
            text,
            line_starts: std::iter::once(0)
                .chain(text.match_indices('\n').map(|(offset, _)| offset + 1))
                .collect(),
        };
        let node = reader.read(whole, 0)?;
        match node.value {
            Value::Object(_) => Ok(node),
            _ => Err(Problem::at(
                node.place,
                "a configuration file holds one object, as in {\"server\": true}".into(),
            )),
        }
    }

    /// Lays `later` over this: objects member by member, lists one after the other, anything else
    /// is replaced.
    #[must_use]
    pub(super) fn merge(self, later: Self) -> Self {
        self.merge_keyed(later, false)
    }

    /// Takes away what is found below `path`: keys, and `item N` for members of lists, whose other
    /// members keep their numbers. Whether it was there.
    pub(super) fn remove(&mut self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return false;
        };
        match &mut self.value {
            Value::Object(entries) if rest.is_empty() => {
                let position = entries.iter().rposition(|entry| entry.key == *first);
                position.map(|position| entries.remove(position)).is_some()
            }
            Value::Object(entries) => {
                let found = entries.iter_mut().find(|entry| entry.key == *first);
                found.is_some_and(|entry| entry.node.remove(rest))
            }
            Value::List(items) => {
                let number = first.strip_prefix("item ").and_then(|n| n.parse().ok());
                let item = number.and_then(|number: usize| items.get_mut(number.checked_sub(1)?));
                match item {
                    Some(item) if rest.is_empty() => {
                        item.value = Value::Null;
                        true
                    }
                    Some(item) => item.remove(rest),
                    None => false,
                }
            }
            _ => false,
        }
    }

    /// Where the value of `key` was written, as in `ports.dns`; `None` if there is none.
    pub(super) fn place_of(&self, key: &str) -> Option<&Place> {
        let node = key.split('.').try_fold(self, |node, key| {
            let Value::Object(entries) = &node.value else {
                return None;
            };
            let mut same = entries.iter();
            let entry = same.find(|entry| entry.key.eq_ignore_ascii_case(key))?;
            (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
        });
        node.map(|node| &node.place)
    }

    /// The same without places.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Boolean(value) => (*value).into(),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Object(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.node.to_json()))
                .collect(),
        }
    }

    /// Makes of an object alone a list of one.
    pub(super) fn make_list(&mut self) {
        if let Value::Object(_) = self.value {
            let value = std::mem::replace(&mut self.value, Value::Null);
            let place = self.place.clone();
            self.value = Value::List(vec![Self { place, value }]);
        }
    }

    fn merge_keyed(self, later: Self, free_keys: bool) -> Self {
        match (self.value, later.value) {
            (Value::Object(mut entries), Value::Object(others)) => {
                for other in others {
                    merge_entry(&mut entries, other, free_keys);
                }
                Self {
                    place: later.place,
                    value: Value::Object(entries),
                }
            }
            (Value::List(mut items), Value::List(others)) => {
                items.extend(others);
                Self {
                    place: later.place,
                    value: Value::List(items),
                }
            }
            // An explicit `null` says nothing.
            (value, Value::Null) => Self {
                place: self.place,
                value,
            },
            (_, value) => Self {
                place: later.place,
                value,
            },
        }
    }
}

fn merge_entry(entries: &mut Vec<Entry>, other: Entry, free_keys: bool) {
    let same = |entry: &&mut Entry| {
        entry.key == other.key || (!free_keys && entry.key.eq_ignore_ascii_case(&other.key))
    };
    let Some(entry) = entries.iter_mut().find(same) else {
        entries.push(other);
        return;
    };
    let below = FREE_KEYS
        .iter()
        .any(|key| key.eq_ignore_ascii_case(&other.key));
    let hole = Node {
        place: entry.place.clone(),
        value: Value::Null,
    };
    let mut own = std::mem::replace(&mut entry.node, hole);
    let mut others = other.node;
    if !free_keys && is_listed(&other.key) {
        own.make_list();
        others.make_list();
    }
    entry.node = own.merge_keyed(others, below);
    entry.place = other.place;
}

/// Whether repetitions of a key add up to a list.
pub(super) fn is_listed(key: &str) -> bool {
    LISTED.iter().any(|listed| listed.eq_ignore_ascii_case(key))
}

/// The parser's complaint without its own position, which the place already gives.
fn syntax_complaint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let complaint = text.strip_suffix(&position).unwrap_or(&text);
    format!("not valid JSON: {complaint}")
}

struct Reader<'a> {
    source: Arc<str>,
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn read(&self, raw: &'a RawValue, depth: usize) -> Result<Node, Problem> {
        let place = self.place(self.offset(raw));
        if depth > DEPTH_MAX {
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            return Err(Problem::at(place, message));
        }
        let invalid = |error: serde_json::Error| {
            Problem::at(place.clone(), format!("not valid JSON: {error}"))
        };
        let text = raw.get();
        let value = match text.as_bytes().first() {
            Some(b'{') => {
                let members: Members<'a> = serde_json::from_str(text).map_err(invalid)?;
                Value::Object(self.members(members, depth)?)
            }
            Some(b'[') => {
                let items: Vec<&'a RawValue> = serde_json::from_str(text).map_err(invalid)?;
                let read = |item| self.read(item, depth + 1);
                Value::List(items.into_iter().map(read).collect::<Result<_, _>>()?)
            }
            _ => match serde_json::from_str(text).map_err(invalid)? {
                serde_json::Value::Bool(value) => Value::Boolean(value),
                serde_json::Value::Number(value) => Value::Number(value),
                serde_json::Value::String(value) => Value::Text(value),
                _ => Value::Null,
            },
        };
        Ok(Node { place, value })
    }

    fn members(&self, members: Members<'a>, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries: Vec<Entry> = Vec::with_capacity(members.0.len());
        for (key, raw) in members.0 {
            let place = self.place(self.key_offset(raw));
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                return Err(Problem::twice(place, &key, &first.place));
            }
            let node = self
                .read(raw, depth + 1)
                .map_err(|problem| problem.below(&key))?;
            entries.push(Entry { key, place, node });
        }
        Ok(entries)
    }

    /// Where a borrowed part of the text starts in it.
    fn offset(&self, raw: &RawValue) -> usize {
        let (part, whole) = (raw.get().as_ptr().addr(), self.text.as_ptr().addr());
        part.saturating_sub(whole)
    }

    /// The end of the key in front of a value: the last octet before colon and blanks.
    fn key_offset(&self, raw: &RawValue) -> usize {
        let before = self.text.get(..self.offset(raw)).unwrap_or_default();
        let before = before.trim_end().strip_suffix(':').unwrap_or(before);
        before.trim_end().len().saturating_sub(1)
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        Place {
            source: Arc::clone(&self.source),
            line: Some(line),
        }
    }
}

/// The members of one object, in order and with repetitions, not looked into.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

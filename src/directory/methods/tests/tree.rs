//! Values whose maps have no order: Go writes those of users in none.

use std::collections::BTreeMap;

use crate::msgpack::Reader;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tree {
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
    Other(Vec<u8>),
}

impl Tree {
    pub(super) fn of(octets: &[u8]) -> Self {
        let mut reader = Reader::new(octets);
        let tree = Self::read(&mut reader);
        assert_eq!(reader.rest(), b"");
        tree
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        match reader.rest()[0] {
            0x80..=0x8f | 0xde | 0xdf => {
                let pairs = reader.map().unwrap();
                let pair = |reader: &mut Reader<'_>| {
                    let key = reader.text().unwrap().to_owned();
                    (key, Self::read(reader))
                };
                Self::Map((0..pairs).map(|_| pair(reader)).collect())
            }
            0x90..=0x9f | 0xdc | 0xdd => {
                let count = reader.array().unwrap();
                Self::List((0..count).map(|_| Self::read(reader)).collect())
            }
            _ => Self::Other(reader.raw().unwrap().to_owned()),
        }
    }

    /// The same without the fields that `is_wanted` does not want, by their names and values. A list
    /// of which nothing is left is nil, as one without rows; other empty ones stay as they are, since
    /// agents tell them from nil.
    pub(super) fn without(self, is_wanted: &impl Fn(&str, &Self) -> bool) -> Self {
        match self {
            Self::List(items) if !items.is_empty() => {
                let items = items.into_iter().filter(|item| is_wanted("", item));
                let items: Vec<_> = items.map(|item| item.without(is_wanted)).collect();
                if items.is_empty() {
                    Self::nil()
                } else {
                    Self::List(items)
                }
            }
            Self::Map(pairs) => {
                let pairs = pairs.into_iter().filter(|(key, item)| is_wanted(key, item));
                let pairs = pairs.map(|(key, item)| (key, item.without(is_wanted)));
                Self::Map(pairs.collect())
            }
            other => other,
        }
    }

    /// The same with all lists in one order.
    pub(super) fn sorted(self) -> Self {
        match self {
            Self::List(items) => {
                let mut items: Vec<_> = items.into_iter().map(Self::sorted).collect();
                items.sort();
                Self::List(items)
            }
            Self::Map(pairs) => {
                let pairs = pairs.into_iter().map(|(key, item)| (key, item.sorted()));
                Self::Map(pairs.collect())
            }
            Self::Other(octets) => Self::Other(octets),
        }
    }

    /// A field of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => pairs.get(key),
            _ => None,
        }
    }

    /// Text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Other(octets) => Reader::new(octets)
                .text()
                .ok()
                .map(|_| ())
                .and_then(|()| std::str::from_utf8(octets.get(1..)?).ok()),
            _ => None,
        }
    }

    /// Whether it is nil or an empty map.
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::nil() || *self == Self::Map(BTreeMap::new())
    }

    fn nil() -> Self {
        Self::Other(vec![0xc0])
    }
}

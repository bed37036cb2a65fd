//! Values that stand in fields: how each kind is read and written.

use std::borrow::Cow;

use crate::catalog::fragment::FragmentError;
use crate::msgpack::{ReadError, Reader, Writer};

/// Entries of a list or map at most: some records are a hundred times as large in memory as their
/// shortest form on the wire.
const ENTRIES_MAX: usize = 4_096;

/// Text that may be anything that Go calls a string: octets that are no UTF-8 are replaced.
pub(in crate::directory) type Text<'a> = Cow<'a, str>;

/// A map from text, in the order in which it came; written in the order of keys.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::directory) struct Map<'a, T>(pub(in crate::directory) Vec<(Text<'a>, T)>);

/// A request that cannot be read. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("codec.decoder: field {field:?}: {reason}")]
pub(in crate::directory) struct DecodeError {
    /// The innermost field that is wrong; empty for the request itself.
    pub(in crate::directory) field: &'static str,
    /// What is wrong.
    #[source]
    pub(in crate::directory) reason: Mistake,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::directory) enum Mistake {
    /// It is not what it should be.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It has too many entries.
    #[error("{count} entries, at most {ENTRIES_MAX} are read")]
    Entries {
        /// How many it has.
        count: usize,
    },
    /// There are too many rows.
    #[error(transparent)]
    Rows(#[from] FragmentError),
}

impl<E: Into<Mistake>> From<E> for DecodeError {
    fn from(reason: E) -> Self {
        Self {
            field: "",
            reason: reason.into(),
        }
    }
}

/// The number of entries of a list or map, if it is not too large.
fn bounded(count: usize) -> Result<usize, Mistake> {
    if count > ENTRIES_MAX {
        return Err(Mistake::Entries { count });
    }
    Ok(count)
}

impl DecodeError {
    /// Names the field, unless an inner one is named already.
    pub(in crate::directory) fn at(mut self, field: &'static str) -> Self {
        if self.field.is_empty() {
            self.field = field;
        }
        self
    }
}

/// What can be read from a field; nil is the zero of its type.
pub(in crate::directory) trait Decode<'a>: Sized {
    /// # Errors
    /// The value is of another kind, or out of range.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// What can be written to a field.
pub(in crate::directory) trait Encode {
    /// Appends one value.
    fn write(&self, writer: &mut Writer<'_>);
}

/// A structure whose fields stand in a map.
pub(in crate::directory) trait Fields<'a>: Default {
    /// Reads the value of `key` if it is one of its own; whether it was.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn take(&mut self, key: &[u8], reader: &mut Reader<'a>) -> Result<bool, DecodeError>;
    /// Adds its fields.
    fn give<'s>(&'s self, fields: &mut Vec<(&'static str, &'s dyn Encode)>);
}

/// Reads a map into a structure.
///
/// # Errors
/// [`DecodeError`].
pub(in crate::directory) fn read_fields<'a, T: Fields<'a>>(
    reader: &mut Reader<'a>,
) -> Result<T, DecodeError> {
    let mut fields = T::default();
    for _ in 0..reader.map()? {
        let key = reader.octets()?;
        if !fields.take(key, reader)? {
            reader.skip()?;
        }
    }
    Ok(fields)
}

/// Writes a structure that takes in others as a map with its keys in order.
pub(in crate::directory) fn write_fields<'a>(record: &impl Fields<'a>, writer: &mut Writer<'_>) {
    let mut fields = Vec::with_capacity(24);
    record.give(&mut fields);
    fields.sort_unstable_by_key(|(key, _)| *key);
    writer.map(fields.len());
    for (key, value) in fields {
        writer.text(key);
        value.write(writer);
    }
}

/// Fails to compile where keys are not in the order in which they are written.
pub(in crate::directory) const fn assert_in_order(keys: &[&str]) {
    let mut rest = keys;
    while let [first, others @ ..] = rest {
        if let [second, ..] = others {
            assert!(is_before(first.as_bytes(), second.as_bytes()));
        }
        rest = others;
    }
}

const fn is_before(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([a, one_rest @ ..], [b, other_rest @ ..]) = (one, other) {
        if *a != *b {
            return *a < *b;
        }
        (one, other) = (one_rest, other_rest);
    }
    one.is_empty() && !other.is_empty()
}

impl<'a> Decode<'a> for Text<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(String::from_utf8_lossy(reader.octets()?))
    }
}

impl Encode for Text<'_> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.text(self);
    }
}

/// Octets that are no text, or whose text does not matter.
impl<'a> Decode<'a> for &'a [u8] {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(reader.octets()?)
    }
}

impl Encode for &[u8] {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.octets(self);
    }
}

macro_rules! unsigned {
    ($($kind:ty),*) => {$(
        impl Decode<'_> for $kind {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(reader.unsigned()?)
            }
        }
        impl Encode for $kind {
            fn write(&self, writer: &mut Writer<'_>) {
                writer.unsigned(*self);
            }
        }
    )*};
}
unsigned!(u8, u16, u64);

impl Decode<'_> for i64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(reader.signed()?)
    }
}

impl Encode for i64 {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.signed(*self);
    }
}

impl Decode<'_> for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(reader.boolean()?)
    }
}

impl Encode for bool {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.boolean(*self);
    }
}

impl Decode<'_> for f64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(reader.float()?)
    }
}

impl Encode for f64 {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.float(*self);
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Option<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if reader.nil() {
            return Ok(None);
        }
        T::read(reader).map(Some)
    }
}

impl<T: Encode> Encode for Option<T> {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Some(value) => value.write(writer),
            None => writer.nil(),
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Box<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        T::read(reader).map(Self::new)
    }
}

impl<T: Encode> Encode for Box<T> {
    fn write(&self, writer: &mut Writer<'_>) {
        T::write(self, writer);
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        (0..bounded(reader.array()?)?)
            .map(|_| T::read(reader))
            .collect()
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.array(self.len());
        for value in self {
            value.write(writer);
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Map<'a, T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let pairs =
            (0..bounded(reader.map()?)?).map(|_| Ok((Text::read(reader)?, T::read(reader)?)));
        pairs.collect::<Result<_, _>>().map(Self)
    }
}

impl<T: Encode> Encode for Map<'_, T> {
    fn write(&self, writer: &mut Writer<'_>) {
        let mut pairs: Vec<&(Text<'_>, T)> = self.0.iter().collect();
        pairs.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        writer.map(pairs.len());
        for (key, value) in pairs {
            writer.text(key);
            value.write(writer);
        }
    }
}

/// A value that is carried as it came; nothing is nil.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::directory) struct Raw<'a>(&'a [u8]);

impl Raw<'_> {
    /// Whether it is nil, an empty list or an empty map.
    pub(in crate::directory) fn is_empty(&self) -> bool {
        matches!(self.0, [] | [0x80 | 0x90])
    }
}

impl<'a> Decode<'a> for Raw<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if reader.nil() {
            return Ok(Self::default());
        }
        Ok(Self(reader.raw()?))
    }
}

impl Encode for Raw<'_> {
    fn write(&self, writer: &mut Writer<'_>) {
        match self.0 {
            [] => writer.nil(),
            value => writer.raw(value),
        }
    }
}

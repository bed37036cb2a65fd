//! How values are written as octets and read again.
//!
//! - A whole number takes seven bits an octet, lowest first; the high bit says that more follow.
//! - Text and lists have their length before them.
//! - A record has its length before it and fields in a fixed order. Fields at its end that have
//!   their default are left out: so a record that was written before a field came to be reads as
//!   one in which it has its default. Octets after the last known field are of a later release.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::types::Index;

use super::StoredError;

/// Most octets of a whole number.
const NUMBER_OCTETS_MAX: usize = 10;

/// A value with a stored form.
pub(in crate::catalog) trait Stored: Sized {
    /// Writes the value.
    fn put(&self, out: &mut Encoder);

    /// Reads a value.
    ///
    /// # Errors
    /// [`StoredError`].
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError>;
}

/// Takes values and has their octets.
#[derive(Debug, Default)]
pub(in crate::catalog) struct Encoder {
    octets: Vec<u8>,
}

impl Encoder {
    /// What was written.
    pub(in crate::catalog) fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    /// How much was written and not drained.
    pub(in crate::catalog) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Gives away the first `count` octets.
    pub(in crate::catalog) fn drain(&mut self, count: usize) -> Vec<u8> {
        let rest = self.octets.split_off(count.min(self.octets.len()));
        std::mem::replace(&mut self.octets, rest)
    }

    /// Octets as they are.
    pub(in crate::catalog) fn raw(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// A record, whose fields `fill` writes.
    pub(in crate::catalog) fn record(&mut self, fill: impl FnOnce(&mut Record<'_>)) {
        let start = self.octets.len();
        let mut record = Record {
            out: self,
            end: start,
        };
        fill(&mut record);
        let end = record.end;
        self.octets.truncate(end);
        let (length, count) = number_octets(widen(end - start));
        let length = length.into_iter().take(count);
        self.octets.splice(start..start, length);
    }

    /// Length of a list whose elements follow.
    pub(super) fn length(&mut self, count: usize) {
        widen(count).put(self);
    }

    fn list<T: Stored>(&mut self, values: &[T]) {
        self.length(values.len());
        for value in values {
            value.put(self);
        }
    }

    /// Text, with its length.
    pub(super) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.raw(text.as_bytes());
    }
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).expect("no memory holds more than 2^64 octets")
}

fn number_octets(mut number: u64) -> ([u8; NUMBER_OCTETS_MAX], usize) {
    let mut octets = [0; NUMBER_OCTETS_MAX];
    let mut count = 0;
    for octet in &mut octets {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        count += 1;
        *octet = low & 0x7f;
        if number == 0 {
            break;
        }
        *octet |= 0x80;
    }
    (octets, count)
}

/// A record that is being written.
#[derive(Debug)]
pub(in crate::catalog) struct Record<'a> {
    out: &'a mut Encoder,
    /// Where its last field ends that is not a default.
    end: usize,
}

impl Record<'_> {
    /// A field that has no default.
    pub(in crate::catalog) fn required<T: Stored>(&mut self, value: &T) {
        value.put(self.out);
        self.end = self.out.len();
    }

    /// A field that may be left out where it has its default.
    pub(in crate::catalog) fn field<T: Stored + Default + PartialEq>(&mut self, value: &T) {
        value.put(self.out);
        if *value != T::default() {
            self.end = self.out.len();
        }
    }
}

/// Gives values from octets.
#[derive(Debug)]
pub(in crate::catalog) struct Decoder<'a> {
    rest: &'a [u8],
    /// Where `rest` starts, for errors.
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Reads `octets`, the first of which is number `at`.
    pub(in crate::catalog) fn new(octets: &'a [u8], at: usize) -> Self {
        Self { rest: octets, at }
    }

    /// Whether all was read.
    pub(in crate::catalog) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How much was not read yet.
    pub(in crate::catalog) fn len(&self) -> usize {
        self.rest.len()
    }

    /// That all was read.
    ///
    /// # Errors
    /// [`StoredError::Malformed`].
    pub(in crate::catalog) fn end(&self, what: &'static str) -> Result<(), StoredError> {
        if self.is_empty() {
            return Ok(());
        }
        Err(self.malformed(what))
    }

    /// The next `count` octets.
    ///
    /// # Errors
    /// [`StoredError::Malformed`]: there are not as many.
    pub(in crate::catalog) fn octets(&mut self, count: usize) -> Result<&'a [u8], StoredError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.malformed("it ends too early"));
        };
        self.rest = rest;
        self.at += count;
        Ok(taken)
    }

    /// The next `N` octets.
    ///
    /// # Errors
    /// [`StoredError::Malformed`]: there are not as many.
    pub(in crate::catalog) fn array<const N: usize>(&mut self) -> Result<[u8; N], StoredError> {
        let octets = self.octets(N)?.try_into();
        octets.map_err(|_| self.malformed("it ends too early"))
    }

    /// A record, whose fields `read` reads; `beyond` names octets after the last that it knows.
    ///
    /// # Errors
    /// [`StoredError`].
    pub(in crate::catalog) fn record<T>(
        &mut self,
        beyond: &'static str,
        read: impl FnOnce(&mut Decoder<'a>) -> Result<T, StoredError>,
    ) -> Result<T, StoredError> {
        let length = self.length()?;
        let at = self.at;
        let mut fields = Decoder::new(self.octets(length)?, at);
        let value = read(&mut fields)?;
        if fields.is_empty() {
            return Ok(value);
        }
        Err(StoredError::Newer {
            what: beyond,
            number: widen(fields.len()),
        })
    }

    /// The next record with its length, if all of it is here.
    ///
    /// # Errors
    /// [`StoredError::Malformed`]: its length is no number.
    pub(in crate::catalog) fn whole_record(&mut self) -> Result<Option<Decoder<'a>>, StoredError> {
        let head = self.rest.iter().take(NUMBER_OCTETS_MAX);
        let has_length = head.len() == NUMBER_OCTETS_MAX || head.clone().any(|o| o & 0x80 == 0);
        if !has_length {
            return Ok(None);
        }
        let mut ahead = Decoder::new(self.rest, self.at);
        let length = usize::try_from(u64::take(&mut ahead)?).ok();
        let whole = length.and_then(|length| length.checked_add(self.len() - ahead.len()));
        let Some(whole) = whole.filter(|whole| *whole <= self.len()) else {
            return Ok(None);
        };
        let at = self.at;
        Ok(Some(Decoder::new(self.octets(whole)?, at)))
    }

    /// A field that has no default.
    ///
    /// # Errors
    /// [`StoredError`].
    pub(in crate::catalog) fn required<T: Stored>(&mut self) -> Result<T, StoredError> {
        T::take(self)
    }

    /// A field that has its default where the record ends before it.
    ///
    /// # Errors
    /// [`StoredError`].
    pub(in crate::catalog) fn field<T: Stored + Default>(&mut self) -> Result<T, StoredError> {
        if self.is_empty() {
            return Ok(T::default());
        }
        T::take(self)
    }

    /// An error at this place.
    pub(in crate::catalog) fn malformed(&self, what: &'static str) -> StoredError {
        StoredError::Malformed { what, at: self.at }
    }

    /// A length in octets, or of a list whose elements take one octet at least: never more than
    /// what is left.
    fn length(&mut self) -> Result<usize, StoredError> {
        let length = usize::try_from(u64::take(self)?).ok();
        let length = length.filter(|length| *length <= self.len());
        length.ok_or_else(|| self.malformed("a length goes beyond the end"))
    }

    /// Text.
    ///
    /// # Errors
    /// [`StoredError::Malformed`].
    pub(in crate::catalog) fn text(&mut self) -> Result<&'a str, StoredError> {
        let length = self.length()?;
        let text = std::str::from_utf8(self.octets(length)?);
        text.map_err(|_| self.malformed("a text is not UTF-8"))
    }
}

impl Stored for u64 {
    fn put(&self, out: &mut Encoder) {
        let (octets, count) = number_octets(*self);
        out.octets.extend(octets.into_iter().take(count));
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        let mut number = 0_u64;
        for place in (0..).step_by(7).take(NUMBER_OCTETS_MAX) {
            let [octet] = from.array()?;
            let bits = u64::from(octet & 0x7f);
            let shifted = bits << place;
            if shifted >> place != bits || (octet == 0 && place > 0) {
                break;
            }
            number |= shifted;
            if octet & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(from.malformed("a number is not in its shortest form, or is too great"))
    }
}

impl Stored for u16 {
    fn put(&self, out: &mut Encoder) {
        u64::from(*self).put(out);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        let number = u64::take(from)?.try_into();
        number.map_err(|_| from.malformed("a number is greater than 65,535"))
    }
}

impl Stored for u128 {
    fn put(&self, out: &mut Encoder) {
        out.raw(&self.to_le_bytes());
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.array().map(Self::from_le_bytes)
    }
}

/// Bit by bit.
impl Stored for f64 {
    fn put(&self, out: &mut Encoder) {
        out.raw(&self.to_bits().to_le_bytes());
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        let bits = u64::from_le_bytes(from.array()?);
        Ok(Self::from_bits(bits))
    }
}

impl Stored for bool {
    fn put(&self, out: &mut Encoder) {
        out.raw(&[u8::from(*self)]);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        match from.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(from.malformed("neither yes nor no")),
        }
    }
}

impl Stored for Index {
    fn put(&self, out: &mut Encoder) {
        self.0.put(out);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        u64::take(from).map(Self)
    }
}

impl Stored for Duration {
    fn put(&self, out: &mut Encoder) {
        self.as_secs().put(out);
        u64::from(self.subsec_nanos()).put(out);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        let (seconds, nanos) = (u64::take(from)?, u64::take(from)?);
        match u32::try_from(nanos) {
            Ok(nanos @ ..1_000_000_000) => Ok(Self::new(seconds, nanos)),
            _ => Err(from.malformed("a second has fewer nanoseconds")),
        }
    }
}

macro_rules! text {
    ($($type:ty),*) => { $(
        impl Stored for $type {
            fn put(&self, out: &mut Encoder) {
                out.text(self);
            }
            fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
                from.text().map(Self::from)
            }
        }
    )* };
}
text!(String, Box<str>, Arc<str>);

impl<T: Stored> Stored for Option<T> {
    fn put(&self, out: &mut Encoder) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<T: Stored> Stored for Box<T> {
    fn put(&self, out: &mut Encoder) {
        T::put(self, out);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        T::take(from).map(Self::new)
    }
}

impl<A: Stored, B: Stored> Stored for (A, B) {
    fn put(&self, out: &mut Encoder) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn put(&self, out: &mut Encoder) {
        out.list(self);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        let count = from.length()?;
        (0..count).map(|_| T::take(from)).collect()
    }
}

impl Stored for Arc<[Arc<str>]> {
    fn put(&self, out: &mut Encoder) {
        out.list(self);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        Vec::take(from).map(Self::from)
    }
}

impl<K: Stored + Ord, V: Stored> Stored for BTreeMap<K, V> {
    fn put(&self, out: &mut Encoder) {
        out.length(self.len());
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        let count = from.length()?;
        (0..count).map(|_| <(K, V)>::take(from)).collect()
    }
}

//! Writes values one after the other.

/// How text and octets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One family for both: what gossip and the agent RPC use.
    Old,
    /// Text and octets differ: what the payload of events uses.
    New,
}

/// Appends values to a buffer. The caller keeps maps and arrays as long as it says, and the keys of
/// maps in order where the octets matter.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    dialect: Dialect,
}

impl<'b> Writer<'b> {
    /// Writes the old dialect.
    pub fn old(out: &'b mut Vec<u8>) -> Self {
        Self {
            out,
            dialect: Dialect::Old,
        }
    }

    /// Writes the new dialect.
    pub fn new(out: &'b mut Vec<u8>) -> Self {
        Self {
            out,
            dialect: Dialect::New,
        }
    }

    /// Begins a map of `pairs` pairs.
    pub fn map(&mut self, pairs: usize) {
        match u16::try_from(pairs) {
            Ok(pairs @ 0..=15) => self.out.push(0x80 | low(pairs)),
            Ok(pairs) => self.marked(0xde, &pairs.to_be_bytes()),
            Err(_) => self.marked(0xdf, &length(pairs).to_be_bytes()),
        }
    }

    /// Begins an array of `values` values.
    pub fn array(&mut self, values: usize) {
        match u16::try_from(values) {
            Ok(values @ 0..=15) => self.out.push(0x90 | low(values)),
            Ok(values) => self.marked(0xdc, &values.to_be_bytes()),
            Err(_) => self.marked(0xdd, &length(values).to_be_bytes()),
        }
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        match (text.len(), self.dialect) {
            (octets @ 32..=255, Dialect::New) => {
                self.marked(0xd9, &[u8::try_from(octets).unwrap_or(u8::MAX)]);
                self.out.extend_from_slice(text.as_bytes());
            }
            _ => self.family(text.as_bytes()),
        }
    }

    /// Octets.
    pub fn octets(&mut self, octets: &[u8]) {
        if self.dialect == Dialect::Old {
            return self.family(octets);
        }
        match (u8::try_from(octets.len()), u16::try_from(octets.len())) {
            (Ok(count), _) => self.marked(0xc4, &[count]),
            (_, Ok(count)) => self.marked(0xc5, &count.to_be_bytes()),
            _ => self.marked(0xc6, &length(octets.len()).to_be_bytes()),
        }
        self.out.extend_from_slice(octets);
    }

    /// A whole number that is not negative, in the shortest form.
    pub fn unsigned(&mut self, number: impl Into<u64>) {
        let number = number.into();
        match (
            u8::try_from(number),
            u16::try_from(number),
            u32::try_from(number),
        ) {
            (Ok(number @ 0..=0x7f), ..) => self.out.push(number),
            (Ok(number), ..) => self.marked(0xcc, &[number]),
            (_, Ok(number), _) => self.marked(0xcd, &number.to_be_bytes()),
            (.., Ok(number)) => self.marked(0xce, &number.to_be_bytes()),
            _ => self.marked(0xcf, &number.to_be_bytes()),
        }
    }

    /// A whole number, in the shortest form; one that is not negative is written as unsigned.
    pub fn signed(&mut self, number: i64) {
        if let Ok(number) = u64::try_from(number) {
            return self.unsigned(number);
        }
        match (
            i8::try_from(number),
            i16::try_from(number),
            i32::try_from(number),
        ) {
            (Ok(number @ -32..), ..) => self.out.extend_from_slice(&number.to_be_bytes()),
            (Ok(number), ..) => self.marked(0xd0, &number.to_be_bytes()),
            (_, Ok(number), _) => self.marked(0xd1, &number.to_be_bytes()),
            (.., Ok(number)) => self.marked(0xd2, &number.to_be_bytes()),
            _ => self.marked(0xd3, &number.to_be_bytes()),
        }
    }

    /// A truth value.
    pub fn boolean(&mut self, value: bool) {
        self.out.push(if value { 0xc3 } else { 0xc2 });
    }

    /// A number with a fraction.
    pub fn float(&mut self, number: f64) {
        self.marked(0xcb, &number.to_be_bytes());
    }

    /// Nothing.
    pub fn nil(&mut self) {
        self.out.push(0xc0);
    }

    /// A value that is written already.
    pub fn raw(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    fn family(&mut self, octets: &[u8]) {
        match u16::try_from(octets.len()) {
            Ok(count @ 0..=31) => self.out.push(0xa0 | low(count)),
            Ok(count) => self.marked(0xda, &count.to_be_bytes()),
            Err(_) => self.marked(0xdb, &length(octets.len()).to_be_bytes()),
        }
        self.out.extend_from_slice(octets);
    }

    fn marked(&mut self, marker: u8, octets: &[u8]) {
        self.out.push(marker);
        self.out.extend_from_slice(octets);
    }
}

/// The count of a short form, which has room for five bits at most.
fn low(count: u16) -> u8 {
    count.to_be_bytes()[1]
}

/// What herald writes is far shorter; a longer length could not be told.
fn length(count: usize) -> u32 {
    u32::try_from(count).expect("nothing that is written is longer than 4 GiB")
}

//! Reads values one after the other from octets.

/// Nesting that is skipped at most; deeper input is refused.
pub(super) const DEPTH_MAX: usize = 16;

/// The octets are not what they should be; nothing is known about what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The input ends inside a value, or announces more than is there.
    #[error("the input ends inside a value")]
    Truncated,
    /// A value of another type was expected.
    #[error("octet {marker:#04x} does not begin {expected}")]
    Type {
        /// First octet of the value.
        marker: u8,
        /// What should have been there.
        expected: &'static str,
    },
    /// The number is negative or does not fit.
    #[error("number out of range")]
    Range,
    /// The text is not UTF-8.
    #[error("text is not UTF-8")]
    Text,
    /// Arrays and maps are nested too deeply.
    #[error("values are nested deeper than {DEPTH_MAX}")]
    Depth,
    /// The value is longer than what is allowed for it.
    #[error("value is longer than {octets_max} octets")]
    Limit {
        /// What is allowed.
        octets_max: usize,
    },
}

/// Reads from a slice; what is read is borrowed from it.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `octets` from the start.
    pub fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes `count` octets as they are.
    ///
    /// # Errors
    /// There are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Number of the pairs that follow; nil is an empty map.
    ///
    /// # Errors
    /// The value is no map, or the input cannot hold that many pairs.
    pub fn map(&mut self) -> Result<usize, ReadError> {
        let count = match self.octet()? {
            0xc0 => 0,
            marker @ 0x80..=0x8f => usize::from(marker & 0x0f),
            0xde => self.length::<2>()?,
            0xdf => self.length::<4>()?,
            marker => return Err(unexpected(marker, "a map")),
        };
        self.bounded(count, 2)
    }

    /// Number of the values that follow; nil is an empty array.
    ///
    /// # Errors
    /// The value is no array, or the input cannot hold that many values.
    pub fn array(&mut self) -> Result<usize, ReadError> {
        let count = match self.octet()? {
            0xc0 => 0,
            marker @ 0x90..=0x9f => usize::from(marker & 0x0f),
            0xdc => self.length::<2>()?,
            0xdd => self.length::<4>()?,
            marker => return Err(unexpected(marker, "an array")),
        };
        self.bounded(count, 1)
    }

    /// Text or octets of either dialect; nil is empty.
    ///
    /// # Errors
    /// The value is neither, or is cut.
    pub fn octets(&mut self) -> Result<&'a [u8], ReadError> {
        let count = match self.octet()? {
            0xc0 => 0,
            marker @ 0xa0..=0xbf => usize::from(marker & 0x1f),
            0xd9 | 0xc4 => self.length::<1>()?,
            0xda | 0xc5 => self.length::<2>()?,
            0xdb | 0xc6 => self.length::<4>()?,
            marker => return Err(unexpected(marker, "text or octets")),
        };
        self.take(count)
    }

    /// The same as text.
    ///
    /// # Errors
    /// As [`Reader::octets`], or it is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, ReadError> {
        std::str::from_utf8(self.octets()?).map_err(|_| ReadError::Text)
    }

    /// A whole number of any width and signedness that fits; nil is 0.
    ///
    /// # Errors
    /// The value is no whole number, is negative, or does not fit `T`.
    pub fn unsigned<T: TryFrom<u64>>(&mut self) -> Result<T, ReadError> {
        let number = u64::try_from(self.integer()?).map_err(|_| ReadError::Range)?;
        T::try_from(number).map_err(|_| ReadError::Range)
    }

    /// A whole number that may be negative; nil is 0.
    ///
    /// # Errors
    /// The value is no whole number or does not fit `T`.
    pub fn signed<T: TryFrom<i64>>(&mut self) -> Result<T, ReadError> {
        let number = i64::try_from(self.integer()?).map_err(|_| ReadError::Range)?;
        T::try_from(number).map_err(|_| ReadError::Range)
    }

    /// A truth value, also as 0 or 1; nil is `false`.
    ///
    /// # Errors
    /// The value is none.
    pub fn boolean(&mut self) -> Result<bool, ReadError> {
        match self.octet()? {
            0xc0 | 0xc2 | 0x00 => Ok(false),
            0xc3 | 0x01 => Ok(true),
            marker => Err(unexpected(marker, "a truth value")),
        }
    }

    /// A number with a fraction, or a whole one; nil is 0.
    ///
    /// # Errors
    /// The value is no number.
    pub fn float(&mut self) -> Result<f64, ReadError> {
        match self.peek()? {
            0xca => {
                self.octet()?;
                Ok(f32::from_be_bytes(self.array_of()?).into())
            }
            0xcb => {
                self.octet()?;
                Ok(f64::from_be_bytes(self.array_of()?))
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "whole numbers stand where small ones are expected"
            )]
            _ => Ok(self.integer()? as f64),
        }
    }

    /// Whether nil comes next; it is taken if so.
    pub fn nil(&mut self) -> bool {
        match self.rest.split_first() {
            Some((0xc0, rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Leaves out the next value, whatever it is.
    ///
    /// # Errors
    /// It is cut or nested too deeply.
    pub fn skip(&mut self) -> Result<(), ReadError> {
        self.skip_below(DEPTH_MAX)
    }

    /// The next value as it is written.
    ///
    /// # Errors
    /// As [`Reader::skip`].
    pub fn raw(&mut self) -> Result<&'a [u8], ReadError> {
        let mut behind = self.clone();
        behind.skip()?;
        self.take(self.rest.len() - behind.rest.len())
    }

    fn skip_below(&mut self, depth: usize) -> Result<(), ReadError> {
        let values = match self.peek()? {
            0x80..=0x8f | 0xde | 0xdf => self.map()?.saturating_mul(2),
            0x90..=0x9f | 0xdc | 0xdd => self.array()?,
            0xa0..=0xbf | 0xd9..=0xdb | 0xc4..=0xc6 => return self.octets().map(drop),
            marker => return self.skip_plain(marker),
        };
        if values == 0 {
            return Ok(());
        }
        let depth = depth.checked_sub(1).ok_or(ReadError::Depth)?;
        for _ in 0..values {
            self.skip_below(depth)?;
        }
        Ok(())
    }

    fn skip_plain(&mut self, marker: u8) -> Result<(), ReadError> {
        let octets = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 1,
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 | 0xd4 => 3,
            0xd5 => 4,
            0xca | 0xce | 0xd2 => 5,
            0xd6 => 6,
            0xcb | 0xcf | 0xd3 => 9,
            0xd7 => 10,
            0xd8 => 18,
            0xc7..=0xc9 => {
                self.octet()?;
                let count = match marker {
                    0xc7 => self.length::<1>()?,
                    0xc8 => self.length::<2>()?,
                    _ => self.length::<4>()?,
                };
                return self.take(count.saturating_add(1)).map(drop);
            }
            marker => return Err(unexpected(marker, "a value")),
        };
        self.take(octets).map(drop)
    }

    fn integer(&mut self) -> Result<i128, ReadError> {
        Ok(match self.octet()? {
            0xc0 => 0,
            marker @ 0x00..=0x7f => marker.into(),
            marker @ 0xe0..=0xff => i128::from(marker) - 0x100,
            0xcc => u8::from_be_bytes(self.array_of()?).into(),
            0xcd => u16::from_be_bytes(self.array_of()?).into(),
            0xce => u32::from_be_bytes(self.array_of()?).into(),
            0xcf => u64::from_be_bytes(self.array_of()?).into(),
            0xd0 => i8::from_be_bytes(self.array_of()?).into(),
            0xd1 => i16::from_be_bytes(self.array_of()?).into(),
            0xd2 => i32::from_be_bytes(self.array_of()?).into(),
            0xd3 => i64::from_be_bytes(self.array_of()?).into(),
            marker => return Err(unexpected(marker, "a whole number")),
        })
    }

    fn peek(&self) -> Result<u8, ReadError> {
        self.rest.first().copied().ok_or(ReadError::Truncated)
    }

    fn octet(&mut self) -> Result<u8, ReadError> {
        let (octet, rest) = self.rest.split_first().ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(*octet)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn length<const N: usize>(&mut self) -> Result<usize, ReadError> {
        let octets = self.array_of::<N>()?;
        Ok(octets
            .iter()
            .fold(0, |length, octet| length << 8 | usize::from(*octet)))
    }

    /// Each value takes an octet at least, so a count beyond the input is a lie.
    fn bounded(&self, count: usize, octets_each: usize) -> Result<usize, ReadError> {
        if count > self.rest.len() / octets_each {
            return Err(ReadError::Truncated);
        }
        Ok(count)
    }
}

fn unexpected(marker: u8, expected: &'static str) -> ReadError {
    ReadError::Type { marker, expected }
}

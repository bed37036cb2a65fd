//! Finds where values end in input that arrives piece by piece.

use super::reader::{DEPTH_MAX, ReadError};

/// Walks over values without reading them, and goes on where it stopped when more input is there.
///
/// It is given all input from the first value on each time, and looks at no octet twice. It keeps
/// one number for each level of nesting.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Octets that belong to the values as far as they have been walked; may be ahead of the input.
    position: usize,
    /// Values that are still to come, the innermost array or map last.
    pending: Vec<usize>,
    octets_max: usize,
}

impl Scanner {
    /// Walks over `values` values that take `octets_max` octets at most.
    pub fn new(values: usize, octets_max: usize) -> Self {
        Self {
            position: 0,
            pending: vec![values],
            octets_max,
        }
    }

    /// The octets that all values take, once they are all in `input`.
    ///
    /// # Errors
    /// What is there begins no value, is nested too deeply, or announces more than the limit; no
    /// later input can make it good.
    pub fn advance(&mut self, input: &[u8]) -> Result<Option<usize>, ReadError> {
        loop {
            while self.pending.pop_if(|values| *values == 0).is_some() {}
            let Some(values) = self.pending.last_mut() else {
                return Ok((self.position <= input.len()).then_some(self.position));
            };
            let Some(value) = input.get(self.position..) else {
                return Ok(None);
            };
            let Some((octets, inner)) = measure(value)? else {
                return Ok(None);
            };
            *values -= 1;
            self.position = self.position.saturating_add(octets);
            // Each value takes an octet at least.
            if self.position.saturating_add(inner) > self.octets_max {
                return Err(ReadError::Limit {
                    octets_max: self.octets_max,
                });
            }
            if inner > 0 {
                self.pending.push(inner);
                // The first number is not a level of nesting.
                if self.pending.len() > DEPTH_MAX + 1 {
                    return Err(ReadError::Depth);
                }
            }
        }
    }
}

/// Octets of the value without the values in it, and their number; `None` if the input ends before
/// that is known.
fn measure(value: &[u8]) -> Result<Option<(usize, usize)>, ReadError> {
    let Some((&marker, rest)) = value.split_first() else {
        return Ok(None);
    };
    let fixed = |octets| Ok(Some((octets, 0)));
    let (width, extra) = match marker {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => return fixed(1),
        0x80..=0x8f => return Ok(Some((1, 2 * usize::from(marker & 0x0f)))),
        0x90..=0x9f => return Ok(Some((1, usize::from(marker & 0x0f)))),
        0xa0..=0xbf => return fixed(1 + usize::from(marker & 0x1f)),
        0xcc | 0xd0 => return fixed(2),
        0xcd | 0xd1 | 0xd4 => return fixed(3),
        0xd5 => return fixed(4),
        0xca | 0xce | 0xd2 => return fixed(5),
        0xd6 => return fixed(6),
        0xcb | 0xcf | 0xd3 => return fixed(9),
        0xd7 => return fixed(10),
        0xd8 => return fixed(18),
        0xc4 | 0xd9 => (1, 0),
        0xc5 | 0xda | 0xdc | 0xde => (2, 0),
        0xc6 | 0xdb | 0xdd | 0xdf => (4, 0),
        // An extension has an octet for its type.
        0xc7 => (1, 1),
        0xc8 => (2, 1),
        0xc9 => (4, 1),
        0xc1 => {
            return Err(ReadError::Type {
                marker,
                expected: "a value",
            });
        }
    };
    let Some(length) = rest.get(..width) else {
        return Ok(None);
    };
    let count = length
        .iter()
        .fold(0, |count: usize, octet| count << 8 | usize::from(*octet));
    Ok(Some(match marker {
        0xdc | 0xdd => (1 + width, count),
        0xde | 0xdf => (1 + width, count.saturating_mul(2)),
        _ => (count.saturating_add(1 + width + extra), 0),
    }))
}

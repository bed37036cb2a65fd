//! Coordinates: where nodes are in the network.

use super::{Decode, DecodeError, Encode, QueryMeta, Text, record};
use crate::catalog::NodeEntry;
use crate::msgpack::{Reader, Writer};
use crate::types::Coordinate;

/// The numbers of a place: as many as there are dimensions, or any other number of them, of which
/// only the first ones are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::directory) struct Vector {
    numbers: [f64; Coordinate::DIMENSIONS],
    /// How many there were.
    count: usize,
}

impl Vector {
    /// The numbers; none where there were too many, which is no place either.
    pub(in crate::directory) fn as_slice(&self) -> &[f64] {
        self.numbers.get(..self.count).unwrap_or_default()
    }
}

impl Decode<'_> for Vector {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.array()?;
        let mut numbers = [0.0; Coordinate::DIMENSIONS];
        for place in 0..count {
            let number = reader.float()?;
            if let Some(kept) = numbers.get_mut(place) {
                *kept = number;
            }
        }
        Ok(Self { numbers, count })
    }
}

impl Encode for Vector {
    fn write(&self, writer: &mut Writer<'_>) {
        let numbers = self.as_slice();
        writer.array(numbers.len());
        for number in numbers {
            writer.float(*number);
        }
    }
}

record! {
    /// A coordinate, in seconds.
    CoordinateRecord {
        "Adjustment" adjustment: f64,
        "Error" error: f64,
        "Height" height: f64,
        "Vec" vector: Vector,
    }
}

record! {
    /// Where a node is. There are no network segments, so that the name of one is always empty.
    LocationRecord<'a> {
        "Coord" coordinate: CoordinateRecord,
        "Node" node: Text<'a>,
        "Segment" segment: Text<'a>,
    }
}

record! {
    /// A datacenter with its servers.
    DatacenterRecord<'a> {
        "AreaID" area: Text<'a>,
        "Coordinates" servers: Vec<LocationRecord<'a>>,
        "Datacenter" datacenter: Text<'a>,
    }
}

record! {
    /// Says where a node is.
    CoordinateUpdate<'a> {
        "Coord" coordinate: Option<CoordinateRecord>,
        "Datacenter" datacenter: Text<'a>,
        "Node" node: Text<'a>,
        "Segment" segment: Text<'a>,
        "Token" token: Text<'a>,
    }
}

record! {
    /// Where nodes are, as reads answer it.
    #[cfg_attr(not(test), expect(dead_code, reason = "servers write the rows one by one"))]
    LocationsReply<'a> {
        "Coordinates" locations: Option<Vec<LocationRecord<'a>>>,
        flatten { meta: QueryMeta<'a> }
    }
}

impl From<&Coordinate> for CoordinateRecord {
    fn from(coordinate: &Coordinate) -> Self {
        Self {
            adjustment: coordinate.adjustment,
            error: coordinate.error,
            height: coordinate.height,
            vector: Vector {
                numbers: coordinate.vector,
                count: Coordinate::DIMENSIONS,
            },
        }
    }
}

impl<'a> LocationRecord<'a> {
    /// Where the node of this name is.
    pub(in crate::directory) fn new(node: &'a str, coordinate: &Coordinate) -> Self {
        Self {
            coordinate: coordinate.into(),
            node: node.into(),
            segment: Text::default(),
        }
    }

    /// `None` for a node whose coordinate nobody has told.
    pub(in crate::directory) fn of(entry: &'a NodeEntry) -> Option<Self> {
        let location = entry.location.as_ref()?;
        Some(Self::new(entry.node.name.as_str(), &location.coordinate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a, T: Decode<'a>>(octets: &'a [u8]) -> Result<T, DecodeError> {
        T::read(&mut Reader::new(octets))
    }

    fn written(value: &impl Encode) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&mut Writer::old(&mut out));
        out
    }

    #[test]
    fn a_vector_is_written_as_it_was_read() {
        let mut octets = Vec::new();
        let mut writer = Writer::old(&mut octets);
        writer.array(7);
        (0..7).for_each(|number| writer.float(f64::from(number)));
        let vector: Vector = read(&octets).unwrap();
        assert_eq!(vector.as_slice(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(written(&vector), octets);
    }

    #[test]
    fn numbers_beyond_the_dimensions_are_counted_and_not_kept() {
        let mut octets = Vec::new();
        let mut writer = Writer::old(&mut octets);
        writer.array(1_000);
        (0..1_000).for_each(|_| writer.float(1.0));
        let vector: Vector = read(&octets).unwrap();
        assert_eq!((vector.count, vector.as_slice()), (1_000, &[][..]));
        // The size is announced, but nothing follows.
        assert!(read::<Vector>(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn a_missing_coordinate_is_told_from_an_empty_one() {
        let missing: CoordinateUpdate<'_> =
            read(&[0x81, 0xa5, b'C', b'o', b'o', b'r', b'd', 0xc0]).unwrap();
        assert_eq!(missing.coordinate, None);
        let empty: CoordinateUpdate<'_> =
            read(&[0x81, 0xa5, b'C', b'o', b'o', b'r', b'd', 0x80]).unwrap();
        assert_eq!(empty.coordinate, Some(CoordinateRecord::default()));
    }
}

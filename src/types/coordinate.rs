//! Network coordinates: where a node is in a space whose distances are round-trip times.

use std::time::Duration;

/// Where a node is (Vivaldi with heights and adjustments, as serf speaks it). All in seconds.
///
/// Two are equal if they are so bit by bit: they are compared where a log is applied, and every
/// server must come to the same result.
#[derive(Clone, Copy, Debug)]
pub struct Coordinate {
    /// Place in the space.
    pub vector: [f64; Coordinate::DIMENSIONS],
    /// How sure the place is; 1.5 is not at all.
    pub error: f64,
    /// Correction of every distance; may be below zero.
    pub adjustment: f64,
    /// Time from the node to the core of the network.
    pub height: f64,
}

/// Why numbers are no coordinate. The texts are those of the reference; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordinateError {
    /// Another number of dimensions than [`Coordinate::DIMENSIONS`].
    #[error("incompatible coordinate")]
    Dimensions,
    /// A number is infinite or none at all.
    #[error("invalid coordinate")]
    Numbers,
}

impl Coordinate {
    /// Dimensions of the space, which all agents of a pool must agree on.
    pub const DIMENSIONS: usize = 8;

    /// Where a node without any measurement stands.
    pub const START: Self = Self {
        vector: [0.0; Self::DIMENSIONS],
        error: 1.5,
        adjustment: 0.0,
        height: 1e-5,
    };

    /// A coordinate of finite numbers.
    ///
    /// # Errors
    /// [`CoordinateError`].
    pub fn new(
        vector: &[f64],
        error: f64,
        adjustment: f64,
        height: f64,
    ) -> Result<Self, CoordinateError> {
        let vector = vector.try_into();
        let coordinate = Self {
            vector: vector.map_err(|_| CoordinateError::Dimensions)?,
            error,
            adjustment,
            height,
        };
        let valid = coordinate.is_valid();
        valid.then_some(coordinate).ok_or(CoordinateError::Numbers)
    }

    /// Whether all of its numbers are finite.
    pub fn is_valid(&self) -> bool {
        self.numbers().all(f64::is_finite)
    }

    /// The estimated round-trip time between two nodes. Capped at the longest `Duration` for
    /// numbers that no network has.
    pub fn distance(&self, other: &Self) -> Duration {
        let pairs = self.vector.iter().zip(&other.vector);
        let square: f64 = pairs.map(|(own, other)| (own - other).powi(2)).sum();
        let raw = square.sqrt() + self.height + other.height;
        // Adjustments may be below zero, times may not.
        let adjusted = raw + self.adjustment + other.adjustment;
        let seconds = if adjusted > 0.0 { adjusted } else { raw };
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let others = [self.error, self.adjustment, self.height];
        self.vector.into_iter().chain(others)
    }
}

impl Default for Coordinate {
    fn default() -> Self {
        Self::START
    }
}

impl PartialEq for Coordinate {
    fn eq(&self, other: &Self) -> bool {
        self.numbers()
            .map(f64::to_bits)
            .eq(other.numbers().map(f64::to_bits))
    }
}
impl Eq for Coordinate {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(first: f64) -> Coordinate {
        let mut coordinate = Coordinate::START;
        coordinate.vector[0] = first;
        coordinate
    }

    #[test]
    fn the_distance_is_the_space_between_and_both_heights() {
        let distance = at(0.03).distance(&at(-0.01));
        assert_eq!(distance, Duration::from_micros(40_020));
        assert_eq!(at(0.03).distance(&at(0.03)), Duration::from_micros(20));
    }

    #[test]
    fn adjustments_count_unless_they_leave_nothing() {
        let adjusted = |adjustment| Coordinate {
            adjustment,
            ..at(0.03)
        };
        let to = at(-0.01);
        assert_eq!(adjusted(0.01).distance(&to), Duration::from_micros(50_020));
        assert_eq!(adjusted(-0.01).distance(&to), Duration::from_micros(30_020));
        assert_eq!(adjusted(-1.0).distance(&to), Duration::from_micros(40_020));
    }

    #[test]
    fn numbers_that_no_network_has_do_no_harm() {
        assert_eq!(at(f64::MAX).distance(&at(f64::MIN)), Duration::MAX);
        assert_eq!(at(1e300).distance(&at(0.0)), Duration::MAX);
        let below = Coordinate {
            height: -5.0,
            ..at(0.0)
        };
        assert_eq!(below.distance(&below), Duration::ZERO);
    }

    #[test]
    fn only_finite_numbers_in_eight_dimensions_are_a_coordinate() {
        assert_eq!(
            Coordinate::new(&[0.0; 8], 1.5, 0.0, 1e-5),
            Ok(Coordinate::START)
        );
        for vector in [&[0.0; 7][..], &[0.0; 9], &[]] {
            let refused = Coordinate::new(vector, 1.5, 0.0, 1e-5);
            assert_eq!(refused, Err(CoordinateError::Dimensions));
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for refused in [
                Coordinate::new(&[number; 8], 1.5, 0.0, 1e-5),
                Coordinate::new(&[0.0; 8], number, 0.0, 1e-5),
                Coordinate::new(&[0.0; 8], 1.5, number, 1e-5),
                Coordinate::new(&[0.0; 8], 1.5, 0.0, number),
            ] {
                assert_eq!(refused, Err(CoordinateError::Numbers));
            }
        }
    }

    #[test]
    fn equal_means_equal_bits() {
        assert_eq!(at(0.5), at(0.5));
        assert_ne!(at(0.0), at(-0.0));
        assert_eq!(at(f64::NAN), at(f64::NAN));
    }
}

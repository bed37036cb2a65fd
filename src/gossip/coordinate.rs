//! Network coordinates: how far apart two nodes are, without ever asking (Vivaldi, with heights,
//! adjustments and a pull towards the origin, as serf computes them).
//!
//! [`Locator`] moves this node's coordinate with every round trip to another whose coordinate came
//! with the answer. Pure: the random direction in which two nodes at one place part follows from a
//! seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::swim::Name;
use crate::msgpack::{ReadError, Reader, Writer};
pub use crate::types::Coordinate;

/// Dimensions of the space.
pub const DIMENSIONS: usize = Coordinate::DIMENSIONS;

/// Version octet before a coordinate in an answer to a ping.
const VERSION: u8 = 1;
/// A round trip that takes longer says nothing about the distance.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);
/// The error where nothing is known.
const ERROR_MAX: f64 = 1.5;
/// How much of a new error is taken over, at most.
const ERROR_WEIGHT: f64 = 0.25;
/// How much of a force is followed, at most.
const FORCE_WEIGHT: f64 = 0.25;
/// Samples that the adjustment is made of.
const ADJUSTMENT_SAMPLES: usize = 20;
/// Round trips to one node whose median counts.
const FILTER_SAMPLES: usize = 3;
/// The smallest height, in seconds.
const HEIGHT_MIN: f64 = 1e-5;
/// Distance from the origin, in seconds, at which the pull towards it is 1 s strong.
const GRAVITY_DISTANCE: f64 = 150.0;
/// Seconds below which a distance is none.
const ZERO: f64 = 1e-6;

/// A round trip has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// A number of the other coordinate is infinite or none at all.
    #[error("coordinate is not made of finite numbers")]
    Coordinate,
    /// The round trip took too long.
    #[error("round trip of {0:?} is longer than {ROUND_TRIP_MAX:?}")]
    RoundTrip(Duration),
}

/// The payload of an answer to a ping holds no coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It is empty or of another version.
    #[error("payload has another version than {VERSION}")]
    Version,
    /// It is cut or made of something else.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The space has other dimensions.
    #[error("coordinate has {0} dimensions, not {DIMENSIONS}")]
    Dimensions(usize),
}

/// What an answer to a ping carries: reads the coordinate of the node that answered. Its numbers
/// may still be none ([`Coordinate::is_valid`]).
///
/// # Errors
/// It holds none.
pub fn read_payload(payload: &[u8]) -> Result<Coordinate, PayloadError> {
    let (version, map) = payload.split_first().ok_or(PayloadError::Version)?;
    if *version != VERSION {
        return Err(PayloadError::Version);
    }
    let mut reader = Reader::new(map);
    let mut coordinate = Coordinate {
        vector: [0.0; DIMENSIONS],
        error: 0.0,
        adjustment: 0.0,
        height: 0.0,
    };
    let mut dimensions = 0;
    for _ in 0..reader.map()? {
        match reader.octets()? {
            b"Adjustment" => coordinate.adjustment = reader.float()?,
            b"Error" => coordinate.error = reader.float()?,
            b"Height" => coordinate.height = reader.float()?,
            b"Vec" => {
                dimensions = reader.array()?;
                if dimensions != DIMENSIONS {
                    return Err(PayloadError::Dimensions(dimensions));
                }
                for place in &mut coordinate.vector {
                    *place = reader.float()?;
                }
            }
            _ => reader.skip()?,
        }
    }
    if dimensions != DIMENSIONS {
        return Err(PayloadError::Dimensions(dimensions));
    }
    Ok(coordinate)
}

/// Appends what an answer to a ping carries, if `coordinate` is that of this node.
pub fn write_payload(coordinate: &Coordinate, out: &mut Vec<u8>) {
    out.push(VERSION);
    let mut writer = Writer::old(out);
    writer.map(4);
    for (key, number) in [
        ("Adjustment", coordinate.adjustment),
        ("Error", coordinate.error),
        ("Height", coordinate.height),
    ] {
        writer.text(key);
        writer.float(number);
    }
    writer.text("Vec");
    writer.array(DIMENSIONS);
    for place in coordinate.vector {
        writer.float(place);
    }
}

/// What is known of one other node.
#[derive(Clone, Debug)]
struct Known {
    coordinate: Coordinate,
    /// The last round trips in seconds, oldest first.
    round_trips: [f64; FILTER_SAMPLES],
    /// How many of them there are.
    count: usize,
}

impl Known {
    /// Takes a round trip: the median of the last ones.
    fn median(&mut self, seconds: f64) -> f64 {
        if self.count == FILTER_SAMPLES {
            self.round_trips.rotate_left(1);
            self.count -= 1;
        }
        let mut sorted = self.round_trips;
        if let Some(place) = self.round_trips.get_mut(self.count) {
            *place = seconds;
            self.count += 1;
            sorted = self.round_trips;
        }
        let (measured, _) = sorted.split_at_mut(self.count);
        measured.sort_by(f64::total_cmp);
        measured.get(self.count / 2).copied().unwrap_or(seconds)
    }
}

/// Finds out where this node is.
#[derive(Debug)]
pub struct Locator {
    own: Coordinate,
    /// How far off the estimates were of late, in seconds.
    samples: [f64; ADJUSTMENT_SAMPLES],
    /// Which of them is replaced next.
    next: usize,
    known: BTreeMap<Name, Known>,
    resets: u64,
    random: StdRng,
}

impl Locator {
    /// A node that has measured nothing yet.
    pub fn new(seed: u64) -> Self {
        Self {
            own: Coordinate::START,
            samples: [0.0; ADJUSTMENT_SAMPLES],
            next: 0,
            known: BTreeMap::new(),
            resets: 0,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// This node's coordinate.
    pub fn own(&self) -> Coordinate {
        self.own
    }

    /// The coordinate that `node` sent last.
    pub fn of(&self, node: &str) -> Option<Coordinate> {
        self.known.get(node).map(|known| known.coordinate)
    }

    /// How often the coordinate had become meaningless, and was started over.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// Forgets a node. Those that are measured again and again are kept: the caller forgets each
    /// that is no member any more.
    pub fn forget(&mut self, node: &str) {
        self.known.remove(node);
    }

    /// Takes a round trip to `node`, which says that it is at `other`.
    ///
    /// # Errors
    /// The measurement makes no sense; nothing was changed.
    pub fn measure(
        &mut self,
        node: &Name,
        other: Coordinate,
        round_trip: Duration,
    ) -> Result<(), LocateError> {
        if !other.is_valid() {
            return Err(LocateError::Coordinate);
        }
        if round_trip > ROUND_TRIP_MAX {
            return Err(LocateError::RoundTrip(round_trip));
        }
        let known = self.known.entry(node.clone()).or_insert(Known {
            coordinate: other,
            round_trips: [0.0; FILTER_SAMPLES],
            count: 0,
        });
        known.coordinate = other;
        let seconds = known.median(round_trip.as_secs_f64());
        self.approach(&other, seconds);
        self.adjust(&other, seconds);
        self.fall();
        if !self.own.is_valid() {
            self.own = Coordinate::START;
            self.samples = [0.0; ADJUSTMENT_SAMPLES];
            self.resets += 1;
        }
        Ok(())
    }

    /// Moves as if a spring as long as the round trip stood between the two.
    fn approach(&mut self, other: &Coordinate, seconds: f64) {
        let distance = distance(&self.own, other);
        let seconds = seconds.max(ZERO);
        let wrong = (distance - seconds).abs() / seconds;
        let weight = self.own.error / (self.own.error + other.error).max(ZERO);
        let share = ERROR_WEIGHT * weight;
        self.own.error = (share * wrong + self.own.error * (1.0 - share)).min(ERROR_MAX);
        self.push(FORCE_WEIGHT * weight * (seconds - distance), other);
    }

    /// Corrects for what no place in the space can express.
    fn adjust(&mut self, other: &Coordinate, seconds: f64) {
        if let Some(sample) = self.samples.get_mut(self.next) {
            *sample = seconds - raw_distance(&self.own, other);
        }
        self.next = (self.next + 1) % ADJUSTMENT_SAMPLES;
        let sum: f64 = self.samples.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "20 samples")]
        let twice = (2 * ADJUSTMENT_SAMPLES) as f64;
        self.own.adjustment = sum / twice;
    }

    /// Falls towards the origin, so that all nodes together do not drift away.
    fn fall(&mut self) {
        let origin = Coordinate::START;
        let force = -(distance(&origin, &self.own) / GRAVITY_DISTANCE).powi(2);
        self.push(force, &origin);
    }

    /// Moves by `force` away from `other`.
    fn push(&mut self, force: f64, other: &Coordinate) {
        let (direction, apart) = self.direction_from(other);
        for (place, share) in self.own.vector.iter_mut().zip(direction) {
            *place += share * force;
        }
        if apart > ZERO {
            let height = (self.own.height + other.height) * force / apart + self.own.height;
            self.own.height = height.max(HEIGHT_MIN);
        }
    }

    /// The direction from `other` to here, one long, and how far it is; random, and no way at
    /// all, where both are at one place.
    fn direction_from(&mut self, other: &Coordinate) -> ([f64; DIMENSIONS], f64) {
        let mut direction = self.own.vector;
        for (place, origin) in direction.iter_mut().zip(other.vector) {
            *place -= origin;
        }
        let apart = length(&direction);
        if apart > ZERO {
            return (direction.map(|place| place / apart), apart);
        }
        let drawn: [f64; DIMENSIONS] = std::array::from_fn(|_| self.random.random_range(-0.5..0.5));
        let long = length(&drawn);
        if long > ZERO {
            return (drawn.map(|place| place / long), 0.0);
        }
        let mut first = [0.0; DIMENSIONS];
        if let Some(place) = first.first_mut() {
            *place = 1.0;
        }
        (first, 0.0)
    }
}

fn length(vector: &[f64; DIMENSIONS]) -> f64 {
    vector.iter().map(|place| place * place).sum::<f64>().sqrt()
}

/// Distance in seconds, without adjustments.
fn raw_distance(one: &Coordinate, other: &Coordinate) -> f64 {
    let mut apart = one.vector;
    for (place, origin) in apart.iter_mut().zip(other.vector) {
        *place -= origin;
    }
    length(&apart) + one.height + other.height
}

/// Distance in seconds; [`Coordinate::distance`] without its bounds, so that numbers that are
/// none show.
fn distance(one: &Coordinate, other: &Coordinate) -> f64 {
    let raw = raw_distance(one, other);
    let adjusted = raw + one.adjustment + other.adjustment;
    if adjusted > 0.0 { adjusted } else { raw }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYLOAD: &str = "0184aa41646a7573746d656e74cb3f1113a36b0d86a0a54572726f72cb3fc52c0d87255f\
        a6a6486569676874cb3f04fbf07dcb4198a356656398cbbf3509c16740f547cb3f018faad27c3d7dcb3f2b433e4d\
        37e1d0cbbf1bcd015b4547c8cb3f2c9ae435a21941cb3f21079be229cb9fcb3ecaf8f509815c7acbbf35a0a23a2d\
        5005";

    fn name(number: usize) -> Name {
        format!("n{number}").into()
    }

    fn payload() -> Vec<u8> {
        data_encoding::HEXLOWER.decode(PAYLOAD.as_bytes()).unwrap()
    }

    #[test]
    fn coordinate_of_an_agent_is_read_and_written_octet_for_octet() {
        let coordinate = read_payload(&payload()).unwrap();
        assert!(
            (coordinate.error - 0.165_407).abs() < 1e-5,
            "{coordinate:?}"
        );
        assert!(coordinate.height >= HEIGHT_MIN);
        let mut again = Vec::new();
        write_payload(&coordinate, &mut again);
        assert_eq!(again, payload());
        assert_eq!(again.len(), 130);
    }

    #[test]
    fn other_versions_and_dimensions_are_no_coordinate() {
        assert_eq!(read_payload(b""), Err(PayloadError::Version));
        let mut other = payload();
        other[0] = 2;
        assert_eq!(read_payload(&other), Err(PayloadError::Version));
        let seven = b"\x01\x81\xa3Vec\x97\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(read_payload(seven), Err(PayloadError::Dimensions(7)));
        assert_eq!(read_payload(b"\x01\x80"), Err(PayloadError::Dimensions(0)));
    }

    #[test]
    fn measurements_that_make_no_sense_change_nothing() {
        let mut locator = Locator::new(1);
        let node = name(1);
        for number in [f64::NAN, f64::INFINITY] {
            let mut other = Coordinate::START;
            other.vector[3] = number;
            let refused = locator.measure(&node, other, Duration::from_millis(1));
            assert_eq!(refused, Err(LocateError::Coordinate));
        }
        let long = ROUND_TRIP_MAX + Duration::from_nanos(1);
        let refused = locator.measure(&node, Coordinate::START, long);
        assert_eq!(refused, Err(LocateError::RoundTrip(long)));
        assert_eq!(locator.own(), Coordinate::START);
        assert_eq!(locator.of("n1"), None);
    }

    #[test]
    fn numbers_beyond_any_network_start_the_coordinate_over() {
        let mut locator = Locator::new(1);
        let mut other = Coordinate::START;
        other.vector = [1e308; DIMENSIONS];
        locator
            .measure(&name(1), other, Duration::from_millis(1))
            .unwrap();
        assert_eq!(locator.resets(), 1);
        assert_eq!(locator.own(), Coordinate::START);
    }

    #[test]
    fn one_slow_round_trip_among_three_does_not_count() {
        let mut known = Known {
            coordinate: Coordinate::START,
            round_trips: [0.0; FILTER_SAMPLES],
            count: 0,
        };
        let medians: Vec<_> = [0.2, 0.1, 0.9, 0.3, 0.2]
            .into_iter()
            .map(|seconds| known.median(seconds))
            .collect();
        assert_eq!(medians, [0.2, 0.2, 0.2, 0.3, 0.3]);
    }

    #[test]
    fn two_nodes_at_one_place_part_by_the_round_trip() {
        let mut locator = Locator::new(7);
        let other = Coordinate::START;
        for _ in 0..200 {
            locator
                .measure(&name(1), other, Duration::from_millis(100))
                .unwrap();
        }
        let estimated = locator.own().distance(&other).as_secs_f64();
        assert!((estimated - 0.1).abs() < 0.005, "{estimated}");
        assert!(locator.own().height >= HEIGHT_MIN);
    }

    #[test]
    fn the_origin_pulls_a_node_that_is_far_away() {
        let mut locator = Locator::new(7);
        locator.own.vector[0] = 100.0;
        let before = length(&locator.own.vector);
        locator.fall();
        assert!(length(&locator.own.vector) < before);
        assert!(locator.own.vector[1..].iter().all(|place| *place == 0.0));
    }

    #[test]
    fn one_seed_gives_one_coordinate() {
        let run = |seed| {
            let mut locator = Locator::new(seed);
            for number in 0..10 {
                let trip = Duration::from_millis(10 + number);
                locator.measure(&name(1), Coordinate::START, trip).unwrap();
            }
            locator.own()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    /// Round trips between nodes of two sites 40 ms apart, each node with a link of its own.
    fn round_trip(one: usize, other: usize) -> Duration {
        let site = if one % 2 == other % 2 { 2_000 } else { 40_000 };
        let links = 100 * (one + other);
        Duration::from_micros(site + u64::try_from(links).unwrap())
    }

    #[test]
    fn estimates_converge_to_the_round_trips_of_a_network() {
        const NODES: usize = 12;
        let mut locators: Vec<_> = (0..12).map(Locator::new).collect();
        let mut random = StdRng::seed_from_u64(42);
        for _ in 0..1_000 {
            for one in 0..NODES {
                let other = (one + random.random_range(1..NODES)) % NODES;
                let there = locators[other].own();
                locators[one]
                    .measure(&name(other), there, round_trip(one, other))
                    .unwrap();
            }
        }
        let (mut wrong, mut pairs) = (0.0, 0.0);
        for one in 0..NODES {
            for other in 0..one {
                let truth = round_trip(one, other).as_secs_f64();
                let estimate = locators[one].own().distance(&locators[other].own());
                wrong += (estimate.as_secs_f64() - truth).abs() / truth;
                pairs += 1.0;
            }
        }
        assert!(wrong / pairs < 0.1, "mean error {}", wrong / pairs);
        assert!(locators.iter().all(|locator| locator.resets() == 0));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(octets: Vec<u8>) {
            let _ = read_payload(&octets);
        }

        #[test]
        fn coordinate_stays_made_of_finite_numbers(
            measurements in proptest::collection::vec(
                (proptest::array::uniform8(-1e9..1e9_f64), -9.0..9.0_f64, 0_u64..10_000_000),
                0..50,
            ),
        ) {
            let mut locator = Locator::new(1);
            for (vector, number, micros) in measurements {
                let other = Coordinate { vector, error: number, adjustment: number, height: number };
                let trip = Duration::from_micros(micros);
                locator.measure(&name(1), other, trip).unwrap();
                prop_assert!(locator.own().is_valid());
                prop_assert!(locator.own().height >= HEIGHT_MIN);
            }
        }
    }
}

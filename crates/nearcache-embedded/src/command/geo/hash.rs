//! Places on earth as numbers of 52 bits, and distances between them.
//!
//! A place is a cell in a grid: latitude and longitude are each a fraction of their range, in `steps` bits, and the
//! bits of both are interleaved. So cells that share their first bits are near each other, and a cell of fewer steps
//! is a range of numbers.

use std::f64::consts::PI;

/// Near the poles nothing has a place.
const LATITUDE: f64 = 85.051_128_78;
const LONGITUDE: f64 = 180.0;
/// How many bits each coordinate has in a score.
pub(super) const STEPS: u32 = 26;
const RADIUS: f64 = 6_372_797.560_856;
/// Bits of latitudes, and of longitudes.
const EVEN: u64 = 0x5555_5555_5555_5555;
const ODD: u64 = !EVEN;

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

/// A cell of the grid with that many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) bits: u64,
    pub(super) steps: u32,
}

/// What a cell covers, from south-west to north-east.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) min: Place,
    pub(super) max: Place,
}

impl Place {
    /// Whether it is in the grid.
    pub(super) fn is_valid(self) -> bool {
        self.longitude.abs() <= LONGITUDE && self.latitude.abs() <= LATITUDE
    }

    /// The place that a score stands for.
    pub(super) fn of_score(score: f64) -> Place {
        let cell = Cell {
            bits: to_unsigned(score),
            steps: STEPS,
        };
        let Area { min, max } = cell.area();
        Place {
            longitude: f64::midpoint(min.longitude, max.longitude).clamp(-LONGITUDE, LONGITUDE),
            latitude: f64::midpoint(min.latitude, max.latitude).clamp(-LATITUDE, LATITUDE),
        }
    }

    /// The score that stands for a valid place.
    pub(super) fn score(self) -> f64 {
        self.cell(STEPS).bits as f64
    }

    /// The cell that it is in.
    pub(super) fn cell(self, steps: u32) -> Cell {
        self.cell_of_range(steps, LATITUDE)
    }

    fn cell_of_range(self, steps: u32, latitude: f64) -> Cell {
        let parts = (1_u64 << steps) as f64;
        let part = |value: f64, most: f64| ((value + most) / (most + most) * parts) as u32;
        let bits =
            spread(part(self.latitude, latitude)) | spread(part(self.longitude, LONGITUDE)) << 1;
        Cell { bits, steps }
    }

    /// The geohash that others use: eleven characters, of which the last one has no bits left. Its latitudes go to
    /// the poles.
    pub(super) fn geohash(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = self.cell_of_range(STEPS, 90.0).bits;
        let mut text = [LETTERS[0]; 11];
        for (at, letter) in text.iter_mut().take(10).enumerate() {
            *letter = LETTERS[(bits >> (47 - 5 * at)) as usize & 31];
        }
        text
    }

    /// The distance along a great circle, in meters.
    pub(super) fn distance(self, other: Place) -> f64 {
        let half = ((other.longitude.to_rad() - self.longitude.to_rad()) / 2.0).sin();
        if half == 0.0 {
            return self.distance_of_latitude(other);
        }
        let (from, to) = (self.latitude.to_rad(), other.latitude.to_rad());
        let other_half = ((to - from) / 2.0).sin();
        let a = other_half * other_half + from.cos() * to.cos() * half * half;
        2.0 * RADIUS * a.sqrt().asin()
    }

    /// The distance between the circles of latitude.
    pub(super) fn distance_of_latitude(self, other: Place) -> f64 {
        RADIUS * (other.latitude.to_rad() - self.latitude.to_rad()).abs()
    }
}

/// Degrees and radians, rounded as a server does. (`f64::to_radians` rounds in another way.)
pub(super) trait Angle {
    fn to_rad(self) -> f64;
    fn to_deg(self) -> f64;
}

impl Angle for f64 {
    fn to_rad(self) -> f64 {
        self * (PI / 180.0)
    }

    fn to_deg(self) -> f64 {
        self / (PI / 180.0)
    }
}

/// The angle that a distance is, seen from the middle of the earth, in degrees.
pub(super) fn degrees(meters: f64) -> f64 {
    (meters / RADIUS).to_deg()
}

/// The same on a circle of latitude.
pub(super) fn degrees_at(meters: f64, latitude: f64) -> f64 {
    (meters / RADIUS / latitude.to_rad().cos()).to_deg()
}

impl Cell {
    pub(super) fn area(self) -> Area {
        let parts = (1_u64 << self.steps) as f64;
        let edge = |part: u32, most: f64| -most + f64::from(part) / parts * (most + most);
        let (north, east) = (gather(self.bits), gather(self.bits >> 1));
        let place = |north, east| Place {
            longitude: edge(east, LONGITUDE),
            latitude: edge(north, LATITUDE),
        };
        Area {
            min: place(north, east),
            max: place(north.wrapping_add(1), east.wrapping_add(1)),
        }
    }

    /// The scores in it: from the first one up to, but without, the second one.
    pub(super) fn scores(self) -> (f64, f64) {
        let score = |bits: u64| (bits << (2 * (STEPS - self.steps))) as f64;
        (score(self.bits), score(self.bits + 1))
    }

    /// The cell so many cells to the east, and to the north; each -1, 0, or 1. Behind the edge of the grid is the
    /// other side. (A place on the very edge is in a cell outside, whose own coordinates are kept as they are.)
    pub(super) fn neighbour(self, east: i8, north: i8) -> Cell {
        let kept = u64::MAX >> (64 - 2 * self.steps);
        let shift = |part: u64, by: i8| match by {
            // The other bits are filled, so that a carry passes through them.
            1 => (part | ODD).wrapping_add(1) & EVEN & kept,
            -1 => part.wrapping_sub(1) & EVEN & kept,
            _ => part,
        };
        let y = shift(self.bits & EVEN, north);
        let x = shift(self.bits >> 1 & EVEN, east) << 1;
        Cell {
            bits: x | y,
            ..self
        }
    }
}

/// Puts a zero before each bit.
fn spread(bits: u32) -> u64 {
    let mut bits = u64::from(bits);
    for (shift, mask) in HALVES.into_iter().rev() {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Takes every other bit.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & EVEN;
    for ((shift, _), mask) in HALVES.into_iter().zip(
        HALVES
            .into_iter()
            .skip(1)
            .map(|(_, mask)| mask)
            .chain([u64::from(u32::MAX)]),
    ) {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

/// How far groups of bits are moved, and which bits they take afterwards, or before.
const HALVES: [(u32, u64); 5] = [
    (1, EVEN),
    (2, 0x3333_3333_3333_3333),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (8, 0x00ff_00ff_00ff_00ff),
    (16, 0x0000_ffff_0000_ffff),
];

/// A number as x86 processors convert it, also when it is negative or too large.
fn to_unsigned(number: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if number >= HALF {
        return to_signed(number - HALF).cast_unsigned() ^ 1 << 63;
    }
    to_signed(number).cast_unsigned()
}

pub(super) fn to_signed(number: f64) -> i64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if (-HALF..HALF).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PALERMO: Place = Place {
        longitude: 13.361_389,
        latitude: 38.115_556,
    };
    const CATANIA: Place = Place {
        longitude: 15.087_269,
        latitude: 37.502_669,
    };

    #[test]
    fn places_have_the_scores_and_distances_that_a_server_says() {
        assert_eq!(PALERMO.score(), 3_479_099_956_230_698.0);
        assert_eq!(CATANIA.score(), 3_479_447_370_796_909.0);
        let (from, to) = (
            Place::of_score(PALERMO.score()),
            Place::of_score(CATANIA.score()),
        );
        assert_eq!(format!("{:.4}", from.distance(to)), "166274.1516");
        assert_eq!(&from.geohash(), b"sqc8b49rny0");
        assert_eq!(&to.geohash(), b"sqdtr74hyu0");
    }

    #[test]
    fn bits_are_spread_and_gathered() {
        for bits in [0, 1, 0x8000_0001, 0xdead_beef, u32::MAX] {
            assert_eq!(gather(spread(bits)), bits);
            assert_eq!(spread(bits) & ODD, 0);
        }
    }

    #[test]
    fn a_neighbour_is_one_cell_away_and_around_the_world() {
        for steps in 1..=STEPS {
            let mask = u32::MAX >> (32 - steps);
            for (x, y) in [(0, 0), (mask, mask), (mask / 2, mask / 3), (1, mask)] {
                let (x, y) = (x & mask, y & mask);
                let cell = Cell {
                    bits: spread(y) | spread(x) << 1,
                    steps,
                };
                for (east, north) in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1)] {
                    let moved = |part: u32, by: i8| part.wrapping_add_signed(by.into()) & mask;
                    let bits = spread(moved(y, north)) | spread(moved(x, east)) << 1;
                    assert_eq!(cell.neighbour(east, north), Cell { bits, steps });
                }
            }
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_converted_as_processors_do() {
        assert_eq!(to_unsigned(-1.0), u64::MAX);
        assert_eq!(to_unsigned(1e300), 0);
        assert_eq!(to_unsigned(-1e300), 1 << 63);
        assert_eq!(to_unsigned(9_223_372_036_854_775_808.0), 1 << 63);
        assert_eq!(to_signed(f64::NAN), i64::MIN);
    }
}

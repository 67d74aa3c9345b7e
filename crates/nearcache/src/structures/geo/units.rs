//! Positions, and distances in the units that people use.

use redis::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::structures::range::score;
use crate::structures::replies::some_float;

/// Kilometres.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Km(pub f64);

/// Metres.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct M(pub f64);

/// Miles, of 1,609.34 m.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Mi(pub f64);

/// Feet, of 0.3048 m.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ft(pub f64);

const KM: f64 = 1_000.0;
const MI: f64 = 1_609.34;
const FT: f64 = 0.3048;

/// A distance: made from [`Km`], [`M`], [`Mi`] or [`Ft`], and read in any of them.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Distance {
    metres: f64,
}

impl From<Km> for Distance {
    fn from(Km(distance): Km) -> Self {
        Distance {
            metres: distance * KM,
        }
    }
}

impl From<M> for Distance {
    fn from(M(metres): M) -> Self {
        Distance { metres }
    }
}

impl From<Mi> for Distance {
    fn from(Mi(distance): Mi) -> Self {
        Distance {
            metres: distance * MI,
        }
    }
}

impl From<Ft> for Distance {
    fn from(Ft(distance): Ft) -> Self {
        Distance {
            metres: distance * FT,
        }
    }
}

impl Distance {
    /// In kilometres.
    pub fn in_km(self) -> f64 {
        self.metres / KM
    }

    /// In metres.
    pub fn in_m(self) -> f64 {
        self.metres
    }

    /// In miles.
    pub fn in_mi(self) -> f64 {
        self.metres / MI
    }

    /// In feet.
    pub fn in_ft(self) -> f64 {
        self.metres / FT
    }

    fn checked(self) -> Result<Vec<u8>> {
        if self.metres.is_finite() && self.metres >= 0.0 {
            return score(self.metres).map(String::into_bytes);
        }
        Err(Error::new(
            ErrorKind::InvalidConfig,
            format!("{} m is no distance to search in", self.metres),
        ))
    }

    /// As the radius of a search.
    pub(super) fn radius(self) -> Result<Vec<Vec<u8>>> {
        Ok(vec![b"BYRADIUS".to_vec(), self.checked()?, b"m".to_vec()])
    }
}

/// The sides of a box to search in.
pub(super) fn sides(width: Distance, height: Distance) -> Result<Vec<Vec<u8>>> {
    Ok(vec![
        b"BYBOX".to_vec(),
        width.checked()?,
        height.checked()?,
        b"m".to_vec(),
    ])
}

/// A position, in degrees: the longitude first, as Redis has it (maps often say the latitude first).
///
/// The longitude is from -180 (west) to 180 (east), the latitude from -85.05112878 (south) to 85.05112878 (north): what
/// the Web Mercator projection shows. Others cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// East of Greenwich; negative: west.
    pub longitude: f64,
    /// North of the equator; negative: south.
    pub latitude: f64,
}

const NORTH: f64 = 85.051_128_78;

impl Point {
    /// A position by its longitude and its latitude, in this order.
    pub const fn new(longitude: f64, latitude: f64) -> Self {
        Point {
            longitude,
            latitude,
        }
    }

    /// As `GEOADD` takes it.
    pub(super) fn checked(self) -> Result<[String; 2]> {
        let Point {
            longitude,
            latitude,
        } = self;
        if longitude.abs() <= 180.0 && latitude.abs() <= NORTH {
            return Ok([score(longitude)?, score(latitude)?]);
        }
        Err(Error::new(
            ErrorKind::Codec,
            format!(
                "a longitude is from -180 to 180, and a latitude from -{NORTH} to {NORTH}; \
                 {longitude} and {latitude} were given (the longitude comes first)"
            ),
        ))
    }

    /// As the center of a search.
    pub(super) fn words(self) -> Result<Vec<Vec<u8>>> {
        let [longitude, latitude] = self.checked()?;
        Ok(vec![
            b"FROMLONLAT".to_vec(),
            longitude.into_bytes(),
            latitude.into_bytes(),
        ])
    }

    pub(super) fn read(command: &str, value: Value) -> Result<Option<Point>> {
        match &value {
            Value::Nil => Ok(None),
            Value::Array(pair) => match &pair[..] {
                [longitude, latitude] => Ok(Some(Point {
                    longitude: some_float(command, longitude)?,
                    latitude: some_float(command, latitude)?,
                })),
                _ => Err(Error::unexpected(command, &value)),
            },
            other => Err(Error::unexpected(command, other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_read_in_every_unit() {
        let distance = Distance::from(Km(1.0));
        assert!((distance.in_m() - 1_000.0).abs() < 1e-9);
        assert!((distance.in_mi() - 0.621_37).abs() < 1e-4);
        assert!((distance.in_ft() - 3_280.84).abs() < 1e-2);
        assert!((Distance::from(Mi(2.0)).in_mi() - 2.0).abs() < 1e-9);
        assert!((Distance::from(Ft(3.0)).in_ft() - 3.0).abs() < 1e-9);
        assert!(Distance::from(M(-1.0)).radius().is_err());
        assert!(Distance::from(M(f64::INFINITY)).radius().is_err());
    }

    #[test]
    fn what_is_not_on_the_map_is_refused() {
        assert!(Point::new(180.0, 85.051_128_78).checked().is_ok());
        for wrong in [
            Point::new(180.1, 0.0),
            Point::new(0.0, 86.0),
            Point::new(f64::NAN, 0.0),
            Point::new(0.0, f64::NEG_INFINITY),
        ] {
            let error = wrong.checked().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec, "{wrong:?}");
        }
    }
}

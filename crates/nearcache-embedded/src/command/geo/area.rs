//! Which places a search means, and which cells may hold some of them.

use super::hash::{Area, Cell, Place, STEPS, degrees, degrees_at};

/// What is searched, in meters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// A shape around a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    pub(super) center: Place,
    pub(super) shape: Shape,
}

impl Region {
    /// How far a place is from the center, if it is in the region.
    pub(super) fn distance(&self, place: Place) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => {
                let distance = self.center.distance(place);
                // A distance that is not a number is not too far.
                if distance > radius {
                    None
                } else {
                    Some(distance)
                }
            }
            Shape::Box { width, height } => {
                if place.distance_of_latitude(self.center) > height / 2.0 {
                    return None;
                }
                let beside = Place {
                    longitude: self.center.longitude,
                    ..place
                };
                if place.distance(beside) > width / 2.0 {
                    return None;
                }
                Some(self.center.distance(place))
            }
        }
    }

    /// The coordinates between which it lies, about: on the side towards the pole, a degree is shorter.
    fn bounds(&self) -> Area {
        let Place {
            longitude,
            latitude,
        } = self.center;
        let (width, height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let north = degrees(height);
        let east = if latitude < 0.0 {
            degrees_at(width, latitude - north)
        } else {
            degrees_at(width, latitude + north)
        };
        Area {
            min: Place {
                longitude: longitude - east,
                latitude: latitude - north,
            },
            max: Place {
                longitude: longitude + east,
                latitude: latitude + north,
            },
        }
    }

    /// How far the farthest point of it is from the center.
    fn reach(&self) -> f64 {
        match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => {
                let (x, y) = (width / 2.0, height / 2.0);
                (x * x + y * y).sqrt()
            }
        }
    }

    /// The cells that cover it: the one in the middle and those around it, in the order in which a server searches
    /// them, which shows in results that are not sorted.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut steps = steps(self.reach(), self.center.latitude);
        let mut middle = self.center.cell(steps);
        if steps > 1 && !covers(middle, &bounds) {
            steps -= 1;
            middle = self.center.cell(steps);
        }
        // Where the region does not reach beyond the cell in the middle, nothing is searched.
        let Area { min, max } = middle.area();
        let excludes = steps >= 2;
        let no_south = excludes && min.latitude < bounds.min.latitude;
        let no_north = excludes && max.latitude > bounds.max.latitude;
        let no_west = excludes && min.longitude < bounds.min.longitude;
        let no_east = excludes && max.longitude > bounds.max.longitude;
        let around = [
            (0, 0),
            (0, 1),
            (0, -1),
            (1, 0),
            (-1, 0),
            (1, 1),
            (-1, 1),
            (1, -1),
            (-1, -1),
        ];
        let mut cells: Vec<Cell> = Vec::with_capacity(around.len());
        for (at, (east, north)) in around.into_iter().enumerate() {
            let is_excluded = at > 0
                && (no_south && north < 0
                    || no_north && north > 0
                    || no_west && east < 0
                    || no_east && east > 0);
            let cell = middle.neighbour(east, north);
            // Of few steps, neighbours may be the same. A server compares one with the one before, but not with the
            // one in the middle.
            let is_repeated = cells.len() > 1 && cells.last() == Some(&cell);
            if !is_excluded && !is_repeated {
                cells.push(cell);
            }
        }
        cells
    }
}

/// Whether the cells around a cell reach as far as these bounds.
fn covers(cell: Cell, bounds: &Area) -> bool {
    let area = |east, north| cell.neighbour(east, north).area();
    let too_near = area(0, 1).max.latitude < bounds.max.latitude
        || area(0, -1).min.latitude > bounds.min.latitude
        || area(1, 0).max.longitude < bounds.max.longitude
        || area(-1, 0).min.longitude > bounds.min.longitude;
    !too_near
}

/// How fine the grid is in which nine cells cover a circle. Near the poles a cell is narrower.
fn steps(mut radius: f64, latitude: f64) -> u32 {
    const WHOLE: f64 = 20_037_726.37;
    if radius == 0.0 {
        return STEPS;
    }
    let mut steps = 1_i32;
    while radius < WHOLE {
        radius *= 2.0;
        steps += 1;
    }
    steps -= 2;
    if latitude.abs() > 66.0 {
        steps -= 1;
    }
    if latitude.abs() > 80.0 {
        steps -= 1;
    }
    steps.clamp(1, STEPS as i32).cast_unsigned()
}

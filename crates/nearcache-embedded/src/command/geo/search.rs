//! `GEOSEARCH`, and its older forms.

use std::collections::HashSet;

use redis::Value;

use super::area::{Region, Shape};
use super::hash::{Place, to_signed};
use super::{coordinates, distance, place, unit};
use crate::command::Args;
use crate::command::parse::{float, integer, is};
use crate::context::Context;
use crate::keyspace::sorted_set::{Scores, SortedSet};
use crate::notify::Class;
use crate::reply::{Error, Reply, bulk, count};

/// Which command it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Search,
    SearchStore,
    Radius { stores: bool },
    RadiusByMember { stores: bool },
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    /// Whether it has an option that names a destination.
    fn has_destination(self) -> bool {
        matches!(
            self,
            Form::Radius { stores: true } | Form::RadiusByMember { stores: true }
        )
    }
}

pub(super) fn geosearch(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    search(cx, args, Form::Search)
}

pub(super) fn geosearchstore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    search(cx, args, Form::SearchStore)
}

pub(super) fn georadius(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    search(cx, args, Form::Radius { stores: true })
}

pub(super) fn georadius_ro(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    search(cx, args, Form::Radius { stores: false })
}

pub(super) fn georadiusbymember(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    search(cx, args, Form::RadiusByMember { stores: true })
}

pub(super) fn georadiusbymember_ro(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    search(cx, args, Form::RadiusByMember { stores: false })
}

/// In which order results come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Unsorted,
    Nearest,
    Farthest,
}

struct Options<'a> {
    /// Where the search begins. A member of a set that is not there has no place.
    center: Option<Option<Place>>,
    by_member: bool,
    shape: Option<Shape>,
    /// How many meters the unit of the distances is.
    unit: f64,
    with_distance: bool,
    with_score: bool,
    with_coordinates: bool,
    order: Order,
    /// The most results; 0 for any number.
    count: usize,
    any: bool,
    destination: Option<&'a [u8]>,
    stores_distance: bool,
}

impl<'a> Options<'a> {
    fn read(form: Form, set: Option<&SortedSet>, args: Args<'a>) -> Result<Self, Error> {
        let mut options = Options {
            center: None,
            by_member: false,
            shape: None,
            unit: 1.0,
            with_distance: false,
            with_score: false,
            with_coordinates: false,
            order: Order::Unsorted,
            count: 0,
            any: false,
            destination: None,
            stores_distance: false,
        };
        let rest = match form {
            Form::Search => &args[2..],
            Form::SearchStore => {
                options.destination = Some(args[1]);
                &args[3..]
            }
            Form::Radius { .. } => {
                options.center = Some(Some(place(args[2], args[3])?));
                options.circle(args[4], args[5])?;
                &args[6..]
            }
            Form::RadiusByMember { .. } => {
                if let Some(set) = set {
                    options.center = Some(Some(place_of(set, args[2])?));
                    options.circle(args[3], args[4])?;
                }
                &args[5..]
            }
        };
        let mut rest = rest;
        while let [option, more @ ..] = rest {
            let taken = match options.flag(form, option) {
                true => 0,
                false => options.valued(form, set, option, more)?,
            };
            rest = &more[taken..];
        }
        options.check(form, args[0])?;
        Ok(options)
    }

    /// Reads an option without a value, if it is one.
    fn flag(&mut self, form: Form, option: &[u8]) -> bool {
        match () {
            () if is(option, "WITHDIST") => self.with_distance = true,
            () if is(option, "WITHHASH") => self.with_score = true,
            () if is(option, "WITHCOORD") => self.with_coordinates = true,
            () if is(option, "ANY") => self.any = true,
            () if is(option, "ASC") => self.order = Order::Nearest,
            () if is(option, "DESC") => self.order = Order::Farthest,
            () if is(option, "STOREDIST") && form == Form::SearchStore => {
                self.stores_distance = true;
            }
            () => return false,
        }
        true
    }

    /// Reads an option with values, and returns how many it takes.
    fn valued(
        &mut self,
        form: Form,
        set: Option<&SortedSet>,
        option: &[u8],
        values: Args<'a>,
    ) -> Result<usize, Error> {
        const NO_COUNT: Error = Error::new("ERR COUNT must be > 0");
        let searches = |most: usize| form.is_search() && values.len() >= most;
        if is(option, "COUNT") && !values.is_empty() {
            let count = integer(values[0])?;
            if count <= 0 {
                return Err(NO_COUNT);
            }
            self.count = usize::try_from(count).unwrap_or(usize::MAX);
            return Ok(1);
        }
        if form.has_destination() && !values.is_empty() {
            let stores_distance = is(option, "STOREDIST");
            if stores_distance || is(option, "STORE") {
                self.destination = Some(values[0]);
                self.stores_distance = stores_distance;
                return Ok(1);
            }
        }
        if is(option, "FROMMEMBER") && searches(1) && (self.center.is_none() || self.by_member) {
            let place = set.map(|set| place_of(set, values[0])).transpose()?;
            (self.center, self.by_member) = (Some(place), true);
            return Ok(1);
        }
        if is(option, "FROMLONLAT") && searches(2) && !self.by_member {
            self.center = Some(Some(place(values[0], values[1])?));
            return Ok(2);
        }
        let is_box = matches!(self.shape, Some(Shape::Box { .. }));
        if is(option, "BYRADIUS") && searches(2) && !is_box {
            self.circle(values[0], values[1])?;
            return Ok(2);
        }
        if is(option, "BYBOX") && searches(3) && (self.shape.is_none() || is_box) {
            self.rectangle(values)?;
            return Ok(3);
        }
        Err(Error::SYNTAX)
    }

    fn circle(&mut self, radius: &[u8], name: &[u8]) -> Result<(), Error> {
        const NO_RADIUS: Error = Error::new("ERR need numeric radius");
        const NEGATIVE: Error = Error::new("ERR radius cannot be negative");
        let radius = float(radius).map_err(|_| NO_RADIUS)?;
        if radius < 0.0 {
            return Err(NEGATIVE);
        }
        self.unit = unit(name)?;
        self.shape = Some(Shape::Circle { radius });
        Ok(())
    }

    fn rectangle(&mut self, values: Args<'_>) -> Result<(), Error> {
        const NO_WIDTH: Error = Error::new("ERR need numeric width");
        const NO_HEIGHT: Error = Error::new("ERR need numeric height");
        const NEGATIVE: Error = Error::new("ERR height or width cannot be negative");
        let width = float(values[0]).map_err(|_| NO_WIDTH)?;
        let height = float(values[1]).map_err(|_| NO_HEIGHT)?;
        if width < 0.0 || height < 0.0 {
            return Err(NEGATIVE);
        }
        self.unit = unit(values[2])?;
        self.shape = Some(Shape::Box { width, height });
        Ok(())
    }

    fn check(&self, form: Form, name: &[u8]) -> Result<(), Error> {
        const NO_COUNT: Error = Error::new("ERR the ANY argument requires COUNT argument");
        let tells = self.with_distance || self.with_score || self.with_coordinates;
        if self.destination.is_some() && tells {
            let what = match form {
                Form::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(Error::from(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let needs = |what: &str| {
            let name = String::from_utf8_lossy(name);
            Err(Error::from(format!(
                "ERR exactly one of {what} can be specified for {name}"
            )))
        };
        if form.is_search() && self.center.is_none() {
            return needs("FROMMEMBER or FROMLONLAT");
        }
        if form.is_search() && self.shape.is_none() {
            return needs("BYRADIUS and BYBOX");
        }
        if self.any && self.count == 0 {
            return Err(NO_COUNT);
        }
        Ok(())
    }

    /// What is searched, in meters.
    fn region(&self) -> Option<Region> {
        let shape = match self.shape? {
            Shape::Circle { radius } => Shape::Circle {
                radius: radius * self.unit,
            },
            Shape::Box { width, height } => Shape::Box {
                width: width * self.unit,
                height: height * self.unit,
            },
        };
        Some(Region {
            center: self.center??,
            shape,
        })
    }
}

fn place_of(set: &SortedSet, member: &[u8]) -> Result<Place, Error> {
    const NOT_THERE: Error = Error::new("ERR could not decode requested zset member");
    set.score(member).map(Place::of_score).ok_or(NOT_THERE)
}

/// What was found.
struct Found<'s> {
    member: &'s [u8],
    score: f64,
    place: Place,
    /// In meters.
    distance: f64,
}

fn search(cx: &mut Context<'_>, args: Args<'_>, form: Form) -> Reply {
    let source = if form == Form::SearchStore {
        args[2]
    } else {
        args[1]
    };
    let set = cx.structure::<SortedSet>(source)?;
    let options = Options::read(form, set, args)?;
    let found = match (set, options.region()) {
        (Some(set), Some(region)) => find(set, &region, &options),
        _ => Vec::new(),
    };
    let Some(destination) = options.destination else {
        let values = found.iter().map(|found| tell(cx, found, &options));
        return Ok(Value::Array(values.collect()));
    };
    // Where cells overlap, a place was found twice.
    let mut seen = HashSet::new();
    let unseen = found.iter().filter(|found| seen.insert(found.member));
    let pairs = unseen.map(|found| {
        let distance = found.distance / options.unit;
        (
            found.member,
            if options.stores_distance {
                distance
            } else {
                found.score
            },
        )
    });
    let result = SortedSet::of(pairs.collect(), &cx.compact());
    let len = found.len();
    let event = if form.is_search() {
        "geosearchstore"
    } else {
        "georadiusstore"
    };
    cx.store(destination, result, Class::SORTED_SET, event);
    Ok(count(len))
}

fn find<'s>(set: &'s SortedSet, region: &Region, options: &Options<'_>) -> Vec<Found<'s>> {
    let most = if options.count == 0 {
        usize::MAX
    } else {
        options.count
    };
    let enough = if options.any { most } else { usize::MAX };
    let candidates = region.cells().into_iter().flat_map(|cell| {
        let (min, max) = cell.scores();
        let scores = Scores {
            min,
            max,
            above_min: false,
            below_max: true,
        };
        set.range(set.with_scores(&scores))
    });
    let found = candidates.filter_map(|(member, score)| {
        let place = Place::of_score(score);
        let distance = region.distance(place)?;
        Some(Found {
            member,
            score,
            place,
            distance,
        })
    });
    let mut found: Vec<_> = found.take(enough).collect();
    let order = match options.order {
        // Some of them, but not any, are the nearest ones.
        Order::Unsorted if options.count > 0 && !options.any => Order::Nearest,
        order => order,
    };
    match order {
        Order::Unsorted => {}
        Order::Nearest => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Order::Farthest => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
    found.truncate(most);
    found
}

fn tell(cx: &Context<'_>, found: &Found<'_>, options: &Options<'_>) -> Value {
    let mut told = vec![bulk(found.member)];
    if options.with_distance {
        told.push(distance(found.distance / options.unit));
    }
    if options.with_score {
        told.push(Value::Int(to_signed(found.score)));
    }
    if options.with_coordinates {
        told.push(coordinates(cx.session.protocol, found.place));
    }
    if told.len() == 1 {
        return bulk(found.member);
    }
    Value::Array(told)
}

//! Places on earth: sorted sets whose scores are [cells](hash) of a grid.

mod area;
mod hash;
mod search;

use redis::{ProtocolVersion, Value};

use super::Args;
use super::parse::{float, is};
use super::row::prelude::*;
use super::sorted_sets::{Rules, add};
use crate::context::Context;
use crate::keyspace::sorted_set::SortedSet;
use crate::reply::{Error, Reply, bulk};
use hash::Place;

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("geoadd",               -5, Growing, ONE,          Anywhere,  geoadd),
    ("geopos",               -2, Shared,  ONE,          Anywhere,  geopos),
    ("geodist",              -4, Shared,  ONE,          Anywhere,  geodist),
    ("geohash",              -2, Shared,  ONE,          Anywhere,  geohash),
    ("geosearch",            -7, Shared,  ONE,          Anywhere,  search::geosearch),
    ("geosearchstore",       -8, Growing, TWO,          Anywhere,  search::geosearchstore),
    ("georadius",            -6, Growing, Keys::Stored, Anywhere,  search::georadius),
    ("georadius_ro",         -6, Shared,  ONE,          Anywhere,  search::georadius_ro),
    ("georadiusbymember",    -5, Growing, Keys::Stored, Anywhere,  search::georadiusbymember),
    ("georadiusbymember_ro", -5, Shared,  ONE,          Anywhere,  search::georadiusbymember_ro),
];

fn geoadd(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let mut rules = Rules::default();
    let mut rest = &args[2..];
    while let Some(option) = rest.first() {
        match () {
            () if is(option, "NX") => rules.if_absent = true,
            () if is(option, "XX") => rules.if_present = true,
            () if is(option, "CH") => rules.count_changed = true,
            () => break,
        }
        rest = &rest[1..];
    }
    let options = &args[2..args.len() - rest.len()];
    if !rest.len().is_multiple_of(3) || rules.if_absent && rules.if_present {
        return Err(Error::SYNTAX);
    }
    let pairs = rest
        .chunks_exact(3)
        .map(|element| Ok((place(element[0], element[1])?.score(), element[2])))
        .collect::<Result<Vec<_>, Error>>()?;
    if pairs.is_empty() {
        return Err(Error::SYNTAX);
    }
    let reply = add(cx, args[1], &pairs, rules)?;
    log(cx, args[1], options, &pairs);
    Ok(reply)
}

/// The log holds it as `ZADD`, as a server's does.
fn log(cx: &mut Context<'_>, key: &[u8], options: &[&[u8]], pairs: &[(f64, &[u8])]) {
    let scores: Vec<_> = pairs
        .iter()
        .map(|(score, _)| (*score as i64).to_string())
        .collect();
    let pairs = scores.iter().zip(pairs);
    let pairs = pairs.flat_map(|(score, (_, member))| [score.as_bytes(), member]);
    let begin = [b"ZADD", key].into_iter().chain(options.iter().copied());
    let command: Vec<&[u8]> = begin.chain(pairs).collect();
    cx.log_as(&command);
}

/// Reads a longitude and a latitude.
fn place(longitude: &[u8], latitude: &[u8]) -> Result<Place, Error> {
    let place = Place {
        longitude: float(longitude)?,
        latitude: float(latitude)?,
    };
    if !place.is_valid() {
        let Place {
            longitude,
            latitude,
        } = place;
        let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
        return Err(Error::from(text));
    }
    Ok(place)
}

/// How many meters a unit is.
fn unit(arg: &[u8]) -> Result<f64, Error> {
    const UNKNOWN: Error = Error::new("ERR unsupported unit provided. please use M, KM, FT, MI");
    let units = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let unit = units.into_iter().find(|(name, _)| is(arg, name));
    unit.map(|(_, meters)| meters).ok_or(UNKNOWN)
}

fn geopos(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let protocol = cx.session.protocol;
    each(cx, args, |place| coordinates(protocol, place))
}

fn geohash(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    each(cx, args, |place| bulk(&place.geohash()))
}

/// Says something of each member's place, and nil of those that are not there.
fn each(cx: &mut Context<'_>, args: Args<'_>, say: impl Fn(Place) -> Value) -> Reply {
    let set = cx.structure::<SortedSet>(args[1])?;
    let values = args[2..].iter().map(|member| {
        let score = set.and_then(|set| set.score(member));
        score.map_or(Value::Nil, |score| say(Place::of_score(score)))
    });
    Ok(Value::Array(values.collect()))
}

fn geodist(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let unit = match args[4..] {
        [] => 1.0,
        [name] => unit(name)?,
        _ => return Err(Error::SYNTAX),
    };
    let Some(set) = cx.structure::<SortedSet>(args[1])? else {
        return Ok(Value::Nil);
    };
    let (Some(from), Some(to)) = (set.score(args[2]), set.score(args[3])) else {
        return Ok(Value::Nil);
    };
    let meters = Place::of_score(from).distance(Place::of_score(to));
    Ok(distance(meters / unit))
}

/// A longitude and a latitude: 17 decimals without trailing zeros.
fn coordinates(protocol: ProtocolVersion, place: Place) -> Value {
    let number = |number: f64| {
        let text = format!("{number:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        let text = if text == "-0" { "0" } else { text };
        match protocol {
            ProtocolVersion::RESP2 => bulk(text.as_bytes()),
            _ => Value::Double(text.parse().unwrap_or(number)),
        }
    };
    Value::Array(vec![number(place.longitude), number(place.latitude)])
}

/// A distance with four decimals.
fn distance(distance: f64) -> Value {
    let scaled = hash::to_signed((distance * 10_000.0).round_ties_even());
    let (sign, digits) = (if scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
    bulk(format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000).as_bytes())
}

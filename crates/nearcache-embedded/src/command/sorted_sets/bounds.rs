//! Which part of a sorted set is meant: the ends of ranges of scores, and of members.

use crate::command::strtod::strtod;
use crate::keyspace::sorted_set::{End, Members, Scores};
use crate::reply::Error;

/// Reads the ends of a range of scores; `(` excludes one. A server reads them as C strings, and less strictly than
/// scores: nothing is zero, and a number that is out of range is infinite or zero.
pub(super) fn scores(min: &[u8], max: &[u8]) -> Result<Scores, Error> {
    let (min, above_min) = score(min)?;
    let (max, below_max) = score(max)?;
    Ok(Scores {
        min,
        max,
        above_min,
        below_max,
    })
}

fn score(arg: &[u8]) -> Result<(f64, bool), Error> {
    const NO_FLOAT: Error = Error::new("ERR min or max is not a float");
    let (text, exclusive) = match arg {
        [b'(', rest @ ..] => (rest, true),
        rest => (rest, false),
    };
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let number = strtod(text);
    if number.len != text.len() || number.value.is_nan() {
        return Err(NO_FLOAT);
    }
    Ok((number.value, exclusive))
}

/// Reads the ends of a range of members: `-`, `+`, or a member after `[` or `(`.
pub(super) fn members<'a>(min: &'a [u8], max: &'a [u8]) -> Result<Members<'a>, Error> {
    Ok(Members {
        min: end(min)?,
        max: end(max)?,
    })
}

fn end(arg: &[u8]) -> Result<End<'_>, Error> {
    const INVALID: Error = Error::new("ERR min or max not valid string range item");
    match arg {
        [b'-'] | [b'-', 0, ..] => Ok(End::Lowest),
        [b'+'] | [b'+', 0, ..] => Ok(End::Highest),
        [b'[', member @ ..] => Ok(End::Including(member)),
        [b'(', member @ ..] => Ok(End::Excluding(member)),
        _ => Err(INVALID),
    }
}

//! What commands that return random elements have in common.

use redis::Value;

use super::parse::integer;
use crate::context::Context;
use crate::keyspace::random::Random;
use crate::reply::Error;

/// The largest reply to a negative count, which may ask for any number of elements.
const MOST_BYTES: usize = 512 << 20;

const OUT_OF_RANGE: Error = Error::new("ERR value is out of range");

/// Random numbers for one command.
pub(super) fn random(cx: &Context<'_>) -> Random {
    Random::new(cx.shared.random())
}

/// How many random elements to return: different ones, or if negative, any.
pub(super) fn count(arg: &[u8]) -> Result<i64, Error> {
    let count = integer(arg)?;
    if count == i64::MIN {
        let most = i64::MAX;
        return Err(Error::from(format!(
            "ERR value is out of range, value must between -{most} and {most}"
        )));
    }
    Ok(count)
}

/// The same for elements that have a value, which are twice as much.
pub(super) fn count_of_pairs(arg: &[u8]) -> Result<i64, Error> {
    let count = count(arg)?;
    if count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(OUT_OF_RANGE);
    }
    Ok(count)
}

/// Picks so many times; a pick adds to the reply, and says how many bytes it added.
pub(super) fn repeat(
    count: u64,
    mut pick: impl FnMut(&mut Vec<Value>) -> usize,
) -> Result<Vec<Value>, Error> {
    let (mut picked, mut bytes) = (Vec::new(), 0);
    for _ in 0..count {
        bytes += size_of::<Value>() + pick(&mut picked);
        if bytes > MOST_BYTES {
            return Err(OUT_OF_RANGE);
        }
    }
    Ok(picked)
}

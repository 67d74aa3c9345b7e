//! What all commands that wait have in common: their timeout.

use super::numbers::Decimal;
use super::parse::integer;
use crate::context::Context;
use crate::reply::Error;

const NEGATIVE: Error = Error::new("ERR timeout is negative");

/// When a command that waits for some seconds gives up, in unix milliseconds; `None` for 0, which means never.
pub(super) fn deadline_in_seconds(cx: &Context<'_>, arg: &[u8]) -> Result<Option<i64>, Error> {
    const NO_FLOAT: Error = Error::new("ERR timeout is not a float or out of range");
    let seconds = Decimal::parse(arg).map_err(|_| NO_FLOAT)?;
    // What is out of range counts as the lowest number.
    let millis = seconds.times(1000).ceil().ok_or(NEGATIVE)?;
    deadline(cx, millis)
}

/// When a command that waits for some milliseconds gives up.
pub(super) fn deadline_in_millis(cx: &Context<'_>, arg: &[u8]) -> Result<Option<i64>, Error> {
    const NO_INTEGER: Error = Error::new("ERR timeout is not an integer or out of range");
    deadline(cx, integer(arg).map_err(|_| NO_INTEGER)?)
}

fn deadline(cx: &Context<'_>, millis: i64) -> Result<Option<i64>, Error> {
    if millis < 0 {
        return Err(NEGATIVE);
    }
    if millis == 0 {
        return Ok(None);
    }
    // Too large a sum wraps around, and so lies in the past.
    Ok(Some(millis.wrapping_add(cx.now())))
}

//! What all commands that wait have in common: their timeout.

use super::parse::{float, integer};
use crate::context::Context;
use crate::reply::Error;

const NEGATIVE: Error = Error::new("ERR timeout is negative");
const OUT_OF_RANGE: Error = Error::new("ERR timeout is out of range");

/// When a command that waits for some seconds gives up, in unix milliseconds; `None` for 0, which means never.
pub(super) fn deadline_in_seconds(cx: &Context<'_>, arg: &[u8]) -> Result<Option<i64>, Error> {
    const NO_FLOAT: Error = Error::new("ERR timeout is not a float or out of range");
    let millis = float(arg).map_err(|_| NO_FLOAT)? * 1000.0;
    // Above this, a float cannot tell whether the number is in range.
    if millis >= 9_223_372_036_854_775_807.0 {
        return Err(OUT_OF_RANGE);
    }
    deadline(cx, millis.ceil() as i64)
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
    let at = millis.checked_add(cx.now()).ok_or(OUT_OF_RANGE)?;
    Ok(Some(at))
}

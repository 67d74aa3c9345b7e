//! `XLEN`, `XRANGE` and `XREVRANGE`: entries by their ids.

use redis::Value;

use super::super::Args;
use super::super::parse::{integer, is};
use super::{entry, parse};
use crate::context::Context;
use crate::keyspace::stream::Stream;
use crate::reply::{Error, Reply, count};

pub(super) fn xlen(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let stream = cx.structure::<Stream>(args[1])?;
    Ok(count(stream.map_or(0, Stream::len)))
}

pub(super) fn xrange(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    range(cx, args, false)
}

pub(super) fn xrevrange(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    range(cx, args, true)
}

fn range(cx: &mut Context<'_>, args: Args<'_>, backwards: bool) -> Reply {
    let (first, last) = if backwards {
        (args[3], args[2])
    } else {
        (args[2], args[3])
    };
    let (start, end) = (parse::start(first)?, parse::end(last)?);
    let mut most = None;
    for option in args[4..].chunks(2) {
        match option {
            [name, number] if is(name, "COUNT") => most = Some(integer(number)?),
            _ => return Err(Error::SYNTAX),
        }
    }
    let Some(stream) = cx.structure::<Stream>(args[1])? else {
        return Ok(Value::Array(Vec::new()));
    };
    let most = match most {
        None => usize::MAX,
        Some(..=0) => return Ok(Value::Nil),
        Some(most) => most as usize,
    };
    let entries = &stream.entries;
    Ok(Value::Array(if backwards {
        let found = entries.range_back(start, end);
        found.take(most).map(entry).collect()
    } else {
        entries.range(start, end).take(most).map(entry).collect()
    }))
}

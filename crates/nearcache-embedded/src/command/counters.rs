//! Counters: strings that hold a number.

use redis::Value;

use super::Args;
use super::numbers::Decimal;
use super::parse::integer;
use super::row::prelude::*;
use crate::context::Context;
use crate::notify::Class;
use crate::reply::{Error, Reply};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("incr",          2, Growing,   ONE,      Anywhere,  incr),
    ("decr",          2, Growing,   ONE,      Anywhere,  decr),
    ("incrby",        3, Growing,   ONE,      Anywhere,  incrby),
    ("decrby",        3, Growing,   ONE,      Anywhere,  decrby),
    ("incrbyfloat",   3, Growing,   ONE,      Anywhere,  incrbyfloat),
];

pub(super) fn incr(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    add(cx, args[1], 1)
}

pub(super) fn decr(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    add(cx, args[1], -1)
}

pub(super) fn incrby(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    add(cx, args[1], integer(args[2])?)
}

pub(super) fn decrby(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let by = integer(args[2])?.checked_neg();
    add(
        cx,
        args[1],
        by.ok_or(Error::new("ERR decrement would overflow"))?,
    )
}

fn add(cx: &mut Context<'_>, key: &[u8], by: i64) -> Reply {
    let old = cx.string(key)?;
    let exists = old.is_some();
    let current = old.map_or(Ok(0), integer)?;
    let sum = current
        .checked_add(by)
        .ok_or(Error::new("ERR increment or decrement would overflow"))?;
    store(cx, key, exists, itoa::Buffer::new().format(sum).as_bytes());
    cx.notify(Class::STRING, "incrby", key);
    Ok(Value::Int(sum))
}

pub(super) fn incrbyfloat(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let old = cx.string(args[1])?;
    let exists = old.is_some();
    let current = old.map_or(Ok(Decimal::ZERO), Decimal::parse)?;
    let sum = current.add(Decimal::parse(args[2])?);
    let text = sum
        .to_text()
        .ok_or(Error::new("ERR increment would produce NaN or Infinity"))?;
    store(cx, args[1], exists, text.as_bytes());
    cx.notify(Class::STRING, "incrbyfloat", args[1]);
    // Another machine might round in another way.
    cx.log_as(&[b"SET", args[1], text.as_bytes(), b"KEEPTTL"]);
    Ok(Value::BulkString(text.into_bytes()))
}

/// Stores a number, and keeps the deadline of what is there.
fn store(cx: &mut Context<'_>, key: &[u8], exists: bool, text: &[u8]) {
    if exists {
        cx.edit_live(key, |entry| entry.data = text.into());
    } else {
        cx.put(key, text.into(), None);
    }
}

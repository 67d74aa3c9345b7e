//! Strings.

use std::ops::Range;

use redis::Value;

use super::Args;
use super::options::{self, EX, Expiry, Options, PX, Unit};
use super::parse::{integer, is};
use super::row::prelude::*;
use crate::context::{Context, Form};
use crate::keyspace::bytes::Bytes;
use crate::keyspace::entry::{Data, Deadline, Entry};
use crate::notify::Class;
use crate::reply::{Error, Reply, bulk, bulk_or_nil, count, truth};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("get",        2, Shared,    ONE,      Anywhere,  get),
    ("set",       -3, Growing,   ONE,      Anywhere,  set),
    ("setnx",      3, Growing,   ONE,      Anywhere,  setnx),
    ("setex",      4, Growing,   ONE,      Anywhere,  setex),
    ("psetex",     4, Growing,   ONE,      Anywhere,  psetex),
    ("getset",     3, Growing,   ONE,      Anywhere,  getset),
    ("getdel",     2, Exclusive, ONE,      Anywhere,  getdel),
    ("getex",     -2, Exclusive, ONE,      Anywhere,  getex),
    ("mget",      -2, Shared,    ALL_ARGS, Anywhere,  mget),
    ("mset",      -3, Growing,   PAIRS,    Anywhere,  mset),
    ("msetnx",    -3, Growing,   PAIRS,    Anywhere,  msetnx),
    ("append",     3, Growing,   ONE,      Anywhere,  append),
    ("strlen",     2, Shared,    ONE,      Anywhere,  strlen),
    ("getrange",   4, Shared,    ONE,      Anywhere,  getrange),
    ("substr",     4, Shared,    ONE,      Anywhere,  getrange),
    ("setrange",   4, Growing,   ONE,      Anywhere,  setrange),
];

pub(super) fn get(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    cx.bulk_or_nil(cx.string(args[1])?)
}

pub(super) fn set(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (key, value) = (args[1], args[2]);
    if args.len() == 3 {
        write(cx, key, value);
        return Ok(Value::Okay);
    }
    let options = Options::of_set(&args[3..])?;
    let given = match options.expiry {
        Expiry::Set(unit, arg) => Some(options::deadline(cx, "set", unit, arg)?),
        _ => None,
    };
    let old = if options.get {
        Some(bulk_or_nil(cx.string(key)?))
    } else {
        None
    };
    let current = cx.get(key);
    if options.if_absent && current.is_some() || options.if_present && current.is_none() {
        return Ok(old.unwrap_or(Value::Nil));
    }
    let kept = current.and_then(|entry| entry.deadline);
    if let Some(deadline) = given {
        write_expiring(cx, key, value, deadline);
    } else {
        let kept = kept.filter(|_| options.expiry == Expiry::Keep);
        cx.put(key, value.into(), kept);
        cx.notify(Class::STRING, "set", key);
        if options.get {
            let is_get = |at: usize| at >= 3 && is(args[at], "GET");
            let said: Vec<_> = (0..args.len())
                .filter(|at| !is_get(*at))
                .map(|at| args[at])
                .collect();
            cx.log_as(&said);
        }
    }
    Ok(old.unwrap_or(Value::Okay))
}

/// Gives a key a value and no deadline.
fn write(cx: &mut Context<'_>, key: &[u8], value: &[u8]) {
    cx.put(key, value.into(), None);
    cx.notify(Class::STRING, "set", key);
}

/// Gives a key a value and a deadline. The log holds the point in time.
fn write_expiring(cx: &mut Context<'_>, key: &[u8], value: &[u8], deadline: Deadline) {
    cx.put(key, value.into(), Some(deadline));
    let mut at = itoa::Buffer::new();
    let at = at.format(deadline.unix_ms()).as_bytes();
    cx.log_as(&[b"SET", key, value, b"PXAT", at]);
    cx.notify(Class::STRING, "set", key);
    cx.notify(Class::GENERIC, "expire", key);
}

pub(super) fn setnx(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let absent = !cx.exists(args[1]);
    if absent {
        write(cx, args[1], args[2]);
    }
    Ok(truth(absent))
}

pub(super) fn setex(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    set_expiring(cx, "setex", EX, args)
}

pub(super) fn psetex(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    set_expiring(cx, "psetex", PX, args)
}

fn set_expiring(cx: &mut Context<'_>, command: &str, unit: Unit, args: Args<'_>) -> Reply {
    let deadline = options::deadline(cx, command, unit, args[2])?;
    write_expiring(cx, args[1], args[3], deadline);
    Ok(Value::Okay)
}

pub(super) fn getset(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let old = bulk_or_nil(cx.string(args[1])?);
    write(cx, args[1], args[2]);
    cx.log_as(&[b"SET", args[1], args[2]]);
    Ok(old)
}

pub(super) fn getdel(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    cx.string(args[1])?;
    Ok(match cx.take(args[1]) {
        Some(Entry {
            data: Data::String(bytes),
            ..
        }) => {
            cx.log_as(&[b"DEL", args[1]]);
            cx.notify(Class::GENERIC, "del", args[1]);
            Value::BulkString(bytes.into())
        }
        _ => Value::Nil,
    })
}

pub(super) fn getex(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let key = args[1];
    let options = Options::of_getex(&args[2..])?;
    let Some(value) = cx.string(key)?.map(bulk) else {
        return Ok(Value::Nil);
    };
    match options.expiry {
        Expiry::Unsaid | Expiry::Keep => {}
        Expiry::Persist => {
            if cx.get(key).is_some_and(|entry| entry.deadline.is_some()) {
                cx.edit(key, |entry| entry.deadline = None);
                cx.log_as(&[b"PERSIST", key]);
                cx.notify(Class::GENERIC, "persist", key);
            }
        }
        Expiry::Set(unit, arg) => {
            let deadline = options::deadline(cx, "getex", unit, arg)?;
            expire_at(cx, key, deadline);
        }
    }
    Ok(value)
}

/// Gives a key a deadline. If that has passed, removes the key at once. The log holds what was done of the two.
pub(super) fn expire_at(cx: &mut Context<'_>, key: &[u8], deadline: Deadline) {
    if cx.is_past(deadline) {
        if cx.take(key).is_some() {
            cx.log_as(&[b"DEL", key]);
            cx.notify(Class::GENERIC, "del", key);
        }
    } else {
        cx.edit(key, |entry| entry.deadline = Some(deadline));
        let mut at = itoa::Buffer::new();
        cx.log_as(&[b"PEXPIREAT", key, at.format(deadline.unix_ms()).as_bytes()]);
        cx.notify(Class::GENERIC, "expire", key);
    }
}

pub(super) fn mget(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    // A key of another type is nil here, and not an error.
    let mut values = cx.elements(Form::Array, args.len() - 1);
    for key in &args[1..] {
        values.bulk_or_nil(cx.string(key).unwrap_or_default());
    }
    values.reply()
}

pub(super) fn mset(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if args.len().is_multiple_of(2) {
        return Err(Error::new(
            "ERR wrong number of arguments for 'mset' command",
        ));
    }
    put_pairs(cx, args);
    Ok(Value::Okay)
}

pub(super) fn msetnx(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if args.len().is_multiple_of(2) {
        return Err(Error::new(
            "ERR wrong number of arguments for 'msetnx' command",
        ));
    }
    let absent = args[1..].iter().step_by(2).all(|key| !cx.exists(key));
    if absent {
        put_pairs(cx, args);
    }
    Ok(truth(absent))
}

fn put_pairs(cx: &mut Context<'_>, args: Args<'_>) {
    for pair in args[1..].chunks_exact(2) {
        write(cx, pair[0], pair[1]);
    }
}

pub(super) fn append(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (key, tail) = (args[1], args[2]);
    let Some(len) = cx.string(key)?.map(<[u8]>::len) else {
        cx.put(key, tail.into(), None);
        cx.notify(Class::STRING, "append", key);
        return Ok(count(tail.len()));
    };
    let len = checked_len(cx, len, tail.len())?;
    edit_string(cx, key, |bytes| bytes.extend_from_slice(tail));
    cx.notify(Class::STRING, "append", key);
    Ok(count(len))
}

pub(super) fn strlen(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(count(cx.string(args[1])?.map_or(0, <[u8]>::len)))
}

pub(super) fn getrange(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    let bytes = cx.string(args[1])?.unwrap_or_default();
    Ok(bulk(
        range(start, end, bytes.len()).map_or(&[][..], |range| &bytes[range]),
    ))
}

/// The part of a string that `GETRANGE` asks for: both ends are included, and negative ones count from the end.
fn range(start: i64, end: i64, len: usize) -> Option<Range<usize>> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let len = i64::try_from(len).ok()?;
    let from_start = |index: i64| {
        if index < 0 {
            (len + index).max(0)
        } else {
            index
        }
    };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    (start <= end).then(|| start as usize..end as usize + 1)
}

pub(super) fn setrange(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (key, patch) = (args[1], args[3]);
    let Ok(offset) = usize::try_from(integer(args[2])?) else {
        return Err(Error::new("ERR offset is out of range"));
    };
    let len = cx.string(key)?.map(<[u8]>::len);
    if patch.is_empty() {
        return Ok(count(len.unwrap_or(0)));
    }
    let end = checked_len(cx, offset, patch.len())?;
    edit_or_make(cx, key, |bytes| {
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset..end].copy_from_slice(patch);
    });
    cx.notify(Class::STRING, "setrange", key);
    Ok(count(end.max(len.unwrap_or(0))))
}

fn checked_len(cx: &Context<'_>, a: usize, b: usize) -> Result<usize, Error> {
    a.checked_add(b)
        .filter(|len| *len <= cx.max_len())
        .ok_or(Error::STRING_TOO_LONG)
}

/// Changes the string at a key, and keeps its deadline.
pub(super) fn edit_string(cx: &mut Context<'_>, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    cx.edit(key, |entry| {
        if let Data::String(bytes) = &mut entry.data {
            bytes.edit(change);
        }
    });
}

/// The same, or makes the string from an empty one if there is none.
pub(super) fn edit_or_make(cx: &mut Context<'_>, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    if cx.exists(key) {
        edit_string(cx, key, change);
    } else {
        let mut bytes = Vec::new();
        change(&mut bytes);
        cx.put(key, Data::String(Bytes::raw(bytes)).into(), None);
    }
}

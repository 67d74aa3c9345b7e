//! Commands on keys of any type.

use redis::Value;

use super::Args;
use super::parse::{integer, is};
use super::row::prelude::*;
use crate::context::Context;
use crate::notify::Class;
use crate::reply::{Error, Reply, count, truth};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("del",       -2, Exclusive, ALL_ARGS, Anywhere,  del),
    ("unlink",    -2, Exclusive, ALL_ARGS, Anywhere,  del),
    ("exists",    -2, Shared,    ALL_ARGS, Anywhere,  exists),
    ("touch",     -2, Shared,    ALL_ARGS, Anywhere,  touch),
    ("type",       2, Shared,    ONE,      Anywhere,  r#type),
    ("rename",     3, Exclusive, TWO,      Anywhere,  rename),
    ("renamenx",   3, Exclusive, TWO,      Anywhere,  renamenx),
    ("copy",      -3, Growing,   TWO,      Anywhere,  copy),
    ("move",       3, Exclusive, ONE,      Anywhere,  r#move),
    ("swapdb",     3, Exclusive, Keys::All, Anywhere, swapdb),
];

const SAME: Error = Error::new("ERR source and destination objects are the same");

pub(super) fn del(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let mut removed = 0;
    for key in &args[1..] {
        if cx.take(key).is_some() {
            cx.notify(Class::GENERIC, "del", key);
            removed += 1;
        }
    }
    Ok(count(removed))
}

/// A key that is named twice counts twice.
pub(super) fn exists(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(count(args[1..].iter().filter(|key| cx.exists(key)).count()))
}

/// Counts as a use of the keys, which evictions go by.
pub(super) fn touch(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let there = args[1..].iter().filter(|key| cx.read(key).is_some());
    Ok(count(there.count()))
}

pub(super) fn r#type(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let name = cx
        .get(args[1])
        .map_or("none", |entry| entry.data.type_name());
    Ok(Value::SimpleString(name.to_owned()))
}

pub(super) fn rename(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (from, to) = (args[1], args[2]);
    if !cx.exists(from) {
        return Err(Error::NO_SUCH_KEY);
    }
    if from != to {
        give_name(cx, from, to);
    }
    Ok(Value::Okay)
}

pub(super) fn renamenx(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (from, to) = (args[1], args[2]);
    if !cx.exists(from) {
        return Err(Error::NO_SUCH_KEY);
    }
    let absent = !cx.exists(to);
    if absent {
        give_name(cx, from, to);
    }
    Ok(truth(absent))
}

fn give_name(cx: &mut Context<'_>, from: &[u8], to: &[u8]) {
    // The new name counts as a new key, also if it replaces one.
    cx.take(to);
    if let Some(entry) = cx.take(from) {
        cx.put(to, entry.data.into(), entry.deadline);
        cx.notify(Class::GENERIC, "rename_from", from);
        cx.notify(Class::GENERIC, "rename_to", to);
    }
}

pub(super) fn copy(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (from, to) = (args[1], args[2]);
    let (mut db, mut replace) = (cx.session.db, false);
    let mut options = args[3..].iter();
    while let Some(option) = options.next() {
        if is(option, "REPLACE") {
            replace = true;
        } else if is(option, "DB") {
            db = database(cx, options.next().ok_or(Error::SYNTAX)?)?;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if from == to && db == cx.session.db {
        return Err(SAME);
    }
    let Some(entry) = cx.get(from).cloned() else {
        return Ok(truth(false));
    };
    if !replace && cx.get_in(db, to).is_some() {
        return Ok(truth(false));
    }
    if replace {
        cx.take_in(db, to);
    }
    cx.put_in(db, to, entry.data.into(), entry.deadline);
    cx.notify_in(db, Class::GENERIC, "copy_to", to);
    Ok(truth(true))
}

/// To another database.
pub(super) fn r#move(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let key = args[1];
    let (here, there) = (cx.session.db, database(cx, args[2])?);
    if here == there {
        return Err(SAME);
    }
    if !cx.exists(key) || cx.get_in(there, key).is_some() {
        return Ok(truth(false));
    }
    if let Some(entry) = cx.take(key) {
        cx.put_in(there, key, entry.data.into(), entry.deadline);
        cx.notify(Class::GENERIC, "move_from", key);
        cx.notify_in(there, Class::GENERIC, "move_to", key);
    }
    Ok(truth(true))
}

pub(super) fn swapdb(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let number = |arg, error| {
        let number = integer(arg)
            .ok()
            .and_then(|number| i32::try_from(number).ok());
        number.ok_or(Error::new(error))
    };
    let first = number(args[1], "ERR invalid first DB index")?;
    let second = number(args[2], "ERR invalid second DB index")?;
    let existing = |number: i32| {
        let db = u32::try_from(number)
            .ok()
            .filter(|db| *db < cx.shared.databases);
        db.ok_or(Error::DB_OUT_OF_RANGE)
    };
    let (first, second) = (existing(first)?, existing(second)?);
    if first != second {
        cx.swap(first, second);
    }
    Ok(Value::Okay)
}

/// The number of an existing database.
pub(super) fn database(cx: &Context<'_>, arg: &[u8]) -> Result<u32, Error> {
    let number = i32::try_from(integer(arg)?).map_err(|_| {
        Error::new("ERR value is out of range, value must between -2147483648 and 2147483647")
    })?;
    u32::try_from(number)
        .ok()
        .filter(|db| *db < cx.shared.databases)
        .ok_or(Error::DB_OUT_OF_RANGE)
}

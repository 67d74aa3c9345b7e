//! Hashes.

use redis::Value;

use super::Args;
use super::numbers::Decimal;
use super::parse::{integer, is};
use super::random::{self, random};
use super::row::prelude::*;
use super::scan::{Options, page, read_cursor};
use crate::context::{Change, Context, Form};
use crate::keyspace::hash::{Field, Hash};
use crate::notify::Class;
use crate::reply::{Error, Reply, bulk, bulk_or_nil, count, truth};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("hset",         -4, Growing,   ONE,      Anywhere,  hset),
    ("hmset",        -4, Growing,   ONE,      Anywhere,  hmset),
    ("hsetnx",        4, Growing,   ONE,      Anywhere,  hsetnx),
    ("hincrby",       4, Growing,   ONE,      Anywhere,  hincrby),
    ("hincrbyfloat",  4, Growing,   ONE,      Anywhere,  hincrbyfloat),
    ("hdel",         -3, Exclusive, ONE,      Anywhere,  hdel),
    ("hget",          3, Shared,    ONE,      Anywhere,  hget),
    ("hmget",        -3, Shared,    ONE,      Anywhere,  hmget),
    ("hexists",       3, Shared,    ONE,      Anywhere,  hexists),
    ("hlen",          2, Shared,    ONE,      Anywhere,  hlen),
    ("hstrlen",       3, Shared,    ONE,      Anywhere,  hstrlen),
    ("hkeys",         2, Shared,    ONE,      Anywhere,  hkeys),
    ("hvals",         2, Shared,    ONE,      Anywhere,  hvals),
    ("hgetall",       2, Shared,    ONE,      Anywhere,  hgetall),
    ("hrandfield",   -2, Shared,    ONE,      Anywhere,  hrandfield),
    ("hscan",        -3, Shared,    ONE,      Anywhere,  hscan),
];

const NO_INTEGER: Error = Error::new("ERR hash value is not an integer");
const OVERFLOW: Error = Error::new("ERR increment or decrement would overflow");
const NO_FLOAT: Error = Error::new("ERR hash value is not a float");
const INFINITE: Error = Error::new("ERR value is NaN or Infinity");
const BECOMES_INFINITE: Error = Error::new("ERR increment would produce NaN or Infinity");

pub(super) fn hset(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(count(set_all(cx, args, "hset")?))
}

pub(super) fn hmset(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    set_all(cx, args, "hmset")?;
    Ok(Value::Okay)
}

/// Sets all fields, and returns how many are new.
fn set_all(cx: &mut Context<'_>, args: Args<'_>, name: &str) -> Result<usize, Error> {
    let (pairs, []) = args[2..].as_chunks::<2>() else {
        return Err(Error::from(format!(
            "ERR wrong number of arguments for '{name}' command"
        )));
    };
    let compact = cx.compact();
    cx.change_or_make(args[1], |hash: &mut Hash| {
        hash.prepare(args[2..].iter().copied(), &compact);
        let is_new = |[field, value]: &&[&[u8]; 2]| hash.set(field, value, &compact);
        let new = pairs.iter().filter(is_new).count();
        Change::done(new).notify(Class::HASH, "hset")
    })
}

pub(super) fn hsetnx(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let compact = cx.compact();
    let is_new = cx.change_or_make(args[1], |hash: &mut Hash| {
        let is_new = hash.get(args[2]).is_none();
        if is_new {
            hash.set(args[2], args[3], &compact);
        }
        Change::when(is_new, is_new).notify(Class::HASH, "hset")
    });
    Ok(truth(is_new?))
}

/// Replaces the value of a field by what `compute` makes of it, or nothing if it fails. Returns the new value.
fn compute<'a>(
    cx: &mut Context<'_>,
    args: Args<'a>,
    event: &'static str,
    compute: impl FnOnce(Option<&[u8]>) -> Result<String, Error>,
) -> Result<String, Error> {
    let compact = cx.compact();
    cx.change_or_make(args[1], |hash: &mut Hash| {
        let value = compute(hash.get(args[2]));
        if let Ok(value) = &value {
            hash.set(args[2], value.as_bytes(), &compact);
        }
        Change::when(value.is_ok(), value).notify(Class::HASH, event)
    })?
}

pub(super) fn hincrby(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let by = integer(args[3])?;
    let mut sum = 0;
    compute(cx, args, "hincrby", |value| {
        let value = value.map_or(Ok(0), integer).map_err(|_| NO_INTEGER)?;
        sum = value.checked_add(by).ok_or(OVERFLOW)?;
        Ok(sum.to_string())
    })?;
    Ok(Value::Int(sum))
}

pub(super) fn hincrbyfloat(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let by = Decimal::parse(args[3])?;
    if by.is_infinite() {
        return Err(INFINITE);
    }
    let sum = compute(cx, args, "hincrbyfloat", |value| {
        let value = value.map_or(Ok(Decimal::ZERO), Decimal::parse);
        let sum = value.map_err(|_| NO_FLOAT)?.add(by);
        sum.to_text().ok_or(BECOMES_INFINITE)
    })?;
    // Another machine might round in another way.
    cx.log_as(&[b"HSET", args[1], args[2], sum.as_bytes()]);
    Ok(Value::BulkString(sum.into_bytes()))
}

pub(super) fn hdel(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let removed = cx.change(args[1], |hash: &mut Hash| {
        let fields = args[2..].iter();
        let removed = fields.filter(|field| hash.remove(field)).count();
        Change::when(removed > 0, removed).notify(Class::HASH, "hdel")
    });
    Ok(count(removed?.unwrap_or(0)))
}

/// The value of a field.
fn value<'c>(cx: &'c Context<'_>, args: Args<'_>) -> Result<Option<&'c [u8]>, Error> {
    let hash = cx.structure::<Hash>(args[1])?;
    Ok(hash.and_then(|hash| hash.get(args[2])))
}

pub(super) fn hget(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    cx.bulk_or_nil(value(cx, args)?)
}

pub(super) fn hmget(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let hash = cx.structure::<Hash>(args[1])?;
    let mut values = cx.elements(Form::Array, args.len() - 2);
    for field in &args[2..] {
        values.bulk_or_nil(hash.and_then(|hash| hash.get(field)));
    }
    values.reply()
}

pub(super) fn hexists(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(truth(value(cx, args)?.is_some()))
}

pub(super) fn hlen(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(count(cx.structure::<Hash>(args[1])?.map_or(0, Hash::len)))
}

pub(super) fn hstrlen(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(count(value(cx, args)?.map_or(0, <[u8]>::len)))
}

pub(super) fn hkeys(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    each(cx, args, |(field, _)| field)
}

pub(super) fn hvals(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    each(cx, args, |(_, value)| value)
}

fn each(cx: &Context<'_>, args: Args<'_>, part: fn(Field<'_>) -> &[u8]) -> Reply {
    let hash = cx.structure::<Hash>(args[1])?;
    let mut parts = cx.elements(Form::Array, hash.map_or(0, Hash::len));
    for field in hash.into_iter().flat_map(Hash::iter) {
        parts.bulk(part(field));
    }
    parts.reply()
}

pub(super) fn hgetall(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let hash = cx.structure::<Hash>(args[1])?;
    let mut fields = cx.elements(Form::Map, hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        fields.bulk(field);
        fields.bulk(value);
    }
    fields.reply()
}

pub(super) fn hrandfield(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if args.len() == 2 {
        let field = cx
            .structure::<Hash>(args[1])?
            .and_then(|hash| hash.random(&mut random(cx)));
        return Ok(bulk_or_nil(field.map(|(field, _)| field)));
    }
    let most = random::count(args[2])?;
    let with_values = match args[3..] {
        [] => false,
        [word] if is(word, "WITHVALUES") => true,
        _ => return Err(Error::SYNTAX),
    };
    if with_values {
        random::count_of_pairs(args[2])?;
    }
    let Some(hash) = cx.structure::<Hash>(args[1])? else {
        return Ok(Value::Array(Vec::new()));
    };
    let mut random = random(cx);
    let nested = cx.session.protocol != redis::ProtocolVersion::RESP2;
    let add = |to: &mut Vec<Value>, (field, value): Field<'_>| {
        match (with_values, nested) {
            (false, _) => to.push(bulk(field)),
            (true, false) => to.extend([bulk(field), bulk(value)]),
            (true, true) => to.push(Value::Array(vec![bulk(field), bulk(value)])),
        }
        field.len() + if with_values { value.len() + 100 } else { 0 }
    };
    if most < 0 {
        let picked = random::repeat(most.unsigned_abs(), |to| {
            hash.random(&mut random).map_or(0, |field| add(to, field))
        });
        return Ok(Value::Array(picked?));
    }
    let mut picked = Vec::new();
    for field in hash.sample(usize::try_from(most).unwrap_or(usize::MAX), &mut random) {
        add(&mut picked, field);
    }
    Ok(Value::Array(picked))
}

pub(super) fn hscan(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let cursor = read_cursor(args[2])?;
    let Some(hash) = cx.structure::<Hash>(args[1])? else {
        return Ok(page(0, Vec::new()));
    };
    let options = Options::of_structure(&args[3..])?;
    let mut found = Vec::new();
    let next = options.scan(cursor, |position, seen| {
        hash.walk(position, |(field, value)| {
            *seen += 1;
            if options.matches(field) {
                found.extend([bulk(field), bulk(value)]);
            }
        })
    });
    Ok(page(next, found))
}

//! Lists: commands that move elements between lists, take them from the first of several, or wait for them.

use redis::Value;

use super::Args;
use super::lists::{node_size, pop_one, pop_several, popped, pushed};
use super::parse::{at_least, is};
use super::row::prelude::*;
use super::waiting::deadline_in_seconds;
use crate::context::{Change, Context};
use crate::keyspace::list::{End, List};
use crate::notify::Class;
use crate::reply::{Error, Reply, bulk};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("lmove",       5, Growing,   TWO,         Anywhere,  lmove),
    ("rpoplpush",   3, Growing,   TWO,         Anywhere,  rpoplpush),
    ("lmpop",      -4, Exclusive, LMPOP_KEYS,  Anywhere,  lmpop),
    ("blpop",      -3, Exclusive, BLPOP_KEYS,  NoScript,  blpop),
    ("brpop",      -3, Exclusive, BLPOP_KEYS,  NoScript,  brpop),
    ("blmove",      6, Growing,   TWO,         NoScript,  blmove),
    ("brpoplpush",  4, Growing,   TWO,         NoScript,  brpoplpush),
    ("blmpop",     -5, Exclusive, BLMPOP_KEYS, Anywhere,  blmpop),
];

const LMPOP_KEYS: Keys = Keys::Counted { at: 1, also: 0 };
const BLMPOP_KEYS: Keys = Keys::Counted { at: 2, also: 0 };
const BLPOP_KEYS: Keys = Keys::Range {
    first: 1,
    last: -2,
    step: 1,
};

const FEW_KEYS: Error = Error::new("ERR numkeys should be greater than 0");
const FEW_ELEMENTS: Error = Error::new("ERR count should be greater than 0");

fn end(word: &[u8]) -> Result<End, Error> {
    if is(word, "LEFT") {
        Ok(End::Left)
    } else if is(word, "RIGHT") {
        Ok(End::Right)
    } else {
        Err(Error::SYNTAX)
    }
}

fn end_name(end: End) -> &'static [u8] {
    match end {
        End::Left => b"LEFT",
        End::Right => b"RIGHT",
    }
}

fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Left => b"LPOP",
        End::Right => b"RPOP",
    }
}

pub(super) fn lmove(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (from, to) = (end(args[3])?, end(args[4])?);
    let moved = shift(cx, args[1], args[2], from, to)?;
    Ok(moved.map_or(Value::Nil, Value::BulkString))
}

pub(super) fn rpoplpush(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let moved = shift(cx, args[1], args[2], End::Right, End::Left)?;
    Ok(moved.map_or(Value::Nil, Value::BulkString))
}

/// Moves an element from one list to another, or within one, if there is any. It is pushed first, because that is
/// notified first.
fn shift(
    cx: &mut Context<'_>,
    source: &[u8],
    target: &[u8],
    from: End,
    to: End,
) -> Result<Option<Vec<u8>>, Error> {
    let element = cx
        .structure::<List>(source)?
        .and_then(|list| list.peek(from));
    let Some(element) = element.map(<[u8]>::to_vec) else {
        return Ok(None);
    };
    let size = node_size(cx);
    if source == target {
        return cx
            .change(source, |list: &mut List| {
                let element = list.pop(from);
                if let Some(element) = &element {
                    list.push(to, element, size);
                }
                Change::done(element)
                    .notify(Class::LIST, pushed(to))
                    .notify(Class::LIST, popped(from))
            })
            .map(Option::flatten);
    }
    cx.change_or_make(target, |list: &mut List| {
        list.push(to, &element, size);
        Change::done(()).notify(Class::LIST, pushed(to))
    })?;
    pop_one(cx, source, from)
}

/// `numkeys key [key …] LEFT|RIGHT [COUNT count]`
struct Several<'a> {
    keys: Args<'a>,
    end: End,
    most: usize,
}

impl<'a> Several<'a> {
    fn read(args: Args<'a>) -> Result<Self, Error> {
        let keys = at_least(1, args[0], FEW_KEYS)?;
        if keys >= args.len() - 1 {
            return Err(Error::SYNTAX);
        }
        let (keys, options) = args[1..].split_at(keys);
        let mut several = Several {
            keys,
            end: end(options[0])?,
            most: 1,
        };
        match options[1..] {
            [] => Ok(several),
            [name, most, ref rest @ ..] if is(name, "COUNT") => {
                several.most = at_least(1, most, FEW_ELEMENTS)?;
                if rest.is_empty() {
                    Ok(several)
                } else {
                    Err(Error::SYNTAX)
                }
            }
            _ => Err(Error::SYNTAX),
        }
    }

    /// Takes elements from a list, if there is one.
    fn pop(&self, cx: &mut Context<'_>, key: &[u8]) -> Result<Option<Value>, Error> {
        let Some(elements) = pop_several(cx, key, self.end, self.most)? else {
            return Ok(None);
        };
        let taken = elements.len().to_string();
        cx.log_as(&[pop_name(self.end), key, taken.as_bytes()]);
        Ok(Some(Value::Array(vec![bulk(key), Value::Array(elements)])))
    }
}

pub(super) fn lmpop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let several = Several::read(&args[1..])?;
    for key in several.keys {
        if let Some(reply) = several.pop(cx, key)? {
            return Ok(reply);
        }
    }
    Ok(Value::Nil)
}

pub(super) fn blmpop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let several = Several::read(&args[2..])?;
    let deadline = deadline_in_seconds(cx, args[1])?;
    for key in several.keys {
        if has_list(cx, key)?
            && let Some(reply) = several.pop(cx, key)?
        {
            return Ok(reply);
        }
    }
    cx.wait_for(several.keys, deadline)
}

pub(super) fn blpop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    wait_and_pop(cx, args, End::Left)
}

pub(super) fn brpop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    wait_and_pop(cx, args, End::Right)
}

fn wait_and_pop(cx: &mut Context<'_>, args: Args<'_>, end: End) -> Reply {
    let (keys, timeout) = args[1..].split_at(args.len() - 2);
    let deadline = deadline_in_seconds(cx, timeout[0])?;
    for key in keys {
        if has_list(cx, key)?
            && let Some(element) = pop_one(cx, key, end)?
        {
            cx.log_as(&[pop_name(end), key]);
            return Ok(Value::Array(vec![bulk(key), Value::BulkString(element)]));
        }
    }
    cx.wait_for(keys, deadline)
}

/// Whether there is a list that may be looked at. Who waits for a list does not mind that something else comes.
fn has_list(cx: &Context<'_>, key: &[u8]) -> Result<bool, Error> {
    if !cx.is_ready(key) {
        // It still must be no other type.
        return if cx.ready.is_none() {
            cx.structure::<List>(key).map(|_| false)
        } else {
            Ok(false)
        };
    }
    match cx.structure::<List>(key) {
        Err(_) if cx.ready.is_some() => Ok(false),
        list => Ok(list?.is_some()),
    }
}

pub(super) fn blmove(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (from, to) = (end(args[3])?, end(args[4])?);
    let deadline = deadline_in_seconds(cx, args[5])?;
    let log = [b"LMOVE", args[1], args[2], end_name(from), end_name(to)];
    wait_and_shift(cx, from, to, deadline, &log)
}

pub(super) fn brpoplpush(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let deadline = deadline_in_seconds(cx, args[3])?;
    let log = [b"RPOPLPUSH", args[1], args[2]];
    wait_and_shift(cx, End::Right, End::Left, deadline, &log)
}

/// Moves an element as the command `log` does, or waits for one.
fn wait_and_shift(
    cx: &mut Context<'_>,
    from: End,
    to: End,
    deadline: Option<i64>,
    log: Args<'_>,
) -> Reply {
    let (source, target) = (log[1], log[2]);
    if has_list(cx, source)?
        && let Some(element) = shift(cx, source, target, from, to)?
    {
        cx.log_as(log);
        return Ok(Value::BulkString(element));
    }
    cx.wait_for(&[source], deadline)
}

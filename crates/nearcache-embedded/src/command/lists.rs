//! Lists: the few commands that exist so far.

use redis::Value;

use super::Args;
use super::parse::integer;
use super::row::prelude::*;
use crate::context::{Change, Context};
use crate::keyspace::bytes::Bytes;
use crate::keyspace::list::List;
use crate::notify::Class;
use crate::reply::{Reply, bulk, count};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("lpush",   -3, Growing,   ONE,      Anywhere,  lpush),
    ("rpush",   -3, Growing,   ONE,      Anywhere,  rpush),
    ("llen",     2, Shared,    ONE,      Anywhere,  llen),
    ("lrange",   4, Shared,    ONE,      Anywhere,  lrange),
];

pub(super) fn lpush(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    push(cx, args, "lpush", List::push_front)
}

pub(super) fn rpush(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    push(cx, args, "rpush", List::push_back)
}

fn push(
    cx: &mut Context<'_>,
    args: Args<'_>,
    event: &'static str,
    push: fn(&mut List, Bytes),
) -> Reply {
    let len = cx.change_or_make(args[1], |list: &mut List| {
        args[2..]
            .iter()
            .for_each(|element| push(list, Bytes::from(*element)));
        Change::done(list.len()).notify(Class::LIST, event)
    });
    Ok(count(len?))
}

pub(super) fn llen(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(count(cx.structure::<List>(args[1])?.map_or(0, List::len)))
}

pub(super) fn lrange(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let Some(list) = cx.structure::<List>(args[1])? else {
        return Ok(Value::Array(Vec::new()));
    };
    let len = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let from_start = |index: i64| if index < 0 { len + index } else { index };
    let (start, stop) = (from_start(start).max(0), from_start(stop).min(len - 1));
    let range = if start <= stop {
        start as usize..stop as usize + 1
    } else {
        0..0
    };
    Ok(Value::Array(
        list.range(range).map(|element| bulk(element)).collect(),
    ))
}

//! Lists: commands on a single one. [`list_moves`](super::list_moves) has those on several, and those that wait.

use std::ops::Range;

use redis::Value;

use super::Args;
use super::parse::{at_least, integer, is};
use super::row::prelude::*;
use crate::context::{Change, Context, Form};
use crate::keyspace::list::{End, List, NodeSize};
use crate::notify::Class;
use crate::reply::{self, Error, Reply, bulk, bulk_or_nil, count};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("lpush",   -3, Growing,   ONE,      Anywhere,  lpush),
    ("rpush",   -3, Growing,   ONE,      Anywhere,  rpush),
    ("lpushx",  -3, Growing,   ONE,      Anywhere,  lpushx),
    ("rpushx",  -3, Growing,   ONE,      Anywhere,  rpushx),
    ("lpop",    -2, Exclusive, ONE,      Anywhere,  lpop),
    ("rpop",    -2, Exclusive, ONE,      Anywhere,  rpop),
    ("llen",     2, Shared,    ONE,      Anywhere,  llen),
    ("lindex",   3, Shared,    ONE,      Anywhere,  lindex),
    ("lrange",   4, Shared,    ONE,      Anywhere,  lrange),
    ("lpos",    -3, Shared,    ONE,      Anywhere,  lpos),
    ("linsert",  5, Growing,   ONE,      Anywhere,  linsert),
    ("lset",     4, Growing,   ONE,      Anywhere,  lset),
    ("lrem",     4, Exclusive, ONE,      Anywhere,  lrem),
    ("ltrim",    4, Exclusive, ONE,      Anywhere,  ltrim),
];

const NOT_POSITIVE: Error = Error::new("ERR value is out of range, must be positive");
const INDEX_OUT_OF_RANGE: Error = Error::new("ERR index out of range");
const ZERO_RANK: Error = Error::new(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
);
const NEGATIVE_COUNT: Error = Error::new("ERR COUNT can't be negative");
const NEGATIVE_MAXLEN: Error = Error::new("ERR MAXLEN can't be negative");

/// What a push at an end is notified as.
pub(super) fn pushed(end: End) -> &'static str {
    match end {
        End::Left => "lpush",
        End::Right => "rpush",
    }
}

/// What a pop from an end is notified as.
pub(super) fn popped(end: End) -> &'static str {
    match end {
        End::Left => "lpop",
        End::Right => "rpop",
    }
}

/// How large the nodes of lists may be.
pub(super) fn node_size(cx: &Context<'_>) -> NodeSize {
    NodeSize::new(cx.compact().list_node)
}

pub(super) fn lpush(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let len = cx.change_or_make(args[1], push(cx, args, End::Left));
    Ok(count(len?))
}

pub(super) fn rpush(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let len = cx.change_or_make(args[1], push(cx, args, End::Right));
    Ok(count(len?))
}

pub(super) fn lpushx(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let len = cx.change(args[1], push(cx, args, End::Left));
    Ok(count(len?.unwrap_or(0)))
}

pub(super) fn rpushx(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let len = cx.change(args[1], push(cx, args, End::Right));
    Ok(count(len?.unwrap_or(0)))
}

/// Pushes all elements, and returns how many there are then.
fn push<'a>(
    cx: &Context<'_>,
    args: Args<'a>,
    end: End,
) -> impl FnOnce(&mut List) -> Change<usize> + use<'a> {
    let size = node_size(cx);
    move |list| {
        for element in &args[2..] {
            list.push(end, element, size);
        }
        Change::done(list.len()).notify(Class::LIST, pushed(end))
    }
}

pub(super) fn lpop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    pop(cx, args, End::Left)
}

pub(super) fn rpop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    pop(cx, args, End::Right)
}

fn pop(cx: &mut Context<'_>, args: Args<'_>, end: End) -> Reply {
    match *args {
        [_, key] => Ok(bulk_or_nil(pop_one(cx, key, end)?.as_deref())),
        [_, key, most] => {
            let most = at_least(0, most, NOT_POSITIVE)?;
            let popped = pop_several(cx, key, end, most)?;
            Ok(popped.map_or(Value::Nil, Value::Array))
        }
        _ => Err(Error::from(format!(
            "ERR wrong number of arguments for '{}' command",
            popped(end)
        ))),
    }
}

/// Takes the element at an end, if there is a list.
pub(super) fn pop_one(
    cx: &mut Context<'_>,
    key: &[u8],
    end: End,
) -> Result<Option<Vec<u8>>, Error> {
    let element = cx.change(key, |list: &mut List| {
        let element = list.pop(end);
        Change::when(element.is_some(), element).notify(Class::LIST, popped(end))
    });
    Ok(element?.flatten())
}

/// Takes elements from an end, that at the end first, if there is a list.
pub(super) fn pop_several(
    cx: &mut Context<'_>,
    key: &[u8],
    end: End,
    most: usize,
) -> Result<Option<Vec<Value>>, Error> {
    cx.change(key, |list: &mut List| {
        let taken = most.min(list.len());
        let elements = match end {
            End::Left => reply::values(taken, list.iter().take(taken).map(bulk)),
            End::Right => reply::values(taken, list.iter().rev().take(taken).map(bulk)),
        };
        let start = match end {
            End::Left => 0,
            End::Right => list.len() - taken,
        };
        list.remove(start..start + taken);
        Change::when(taken > 0, elements).notify(Class::LIST, popped(end))
    })
}

pub(super) fn llen(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(count(cx.structure::<List>(args[1])?.map_or(0, List::len)))
}

pub(super) fn lindex(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let Some(list) = cx.structure::<List>(args[1])? else {
        return Ok(Value::Nil);
    };
    let index = index(integer(args[2])?, list.len());
    cx.bulk_or_nil(index.and_then(|index| list.get(index)))
}

/// An index that may be counted from the end. `None` if it is before the beginning.
fn index(index: i64, len: usize) -> Option<usize> {
    if index < 0 {
        let from_end = usize::try_from(index.unsigned_abs()).ok()?;
        len.checked_sub(from_end)
    } else {
        usize::try_from(index).ok()
    }
}

/// The range between two indexes, both included, which may be counted from the end.
fn range(start: i64, stop: i64, len: usize) -> Range<usize> {
    let start = index(start, len).unwrap_or(0);
    let end = index(stop, len).map_or(0, |stop| stop.saturating_add(1).min(len));
    if start < end { start..end } else { 0..0 }
}

pub(super) fn lrange(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let Some(list) = cx.structure::<List>(args[1])? else {
        return Ok(Value::Array(Vec::new()));
    };
    let range = range(start, stop, list.len());
    let mut elements = cx.elements(Form::Array, range.len());
    list.range(range).for_each(|element| elements.bulk(element));
    elements.reply()
}

/// What `LPOS` looks for.
struct Search {
    /// Which of the matches is the first to be returned; from the end if negative.
    rank: i64,
    /// How many to return, in an array; 0 means all.
    count: Option<usize>,
    /// How many elements to compare at most; 0 means all.
    most: usize,
}

impl Search {
    fn read(args: Args<'_>) -> Result<Self, Error> {
        let mut search = Search {
            rank: 1,
            count: None,
            most: 0,
        };
        for option in args.chunks(2) {
            let &[name, value] = option else {
                return Err(Error::SYNTAX);
            };
            if is(name, "RANK") {
                search.rank = integer(value)?;
                if search.rank == 0 {
                    return Err(ZERO_RANK);
                }
            } else if is(name, "COUNT") {
                search.count = Some(at_least(0, value, NEGATIVE_COUNT)?);
            } else if is(name, "MAXLEN") {
                search.most = at_least(0, value, NEGATIVE_MAXLEN)?;
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(search)
    }

    /// The indexes of the matches.
    fn run(&self, list: &List, element: &[u8]) -> Vec<Value> {
        let unless_zero = |n| if n == 0 { usize::MAX } else { n };
        let wanted = self.count.map_or(1, unless_zero);
        let rank = usize::try_from(self.rank.unsigned_abs()).unwrap_or(usize::MAX);
        let matches = |(index, other): (usize, &[u8])| (other == element).then_some(index);
        let most = unless_zero(self.most);
        if self.rank > 0 {
            let found = list.iter().enumerate().take(most).filter_map(matches);
            found.skip(rank - 1).take(wanted).map(count).collect()
        } else {
            let last = list.len() - 1;
            let found = list.iter().rev().enumerate().take(most).filter_map(matches);
            let found = found.skip(rank - 1).take(wanted);
            found.map(|index| count(last - index)).collect()
        }
    }
}

pub(super) fn lpos(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let search = Search::read(&args[3..])?;
    let list = cx.structure::<List>(args[1])?;
    let found = list.map_or(Vec::new(), |list| search.run(list, args[2]));
    Ok(match search.count {
        Some(_) => Value::Array(found),
        None => found.into_iter().next().unwrap_or(Value::Nil),
    })
}

pub(super) fn linsert(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let after = if is(args[2], "AFTER") {
        1
    } else if is(args[2], "BEFORE") {
        0
    } else {
        return Err(Error::SYNTAX);
    };
    let size = node_size(cx);
    let len = cx.change(args[1], |list: &mut List| {
        let pivot = list.iter().position(|element| element == args[3]);
        if let Some(pivot) = pivot {
            list.insert(pivot + after, args[4], size);
        }
        let len = pivot.map(|_| list.len());
        Change::when(len.is_some(), len).notify(Class::LIST, "linsert")
    });
    Ok(match len? {
        Some(len) => len.map_or(Value::Int(-1), count),
        None => Value::Int(0),
    })
}

pub(super) fn lset(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let Some(list) = cx.structure::<List>(args[1])? else {
        return Err(Error::NO_SUCH_KEY);
    };
    let index = index(integer(args[2])?, list.len()).ok_or(INDEX_OUT_OF_RANGE)?;
    let size = node_size(cx);
    let is_there = cx.change(args[1], |list: &mut List| {
        let is_there = list.replace(index, args[3], size);
        Change::when(is_there, is_there).notify(Class::LIST, "lset")
    });
    match is_there? {
        Some(true) => Ok(Value::Okay),
        _ => Err(INDEX_OUT_OF_RANGE),
    }
}

pub(super) fn lrem(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let most = integer(args[2])?;
    let from = if most < 0 { End::Right } else { End::Left };
    let most = match most.unsigned_abs() {
        0 => usize::MAX,
        most => usize::try_from(most).unwrap_or(usize::MAX),
    };
    let size = node_size(cx);
    let removed = cx.change(args[1], |list: &mut List| {
        let removed = list.remove_equal(args[3], most, from, size);
        Change::when(removed > 0, removed).notify(Class::LIST, "lrem")
    });
    Ok(count(removed?.unwrap_or(0)))
}

/// On a server this counts as a change even if all elements stay.
pub(super) fn ltrim(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    cx.change(args[1], |list: &mut List| {
        let kept = range(start, stop, list.len());
        list.remove(kept.end..list.len());
        list.remove(0..kept.start);
        Change::done(()).notify(Class::LIST, "ltrim")
    })?;
    Ok(Value::Okay)
}

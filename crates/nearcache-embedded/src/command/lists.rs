//! Lists: the few commands that exist so far.

use redis::Value;

use super::Args;
use super::parse::integer;
use crate::context::Context;
use crate::keyspace::bytes::Bytes;
use crate::keyspace::entry::Data;
use crate::keyspace::list::List;
use crate::reply::{Error, Reply, bulk, count};

pub(super) fn lpush(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    push(cx, args, List::push_front)
}

pub(super) fn rpush(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    push(cx, args, List::push_back)
}

fn push(cx: &mut Context<'_>, args: Args<'_>, push: fn(&mut List, Bytes)) -> Reply {
    let (key, elements) = (args[1], &args[2..]);
    let old = list(cx, key)?.map(List::len);
    let extend = |list: &mut List| {
        elements
            .iter()
            .for_each(|element| push(list, Bytes::from(*element)));
    };
    if old.is_some() {
        cx.edit(key, |entry| {
            if let Data::List(list) = &mut entry.data {
                extend(list);
            }
        });
    } else {
        let mut list = Box::<List>::default();
        extend(&mut list);
        cx.put(key, Data::List(list).into(), None);
    }
    Ok(count(old.unwrap_or(0) + elements.len()))
}

pub(super) fn llen(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(count(list(cx, args[1])?.map_or(0, List::len)))
}

pub(super) fn lrange(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let Some(list) = list(cx, args[1])? else {
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

fn list<'c>(cx: &'c Context<'_>, key: &[u8]) -> Result<Option<&'c List>, Error> {
    match cx.read(key).map(|entry| &entry.data) {
        None => Ok(None),
        Some(Data::List(list)) => Ok(Some(list)),
        Some(_) => Err(Error::WRONG_TYPE),
    }
}

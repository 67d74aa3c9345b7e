//! `XINFO`: what a stream and its groups are like.

use redis::{ProtocolVersion, Value};

use super::super::Args;
use super::super::object::lines;
use super::super::parse::{integer, is};
use super::{entry, id, no_group_of_stream, text, wrong_options};
use crate::context::Context;
use crate::keyspace::stream::{Entries, Group, Id, Stream};
use crate::reply::{Error, Reply, bulk, count};

/// How many entries, and pending entries of each group and consumer, are shown if nothing else is said.
const USUAL_COUNT: usize = 10;

/// Names with values: RESP2 has them in one array.
fn map(cx: &Context<'_>, pairs: Vec<(&str, Value)>) -> Value {
    let pairs = pairs.into_iter().map(|(name, value)| (text(name), value));
    match cx.session.protocol {
        ProtocolVersion::RESP2 => {
            Value::Array(pairs.flat_map(|(name, value)| [name, value]).collect())
        }
        _ => Value::Map(pairs.collect()),
    }
}

fn find<'c>(cx: &'c Context<'_>, key: &[u8]) -> Result<&'c Stream, Error> {
    cx.structure::<Stream>(key)?.ok_or(Error::NO_SUCH_KEY)
}

pub(super) fn stream(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let stream = find(cx, args[2])?;
    let most = match args[3..] {
        [] => None,
        [full] if is(full, "FULL") => Some(USUAL_COUNT),
        [full, name, number] if is(full, "FULL") && is(name, "COUNT") => {
            Some(match integer(number)? {
                ..0 => USUAL_COUNT,
                0 => usize::MAX,
                most => most as usize,
            })
        }
        _ => return Err(wrong_options(args)),
    };
    let entries = &stream.entries;
    let mut pairs = vec![
        ("length", count(entries.len())),
        ("radix-tree-keys", count(entries.nodes())),
        ("radix-tree-nodes", count(entries.radix_nodes())),
        ("last-generated-id", id(entries.last_id)),
        ("max-deleted-entry-id", id(entries.max_deleted_id)),
        ("entries-added", Value::Int(entries.added.cast_signed())),
        ("recorded-first-entry-id", id(entries.first_id())),
    ];
    if let Some(most) = most {
        let first = entries.range(Id::MIN, Id::MAX).take(most);
        pairs.push(("entries", Value::Array(first.map(entry).collect())));
        let groups = stream.groups().iter();
        let groups = groups.map(|(name, group)| full_group(cx, name, group, entries, most));
        pairs.push(("groups", Value::Array(groups.collect())));
    } else {
        pairs.push(("groups", count(stream.groups().len())));
        let first = entries.range(Id::MIN, Id::MAX).next();
        pairs.push(("first-entry", first.map_or(Value::Nil, entry)));
        let last = entries.range_back(Id::MIN, Id::MAX).next();
        pairs.push(("last-entry", last.map_or(Value::Nil, entry)));
    }
    Ok(map(cx, pairs))
}

fn known(number: Option<i64>) -> Value {
    number.map_or(Value::Nil, Value::Int)
}

fn full_group(
    cx: &Context<'_>,
    name: &[u8],
    group: &Group,
    entries: &Entries,
    most: usize,
) -> Value {
    let pending = group.pending().iter().take(most).map(|(at, pending)| {
        Value::Array(vec![
            id(*at),
            bulk(&pending.consumer),
            Value::Int(pending.delivered),
            Value::Int(pending.deliveries),
        ])
    });
    let pending = Value::Array(pending.collect());
    let consumers = group.consumers().iter().map(|(name, consumer)| {
        let pending = consumer.from(Id::MIN).take(most).filter_map(|at| {
            let pending = group.pending().get(&at)?;
            Some(Value::Array(vec![
                id(at),
                Value::Int(pending.delivered),
                Value::Int(pending.deliveries),
            ]))
        });
        let pairs = vec![
            ("name", bulk(name)),
            ("seen-time", Value::Int(consumer.seen)),
            ("pel-count", count(consumer.pending())),
            ("pending", Value::Array(pending.collect())),
        ];
        map(cx, pairs)
    });
    let pairs = vec![
        ("name", bulk(name)),
        ("last-delivered-id", id(group.last_id)),
        ("entries-read", known(group.entries_read)),
        ("lag", known(group.lag(entries))),
        ("pel-count", count(group.pending().len())),
        ("pending", pending),
        ("consumers", Value::Array(consumers.collect())),
    ];
    map(cx, pairs)
}

pub(super) fn groups(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let stream = find(cx, args[2])?;
    let groups = stream.groups().iter().map(|(name, group)| {
        let pairs = vec![
            ("name", bulk(name)),
            ("consumers", count(group.consumers().len())),
            ("pending", count(group.pending().len())),
            ("last-delivered-id", id(group.last_id)),
            ("entries-read", known(group.entries_read)),
            ("lag", known(group.lag(&stream.entries))),
        ];
        map(cx, pairs)
    });
    Ok(Value::Array(groups.collect()))
}

pub(super) fn consumers(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let stream = find(cx, args[2])?;
    let group = stream
        .group(args[3])
        .ok_or_else(|| no_group_of_stream(args[2], args[3]))?;
    let consumers = group.consumers().iter().map(|(name, consumer)| {
        let idle = cx.now().saturating_sub(consumer.seen).max(0);
        let pairs = vec![
            ("name", bulk(name)),
            ("pending", count(consumer.pending())),
            ("idle", Value::Int(idle)),
        ];
        map(cx, pairs)
    });
    Ok(Value::Array(consumers.collect()))
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
        "HELP",
        "    Prints this help.",
    ]))
}

//! Streams. [`write`](write) adds and removes entries, [`range`](range) and [`read`](read) return them,
//! [`groups`](groups) and [`pending`](pending) are about consumers, and [`info`](info) tells about all of it.

mod groups;
mod info;
mod options;
mod parse;
mod pending;
mod range;
mod read;
mod write;

use redis::Value;

use super::row::prelude::*;
use super::server::container;
use super::{Args, excerpt};
use crate::context::Context;
use crate::keyspace::stream::{Entry, Id, Pending};
use crate::reply::{Error, bulk};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("xadd",                   -5, Growing,   ONE,            Anywhere,  write::xadd),
    ("xlen",                    2, Shared,    ONE,            Anywhere,  range::xlen),
    ("xrange",                 -4, Shared,    ONE,            Anywhere,  range::xrange),
    ("xrevrange",              -4, Shared,    ONE,            Anywhere,  range::xrevrange),
    ("xread",                  -4, Shared,    Keys::Streams,  Anywhere,  read::xread),
    ("xreadgroup",             -7, Exclusive, Keys::Streams,  Anywhere,  read::xreadgroup),
    ("xdel",                   -3, Exclusive, ONE,            Anywhere,  write::xdel),
    ("xtrim",                  -4, Exclusive, ONE,            Anywhere,  write::xtrim),
    ("xsetid",                 -3, Growing,   ONE,            Anywhere,  write::xsetid),
    ("xack",                   -4, Exclusive, ONE,            Anywhere,  groups::xack),
    ("xpending",               -3, Shared,    ONE,            Anywhere,  pending::xpending),
    ("xclaim",                 -6, Exclusive, ONE,            Anywhere,  pending::xclaim),
    ("xautoclaim",             -6, Exclusive, ONE,            Anywhere,  pending::xautoclaim),
    ("xgroup",                 -2, Shared,    NONE,           Container, container),
    ("xgroup|create",          -5, Growing,   SECOND,         Anywhere,  groups::create),
    ("xgroup|setid",           -5, Exclusive, SECOND,         Anywhere,  groups::setid),
    ("xgroup|destroy",          4, Exclusive, SECOND,         Anywhere,  groups::destroy),
    ("xgroup|createconsumer",   5, Growing,   SECOND,         Anywhere,  groups::createconsumer),
    ("xgroup|delconsumer",      5, Exclusive, SECOND,         Anywhere,  groups::delconsumer),
    ("xgroup|help",             2, Shared,    NONE,           Anywhere,  groups::help),
    ("xinfo",                  -2, Shared,    NONE,           Container, container),
    ("xinfo|stream",           -3, Shared,    SECOND,         Anywhere,  info::stream),
    ("xinfo|groups",            3, Shared,    SECOND,         Anywhere,  info::groups),
    ("xinfo|consumers",         4, Shared,    SECOND,         Anywhere,  info::consumers),
    ("xinfo|help",              2, Shared,    NONE,           Anywhere,  info::help),
];

fn id(id: Id) -> Value {
    Value::BulkString(id.text())
}

/// An entry: its id, and its fields with their values.
fn entry(entry: Entry<'_>) -> Value {
    let mut fields = Vec::with_capacity(2 * entry.fields.len());
    for (field, value) in entry.fields {
        fields.push(Value::BulkString(field.to_vec()));
        fields.push(Value::BulkString(value.to_vec()));
    }
    Value::Array(vec![id(entry.id), Value::Array(fields)])
}

/// The error for a group that does not exist, or of which the stream does not exist.
fn no_group(key: &[u8], group: &[u8], of: &str) -> Error {
    Error::from(format!(
        "NOGROUP No such key '{}' or consumer group '{}'{of}",
        excerpt(key, usize::MAX),
        excerpt(group, usize::MAX)
    ))
}

/// The error for a group that an existing stream does not have.
fn no_group_of_stream(key: &[u8], group: &[u8]) -> Error {
    Error::from(format!(
        "NOGROUP No such consumer group '{}' for key name '{}'",
        excerpt(group, usize::MAX),
        excerpt(key, usize::MAX)
    ))
}

/// The error for options that a subcommand does not take.
fn wrong_options(args: Args<'_>) -> Error {
    Error::from(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.",
        excerpt(args[1], 128),
        excerpt(args[0], usize::MAX).to_uppercase()
    ))
}

/// Logs that an entry is pending for a consumer, in a form that has the same effect at any time: also if the entry is
/// gone, and so is not pending any more.
fn log_claim(
    cx: &mut Context<'_>,
    key: &[u8],
    group: &[u8],
    id: Id,
    pending: &Pending,
    last_id: Id,
) {
    let number = |number: i64| itoa::Buffer::new().format(number).to_owned();
    let (delivered, deliveries) = (number(pending.delivered), number(pending.deliveries));
    cx.log_as(&[
        b"XCLAIM",
        key,
        group,
        &pending.consumer,
        b"0",
        &id.text(),
        b"TIME",
        delivered.as_bytes(),
        b"RETRYCOUNT",
        deliveries.as_bytes(),
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &last_id.text(),
    ]);
}

/// Logs how far a group has read.
fn log_position(
    cx: &mut Context<'_>,
    key: &[u8],
    group: &[u8],
    last_id: Id,
    entries_read: Option<i64>,
) {
    let read = itoa::Buffer::new()
        .format(entries_read.unwrap_or(-1))
        .to_owned();
    cx.log_as(&[
        b"XGROUP",
        b"SETID",
        key,
        group,
        &last_id.text(),
        b"ENTRIESREAD",
        read.as_bytes(),
    ]);
}

fn text(text: &str) -> Value {
    bulk(text.as_bytes())
}

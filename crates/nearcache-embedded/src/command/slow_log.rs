//! `SLOWLOG`: see [`crate::slow_log`].

use redis::Value;

use super::Args;
use super::object::lines;
use super::parse::integer;
use super::row::prelude::*;
use super::server::container;
use crate::context::Context;
use crate::port::slow_log::Entry;
use crate::reply::{Error, Reply, bulk, count};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("slowlog",        -2, Shared,    NONE,     Container, container),
    ("slowlog|get",    -2, Shared,    NONE,     NoScript,  get),
    ("slowlog|len",     2, Shared,    NONE,     NoScript,  len),
    ("slowlog|reset",   2, Shared,    NONE,     NoScript,  reset),
    ("slowlog|help",    2, Shared,    NONE,     NoScript,  help),
];

pub(super) fn get(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const RANGE: Error = Error::new("ERR count should be greater than or equal to -1");
    let most = match args[2..] {
        [] => 10,
        [count] => integer(count)
            .ok()
            .filter(|count| *count >= -1)
            .ok_or(RANGE)?,
        _ => return Err(super::client::subcommand_error("GET", "SLOWLOG")),
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let entries = cx.shared.slow_log.newest(most);
    Ok(Value::Array(entries.into_iter().map(shown).collect()))
}

fn shown(entry: Entry) -> Value {
    Value::Array(vec![
        Value::Int(entry.id),
        Value::Int(entry.time),
        Value::Int(i64::try_from(entry.micros).unwrap_or(i64::MAX)),
        Value::Array(entry.args.into_iter().map(Value::BulkString).collect()),
        bulk(entry.address.as_bytes()),
        Value::BulkString(entry.name),
    ])
}

pub(super) fn len(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(count(cx.shared.slow_log.len()))
}

pub(super) fn reset(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    cx.shared.slow_log.clear();
    Ok(Value::Okay)
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
        "HELP",
        "    Prints this help.",
    ]))
}

//! Commands about the server.

use redis::Value;

use super::Args;
use super::parse::{integer, is};
use super::row::prelude::*;
use super::waiting::deadline_in_millis;
use crate::context::Context;
use crate::reply::{self, Error, Reply, bulk, count};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("time",            1, Shared,    NONE,     Anywhere,  time),
    ("lolwut",         -1, Shared,    NONE,     Anywhere,  lolwut),
    ("wait",            3, Shared,    NONE,     NoScript,  wait),
];

/// The version of Redis that this store behaves like.
pub(super) const VERSION: &str = "7.0.15";

pub(super) fn time(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let now = cx.now();
    let part = |number: i64| bulk(itoa::Buffer::new().format(number).as_bytes());
    Ok(Value::Array(vec![
        part(now / 1000),
        part(now % 1000 * 1000),
    ]))
}

/// A greeting.
pub(super) fn lolwut(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if let [_, word, version, ..] = args
        && is(word, "VERSION")
    {
        integer(version)?;
    }
    let art = format!("  (o)  nearcache-embedded\n  <|>  Redis ver. {VERSION}\n  / \\\n");
    Ok(reply::text(cx.session.protocol, art))
}

/// Waits for replicas, of which there are none. So it waits in vain, unless it is for none.
pub(super) fn wait(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let replicas = integer(args[1])?;
    let deadline = deadline_in_millis(cx, args[2])?;
    if replicas > 0 {
        cx.wait_for(&[], deadline)?;
    }
    Ok(count(0))
}

/// A command that needs a subcommand, called without one.
pub(super) fn container(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    let name = String::from_utf8_lossy(args[0]).to_lowercase();
    Err(Error::from(format!(
        "ERR wrong number of arguments for '{name}' command"
    )))
}

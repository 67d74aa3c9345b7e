//! Scripts: see [`crate::script`].

use redis::Value;

use super::Args;
use super::object::lines;
use super::parse::{integer, is};
use super::row::prelude::*;
use super::server::container;
use crate::context::Context;
use crate::reply::{Error, Reply, bulk, truth};
use crate::script::{Call, Script};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("eval",           -3, Exclusive, Keys::Counted { at: 2, also: 0 }, NoScript,  eval),
    ("evalsha",        -3, Exclusive, Keys::Counted { at: 2, also: 0 }, NoScript,  evalsha),
    ("script",         -2, Shared,    NONE,     Container, container),
    ("script|exists",  -3, Shared,    NONE,     NoScript,  exists),
    ("script|load",     3, Shared,    NONE,     NoScript,  load),
    ("script|flush",   -2, Shared,    NONE,     NoScript,  flush),
    ("script|kill",     2, Shared,    NONE,     NoScript,  kill),
    ("script|help",     2, Shared,    NONE,     Anywhere,  help),
];

const UNKNOWN: Error = Error::new(
    "ERR this in-process store runs only scripts that have a native twin; register one with Store::register",
);

pub(super) fn eval(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    call(cx, args, |cx| {
        cx.shared
            .scripts
            .load(args[1])
            .map(|(_, script)| script)
            .ok_or(UNKNOWN)
    })
}

pub(super) fn evalsha(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const MISSING: Error = Error::new("NOSCRIPT No matching script. Please use EVAL.");
    // Anything that cannot be a SHA1 is refused before the other arguments are checked.
    if args[1].len() != 40 {
        return Err(MISSING);
    }
    call(cx, args, |cx| cx.shared.scripts.get(args[1]).ok_or(MISSING))
}

fn call(
    cx: &mut Context<'_>,
    args: Args<'_>,
    find: impl FnOnce(&Context<'_>) -> Result<Script, Error>,
) -> Reply {
    let keys = integer(args[2])?;
    let (keys, args) = match usize::try_from(keys) {
        Err(_) => return Err(Error::new("ERR Number of keys can't be negative")),
        Ok(keys) => args[3..].split_at_checked(keys).ok_or(Error::new(
            "ERR Number of keys can't be greater than number of args",
        ))?,
    };
    let script = find(cx)?;
    cx.may_wait = false;
    cx.in_script = true;
    Call::run(script, cx, keys, args)
}

pub(super) fn exists(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let loaded = |sha1: &&[u8]| truth(cx.shared.scripts.get(sha1).is_some());
    Ok(Value::Array(args[2..].iter().map(loaded).collect()))
}

pub(super) fn load(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    cx.shared
        .scripts
        .load(args[2])
        .map(|(sha1, _)| bulk(sha1.as_bytes()))
        .ok_or(UNKNOWN)
}

pub(super) fn flush(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    match args[2..] {
        [] => {}
        [mode] if is(mode, "ASYNC") || is(mode, "SYNC") => {}
        _ => {
            return Err(Error::new(
                "ERR SCRIPT FLUSH only support SYNC|ASYNC option",
            ));
        }
    }
    cx.shared.scripts.flush();
    Ok(Value::Okay)
}

/// A twin cannot be stopped; so whoever asks is told that there is no script, as between two of them.
pub(super) fn kill(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Err(Error::new("NOTBUSY No scripts in execution right now."))
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "EXISTS <sha1> [<sha1> ...]",
        "    Tells which scripts are loaded.",
        "FLUSH [ASYNC|SYNC]",
        "    Forgets all loaded scripts.",
        "KILL",
        "    Ends the script that runs.",
        "LOAD <script>",
        "    Loads a script that has a native twin.",
        "HELP",
        "    Prints this help.",
    ]))
}

//! Commands about the files of a store: see [`crate::persist`].

use redis::Value;

use super::Args;
use super::parse::is;
use super::row::prelude::*;
use crate::context::Context;
use crate::reply::{Error, Reply};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("bgrewriteaof",   1, Shared,    NONE,     NoScript,  bgrewriteaof),
    ("lastsave",       1, Shared,    NONE,     Anywhere,  lastsave),
    ("save",           1, Shared,    NONE,     NoScript,  save),
    ("bgsave",        -1, Shared,    NONE,     NoScript,  bgsave),
];

const NO_FOLDER: Error =
    Error::new("ERR this store has no folder: open one with Store::builder().persist(..)");
const NO_RDB: Error = Error::new(
    "ERR this store writes no RDB files: in a folder everything is in its append-only files (BGREWRITEAOF), and Store::save writes one file of commands",
);

pub(super) fn bgrewriteaof(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let log = cx.shared.log().ok_or(NO_FOLDER)?;
    if log.start_rewrite() {
        return Ok(Value::SimpleString(
            "Background append only file rewriting started".to_owned(),
        ));
    }
    Err(if log.rewrites().is_running() {
        Error::new("ERR Background append only file rewriting already in progress")
    } else {
        Error::new("ERR Can't execute an AOF background rewriting: no thread can be started")
    })
}

/// When everything was last saved or rewritten, or the store was opened, in unix seconds.
pub(super) fn lastsave(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(Value::Int(cx.shared.last_save()))
}

pub(super) fn save(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Err(NO_RDB)
}

pub(super) fn bgsave(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    match args[1..] {
        [] => Err(NO_RDB),
        [option] if is(option, "SCHEDULE") => Err(NO_RDB),
        _ => Err(Error::SYNTAX),
    }
}

//! Commands about the files of a store: see [`crate::persist`].

use std::sync::atomic::Ordering;

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

/// The section of `INFO`.
pub(super) fn info(cx: &Context<'_>) -> String {
    let start = "loading:0\r\nasync_loading:0\r\ncurrent_cow_peak:0\r\ncurrent_cow_size:0\r\ncurrent_cow_size_age:0\r\n\
                 current_fork_perc:0.00\r\ncurrent_save_keys_processed:0\r\ncurrent_save_keys_total:0\r\n\
                 rdb_bgsave_in_progress:0\r\n";
    let middle = "rdb_last_bgsave_status:ok\r\nrdb_last_bgsave_time_sec:-1\r\nrdb_current_bgsave_time_sec:-1\r\n\
                  rdb_saves:0\r\nrdb_last_cow_size:0\r\nrdb_last_load_keys_expired:0\r\nrdb_last_load_keys_loaded:0\r\n";
    let mut text = format!(
        "{start}rdb_changes_since_last_save:{}\r\nrdb_last_save_time:{}\r\n{middle}",
        cx.shared.stats.changes.load(Ordering::Relaxed),
        cx.shared.last_save()
    );
    let end = "aof_last_cow_size:0\r\nmodule_fork_in_progress:0\r\nmodule_fork_last_cow_size:0\r\n";
    let Some(log) = cx.shared.log() else {
        text += "aof_enabled:0\r\naof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\n\
                 aof_last_rewrite_time_sec:-1\r\naof_current_rewrite_time_sec:-1\r\naof_last_bgrewrite_status:ok\r\n\
                 aof_rewrites:0\r\naof_rewrites_consecutive_failures:0\r\naof_last_write_status:ok\r\n";
        return text + end;
    };
    let rewrites = log.rewrites();
    let status = |failed: bool| if failed { "err" } else { "ok" };
    text += &format!(
        "aof_enabled:1\r\naof_rewrite_in_progress:{}\r\naof_rewrite_scheduled:0\r\naof_last_rewrite_time_sec:{}\r\n\
         aof_current_rewrite_time_sec:{}\r\naof_last_bgrewrite_status:{}\r\naof_rewrites:{}\r\n\
         aof_rewrites_consecutive_failures:{}\r\naof_last_write_status:{}\r\n{end}",
        u8::from(rewrites.is_running()),
        rewrites.last_seconds.load(Ordering::Relaxed),
        rewrites.running_for(),
        status(rewrites.last_failed.load(Ordering::Relaxed)),
        rewrites.count.load(Ordering::Relaxed),
        rewrites.failures.load(Ordering::Relaxed),
        status(log.is_failing()),
    );
    let (size, base) = log.current_size();
    text + &format!(
        "aof_current_size:{size}\r\naof_base_size:{base}\r\naof_pending_rewrite:0\r\naof_buffer_length:{}\r\n\
         aof_pending_bio_fsync:0\r\naof_delayed_fsync:{}\r\n",
        log.buffered(),
        log.delayed.load(Ordering::Relaxed),
    )
}

//! Transactions.

use redis::Value;

use super::Args;
use super::row::prelude::*;
use crate::context::Context;
use crate::reply::{self, Error, Reply};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("multi",     1, Shared,    NONE,     AtOnce,    multi),
    ("exec",      1, Exclusive, Keys::Queued, AtOnce,    exec),
    ("discard",   1, Shared,    NONE,     AtOnce,    discard),
    ("watch",    -2, Exclusive, ALL_ARGS, AtOnce,    watch),
    ("unwatch",   1, Shared,    NONE,     NoScript,  unwatch),
];

pub(super) fn multi(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    if cx.session.transaction.is_some() {
        return Err(Error::new("ERR MULTI calls can not be nested"));
    }
    cx.session.transaction = Some(Box::default());
    Ok(Value::Okay)
}

pub(super) fn discard(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    if cx.session.transaction.take().is_none() {
        return Err(Error::new("ERR DISCARD without MULTI"));
    }
    cx.session.watching = None;
    Ok(Value::Okay)
}

/// The shards of the queued commands and of the watched keys are locked, so no other client can change a watched key
/// between the check and the commands.
pub(super) fn exec(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let Some(transaction) = cx.session.transaction.take() else {
        return Err(Error::new("ERR EXEC without MULTI"));
    };
    let watching = cx.session.watching.take();
    if transaction.aborted {
        return Err(Error::new(
            "EXECABORT Transaction discarded because of previous errors.",
        ));
    }
    if watching.is_some_and(|watching| cx.changed_since(&watching)) {
        return Ok(Value::Nil);
    }
    cx.may_wait = false;
    cx.queued = true;
    let mut replies = Vec::with_capacity(transaction.queue.len());
    for queued in &transaction.queue {
        replies.push(reply::value(
            queued.with_args(|args| cx.run(queued.command, args)),
        ));
        cx.end_command();
    }
    Ok(Value::Array(replies))
}

pub(super) fn watch(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if cx.session.transaction.is_some() {
        return Err(Error::new("ERR WATCH inside MULTI is not allowed"));
    }
    args[1..].iter().for_each(|key| cx.watch(key));
    Ok(Value::Okay)
}

pub(super) fn unwatch(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    cx.session.watching = None;
    Ok(Value::Okay)
}

//! Commands on the connection itself.

use std::sync::atomic::Ordering;

use redis::{ProtocolVersion, Value};

use super::Args;
use super::keys::database;
use super::row::prelude::*;
use crate::context::Context;
use crate::port::clients::Replies;
use crate::reply::{Error, Reply, bulk};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("ping",             -1, Shared,    NONE,     Anywhere,  ping),
    ("echo",              2, Shared,    NONE,     Anywhere,  echo),
    ("select",            2, Shared,    NONE,     NoScript,  select),
    ("quit",             -1, Shared,    NONE,     AtOnce,    quit),
    ("reset",             1, Shared,    NONE,     AtOnce,    reset),
];

pub(super) fn ping(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    // A client of RESP2 that is subscribed gets it in the form of its messages.
    let as_message = cx.session.is_subscribed() && cx.session.protocol == ProtocolVersion::RESP2;
    match args[1..] {
        [] if as_message => Ok(Value::Array(vec![bulk(b"pong"), bulk(b"")])),
        [message] if as_message => Ok(Value::Array(vec![bulk(b"pong"), bulk(message)])),
        [] => Ok(Value::SimpleString("PONG".to_owned())),
        [message] => Ok(bulk(message)),
        _ => Err(Error::new(
            "ERR wrong number of arguments for 'ping' command",
        )),
    }
}

pub(super) fn echo(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(bulk(args[1]))
}

pub(super) fn select(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    cx.session.db = database(cx, args[1])?;
    Ok(Value::Okay)
}

/// A port closes the connection. Within the process there is nothing to close: afterwards the connection is like a new one, as if the client had reconnected at
/// once.
pub(super) fn quit(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    cx.session.reset();
    cx.session.mailbox = None;
    Ok(Value::Okay)
}

pub(super) fn reset(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    if let Some(client) = &cx.session.client {
        cx.shared.clients.end_monitor(client);
        client.set_replies(Replies::On);
        let needs_password = cx.shared.settings.port.password.is_set();
        client
            .authenticated
            .store(!needs_password, Ordering::Relaxed);
    }
    cx.session.reset();
    Ok(Value::SimpleString("RESET".to_owned()))
}

//! Commands on the connection itself.

use redis::{ProtocolVersion, Value};

use super::keys::database;
use super::parse::is;
use super::row::prelude::*;
use super::server::container;
use super::{Args, excerpt};
use crate::context::Context;
use crate::reply::{Error, Reply, bulk, bulk_or_nil};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("ping",             -1, Shared,    NONE,     Anywhere,  ping),
    ("echo",              2, Shared,    NONE,     Anywhere,  echo),
    ("select",            2, Shared,    NONE,     NoScript,  select),
    ("quit",             -1, Shared,    NONE,     AtOnce,    quit),
    ("reset",             1, Shared,    NONE,     AtOnce,    reset),
    ("client",           -2, Shared,    NONE,     Container, container),
    ("client|id",         2, Shared,    NONE,     NoScript,  client_id),
    ("client|info",       2, Shared,    NONE,     NoScript,  client_info),
    ("client|getname",    2, Shared,    NONE,     NoScript,  client_getname),
    ("client|setname",    3, Shared,    NONE,     NoScript,  client_setname),
    ("client|setinfo",    4, Shared,    NONE,     NoScript,  client_setinfo),
    ("client|no-evict",   3, Shared,    NONE,     NoScript,  client_no_evict),
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

/// There is no socket to close. Afterwards the connection is like a new one, as if the client had reconnected at
/// once.
pub(super) fn quit(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    cx.session.reset();
    cx.session.mailbox = None;
    Ok(Value::Okay)
}

pub(super) fn reset(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    cx.session.reset();
    Ok(Value::SimpleString("RESET".to_owned()))
}

pub(super) fn client_id(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(Value::Int(i64::try_from(cx.session.id).unwrap_or(i64::MAX)))
}

pub(super) fn client_info(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let session = &cx.session;
    let name = String::from_utf8_lossy(session.name.as_deref().unwrap_or_default());
    let resp = if session.protocol == ProtocolVersion::RESP2 {
        2
    } else {
        3
    };
    let watch = session
        .watching
        .as_ref()
        .map_or(0, |watching| watching.keys.len());
    let flags = match session.push_flags() {
        none if none.is_empty() => "N".to_owned(),
        flags => flags,
    };
    let [sub, psub, ssub] = session.subscription_counts();
    Ok(bulk(
        format!(
            "id={} addr=embedded laddr=embedded name={name} flags={flags} db={} sub={sub} psub={psub} ssub={ssub} multi=-1 watch={watch} cmd=client|info user=default redir={} resp={resp}\n",
            session.id,
            session.db,
            session.redirect(),
        )
        .as_bytes(),
    ))
}

pub(super) fn client_getname(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(bulk_or_nil(cx.session.name.as_deref()))
}

pub(super) fn client_setname(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    set_name(cx, args[2])?;
    Ok(Value::Okay)
}

/// An empty name means no name.
pub(super) fn set_name(cx: &mut Context<'_>, name: &[u8]) -> Result<(), Error> {
    if !is_plain(name) {
        return Err(Error::new(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    cx.session.name = (!name.is_empty()).then(|| name.into());
    Ok(())
}

/// Accepted, like by a server from 7.2 on, but not kept: there is no list of clients that would show it.
pub(super) fn client_setinfo(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (attribute, value) = (args[2], args[3]);
    if !is(attribute, "lib-name") && !is(attribute, "lib-ver") {
        return Err(Error::from(format!(
            "ERR Unrecognized option '{}'",
            excerpt(attribute, 128)
        )));
    }
    if !is_plain(value) {
        let attribute = String::from_utf8_lossy(attribute).to_lowercase();
        return Err(Error::from(format!(
            "ERR {attribute} cannot contain spaces, newlines or special characters."
        )));
    }
    Ok(Value::Okay)
}

/// Clients are never evicted here.
pub(super) fn client_no_evict(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    if is(args[2], "on") || is(args[2], "off") {
        Ok(Value::Okay)
    } else {
        Err(Error::SYNTAX)
    }
}

fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

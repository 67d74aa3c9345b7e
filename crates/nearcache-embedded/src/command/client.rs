//! `CLIENT`: the clients of the port, seen by each other.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{ProtocolVersion, Value};

use super::object::lines;
use super::parse::{integer, is};
use super::row::prelude::*;
use super::server::container;
use super::{Args, excerpt};
use crate::context::Context;
use crate::port::clients::{Client, ClientType, Pause, Replies};
use crate::reply::{self, Error, Reply, bulk_or_nil, count, truth};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("client",           -2, Shared,    NONE,     Container, container),
    ("client|id",         2, Shared,    NONE,     NoScript,  id),
    ("client|info",       2, Shared,    NONE,     NoScript,  info),
    ("client|list",      -2, Shared,    NONE,     NoScript,  list),
    ("client|kill",      -3, Shared,    NONE,     NoScript,  kill),
    ("client|getname",    2, Shared,    NONE,     NoScript,  getname),
    ("client|setname",    3, Shared,    NONE,     NoScript,  setname),
    ("client|setinfo",    4, Shared,    NONE,     NoScript,  setinfo),
    ("client|no-evict",   3, Shared,    NONE,     NoScript,  no_evict),
    ("client|pause",     -3, Shared,    NONE,     NoScript,  pause),
    ("client|unpause",    2, Shared,    NONE,     NoScript,  unpause),
    ("client|reply",      3, Shared,    NONE,     NoScript,  replies),
    ("client|unblock",   -3, Shared,    NONE,     NoScript,  unblock),
    ("client|help",       2, Shared,    NONE,     NoScript,  help),
];

pub(super) fn id(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(Value::Int(i64::try_from(cx.session.id).unwrap_or(i64::MAX)))
}

pub(super) fn info(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let line = own_line(cx);
    Ok(reply::text(cx.session.protocol, line))
}

/// The client that asks. One within the process is no client of the port, and has a line of its own.
fn own_line(cx: &Context<'_>) -> String {
    let session = &cx.session;
    if let Some(client) = &session.client {
        client.seen.lock().look(session);
        return line(cx, client);
    }
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
    format!(
        "id={} addr=embedded laddr=embedded name={name} flags={flags} db={} sub={sub} psub={psub} ssub={ssub} multi=-1 watch={watch} cmd=client|info user=default redir={} resp={resp}\n",
        session.id,
        session.db,
        session.redirect(),
    )
}

/// How the list shows a client.
fn line(cx: &Context<'_>, client: &Client) -> String {
    let idle = cx
        .shared
        .coarse_ms()
        .saturating_sub(client.active.load(Ordering::Relaxed));
    let kind = client.kind();
    let seen = client.seen.lock();
    let mut flags = String::new();
    let set = [
        (client.monitors.load(Ordering::Relaxed), 'O'),
        (kind == ClientType::PubSub, 'P'),
        (seen.queued.is_some(), 'x'),
        (client.blocked.load(Ordering::Relaxed), 'b'),
        (seen.push_flags.contains('t'), 't'),
        (seen.push_flags.contains('R'), 'R'),
        (seen.push_flags.contains('B'), 'B'),
        (seen.dirty, 'd'),
        (client.closing.load(Ordering::Relaxed), 'c'),
        (client.is_unix, 'U'),
        (client.no_evict.load(Ordering::Relaxed), 'e'),
    ];
    flags.extend(
        set.iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, flag)| flag),
    );
    if flags.is_empty() {
        flags.push('N');
    }
    let (waiting, waiting_bytes) = client.mailbox.waiting();
    let fixed = size_of::<Client>();
    let total = fixed
        + seen.input
        + seen.input_free
        + seen.args
        + seen.queued_bytes
        + seen.output
        + waiting_bytes;
    let [channels, patterns, shard_channels] = seen.subscribed;
    let resp = if seen.protocol == ProtocolVersion::RESP2 {
        2
    } else {
        3
    };
    let multi = seen
        .queued
        .map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub={channels} psub={patterns} \
         ssub={shard_channels} multi={multi} qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} \
         oll={waiting} omem={waiting_bytes} tot-mem={total} events=r cmd={} user=default redir={} resp={resp}",
        client.id,
        client.address,
        client.local,
        client.socket,
        String::from_utf8_lossy(seen.name.as_deref().unwrap_or_default()),
        client.born.elapsed().as_secs(),
        idle / 1000,
        seen.db,
        seen.input,
        seen.input_free,
        seen.args,
        seen.queued_bytes,
        seen.output,
        seen.output,
        0,
        seen.command,
        seen.redirect,
    );
    text
}

pub(super) fn list(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if let Some(client) = &cx.session.client {
        client.seen.lock().look(cx.session);
    }
    let clients = match &args[2..] {
        [] => cx.shared.clients.all(),
        [option, kind] if is(option, "TYPE") => {
            let kind = read_type(kind)?;
            let mut clients = cx.shared.clients.all();
            clients.retain(|client| client.kind() == kind);
            clients
        }
        [option, ids @ ..] if is(option, "ID") && !ids.is_empty() => {
            let mut clients = Vec::new();
            for id in ids {
                const INVALID: Error = Error::new("ERR Invalid client ID");
                let id = integer(id).map_err(|_| INVALID)?;
                clients.extend(find(cx, id));
            }
            clients
        }
        _ => return Err(Error::SYNTAX),
    };
    let mut text: String = clients.iter().map(|client| line(cx, client)).collect();
    if cx.session.client.is_none() && args.len() == 2 {
        text.push_str(&own_line(cx));
    }
    Ok(reply::text(cx.session.protocol, text))
}

fn find(cx: &Context<'_>, id: i64) -> Option<Arc<Client>> {
    u64::try_from(id)
        .ok()
        .and_then(|id| cx.shared.clients.get(id))
}

fn read_type(name: &[u8]) -> Result<ClientType, Error> {
    ClientType::read(name).ok_or_else(|| {
        let name = excerpt(name, usize::MAX);
        Error::from(format!("ERR Unknown client type '{name}'"))
    })
}

/// Which clients to disconnect.
#[derive(Default)]
struct Doomed<'a> {
    id: Option<u64>,
    kind: Option<ClientType>,
    address: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    sparing_self: bool,
}

impl Doomed<'_> {
    fn includes(&self, client: &Client) -> bool {
        self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == client.kind())
            && self
                .address
                .is_none_or(|address| address == client.address.as_bytes())
            && self
                .local
                .is_none_or(|local| local == client.local.as_bytes())
    }
}

pub(super) fn kill(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let doomed = match &args[2..] {
        [address] => Doomed {
            address: Some(address),
            ..Doomed::default()
        },
        options => read_doomed(options)?,
    };
    let mut killed = 0;
    for client in cx.shared.clients.all() {
        let is_self = client.id == cx.session.id;
        if !doomed.includes(&client) || is_self && doomed.sparing_self {
            continue;
        }
        if is_self {
            client.closing.store(true, Ordering::Relaxed);
        } else {
            client.kill();
            cx.shared.clients.remove(&client);
        }
        killed += 1;
    }
    if args.len() > 3 {
        return Ok(count(killed));
    }
    if killed == 0 {
        return Err(Error::new("ERR No such client"));
    }
    Ok(Value::Okay)
}

fn read_doomed<'a>(options: Args<'a>) -> Result<Doomed<'a>, Error> {
    let mut doomed = Doomed {
        sparing_self: true,
        ..Doomed::default()
    };
    for option in options.chunks(2) {
        let [name, value] = *option else {
            return Err(Error::SYNTAX);
        };
        match name {
            name if is(name, "ID") => {
                let id = integer(value).ok().filter(|id| *id > 0);
                let id = id.and_then(|id| u64::try_from(id).ok());
                doomed.id = Some(id.ok_or(Error::new("ERR client-id should be greater than 0"))?);
            }
            name if is(name, "TYPE") => doomed.kind = Some(read_type(value)?),
            name if is(name, "ADDR") => doomed.address = Some(value),
            name if is(name, "LADDR") => doomed.local = Some(value),
            name if is(name, "USER") => {
                if value != b"default" {
                    let user = excerpt(value, usize::MAX);
                    return Err(Error::from(format!("ERR No such user '{user}'")));
                }
            }
            name if is(name, "SKIPME") => {
                doomed.sparing_self = match value {
                    value if is(value, "YES") => true,
                    value if is(value, "NO") => false,
                    _ => return Err(Error::SYNTAX),
                };
            }
            _ => return Err(Error::SYNTAX),
        }
    }
    Ok(doomed)
}

pub(super) fn getname(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(bulk_or_nil(cx.session.name.as_deref()))
}

pub(super) fn setname(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
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

/// Accepted, like by a server from 7.2 on, but not kept: the list of clients of 7.0 does not show it.
pub(super) fn setinfo(_: &mut Context<'_>, args: Args<'_>) -> Reply {
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

/// Clients are never evicted here; the list shows what was asked for.
pub(super) fn no_evict(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let on = match args[2] {
        word if is(word, "ON") => true,
        word if is(word, "OFF") => false,
        _ => return Err(Error::SYNTAX),
    };
    if let Some(client) = &cx.session.client {
        client.no_evict.store(on, Ordering::Relaxed);
    }
    Ok(Value::Okay)
}

fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

pub(super) fn pause(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let what = match &args[3..] {
        [] => Pause::All,
        [mode] if is(mode, "ALL") => Pause::All,
        [mode] if is(mode, "WRITE") => Pause::Writes,
        [_] => return Err(Error::new("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(subcommand_error("PAUSE", "CLIENT")),
    };
    let now = cx.now();
    let end = super::waiting::deadline_in_millis(cx, args[2])?;
    let millis = end.map_or(0, |end| end.saturating_sub(now));
    let duration = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    cx.shared.clients.pause(what, duration);
    Ok(Value::Okay)
}

pub(super) fn unpause(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    cx.shared.clients.unpause();
    Ok(Value::Okay)
}

/// Within the process there is always a reply.
pub(super) fn replies(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let replies = match args[2] {
        word if is(word, "ON") => Replies::On,
        word if is(word, "OFF") => Replies::Off,
        word if is(word, "SKIP") => Replies::SkipNext,
        _ => return Err(Error::SYNTAX),
    };
    if let Some(client) = &cx.session.client
        && (replies != Replies::SkipNext || client.replies() != Replies::Off)
    {
        client.set_replies(replies);
    }
    Ok(Value::Okay)
}

pub(super) fn unblock(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let with_error = match &args[3..] {
        [] => false,
        [reason] if is(reason, "TIMEOUT") => false,
        [reason] if is(reason, "ERROR") => true,
        [_] => {
            return Err(Error::new(
                "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
        _ => return Err(subcommand_error("UNBLOCK", "CLIENT")),
    };
    let id = integer(args[2])?;
    let id = u64::try_from(id).unwrap_or(0);
    Ok(truth(cx.unblock(id, with_error)))
}

/// The error for a subcommand with the wrong number of arguments, where its row cannot tell.
pub(super) fn subcommand_error(subcommand: &str, container: &str) -> Error {
    Error::from(format!(
        "ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try {container} HELP."
    ))
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CACHING (YES|NO)",
        "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
        "GETREDIR",
        "    Return the client ID we are redirecting to when tracking is enabled.",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made from the specified address",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made to specified local address",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Kill connections by type.",
        "    * USER <username>",
        "      Kill connections authenticated by <username>.",
        "    * SKIPME (YES|NO)",
        "      Skip killing current connection (default: yes).",
        "LIST [options ...]",
        "    Return information about client connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Return clients of specified type.",
        "UNPAUSE",
        "    Stop the current client pause, resuming traffic.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Suspend all, or just write, clients for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Unblock the specified blocked client.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Control server assisted client side caching.",
        "TRACKINGINFO",
        "    Report tracking status for the current connection.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        "HELP",
        "    Prints this help.",
    ]))
}

//! Commands for those who administer a server: monitors, its role, its end.

use redis::Value;

use super::Args;
use super::object::lines;
use super::parse::{integer, is};
use super::row::prelude::*;
use super::server::container;
use crate::context::Context;
use crate::reply::{Error, Reply, bulk};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("monitor",          1, Shared,    NONE,     NoScript,  monitor),
    ("shutdown",        -1, Shared,    NONE,     NoScript,  shutdown),
    ("role",             1, Shared,    NONE,     NoScript,  role),
    ("replicaof",        3, Shared,    NONE,     NoScript,  replicaof),
    ("slaveof",          3, Shared,    NONE,     NoScript,  replicaof),
    ("script|kill",      2, Shared,    NONE,     NoScript,  function_kill),
    ("readonly",         1, Shared,    NONE,     Anywhere,  no_cluster),
    ("readwrite",        1, Shared,    NONE,     Anywhere,  no_cluster),
    ("asking",           1, Shared,    NONE,     Anywhere,  no_cluster),
    ("cluster",         -2, Shared,    NONE,     Container, container),
    ("cluster|info",     2, Shared,    NONE,     NoScript,  no_cluster),
    ("cluster|nodes",    2, Shared,    NONE,     NoScript,  no_cluster),
    ("cluster|slots",    2, Shared,    NONE,     NoScript,  no_cluster),
    ("cluster|shards",   2, Shared,    NONE,     NoScript,  no_cluster),
    ("cluster|myid",     2, Shared,    NONE,     NoScript,  no_cluster),
    ("cluster|keyslot",  3, Shared,    NONE,     NoScript,  no_cluster),
    ("cluster|help",     2, Shared,    NONE,     NoScript,  cluster_help),
    ("function",        -2, Shared,    NONE,     Container, container),
    ("function|flush",  -2, Shared,    NONE,     NoScript,  function_flush),
    ("function|list",   -2, Shared,    NONE,     NoScript,  function_list),
    ("function|load",   -3, Shared,    NONE,     NoScript,  function_load),
    ("function|kill",    2, Shared,    NONE,     NoScript,  function_kill),
    ("function|help",    2, Shared,    NONE,     NoScript,  function_help),
];

pub(super) fn monitor(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let Some(client) = &cx.session.client else {
        return Err(Error::new("ERR MONITOR is for clients of a port"));
    };
    cx.shared.clients.begin_monitor(client);
    Ok(Value::Okay)
}

/// Ends the servers of the store. The store itself stays, with those who use it in the process.
pub(super) fn shutdown(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (mut save, mut nosave, mut other, mut abort) = (false, false, false, false);
    for arg in &args[1..] {
        match *arg {
            arg if is(arg, "SAVE") => save = true,
            arg if is(arg, "NOSAVE") => nosave = true,
            arg if is(arg, "NOW") || is(arg, "FORCE") => other = true,
            arg if is(arg, "ABORT") => abort = true,
            _ => return Err(Error::SYNTAX),
        }
    }
    if save && nosave || abort && (save || nosave || other) {
        return Err(Error::SYNTAX);
    }
    if abort {
        return Err(Error::new("ERR No shutdown in progress."));
    }
    if !cx.shared.clients.shut_down() {
        return Err(Error::new("ERR there is no port to shut down"));
    }
    if let Some(client) = &cx.session.client {
        client.kill();
    }
    Ok(Value::Okay)
}

pub(super) fn role(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(Value::Array(vec![
        bulk(b"master"),
        Value::Int(0),
        Value::Array(Vec::new()),
    ]))
}

/// A store is nobody's replica, and stays so.
pub(super) fn replicaof(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    if is(args[1], "NO") && is(args[2], "ONE") {
        return Ok(Value::Okay);
    }
    let port = integer(args[2])
        .ok()
        .filter(|port| (0..=65535).contains(port));
    port.ok_or(Error::new("ERR Invalid master port"))?;
    Err(Error::new("ERR there is no replication here"))
}

/// A store is no node of a cluster.
pub(super) fn no_cluster(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Err(Error::new("ERR This instance has cluster support disabled"))
}

pub(super) fn cluster_help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "INFO",
        "    Return information about the cluster.",
        "HELP",
        "    Prints this help.",
    ]))
}

/// There are no functions, because there is no Lua.
pub(super) fn function_flush(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    match args[2..] {
        [] => Ok(Value::Okay),
        [mode] if is(mode, "ASYNC") || is(mode, "SYNC") => Ok(Value::Okay),
        _ => Err(Error::new(
            "ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
        )),
    }
}

pub(super) fn function_list(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(Value::Array(Vec::new()))
}

pub(super) fn function_load(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Err(Error::new(
        "ERR there is no Lua here, so there are no functions",
    ))
}

pub(super) fn function_kill(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Err(Error::new("NOTBUSY No scripts in execution right now."))
}

pub(super) fn function_help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all the libraries.",
        "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
        "    Return general information on all the libraries.",
        "KILL",
        "    Kill the current running function.",
        "HELP",
        "    Prints this help.",
    ]))
}

//! `AUTH` and `ACL`: there is one user, `default`, who may do everything once the password is given.

use std::sync::atomic::Ordering;

use redis::{ProtocolVersion, Value};

use super::introspection::{CATEGORIES, is_in_category};
use super::object::lines;
use super::parse::{integer, is};
use super::row::prelude::*;
use super::server::container;
use super::{Args, excerpt, table};
use crate::context::Context;
use crate::reply::{Error, Reply, bulk};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("auth",         -2, Shared,    NONE,     NoScript,  auth),
    ("acl",          -2, Shared,    NONE,     Container, container),
    ("acl|whoami",    2, Shared,    NONE,     NoScript,  whoami),
    ("acl|users",     2, Shared,    NONE,     NoScript,  users),
    ("acl|list",      2, Shared,    NONE,     NoScript,  list),
    ("acl|getuser",   3, Shared,    NONE,     NoScript,  getuser),
    ("acl|cat",      -2, Shared,    NONE,     NoScript,  cat),
    ("acl|genpass",  -2, Shared,    NONE,     NoScript,  genpass),
    ("acl|log",      -2, Shared,    NONE,     NoScript,  log),
    ("acl|setuser",  -3, Shared,    NONE,     NoScript,  setuser),
    ("acl|deluser",  -3, Shared,    NONE,     NoScript,  deluser),
    ("acl|help",      2, Shared,    NONE,     NoScript,  help),
];

const WRONG: Error = Error::new("WRONGPASS invalid username-password pair or user is disabled.");
const NO_USERS: Error = Error::new(
    "ERR there is one user here, 'default', and its password is the setting requirepass",
);

pub(super) fn auth(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const NOT_NEEDED: Error = Error::new(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
    );
    match args[1..] {
        [_] if !cx.shared.settings.port.password.is_set() => return Err(NOT_NEEDED),
        [password] => authenticate(cx, b"default", password)?,
        [user, password] => authenticate(cx, user, password)?,
        _ => return Err(Error::SYNTAX),
    }
    Ok(Value::Okay)
}

/// Lets the client do everything if it knows the password.
pub(super) fn authenticate(cx: &Context<'_>, user: &[u8], password: &[u8]) -> Result<(), Error> {
    if user != b"default" || !cx.shared.settings.port.password.is(password) {
        return Err(WRONG);
    }
    if let Some(client) = &cx.session.client {
        client.authenticated.store(true, Ordering::Relaxed);
    }
    Ok(())
}

pub(super) fn whoami(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(bulk(b"default"))
}

pub(super) fn users(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(Value::Array(vec![bulk(b"default")]))
}

/// No password is ever shown, not even its hash.
pub(super) fn list(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let password = if cx.shared.settings.port.password.is_set() {
        "#(redacted)"
    } else {
        "nopass"
    };
    let line = format!("user default on {password} ~* &* +@all");
    Ok(Value::Array(vec![bulk(line.as_bytes())]))
}

pub(super) fn getuser(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if args[2] != b"default" {
        return Ok(Value::Nil);
    }
    let mut flags = vec![bulk(b"on")];
    if !cx.shared.settings.port.password.is_set() {
        flags.push(bulk(b"nopass"));
    }
    let resp3 = cx.session.protocol != ProtocolVersion::RESP2;
    let flags = if resp3 {
        Value::Set(flags)
    } else {
        Value::Array(flags)
    };
    let fields = [
        ("flags", flags),
        ("passwords", Value::Array(Vec::new())),
        ("commands", bulk(b"+@all")),
        ("keys", bulk(b"~*")),
        ("channels", bulk(b"&*")),
        ("selectors", Value::Array(Vec::new())),
    ];
    let fields = fields
        .into_iter()
        .map(|(name, value)| (bulk(name.as_bytes()), value));
    Ok(if resp3 {
        Value::Map(fields.collect())
    } else {
        Value::Array(fields.flat_map(|(name, value)| [name, value]).collect())
    })
}

/// The categories, or the commands of one.
pub(super) fn cat(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    let names: Vec<&str> = match args[2..] {
        [] => CATEGORIES.to_vec(),
        [category] => {
            let known = CATEGORIES.iter().find(|known| is(category, known));
            let Some(known) = known else {
                return Err(Error::from(format!(
                    "ERR Unknown category '{}'",
                    excerpt(category, usize::MAX)
                )));
            };
            let commands = table::all().filter(|command| is_in_category(command, known));
            commands.map(|command| command.name).collect()
        }
        _ => return Err(super::client::subcommand_error("CAT", "ACL")),
    };
    Ok(Value::Array(
        names.iter().map(|name| bulk(name.as_bytes())).collect(),
    ))
}

/// Random hexadecimal digits, of 256 bits unless told otherwise.
pub(super) fn genpass(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const RANGE: Error = Error::new(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
    );
    let bits = match args[2..] {
        [] => 256,
        [bits] => integer(bits)?,
        _ => return Err(super::client::subcommand_error("GENPASS", "ACL")),
    };
    let digits = match usize::try_from(bits) {
        Ok(bits @ 1..=4096) => bits.div_ceil(4),
        _ => return Err(RANGE),
    };
    let mut password = String::new();
    while password.len() < digits {
        password.push_str(&format!("{:016x}", cx.shared.random()));
    }
    password.truncate(digits);
    Ok(bulk(password.as_bytes()))
}

/// Nothing is ever denied by an ACL, so nothing is logged.
pub(super) fn log(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    match args[2..] {
        [] => Ok(Value::Array(Vec::new())),
        [word] if is(word, "RESET") => Ok(Value::Okay),
        [count] => integer(count).map(|_| Value::Array(Vec::new())),
        _ => Err(super::client::subcommand_error("LOG", "ACL")),
    }
}

pub(super) fn setuser(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Err(NO_USERS)
}

pub(super) fn deluser(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    if args[2..].contains(&&b"default"[..]) {
        return Err(Error::new("ERR The 'default' user cannot be removed"));
    }
    Ok(Value::Int(0))
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CAT [<category>]",
        "    List all commands that belong to <category>, or all command categories",
        "    when no category is specified.",
        "GETUSER <username>",
        "    Get the user's details.",
        "GENPASS [<bits>]",
        "    Generate a secure 256-bit user password. The optional `bits` argument can",
        "    be used to specify a different size.",
        "LIST",
        "    Show users details in config file format.",
        "LOG [<count> | RESET]",
        "    Show the ACL log entries.",
        "USERS",
        "    List all the usernames.",
        "WHOAMI",
        "    Return the current connection username.",
        "HELP",
        "    Prints this help.",
    ]))
}

//! `HELLO`: chooses the protocol, authenticates, and describes the server.

use redis::{ProtocolVersion, Value};

use super::auth::authenticate;
use super::client::set_name;
use super::parse::{integer, is};
use super::row::prelude::*;
use super::server::VERSION;
use super::{Args, excerpt};
use crate::context::Context;
use crate::reply::{Error, Reply, bulk};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("hello",  -1, Shared,    NONE,     NoScript,  hello),
];

pub(super) fn hello(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let protocol = args
        .get(1)
        .map(|version| read_protocol(version))
        .transpose()?;
    let mut options = args.iter().skip(2);
    while let Some(option) = options.next() {
        if is(option, "AUTH") && options.len() >= 2 {
            if let (Some(user), Some(password)) = (options.next(), options.next()) {
                authenticate(cx, user, password)?;
            }
        } else if is(option, "SETNAME") && options.len() >= 1 {
            if let Some(name) = options.next() {
                set_name(cx, name)?;
            }
        } else {
            return Err(Error::from(format!(
                "ERR Syntax error in HELLO option '{}'",
                excerpt(option, usize::MAX)
            )));
        }
    }
    if cx
        .session
        .client
        .as_ref()
        .is_some_and(|client| !client.is_authenticated())
    {
        return Err(Error::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(protocol) = protocol {
        cx.session.speak(protocol);
    }
    Ok(greeting(cx))
}

fn read_protocol(version: &[u8]) -> Result<ProtocolVersion, Error> {
    match integer(version) {
        Ok(2) => Ok(ProtocolVersion::RESP2),
        Ok(3) => Ok(ProtocolVersion::RESP3),
        Ok(_) => Err(Error::new("NOPROTO unsupported protocol version")),
        Err(_) => Err(Error::new(
            "ERR Protocol version is not an integer or out of range",
        )),
    }
}

fn greeting(cx: &Context<'_>) -> Value {
    let resp3 = cx.session.protocol == ProtocolVersion::RESP3;
    let fields = [
        ("server", bulk(b"redis")),
        ("version", bulk(VERSION.as_bytes())),
        ("proto", Value::Int(if resp3 { 3 } else { 2 })),
        (
            "id",
            Value::Int(i64::try_from(cx.session.id).unwrap_or(i64::MAX)),
        ),
        ("mode", bulk(b"standalone")),
        ("role", bulk(b"master")),
        ("modules", Value::Array(Vec::new())),
    ];
    let fields = fields
        .into_iter()
        .map(|(name, value)| (bulk(name.as_bytes()), value));
    if resp3 {
        Value::Map(fields.collect())
    } else {
        Value::Array(fields.flat_map(|(name, value)| [name, value]).collect())
    }
}

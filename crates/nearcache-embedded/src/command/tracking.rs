//! `CLIENT TRACKING` and its kin: what a client keeps copies of, and how it is told of changes.

use redis::{ProtocolVersion, Value};

use super::Args;
use super::parse::{integer, is};
use super::row::prelude::*;
use crate::context::Context;
use crate::reply::{Error, Reply, bulk};
use crate::tracking::Mode;

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("client|tracking",     -3, Shared, NONE, NoScript, tracking),
    ("client|caching",       3, Shared, NONE, NoScript, caching),
    ("client|trackinginfo",  2, Shared, NONE, NoScript, trackinginfo),
    ("client|getredir",      2, Shared, NONE, NoScript, getredir),
];

pub(super) fn tracking(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (mode, prefixes) = options(cx, &args[3..])?;
    if is(args[2], "on") {
        turn_on(cx, mode, &prefixes)?;
    } else if is(args[2], "off") {
        if let Some(tracking) = &mut cx.session.tracking {
            tracking.turn_off();
        }
    } else {
        return Err(Error::SYNTAX);
    }
    Ok(Value::Okay)
}

fn options<'a>(cx: &mut Context<'_>, args: Args<'a>) -> Result<(Mode, Vec<&'a [u8]>), Error> {
    let (mut mode, mut prefixes) = (Mode::default(), Vec::new());
    let mut options = args.iter();
    while let Some(option) = options.next() {
        if is(option, "redirect")
            && let Some(client) = options.next()
        {
            if mode.redirect != 0 {
                return Err(Error::new(
                    "ERR A client can only redirect to a single other client",
                ));
            }
            let client = u64::try_from(integer(client)?).unwrap_or(0);
            if client == cx.session.id {
                cx.session.open_mailbox(cx.shared);
            }
            if !cx.shared.trackers.knows(client) {
                return Err(Error::new(
                    "ERR The client ID you want redirect to does not exist",
                ));
            }
            mode.redirect = client;
        } else if is(option, "bcast") {
            mode.broadcast = true;
        } else if is(option, "optin") {
            mode.opt_in = true;
        } else if is(option, "optout") {
            mode.opt_out = true;
        } else if is(option, "noloop") {
            mode.no_loop = true;
        } else if is(option, "prefix")
            && let Some(prefix) = options.next()
        {
            prefixes.push(*prefix);
        } else {
            return Err(Error::SYNTAX);
        }
    }
    Ok((mode, prefixes))
}

fn turn_on(cx: &mut Context<'_>, mode: Mode, prefixes: &[&[u8]]) -> Result<(), Error> {
    if !mode.broadcast && !prefixes.is_empty() {
        return Err(Error::new(
            "ERR PREFIX option requires BCAST mode to be enabled",
        ));
    }
    let current = cx
        .session
        .tracking
        .as_ref()
        .and_then(|tracking| tracking.mode());
    if current.is_some_and(|current| current.broadcast != mode.broadcast) {
        return Err(Error::new(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    if mode.broadcast && (mode.opt_in || mode.opt_out) {
        return Err(Error::new(
            "ERR OPTIN and OPTOUT are not compatible with BCAST",
        ));
    }
    if mode.opt_in && mode.opt_out {
        return Err(Error::new(
            "ERR You can't specify both OPTIN mode and OPTOUT mode",
        ));
    }
    if current
        .is_some_and(|current| mode.opt_in && current.opt_out || mode.opt_out && current.opt_in)
    {
        return Err(Error::new(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    let tracking = cx.session.tracking(cx.shared);
    if mode.broadcast {
        let known = tracking.prefixes();
        for (at, prefix) in prefixes.iter().enumerate() {
            if let Some(other) = known.iter().find(|other| overlap(prefix, other)) {
                return Err(collision(prefix, "an existing prefix", other));
            }
            let mut later = prefixes[at + 1..].iter();
            if let Some(other) = later.find(|other| overlap(prefix, other)) {
                return Err(collision(prefix, "another provided prefix", other));
            }
        }
    }
    tracking.turn_on(mode, prefixes);
    Ok(())
}

/// Whether a key can have both prefixes.
fn overlap(a: &[u8], b: &[u8]) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn collision(prefix: &[u8], what: &str, other: &[u8]) -> Error {
    Error::from(format!(
        "ERR Prefix '{}' overlaps with {what} '{}'. Prefixes for a single client must not overlap.",
        super::excerpt(prefix, usize::MAX),
        super::excerpt(other, usize::MAX),
    ))
}

pub(super) fn caching(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let tracking = cx.session.tracking.as_mut();
    let Some((mode, tracking)) = tracking.and_then(|tracking| Some((tracking.mode()?, tracking)))
    else {
        return Err(Error::new(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    if is(args[2], "yes") {
        if !mode.opt_in {
            return Err(Error::new(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
    } else if is(args[2], "no") {
        if !mode.opt_out {
            return Err(Error::new(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
    } else {
        return Err(Error::SYNTAX);
    }
    tracking.caching = true;
    Ok(Value::Okay)
}

pub(super) fn getredir(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(Value::Int(cx.session.redirect()))
}

pub(super) fn trackinginfo(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let mut flags = Vec::new();
    let mut prefixes = Vec::new();
    let tracking = cx.session.tracking.as_ref();
    if let Some((mode, tracking)) = tracking.and_then(|tracking| Some((tracking.mode()?, tracking)))
    {
        let caching = tracking.caching;
        let all = [
            ("on", true),
            ("bcast", mode.broadcast),
            ("optin", mode.opt_in),
            ("caching-yes", mode.opt_in && caching),
            ("optout", mode.opt_out),
            ("caching-no", mode.opt_out && caching),
            ("noloop", mode.no_loop),
            ("broken_redirect", tracking.is_broken()),
        ];
        flags.extend(all.iter().filter(|(_, set)| *set).map(|(flag, _)| *flag));
        prefixes.extend(tracking.prefixes().iter().map(|prefix| bulk(prefix)));
    } else {
        flags.push("off");
    }
    let flags = flags.iter().map(|flag| bulk(flag.as_bytes())).collect();
    let redirect = Value::Int(cx.session.redirect());
    let prefixes = Value::Array(prefixes);
    let [flags_name, redirect_name, prefixes_name] =
        ["flags", "redirect", "prefixes"].map(|name| bulk(name.as_bytes()));
    Ok(match cx.session.protocol {
        ProtocolVersion::RESP2 => Value::Array(vec![
            flags_name,
            Value::Array(flags),
            redirect_name,
            redirect,
            prefixes_name,
            prefixes,
        ]),
        _ => Value::Map(vec![
            (flags_name, Value::Set(flags)),
            (redirect_name, redirect),
            (prefixes_name, prefixes),
        ]),
    })
}

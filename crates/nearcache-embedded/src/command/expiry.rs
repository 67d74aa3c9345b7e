//! Deadlines.

use redis::Value;

use super::options::{EX, EXAT, PX, PXAT, Unit};
use super::parse::{integer, is};
use super::row::prelude::*;
use super::strings::expire_at;
use super::{Args, excerpt};
use crate::context::Context;
use crate::keyspace::entry::Deadline;
use crate::notify::Class;
use crate::reply::{Error, Reply, truth};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("expire",       -3, Exclusive, ONE,      Anywhere,  expire),
    ("pexpire",      -3, Exclusive, ONE,      Anywhere,  pexpire),
    ("expireat",     -3, Exclusive, ONE,      Anywhere,  expireat),
    ("pexpireat",    -3, Exclusive, ONE,      Anywhere,  pexpireat),
    ("persist",       2, Exclusive, ONE,      Anywhere,  persist),
    ("ttl",           2, Shared,    ONE,      Anywhere,  ttl),
    ("pttl",          2, Shared,    ONE,      Anywhere,  pttl),
    ("expiretime",    2, Shared,    ONE,      Anywhere,  expiretime),
    ("pexpiretime",   2, Shared,    ONE,      Anywhere,  pexpiretime),
];

pub(super) fn expire(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    set_deadline(cx, "expire", EX, args)
}

pub(super) fn pexpire(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    set_deadline(cx, "pexpire", PX, args)
}

pub(super) fn expireat(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    set_deadline(cx, "expireat", EXAT, args)
}

pub(super) fn pexpireat(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    set_deadline(cx, "pexpireat", PXAT, args)
}

fn set_deadline(cx: &mut Context<'_>, command: &str, unit: Unit, args: Args<'_>) -> Reply {
    let condition = Condition::read(&args[3..])?;
    // Unlike with SET, a time in the past is allowed: it removes the key.
    let invalid = || Error::from(format!("ERR invalid expire time in '{command}' command"));
    let time = integer(args[2])?;
    let time = if unit.seconds {
        time.checked_mul(1000).ok_or_else(invalid)?
    } else {
        time
    };
    let base = if unit.absolute { 0 } else { cx.now() };
    let deadline = time
        .checked_add(base)
        .map(Deadline::at)
        .ok_or_else(invalid)?;
    let key = args[1];
    let Some(entry) = cx.get(key) else {
        return Ok(truth(false));
    };
    let allowed = condition.allows(entry.deadline, deadline);
    if allowed {
        expire_at(cx, key, deadline);
    }
    Ok(truth(allowed))
}

/// The condition for setting a new deadline.
#[derive(Default)]
struct Condition {
    none_yet: bool,
    has_one: bool,
    later: bool,
    earlier: bool,
}

impl Condition {
    fn read(args: Args<'_>) -> Result<Self, Error> {
        let mut condition = Condition::default();
        for arg in args {
            let flag = match () {
                () if is(arg, "NX") => &mut condition.none_yet,
                () if is(arg, "XX") => &mut condition.has_one,
                () if is(arg, "GT") => &mut condition.later,
                () if is(arg, "LT") => &mut condition.earlier,
                () => {
                    let option = excerpt(arg, usize::MAX);
                    return Err(Error::from(format!("ERR Unsupported option {option}")));
                }
            };
            *flag = true;
        }
        let Condition {
            none_yet,
            has_one,
            later,
            earlier,
        } = condition;
        if none_yet && (has_one || later || earlier) {
            return Err(Error::new(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if later && earlier {
            return Err(Error::new(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(condition)
    }

    /// A key without a deadline counts as one with an infinite deadline.
    fn allows(&self, current: Option<Deadline>, new: Deadline) -> bool {
        !(self.none_yet && current.is_some()
            || self.has_one && current.is_none()
            || self.later && current.is_none_or(|current| new <= current)
            || self.earlier && current.is_some_and(|current| new >= current))
    }
}

pub(super) fn persist(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let volatile = cx
        .get(args[1])
        .is_some_and(|entry| entry.deadline.is_some());
    if volatile {
        cx.edit(args[1], |entry| entry.deadline = None);
        cx.notify(Class::GENERIC, "persist", args[1]);
    }
    Ok(truth(volatile))
}

pub(super) fn ttl(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(time(cx, args[1], |deadline, now| {
        seconds((deadline - now).max(0))
    }))
}

pub(super) fn pttl(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(time(cx, args[1], |deadline, now| (deadline - now).max(0)))
}

pub(super) fn expiretime(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(time(cx, args[1], |deadline, _| seconds(deadline)))
}

pub(super) fn pexpiretime(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(time(cx, args[1], |deadline, _| deadline))
}

fn time(cx: &Context<'_>, key: &[u8], of: impl FnOnce(i64, i64) -> i64) -> Value {
    Value::Int(match cx.get(key).map(|entry| entry.deadline) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline)) => of(deadline.unix_ms(), cx.now()),
    })
}

/// Rounds to the nearest second.
fn seconds(ms: i64) -> i64 {
    ms / 1000 + i64::from(ms % 1000 >= 500)
}

//! The options of `SET` and `GETEX`.

use super::Args;
use super::parse::{integer, is};
use crate::context::Context;
use crate::keyspace::entry::Deadline;
use crate::reply::Error;

/// What an option does to the deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expiry<'a> {
    /// No option was given.
    Unsaid,
    Keep,
    Persist,
    Set(Unit, &'a [u8]),
}

/// The unit and the reference of a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    pub(super) seconds: bool,
    pub(super) absolute: bool,
}

pub(super) const EX: Unit = Unit {
    seconds: true,
    absolute: false,
};
pub(super) const PX: Unit = Unit {
    seconds: false,
    absolute: false,
};
pub(super) const EXAT: Unit = Unit {
    seconds: true,
    absolute: true,
};
pub(super) const PXAT: Unit = Unit {
    seconds: false,
    absolute: true,
};

#[derive(Debug)]
pub(super) struct Options<'a> {
    pub(super) if_absent: bool,
    pub(super) if_present: bool,
    pub(super) get: bool,
    pub(super) expiry: Expiry<'a>,
}

impl<'a> Options<'a> {
    pub(super) fn of_set(args: Args<'a>) -> Result<Self, Error> {
        Options::read(args, true)
    }

    pub(super) fn of_getex(args: Args<'a>) -> Result<Self, Error> {
        Options::read(args, false)
    }

    fn read(args: Args<'a>, set: bool) -> Result<Self, Error> {
        let mut options = Options {
            if_absent: false,
            if_present: false,
            get: false,
            expiry: Expiry::Unsaid,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if set && is(arg, "NX") && !options.if_present {
                options.if_absent = true;
            } else if set && is(arg, "XX") && !options.if_absent {
                options.if_present = true;
            } else if set && is(arg, "GET") {
                options.get = true;
            } else {
                let expiry = match () {
                    () if set && is(arg, "KEEPTTL") => Expiry::Keep,
                    () if !set && is(arg, "PERSIST") => Expiry::Persist,
                    () => {
                        let unit = unit(arg).ok_or(Error::SYNTAX)?;
                        Expiry::Set(unit, args.next().ok_or(Error::SYNTAX)?)
                    }
                };
                // An option may be repeated, and then the last one counts; two different ones are an error.
                if options.expiry != Expiry::Unsaid && !options.expiry.is_like(expiry) {
                    return Err(Error::SYNTAX);
                }
                options.expiry = expiry;
            }
        }
        Ok(options)
    }
}

impl Expiry<'_> {
    fn is_like(self, other: Expiry<'_>) -> bool {
        match (self, other) {
            (Expiry::Set(a, _), Expiry::Set(b, _)) => a == b,
            (a, b) => a == b,
        }
    }
}

fn unit(arg: &[u8]) -> Option<Unit> {
    let units = [("EX", EX), ("PX", PX), ("EXAT", EXAT), ("PXAT", PXAT)];
    units
        .into_iter()
        .find_map(|(word, unit)| is(arg, word).then_some(unit))
}

/// The deadline from an option of `command`: it must be after the epoch, and fit in 64 bits.
pub(super) fn deadline(
    cx: &Context<'_>,
    command: &str,
    unit: Unit,
    arg: &[u8],
) -> Result<Deadline, Error> {
    let invalid = || Error::from(format!("ERR invalid expire time in '{command}' command"));
    let time = integer(arg)?;
    if time <= 0 {
        return Err(invalid());
    }
    let time = if unit.seconds {
        time.checked_mul(1000).ok_or_else(invalid)?
    } else {
        time
    };
    let base = if unit.absolute { 0 } else { cx.now() };
    time.checked_add(base).map(Deadline::at).ok_or_else(invalid)
}

//! HyperLogLogs: strings that estimate how many different elements were added to them. [`format`] has their bytes.

mod format;

use redis::Value;

use self::format::{Corrupted, REGISTERS};
use super::parse::is;
use super::row::prelude::*;
use super::{Args, excerpt};
use crate::context::{Change, Context};
use crate::notify::Class;
use crate::reply::{Error, Reply, bulk, count, truth};

// `PFCOUNT` takes an exclusive lock, because it caches the estimate in the string, as a server does.
#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("pfadd",      -2, Growing,   ONE,      Anywhere,  pfadd),
    ("pfcount",    -2, Exclusive, ALL_ARGS, Anywhere,  pfcount),
    ("pfmerge",    -2, Growing,   ALL_ARGS, Anywhere,  pfmerge),
    ("pfdebug",     3, Growing,   SECOND,   Anywhere,  pfdebug),
    ("pfselftest",  1, Shared,    NONE,     Anywhere,  pfselftest),
];

const INVALID: Error = Error::new("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPTED: Error = Error::new("INVALIDOBJ Corrupted HLL object detected");

impl From<Corrupted> for Error {
    fn from(_: Corrupted) -> Self {
        CORRUPTED
    }
}

/// The HyperLogLog at a key.
fn at<'c>(cx: &'c Context<'_>, key: &[u8]) -> Result<Option<&'c [u8]>, Error> {
    match cx.string(key)? {
        Some(bytes) if !format::is_valid(bytes) => Err(INVALID),
        found => Ok(found),
    }
}

/// Up to how many bytes a HyperLogLog stays sparse.
fn most(cx: &Context<'_>) -> usize {
    let settings = &cx.shared.settings;
    settings
        .hyperloglog_sparse
        .load(std::sync::atomic::Ordering::Relaxed)
}

pub(super) fn pfadd(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let is_new = at(cx, args[1])?.is_none();
    let most = most(cx);
    let updated = cx.change_string(args[1], |bytes| {
        let mut updated = is_new;
        if is_new {
            *bytes = format::empty();
        }
        for element in &args[2..] {
            match format::add(bytes, element, most) {
                Ok(changed) => updated |= changed,
                // What was added before stays, but nobody is told.
                Err(corrupted) => return Change::when(updated, Err(corrupted)),
            }
        }
        if updated {
            format::outdate(bytes);
        }
        Change::when(updated, Ok(updated)).notify(Class::STRING, "pfadd")
    })?;
    Ok(truth(updated?))
}

pub(super) fn pfcount(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if args.len() > 2 {
        let (all, _) = merged(cx, &args[1..])?;
        return Ok(Value::Int(format::estimate_all(&all).cast_signed()));
    }
    let Some(bytes) = at(cx, args[1])? else {
        return Ok(count(0));
    };
    let estimate = match format::cached(bytes) {
        Some(cached) => cached,
        None => {
            let estimate = format::estimate(bytes)?;
            cx.change_string(args[1], |bytes| {
                format::cache(bytes, estimate);
                Change::done(())
            })?;
            estimate
        }
    };
    Ok(Value::Int(estimate.cast_signed()))
}

/// The greatest of each register, and whether any of the HyperLogLogs is dense.
fn merged(cx: &Context<'_>, keys: &[&[u8]]) -> Result<(Box<[u8; REGISTERS]>, bool), Error> {
    let mut all = Box::new([0; REGISTERS]);
    let mut dense = false;
    for key in keys {
        if let Some(bytes) = at(cx, key)? {
            dense |= !format::is_sparse(bytes);
            format::merge_into(&mut all, bytes)?;
        }
    }
    Ok((all, dense))
}

/// Merges the sources into the destination, which is one of them.
pub(super) fn pfmerge(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (all, dense) = merged(cx, &args[1..])?;
    let is_new = at(cx, args[1])?.is_none();
    let most = most(cx);
    let done = cx.change_string(args[1], |bytes| {
        if is_new {
            *bytes = format::empty();
        }
        if dense && format::make_dense(bytes).is_err() {
            return Change::none(Err(Corrupted));
        }
        for (index, value) in all.iter().enumerate().filter(|(_, value)| **value > 0) {
            // It was read before, so it is not corrupted.
            let _ = format::raise(bytes, index, *value, most);
        }
        format::outdate(bytes);
        Change::done(Ok(())).notify(Class::STRING, "pfadd")
    })?;
    done?;
    Ok(Value::Okay)
}

pub(super) fn pfdebug(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (word, key) = (args[1], args[2]);
    let Some(bytes) = at(cx, key)? else {
        return Err(Error::new("ERR The specified key does not exist"));
    };
    let sparse = format::is_sparse(bytes);
    let known = ["getreg", "decode", "encoding", "todense"];
    if !known.iter().any(|known| is(word, known)) {
        let word = excerpt(word, usize::MAX);
        return Err(Error::from(format!(
            "ERR Unknown PFDEBUG subcommand '{word}'"
        )));
    }
    match () {
        () if is(word, "encoding") => {
            let name = if sparse { "sparse" } else { "dense" };
            Ok(Value::SimpleString(name.to_owned()))
        }
        () if is(word, "decode") => {
            if !sparse {
                return Err(Error::new("ERR HLL encoding is not sparse"));
            }
            let runs: Vec<_> = format::runs(bytes).map(describe).collect();
            Ok(bulk(runs.join(" ").as_bytes()))
        }
        () if is(word, "getreg") => {
            make_dense(cx, key)?;
            let (all, _) = merged(cx, &[key])?;
            let registers = all.iter().map(|value| Value::Int((*value).into()));
            Ok(Value::Array(registers.collect()))
        }
        () => {
            make_dense(cx, key)?;
            Ok(truth(sparse))
        }
    }
}

fn describe(run: format::Run) -> String {
    match run {
        format::Run {
            value: 0,
            len,
            size: 1,
        } => format!("z:{len}"),
        format::Run { value: 0, len, .. } => format!("Z:{len}"),
        format::Run { value, len, .. } => format!("v:{value},{len}"),
    }
}

fn make_dense(cx: &mut Context<'_>, key: &[u8]) -> Result<(), Error> {
    let done = cx.change_string(key, |bytes| {
        let sparse = format::is_sparse(bytes);
        let done = format::make_dense(bytes);
        Change::when(sparse && done.is_ok(), done)
    })?;
    Ok(done?)
}

/// Whether sparse and dense ones agree, and the estimates are close.
pub(super) fn pfselftest(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    const FAILED: Error =
        Error::new("TESTFAILED sparse and dense disagree, or the error is too big");
    let most = most(cx);
    let (mut first, mut dense) = (format::empty(), format::empty());
    format::make_dense(&mut dense)?;
    let seed = cx.shared.random();
    let mut checkpoint = 10u64;
    for n in 1..=10_000u64 {
        let element = (n ^ seed).to_le_bytes();
        format::add(&mut first, &element, most)?;
        format::add(&mut dense, &element, most)?;
        if n == checkpoint {
            let estimate = format::estimate(&dense)?;
            // Six times the standard error.
            let allowed = (n as f64 * 6.0 * 1.04 / 128.0).ceil() as u64;
            if format::estimate(&first)? != estimate || estimate.abs_diff(n) > allowed {
                return Err(FAILED);
            }
            checkpoint *= 10;
        }
    }
    Ok(Value::Okay)
}

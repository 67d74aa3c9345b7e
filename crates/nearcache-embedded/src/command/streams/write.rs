//! `XADD`, `XDEL`, `XTRIM` and `XSETID`: what changes the entries.

use redis::Value;

use super::super::Args;
use super::super::parse::{integer, is};
use super::options::{Options, node_limits};
use super::parse;
use crate::context::{Change, Context};
use crate::keyspace::stream::{Entries, Id, Keep, Refused, Stream, Trim, Wanted};
use crate::notify::Class;
use crate::reply::{Error, Reply, count};

const WRONG_ARITY: Error = Error::new("ERR wrong number of arguments for 'xadd' command");

pub(super) fn xadd(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const ZERO: Error = Error::new("ERR The ID specified in XADD must be greater than 0-0");
    let limits = node_limits(cx);
    let options = Options::read(cx, args, true)?;
    let pairs = args.get(options.at + 1..).unwrap_or_default();
    if pairs.len() < 2 || !pairs.len().is_multiple_of(2) {
        return Err(WRONG_ARITY);
    }
    let wanted = match options.id {
        None => Wanted::Next {
            now_ms: u64::try_from(cx.now()).unwrap_or(0),
        },
        Some(wish) if !wish.whole => Wanted::Of { ms: wish.id.ms },
        Some(wish) if wish.id == Id::MIN => return Err(ZERO),
        Some(wish) => Wanted::Exactly(wish.id),
    };
    if options.must_exist && cx.structure::<Stream>(args[1])?.is_none() {
        return Ok(Value::Nil);
    }
    let (id, kept) = cx.change_or_make(args[1], |stream: &mut Stream| {
        let entries = &mut stream.entries;
        let id = match entries.add(wanted, pairs, limits) {
            Ok(id) => id,
            Err(refused) => return Change::none(Err(refusal(refused))),
        };
        let trimmed = options.trim.is_some_and(|trim| entries.trim(trim) > 0);
        let kept = options.trim.and_then(|trim| exactly(entries, trim));
        let change = Change::done(Ok((id, kept))).notify(Class::STREAM, "xadd");
        if trimmed {
            change.notify(Class::STREAM, "xtrim")
        } else {
            change
        }
    })??;
    let text = id.text();
    if kept.is_some() || !matches!(wanted, Wanted::Exactly(_)) {
        log_addition(cx, args, &options, &text, kept.as_ref());
    }
    Ok(Value::BulkString(text))
}

fn refusal(refused: Refused) -> Error {
    Error::new(match refused {
        Refused::Exhausted => {
            "ERR The stream has exhausted the last possible ID, unable to add more items"
        }
        Refused::NotGreater => {
            "ERR The ID specified in XADD is equal or smaller than the target stream top item"
        }
        Refused::TooLarge => "ERR Elements are too large to be stored",
    })
}

/// What is kept by a trimming of whole nodes, said exactly: how many entries, or the first id.
fn exactly(entries: &Entries, trim: Trim) -> Option<(&'static [u8], Vec<u8>)> {
    if !trim.nodes {
        return None;
    }
    Some(match trim.keep {
        Keep::Length(_) => {
            let len = itoa::Buffer::new()
                .format(entries.len())
                .as_bytes()
                .to_vec();
            (b"MAXLEN", len)
        }
        Keep::From(_) => (b"MINID", entries.edge().unwrap_or(Id::MAX).text()),
    })
}

/// Logs an addition with the id that the entry has got, and with the trimming that was done.
fn log_addition(
    cx: &mut Context<'_>,
    args: Args<'_>,
    options: &Options,
    id: &[u8],
    kept: Option<&(&'static [u8], Vec<u8>)>,
) {
    let mut command = vec![&b"XADD"[..], args[1]];
    match kept {
        Some((strategy, value)) => command.extend([strategy, &b"="[..], value]),
        // Exact already.
        None => command.extend(&args[2..options.at]),
    }
    command.push(id);
    command.extend(&args[options.at + 1..]);
    cx.log_as(&command);
}

pub(super) fn xtrim(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let options = Options::read(cx, args, false)?;
    let Some(trim) = options.trim else {
        return Err(Error::SYNTAX);
    };
    let done = cx.change(args[1], |stream: &mut Stream| {
        let deleted = stream.entries.trim(trim);
        let kept = exactly(&stream.entries, trim);
        Change::when(deleted > 0, (deleted, kept)).notify(Class::STREAM, "xtrim")
    })?;
    let Some((deleted, kept)) = done else {
        return Ok(Value::Int(0));
    };
    if deleted > 0
        && let Some((strategy, value)) = kept
    {
        cx.log_as(&[b"XTRIM", args[1], strategy, b"=", &value]);
    }
    Ok(count(deleted))
}

pub(super) fn xdel(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if cx.structure::<Stream>(args[1])?.is_none() {
        return Ok(Value::Int(0));
    }
    let ids = args[2..]
        .iter()
        .map(|arg| parse::id(arg, 0))
        .collect::<Result<Vec<_>, _>>()?;
    let deleted = cx.change(args[1], |stream: &mut Stream| {
        let deleted = stream.entries.delete(&ids);
        Change::when(deleted > 0, deleted).notify(Class::STREAM, "xdel")
    })?;
    Ok(count(deleted.unwrap_or(0)))
}

pub(super) fn xsetid(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const NEGATIVE: Error = Error::new("ERR entries_added must be positive");
    const BELOW_DELETED: Error = Error::new(
        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
    );
    const BELOW_TOP: Error =
        Error::new("ERR The ID specified in XSETID is smaller than the target stream top item");
    const TOO_FEW: Error = Error::new(
        "ERR The entries_added specified in XSETID is smaller than the target stream length",
    );
    let id = parse::id(args[2], 0)?;
    let (mut added, mut max_deleted) = (None, Id::MIN);
    let mut options = args[3..].iter();
    while let Some(option) = options.next() {
        let value = options.next();
        match value {
            Some(value) if is(option, "ENTRIESADDED") => {
                added = Some(u64::try_from(integer(value)?).map_err(|_| NEGATIVE)?);
            }
            Some(value) if is(option, "MAXDELETEDID") => {
                max_deleted = parse::id(value, 0)?;
                if id < max_deleted {
                    return Err(BELOW_DELETED);
                }
            }
            _ => return Err(Error::SYNTAX),
        }
    }
    let stream = cx.structure::<Stream>(args[1])?;
    let entries = &stream.ok_or(Error::NO_SUCH_KEY)?.entries;
    if entries.top().is_some_and(|top| id < top) {
        return Err(BELOW_TOP);
    }
    if entries.len() > 0 && added.is_some_and(|added| (added as usize) < entries.len()) {
        return Err(TOO_FEW);
    }
    cx.change(args[1], |stream: &mut Stream| {
        let entries = &mut stream.entries;
        entries.last_id = id;
        if let Some(added) = added {
            entries.added = added;
        }
        if max_deleted != Id::MIN {
            entries.max_deleted_id = max_deleted;
        }
        Change::done(()).quietly().notify(Class::STREAM, "xsetid")
    })?;
    Ok(Value::Okay)
}

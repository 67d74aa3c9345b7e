//! Commands on the whole key space, and what the scans of keys and of structures have in common.

use redis::Value;

use super::Args;
use super::parse::{integer, is};
use super::row::prelude::*;
use crate::context::Context;
use crate::glob::Glob;
use crate::keyspace::entry::Entry;
use crate::keyspace::table::{CURSOR_BITS, Table};
use crate::reply::{Error, Reply, bulk, count};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("keys",        2, Shared,    Keys::All, Anywhere,  keys),
    ("scan",       -2, Shared,    Keys::InTurn, Anywhere,  scan),
    ("randomkey",   1, Shared,    Keys::All, Anywhere,  randomkey),
    ("dbsize",      1, Shared,    Keys::All, Anywhere,  dbsize),
    ("flushdb",    -1, Exclusive, Keys::All, Anywhere,  flushdb),
    ("flushall",   -1, Exclusive, Keys::All, Anywhere,  flushall),
];

/// How many keys a `SCAN` without `COUNT` looks at.
const DEFAULT_COUNT: usize = 10;

pub(super) fn keys(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let pattern = Glob::new(args[1]);
    let mut found = Vec::new();
    each_table(cx, |table| {
        let live = table
            .iter()
            .filter(|entry| pattern.matches(&entry.key) && cx.is_live(entry));
        found.extend(live.map(|entry| bulk(&entry.key)));
    });
    Ok(Value::Array(found))
}

/// The cursor is the position in the hash space up to which all keys were returned: see [`crate::keyspace::table`].
pub(super) fn scan(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let cursor = read_cursor(args[1])?;
    let options = Options::of_keys(&args[2..])?;
    let mut found = Vec::new();
    let mut next = 0;
    // A cursor beyond the space is not from us, and counts as its end.
    if cursor < 1 << CURSOR_BITS {
        let mut seen = 0;
        let visit = |entry: &Entry| {
            seen += 1;
            if options.accepts(cx, entry) {
                found.push(bulk(&entry.key));
            }
            seen < options.count
        };
        next = walk(cx, cursor << (64 - CURSOR_BITS), visit) >> (64 - CURSOR_BITS);
    }
    Ok(page(next, found))
}

/// The reply of a scan: where to continue, and what was found.
pub(super) fn page(next: u64, found: Vec<Value>) -> Value {
    Value::Array(vec![
        bulk(itoa::Buffer::new().format(next).as_bytes()),
        Value::Array(found),
    ])
}

/// Visits the keys from a position of the hash space, up to the end of the segment in which `visit` says that it has
/// enough. Returns the position to continue from, 0 at the end of the space.
fn walk(cx: &Context<'_>, mut position: u64, mut visit: impl FnMut(&Entry) -> bool) -> u64 {
    let keyspace = &cx.shared.keyspace;
    let mut go_on = true;
    cx.walk_shards(keyspace.shard_of(position), |index, shard| {
        let end = keyspace.end_of(index);
        let Some(table) = shard.table(cx.session.db) else {
            position = end;
            return true;
        };
        while go_on {
            position = table.walk(position, |entry| go_on &= visit(entry));
            if position == end {
                break;
            }
        }
        go_on
    });
    position
}

/// The options of a scan.
pub(super) struct Options<'a> {
    pattern: Option<Glob<'a>>,
    r#type: Option<&'a [u8]>,
    /// How many elements to look at, about.
    pub(super) count: usize,
}

impl<'a> Options<'a> {
    /// Reads the options of a scan of a structure.
    pub(super) fn of_structure(args: Args<'a>) -> Result<Self, Error> {
        Options::read(args, false)
    }

    /// Reads the options of a scan of keys, which may be of one type only.
    fn of_keys(args: Args<'a>) -> Result<Self, Error> {
        Options::read(args, true)
    }

    fn read(args: Args<'a>, of_keys: bool) -> Result<Self, Error> {
        let mut options = Options {
            pattern: None,
            r#type: None,
            count: DEFAULT_COUNT,
        };
        for option in args.chunks(2) {
            let &[name, value] = option else {
                return Err(Error::SYNTAX);
            };
            if is(name, "MATCH") {
                options.pattern = Some(Glob::new(value));
            } else if is(name, "TYPE") && of_keys {
                options.r#type = Some(value);
            } else if is(name, "COUNT") {
                let count = integer(value)?;
                options.count = usize::try_from(count)
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or(Error::SYNTAX)?;
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(options)
    }

    /// Scans a structure from a cursor on, part by part. `step` visits a part, from a position on; it adds to what was
    /// seen, and returns the next position, or 0 at the end. Returns the next cursor.
    pub(super) fn scan(&self, cursor: u64, mut step: impl FnMut(u64, &mut usize) -> u64) -> u64 {
        // A cursor beyond the space is not from us, and counts as its end.
        let mut position = if cursor < 1 << CURSOR_BITS {
            cursor << (64 - CURSOR_BITS)
        } else {
            u64::MAX
        };
        let mut seen = 0;
        loop {
            position = step(position, &mut seen);
            if position == 0 || seen >= self.count {
                return position >> (64 - CURSOR_BITS);
            }
        }
    }

    /// Whether a key or an element has a name that is asked for.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        self.pattern
            .as_ref()
            .is_none_or(|pattern| pattern.matches(name))
    }

    fn accepts(&self, cx: &Context<'_>, entry: &Entry) -> bool {
        self.matches(&entry.key)
            && self
                .r#type
                .is_none_or(|name| is(name, entry.data.type_name()))
            && cx.is_live(entry)
    }
}

/// Reads a cursor as `strtoul` does: a sign is allowed, and a negative number wraps around.
pub(super) fn read_cursor(arg: &[u8]) -> Result<u64, Error> {
    let invalid = || Error::new("ERR invalid cursor");
    let text = std::str::from_utf8(arg).map_err(|_| invalid())?;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() {
        return if text.is_empty() {
            Ok(0)
        } else {
            Err(invalid())
        };
    }
    if digits.starts_with(['-', '+']) {
        return Err(invalid());
    }
    let cursor: u64 = digits.parse().map_err(|_| invalid())?;
    Ok(if text.starts_with('-') {
        cursor.wrapping_neg()
    } else {
        cursor
    })
}

/// A live key; each is about equally likely.
pub(super) fn randomkey(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    // The keys after a random position; if there are none, the keys before it.
    for position in [cx.shared.random(), 0] {
        let mut found = None;
        walk(cx, position, |entry| {
            if cx.is_live(entry) {
                found = Some(bulk(&entry.key));
            }
            found.is_none()
        });
        if let Some(key) = found {
            return Ok(key);
        }
    }
    Ok(Value::Nil)
}

pub(super) fn dbsize(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(count(total(cx)))
}

fn total(cx: &Context<'_>) -> usize {
    let mut total = 0;
    each_table(cx, |table| total += table.len());
    total
}

fn each_table(cx: &Context<'_>, mut visit: impl FnMut(&Table)) {
    cx.walk_shards(0, |_, shard| {
        shard.table(cx.session.db).into_iter().for_each(&mut visit);
        true
    });
}

pub(super) fn flushdb(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    flush(cx, args, Some(cx.session.db))
}

pub(super) fn flushall(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    flush(cx, args, None)
}

/// The values are dropped after the locks are released either way, so ASYNC makes no difference.
fn flush(cx: &mut Context<'_>, args: Args<'_>, db: Option<u32>) -> Reply {
    match args[1..] {
        [] => {}
        [mode] if is(mode, "ASYNC") || is(mode, "SYNC") => {}
        _ => return Err(Error::SYNTAX),
    }
    cx.flush(db);
    Ok(Value::Okay)
}

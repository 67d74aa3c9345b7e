//! `OBJECT` and `MEMORY`: how a value is encoded, how its key is used, and how much memory it takes.

use redis::Value;

use super::Args;
use super::parse::{integer, is};
use super::row::prelude::*;
use super::server::container;
use crate::context::Context;
use crate::keyspace::entry::{Data, Entry};
use crate::reply::{Error, Reply, bulk, count, double, map, text};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("object",           -2, Shared,    NONE,     Container, container),
    ("object|encoding",   3, Shared,    SECOND,   Anywhere,  encoding),
    ("object|freq",       3, Shared,    SECOND,   Anywhere,  freq),
    ("object|idletime",   3, Shared,    SECOND,   Anywhere,  idletime),
    ("object|refcount",   3, Shared,    SECOND,   Anywhere,  refcount),
    ("object|help",       2, Shared,    NONE,     Anywhere,  help),
    ("memory",           -2, Shared,    NONE,     Container, container),
    ("memory|usage",     -3, Shared,    SECOND,   Anywhere,  memory_usage),
    ("memory|stats",      2, Shared,    Keys::InTurn, Anywhere,  memory_stats),
    ("memory|doctor",     2, Shared,    NONE,     Anywhere,  memory_doctor),
    ("memory|purge",      2, Shared,    NONE,     Anywhere,  memory_purge),
    ("memory|malloc-stats", 2, Shared,  NONE,     Anywhere,  memory_malloc_stats),
    ("memory|help",       2, Shared,    NONE,     Anywhere,  memory_help),
];

const NO_LFU: Error = Error::new(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
const LFU: Error = Error::new(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);

/// Asks an entry something, without counting as a use; nil if there is no entry.
fn of(cx: &Context<'_>, args: Args<'_>, ask: impl FnOnce(&Entry) -> Reply) -> Reply {
    cx.get(args[2]).map_or(Ok(Value::Nil), ask)
}

/// The encoding that a server would choose for such a value.
pub(super) fn encoding(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    of(cx, args, |entry| {
        let name = match &entry.data {
            Data::String(bytes) if bytes.is_raw() => "raw",
            Data::String(bytes) if integer(bytes).is_ok() => "int",
            Data::String(_) => "embstr",
            Data::List(list) => list.encoding(),
            Data::Hash(hash) => hash.encoding(),
            Data::Set(set) => set.encoding(),
            Data::SortedSet(set) => set.encoding(),
            Data::Stream(stream) => stream.encoding(),
        };
        Ok(bulk(name.as_bytes()))
    })
}

pub(super) fn freq(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    of(cx, args, |entry| {
        let lfu = cx.shared.settings.lfu().ok_or(NO_LFU)?;
        let uses = entry.access.count(cx.shared.coarse_ms(), lfu);
        Ok(Value::Int(uses.into()))
    })
}

pub(super) fn idletime(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    of(cx, args, |entry| {
        if cx.shared.settings.lfu().is_some() {
            return Err(LFU);
        }
        let idle = entry.access.idle_ms(cx.shared.coarse_ms());
        Ok(Value::Int((idle / 1000).cast_signed()))
    })
}

/// Always 1, because values are never shared.
pub(super) fn refcount(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    of(cx, args, |_| Ok(Value::Int(1)))
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        "HELP",
        "    Prints this help.",
    ]))
}

/// The exact size, whatever `SAMPLES` says: the value, the key, the entry, and its slot in the table.
pub(super) fn memory_usage(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    for option in args[3..].chunks(2) {
        match option {
            [name, samples] if is(name, "SAMPLES") && integer(samples)? >= 0 => {}
            _ => return Err(Error::SYNTAX),
        }
    }
    of(cx, args, |entry| {
        Ok(count(entry.bytes() + size_of::<Box<Entry>>()))
    })
}

/// What the store counts. A server has other numbers as well, about its connections and its allocator.
pub(super) fn memory_stats(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let (mut used, mut keys) = (0, 0);
    cx.walk_shards(0, |_, shard| {
        used += shard.bytes();
        keys += shard.tables().map(|(_, table)| table.len()).sum::<usize>();
        true
    });
    let protocol = cx.session.protocol;
    let per_key = used.checked_div(keys).unwrap_or(0);
    let share = if used > 0 { 100.0 } else { 0.0 };
    let stats = [
        ("total.allocated", count(used)),
        ("keys.count", count(keys)),
        ("keys.bytes-per-key", count(per_key)),
        ("dataset.bytes", count(used)),
        ("dataset.percentage", double(protocol, share)),
    ];
    let pairs = stats.map(|(name, value)| (bulk(name.as_bytes()), value));
    Ok(map(protocol, pairs))
}

pub(super) fn memory_doctor(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let report = "Nothing to report: the store counts what its keys take, and leaves the rest to the allocator.\n";
    Ok(text(cx.session.protocol, report.to_owned()))
}

/// Memory that is free belongs to the allocator already.
pub(super) fn memory_purge(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(Value::Okay)
}

pub(super) fn memory_malloc_stats(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(bulk(b"Stats not supported for the current allocator"))
}

pub(super) fn memory_help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
        "HELP",
        "    Prints this help.",
    ]))
}

/// A help text, as a server sends it.
pub(super) fn lines(lines: &[&str]) -> Value {
    let line = |line: &&str| Value::SimpleString((*line).to_owned());
    Value::Array(lines.iter().map(line).collect())
}

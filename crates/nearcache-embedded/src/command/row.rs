//! What is known of a command before it runs: a row of the [`table`](super::table).

use std::fmt;

use super::{Args, parse};
use crate::context::Context;
use crate::reply::Reply;

/// A row of the table. Each family of commands has its rows at the top of its file.
pub(crate) struct Command {
    /// In lower case; `container|subcommand` for a subcommand.
    pub(crate) name: &'static str,
    /// How many arguments it takes, the name included: exactly this many, or if negative, at least as many.
    pub(crate) arity: i32,
    pub(crate) access: Access,
    pub(crate) keys: Keys,
    pub(crate) place: Place,
    pub(crate) run: fn(&mut Context<'_>, Args<'_>) -> Reply,
}

/// What a command does with its keys: how their shards are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It only reads: a shared lock.
    Shared,
    /// An exclusive lock.
    Exclusive,
    /// An exclusive lock, and it may need more memory, so it is refused when the limit is reached.
    Growing,
}

/// Which keys a command touches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    None,
    /// The arguments from `first` to `last` (counted from the end if negative), every `step`-th.
    Range {
        first: usize,
        last: isize,
        step: usize,
    },
    /// The argument `at` says how many; they begin after it. `also` is one more: a destination (0: none).
    Counted {
        at: usize,
        also: usize,
    },
    /// The first half of what comes after the option `STREAMS`.
    Streams,
    /// The first argument, and what comes after `STORE`. The whole key space if a `BY` or `GET` has a pattern, which
    /// may name any key.
    Sort,
    /// The first argument, and what comes after `STORE` or `STOREDIST`.
    Stored,
    /// The whole key space at once.
    All,
    /// The whole key space, but only one shard at a time.
    InTurn,
    /// The keys of the transaction that it executes.
    Queued,
}

/// Where a command is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Anywhere,
    /// Not in scripts.
    NoScript,
    /// Not in scripts; in a transaction it runs at once instead of being queued.
    AtOnce,
    /// It has subcommands, which are rows of their own.
    Container,
}

/// The rows of a family: `(name, arity, access, keys, place, function),` for each command.
macro_rules! rows {
    ($(($name:literal, $arity:literal, $access:expr, $keys:expr, $place:expr, $run:path),)*) => {
        &[$($crate::command::row::Command {
            name: $name,
            arity: $arity,
            access: $access,
            keys: $keys,
            place: $place,
            run: $run,
        }),*]
    };
}
pub(super) use rows;

/// What the rows of most families need.
pub(super) mod prelude {
    pub(in crate::command) use super::Access::{Exclusive, Growing, Shared};
    pub(in crate::command) use super::Place::{Anywhere, AtOnce, Container, NoScript};
    pub(in crate::command) use super::{
        ALL_ARGS, Command, Keys, NONE, ONE, PAIRS, SECOND, TWO, rows,
    };
}

pub(super) const NONE: Keys = Keys::None;
/// The first argument.
pub(super) const ONE: Keys = Keys::Range {
    first: 1,
    last: 1,
    step: 1,
};
/// The second argument.
pub(super) const SECOND: Keys = Keys::Range {
    first: 2,
    last: 2,
    step: 1,
};
/// The first and the second argument.
pub(super) const TWO: Keys = Keys::Range {
    first: 1,
    last: 2,
    step: 1,
};
/// All arguments.
pub(super) const ALL_ARGS: Keys = Keys::Range {
    first: 1,
    last: -1,
    step: 1,
};
/// Every other argument, from the first on.
pub(super) const PAIRS: Keys = Keys::Range {
    first: 1,
    last: -1,
    step: 2,
};

impl Keys {
    pub(crate) fn is_queued(self) -> bool {
        matches!(self, Keys::Queued)
    }
}

impl Command {
    /// Whether it needs exclusive locks on its shards.
    #[inline]
    pub(crate) fn is_exclusive(&self) -> bool {
        self.access != Access::Shared
    }

    /// Whether it reads keys, and changes none: a client that tracks is told when they change.
    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        // PFCOUNT keeps its result in the value, which nobody sees.
        self.access == Access::Shared && !matches!(self.keys, Keys::None) || self.name == "pfcount"
    }

    /// Whether it is notified when a key that it reads is not there.
    pub(crate) fn tells_misses(&self) -> bool {
        const SILENT: [&str; 2] = ["object|", "memory|"];
        self.access == Access::Shared
            && self.is_read()
            && !SILENT.iter().any(|silent| self.name.starts_with(silent))
    }

    /// The keys of a command that writes which it only reads: it is notified when they are not there, too.
    pub(crate) fn sources<'a>(&self, args: Args<'a>) -> Vec<&'a [u8]> {
        let all = self.keys(args);
        match self.name {
            "getset" | "getdel" | "getex" | "copy" | "georadius" | "georadiusbymember" | "sort"
            | "xack" | "xclaim" | "xautoclaim" => all.take(1).collect(),
            "set" if args.iter().skip(3).any(|arg| parse::is(arg, "GET")) => all.collect(),
            "bitfield"
                if !args
                    .iter()
                    .any(|arg| parse::is(arg, "SET") || parse::is(arg, "INCRBY")) =>
            {
                all.collect()
            }
            "sinterstore" | "sunionstore" | "sdiffstore" | "zrangestore" | "geosearchstore"
            | "bitop" => all.skip(1).collect(),
            "zunionstore" | "zinterstore" | "zdiffstore" => {
                let mut all: Vec<_> = all.collect();
                // The destination.
                all.pop();
                all
            }
            "pfmerge" | "pfcount" | "xreadgroup" => all.collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it is refused when the memory limit is reached.
    #[inline]
    pub(crate) fn grows(&self) -> bool {
        self.access == Access::Growing
    }

    /// Whether it ends a transaction.
    pub(crate) fn ends_transaction(&self) -> bool {
        ["exec", "discard", "quit", "reset"].contains(&self.name)
    }

    pub(crate) fn accepts(&self, args: Args<'_>) -> bool {
        let count = i32::try_from(args.len()).unwrap_or(i32::MAX);
        if self.arity >= 0 {
            count == self.arity
        } else {
            count >= -self.arity
        }
    }

    /// Whether it may touch any key, so that every shard must be locked.
    pub(crate) fn needs_everything(&self, args: Args<'_>) -> bool {
        match self.keys {
            Keys::All | Keys::InTurn => true,
            Keys::Sort => args.windows(2).skip(2).any(|pair| {
                (parse::is(pair[0], "BY") || parse::is(pair[0], "GET")) && pair[1].contains(&b'*')
            }),
            _ => false,
        }
    }

    /// The arguments that are keys, if they stand in a row, as those of most commands do.
    #[inline]
    pub(crate) fn keys_in_a_row<'s, 'a>(&self, args: &'s [&'a [u8]]) -> Option<&'s [&'a [u8]]> {
        match self.keys {
            Keys::Range {
                first,
                last,
                step: 1,
            } => args.get(first..end_of_range(args, last)),
            _ => None,
        }
    }

    /// The arguments that are keys.
    pub(crate) fn keys<'a>(&self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (range, step, also) = match self.keys {
            Keys::Range { first, last, step } => {
                let end = end_of_range(args, last);
                (first..end, step, None)
            }
            Keys::Counted { at, also } => {
                let count = args.get(at).and_then(|n| parse::integer(n).ok());
                let count = count
                    .and_then(|n| usize::try_from(n).ok())
                    .filter(|n| n.saturating_add(at + 1) <= args.len());
                let also = args.get(also).filter(|_| also > 0);
                (at + 1..at + 1 + count.unwrap_or(0), 1, also)
            }
            Keys::Streams => {
                let first = streams(args).unwrap_or(args.len());
                (first..first + (args.len() - first) / 2, 1, None)
            }
            Keys::Sort => (1..2, 1, sort_destination(args)),
            Keys::Stored => (1..2, 1, radius_destination(args)),
            _ => (0..0, 1, None),
        };
        args.get(range.start..range.end.min(args.len()))
            .unwrap_or_default()
            .iter()
            .step_by(step)
            .chain(also)
            .copied()
    }
}

/// Where the keys of a [`Keys::Range`] end.
fn end_of_range(args: Args<'_>, last: isize) -> usize {
    let last = match usize::try_from(last) {
        Ok(last) => last,
        Err(_) => args.len().wrapping_add_signed(last),
    };
    last.wrapping_add(1).min(args.len())
}

/// What comes after the word `STREAMS`; which may also be the name of a group, a consumer, or a stream.
fn streams(args: Args<'_>) -> Option<usize> {
    let mut at = 1;
    loop {
        let arg = args.get(at)?;
        at += match arg {
            _ if parse::is(arg, "STREAMS") => return Some(at + 1),
            _ if parse::is(arg, "BLOCK") || parse::is(arg, "COUNT") => 2,
            _ if parse::is(arg, "GROUP") => 3,
            _ if parse::is(arg, "NOACK") => 1,
            _ => return None,
        };
    }
}

/// The destination among the options of `SORT`.
fn sort_destination<'s, 'a>(args: &'s [&'a [u8]]) -> Option<&'s &'a [u8]> {
    let mut destination = None;
    let mut rest = args.get(2..).unwrap_or_default();
    while let [word, tail @ ..] = rest {
        let values = match () {
            () if parse::is(word, "LIMIT") => 2,
            () if parse::is(word, "BY") || parse::is(word, "GET") => 1,
            () if parse::is(word, "STORE") => {
                destination = tail.first().or(destination);
                1
            }
            () => 0,
        };
        rest = tail.get(values..).unwrap_or_default();
    }
    destination
}

/// What comes after the last `STORE` or `STOREDIST` among the options of `GEORADIUS`; where a word may be the name of
/// the destination as well.
fn radius_destination<'s, 'a>(args: &'s [&'a [u8]]) -> Option<&'s &'a [u8]> {
    let mut options = args.iter().skip(5);
    let mut destination = None;
    while let Some(option) = options.next() {
        if parse::is(option, "STORE") || parse::is(option, "STOREDIST") {
            destination = options.next().or(destination);
        }
    }
    destination
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

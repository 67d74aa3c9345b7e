//! Commands: what a command is, how it is found, and which locks it needs.
//!
//! [`table`] lists all commands; the other files have one family each. A command is a function of the [`Context`] and
//! its arguments, the name first. It runs while the shards of its keys are locked, so it need not care about other
//! threads.

mod config;
mod counters;
mod expiry;
mod hello;
mod info;
mod keys;
mod lists;
mod numbers;
mod object;
mod options;
mod parse;
mod scan;
mod scripting;
mod server;
mod session;
mod strings;
mod table;
mod transactions;

use std::fmt;

use crate::context::Context;
use crate::keyspace::{Held, Keyspace, Locked, ShardSet};
use crate::reply::{Error, Reply};
use crate::session::Session;

pub(crate) use table::find;
#[cfg(any(fuzzing, test))]
pub(crate) use table::name;

/// A command's arguments, its name included.
pub(crate) type Args<'a> = &'a [&'a [u8]];

/// A row of the table.
pub(crate) struct Command {
    /// In lower case; `container|subcommand` for a subcommand.
    pub(crate) name: &'static str,
    /// How many arguments it takes, the name included: exactly this many, or if negative, at least as many.
    pub(crate) arity: i32,
    /// Whether it needs exclusive locks on its shards.
    pub(crate) exclusive: bool,
    /// Whether it is refused when the memory limit is reached.
    pub(crate) grows: bool,
    pub(crate) keys: Keys,
    pub(crate) place: Place,
    pub(crate) run: fn(&mut Context<'_>, Args<'_>) -> Reply,
}

/// Which keys a command touches.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    None,
    /// The arguments from `first` to `last` (counted from the end if negative), every `step`-th.
    Range {
        first: usize,
        last: isize,
        step: usize,
    },
    /// The third argument says how many; they begin with the fourth.
    Counted,
    /// The whole key space at once.
    All,
    /// The whole key space, but only one shard at a time.
    InTurn,
    /// The keys of the transaction that it executes.
    Queued,
}

/// Where a command is allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Anywhere,
    /// Not in scripts.
    NoScript,
    /// Not in scripts; in a transaction it runs at once instead of being queued.
    AtOnce,
    /// It has subcommands, which are rows of their own.
    Container,
}

impl Keys {
    pub(crate) fn is_queued(self) -> bool {
        matches!(self, Keys::Queued)
    }
}

impl Command {
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

    /// The arguments that are keys.
    pub(crate) fn keys<'a>(&self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (first, end, step) = match self.keys {
            Keys::Range { first, last, step } => {
                let end = if last < 0 {
                    args.len().wrapping_add_signed(last)
                } else {
                    last as usize
                };
                (first, end + 1, step)
            }
            Keys::Counted => {
                let count = args.get(2).and_then(|n| parse::integer(n).ok());
                let count = count
                    .and_then(|n| usize::try_from(n).ok())
                    .filter(|n| *n + 3 <= args.len());
                (3, 3 + count.unwrap_or(0), 1)
            }
            _ => (0, 0, 1),
        };
        args.get(first..end.min(args.len()))
            .unwrap_or_default()
            .iter()
            .step_by(step)
            .copied()
    }

    /// Takes the locks that the command needs.
    #[inline]
    pub(crate) fn lock<'k>(
        &self,
        keyspace: &'k Keyspace,
        session: &Session,
        args: &'k [&'k [u8]],
    ) -> Locked<'k> {
        match self.keys {
            Keys::None | Keys::InTurn => Locked::from(Held::Nothing),
            Keys::Range { first, last, .. } if last >= 0 && first == last as usize => {
                keyspace.lock_one(args[first], self.exclusive)
            }
            Keys::Range { .. } | Keys::Counted | Keys::All => {
                keyspace.lock(self.shards(keyspace, args), self.exclusive)
            }
            Keys::Queued => lock_queued(keyspace, session),
        }
    }

    pub(crate) fn shards(&self, keyspace: &Keyspace, args: Args<'_>) -> ShardSet {
        if let Keys::All | Keys::InTurn = self.keys {
            return keyspace.every_shard();
        }
        let mut set = ShardSet::default();
        self.keys(args)
            .for_each(|key| set.add(keyspace.shard_of_key(key)));
        set
    }
}

/// Takes the locks for the queued commands and the watched keys.
fn lock_queued<'k>(keyspace: &'k Keyspace, session: &Session) -> Locked<'k> {
    let mut set = ShardSet::default();
    let mut exclusive = false;
    if let Some(watching) = &session.watching {
        set.add_all(watching.shards);
    }
    for queued in session
        .transaction
        .iter()
        .flat_map(|transaction| &transaction.queue)
    {
        set.add_all(queued.with_args(|args| queued.command.shards(keyspace, args)));
        exclusive |= queued.command.exclusive;
    }
    keyspace.lock(set, exclusive)
}

/// The command that the arguments name.
#[inline]
pub(crate) fn resolve(args: Args<'_>) -> Result<&'static Command, Error> {
    let Some(command) = args.first().and_then(|name| find(name)) else {
        return Err(unknown(args));
    };
    if command.place == Place::Container && args.len() > 1 {
        return subcommand(command, args);
    }
    if command.accepts(args) {
        Ok(command)
    } else {
        Err(wrong_arity(command))
    }
}

fn subcommand(container: &Command, args: Args<'_>) -> Result<&'static Command, Error> {
    let name = [container.name.as_bytes(), args[1]].join(&b'|');
    match find(&name) {
        Some(command) if command.accepts(args) => Ok(command),
        Some(command) => Err(wrong_arity(command)),
        None => Err(Error::from(format!(
            "ERR unknown subcommand '{}'. Try {} HELP.",
            excerpt(args[1], 128),
            container.name.to_uppercase()
        ))),
    }
}

#[cold]
fn wrong_arity(command: &Command) -> Error {
    let text = format!("wrong number of arguments for '{}' command", command.name);
    if command.name == "exec" {
        return Error::from(format!(
            "EXECABORT Transaction discarded because of: {text}"
        ));
    }
    Error::from(format!("ERR {text}"))
}

#[cold]
fn unknown(args: Args<'_>) -> Error {
    let (name, args) = args
        .split_first()
        .map_or((&b""[..], args), |(name, args)| (*name, args));
    let mut beginning = Vec::new();
    for arg in args {
        let Some(room) = 128usize
            .checked_sub(beginning.len())
            .filter(|room| *room > 0)
        else {
            break;
        };
        beginning.extend_from_slice(b"'");
        beginning.extend_from_slice(c_string(arg, room));
        beginning.extend_from_slice(b"' ");
    }
    Error::from(format!(
        "ERR unknown command '{}', with args beginning with: {}",
        excerpt(name, 128),
        String::from_utf8_lossy(&beginning)
    ))
}

/// The part of an argument that a server quotes: at most `max` bytes, and nothing after a NUL byte.
fn c_string(bytes: &[u8], max: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(max)];
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn excerpt(bytes: &[u8], max: usize) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(c_string(bytes, max))
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

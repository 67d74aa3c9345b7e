//! Commands: what a command is, how it is found, and which locks it needs.
//!
//! [`table`] finds a command by its name; most other files have one family each, with its [rows](row) at the top, and
//! are the only place to add a command. A command is a function of the [`Context`] and
//! its arguments, the name first. It runs while the shards of its keys are locked, so it need not care about other
//! threads.

mod admin;
mod auth;
mod bitfield;
mod bitmaps;
mod client;
mod config;
mod counters;
mod expiry;
mod file_settings;
mod geo;
mod hashes;
mod hello;
mod hyperloglog;
mod info;
mod introspection;
mod keys;
mod latency;
mod lcs;
mod list_moves;
mod lists;
mod numbers;
mod object;
mod options;
mod parse;
mod persistence;
mod pubsub;
mod random;
mod row;
mod scan;
mod scripting;
mod server;
mod session;
mod set_algebra;
mod sets;
mod settings;
mod slow_log;
mod sort;
mod sorted_sets;
mod streams;
mod strings;
mod strtod;
mod table;
mod tracking;
#[cfg_attr(
    not(feature = "serve"),
    allow(dead_code, reason = "only a port has clients")
)]
mod traits;
mod transactions;
mod waiting;

use crate::keyspace::{Held, Keyspace, Locked, ShardSet};
use crate::reply::Error;
use crate::session::Session;

#[cfg(feature = "serve")]
pub(crate) use parse::integer;
pub(crate) use pubsub::is_for_subscribers;
#[cfg(test)]
use row::Access;
pub(crate) use row::{Command, Keys, Place};
#[cfg(any(fuzzing, test))]
pub(crate) use table::name;
pub(crate) use table::{SLOTS, find, slot};
pub(crate) use traits::named;

/// A command's arguments, its name included.
pub(crate) type Args<'a> = &'a [&'a [u8]];

impl Command {
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
                keyspace.lock_one(args[first], self.is_exclusive())
            }
            Keys::Queued => lock_queued(keyspace, session),
            _ => keyspace.lock(self.shards(keyspace, args), self.is_exclusive()),
        }
    }

    pub(crate) fn shards(&self, keyspace: &Keyspace, args: Args<'_>) -> ShardSet {
        if self.needs_everything(args) {
            return keyspace.every_shard();
        }
        let mut set = ShardSet::default();
        let mut add = |key: &[u8]| set.add(keyspace.shard_of_key(key));
        match self.keys_in_a_row(args) {
            Some(keys) => keys.iter().for_each(|key| add(key)),
            None => self.keys(args).for_each(add),
        }
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
        exclusive |= queued.command.is_exclusive();
    }
    keyspace.lock(set, exclusive)
}

/// The command that the arguments name.
#[inline]
pub(crate) fn resolve(args: Args<'_>) -> Result<&'static Command, Error> {
    let Some(command) = args.first().and_then(|name| table::find_command(name)) else {
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

/// What a subcommand says that is called with arguments which it does not take.
#[cold]
fn subcommand_syntax(args: Args<'_>) -> Error {
    Error::from(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.",
        excerpt(args[1], 128),
        String::from_utf8_lossy(args[0]).to_uppercase()
    ))
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

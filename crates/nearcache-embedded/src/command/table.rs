//! The table of commands, and the only place to add one.
//!
//! A row has what the dispatcher must know before it runs the function: how many arguments there must be, which of
//! them are keys, whether their shards are locked shared or exclusive, and whether the command may need memory.

use super::Place::{Anywhere, AtOnce, Container, NoScript};
use super::{Command, Keys};
use super::{
    config, counters, expiry, hello, info, keys, lists, object, scan, scripting, server, session,
    strings, transactions,
};

/// How a command locks the shards of its keys.
const SHARED: u8 = 0;
const EXCLUSIVE: u8 = 1;
/// Exclusive, and it may need more memory, so it is refused when the limit is reached.
const GROWING: u8 = 2;

const NONE: Keys = Keys::None;
const ONE: Keys = Keys::Range {
    first: 1,
    last: 1,
    step: 1,
};
const SECOND: Keys = Keys::Range {
    first: 2,
    last: 2,
    step: 1,
};
const TWO: Keys = Keys::Range {
    first: 1,
    last: 2,
    step: 1,
};
const ALL_ARGS: Keys = Keys::Range {
    first: 1,
    last: -1,
    step: 1,
};
const PAIRS: Keys = Keys::Range {
    first: 1,
    last: -1,
    step: 2,
};

macro_rules! table {
    ($(($name:literal, $arity:literal, $access:expr, $keys:expr, $place:expr, $run:path),)*) => {
        const COUNT: usize = [$($name),*].len();

        static COMMANDS: [Command; COUNT] = [$(Command {
            name: $name,
            arity: $arity,
            exclusive: $access != SHARED,
            grows: $access == GROWING,
            keys: $keys,
            place: $place,
            run: $run,
        }),*];
    };
}

#[rustfmt::skip]
table! {
    // Strings
    ("get",            2, SHARED,    ONE,      Anywhere, strings::get),
    ("set",           -3, GROWING,   ONE,      Anywhere, strings::set),
    ("setnx",          3, GROWING,   ONE,      Anywhere, strings::setnx),
    ("setex",          4, GROWING,   ONE,      Anywhere, strings::setex),
    ("psetex",         4, GROWING,   ONE,      Anywhere, strings::psetex),
    ("getset",         3, GROWING,   ONE,      Anywhere, strings::getset),
    ("getdel",         2, EXCLUSIVE, ONE,      Anywhere, strings::getdel),
    ("getex",         -2, EXCLUSIVE, ONE,      Anywhere, strings::getex),
    ("mget",          -2, SHARED,    ALL_ARGS, Anywhere, strings::mget),
    ("mset",          -3, GROWING,   PAIRS,    Anywhere, strings::mset),
    ("msetnx",        -3, GROWING,   PAIRS,    Anywhere, strings::msetnx),
    ("append",         3, GROWING,   ONE,      Anywhere, strings::append),
    ("strlen",         2, SHARED,    ONE,      Anywhere, strings::strlen),
    ("getrange",       4, SHARED,    ONE,      Anywhere, strings::getrange),
    ("substr",         4, SHARED,    ONE,      Anywhere, strings::getrange),
    ("setrange",       4, GROWING,   ONE,      Anywhere, strings::setrange),
    // Counters
    ("incr",           2, GROWING,   ONE,      Anywhere, counters::incr),
    ("decr",           2, GROWING,   ONE,      Anywhere, counters::decr),
    ("incrby",         3, GROWING,   ONE,      Anywhere, counters::incrby),
    ("decrby",         3, GROWING,   ONE,      Anywhere, counters::decrby),
    ("incrbyfloat",    3, GROWING,   ONE,      Anywhere, counters::incrbyfloat),
    // Keys
    ("del",           -2, EXCLUSIVE, ALL_ARGS, Anywhere, keys::del),
    ("unlink",        -2, EXCLUSIVE, ALL_ARGS, Anywhere, keys::del),
    ("exists",        -2, SHARED,    ALL_ARGS, Anywhere, keys::exists),
    ("touch",         -2, SHARED,    ALL_ARGS, Anywhere, keys::touch),
    ("type",           2, SHARED,    ONE,      Anywhere, keys::r#type),
    ("rename",         3, EXCLUSIVE, TWO,      Anywhere, keys::rename),
    ("renamenx",       3, EXCLUSIVE, TWO,      Anywhere, keys::renamenx),
    ("copy",          -3, GROWING,   TWO,      Anywhere, keys::copy),
    ("object",        -2, SHARED,    NONE,     Container, server::container),
    ("object|encoding", 3, SHARED,   SECOND,   Anywhere, object::encoding),
    ("object|freq",    3, SHARED,    SECOND,   Anywhere, object::freq),
    ("object|idletime", 3, SHARED,   SECOND,   Anywhere, object::idletime),
    ("object|refcount", 3, SHARED,   SECOND,   Anywhere, object::refcount),
    ("object|help",    2, SHARED,    NONE,     Anywhere, object::help),
    // Expiry
    ("expire",        -3, EXCLUSIVE, ONE,      Anywhere, expiry::expire),
    ("pexpire",       -3, EXCLUSIVE, ONE,      Anywhere, expiry::pexpire),
    ("expireat",      -3, EXCLUSIVE, ONE,      Anywhere, expiry::expireat),
    ("pexpireat",     -3, EXCLUSIVE, ONE,      Anywhere, expiry::pexpireat),
    ("persist",        2, EXCLUSIVE, ONE,      Anywhere, expiry::persist),
    ("ttl",            2, SHARED,    ONE,      Anywhere, expiry::ttl),
    ("pttl",           2, SHARED,    ONE,      Anywhere, expiry::pttl),
    ("expiretime",     2, SHARED,    ONE,      Anywhere, expiry::expiretime),
    ("pexpiretime",    2, SHARED,    ONE,      Anywhere, expiry::pexpiretime),
    // The whole key space
    ("keys",           2, SHARED,    Keys::All,    Anywhere, scan::keys),
    ("scan",          -2, SHARED,    Keys::InTurn, Anywhere, scan::scan),
    ("randomkey",      1, SHARED,    Keys::All,    Anywhere, scan::randomkey),
    ("dbsize",         1, SHARED,    Keys::All,    Anywhere, scan::dbsize),
    ("flushdb",       -1, EXCLUSIVE, Keys::All,    Anywhere, scan::flushdb),
    ("flushall",      -1, EXCLUSIVE, Keys::All,    Anywhere, scan::flushall),
    // Lists
    ("lpush",         -3, GROWING,   ONE,      Anywhere, lists::lpush),
    ("rpush",         -3, GROWING,   ONE,      Anywhere, lists::rpush),
    ("llen",           2, SHARED,    ONE,      Anywhere, lists::llen),
    ("lrange",         4, SHARED,    ONE,      Anywhere, lists::lrange),
    // Transactions
    ("multi",          1, SHARED,    NONE,         AtOnce,   transactions::multi),
    ("exec",           1, EXCLUSIVE, Keys::Queued, AtOnce,   transactions::exec),
    ("discard",        1, SHARED,    NONE,         AtOnce,   transactions::discard),
    ("watch",         -2, EXCLUSIVE, ALL_ARGS,     AtOnce,   transactions::watch),
    ("unwatch",        1, SHARED,    NONE,         NoScript, transactions::unwatch),
    // Scripts
    ("eval",          -3, EXCLUSIVE, Keys::Counted, NoScript,  scripting::eval),
    ("evalsha",       -3, EXCLUSIVE, Keys::Counted, NoScript,  scripting::evalsha),
    ("script",        -2, SHARED,    NONE,          Container, server::container),
    ("script|exists", -3, SHARED,    NONE,          NoScript,  scripting::exists),
    ("script|load",    3, SHARED,    NONE,          NoScript,  scripting::load),
    ("script|flush",  -2, SHARED,    NONE,          NoScript,  scripting::flush),
    // The connection
    ("ping",          -1, SHARED,    NONE,     Anywhere,  session::ping),
    ("echo",           2, SHARED,    NONE,     Anywhere,  session::echo),
    ("select",         2, SHARED,    NONE,     NoScript,  session::select),
    ("hello",         -1, SHARED,    NONE,     NoScript,  hello::hello),
    ("quit",          -1, SHARED,    NONE,     AtOnce,    session::quit),
    ("reset",          1, SHARED,    NONE,     AtOnce,    session::reset),
    ("client",        -2, SHARED,    NONE,     Container, server::container),
    ("client|id",      2, SHARED,    NONE,     NoScript,  session::client_id),
    ("client|info",    2, SHARED,    NONE,     NoScript,  session::client_info),
    ("client|getname", 2, SHARED,    NONE,     NoScript,  session::client_getname),
    ("client|setname", 3, SHARED,    NONE,     NoScript,  session::client_setname),
    ("client|setinfo", 4, SHARED,    NONE,     NoScript,  session::client_setinfo),
    ("client|no-evict", 3, SHARED,   NONE,     NoScript,  session::client_no_evict),
    // The server
    ("config",        -2, SHARED,    NONE,         Container, server::container),
    ("config|get",    -3, SHARED,    NONE,         NoScript,  config::get),
    ("config|set",    -4, SHARED,    NONE,         NoScript,  config::set),
    ("config|resetstat", 2, SHARED,  NONE,         NoScript,  config::resetstat),
    ("config|help",    2, SHARED,    NONE,         NoScript,  config::help),
    ("memory",        -2, SHARED,    NONE,         Container, server::container),
    ("memory|usage",  -3, SHARED,    SECOND,       Anywhere,  object::memory_usage),
    ("memory|help",    2, SHARED,    NONE,         Anywhere,  object::memory_help),
    ("time",           1, SHARED,    NONE,         Anywhere,  server::time),
    ("info",          -1, SHARED,    Keys::InTurn, Anywhere,  info::info),
    ("command",       -1, SHARED,    NONE,         Container, server::command),
    ("command|count",  2, SHARED,    NONE,         Anywhere,  server::command_count),
}

/// A hash index of the names: the position in the table plus one, or 0 for none. At most half full, so that a name is
/// found with one or two probes.
static INDEX: [u8; SLOTS] = index();
const SLOTS: usize = 256;

const fn index() -> [u8; SLOTS] {
    const { assert!(COUNT < SLOTS / 2) }
    let mut slots = [0; SLOTS];
    let mut row = 0;
    while row < COUNT {
        let mut slot = slot_of(COMMANDS[row].name.as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        row += 1;
        slots[slot] = row as u8;
    }
    slots
}

/// A hash that ignores case.
const fn slot_of(name: &[u8]) -> usize {
    let mut word = name.len() as u64;
    let mut at = 0;
    while at < name.len() {
        word = word.rotate_left(7) ^ (name[at] | 0x20) as u64;
        at += 1;
    }
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % SLOTS
}

/// The command of that name, in any case.
#[inline]
pub(crate) fn find(name: &[u8]) -> Option<&'static Command> {
    let mut slot = slot_of(name);
    loop {
        let row = usize::from(INDEX[slot]).checked_sub(1)?;
        if COMMANDS[row].name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(&COMMANDS[row]);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// How many commands a client can call; subcommands do not count.
pub(super) fn count() -> usize {
    COMMANDS
        .iter()
        .filter(|command| !command.name.contains('|'))
        .count()
}

/// The name of some row, for any number.
#[cfg(any(fuzzing, test))]
pub(crate) fn name(row: u8) -> &'static str {
    COMMANDS[usize::from(row) % COUNT].name
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        for command in &COMMANDS {
            for name in [command.name.to_lowercase(), command.name.to_uppercase()] {
                assert_eq!(
                    find(name.as_bytes()).map(|found| found.name),
                    Some(command.name)
                );
            }
        }
    }

    #[test]
    fn what_is_no_command_is_not_found() {
        for name in ["", "ge", "gett", "\0", "client|nope", "get "] {
            assert!(find(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn a_name_is_in_the_table_once() {
        let mut names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COMMANDS.len());
    }

    #[test]
    fn a_container_is_never_run_as_a_subcommand() {
        let containers = COMMANDS
            .iter()
            .filter(|command| command.place == Place::Container);
        assert_eq!(
            containers.map(|command| command.name).collect::<Vec<_>>(),
            ["object", "script", "client", "config", "memory", "command"]
        );
    }
}

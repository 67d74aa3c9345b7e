//! Where a command goes: to the node that serves the slot of its keys.
//!
//! 1. A command that names one key, or several in one slot, goes there whole. That its keys are in one slot is not
//!    checked here: the node says so.
//! 2. Of the commands with many keys, those whose effect is the same key by key are split by slot, and their replies
//!    joined: `MGET`, `UNLINK`, `DEL`, `EXISTS`, `TOUCH`, `MSET`.
//! 3. A command without keys goes to any node; but all messages of a channel to one node, or they would overtake each
//!    other on the way to those who listen at another.

use redis::{Arg, Cmd, Value};

use crate::error::{Error, Result};
use crate::slot::slot;

/// Where a command goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// To any node.
    Anywhere,
    /// To the node with this slot.
    Slot(u16),
    /// Its parts go to several.
    Parts(Vec<Part>, Join),
}

/// The part of a command whose keys are in one slot.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) slot: u16,
    pub(crate) command: Cmd,
    /// The places of its keys among those of the whole command.
    places: Vec<usize>,
}

/// How the replies to the parts become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// Numbers, which are added.
    Sum,
    /// Arrays with an element for each key. Those of a part that failed are its error.
    Array,
    /// Each says `OK`.
    Okay,
}

/// Where the keys of a command are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    None,
    /// The first one is this word; the others are in the same slot.
    At(usize),
    /// Every word from the first, in steps.
    Each(usize, Join),
}

/// Where a command goes.
pub(crate) fn route(command: &Cmd) -> Route {
    let mut words = command.args_iter();
    // What is sent most often.
    if let (Some(Arg::Simple(b"GET" | b"SET")), Some(Arg::Simple(key))) =
        (words.next(), words.next())
    {
        return Route::Slot(slot(key));
    }
    match keys(command) {
        Keys::None => Route::Anywhere,
        Keys::At(at) => match word(command, at) {
            Some(key) => Route::Slot(slot(key)),
            None => Route::Anywhere,
        },
        Keys::Each(step, join) => split(command, step, join),
    }
}

/// The slot of the keys of a command; `None` if it names none. Of keys in several slots, that of the first.
pub(crate) fn slot_of(command: &Cmd) -> Option<u16> {
    match keys(command) {
        Keys::None => None,
        Keys::At(at) => word(command, at).map(slot),
        Keys::Each(..) => word(command, 1).map(slot),
    }
}

/// The slot of commands that are all in one, and that no splitting can concern.
pub(crate) fn only_slot<'c>(commands: impl IntoIterator<Item = &'c Cmd>) -> Option<u16> {
    let of = |command: &Cmd| match keys(command) {
        Keys::Each(step, _) if command.args_iter().len() != 1 + step => None,
        _ => slot_of(command),
    };
    let mut slots = commands.into_iter().map(of);
    let first = slots.next()??;
    slots.all(|slot| slot == Some(first)).then_some(first)
}

fn word(command: &Cmd, at: usize) -> Option<&[u8]> {
    match command.args_iter().nth(at) {
        Some(Arg::Simple(word)) => Some(word),
        _ => None,
    }
}

fn split(command: &Cmd, step: usize, join: Join) -> Route {
    let words: Vec<&[u8]> = command
        .args_iter()
        .filter_map(|word| match word {
            Arg::Simple(word) => Some(word),
            _ => None,
        })
        .collect();
    let Some((verb, words)) = words.split_first().filter(|(_, words)| !words.is_empty()) else {
        return Route::Anywhere;
    };
    let first = slot(words[0]);
    if words.chunks(step).all(|group| slot(group[0]) == first) {
        return Route::Slot(first);
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut of_slot = std::collections::HashMap::new();
    for (place, group) in words.chunks(step).enumerate() {
        let slot = slot(group[0]);
        let at = *of_slot.entry(slot).or_insert_with(|| {
            let mut command = Cmd::new();
            command.arg(*verb);
            parts.push(Part {
                slot,
                command,
                places: Vec::new(),
            });
            parts.len() - 1
        });
        let part = &mut parts[at];
        for word in group {
            part.command.arg(*word);
        }
        part.places.push(place);
    }
    Route::Parts(parts, join)
}

impl Join {
    /// Makes one reply of those to the parts, in their order.
    ///
    /// # Errors
    /// `Protocol` for a reply of another kind. The first error, where it cannot stand in the places of its keys.
    pub(crate) fn join<'p>(
        self,
        parts: impl IntoIterator<Item = (&'p Part, Result<Value>)>,
    ) -> Result<Value> {
        let mut sum = 0;
        let mut joined: Vec<Value> = Vec::new();
        for (part, reply) in parts {
            let mut put = |place: usize, value| {
                if joined.len() <= place {
                    joined.resize(place + 1, Value::Nil);
                }
                joined[place] = value;
            };
            match (self, reply) {
                (Join::Array, Err(error)) => {
                    for place in &part.places {
                        put(*place, error.as_reply());
                    }
                }
                (_, Err(error)) => return Err(error),
                (Join::Sum, Ok(Value::Int(count))) => sum += count,
                (Join::Okay, Ok(Value::Okay)) => {}
                (Join::Array, Ok(Value::Array(values))) if values.len() == part.places.len() => {
                    for (place, value) in part.places.iter().zip(values) {
                        put(*place, value);
                    }
                }
                (_, Ok(other)) => return Err(Error::unexpected("a part of a command", &other)),
            }
        }
        Ok(match self {
            Join::Sum => Value::Int(sum),
            Join::Array => Value::Array(joined),
            Join::Okay => Value::Okay,
        })
    }
}

/// The longest name of a command that is looked up.
const LONGEST: usize = 20;

fn keys(command: &Cmd) -> Keys {
    let Some(verb) = word(command, 0).filter(|verb| verb.len() <= LONGEST) else {
        return Keys::None;
    };
    let mut upper = [0; LONGEST];
    let upper = &mut upper[..verb.len()];
    upper.copy_from_slice(verb);
    upper.make_ascii_uppercase();
    match &*upper {
        b"GET" | b"SET" | b"HGET" | b"HSET" => Keys::At(1),
        b"MGET" => Keys::Each(1, Join::Array),
        b"UNLINK" | b"DEL" | b"EXISTS" | b"TOUCH" => Keys::Each(1, Join::Sum),
        b"MSET" => Keys::Each(2, Join::Okay),
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" | b"BLMPOP"
        | b"BZMPOP" => counted(command, 2),
        b"LMPOP" | b"ZMPOP" | b"SINTERCARD" | b"ZDIFF" | b"ZINTER" | b"ZUNION" | b"ZINTERCARD" => {
            counted(command, 1)
        }
        b"BITOP" | b"OBJECT" | b"XGROUP" | b"XINFO" | b"PFDEBUG" | b"MEMORY" => Keys::At(2),
        b"MIGRATE" => match word(command, 3) {
            Some(b"") => after(command, b"KEYS"),
            _ => Keys::At(3),
        },
        b"XREAD" | b"XREADGROUP" => after(command, b"STREAMS"),
        b"ACL" | b"ASKING" | b"AUTH" | b"BGREWRITEAOF" | b"BGSAVE" | b"CLIENT" | b"CLUSTER"
        | b"COMMAND" | b"CONFIG" | b"DBSIZE" | b"DEBUG" | b"DISCARD" | b"ECHO" | b"EXEC"
        | b"FLUSHALL" | b"FLUSHDB" | b"FUNCTION" | b"HELLO" | b"INFO" | b"KEYS" | b"LASTSAVE"
        | b"LATENCY" | b"LOLWUT" | b"MODULE" | b"MONITOR" | b"MULTI" | b"PING" | b"PSUBSCRIBE"
        | b"PSYNC" | b"PUBSUB" | b"PUNSUBSCRIBE" | b"QUIT" | b"RANDOMKEY" | b"READONLY"
        | b"READWRITE" | b"REPLICAOF" | b"RESET" | b"ROLE" | b"SAVE" | b"SCAN" | b"SCRIPT"
        | b"SELECT" | b"SHUTDOWN" | b"SLAVEOF" | b"SLOWLOG" | b"SUBSCRIBE" | b"SWAPDB"
        | b"SYNC" | b"TIME" | b"UNSUBSCRIBE" | b"UNWATCH" | b"WAIT" | b"WAITAOF" => Keys::None,
        _ => Keys::At(1),
    }
}

/// The keys are counted by the word at `at`, and follow it.
fn counted(command: &Cmd, at: usize) -> Keys {
    match word(command, at) {
        Some(b"0") | None => Keys::None,
        Some(_) => Keys::At(at + 1),
    }
}

/// The keys follow this word.
fn after(command: &Cmd, name: &[u8]) -> Keys {
    let at = command
        .args_iter()
        .position(|word| matches!(word, Arg::Simple(word) if word.eq_ignore_ascii_case(name)));
    at.map_or(Keys::None, |at| Keys::At(at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn command(text: &str) -> Cmd {
        let mut words = Cmd::new();
        for word in text.split(' ') {
            words.arg(if word == "\"\"" { "" } else { word });
        }
        words
    }

    fn packed(part: &Part) -> (u16, Vec<u8>, Vec<usize>) {
        let command = part.command.get_packed_command();
        (part.slot, command, part.places.clone())
    }

    #[test]
    fn a_command_goes_to_the_slot_of_its_first_key() {
        for (text, key) in [
            ("GET k", Some("k")),
            ("get k", Some("k")),
            ("SET k v PX 1", Some("k")),
            ("ZADD k 1 m", Some("k")),
            ("EVALSHA abc 2 k k2 arg", Some("k")),
            ("EVAL text 0 arg", None),
            ("ZUNION 2 k j", Some("k")),
            ("BLMPOP 0 1 k LEFT", Some("k")),
            ("BITOP AND k a b", Some("k")),
            ("OBJECT ENCODING k", Some("k")),
            ("XREAD COUNT 1 STREAMS k 0", Some("k")),
            ("XREADGROUP GROUP g c streams k >", Some("k")),
            ("XINFO STREAM k", Some("k")),
            ("MIGRATE h 1 k 0 1", Some("k")),
            ("MIGRATE h 1 \"\" 0 1 KEYS k j", Some("k")),
            ("SPUBLISH k m", Some("k")),
            ("PUBLISH k m", Some("k")),
            ("PING", None),
            ("TIME", None),
            ("COMMAND GETKEYS GET k", None),
            ("MGET k k", Some("k")),
            ("MSET {k}a k {k}b j", Some("k")),
            ("DEL", None),
        ] {
            let slot = key.map(|key| slot(key.as_bytes()));
            match route(&command(text)) {
                Route::Anywhere => assert_eq!(slot, None, "{text}"),
                Route::Slot(at) => assert_eq!(slot, Some(at), "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(route(&Cmd::new()), Route::Anywhere));
    }

    #[test]
    fn keys_of_several_slots_are_split_and_joined() {
        let Route::Parts(parts, join) = route(&command("MGET a b {a}2 c")) else {
            panic!("three slots");
        };
        let expected = [
            (
                slot(b"a"),
                command("MGET a {a}2").get_packed_command(),
                vec![0, 2],
            ),
            (slot(b"b"), command("MGET b").get_packed_command(), vec![1]),
            (slot(b"c"), command("MGET c").get_packed_command(), vec![3]),
        ];
        assert_eq!(parts.iter().map(packed).collect::<Vec<_>>(), expected);
        let value = |text: &str| Value::BulkString(text.into());
        let replies = [
            Ok(Value::Array(vec![value("A"), value("A2")])),
            Ok(Value::Array(vec![Value::Nil])),
            Ok(Value::Array(vec![value("C")])),
        ];
        let joined = join.join(parts.iter().zip(replies)).unwrap();
        let expected = vec![value("A"), Value::Nil, value("A2"), value("C")];
        assert_eq!(joined, Value::Array(expected));
        let short = parts
            .iter()
            .map(|part| (part, Ok(Value::Array(Vec::new()))));
        assert!(join.join(short).is_err());

        let Route::Parts(parts, join) = route(&command("MSET a 1 b 2 {a} 3")) else {
            panic!("two slots");
        };
        assert_eq!(
            parts[0].command.get_packed_command(),
            command("MSET a 1 {a} 3").get_packed_command()
        );
        let okay = parts.iter().map(|part| (part, Ok(Value::Okay)));
        assert_eq!(join.join(okay).unwrap(), Value::Okay);

        let Route::Parts(parts, join) = route(&command("UNLINK a b")) else {
            panic!("two slots");
        };
        let one = parts.iter().map(|part| (part, Ok(Value::Int(1))));
        assert_eq!(join.join(one).unwrap(), Value::Int(2));
    }

    proptest! {
        #[test]
        fn splitting_loses_no_key(keys in prop::collection::vec("[a-z{}]{1,4}", 1..40)) {
            let mut whole = redis::cmd("MGET");
            whole.arg(&keys);
            let echo = |part: &Part| {
                let words = part.command.args_iter().skip(1).map(|word| match word {
                    Arg::Simple(word) => Value::BulkString(word.to_vec()),
                    _ => Value::Nil,
                });
                Ok(Value::Array(words.collect()))
            };
            if let Route::Parts(parts, join) = route(&whole) {
                let joined = join.join(parts.iter().map(|part| (part, echo(part)))).unwrap();
                let keys = keys.into_iter().map(|key| Value::BulkString(key.into()));
                prop_assert_eq!(joined, Value::Array(keys.collect()));
            }
        }
    }
}

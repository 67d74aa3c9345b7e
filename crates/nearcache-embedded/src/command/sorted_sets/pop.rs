//! The commands that take elements from an end of a sorted set, at once or when there are some.

use redis::{ProtocolVersion, Value};

use super::{elements, pair};
use crate::command::Args;
use crate::command::parse::{at_least, is};
use crate::command::waiting::deadline_in_seconds;
use crate::context::{Change, Context};
use crate::keyspace::sorted_set::SortedSet;
use crate::notify::Class;
use crate::reply::{Error, Reply, bulk, double};

/// From which end elements are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    Lowest,
    Highest,
}

impl From {
    fn event(self) -> &'static str {
        match self {
            From::Lowest => "zpopmin",
            From::Highest => "zpopmax",
        }
    }

    /// The command that takes elements from there.
    fn command(self) -> &'static [u8] {
        match self {
            From::Lowest => b"ZPOPMIN",
            From::Highest => b"ZPOPMAX",
        }
    }
}

/// Members that were taken, with their scores.
type Taken = Vec<(Vec<u8>, f64)>;

/// Takes up to that many elements. None if there is no set.
fn take(cx: &mut Context<'_>, key: &[u8], from: From, most: usize) -> Result<Option<Taken>, Error> {
    cx.change(key, |set: &mut SortedSet| {
        let len = set.len();
        let count = most.min(len);
        let range = match from {
            From::Lowest => 0..count,
            From::Highest => len - count..len,
        };
        let found = set.range(range.clone());
        let owned = |(member, score): (&[u8], f64)| (member.to_vec(), score);
        let taken: Vec<_> = match from {
            From::Lowest => found.map(owned).collect(),
            From::Highest => found.rev().map(owned).collect(),
        };
        set.remove_range(range);
        Change::when(count > 0, taken).notify(Class::SORTED_SET, from.event())
    })
}

pub(super) fn zpopmin(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    pop(cx, args, From::Lowest)
}

pub(super) fn zpopmax(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    pop(cx, args, From::Highest)
}

fn pop(cx: &mut Context<'_>, args: Args<'_>, from: From) -> Reply {
    const NEGATIVE: Error = Error::new("ERR value is out of range, must be positive");
    let most = match args[2..] {
        [] => None,
        [count] => Some(at_least(0, count, NEGATIVE)?),
        _ => return Err(Error::SYNTAX),
    };
    let taken = take(cx, args[1], from, most.unwrap_or(1))?.unwrap_or_default();
    // In RESP3 elements are nested, unless it is the one that was not counted.
    let protocol = cx.session.protocol;
    if most.is_none() {
        let flat = taken
            .iter()
            .flat_map(|(member, score)| [bulk(member), double(protocol, *score)]);
        return Ok(Value::Array(flat.collect()));
    }
    let taken = taken.iter().map(|(member, score)| (&member[..], *score));
    Ok(elements(protocol, taken, true))
}

/// The arguments of `ZMPOP` from the number of keys on.
struct Several<'a> {
    keys: Args<'a>,
    from: From,
    most: usize,
}

impl<'a> Several<'a> {
    fn read(args: Args<'a>) -> Result<Self, Error> {
        const NO_KEYS: Error = Error::new("ERR numkeys should be greater than 0");
        const NO_COUNT: Error = Error::new("ERR count should be greater than 0");
        let keys = at_least(1, args[0], NO_KEYS)?;
        let rest = args.get(1..).filter(|rest| rest.len() > keys);
        let (keys, rest) = rest.ok_or(Error::SYNTAX)?.split_at(keys);
        let from = match rest[0] {
            arg if is(arg, "MIN") => From::Lowest,
            arg if is(arg, "MAX") => From::Highest,
            _ => return Err(Error::SYNTAX),
        };
        let most = match rest[1..] {
            [] => 1,
            [option, count, ref more @ ..] if is(option, "COUNT") => {
                let count = at_least(1, count, NO_COUNT)?;
                if !more.is_empty() {
                    return Err(Error::SYNTAX);
                }
                count
            }
            _ => return Err(Error::SYNTAX),
        };
        Ok(Several { keys, from, most })
    }

    /// What was taken from a key, which the log holds as a command that takes as many from it.
    fn reply(&self, cx: &mut Context<'_>, key: &[u8], taken: &[(Vec<u8>, f64)]) -> Value {
        let mut digits = itoa::Buffer::new();
        let count = digits.format(taken.len()).as_bytes();
        cx.log_as(&[self.from.command(), key, count]);
        let pairs = nested(cx.session.protocol, taken);
        Value::Array(vec![bulk(key), pairs])
    }
}

fn nested(protocol: ProtocolVersion, taken: &[(Vec<u8>, f64)]) -> Value {
    let pairs = taken
        .iter()
        .map(|(member, score)| pair(protocol, member, *score));
    Value::Array(pairs.collect())
}

pub(super) fn zmpop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let several = Several::read(&args[1..])?;
    for key in several.keys {
        if let Some(taken) = take(cx, key, several.from, several.most)? {
            return Ok(several.reply(cx, key, &taken));
        }
    }
    Ok(Value::Nil)
}

/// Takes elements from the first of the keys that has any, and that it is this command's turn to look at.
fn take_first<'a>(
    cx: &mut Context<'_>,
    keys: Args<'a>,
    from: From,
    most: usize,
) -> Result<Option<(&'a [u8], Taken)>, Error> {
    let again = cx.ready.is_some();
    for key in keys {
        if again && !cx.is_ready(key) {
            continue;
        }
        // A value of another type is an error at first; who waits already goes on waiting.
        let set = match cx.structure::<SortedSet>(key) {
            Err(_) if again => continue,
            set => set?,
        };
        if set.is_some()
            && cx.is_ready(key)
            && let Some(taken) = take(cx, key, from, most)?
        {
            return Ok(Some((key, taken)));
        }
    }
    Ok(None)
}

pub(super) fn bzpopmin(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    pop_or_wait(cx, args, From::Lowest)
}

pub(super) fn bzpopmax(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    pop_or_wait(cx, args, From::Highest)
}

fn pop_or_wait(cx: &mut Context<'_>, args: Args<'_>, from: From) -> Reply {
    let last = args.len() - 1;
    let deadline = deadline_in_seconds(cx, args[last])?;
    let keys = &args[1..last];
    let Some((key, taken)) = take_first(cx, keys, from, 1)? else {
        return cx.wait_for(keys, deadline);
    };
    cx.log_as(&[from.command(), key]);
    let protocol = cx.session.protocol;
    let flat = taken
        .iter()
        .flat_map(|(member, score)| [bulk(member), double(protocol, *score)]);
    Ok(Value::Array([bulk(key)].into_iter().chain(flat).collect()))
}

pub(super) fn bzmpop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let several = Several::read(&args[2..])?;
    let deadline = deadline_in_seconds(cx, args[1])?;
    match take_first(cx, several.keys, several.from, several.most)? {
        Some((key, taken)) => Ok(several.reply(cx, key, &taken)),
        None => cx.wait_for(several.keys, deadline),
    }
}

//! Intersections, unions and differences of sets.

use redis::Value;

use super::Args;
use super::parse::{at_least, is};
use super::row::prelude::*;
use super::sets::bulk;
use crate::context::Context;
use crate::keyspace::set::{Member, Set};
use crate::notify::Class;
use crate::reply::{self, Error, Reply, count};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("sinter",      -2, Shared,    ALL_ARGS, Anywhere,  sinter),
    ("sinterstore", -3, Growing,   ALL_ARGS, Anywhere,  sinterstore),
    ("sintercard",  -3, Shared,    COUNTED,  Anywhere,  sintercard),
    ("sunion",      -2, Shared,    ALL_ARGS, Anywhere,  sunion),
    ("sunionstore", -3, Growing,   ALL_ARGS, Anywhere,  sunionstore),
    ("sdiff",       -2, Shared,    ALL_ARGS, Anywhere,  sdiff),
    ("sdiffstore",  -3, Growing,   ALL_ARGS, Anywhere,  sdiffstore),
];

const COUNTED: Keys = Keys::Counted { at: 1, also: 0 };

const FEW_KEYS: Error = Error::new("ERR numkeys should be greater than 0");
const MANY_KEYS: Error = Error::new("ERR Number of keys can't be greater than number of args");
const NEGATIVE_LIMIT: Error = Error::new("ERR LIMIT can't be negative");

/// The sets at the keys; `None` where there is nothing.
fn sets<'c>(cx: &'c Context<'_>, keys: Args<'_>) -> Result<Vec<Option<&'c Set>>, Error> {
    keys.iter().map(|key| cx.structure::<Set>(key)).collect()
}

fn reply_all(cx: &Context<'_>, members: Vec<Value>) -> Value {
    reply::set(cx.session.protocol, members)
}

/// Replies with the members of a result.
fn reply_set(cx: &Context<'_>, set: &Set) -> Value {
    reply_all(cx, reply::values(set.len(), set.iter().map(bulk)))
}

/// Stores a result.
fn store(cx: &mut Context<'_>, key: &[u8], set: Set, event: &'static str) -> Value {
    let len = set.len();
    cx.store(key, set, Class::SET, event);
    count(len)
}

/// Visits the members that are in all sets, until `visit` has enough.
fn intersect(sets: &[Option<&Set>], mut visit: impl FnMut(Member<'_>) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<_>>>() else {
        return;
    };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else {
        return;
    };
    for member in smallest.iter() {
        let is_in = |set: &&Set| std::ptr::eq(*set, *smallest) || set.contains(member);
        if others.iter().all(is_in) && !visit(member) {
            return;
        }
    }
}

pub(super) fn sinter(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let mut members = Vec::new();
    intersect(&sets(cx, &args[1..])?, |member| {
        members.push(bulk(member));
        true
    });
    Ok(reply_all(cx, members))
}

pub(super) fn sinterstore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let most = cx.compact().set_integers;
    let mut result = Set::default();
    intersect(&sets(cx, &args[2..])?, |member| {
        result.insert(member, most);
        true
    });
    Ok(store(cx, args[1], result, "sinterstore"))
}

pub(super) fn sintercard(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let keys = at_least(1, args[1], FEW_KEYS)?;
    if keys > args.len() - 2 {
        return Err(MANY_KEYS);
    }
    let (keys, options) = args[2..].split_at(keys);
    let mut limit = 0;
    for option in options.chunks(2) {
        match option {
            [name, most] if is(name, "LIMIT") => limit = at_least(0, most, NEGATIVE_LIMIT)?,
            _ => return Err(Error::SYNTAX),
        }
    }
    let mut found = 0;
    intersect(&sets(cx, keys)?, |_| {
        found += 1;
        found != limit
    });
    Ok(count(found))
}

fn union(cx: &Context<'_>, keys: Args<'_>) -> Result<Set, Error> {
    let most = cx.compact().set_integers;
    let mut result = Set::default();
    for set in sets(cx, keys)?.into_iter().flatten() {
        for member in set.iter() {
            result.insert(member, most);
        }
    }
    Ok(result)
}

pub(super) fn sunion(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(reply_set(cx, &union(cx, &args[1..])?))
}

pub(super) fn sunionstore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let result = union(cx, &args[2..])?;
    Ok(store(cx, args[1], result, "sunionstore"))
}

/// The members of the first set that are in none of the others.
fn difference(cx: &Context<'_>, keys: Args<'_>) -> Result<Set, Error> {
    let most = cx.compact().set_integers;
    let mut result = Set::default();
    let sets = sets(cx, keys)?;
    let Some((Some(first), others)) = sets.split_first() else {
        return Ok(result);
    };
    let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
    if others.iter().any(|other| std::ptr::eq(*other, *first)) {
        return Ok(result);
    }
    let all: usize = others.iter().map(|other| other.len()).sum();
    if first.len() / 2 * (others.len() + 1) <= first.len() + all {
        // Large sets are likely to have a member, so they are asked first.
        others.sort_by_key(|other| std::cmp::Reverse(other.len()));
        for member in first.iter() {
            if !others.iter().any(|other| other.contains(member)) {
                result.insert(member, most);
            }
        }
        return Ok(result);
    }
    // The others are small: it is faster to visit them than to look up every member in each.
    for member in first.iter() {
        result.insert(member, most);
    }
    for member in others.into_iter().flat_map(Set::iter) {
        result.remove(member);
        if result.len() == 0 {
            break;
        }
    }
    Ok(result)
}

pub(super) fn sdiff(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(reply_set(cx, &difference(cx, &args[1..])?))
}

pub(super) fn sdiffstore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let result = difference(cx, &args[2..])?;
    Ok(store(cx, args[1], result, "sdiffstore"))
}

//! Sets: commands on a single one, and `SMOVE`. [`set_algebra`](super::set_algebra) has intersections, unions and
//! differences.

use redis::Value;

use super::Args;
use super::parse::at_least;
use super::random::{self, random};
use super::row::prelude::*;
use super::scan::{Options, page, read_cursor};
use crate::context::{Change, Context, Form};
use crate::keyspace::set::{Member, Set};
use crate::notify::Class;
use crate::reply::{self, Error, Reply, count, truth};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("sadd",        -3, Growing,   ONE,      Anywhere,  sadd),
    ("srem",        -3, Exclusive, ONE,      Anywhere,  srem),
    ("smove",        4, Exclusive, TWO,      Anywhere,  smove),
    ("spop",        -2, Exclusive, ONE,      Anywhere,  spop),
    ("scard",        2, Shared,    ONE,      Anywhere,  scard),
    ("sismember",    3, Shared,    ONE,      Anywhere,  sismember),
    ("smismember",  -3, Shared,    ONE,      Anywhere,  smismember),
    ("smembers",     2, Shared,    ONE,      Anywhere,  smembers),
    ("srandmember", -2, Shared,    ONE,      Anywhere,  srandmember),
    ("sscan",       -3, Shared,    ONE,      Anywhere,  sscan),
];

const NOT_POSITIVE: Error = Error::new("ERR value is out of range, must be positive");

pub(super) fn bulk(member: Member<'_>) -> Value {
    Value::BulkString(member.to_vec())
}

pub(super) fn sadd(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let most = cx.compact().set_integers;
    let added = cx.change_or_make(args[1], |set: &mut Set| {
        let members = args[2..].iter();
        let added = members.filter(|member| set.insert(Member::Text(member), most));
        let added = added.count();
        Change::when(added > 0, added).notify(Class::SET, "sadd")
    });
    Ok(count(added?))
}

pub(super) fn srem(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let removed = cx.change(args[1], |set: &mut Set| {
        let members = args[2..].iter();
        let removed = members.filter(|member| set.remove(Member::Text(member)));
        let removed = removed.count();
        Change::when(removed > 0, removed).notify(Class::SET, "srem")
    });
    Ok(count(removed?.unwrap_or(0)))
}

pub(super) fn smove(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (source, target, member) = (args[1], args[2], Member::Text(args[3]));
    let Some(set) = cx.structure::<Set>(source)? else {
        return Ok(truth(false));
    };
    let is_there = set.contains(member);
    cx.structure::<Set>(target)?;
    if !is_there || source == target {
        return Ok(truth(is_there));
    }
    cx.change(source, |set: &mut Set| {
        Change::when(set.remove(member), ()).notify(Class::SET, "srem")
    })?;
    let most = cx.compact().set_integers;
    cx.change_or_make(target, |set: &mut Set| {
        Change::when(set.insert(member, most), ()).notify(Class::SET, "sadd")
    })?;
    Ok(truth(true))
}

pub(super) fn spop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let key = args[1];
    match args[2..] {
        [] => {
            let popped = pop_several(cx, key, 1)?.into_iter().next();
            Ok(popped.map_or(Value::Nil, Value::BulkString))
        }
        [most] => {
            let most = at_least(0, most, NOT_POSITIVE)?;
            let popped = match cx.structure::<Set>(key)?.map_or(0, Set::len) {
                0 => Vec::new(),
                len if len <= most => pop_all(cx, key)?,
                _ => pop_several(cx, key, most)?,
            };
            let popped = popped.into_iter().map(Value::BulkString).collect();
            Ok(reply::set(cx.session.protocol, popped))
        }
        _ => Err(Error::SYNTAX),
    }
}

fn pop_all(cx: &mut Context<'_>, key: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let set = cx.structure::<Set>(key)?.into_iter();
    let members = set.flat_map(Set::iter).map(Member::to_vec).collect();
    cx.take(key);
    cx.notify(Class::SET, "spop", key);
    cx.notify(Class::GENERIC, "del", key);
    cx.log_as(&[b"DEL", key]);
    Ok(members)
}

/// Takes some members, but leaves at least one, or takes a single one.
fn pop_several(cx: &mut Context<'_>, key: &[u8], most: usize) -> Result<Vec<Vec<u8>>, Error> {
    let mut random = random(cx);
    let most_integers = cx.compact().set_integers;
    let popped = cx.change(key, |set: &mut Set| {
        let popped = if set.len().saturating_sub(most).saturating_mul(5) > most {
            let mut popped = Vec::new();
            while popped.len() < most {
                let Some(member) = set.random(&mut random).map(Member::to_vec) else {
                    break;
                };
                set.remove(Member::Text(&member));
                popped.push(member);
            }
            popped
        } else if most < set.len() {
            // Few are left, and are moved to a new set.
            let mut left = Set::default();
            for member in set.sample(set.len() - most, &mut random) {
                left.insert(member, most_integers);
            }
            let all = std::mem::replace(set, left);
            let popped = all.iter().filter(|member| !set.contains(*member));
            popped.map(Member::to_vec).collect()
        } else {
            let popped: Vec<_> = set.iter().map(Member::to_vec).collect();
            *set = Set::default();
            popped
        };
        Change::when(!popped.is_empty(), popped).notify(Class::SET, "spop")
    });
    let popped = popped?.unwrap_or_default();
    for member in &popped {
        cx.log_as(&[b"SREM", key, member]);
    }
    Ok(popped)
}

pub(super) fn scard(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    Ok(count(cx.structure::<Set>(args[1])?.map_or(0, Set::len)))
}

pub(super) fn sismember(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let set = cx.structure::<Set>(args[1])?;
    Ok(truth(
        set.is_some_and(|set| set.contains(Member::Text(args[2]))),
    ))
}

pub(super) fn smismember(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let set = cx.structure::<Set>(args[1])?;
    let is_member =
        |member: &&[u8]| truth(set.is_some_and(|set| set.contains(Member::Text(member))));
    Ok(Value::Array(args[2..].iter().map(is_member).collect()))
}

pub(super) fn smembers(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let set = cx.structure::<Set>(args[1])?;
    let mut members = cx.elements(Form::Set, set.map_or(0, Set::len));
    for member in set.into_iter().flat_map(Set::iter) {
        member.with(|bytes| members.bulk(bytes));
    }
    members.reply()
}

pub(super) fn srandmember(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let most = match args[2..] {
        [] => {
            let set = cx.structure::<Set>(args[1])?;
            let member = set.and_then(|set| set.random(&mut random(cx)));
            return Ok(member.map_or(Value::Nil, bulk));
        }
        [most] => random::count(most)?,
        _ => return Err(Error::SYNTAX),
    };
    let Some(set) = cx.structure::<Set>(args[1])? else {
        return Ok(Value::Array(Vec::new()));
    };
    let mut random = random(cx);
    if most < 0 {
        let picked = random::repeat(most.unsigned_abs(), |to| {
            let member = set.random(&mut random).map(Member::to_vec);
            let member = member.unwrap_or_default();
            let bytes = member.len();
            to.push(Value::BulkString(member));
            bytes
        });
        return Ok(Value::Array(picked?));
    }
    let sample = set.sample(usize::try_from(most).unwrap_or(usize::MAX), &mut random);
    Ok(Value::Array(sample.into_iter().map(bulk).collect()))
}

pub(super) fn sscan(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let cursor = read_cursor(args[2])?;
    let Some(set) = cx.structure::<Set>(args[1])? else {
        return Ok(page(0, Vec::new()));
    };
    let options = Options::of_structure(&args[3..])?;
    let mut found = Vec::new();
    let next = options.scan(cursor, |position, seen| {
        set.walk(position, |member| {
            *seen += 1;
            if member.with(|text| options.matches(text)) {
                found.push(bulk(member));
            }
        })
    });
    Ok(page(next, found))
}

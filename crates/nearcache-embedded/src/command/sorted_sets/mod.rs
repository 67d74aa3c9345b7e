//! Sorted sets. Here are the commands on single members; each other file has a group of its own.

mod add;
mod algebra;
mod bounds;
mod pop;
mod range;
mod sample;

use redis::{ProtocolVersion, Value};

use super::Args;
use super::row::prelude::*;
use crate::context::{Change, Context};
use crate::keyspace::sorted_set::SortedSet;
use crate::notify::Class;
use crate::reply::{Reply, bulk, count, double};

pub(super) use add::{Rules, add};

const COUNTED: Keys = Keys::Counted { at: 1, also: 0 };
/// The destination comes before the number of keys.
const STORED: Keys = Keys::Counted { at: 2, also: 1 };
/// The timeout comes before the number of keys.
const TIMED: Keys = Keys::Counted { at: 2, also: 0 };
/// The timeout is the last argument.
const ALL_BUT_LAST: Keys = Keys::Range {
    first: 1,
    last: -2,
    step: 1,
};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("zadd",             -4, Growing,   ONE,     Anywhere,  add::zadd),
    ("zincrby",           4, Growing,   ONE,     Anywhere,  add::zincrby),
    ("zrem",             -3, Exclusive, ONE,     Anywhere,  zrem),
    ("zcard",             2, Shared,    ONE,     Anywhere,  zcard),
    ("zscore",            3, Shared,    ONE,     Anywhere,  zscore),
    ("zmscore",          -3, Shared,    ONE,     Anywhere,  zmscore),
    ("zrank",             3, Shared,    ONE,     Anywhere,  zrank),
    ("zrevrank",          3, Shared,    ONE,     Anywhere,  zrevrank),
    ("zcount",            4, Shared,    ONE,     Anywhere,  range::zcount),
    ("zlexcount",         4, Shared,    ONE,     Anywhere,  range::zlexcount),
    ("zrange",           -4, Shared,    ONE,     Anywhere,  range::zrange),
    ("zrevrange",        -4, Shared,    ONE,     Anywhere,  range::zrevrange),
    ("zrangebyscore",    -4, Shared,    ONE,     Anywhere,  range::zrangebyscore),
    ("zrevrangebyscore", -4, Shared,    ONE,     Anywhere,  range::zrevrangebyscore),
    ("zrangebylex",      -4, Shared,    ONE,     Anywhere,  range::zrangebylex),
    ("zrevrangebylex",   -4, Shared,    ONE,     Anywhere,  range::zrevrangebylex),
    ("zrangestore",      -5, Growing,   TWO,     Anywhere,  range::zrangestore),
    ("zremrangebyrank",   4, Exclusive, ONE,     Anywhere,  range::zremrangebyrank),
    ("zremrangebyscore",  4, Exclusive, ONE,     Anywhere,  range::zremrangebyscore),
    ("zremrangebylex",    4, Exclusive, ONE,     Anywhere,  range::zremrangebylex),
    ("zunion",           -3, Shared,    COUNTED, Anywhere,  algebra::zunion),
    ("zinter",           -3, Shared,    COUNTED, Anywhere,  algebra::zinter),
    ("zdiff",            -3, Shared,    COUNTED, Anywhere,  algebra::zdiff),
    ("zintercard",       -3, Shared,    COUNTED, Anywhere,  algebra::zintercard),
    ("zunionstore",      -4, Growing,   STORED,  Anywhere,  algebra::zunionstore),
    ("zinterstore",      -4, Growing,   STORED,  Anywhere,  algebra::zinterstore),
    ("zdiffstore",       -4, Growing,   STORED,  Anywhere,  algebra::zdiffstore),
    ("zpopmin",          -2, Exclusive, ONE,     Anywhere,  pop::zpopmin),
    ("zpopmax",          -2, Exclusive, ONE,     Anywhere,  pop::zpopmax),
    ("zmpop",            -4, Exclusive, COUNTED, Anywhere,  pop::zmpop),
    ("bzpopmin",         -3, Exclusive, ALL_BUT_LAST, NoScript, pop::bzpopmin),
    ("bzpopmax",         -3, Exclusive, ALL_BUT_LAST, NoScript, pop::bzpopmax),
    ("bzmpop",           -5, Exclusive, TIMED,   Anywhere,  pop::bzmpop),
    ("zrandmember",      -2, Shared,    ONE,     Anywhere,  sample::zrandmember),
    ("zscan",            -3, Shared,    ONE,     Anywhere,  sample::zscan),
];

/// Members, with their scores or without. RESP2 has all in one array, RESP3 an array for each with a score.
fn elements<'m>(
    protocol: ProtocolVersion,
    elements: impl Iterator<Item = (&'m [u8], f64)>,
    with_scores: bool,
) -> Value {
    let nested = protocol != ProtocolVersion::RESP2;
    Value::Array(match (with_scores, nested) {
        (false, _) => elements.map(|(member, _)| bulk(member)).collect(),
        (true, true) => elements
            .map(|(member, score)| pair(protocol, member, score))
            .collect(),
        (true, false) => elements
            .flat_map(|(member, score)| [bulk(member), double(protocol, score)])
            .collect(),
    })
}

/// A member and its score.
fn pair(protocol: ProtocolVersion, member: &[u8], score: f64) -> Value {
    Value::Array(vec![bulk(member), double(protocol, score)])
}

fn zrem(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let removed = cx.change(args[1], |set: &mut SortedSet| {
        let members = args[2..].iter();
        let removed = members
            .filter(|member| set.remove(member).is_some())
            .count();
        Change::when(removed > 0, removed).notify(Class::SORTED_SET, "zrem")
    })?;
    Ok(count(removed.unwrap_or(0)))
}

fn zcard(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let set = cx.structure::<SortedSet>(args[1])?;
    Ok(count(set.map_or(0, SortedSet::len)))
}

fn zscore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let set = cx.structure::<SortedSet>(args[1])?;
    let score = set.and_then(|set| set.score(args[2]));
    Ok(score_or_nil(cx.session.protocol, score))
}

fn zmscore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let set = cx.structure::<SortedSet>(args[1])?;
    let scores = args[2..].iter().map(|member| {
        let score = set.and_then(|set| set.score(member));
        score_or_nil(cx.session.protocol, score)
    });
    Ok(Value::Array(scores.collect()))
}

fn score_or_nil(protocol: ProtocolVersion, score: Option<f64>) -> Value {
    score.map_or(Value::Nil, |score| double(protocol, score))
}

fn zrank(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let set = cx.structure::<SortedSet>(args[1])?;
    let rank = set.and_then(|set| set.rank(args[2]));
    Ok(rank.map_or(Value::Nil, count))
}

fn zrevrank(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let set = cx.structure::<SortedSet>(args[1])?;
    let rank = set.and_then(|set| Some(set.len() - 1 - set.rank(args[2])?));
    Ok(rank.map_or(Value::Nil, count))
}

//! Elements in no particular order: `ZRANDMEMBER` and `ZSCAN`.

use redis::{ProtocolVersion, Value};

use super::{elements, pair};
use crate::command::Args;
use crate::command::parse::is;
use crate::command::random::{count, count_of_pairs, random, repeat};
use crate::command::scan::{Options, page, read_cursor};
use crate::context::Context;
use crate::keyspace::sorted_set::SortedSet;
use crate::reply::{Error, Reply, bulk, double, double_text};

pub(super) fn zrandmember(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let most = match args[2..] {
        [] => None,
        [most] => Some((count(most)?, false)),
        [most, ref options @ ..] => {
            count(most)?;
            match options {
                [option] if is(option, "WITHSCORES") => Some((count_of_pairs(most)?, true)),
                _ => return Err(Error::SYNTAX),
            }
        }
    };
    let mut random = random(cx);
    let protocol = cx.session.protocol;
    let set = cx.structure::<SortedSet>(args[1])?;
    let (Some(set), Some((most, with_scores))) = (set, most) else {
        let member = set.and_then(|set| set.at(random.below(set.len())));
        return Ok(match (member, most) {
            (Some((member, _)), _) => bulk(member),
            (None, Some(_)) => Value::Array(Vec::new()),
            (None, None) => Value::Nil,
        });
    };
    let len = set.len();
    if let Ok(most @ 2..) = usize::try_from(most)
        && most >= len
    {
        // As a server does, from the last one on.
        return Ok(elements(protocol, set.iter().rev(), with_scores));
    }
    // A small one would be walked for each.
    let all: Vec<_> = if set.is_small() {
        set.iter().collect()
    } else {
        Vec::new()
    };
    let at = |index: usize| all.get(index).copied().or_else(|| set.at(index));
    if most >= 0 {
        let chosen = random.choose(usize::try_from(most).unwrap_or(usize::MAX), len);
        return Ok(elements(
            protocol,
            chosen.into_iter().filter_map(at),
            with_scores,
        ));
    }
    let picked = repeat(most.unsigned_abs(), |to| {
        at(random.below(len)).map_or(0, |element| add(to, protocol, element, with_scores))
    });
    Ok(Value::Array(picked?))
}

/// Adds an element to a reply, and returns how many bytes that are, about.
fn add(
    to: &mut Vec<Value>,
    protocol: ProtocolVersion,
    (member, score): (&[u8], f64),
    with_scores: bool,
) -> usize {
    match (with_scores, protocol) {
        (false, _) => to.push(bulk(member)),
        (true, ProtocolVersion::RESP2) => to.extend([bulk(member), double(protocol, score)]),
        (true, _) => to.push(pair(protocol, member, score)),
    }
    member.len() + if with_scores { 100 } else { 0 }
}

/// A large set is scanned from the end downwards, and the cursor is the index above which all have been visited. So a
/// removal, which moves the last element to an index below, hides none. A small set is returned as a whole.
pub(super) fn zscan(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let cursor = read_cursor(args[2])?;
    let Some(set) = cx.structure::<SortedSet>(args[1])? else {
        return Ok(page(0, Vec::new()));
    };
    let options = Options::of_structure(&args[3..])?;
    let end = match usize::try_from(cursor) {
        Ok(cursor @ 1..) => cursor.min(set.len()),
        _ => set.len(),
    };
    let start = if set.is_small() {
        0
    } else {
        end.saturating_sub(options.count)
    };
    let mut found = Vec::new();
    let mut visit = |(member, score): (&[u8], f64)| {
        if options.matches(member) {
            found.extend([
                bulk(member),
                bulk(score_text(score, set.is_small()).as_bytes()),
            ]);
        }
    };
    if set.is_small() {
        set.iter().for_each(&mut visit);
    } else {
        (start..end)
            .rev()
            .filter_map(|index| set.at(index))
            .for_each(&mut visit);
    }
    Ok(page(start as u64, found))
}

/// In a small set, a server keeps whole numbers as such.
fn score_text(score: f64, is_small: bool) -> String {
    const WHOLE: f64 = (i64::MAX / 2) as f64;
    if is_small && score.abs() <= WHOLE && score.fract() == 0.0 {
        return (score as i64).to_string();
    }
    double_text(score)
}

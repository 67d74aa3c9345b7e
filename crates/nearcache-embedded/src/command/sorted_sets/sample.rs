//! Elements in no particular order: `ZRANDMEMBER` and `ZSCAN`.

use std::collections::HashSet;

use redis::Value;

use super::elements;
use crate::command::Args;
use crate::command::parse::{integer, is};
use crate::command::scan::{Options, page, read_cursor};
use crate::context::Context;
use crate::keyspace::sorted_set::SortedSet;
use crate::reply::{Error, Reply, bulk, double_text};

/// A reply does not repeat elements more often than this. (A server goes on until its client is cut off.)
const MOST_REPEATED: u64 = 1 << 24;

pub(super) fn zrandmember(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if args.len() == 2 {
        let Some(set) = cx.structure::<SortedSet>(args[1])? else {
            return Ok(Value::Nil);
        };
        let index = below(cx, set.len());
        return Ok(set.at(index).map_or(Value::Nil, |(member, _)| bulk(member)));
    }
    let (count, with_scores) = read_count(&args[2..])?;
    let protocol = cx.session.protocol;
    let Some(set) = cx.structure::<SortedSet>(args[1])? else {
        return Ok(elements(protocol, std::iter::empty(), false));
    };
    let wanted = usize::try_from(count).unwrap_or(0);
    if wanted >= set.len() && wanted != 1 {
        // As a server does, from the last one on.
        return Ok(elements(protocol, set.iter().rev(), with_scores));
    }
    if count < 0 && count.unsigned_abs() > MOST_REPEATED {
        return Err(OUT_OF_RANGE);
    }
    let indexes = if count < 0 {
        (0..count.unsigned_abs())
            .map(|_| below(cx, set.len()))
            .collect()
    } else {
        different(cx, wanted, set.len())
    };
    // A small one would be walked for every index.
    let all: Vec<_> = set
        .is_small()
        .then(|| set.iter().collect())
        .unwrap_or_default();
    let found = indexes.iter().filter_map(|index| {
        let found = all.get(*index).copied();
        found.or_else(|| set.at(*index))
    });
    Ok(elements(protocol, found, with_scores))
}

const OUT_OF_RANGE: Error = Error::new("ERR value is out of range");

fn read_count(args: Args<'_>) -> Result<(i64, bool), Error> {
    const LOWEST: Error = Error::new(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
    let count = integer(args[0])?;
    if count == i64::MIN {
        return Err(LOWEST);
    }
    match args[1..] {
        [] => Ok((count, false)),
        [option] if is(option, "WITHSCORES") => {
            if count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
                return Err(OUT_OF_RANGE);
            }
            Ok((count, true))
        }
        _ => Err(Error::SYNTAX),
    }
}

/// A random index below `len`, which is not zero.
fn below(cx: &Context<'_>, len: usize) -> usize {
    ((u128::from(cx.shared.random()) * len as u128) >> 64) as usize
}

/// As many different indexes below `len`.
fn different(cx: &Context<'_>, count: usize, len: usize) -> Vec<usize> {
    if count > len / 3 {
        let mut indexes: Vec<usize> = (0..len).collect();
        for at in 0..count {
            indexes.swap(at, at + below(cx, len - at));
        }
        indexes.truncate(count);
        return indexes;
    }
    let mut indexes = HashSet::with_capacity(count);
    while indexes.len() < count {
        indexes.insert(below(cx, len));
    }
    indexes.into_iter().collect()
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

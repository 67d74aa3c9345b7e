//! `ZRANGE` in all its forms, by rank, score or member; and the commands that count, store or remove such a range.

use std::ops::Range;

use redis::{ProtocolVersion, Value};

use super::bounds;
use crate::command::Args;
use crate::command::parse::{integer, is};
use crate::context::{Change, Context, Form};
use crate::keyspace::sorted_set::{Members, Scores, SortedSet};
use crate::notify::Class;
use crate::reply::{Error, Reply, count};

/// What the ends of a range are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Ranks,
    Scores,
    Members,
}

/// A range.
#[derive(Clone, Copy, Debug)]
enum Span<'a> {
    Ranks(i64, i64),
    Scores(Scores),
    Members(Members<'a>),
}

impl<'a> Span<'a> {
    fn read(kind: Kind, min: &'a [u8], max: &'a [u8]) -> Result<Self, Error> {
        Ok(match kind {
            Kind::Ranks => Span::Ranks(integer(min)?, integer(max)?),
            Kind::Scores => Span::Scores(bounds::scores(min, max)?),
            Kind::Members => Span::Members(bounds::members(min, max)?),
        })
    }

    /// The ranks that are meant. Backwards, ranks count from the end.
    fn of(&self, set: &SortedSet, backwards: bool) -> Range<usize> {
        match self {
            Span::Ranks(start, stop) => {
                let range = indexes(*start, *stop, set.len());
                if backwards {
                    set.len() - range.end..set.len() - range.start
                } else {
                    range
                }
            }
            Span::Scores(scores) => set.with_scores(scores),
            Span::Members(members) => set.with_members(members, backwards),
        }
    }
}

/// The indexes from `start` to `stop`, which count from the end if negative.
fn indexes(start: i64, stop: i64, len: usize) -> Range<usize> {
    let signed = i64::try_from(len).unwrap_or(i64::MAX);
    let from_start = |index: i64| {
        if index < 0 {
            signed.saturating_add(index)
        } else {
            index
        }
    };
    let start = from_start(start).max(0);
    let stop = from_start(stop).min(signed - 1);
    if start > stop {
        return 0..0;
    }
    start as usize..stop as usize + 1
}

/// A range with its options.
#[derive(Debug)]
struct Query<'a> {
    span: Span<'a>,
    backwards: bool,
    offset: i64,
    limit: i64,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Reads the arguments after the key. What is given is not an option any more.
    fn read(args: Args<'a>, given: Option<(Kind, bool)>, stores: bool) -> Result<Self, Error> {
        const NO_LIMIT: Error = Error::new(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        );
        const NO_SCORES: Error =
            Error::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        let mut kind = given.map(|(kind, _)| kind);
        let mut backwards = given.map(|(_, backwards)| backwards);
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let mut options = args[2..].iter();
        while let Some(option) = options.next() {
            if !stores && is(option, "WITHSCORES") {
                with_scores = true;
            } else if is(option, "LIMIT")
                && let [from, most, ..] = options.as_slice()
            {
                (offset, limit) = (integer(from)?, integer(most)?);
                options.nth(1);
            } else if given.is_none() && backwards.is_none() && is(option, "REV") {
                backwards = Some(true);
            } else if given.is_none() && kind.is_none() && is(option, "BYLEX") {
                kind = Some(Kind::Members);
            } else if given.is_none() && kind.is_none() && is(option, "BYSCORE") {
                kind = Some(Kind::Scores);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        let kind = kind.unwrap_or(Kind::Ranks);
        let backwards = backwards.unwrap_or(false);
        if limit != -1 && kind == Kind::Ranks {
            return Err(NO_LIMIT);
        }
        if with_scores && kind == Kind::Members {
            return Err(NO_SCORES);
        }
        let (min, max) = if backwards && kind != Kind::Ranks {
            (args[1], args[0])
        } else {
            (args[0], args[1])
        };
        Ok(Query {
            span: Span::read(kind, min, max)?,
            backwards,
            offset,
            limit,
            with_scores,
        })
    }

    /// The ranks that are asked for.
    fn of(&self, set: &SortedSet) -> Range<usize> {
        let range = self.span.of(set, self.backwards);
        if matches!(self.span, Span::Ranks(..)) {
            return range;
        }
        // A negative offset never ends, and a negative limit is none.
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let len = range.len().saturating_sub(skipped);
        let len = len.min(usize::try_from(self.limit).unwrap_or(usize::MAX));
        if len == 0 {
            0..0
        } else if self.backwards {
            let end = range.end - skipped;
            end - len..end
        } else {
            let start = range.start + skipped;
            start..start + len
        }
    }
}

pub(super) fn zrange(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    range(cx, args, None)
}

pub(super) fn zrevrange(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    range(cx, args, Some((Kind::Ranks, true)))
}

pub(super) fn zrangebyscore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    range(cx, args, Some((Kind::Scores, false)))
}

pub(super) fn zrevrangebyscore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    range(cx, args, Some((Kind::Scores, true)))
}

pub(super) fn zrangebylex(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    range(cx, args, Some((Kind::Members, false)))
}

pub(super) fn zrevrangebylex(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    range(cx, args, Some((Kind::Members, true)))
}

fn range(cx: &mut Context<'_>, args: Args<'_>, given: Option<(Kind, bool)>) -> Reply {
    let query = Query::read(&args[2..], given, false)?;
    let Some(set) = cx.structure::<SortedSet>(args[1])? else {
        return Ok(Value::Array(Vec::new()));
    };
    let range = query.of(set);
    let nested = cx.session.protocol != ProtocolVersion::RESP2;
    let per_member = if query.with_scores && !nested { 2 } else { 1 };
    let mut elements = cx.elements(Form::Array, range.len().saturating_mul(per_member));
    let add = |(member, score): (&[u8], f64)| match (query.with_scores, nested) {
        (false, _) => elements.bulk(member),
        (true, true) => elements.pair(member, score),
        (true, false) => {
            elements.bulk(member);
            elements.double(score);
        }
    };
    let found = set.range(range);
    if query.backwards {
        found.rev().for_each(add);
    } else {
        found.for_each(add);
    }
    elements.reply()
}

pub(super) fn zrangestore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let query = Query::read(&args[3..], None, true)?;
    let set = cx.structure::<SortedSet>(args[2])?;
    let found = set.map_or(Vec::new(), |set| set.range(query.of(set)).collect());
    let result = SortedSet::of(found, &cx.compact());
    let len = result.len();
    cx.store(args[1], result, Class::SORTED_SET, "zrangestore");
    Ok(count(len))
}

pub(super) fn zcount(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    count_range(cx, args, Kind::Scores)
}

pub(super) fn zlexcount(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    count_range(cx, args, Kind::Members)
}

fn count_range(cx: &mut Context<'_>, args: Args<'_>, kind: Kind) -> Reply {
    let span = Span::read(kind, args[2], args[3])?;
    let set = cx.structure::<SortedSet>(args[1])?;
    Ok(count(set.map_or(0, |set| span.of(set, false).len())))
}

pub(super) fn zremrangebyrank(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    remove_range(cx, args, Kind::Ranks, "zremrangebyrank")
}

pub(super) fn zremrangebyscore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    remove_range(cx, args, Kind::Scores, "zremrangebyscore")
}

pub(super) fn zremrangebylex(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    remove_range(cx, args, Kind::Members, "zremrangebylex")
}

fn remove_range(cx: &mut Context<'_>, args: Args<'_>, kind: Kind, event: &'static str) -> Reply {
    let span = Span::read(kind, args[2], args[3])?;
    let removed = cx.change(args[1], |set: &mut SortedSet| {
        let range = span.of(set, false);
        let removed = range.len();
        set.remove_range(range);
        Change::when(removed > 0, removed).notify(Class::SORTED_SET, event)
    })?;
    Ok(count(removed.unwrap_or(0)))
}

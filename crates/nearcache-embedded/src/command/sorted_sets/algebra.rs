//! Unions, intersections and differences of sorted sets and sets.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::elements;
use crate::command::Args;
use crate::command::parse::{at_least, float, integer, is};
use crate::context::Context;
use crate::keyspace::entry::Data;
use crate::keyspace::set::{Member, Set};
use crate::keyspace::sorted_set::SortedSet;
use crate::notify::Class;
use crate::reply::{Error, Reply, count};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the scores that a member has in several sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            Aggregate::Min | Aggregate::Max => score,
        }
    }
}

/// Infinities that cancel each other out are zero.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What a command works on. In a set, every member has a score of 1.
#[derive(Clone, Copy)]
enum Source<'s> {
    Nothing,
    Set(&'s Set),
    SortedSet(&'s SortedSet),
}

type Elements<'s> = Vec<(Cow<'s, [u8]>, f64)>;

impl<'s> Source<'s> {
    fn read(cx: &'s Context<'_>, key: &[u8]) -> Result<Self, Error> {
        match cx.read(key).map(|entry| &entry.data) {
            None => Ok(Source::Nothing),
            Some(Data::Set(set)) => Ok(Source::Set(set)),
            Some(Data::SortedSet(set)) => Ok(Source::SortedSet(set)),
            Some(_) => Err(Error::WRONG_TYPE),
        }
    }

    fn len(self) -> usize {
        match self {
            Source::Nothing => 0,
            Source::Set(set) => set.len(),
            Source::SortedSet(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Nothing => None,
            Source::Set(set) => set.contains(Member::Text(member)).then_some(1.0),
            Source::SortedSet(set) => set.score(member),
        }
    }

    fn iter(self) -> impl Iterator<Item = (Cow<'s, [u8]>, f64)> {
        let (set, sorted) = match self {
            Source::Nothing => (None, None),
            Source::Set(set) => (Some(set), None),
            Source::SortedSet(set) => (None, Some(set)),
        };
        let of_set = set
            .into_iter()
            .flat_map(members)
            .map(|member| (member, 1.0));
        let of_sorted = sorted.into_iter().flat_map(SortedSet::iter);
        of_set.chain(of_sorted.map(|(member, score)| (Cow::Borrowed(member), score)))
    }
}

/// A source, and what its scores are multiplied by.
struct Input<'s> {
    source: Source<'s>,
    weight: f64,
}

/// The options after the keys.
struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: usize,
}

/// What a command does with the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Reply,
    Store,
    Count,
}

impl Options {
    fn read(
        mut rest: Args<'_>,
        keys: usize,
        operation: Operation,
        purpose: Purpose,
    ) -> Result<Self, Error> {
        const NO_WEIGHT: Error = Error::new("ERR weight value is not a float");
        const NO_LIMIT: Error = Error::new("ERR LIMIT can't be negative");
        let mut options = Options {
            weights: vec![1.0; keys],
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        let combines = operation != Operation::Difference && purpose != Purpose::Count;
        while let [option, more @ ..] = rest {
            let taken;
            if combines && is(option, "WEIGHTS") && more.len() >= keys {
                for (weight, arg) in options.weights.iter_mut().zip(more) {
                    *weight = float(arg).map_err(|_| NO_WEIGHT)?;
                }
                taken = keys;
            } else if combines && is(option, "AGGREGATE") && !more.is_empty() {
                options.aggregate = match more[0] {
                    arg if is(arg, "SUM") => Aggregate::Sum,
                    arg if is(arg, "MIN") => Aggregate::Min,
                    arg if is(arg, "MAX") => Aggregate::Max,
                    _ => return Err(Error::SYNTAX),
                };
                taken = 1;
            } else if purpose == Purpose::Reply && is(option, "WITHSCORES") {
                options.with_scores = true;
                taken = 0;
            } else if purpose == Purpose::Count && is(option, "LIMIT") && !more.is_empty() {
                options.limit = at_least(0, more[0], NO_LIMIT)?;
                taken = 1;
            } else {
                return Err(Error::SYNTAX);
            }
            rest = &more[taken..];
        }
        Ok(options)
    }
}

/// Reads the arguments from the number of keys on, and the sources.
fn read<'s>(
    cx: &'s Context<'_>,
    command: &str,
    args: Args<'_>,
    operation: Operation,
    purpose: Purpose,
) -> Result<(Vec<Input<'s>>, Options), Error> {
    let keys = integer(args[0])?;
    if keys < 1 {
        let text = format!("ERR at least 1 input key is needed for '{command}' command");
        return Err(Error::from(text));
    }
    let keys = usize::try_from(keys).unwrap_or(usize::MAX);
    let args = &args[1..];
    if keys > args.len() {
        return Err(Error::SYNTAX);
    }
    let (keys, rest) = args.split_at(keys);
    let sources = keys
        .iter()
        .map(|key| Source::read(cx, key))
        .collect::<Result<Vec<_>, Error>>()?;
    let options = Options::read(rest, keys.len(), operation, purpose)?;
    let mut inputs: Vec<Input<'_>> = sources
        .into_iter()
        .zip(&options.weights)
        .map(|(source, weight)| Input {
            source,
            weight: *weight,
        })
        .collect();
    if operation != Operation::Difference {
        // The order in which scores are added up shows in their last digits.
        inputs.sort_by_key(|input| input.source.len());
    }
    Ok((inputs, options))
}

fn combine<'s>(operation: Operation, inputs: &[Input<'s>], aggregate: Aggregate) -> Elements<'s> {
    match operation {
        Operation::Union => union(inputs, aggregate),
        Operation::Intersection => intersection(inputs, aggregate).collect(),
        Operation::Difference => difference(inputs),
    }
}

fn union<'s>(inputs: &[Input<'s>], aggregate: Aggregate) -> Elements<'s> {
    let largest = inputs.iter().map(|input| input.source.len()).max();
    let hasher = RandomState::default();
    let mut found: HashMap<Cow<'s, [u8]>, f64, _> =
        HashMap::with_capacity_and_hasher(largest.unwrap_or(0), hasher);
    for input in inputs {
        for (member, score) in input.source.iter() {
            let score = number(input.weight * score);
            found
                .entry(member)
                .and_modify(|sum| *sum = aggregate.of(*sum, score))
                .or_insert(score);
        }
    }
    found.into_iter().collect()
}

fn intersection<'i, 's>(
    inputs: &'i [Input<'s>],
    aggregate: Aggregate,
) -> impl Iterator<Item = (Cow<'s, [u8]>, f64)> + use<'i, 's> {
    let (first, others) = inputs
        .split_first()
        .map_or((None, inputs), |(first, others)| (Some(first), others));
    first.into_iter().flat_map(move |first| {
        first.source.iter().filter_map(move |(member, score)| {
            let start = number(first.weight * score);
            let score = others.iter().try_fold(start, |sum, other| {
                let score = other.source.score(&member)?;
                Some(aggregate.of(sum, score * other.weight))
            })?;
            Some((member, score))
        })
    })
}

fn difference<'s>(inputs: &[Input<'s>]) -> Elements<'s> {
    let Some((first, others)) = inputs.split_first() else {
        return Vec::new();
    };
    let is_alone = |member: &[u8]| {
        others
            .iter()
            .all(|other| other.source.score(member).is_none())
    };
    let elements = first.source.iter();
    elements.filter(|(member, _)| is_alone(member)).collect()
}

fn reply(cx: &mut Context<'_>, args: Args<'_>, command: &str, operation: Operation) -> Reply {
    let (inputs, options) = read(cx, command, &args[1..], operation, Purpose::Reply)?;
    let mut found = combine(operation, &inputs, options.aggregate);
    SortedSet::sort(&mut found);
    let found = found.iter().map(|(member, score)| (&**member, *score));
    Ok(elements(cx.session.protocol, found, options.with_scores))
}

pub(super) fn zunion(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    reply(cx, args, "zunion", Operation::Union)
}

pub(super) fn zinter(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    reply(cx, args, "zinter", Operation::Intersection)
}

pub(super) fn zdiff(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    reply(cx, args, "zdiff", Operation::Difference)
}

pub(super) fn zintercard(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let operation = Operation::Intersection;
    let (inputs, options) = read(cx, "zintercard", &args[1..], operation, Purpose::Count)?;
    let most = if options.limit == 0 {
        usize::MAX
    } else {
        options.limit
    };
    let found = intersection(&inputs, options.aggregate);
    Ok(count(found.take(most).count()))
}

fn store(
    cx: &mut Context<'_>,
    args: Args<'_>,
    command: &'static str,
    operation: Operation,
) -> Reply {
    let (inputs, options) = read(cx, command, &args[2..], operation, Purpose::Store)?;
    let found = combine(operation, &inputs, options.aggregate);
    let found = found.iter().map(|(member, score)| (&**member, *score));
    let result = SortedSet::of(found.collect(), &cx.compact());
    let len = result.len();
    cx.store(args[1], result, Class::SORTED_SET, command);
    Ok(count(len))
}

pub(super) fn zunionstore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    store(cx, args, "zunionstore", Operation::Union)
}

pub(super) fn zinterstore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    store(cx, args, "zinterstore", Operation::Intersection)
}

pub(super) fn zdiffstore(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    store(cx, args, "zdiffstore", Operation::Difference)
}

fn members(set: &Set) -> impl Iterator<Item = Cow<'_, [u8]>> {
    set.iter().map(|member| match member {
        Member::Text(text) => Cow::Borrowed(text),
        Member::Integer(_) => Cow::Owned(member.to_vec()),
    })
}

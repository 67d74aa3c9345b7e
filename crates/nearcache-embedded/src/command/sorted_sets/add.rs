//! `ZADD` and `ZINCRBY`.

use redis::Value;

use crate::command::Args;
use crate::command::parse::{float, is};
use crate::context::{Change, Context};
use crate::keyspace::sorted_set::SortedSet;
use crate::notify::Class;
use crate::reply::{Error, Reply, count, double};

/// Which elements are added or changed, and what the reply counts.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::command) struct Rules {
    pub(in crate::command) if_absent: bool,
    pub(in crate::command) if_present: bool,
    if_greater: bool,
    if_less: bool,
    /// Whether the reply also counts the scores that have changed.
    pub(in crate::command) count_changed: bool,
    /// Whether the score is added to the one that is there.
    increment: bool,
}

pub(super) fn zadd(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    read_and_add(cx, args, Rules::default())
}

pub(super) fn zincrby(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let rules = Rules {
        increment: true,
        ..Rules::default()
    };
    read_and_add(cx, args, rules)
}

fn read_and_add(cx: &mut Context<'_>, args: Args<'_>, mut rules: Rules) -> Reply {
    let mut rest = &args[2..];
    while let Some(option) = rest.first() {
        match () {
            () if is(option, "NX") => rules.if_absent = true,
            () if is(option, "XX") => rules.if_present = true,
            () if is(option, "CH") => rules.count_changed = true,
            () if is(option, "INCR") => rules.increment = true,
            () if is(option, "GT") => rules.if_greater = true,
            () if is(option, "LT") => rules.if_less = true,
            () => break,
        }
        rest = &rest[1..];
    }
    if rest.is_empty() || !rest.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    rules.check(rest.len() / 2)?;
    let pairs = rest
        .chunks_exact(2)
        .map(|pair| Ok((float(pair[0])?, pair[1])))
        .collect::<Result<Vec<_>, Error>>()?;
    add(cx, args[1], &pairs, rules)
}

impl Rules {
    fn check(self, pairs: usize) -> Result<(), Error> {
        const NX_XX: Error =
            Error::new("ERR XX and NX options at the same time are not compatible");
        const GT_LT_NX: Error =
            Error::new("ERR GT, LT, and/or NX options at the same time are not compatible");
        const ONE_PAIR: Error =
            Error::new("ERR INCR option supports a single increment-element pair");
        if self.if_absent && self.if_present {
            return Err(NX_XX);
        }
        if self.if_greater && self.if_less || self.if_absent && (self.if_greater || self.if_less) {
            return Err(GT_LT_NX);
        }
        if self.increment && pairs > 1 {
            return Err(ONE_PAIR);
        }
        Ok(())
    }

    /// What becomes of a score.
    fn decide(self, old: Option<f64>, score: f64) -> Verdict {
        let Some(old) = old else {
            return if self.if_present {
                Verdict::Refused
            } else {
                Verdict::Added(score)
            };
        };
        if self.if_absent {
            return Verdict::Refused;
        }
        let score = if self.increment { old + score } else { score };
        if score.is_nan() {
            return Verdict::NotANumber;
        }
        if self.if_less && score >= old || self.if_greater && score <= old {
            return Verdict::Refused;
        }
        if score == old {
            Verdict::Kept(score)
        } else {
            Verdict::Changed(score)
        }
    }
}

#[derive(Clone, Copy)]
enum Verdict {
    Refused,
    NotANumber,
    Added(f64),
    Changed(f64),
    Kept(f64),
}

/// What was done to a set.
#[derive(Default)]
struct Done {
    added: usize,
    changed: usize,
    /// The last score that was not refused.
    score: Option<f64>,
    not_a_number: bool,
}

/// Adds scores and members to the set at a key.
pub(in crate::command) fn add(
    cx: &mut Context<'_>,
    key: &[u8],
    pairs: &[(f64, &[u8])],
    rules: Rules,
) -> Reply {
    const NOT_A_NUMBER: Error = Error::new("ERR resulting score is not a number (NaN)");
    let limits = cx.compact();
    let event = if rules.increment { "zincr" } else { "zadd" };
    let done = cx.change_or_make(key, |set: &mut SortedSet| {
        let mut done = Done::default();
        for (score, member) in pairs {
            set.change(member, &limits, |old| {
                let verdict = rules.decide(old, *score);
                match verdict {
                    Verdict::Refused => return None,
                    Verdict::NotANumber => {
                        done.not_a_number = true;
                        return None;
                    }
                    Verdict::Added(_) => done.added += 1,
                    Verdict::Changed(_) => done.changed += 1,
                    Verdict::Kept(_) => {}
                }
                let (Verdict::Added(score) | Verdict::Changed(score) | Verdict::Kept(score)) =
                    verdict
                else {
                    return None;
                };
                done.score = Some(score);
                done.score
            });
        }
        let changed = done.added + done.changed > 0;
        Change::when(changed, done).notify(Class::SORTED_SET, event)
    })?;
    if done.not_a_number {
        return Err(NOT_A_NUMBER);
    }
    if rules.increment {
        let score = done.score;
        return Ok(score.map_or(Value::Nil, |score| double(cx.session.protocol, score)));
    }
    let changed = if rules.count_changed { done.changed } else { 0 };
    Ok(count(done.added + changed))
}

//! `XPENDING`, `XCLAIM` and `XAUTOCLAIM`: what is delivered and not acknowledged, and who has it.

use redis::Value;

use super::super::Args;
use super::super::parse::{integer, is};
use super::{entry, id, log_claim, log_position, no_group, parse};
use crate::context::{Change, Context};
use crate::keyspace::stream::{Deliveries, Entries, Group, Id, Pending, Stream};
use crate::notify::Class;
use crate::reply::{Error, Reply, bulk, count};

pub(super) fn xpending(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let range = match args.len() {
        3 => None,
        6..=9 => Some(Range::read(args)?),
        _ => return Err(Error::SYNTAX),
    };
    let stream = cx.structure::<Stream>(args[1])?;
    let group = stream
        .and_then(|stream| stream.group(args[2]))
        .ok_or_else(|| no_group(args[1], args[2], ""))?;
    match range {
        None => Ok(summary(group)),
        Some(range) => Ok(range.of(group, cx.now())),
    }
}

/// How many there are, from which id to which, and how many each consumer has.
fn summary(group: &Group) -> Value {
    let pending = group.pending();
    let (Some((first, _)), Some((last, _))) = (pending.first_key_value(), pending.last_key_value())
    else {
        return Value::Array(vec![Value::Int(0), Value::Nil, Value::Nil, Value::Nil]);
    };
    let busy = group
        .consumers()
        .iter()
        .filter(|(_, consumer)| consumer.pending() > 0);
    let consumers = busy.map(|(name, consumer)| {
        let pending = itoa::Buffer::new().format(consumer.pending()).to_owned();
        Value::Array(vec![bulk(name), bulk(pending.as_bytes())])
    });
    Value::Array(vec![
        count(pending.len()),
        id(*first),
        id(*last),
        Value::Array(consumers.collect()),
    ])
}

/// Which of the pending entries `XPENDING` shows.
struct Range<'a> {
    min_idle: i64,
    start: Id,
    end: Id,
    most: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Range<'a> {
    fn read(args: Args<'a>) -> Result<Self, Error> {
        let (min_idle, at) = if is(args[3], "IDLE") {
            let min_idle = integer(args[4])?;
            if args.len() < 8 {
                return Err(Error::SYNTAX);
            }
            (min_idle, 5)
        } else {
            (0, 3)
        };
        let most = usize::try_from(integer(args[at + 2])?).unwrap_or(0);
        Ok(Range {
            min_idle,
            start: parse::start(args[at])?,
            end: parse::end(args[at + 1])?,
            most,
            consumer: args.get(at + 3).copied(),
        })
    }

    fn of(&self, group: &Group, now: i64) -> Value {
        let idle = |pending: &Pending| now.saturating_sub(pending.delivered);
        let show = |(at, pending): (Id, &Pending)| {
            Value::Array(vec![
                id(at),
                bulk(&pending.consumer),
                Value::Int(idle(pending).max(0)),
                Value::Int(pending.deliveries),
            ])
        };
        let fits = |(at, pending): (Id, &Pending)| {
            let shown = self.min_idle == 0 || idle(pending) >= self.min_idle;
            shown.then(|| show((at, pending)))
        };
        let until_end = |at: &Id| *at <= self.end;
        let Some(name) = self.consumer else {
            let all = group.pending().range(self.start..);
            let all = all.map(|(at, pending)| (*at, pending));
            let shown = all.take_while(|(at, _)| until_end(at)).filter_map(fits);
            return Value::Array(shown.take(self.most).collect());
        };
        let Some(consumer) = group.consumer(name) else {
            return Value::Array(Vec::new());
        };
        let own = consumer.from(self.start).take_while(until_end);
        let own = own.filter_map(|at| Some((at, group.pending().get(&at)?)));
        Value::Array(own.filter_map(fits).take(self.most).collect())
    }
}

/// What a claim has done.
#[derive(Default)]
struct Claimed {
    replies: Vec<Value>,
    /// The entries that have become, or are no longer, pending.
    log: Vec<(Id, Pending)>,
    /// Whether the consumer is new.
    created: bool,
    seen: bool,
    /// Whether the group's position was moved.
    moved: bool,
    last_id: Id,
    entries_read: Option<i64>,
}

impl Claimed {
    /// Gives an entry to a consumer.
    fn claim(&mut self, group: &mut Group, claim: &Claim<'_>, at: Id, reply: Value) {
        if !self.seen {
            self.seen = true;
            self.created = group.see(claim.consumer, claim.now);
        }
        group.assign(at, claim.consumer, claim.delivered, claim.deliveries);
        self.replies.push(reply);
        if let Some(pending) = group.pending().get(&at) {
            self.log.push((at, pending.clone()));
        }
    }

    /// Forgets an entry that was deleted.
    fn forget(&mut self, group: &mut Group, at: Id) -> bool {
        let released = group.release(at);
        let was_pending = released.is_some();
        self.log.extend(released.map(|pending| (at, pending)));
        was_pending
    }
}

/// How entries are claimed.
struct Claim<'a> {
    consumer: &'a [u8],
    min_idle: i64,
    now: i64,
    /// When they are said to have been delivered.
    delivered: i64,
    deliveries: Deliveries,
    /// Whether only ids are replied.
    just_id: bool,
}

impl Claim<'_> {
    fn is_idle(&self, pending: &Pending) -> bool {
        self.min_idle == 0 || self.now.saturating_sub(pending.delivered) >= self.min_idle
    }
}

/// Claims entries of a group that exists, and logs what was done.
fn claim(
    cx: &mut Context<'_>,
    args: Args<'_>,
    claim: impl FnOnce(&mut Group, &Entries, &mut Claimed),
) -> Result<Vec<Value>, Error> {
    let (key, name) = (args[1], args[2]);
    let claimed = cx.change(key, |stream: &mut Stream| {
        let claimed = stream.edit_group(name, |group, entries| {
            let mut claimed = Claimed::default();
            claim(group, entries, &mut claimed);
            claimed.last_id = group.last_id;
            claimed.entries_read = group.entries_read;
            claimed
        });
        let claimed = claimed.unwrap_or_default();
        let created = claimed.created;
        let changed = claimed.moved || !claimed.log.is_empty();
        let change = Change::when(changed, claimed).quietly();
        if created {
            change.notify(Class::STREAM, "xgroup-createconsumer")
        } else {
            change
        }
    })?;
    let claimed = claimed.unwrap_or_default();
    for (at, pending) in &claimed.log {
        log_claim(cx, key, name, *at, pending, claimed.last_id);
    }
    if claimed.moved && claimed.log.is_empty() {
        log_position(cx, key, name, claimed.last_id, claimed.entries_read);
    }
    Ok(claimed.replies)
}

fn need_group(cx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let stream = cx.structure::<Stream>(args[1])?;
    if stream.is_none() {
        cx.notify(Class::KEY_MISS, "keymiss", args[1]);
    }
    let group = stream.and_then(|stream| stream.group(args[2]));
    group.map_or_else(|| Err(no_group(args[1], args[2], "")), |_| Ok(()))
}

/// The options of `XCLAIM`.
struct Options {
    delivered: Option<i64>,
    deliveries: Option<i64>,
    force: bool,
    just_id: bool,
    last_id: Id,
}

impl Options {
    fn read(args: Args<'_>, now: i64) -> Result<Self, Error> {
        const IDLE: Error = Error::new("ERR Invalid IDLE option argument for XCLAIM");
        const TIME: Error = Error::new("ERR Invalid TIME option argument for XCLAIM");
        const RETRIES: Error = Error::new("ERR Invalid RETRYCOUNT option argument for XCLAIM");
        let mut options = Options {
            delivered: None,
            deliveries: None,
            force: false,
            just_id: false,
            last_id: Id::MIN,
        };
        let mut rest = args.iter();
        while let Some(option) = rest.next() {
            let value = rest.as_slice().first().copied();
            match value {
                _ if is(option, "FORCE") => {
                    options.force = true;
                    continue;
                }
                _ if is(option, "JUSTID") => {
                    options.just_id = true;
                    continue;
                }
                Some(value) if is(option, "IDLE") => {
                    let idle = integer(value).map_err(|_| IDLE)?;
                    options.delivered = Some(now.wrapping_sub(idle));
                }
                Some(value) if is(option, "TIME") => {
                    options.delivered = Some(integer(value).map_err(|_| TIME)?);
                }
                Some(value) if is(option, "RETRYCOUNT") => {
                    options.deliveries = Some(integer(value).map_err(|_| RETRIES)?);
                }
                Some(value) if is(option, "LASTID") => options.last_id = parse::id(value, 0)?,
                _ => {
                    return Err(Error::from(format!(
                        "ERR Unrecognized XCLAIM option '{}'",
                        super::excerpt(option, usize::MAX)
                    )));
                }
            }
            rest.next();
        }
        Ok(options)
    }
}

pub(super) fn xclaim(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const NO_IDLE: Error = Error::new("ERR Invalid min-idle-time argument for XCLAIM");
    need_group(cx, args)?;
    let min_idle = integer(args[4]).map_err(|_| NO_IDLE)?.max(0);
    // What is no id begins the options.
    let ids = args[5..].iter().map_while(|arg| parse::id(arg, 0).ok());
    let ids: Vec<Id> = ids.collect();
    let now = cx.now();
    let options = Options::read(&args[5 + ids.len()..], now)?;
    let how = Claim {
        consumer: args[3],
        min_idle,
        now,
        // A time that cannot be is as good as none.
        delivered: options
            .delivered
            .filter(|delivered| (0..=now).contains(delivered))
            .unwrap_or(now),
        deliveries: match options.deliveries {
            Some(count @ 0..) => Deliveries::Exactly(count),
            _ if options.just_id => Deliveries::Same,
            _ => Deliveries::OneMore,
        },
        just_id: options.just_id,
    };
    let replies = claim(cx, args, |group, entries, claimed| {
        if options.last_id > group.last_id {
            group.last_id = options.last_id;
            claimed.moved = true;
        }
        for at in ids {
            let Some(found) = entries.get(at) else {
                claimed.forget(group, at);
                continue;
            };
            let claims = match group.pending().get(&at) {
                None => options.force,
                Some(pending) => how.is_idle(pending),
            };
            if claims {
                let reply = if how.just_id { id(at) } else { entry(found) };
                claimed.claim(group, &how, at, reply);
            }
        }
    })?;
    Ok(Value::Array(replies))
}

/// How many entries `XAUTOCLAIM` claims if nothing else is said, and how many it looks at for each of them.
const USUAL_COUNT: usize = 100;
const LOOKS: usize = 10;

pub(super) fn xautoclaim(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const NO_IDLE: Error = Error::new("ERR Invalid min-idle-time argument for XAUTOCLAIM");
    let min_idle = integer(args[4]).map_err(|_| NO_IDLE)?.max(0);
    let start = parse::start(args[5])?;
    let (most, just_id) = autoclaim_options(&args[6..])?;
    need_group(cx, args)?;
    let now = cx.now();
    let how = Claim {
        consumer: args[3],
        min_idle,
        now,
        delivered: now,
        deliveries: if just_id {
            Deliveries::Same
        } else {
            Deliveries::OneMore
        },
        just_id,
    };
    let mut deleted = Vec::new();
    let mut next = Some(start);
    let replies = claim(cx, args, |group, entries, claimed| {
        let following = |group: &Group, next: Option<Id>| {
            let (at, pending) = group.pending().range(next?..).next()?;
            Some((*at, how.is_idle(pending)))
        };
        let (mut looks, mut left) = (most.saturating_mul(LOOKS), most);
        while looks > 0 && left > 0 {
            looks -= 1;
            let Some((at, is_idle)) = following(group, next) else {
                break;
            };
            next = at.next();
            match entries.get(at) {
                None => {
                    claimed.forget(group, at);
                    deleted.push(id(at));
                    left -= 1;
                }
                Some(found) if is_idle => {
                    let reply = if just_id { id(at) } else { entry(found) };
                    claimed.claim(group, &how, at, reply);
                    left -= 1;
                }
                Some(_) => {}
            }
        }
        next = following(group, next).map(|(at, _)| at);
    })?;
    Ok(Value::Array(vec![
        id(next.unwrap_or_default()),
        Value::Array(replies),
        Value::Array(deleted),
    ]))
}

fn autoclaim_options(args: Args<'_>) -> Result<(usize, bool), Error> {
    const OUT_OF_RANGE: Error = Error::new("ERR COUNT must be > 0");
    const MOST: i64 = i64::MAX / 16;
    let (mut most, mut just_id) = (USUAL_COUNT, false);
    let mut rest = args.iter();
    while let Some(option) = rest.next() {
        if is(option, "JUSTID") {
            just_id = true;
        } else if is(option, "COUNT")
            && let Some(number) = rest.next()
        {
            most = match integer(number) {
                Ok(number @ 1..=MOST) => number as usize,
                _ => return Err(OUT_OF_RANGE),
            };
        } else {
            return Err(Error::SYNTAX);
        }
    }
    Ok((most, just_id))
}

//! `XREAD` and `XREADGROUP`: entries that are new to a reader, of several streams, now or when they come.
//!
//! What waits is tried again in a plain form, in which `$` is the id that it stood for; and only at the key that has
//! changed. A reader of a group that waits is told when its stream or its group is gone; others wait for another one.

use redis::{ProtocolVersion, Value};

use super::super::parse::{integer, is};
use super::super::waiting::deadline_in_millis;
use super::super::{Args, excerpt};
use super::parse::{self, until_nul};
use super::{entry, id, log_claim, log_position, no_group};
use crate::context::{Change, Context, Logged};
use crate::keyspace::stream::{Deliveries, Entries, Group, Id, Pending, Stream};
use crate::notify::Class;
use crate::reply::{Error, Reply, bulk};

/// How many entries a reader gets at most after it has waited, if it has not said.
const USUAL_COUNT: usize = 1000;

/// Stands for the last entry that the group was delivered.
const NEW: Id = Id::MAX;

struct Request<'a> {
    most: Option<usize>,
    /// Until when it waits: not at all, for ever, or until then.
    waits: Option<Option<i64>>,
    reader: Option<Reader<'a>>,
    keys: Args<'a>,
    ids: Args<'a>,
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    /// Whether entries count as acknowledged when they are delivered.
    no_ack: bool,
}

pub(super) fn xread(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let request = Request::read(cx, args, false)?;
    let Some(ready) = cx.ready else {
        return read(cx, &request);
    };
    let mut pairs = request.keys.iter().zip(request.ids);
    let at = pairs.find(|(key, _)| **key == ready).map(|(_, id)| *id);
    if let Some(at) = at
        && let Ok(Some(stream)) = cx.structure::<Stream>(ready)
        && let after = parse::id(at, 0)?
        && stream.entries.top() > Some(after)
    {
        let found = request.after(&stream.entries, after);
        return Ok(request.reply(cx, vec![(bulk(ready), found)]));
    }
    cx.wait_for(&[ready], None)
}

pub(super) fn xreadgroup(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const NO_STREAM: Error = Error::new("UNBLOCKED the stream key no longer exists");
    const NO_GROUP: Error =
        Error::new("NOGROUP the consumer group this client was blocked on no longer exists");
    let request = Request::read(cx, args, true)?;
    let Some(reader) = request.reader else {
        return Err(Error::new("ERR Missing GROUP option for XREADGROUP"));
    };
    let Some(ready) = cx.ready else {
        return read(cx, &request);
    };
    let stream = cx.structure::<Stream>(ready).ok().flatten();
    let stream = stream.ok_or(NO_STREAM)?;
    let group = stream.group(reader.group).ok_or(NO_GROUP)?;
    if stream.entries.top() > Some(group.last_id) {
        let found = deliver(cx, reader, ready, NEW, request.limit(cx))?;
        return Ok(request.reply(cx, vec![(bulk(ready), found)]));
    }
    cx.wait_for(&[ready], None)
}

fn read(cx: &mut Context<'_>, request: &Request<'_>) -> Reply {
    let starts = request.starts(cx)?;
    let mut found = Vec::new();
    for (key, after) in request.keys.iter().zip(&starts) {
        let Some(stream) = cx.structure::<Stream>(key)? else {
            continue;
        };
        let top = stream.entries.top();
        let entries = match request.reader {
            None if top > Some(*after) => request.after(&stream.entries, *after),
            Some(reader)
                if *after != NEW
                    || stream
                        .group(reader.group)
                        .is_some_and(|group| top > Some(group.last_id)) =>
            {
                deliver(cx, reader, key, *after, request.limit(cx))?
            }
            _ => continue,
        };
        found.push((bulk(key), entries));
    }
    if !found.is_empty() {
        return Ok(request.reply(cx, found));
    }
    let Some(deadline) = request.waits else {
        return Ok(Value::Nil);
    };
    let mut keys = request.keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    let again = if cx.may_wait {
        Some(request.again(&starts))
    } else {
        None
    };
    cx.wait_as(&keys, deadline, again)
}

impl<'a> Request<'a> {
    fn read(cx: &Context<'_>, args: Args<'a>, of_group: bool) -> Result<Self, Error> {
        const UNBALANCED: Error = Error::new(
            "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
        );
        const NO_GROUPS: Error = Error::new(
            "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
        );
        const NO_NOACK: Error = Error::new(
            "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
        );
        let (mut most, mut waits, mut group, mut no_ack) = (None, None, None, false);
        let mut at = 1;
        let streams = loop {
            let Some(option) = args.get(at) else {
                return Err(Error::SYNTAX);
            };
            let values = &args[at + 1..];
            match values {
                [timeout, ..] if is(option, "BLOCK") => {
                    if cx.in_script {
                        return Err(Error::from(format!(
                            "ERR {} command is not allowed with BLOCK option from scripts",
                            excerpt(args[0], usize::MAX)
                        )));
                    }
                    waits = Some(deadline_in_millis(cx, timeout)?);
                    at += 1;
                }
                [number, ..] if is(option, "COUNT") => {
                    most = usize::try_from(integer(number)?)
                        .ok()
                        .filter(|most| *most > 0);
                    at += 1;
                }
                [_, ..] if is(option, "STREAMS") => {
                    if !values.len().is_multiple_of(2) {
                        return Err(UNBALANCED);
                    }
                    break values;
                }
                [name, consumer, ..] if is(option, "GROUP") => {
                    if !of_group {
                        return Err(NO_GROUPS);
                    }
                    group = Some((*name, *consumer));
                    at += 2;
                }
                _ if is(option, "NOACK") => {
                    if !of_group {
                        return Err(NO_NOACK);
                    }
                    no_ack = true;
                }
                _ => return Err(Error::SYNTAX),
            }
            at += 1;
        };
        let (keys, ids) = streams.split_at(streams.len() / 2);
        let reader = group.map(|(group, consumer)| Reader {
            group,
            consumer,
            no_ack,
        });
        Ok(Request {
            most,
            waits,
            reader,
            keys,
            ids,
        })
    }

    /// After which ids the streams are read.
    fn starts(&self, cx: &Context<'_>) -> Result<Vec<Id>, Error> {
        const NO_END: Error = Error::new(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
        );
        const NO_NEW: Error = Error::new(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        );
        let mut starts = Vec::with_capacity(self.ids.len());
        for (key, at) in self.keys.iter().zip(self.ids) {
            let stream = cx.structure::<Stream>(key)?;
            if let Some(reader) = self.reader {
                if stream.is_none() {
                    cx.notify(Class::KEY_MISS, "keymiss", key);
                }
                let group = stream.and_then(|stream| stream.group(reader.group));
                group.ok_or_else(|| {
                    no_group(key, reader.group, " in XREADGROUP with GROUP option")
                })?;
            }
            starts.push(match until_nul(at) {
                b"$" if self.reader.is_some() => return Err(NO_END),
                b"$" => stream.map_or(Id::MIN, |stream| stream.entries.last_id),
                b">" if self.reader.is_none() => return Err(NO_NEW),
                b">" => NEW,
                _ => parse::id(at, 0)?,
            });
        }
        Ok(starts)
    }

    /// How many entries of a stream are returned at most.
    fn limit(&self, cx: &Context<'_>) -> usize {
        match self.most {
            Some(most) => most,
            None if cx.ready.is_some() => USUAL_COUNT,
            None => usize::MAX,
        }
    }

    /// The entries after an id.
    fn after(&self, entries: &Entries, after: Id) -> Value {
        let Some(start) = after.next() else {
            return Value::Array(Vec::new());
        };
        let found = entries.range(start, Id::MAX);
        Value::Array(
            found
                .take(self.most.unwrap_or(usize::MAX))
                .map(entry)
                .collect(),
        )
    }

    fn reply(&self, cx: &Context<'_>, found: Vec<(Value, Value)>) -> Value {
        match cx.session.protocol {
            ProtocolVersion::RESP2 => {
                let found = found.into_iter();
                Value::Array(
                    found
                        .map(|(key, entries)| Value::Array(vec![key, entries]))
                        .collect(),
                )
            }
            _ => Value::Map(found),
        }
    }

    /// The command that is tried again when there is something new.
    fn again(&self, starts: &[Id]) -> Logged {
        let mut args: Logged = Vec::new();
        let mut push = |arg: &[u8]| args.push(arg.into());
        if let Some(reader) = self.reader {
            for arg in [b"XREADGROUP", &b"GROUP"[..], reader.group, reader.consumer] {
                push(arg);
            }
            if reader.no_ack {
                push(b"NOACK");
            }
        } else {
            push(b"XREAD");
        }
        let most = self.most.unwrap_or(USUAL_COUNT);
        push(b"COUNT");
        push(itoa::Buffer::new().format(most).as_bytes());
        push(b"BLOCK");
        push(b"0");
        push(b"STREAMS");
        self.keys.iter().for_each(|key| push(key));
        for start in starts {
            if self.reader.is_some() {
                push(b">");
            } else {
                push(&start.text());
            }
        }
        args
    }
}

/// What a delivery has done.
#[derive(Default)]
struct Delivered {
    replies: Vec<Value>,
    created: bool,
    /// The entries that have become pending, or were delivered again.
    log: Vec<(Id, Pending)>,
    moved: bool,
    last_id: Id,
    entries_read: Option<i64>,
}

/// Delivers entries of a stream to a consumer of a group that exists: new ones, or its pending ones after an id.
fn deliver(
    cx: &mut Context<'_>,
    reader: Reader<'_>,
    key: &[u8],
    after: Id,
    most: usize,
) -> Result<Value, Error> {
    let now = cx.now();
    let delivered = cx.change(key, |stream: &mut Stream| {
        let delivered = stream.edit_group(reader.group, |group, entries| {
            let mut delivered = Delivered {
                created: group.see(reader.consumer, now),
                ..Delivered::default()
            };
            if after == NEW {
                delivered.deliver_new(group, entries, reader, now, most);
            } else {
                delivered.deliver_again(group, entries, reader, now, after, most);
            }
            delivered.last_id = group.last_id;
            delivered.entries_read = group.entries_read;
            delivered
        });
        let delivered = delivered.unwrap_or_default();
        let created = delivered.created;
        let changed = created || delivered.moved || !delivered.log.is_empty();
        let change = Change::when(changed, delivered).quietly();
        if created {
            change.notify(Class::STREAM, "xgroup-createconsumer")
        } else {
            change
        }
    })?;
    let delivered = delivered.unwrap_or_default();
    delivered.log(cx, key, reader);
    Ok(Value::Array(delivered.replies))
}

impl Delivered {
    fn deliver_new(
        &mut self,
        group: &mut Group,
        entries: &Entries,
        reader: Reader<'_>,
        now: i64,
        most: usize,
    ) {
        let Some(start) = group.last_id.next() else {
            return;
        };
        for found in entries.range(start, Id::MAX).take(most) {
            let at = found.id;
            self.moved |= group.advance(entries, at);
            self.replies.push(entry(found));
            if !reader.no_ack {
                self.assign(group, reader, at, now, Deliveries::Exactly(1));
            }
        }
    }

    fn deliver_again(
        &mut self,
        group: &mut Group,
        entries: &Entries,
        reader: Reader<'_>,
        now: i64,
        after: Id,
        most: usize,
    ) {
        let (Some(consumer), Some(start)) = (group.consumer(reader.consumer), after.next()) else {
            return;
        };
        let own: Vec<Id> = consumer.from(start).take(most).collect();
        for at in own {
            let Some(found) = entries.get(at) else {
                // It was deleted, and is shown without its fields.
                self.replies.push(Value::Array(vec![id(at), Value::Nil]));
                continue;
            };
            self.replies.push(entry(found));
            self.assign(group, reader, at, now, Deliveries::OneMore);
        }
    }

    fn assign(
        &mut self,
        group: &mut Group,
        reader: Reader<'_>,
        at: Id,
        now: i64,
        deliveries: Deliveries,
    ) {
        group.assign(at, reader.consumer, now, deliveries);
        let pending = group.pending().get(&at);
        self.log
            .extend(pending.map(|pending| (at, pending.clone())));
    }

    fn log(&self, cx: &mut Context<'_>, key: &[u8], reader: Reader<'_>) {
        if self.created && self.log.is_empty() {
            cx.log_as(&[
                b"XGROUP",
                b"CREATECONSUMER",
                key,
                reader.group,
                reader.consumer,
            ]);
        }
        for (at, pending) in &self.log {
            log_claim(cx, key, reader.group, *at, pending, self.last_id);
        }
        if self.moved {
            log_position(cx, key, reader.group, self.last_id, self.entries_read);
        }
    }
}

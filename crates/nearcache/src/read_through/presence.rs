//! Whether there is an entry: one answer for all verbs.
//!
//! | | `remember` | `get` | every other verb |
//! | --- | --- | --- | --- |
//! | fresh: before its TTL has ended | the value | the value | it is there |
//! | a cached nothing, before its TTL has ended | nothing | nothing | it is there |
//! | stale: its TTL has ended, and it is kept for a while | the value, in its stale window | a miss | it is not there |
//! | dead: a tag was invalidated, or its envelope is damaged | a miss | a miss | it is not there |
//! | foreign: bytes that this version cannot read | a miss | a miss | it is there, and never overwritten or deleted by a verb that only adds or reads |
//!
//! The judgement is [`Entry::is_there`](super::entry::Entry::is_there). Bytes without an envelope need none: the plain
//! command, or the plain part of a script, has the answer. See `change` for how a judgement stays true until the change
//! that depends on it.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::ReadThrough;
use super::change::{HEAD, PUT};
use super::entry::{Entry, Judgement};
use super::read::Of;
use super::tags;
use crate::client::Client;
use crate::client::batch::{parts, unlink_leases};
use crate::client::reply;
use crate::codec::envelope::MAGIC;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::StoredKey;
use crate::script::Input;
use crate::ttl::{Remaining, Ttl};

/// How often a change is tried again because somebody else has changed the entry after it was judged. Each time, the
/// other's change was made. Only an entry whose stale window is moved thousands of times a second comes near this.
const ROUNDS: usize = 64;

/// An entry, or its beginning with the whole envelope; and how long Redis keeps it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) entry: Entry,
    /// `PTTL`: in ms; -1 for ever.
    pub(super) left: i64,
}

impl Found {
    /// The reply of a script that has found an envelope; `None` if it is something else.
    pub(crate) fn from_reply(reply: &Value) -> Option<Self> {
        match reply {
            Value::Array(parts) => match &parts[..] {
                [Value::BulkString(head), Value::Int(left)] => Some(Found {
                    entry: Entry::new(head.clone()),
                    left: *left,
                }),
                _ => None,
            },
            _ => None,
        }
    }

    /// Reads the rest, if the envelope is longer than what was read. Returns false if the entry is gone.
    pub(super) async fn complete(&mut self, core: &ReadThrough, key: &StoredKey) -> Result<bool> {
        if self.entry.is_readable() || self.entry.bytes().len() != HEAD {
            return Ok(true);
        }
        let Some(bytes) = core.get(key, Of::Primary).await? else {
            return Ok(false);
        };
        self.entry = Entry::new(bytes);
        Ok(true)
    }

    /// How long until the value is stale or gone, in ms; -1: never.
    pub(crate) fn fresh_for(&self, now: u64) -> i64 {
        let soft = self.entry.stale_at().map(|soft| soft.saturating_sub(now));
        match (soft, self.left) {
            (Some(soft), left) if left < 0 => i64::try_from(soft).unwrap_or(i64::MAX),
            (Some(soft), left) => left.min(i64::try_from(soft).unwrap_or(i64::MAX)),
            (None, left) => left,
        }
    }
}

/// Under which condition a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Absent,
    Present,
}

impl Condition {
    fn as_bytes(self) -> &'static [u8] {
        match self {
            Condition::Always => b"",
            Condition::Absent => b"NX",
            Condition::Present => b"XX",
        }
    }
}

/// The TTL option of a write, with the default applied.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stay {
    For(Ttl),
    Forever,
    /// The time that the replaced entry had.
    Keep,
}

impl Stay {
    /// The TTL for PUT.
    fn for_put(self) -> i64 {
        match self {
            Stay::For(ttl) => ttl.as_millis().cast_signed(),
            Stay::Forever => 0,
            Stay::Keep => -1,
        }
    }
}

impl ReadThrough {
    /// Stores under a condition, or with the time of the entry that is replaced. Returns whether it stored. In every
    /// case the lease is gone afterwards.
    pub(crate) async fn put(
        &self,
        key: &StoredKey,
        value: &[u8],
        stay: Stay,
        condition: Condition,
    ) -> Result<bool> {
        let ttl = stay.for_put();
        let mut kept = Stay::Forever;
        for _ in 0..ROUNDS {
            let input = put_input(key, value, ttl, condition, (b"", false));
            let reply = match self.client.run(&PUT, &input).await {
                Err(error) if error.kind() == ErrorKind::Denied => {
                    return self.put_without_scripts(key, value, stay, condition).await;
                }
                reply => reply?,
            };
            let Some(mut found) = Found::from_reply(&reply) else {
                return reply::flag("PUT", &reply);
            };
            if !found.complete(self, key).await? {
                continue;
            }
            let judgement = tags::judge(&self.client, &found.entry).await?;
            let there = found.entry.is_there(judgement);
            match condition {
                Condition::Absent if there => return Ok(false),
                Condition::Present if !there => return Ok(false),
                _ => {}
            }
            let ttl = match stay {
                Stay::Keep if !there => 0,
                // One that became stale just now has no time left.
                Stay::Keep if found.entry.stale_at().is_some() => {
                    match found.fresh_for(self.client.unix_millis()) {
                        ..0 => 0,
                        millis => millis.clamp(1, Ttl::MAX.as_millis().cast_signed()),
                    }
                }
                _ => ttl,
            };
            if let Ok(Ok(left)) = u64::try_from(ttl).map(Ttl::from_millis) {
                kept = Stay::For(left);
            }
            let input = put_input(key, value, ttl, condition, found.entry.beginning());
            match self.client.run(&PUT, &input).await? {
                Value::Int(1) => return Ok(true),
                Value::Int(_) => {}
                other => return Err(Error::unexpected("PUT", &other)),
            }
        }
        if condition == Condition::Always {
            // It asks for no condition, only for the time of an entry that changes all the while.
            return self.put_without_scripts(key, value, kept, condition).await;
        }
        Err(Error::new(
            ErrorKind::Overloaded,
            format!("other callers changed the entry {ROUNDS} times while it was to be replaced"),
        )
        .on_host(self.client.host()))
    }

    /// Stores without a judgement: what Redis itself says decides, so a stale or dead entry counts as one.
    async fn put_without_scripts(
        &self,
        key: &StoredKey,
        value: &[u8],
        stay: Stay,
        condition: Condition,
    ) -> Result<bool> {
        let mut set = redis::cmd("SET");
        set.arg(key).arg(value);
        match stay {
            Stay::For(ttl) => drop(set.arg("PX").arg(ttl.as_millis())),
            Stay::Forever => {}
            Stay::Keep => drop(set.arg("KEEPTTL")),
        }
        if condition != Condition::Always {
            set.arg(condition.as_bytes());
        }
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.atomic().add_command(set);
        pipeline.add_command(unlink_leases([key]));
        let replies = self.client.pipeline(&pipeline).await?;
        match replies.into_iter().next() {
            Some(Value::ServerError(error)) => {
                Err(Error::from_server(&error).on_host(self.client.host()))
            }
            stored => reply::stored("SET", &stored.unwrap_or(Value::Int(0))),
        }
    }

    /// The beginning of an entry and its time, in one round trip. `None`: there is nothing. A value of another Redis
    /// type looks like an empty one.
    pub(super) async fn look(&self, key: &StoredKey, of: Of) -> Result<Option<Found>> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("GETRANGE").arg(key).arg(0).arg(HEAD - 1);
        pipeline.cmd("PTTL").arg(key);
        let replies = match of {
            Of::Primary => self.client.pipeline(&pipeline).await?,
            Of::Any => self.client.read_together(&pipeline).await?,
        };
        let mut replies = replies.into_iter();
        let head = match replies.next() {
            Some(Value::BulkString(head)) => head,
            _ => Vec::new(),
        };
        let left = match replies.next() {
            Some(Value::ServerError(error)) => {
                return Err(Error::from_server(&error).on_host(self.client.host()));
            }
            left => reply::integer("PTTL", &left.unwrap_or(Value::Nil))?,
        };
        if left == -2 {
            return Ok(None);
        }
        let entry = Entry::new(head);
        let mut found = Found { entry, left };
        Ok(found.complete(self, key).await?.then_some(found))
    }

    /// Whether there is an entry.
    pub(crate) async fn contains(&self, key: &StoredKey) -> Result<bool> {
        Ok(match self.look(key, Of::Any).await? {
            Some(found) => {
                let judgement = tags::judge(&self.client, &found.entry).await?;
                found.entry.is_there(judgement)
            }
            None => false,
        })
    }

    /// How long an entry stays fresh.
    pub(crate) async fn remaining(&self, key: &StoredKey) -> Result<Remaining> {
        let Some(found) = self.look(key, Of::Any).await? else {
            return Ok(Remaining::Missing);
        };
        let judgement = tags::judge(&self.client, &found.entry).await?;
        if !found.entry.is_there(judgement) {
            return Ok(Remaining::Missing);
        }
        let now = if found.entry.stale_at().is_some() {
            self.client.unix_millis()
        } else {
            0
        };
        Ok(match found.fresh_for(now) {
            ..0 => Remaining::Forever,
            millis => Remaining::In(Duration::from_millis(millis.unsigned_abs())),
        })
    }

    /// Whether bytes that were read of a key are an entry that is there.
    pub(crate) async fn is_there(&self, bytes: Vec<u8>) -> Result<bool> {
        let (entry, judgement) = tags::judge_found(&self.client, Some(Entry::new(bytes))).await?;
        Ok(entry.is_some_and(|entry| entry.is_there(judgement)))
    }
}

fn put_input(
    key: &StoredKey,
    value: &[u8],
    ttl: i64,
    condition: Condition,
    (judged, exactly): (&[u8], bool),
) -> Input {
    let mut input = Input::default();
    input.key(key.as_bytes()).key(&key.lease());
    input.arg(value).arg(ttl.to_string().as_bytes());
    input.arg(condition.as_bytes()).arg(judged);
    input.arg(if exactly { b"1" } else { b"0" });
    input
}

/// Of these stored keys, those whose entry is there. Takes one round trip for plain entries, and two more if some have
/// an envelope.
pub(crate) async fn those_there(client: &Client, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    let first: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let enveloped: Vec<usize> = heads(client, &first, MAGIC.len())
        .await?
        .into_iter()
        .enumerate()
        .filter(|(_, head)| head[..] == MAGIC)
        .map(|(index, _)| index)
        .collect();
    if enveloped.is_empty() {
        return Ok(keys);
    }
    let named: Vec<&[u8]> = enveloped.iter().map(|index| &*keys[*index]).collect();
    let mut entries: Vec<Entry> = heads(client, &named, HEAD)
        .await?
        .into_iter()
        .map(Entry::new)
        .collect();
    for (entry, key) in entries.iter_mut().zip(&named) {
        if !entry.is_readable() && entry.bytes().len() == HEAD {
            let whole = client.request(redis::cmd("GET").arg(*key)).await?;
            *entry = Entry::new(reply::bytes("GET", whole)?.unwrap_or_default());
        }
    }
    let judged = tags::judge_all(client, entries.into_iter().map(Some).collect()).await?;
    let mut there = vec![true; keys.len()];
    for (index, (entry, judgement)) in enveloped.into_iter().zip(judged) {
        there[index] = entry.is_some_and(|entry| entry.is_there(judgement));
    }
    let mut there = there.into_iter();
    let mut keys = keys;
    keys.retain(|_| there.next().unwrap_or(true));
    Ok(keys)
}

/// So many bytes of each of these keys; none of a value of another Redis type.
async fn heads(client: &Client, keys: &[&[u8]], bytes: usize) -> Result<Vec<Vec<u8>>> {
    let mut heads = Vec::with_capacity(keys.len());
    for part in parts(keys, |key| key.len() + bytes) {
        let mut pipeline = Pipeline::with_capacity(part.len());
        for key in part {
            pipeline.cmd("GETRANGE").arg(*key).arg(0).arg(bytes - 1);
        }
        let replies = client.pipeline(&pipeline).await?;
        heads.extend(replies.into_iter().map(|reply| match reply {
            Value::BulkString(head) => head,
            _ => Vec::new(),
        }));
    }
    Ok(heads)
}

/// The judgement of an entry without an envelope.
pub(super) fn plain(bytes: Option<Vec<u8>>) -> (Option<Entry>, Judgement) {
    match bytes {
        Some(bytes) => (Some(Entry::new(bytes)), Judgement::Fresh),
        None => (None, Judgement::Dead),
    }
}

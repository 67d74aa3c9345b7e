//! Reads that do not load: they read, judge and decode the entry of a key, or return the fallback's answer if Redis
//! does not answer.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::ReadThrough;
use super::delivery::Delivery;
use super::entry::{Entry, Judgement};
use super::last_seen::Mark;
use super::lease::RELEASE;
use super::prolong::Until;
use super::tags;
use crate::client::batch::{keyed, parts};
use crate::client::reply;
use crate::codec::{Decode, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::Outcome;
use crate::keyspace::StoredKey;
use crate::resilience::{Fallback, Instead};
use crate::script::Input;
use crate::ttl::Ttl;

/// The result of `lookup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lookup<T> {
    /// There is a value.
    Hit(T),
    /// A cached `None`: it is known that there is no value.
    Nothing,
    /// Nothing is cached, or the entry cannot be read as `T`.
    Miss,
}

impl<T> Lookup<T> {
    /// The value, if there is one.
    pub fn hit(self) -> Option<T> {
        match self {
            Lookup::Hit(value) => Some(value),
            Lookup::Nothing | Lookup::Miss => None,
        }
    }
}

/// The result of `get_kept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Kept<T> {
    /// The value.
    pub value: T,
    /// How long ago its TTL ended, or 0 for one that was marked stale; `None` if it is fresh.
    pub stale_for: Option<Duration>,
}

impl ReadThrough {
    /// `GET`, or the fallback's answer if Redis does not answer. A value past its TTL is returned as well.
    pub(crate) async fn look_up_kept<T: Decode>(&self, key: &StoredKey) -> Result<Option<Kept<T>>> {
        let mark = self.policy.last_seen.mark(key);
        let (mut entry, stale_for) = match self.read(key).await {
            Ok((entry, judgement)) => {
                let last_seen = &self.policy.last_seen;
                last_seen.record(key, entry.as_ref(), judgement, mark);
                match judgement {
                    Judgement::Fresh => (entry, None),
                    Judgement::Stale(since) => (entry, Some(since)),
                    Judgement::Dead => (None, None),
                }
            }
            Err(error) => (self.fall_back("get", key, error)?, None),
        };
        let found = self.decode(&mut entry).hit();
        Ok(found.map(|value| Kept { value, stale_for }))
    }

    /// `GET`, or the fallback's answer if Redis does not answer.
    pub(crate) async fn look_up<T: Decode>(&self, key: &StoredKey) -> Result<Lookup<T>> {
        let mark = self.policy.last_seen.mark(key);
        match self.read(key).await {
            Ok((entry, judgement)) => {
                let (found, spoiled) = self.answer_read(key, entry, judgement, mark);
                if let Some(entry) = spoiled {
                    // Boxed: it is rare and large.
                    Box::pin(self.heal([(key, entry)])).await;
                }
                Ok(found)
            }
            Err(error) => Ok(self.decode(&mut self.fall_back("get", key, error)?)),
        }
    }

    /// Like [`look_up`](Self::look_up), and gives the entry another TTL, if it is there.
    pub(crate) async fn look_up_and_prolong<T: Decode>(
        &self,
        key: &StoredKey,
        ttl: Ttl,
    ) -> Result<Lookup<T>> {
        let mark = self.policy.last_seen.mark(key);
        let until = [Until::For(self.jittered(ttl))];
        let prolonged = self.prolong_each(std::slice::from_ref(key), &until, true);
        match prolonged.await {
            Ok(mut prolonged) => {
                let prolonged = prolonged.pop();
                let (entry, judgement) = prolonged.map_or((None, Judgement::Dead), |prolonged| {
                    (prolonged.entry, prolonged.judgement)
                });
                let (found, spoiled) = self.answer_read(key, entry, judgement, mark);
                if let Some(entry) = spoiled {
                    self.heal([(key, entry)]).await;
                }
                Ok(found)
            }
            // A server that takes no writes may still be read from.
            Err(error) if error.kind() == ErrorKind::Unavailable => self.look_up(key).await,
            Err(error) => Ok(self.decode(&mut self.fall_back("get", key, error)?)),
        }
    }

    /// The value of an entry that was read under this mark; and an entry that is to be deleted.
    fn answer_read<T: Decode>(
        &self,
        key: &StoredKey,
        entry: Option<Entry>,
        judgement: Judgement,
        mark: Option<Mark>,
    ) -> (Lookup<T>, Option<Entry>) {
        self.policy
            .last_seen
            .record(key, entry.as_ref(), judgement, mark);
        self.judge_and_decode(entry, judgement)
    }

    /// Like [`look_up`](Self::look_up), for many keys; returns only the values.
    pub(crate) async fn look_up_many<T: Decode>(
        &self,
        keys: &[StoredKey],
        extend: Option<Ttl>,
    ) -> Result<Vec<Option<T>>> {
        let mut values = Vec::with_capacity(keys.len());
        for part in parts(keys, |key| key.as_bytes().len()) {
            let marks: Vec<_> = part
                .iter()
                .map(|key| self.policy.last_seen.mark(key))
                .collect();
            let judged: Result<Vec<_>> = match extend {
                None => self.read_many(part).await.map(Iterator::collect),
                Some(ttl) => match self.read_many_and_prolong(part, ttl).await {
                    Err(error) if error.kind() == ErrorKind::Unavailable => {
                        self.read_many(part).await.map(Iterator::collect)
                    }
                    judged => judged,
                },
            };
            match judged {
                Err(error) => {
                    for key in part {
                        let mut entry = self.fall_back("get_many", key, error.clone())?;
                        values.push(self.decode(&mut entry).hit());
                    }
                }
                Ok(judged) => {
                    let mut all_spoiled = Vec::new();
                    let marked = part.iter().zip(marks);
                    for ((entry, judgement), (key, mark)) in judged.into_iter().zip(marked) {
                        self.policy
                            .last_seen
                            .record(key, entry.as_ref(), judgement, mark);
                        let (found, spoiled) = self.judge_and_decode(entry, judgement);
                        values.push(found.hit());
                        all_spoiled.extend(spoiled.map(|entry| (key, entry)));
                    }
                    self.heal(all_spoiled).await;
                }
            }
        }
        Ok(values)
    }

    /// `GETDEL` as an invalidation: the lease is deleted first, as in `delete`.
    pub(crate) async fn take<T: Decode>(&self, key: &StoredKey) -> Result<Option<T>> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("UNLINK").arg(key.lease());
        pipeline.cmd("GETDEL").arg(key);
        let mut replies = Delivery::keys(self, [key]).send(&pipeline).await?;
        let bytes = reply::bytes("GETDEL", replies.pop().unwrap_or(Value::Nil))?;
        self.decode_fresh(bytes).await
    }

    /// The value of an entry that was just taken, if it is fresh.
    pub(crate) async fn decode_fresh<T: Decode>(
        &self,
        bytes: Option<Vec<u8>>,
    ) -> Result<Option<T>> {
        let entry = bytes.map(Entry::new);
        let (entry, judgement) = tags::judge_found(&self.client, entry).await?;
        let mut fresh = entry.filter(|_| judgement == Judgement::Fresh);
        Ok(self.decode(&mut fresh).hit())
    }

    /// The entry of a key, judged.
    ///
    /// model: Action::Get
    pub(super) async fn read(&self, key: &StoredKey) -> Result<(Option<Entry>, Judgement)> {
        let bytes = self.get(key).await?;
        tags::judge_found(&self.client, bytes.map(Entry::new)).await
    }

    /// The entries of many keys, judged: `MGET`, split as needed.
    pub(super) async fn read_many(
        &self,
        keys: &[StoredKey],
    ) -> Result<impl Iterator<Item = (Option<Entry>, Judgement)> + use<>> {
        let mut entries = Vec::with_capacity(keys.len());
        for part in parts(keys, |key| key.as_bytes().len()) {
            match self.client.request(&keyed("MGET", part)).await? {
                Value::Array(replies) if replies.len() == part.len() => {
                    for (reply, key) in replies.into_iter().zip(part) {
                        let bytes = reply::bytes("MGET", reply);
                        let bytes = bytes.map_err(|error| error.for_key(key))?;
                        entries.push(bytes.map(Entry::new));
                    }
                }
                other => return Err(Error::unexpected("MGET", &other)),
            }
        }
        tags::judge_all(&self.client, entries).await
    }

    /// The same, and gives those that are there another TTL.
    async fn read_many_and_prolong(
        &self,
        keys: &[StoredKey],
        ttl: Ttl,
    ) -> Result<Vec<(Option<Entry>, Judgement)>> {
        let until: Vec<Until> = keys
            .iter()
            .map(|_| Until::For(self.jittered(ttl)))
            .collect();
        let prolonged = self.prolong_each(keys, &until, true).await?;
        let parts = prolonged
            .into_iter()
            .map(|prolonged| (prolonged.entry, prolonged.judgement));
        Ok(parts.collect())
    }

    pub(super) async fn get(&self, key: &StoredKey) -> Result<Option<Vec<u8>>> {
        // Allocated once, with the final size.
        let mut command = redis::Cmd::with_capacity(2, 3 + key.as_bytes().len());
        command.arg("GET").arg(key);
        let reply = self.client.request_for(key, &command).await?;
        reply::bytes("GET", reply).map_err(|error| error.for_key(key))
    }

    /// What a fallback function says of a key.
    pub(super) fn ask_fallback(
        &self,
        command: &'static str,
        key: &StoredKey,
        error: &Error,
    ) -> Option<Instead> {
        let fallback = &self.policy.fallback;
        fallback.ask(command, key.user(), key.is_redacted(), error)
    }

    /// The fallback's entry for a key, or the error if the fallback does not apply.
    fn fall_back(
        &self,
        command: &'static str,
        key: &StoredKey,
        error: Error,
    ) -> Result<Option<Entry>> {
        if matches!(self.policy.fallback, Fallback::Error) || !Fallback::covers(&error) {
            return Err(error);
        }
        let entry = match self.policy.fallback {
            Fallback::Stale => self.policy.last_seen.get(key),
            _ => match self.ask_fallback(command, key, &error) {
                Some(Instead::Value(bytes)) => Some(Entry::new(bytes)),
                Some(Instead::Error) => return Err(error.for_key(key)),
                Some(Instead::Miss | Instead::Done) | None => None,
            },
        };
        self.note_fallback(command, &error);
        Ok(entry.filter(Entry::is_readable))
    }

    /// The value of a fresh entry; and an entry that is to be deleted, because it is damaged or one of its tags was
    /// invalidated.
    fn judge_and_decode<T: Decode>(
        &self,
        entry: Option<Entry>,
        judgement: Judgement,
    ) -> (Lookup<T>, Option<Entry>) {
        let is_fresh = judgement == Judgement::Fresh;
        let (mut fresh, other) = if is_fresh {
            (entry, None)
        } else {
            (None, entry)
        };
        let found = self.decode(&mut fresh);
        let entry = match found {
            Lookup::Miss if self.policy.heal => fresh.or(other),
            _ => None,
        };
        let is_dead = judgement == Judgement::Dead;
        let spoiled = entry.filter(|entry| (is_dead && entry.is_readable()) || entry.is_damaged());
        (found, spoiled)
    }

    /// The value of an entry. One that cannot be decoded is a miss, and is counted.
    fn decode<T: Decode>(&self, entry: &mut Option<Entry>) -> Lookup<T> {
        let counters = self.client.counters();
        let Some(entry) = entry else {
            counters.misses.add(1);
            self.client.note(Outcome::Miss, 0);
            return Lookup::Miss;
        };
        let bytes = entry.bytes().len();
        counters.bytes_in.add(bytes as u64);
        match entry.decode::<T>(self.client.codec()) {
            Ok(Stored::Value(value)) => {
                counters.hits.add(1);
                self.client.note(Outcome::Hit, bytes);
                Lookup::Hit(value)
            }
            Ok(Stored::Nothing) => {
                counters.nothings.add(1);
                self.client.note(Outcome::Nothing, bytes);
                Lookup::Nothing
            }
            Err(_) => {
                counters.misses.add(1);
                counters.undecodable.add(1);
                self.client.note(Outcome::Miss, bytes);
                Lookup::Miss
            }
        }
    }

    /// Deletes damaged and dead entries, unless they were written meanwhile. To a running load this is an
    /// eviction.
    async fn heal<'k>(&self, spoiled: impl IntoIterator<Item = (&'k StoredKey, Entry)>) {
        let spoiled = spoiled.into_iter().map(|(key, entry)| {
            let mut input = Input::default();
            input.key(key.as_bytes()).arg(entry.bytes());
            input
        });
        let spoiled: Vec<Input> = spoiled.collect();
        // RELEASE deletes a key if it holds the given bytes, which is what is needed here.
        if !spoiled.is_empty()
            && let Err(error) = self.client.run_many(&RELEASE, &spoiled).await
        {
            tracing::debug!(%error, "a damaged or dead entry could not be deleted");
        }
    }
}

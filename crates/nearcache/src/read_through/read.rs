//! Reads that do not load: they read, judge and decode the entry of a key, or return the fallback's answer if Redis
//! does not answer.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::ReadThrough;
use super::delivery::Delivery;
use super::entry::{Entry, Judgement};
use super::lease::RELEASE;
use super::near::{Reading, Shape};
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

/// Which server a read asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The primary: what is read decides about a load, or a write.
    Primary,
    /// A replica as well, where that is asked for: what is read is returned, and nothing else depends on it.
    Any,
}

impl ReadThrough {
    /// `GET`, or the fallback's answer if Redis does not answer. A value past its TTL is returned as well.
    pub(crate) async fn look_up_kept<T: Decode>(&self, key: &StoredKey) -> Result<Option<Kept<T>>> {
        let (mut entry, stale_for) = match self.read(key, Of::Any).await {
            Ok((entry, judgement)) => match judgement {
                Judgement::Fresh => (entry, None),
                Judgement::Stale(since) => (entry, Some(since)),
                Judgement::Dead => (None, None),
            },
            Err(error) => (self.fall_back("get", key, error)?, None),
        };
        let found = self.decode(&mut entry).hit();
        Ok(found.map(|value| Kept { value, stale_for }))
    }

    /// The value of a user's key, if it is near, and counts it. It is no round trip, and allocates nothing.
    #[inline]
    pub(crate) fn look_near<T: Decode>(&self, key: &[u8], shape: Shape<T>) -> Option<Lookup<T>> {
        let near = self.near().filter(|_| self.client.may_answer())?;
        let found = near.look(key, shape, &self.client)?;
        Some(self.count_near(found))
    }

    #[inline]
    fn count_near<T>(&self, found: Stored<T>) -> Lookup<T> {
        match found {
            Stored::Value(value) => {
                self.client.count(|counters| [(&counters.near_hits, 1)]);
                self.client.note(Outcome::Hit, 0);
                Lookup::Hit(value)
            }
            Stored::Nothing => {
                self.client.counters().nothings.add(1);
                self.client.note(Outcome::Nothing, 0);
                Lookup::Nothing
            }
        }
    }

    /// `GET`, or the fallback's answer if Redis does not answer. With a `shape`, a near value is the answer.
    pub(crate) async fn look_up<T: Decode>(
        &self,
        key: &StoredKey,
        shape: Option<Shape<T>>,
    ) -> Result<Lookup<T>> {
        if let Some(shape) = shape
            && let Some(found) = self.look_near(key.user(), shape)
        {
            return Ok(found);
        }
        match self.read(key, Of::Any).await {
            Ok((entry, judgement)) => {
                let (found, spoiled) = self.judge_and_decode(entry, judgement);
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
        let reading = self.begin_reading(key);
        let until = [Until::For(self.jittered(ttl))];
        let prolonged = self.prolong_each(std::slice::from_ref(key), &until, true);
        match prolonged.await {
            Ok(mut prolonged) => {
                let prolonged = prolonged.pop();
                let (entry, judgement) = prolonged.map_or((None, Judgement::Dead), |prolonged| {
                    (prolonged.entry, prolonged.judgement)
                });
                self.record(key, entry.as_ref(), judgement, reading);
                let (found, spoiled) = self.judge_and_decode(entry, judgement);
                if let Some(entry) = spoiled {
                    self.heal([(key, entry)]).await;
                }
                Ok(found)
            }
            // A server that takes no writes may still be read from.
            Err(error) if error.kind() == ErrorKind::Unavailable => self.look_up(key, None).await,
            Err(error) => Ok(self.decode(&mut self.fall_back("get", key, error)?)),
        }
    }

    /// Marks a key that is to be read, if values are kept in this process.
    pub(super) fn begin_reading(&self, key: &StoredKey) -> Option<Reading> {
        self.near().map(|near| near.begin(key, &self.client))
    }

    /// Marks the tags of an entry whose versions are to be read.
    fn begin_tags(&self, reading: &mut Option<Reading>, entry: Option<&Entry>) {
        if let (Some(near), Some(reading), Some(entry)) = (self.near(), reading, entry) {
            near.begin_tags(reading, entry, &self.client);
        }
    }

    /// Keeps in this process what was read.
    fn record(
        &self,
        key: &StoredKey,
        entry: Option<&Entry>,
        judgement: Judgement,
        reading: Option<Reading>,
    ) {
        if let (Some(near), Some(reading)) = (self.near(), reading) {
            near.record(key, entry, judgement, reading, &self.client);
        }
    }

    /// Whether what is read so is kept in this process. What a replica says may be older than this process's own
    /// invalidation.
    fn keeps(&self, of: Of) -> bool {
        self.near.is_some() && (of == Of::Primary || !self.client.guarded().reads_replicas())
    }

    /// Whether a read asks for the time that an entry has left, too.
    fn asks_for_time(&self) -> bool {
        self.near().is_some_and(|near| near.has_hits())
    }

    /// Like [`look_up`](Self::look_up), for many keys; returns only the values.
    pub(crate) async fn look_up_many<T: Decode>(
        &self,
        keys: &[StoredKey],
        extend: Option<Ttl>,
        shape: Option<Shape<T>>,
    ) -> Result<Vec<Option<T>>> {
        let Some(shape) = shape.filter(|_| extend.is_none() && self.asks_for_time()) else {
            return self.look_up_far(keys, extend).await;
        };
        let (mut values, mut places, mut far) = (Vec::with_capacity(keys.len()), vec![], vec![]);
        for (place, key) in keys.iter().enumerate() {
            values.push(self.look_near(key.user(), shape).map(Lookup::hit));
            if values[place].is_none() {
                places.push(place);
                far.push(key.clone());
            }
        }
        if !far.is_empty() {
            let found = self.look_up_far(&far, None).await?;
            for (place, value) in places.into_iter().zip(found) {
                values[place] = Some(value);
            }
        }
        Ok(values.into_iter().map(Option::flatten).collect())
    }

    async fn look_up_far<T: Decode>(
        &self,
        keys: &[StoredKey],
        extend: Option<Ttl>,
    ) -> Result<Vec<Option<T>>> {
        let mut values = Vec::with_capacity(keys.len());
        for part in parts(keys, |key| key.as_bytes().len()) {
            let judged: Result<Vec<_>> = match extend {
                None => self.read_many(part, Of::Any).await.map(Iterator::collect),
                Some(ttl) => match self.read_many_and_prolong(part, ttl).await {
                    Err(error) if error.kind() == ErrorKind::Unavailable => {
                        self.read_many(part, Of::Any).await.map(Iterator::collect)
                    }
                    judged => judged.map(|judged| judged.into_iter().map(Ok).collect()),
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
                    for (judged, key) in judged.into_iter().zip(part) {
                        let (entry, judgement) = match judged {
                            Ok(judged) => judged,
                            Err(error) => {
                                let mut entry = self.fall_back("get_many", key, error)?;
                                values.push(self.decode(&mut entry).hit());
                                continue;
                            }
                        };
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
        if self.client.is_spread() {
            // One after the other, also if one of them is redirected.
            pipeline.atomic();
        }
        pipeline.cmd("UNLINK").arg(&*key.lease());
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
    pub(super) async fn read(&self, key: &StoredKey, of: Of) -> Result<(Option<Entry>, Judgement)> {
        if self.keeps(of) {
            // Boxed: a cache that keeps nothing should not carry it.
            return Box::pin(self.read_and_keep(key, of)).await;
        }
        let bytes = self.get(key, of).await?;
        tags::judge_found(&self.client, bytes.map(Entry::new)).await
    }

    /// The same, and keeps what is found in this process.
    async fn read_and_keep(&self, key: &StoredKey, of: Of) -> Result<(Option<Entry>, Judgement)> {
        let mut reading = self.begin_reading(key);
        let bytes = if self.asks_for_time() {
            let (bytes, left) = self.get_with_time(key).await?;
            if let Some(reading) = &mut reading {
                reading.set_left(left);
            }
            bytes
        } else {
            self.get(key, of).await?
        };
        let entry = bytes.map(Entry::new);
        self.begin_tags(&mut reading, entry.as_ref());
        let (entry, judgement) = tags::judge_found(&self.client, entry).await?;
        self.record(key, entry.as_ref(), judgement, reading);
        Ok((entry, judgement))
    }

    /// `GET`, and `PTTL` if the server permits it.
    async fn get_with_time(&self, key: &StoredKey) -> Result<(Option<Vec<u8>>, Option<i64>)> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("GET").arg(key).cmd("PTTL").arg(key);
        let replies = self.client.pipeline(&pipeline).await;
        let mut replies = replies.map_err(|error| error.for_key(key))?.into_iter();
        let bytes = match replies.next() {
            Some(Value::ServerError(error)) => {
                let error = Error::from_server(&error).on_host(self.client.host());
                return Err(error.for_key(key));
            }
            bytes => reply::bytes("GET", bytes.unwrap_or(Value::Nil))
                .map_err(|error| error.for_key(key))?,
        };
        let left = match replies.next() {
            Some(Value::Int(left)) => Some(left),
            _ => None,
        };
        Ok((bytes, left))
    }

    /// The entries of many keys, judged: `MGET`, split as needed. What one of several servers does not answer is the error
    /// of its own keys.
    pub(super) async fn read_many(
        &self,
        keys: &[StoredKey],
        of: Of,
    ) -> Result<impl Iterator<Item = Result<(Option<Entry>, Judgement)>> + use<>> {
        let mut entries = Vec::with_capacity(keys.len());
        let mut failed: Vec<(usize, Error)> = Vec::new();
        let mut readings: Vec<_> = Vec::new();
        if self.keeps(of) {
            readings.extend(keys.iter().map(|key| self.begin_reading(key)));
        }
        let mut begun = 0;
        for part in parts(keys, |key| key.as_bytes().len()) {
            let read = self.get_many_with_time(part, of).await;
            let (found, left) = read.map_err(|error| match part {
                [key] => error.for_key(key),
                _ => error,
            })?;
            match found {
                Value::Array(replies) if replies.len() == part.len() => {
                    for (reply, key) in replies.into_iter().zip(part) {
                        if let Value::ServerError(error) = &reply {
                            let error = Error::from_server(error).on_host(self.client.host());
                            failed.push((entries.len(), error.for_key(key)));
                            entries.push(None);
                            continue;
                        }
                        let bytes = reply::bytes("MGET", reply);
                        let bytes = bytes.map_err(|error| error.for_key(key))?;
                        entries.push(bytes.map(Entry::new));
                    }
                }
                other => return Err(Error::unexpected("MGET", &other)),
            }
            for (reading, left) in readings.iter_mut().skip(begun).zip(left) {
                if let Some(reading) = reading {
                    reading.set_left(left);
                }
            }
            begun += part.len();
        }
        for (at, _) in &failed {
            // Nothing was read.
            if let Some(reading) = readings.get_mut(*at) {
                *reading = None;
            }
        }
        for (reading, entry) in readings.iter_mut().zip(&entries) {
            self.begin_tags(reading, entry.as_ref());
        }
        let judged: Vec<_> = tags::judge_all(&self.client, entries).await?.collect();
        for ((reading, key), (entry, judgement)) in readings.into_iter().zip(keys).zip(&judged) {
            self.record(key, entry.as_ref(), *judgement, reading);
        }
        let mut failed = failed.into_iter().peekable();
        let each = judged.into_iter().enumerate().map(move |(at, judged)| {
            match failed.next_if(|(failed, _)| *failed == at) {
                Some((_, error)) => Err(error),
                None => Ok(judged),
            }
        });
        Ok(each)
    }

    /// The reply to `MGET`; and of each key the time that it has left, if that is of use.
    async fn get_many_with_time(
        &self,
        keys: &[StoredKey],
        of: Of,
    ) -> Result<(Value, Vec<Option<i64>>)> {
        let get = keyed("MGET", keys);
        if !self.asks_for_time() {
            let reply = match of {
                Of::Primary => self.client.request(&get).await?,
                Of::Any => self.client.read(&get).await?,
            };
            return Ok((reply, Vec::new()));
        }
        let mut pipeline = Pipeline::with_capacity(1 + keys.len());
        pipeline.add_command(get);
        for key in keys {
            pipeline.cmd("PTTL").arg(key);
        }
        let mut replies = self.client.pipeline(&pipeline).await?.into_iter();
        let found = match replies.next() {
            Some(Value::ServerError(error)) => {
                return Err(Error::from_server(&error).on_host(self.client.host()));
            }
            found => found.unwrap_or(Value::Nil),
        };
        let left = replies.map(|reply| match reply {
            Value::Int(left) => Some(left),
            _ => None,
        });
        Ok((found, left.collect()))
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

    pub(super) async fn get(&self, key: &StoredKey, of: Of) -> Result<Option<Vec<u8>>> {
        let words: [&[u8]; 2] = [b"GET", key.as_bytes()];
        let reply = if let Some(reply) = self.client.words_here(&words) {
            Ok(reply)
        } else if of == Of::Primary {
            self.client.request_words(&words).await
        } else {
            self.client.read_words(&words).await
        };
        let bytes = reply.and_then(|reply| reply::bytes("GET", reply));
        bytes.map_err(|error| error.for_key(key))
    }

    /// The last entry that was read of a key, for the time when Redis is away.
    pub(super) fn last(&self, key: &StoredKey) -> Option<Entry> {
        self.near()?.last(key)
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
            Fallback::Stale => self.last(key),
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

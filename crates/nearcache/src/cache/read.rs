//! Reading: `get`, `lookup`, `take`, `contains`.

use std::fmt;
use std::marker::PhantomData;

use redis::{Pipeline, Value};

use super::core::{Core, reply};
use super::invalidate::Sent;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::codec::{Decode, Stored};
use crate::error::{Error, Result};
use crate::hooks::{Keys, Outcome};
use crate::keyspace::{Key, StoredKey};
use crate::read_through::entry::{Entry, Judgement};
use crate::read_through::lease::RELEASE;
use crate::resilience::{Fallback, Outage};
use crate::script::Input;

/// The answer of `lookup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lookup<T> {
    /// There is a value.
    Hit(T),
    /// It is cached that there is none.
    Nothing,
    /// Nothing is cached, or what is cached is not readable as `T`.
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

/// A pending `get`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct Get<'c, T, M = Async> {
    core: &'c Core,
    key: Result<StoredKey>,
    marked: PhantomData<fn() -> T>,
    mode: Marked<M>,
}

impl<'c, T: Decode, M> Get<'c, T, M> {
    pub(crate) fn new(core: &'c Core, key: &[u8]) -> Self {
        Get {
            core,
            key: core.stored(key),
            marked: PhantomData,
            mode: PhantomData,
        }
    }

    fn start(self) -> CacheFuture<'c, Option<T>> {
        let core = self.core;
        match self.key {
            Ok(key) => CacheFuture::asking(async move {
                let keys = Keys::One(key.user());
                core.watched("get", keys, async |core| {
                    Ok(core.look_up(&key).await?.hit())
                })
                .await
            }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }
}

operation!(Get<'c, T: Decode> -> Option<T>);

/// A pending `lookup`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct LookUp<'c, T, M = Async> {
    core: &'c Core,
    key: Result<StoredKey>,
    marked: PhantomData<fn() -> T>,
    mode: Marked<M>,
}

impl<'c, T: Decode, M> LookUp<'c, T, M> {
    pub(crate) fn new(core: &'c Core, key: &[u8]) -> Self {
        LookUp {
            core,
            key: core.stored(key),
            marked: PhantomData,
            mode: PhantomData,
        }
    }

    fn start(self) -> CacheFuture<'c, Lookup<T>> {
        let core = self.core;
        match self.key {
            Ok(key) => CacheFuture::asking(async move {
                let keys = Keys::One(key.user());
                core.watched("lookup", keys, async |core| core.look_up(&key).await)
                    .await
            }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }
}

operation!(LookUp<'c, T: Decode> -> Lookup<T>);

impl<T, M> fmt::Debug for Get<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl<T, M> fmt::Debug for LookUp<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookUp")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

pub(crate) fn take<'c, T: Decode, M>(core: &'c Core, key: &[u8]) -> Pending<'c, Option<T>, M> {
    let key = core.stored(key);
    Pending::new(async move {
        let key = key?;
        let keys = Keys::One(key.user());
        core.watched("take", keys, async |core| core.told(core.taken(&key).await))
            .await
            .map_err(|error| error.for_key(key.user()))
    })
}

pub(crate) fn contains<'c, M>(core: &'c Core, key: &[u8]) -> Pending<'c, bool, M> {
    let key = core.stored(key);
    Pending::new(async move {
        let key = key?;
        let keys = Keys::One(key.user());
        core.watched("contains", keys, async |core| {
            let there = core.contained(&key).await?;
            core.note(if there { Outcome::Hit } else { Outcome::Miss }, 0);
            Ok(there)
        })
        .await
        .map_err(|error| error.for_key(key.user()))
    })
}

impl Core {
    /// `GET`, or what the fallback says where Redis does not answer.
    async fn look_up<T: Decode>(&self, key: &StoredKey) -> Result<Lookup<T>> {
        let mark = self.mark(key);
        let read = match self.get(key).await {
            Ok(bytes) => self.judged_one(bytes.map(Entry::new)).await,
            Err(error) => Err(error),
        };
        match read {
            Ok((entry, judgement)) => {
                self.saw(key, entry.as_ref(), judgement, mark);
                let fresh = entry.filter(|_| judgement == Judgement::Fresh);
                let (found, spoiled) = self.decode(fresh);
                if let Some(entry) = spoiled {
                    self.heal([(key, entry)]).await;
                }
                Ok(found)
            }
            Err(error) => Ok(self.decode(self.fall_back(key, error)?).0),
        }
    }

    /// The bytes that the fallback gives for a key, or the error if it has nothing to say to it.
    pub(super) fn fall_back(&self, key: &StoredKey, error: Error) -> Result<Option<Entry>> {
        if matches!(self.fallback, Fallback::Error) || !Fallback::covers(&error) {
            return Err(error);
        }
        self.counters().fallbacks.add(1);
        let bytes = match &self.fallback {
            Fallback::Call(answer) => answer(&Outage {
                key: &Key::from(key.user()),
                error: &error,
            }),
            Fallback::Stale => self.last_seen(key),
            Fallback::Error | Fallback::Miss => None,
        };
        Ok(bytes.map(Entry::new).filter(Entry::is_readable))
    }

    /// `GET`.
    pub(super) async fn get(&self, key: &StoredKey) -> Result<Option<Vec<u8>>> {
        // Of the size it will have, so that it is one allocation each.
        let mut command = redis::Cmd::with_capacity(2, 3 + key.as_bytes().len());
        command.arg("GET").arg(key);
        let reply = self.call(&command, key).await?;
        reply::bytes("GET", reply).map_err(|error| error.for_key(key.user()))
    }

    /// `GETDEL`, which is an invalidation: the lease goes first, as with `delete`.
    async fn taken<T: Decode>(&self, key: &StoredKey) -> Result<Option<T>> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("UNLINK").arg(key.lease());
        pipeline.cmd("GETDEL").arg(key);
        let mut replies = Sent::keys(self, [key]).pipeline(&pipeline).await?;
        let bytes = reply::bytes("GETDEL", replies.pop().unwrap_or(Value::Nil))?;
        Ok(self.decode(self.fresh(bytes).await?).0.hit())
    }

    /// `EXISTS`, and the beginning of what is there: a dead entry is not.
    async fn contained(&self, key: &StoredKey) -> Result<bool> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("EXISTS").arg(key);
        pipeline.cmd("GETRANGE").arg(key).arg(0).arg(HEAD - 1);
        let mut replies = self.pipeline(&pipeline).await?.into_iter();
        let (exists, head) = (replies.next(), replies.next());
        if !reply::flag("EXISTS", &exists.unwrap_or(Value::Nil))? {
            return Ok(false);
        }
        // What is no string is there all the same.
        let Some(Value::BulkString(head)) = head else {
            return Ok(true);
        };
        let cut = head.len() == HEAD;
        let mut entry = Entry::new(head);
        if !entry.is_readable() && cut {
            let Some(bytes) = self.get(key).await? else {
                return Ok(false);
            };
            entry = Entry::new(bytes);
        }
        Ok(self.judge(&entry).await? == Judgement::Fresh)
    }

    /// What was found under a key, if it may be answered to a reader who takes nothing stale.
    async fn fresh(&self, bytes: Option<Vec<u8>>) -> Result<Option<Entry>> {
        let (entry, judgement) = self.judged_one(bytes.map(Entry::new)).await?;
        Ok(entry.filter(|_| judgement == Judgement::Fresh))
    }

    /// What cannot be decoded is a miss, and is counted; and is the second part of the answer, if it is to be
    /// deleted.
    pub(super) fn decode<T: Decode>(&self, entry: Option<Entry>) -> (Lookup<T>, Option<Entry>) {
        let counters = self.counters();
        let Some(mut entry) = entry else {
            counters.misses.add(1);
            self.note(Outcome::Miss, 0);
            return (Lookup::Miss, None);
        };
        let bytes = entry.bytes().len();
        counters.bytes_in.add(bytes as u64);
        let found = match entry.decode::<T>() {
            Ok(Stored::Value(value)) => {
                counters.hits.add(1);
                self.note(Outcome::Hit, bytes);
                Lookup::Hit(value)
            }
            Ok(Stored::Nothing) => {
                counters.nothings.add(1);
                self.note(Outcome::Nothing, bytes);
                Lookup::Nothing
            }
            Err(_) => {
                counters.misses.add(1);
                counters.undecodable.add(1);
                self.note(Outcome::Miss, bytes);
                // What another build can read is left to it.
                let spoiled = (self.heal && entry.is_known()).then_some(entry);
                return (Lookup::Miss, spoiled);
            }
        };
        (found, None)
    }

    /// Deletes entries that could not be decoded, but what has been written there meanwhile. As far as a load
    /// can tell, they were evicted.
    pub(super) async fn heal<'k>(&self, spoiled: impl IntoIterator<Item = (&'k StoredKey, Entry)>) {
        let spoiled = spoiled.into_iter().map(|(key, entry)| {
            let mut input = Input::default();
            input.key(key.as_bytes()).arg(entry.bytes());
            input
        });
        let spoiled: Vec<Input> = spoiled.collect();
        // The same script: removed if it is what it was.
        if !spoiled.is_empty()
            && let Err(error) = self.run_many(&RELEASE, &spoiled).await
        {
            tracing::debug!(%error, "an entry that cannot be decoded could not be deleted");
        }
    }
}

/// As much of an entry as holds nearly every envelope.
const HEAD: usize = 512;

//! Reading: `get`, `lookup`, `take`, `contains`.

use std::fmt;
use std::marker::PhantomData;

use super::core::{Core, reply};
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::codec::{Decode, Stored};
use crate::error::{Error, Result};
use crate::keyspace::{Key, StoredKey};
use crate::resilience::{Fallback, Outage};

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
            Ok(key) => CacheFuture::asking(async move { Ok(core.look_up(&key).await?.hit()) }),
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
            Ok(key) => CacheFuture::asking(async move { core.look_up(&key).await }),
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
    Pending::new(async move { Ok(core.read(&key?, "GETDEL").await?.hit()) })
}

pub(crate) fn contains<'c, M>(core: &'c Core, key: &[u8]) -> Pending<'c, bool, M> {
    let key = core.stored(key);
    Pending::new(async move {
        let key = key?;
        reply::flag(
            "EXISTS",
            &core.call(redis::cmd("EXISTS").arg(&key), &key).await?,
        )
    })
}

impl Core {
    /// `GET`, or what the fallback says where Redis does not answer.
    async fn look_up<T: Decode>(&self, key: &StoredKey) -> Result<Lookup<T>> {
        match self.read(key, "GET").await {
            Err(error) => Ok(self.decode(self.fall_back(key, error)?)),
            found => found,
        }
    }

    /// The bytes that the fallback gives for a key, or the error if it has nothing to say to it.
    pub(super) fn fall_back(&self, key: &StoredKey, error: Error) -> Result<Option<Vec<u8>>> {
        if matches!(self.fallback, Fallback::Error) || !Fallback::covers(&error) {
            return Err(error);
        }
        self.counters().fallbacks.add(1);
        Ok(match &self.fallback {
            Fallback::Call(answer) => answer(&Outage {
                key: &Key::from(key.user()),
                error: &error,
            }),
            Fallback::Error | Fallback::Miss => None,
        })
    }

    /// `GET` or `GETDEL`, decoded.
    async fn read<T: Decode>(&self, key: &StoredKey, verb: &'static str) -> Result<Lookup<T>> {
        // Of the size it will have, so that it is one allocation each.
        let mut command = redis::Cmd::with_capacity(2, verb.len() + key.as_bytes().len());
        command.arg(verb).arg(key);
        let reply = self.call(&command, key).await?;
        let bytes = reply::bytes(verb, reply).map_err(|error| error.for_key(key.user()))?;
        Ok(self.decode(bytes))
    }

    /// What cannot be decoded is a miss, and is counted.
    pub(super) fn decode<T: Decode>(&self, bytes: Option<Vec<u8>>) -> Lookup<T> {
        let counters = self.counters();
        let Some(bytes) = bytes else {
            counters.misses.add(1);
            return Lookup::Miss;
        };
        counters.bytes_in.add(bytes.len() as u64);
        match T::decode(bytes) {
            Ok(Stored::Value(value)) => {
                counters.hits.add(1);
                Lookup::Hit(value)
            }
            Ok(Stored::Nothing) => {
                counters.nothings.add(1);
                Lookup::Nothing
            }
            Err(_) => {
                counters.misses.add(1);
                counters.undecodable.add(1);
                Lookup::Miss
            }
        }
    }
}

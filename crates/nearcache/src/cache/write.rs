//! Writing one key: `set`, its conditional forms `add` and `replace`, and `delete`.

use std::fmt;
use std::marker::PhantomData;

use redis::Cmd;

use super::core::{Core, reply};
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::codec::{self, Encode};
use crate::error::Result;
use crate::keyspace::StoredKey;
use crate::ttl::{IntoTtl, Ttl};

/// How long a written entry is to stay.
#[derive(Clone, Debug)]
pub(super) enum Life {
    /// As the cache does by default.
    Default,
    For(Result<Ttl>),
    Forever,
    /// As long as the entry that it replaces.
    Keep,
}

/// A life, settled.
#[derive(Clone, Copy)]
pub(super) enum Stay {
    For(Ttl),
    Forever,
    Keep,
}

impl Core {
    pub(super) fn settle(&self, life: &Life) -> Result<Stay> {
        Ok(match life {
            Life::Default => self.default_ttl.map_or(Stay::Forever, Stay::For),
            Life::For(ttl) => Stay::For(ttl.clone()?),
            Life::Forever => Stay::Forever,
            Life::Keep => Stay::Keep,
        })
    }

    /// `SET key value`, with the TTL and its jitter.
    pub(super) fn set_command(&self, key: &StoredKey, value: &[u8], stay: Stay) -> Cmd {
        // SET, the key, the value, and as much as PX and a number need.
        let mut command = Cmd::with_capacity(6, 3 + key.as_bytes().len() + value.len() + 24);
        command.arg("SET").arg(key).arg(value);
        match stay {
            Stay::For(ttl) => command
                .arg("PX")
                .arg(ttl.jittered(self.ttl_jitter).as_millis()),
            Stay::Forever => &mut command,
            Stay::Keep => command.arg("KEEPTTL"),
        };
        command
    }

    pub(super) fn count_write(&self, bytes: usize) {
        self.counters().writes.add(1);
        self.counters().bytes_out.add(bytes as u64);
    }
}

/// A pending `set`.
#[must_use = "nothing is stored until it is carried out, by `.await` or `.run()`"]
pub struct Set<'c, V: ?Sized, M = Async> {
    core: &'c Core,
    key: Result<StoredKey>,
    value: &'c V,
    life: Life,
    mode: Marked<M>,
}

impl<'c, V: Encode + ?Sized, M> Set<'c, V, M> {
    pub(crate) fn new(core: &'c Core, key: &[u8], value: &'c V) -> Self {
        Set {
            core,
            key: core.stored(key),
            value,
            life: Life::Default,
            mode: PhantomData,
        }
    }

    /// The entry expires after this time, spread by the cache's jitter.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.life = Life::For(ttl.into_ttl());
        self
    }

    /// The entry does not expire, whatever the cache's default TTL.
    pub fn forever(mut self) -> Self {
        self.life = Life::Forever;
        self
    }

    /// The entry expires when the one that it replaces would have. Where there is none, it does not
    /// expire.
    pub fn keep_ttl(mut self) -> Self {
        self.life = Life::Keep;
        self
    }

    /// Stores only if the key has no value; the answer is then whether it stored.
    pub fn only_if_absent(self) -> SetIf<'c, V, M> {
        SetIf {
            set: self,
            condition: "NX",
        }
    }

    /// Stores only if the key has a value; the answer is then whether it stored.
    pub fn only_if_present(self) -> SetIf<'c, V, M> {
        SetIf {
            set: self,
            condition: "XX",
        }
    }

    fn start(self) -> CacheFuture<'c, ()> {
        match self.command(None) {
            Ok(sending) => CacheFuture::asking(async move { sending.send().await.map(|_| ()) }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }

    /// Encodes here and now: the value need not cross to another thread, nor live any longer.
    fn command(self, condition: Option<&str>) -> Result<Sending<'c>> {
        let key = self.key?;
        let value = codec::encode(self.value).map_err(|error| error.for_key(key.user()))?;
        let mut command = self
            .core
            .set_command(&key, &value, self.core.settle(&self.life)?);
        if let Some(condition) = condition {
            command.arg(condition);
        }
        Ok(Sending {
            core: self.core,
            command,
            key,
            bytes: value.len(),
        })
    }
}

operation!(Set<'c; ?Sized V: Encode> -> ());

/// A pending `set` under a condition: `add` and `replace`.
#[must_use = "nothing is stored until it is carried out, by `.await` or `.run()`"]
pub struct SetIf<'c, V: ?Sized, M = Async> {
    set: Set<'c, V, M>,
    condition: &'static str,
}

impl<'c, V: Encode + ?Sized, M> SetIf<'c, V, M> {
    /// The entry expires after this time, spread by the cache's jitter.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.set = self.set.ttl(ttl);
        self
    }

    /// The entry does not expire, whatever the cache's default TTL.
    pub fn forever(mut self) -> Self {
        self.set = self.set.forever();
        self
    }

    /// The entry expires when the one that it replaces would have.
    pub fn keep_ttl(mut self) -> Self {
        self.set = self.set.keep_ttl();
        self
    }

    fn start(self) -> CacheFuture<'c, bool> {
        match self.set.command(Some(self.condition)) {
            Ok(sending) => CacheFuture::asking(async move { sending.send().await }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }
}

operation!(SetIf<'c; ?Sized V: Encode> -> bool);

/// A `SET`, ready to go.
struct Sending<'c> {
    core: &'c Core,
    command: Cmd,
    key: StoredKey,
    bytes: usize,
}

impl Sending<'_> {
    async fn send(self) -> Result<bool> {
        let reply = self.core.call(&self.command, &self.key).await?;
        let stored = reply::stored("SET", &reply)?;
        if stored {
            self.core.count_write(self.bytes);
        }
        Ok(stored)
    }
}

impl<V: ?Sized, M> fmt::Debug for Set<'_, V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set")
            .field("key", &self.key)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl<V: ?Sized, M> fmt::Debug for SetIf<'_, V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetIf")
            .field("set", &self.set)
            .field("condition", &self.condition)
            .finish()
    }
}

pub(crate) fn delete<'c, M>(core: &'c Core, key: &[u8]) -> Pending<'c, bool, M> {
    let key = core.stored(key);
    Pending::new(async move {
        let key = key?;
        let deleted = reply::flag(
            "UNLINK",
            &core.call(redis::cmd("UNLINK").arg(&key), &key).await?,
        )?;
        core.counters().deletes.add(u64::from(deleted));
        Ok(deleted)
    })
}

//! Writing one key: `set`, its conditional forms `add` and `replace`, and `delete`.
//!
//! Each of these is an invalidation: after it returned, no load that began before it stores anything. What
//! it does for that is take the lease away from the load that is running, in the same round trip:
//!
//! - `delete` unlinks the lease first and the entry second. Between the two nothing can fill: the old load
//!   has no lease any more, and a new one began after the source was changed.
//! - `set` does both in one transaction. Written first and unlinked second without one, what was written
//!   might be evicted between the two, or expire, and the old load fill; unlinked first, a new load might.
//!   (A transaction is also the cheapest form that is atomic: `bench`, scenario `fence`.)

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Pipeline, Value};

use super::core::{Core, reply};
use super::invalidate::Sent;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::codec::envelope::Head;
use crate::codec::{self, Body, Encode};
use crate::error::Result;
use crate::hooks::{Keys, Outcome};
use crate::keyspace::StoredKey;
use crate::read_through::tags::Tag;
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

    /// What an entry with these tags says of itself when it is written without being loaded.
    ///
    /// model: Action::Set
    pub(super) async fn tagged(&self, tags: &[Tag], stay: Stay) -> Result<Head> {
        let mut head = Head::default();
        if tags.is_empty() {
            return Ok(head);
        }
        let ttl = match stay {
            // Jitter at most doubles it.
            Stay::For(ttl) => ttl.as_millis().saturating_mul(2),
            Stay::Forever | Stay::Keep => 0,
        };
        let versions = self.versions_for(tags, ttl).await?;
        for (tag, version) in tags.iter().zip(versions) {
            head.tags.push((tag.name.clone(), version));
        }
        Ok(head)
    }

    pub(crate) fn count_write(&self, bytes: usize) {
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
    tags: Vec<Vec<u8>>,
    mode: Marked<M>,
}

impl<'c, V: Encode + ?Sized, M> Set<'c, V, M> {
    pub(crate) fn new(core: &'c Core, key: &[u8], value: &'c V) -> Self {
        Set {
            core,
            key: core.stored(key),
            value,
            life: Life::Default,
            tags: Vec::new(),
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

    /// Tags of the entry: [`invalidate_tag`](crate::Cache::invalidate_tag) of any of them is its end. Up
    /// to 64, of 1 byte to 1 KiB each. They cost a round trip more, and another one for each read.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.tags
            .extend(tags.into_iter().map(|tag| tag.as_ref().to_vec()));
        self
    }

    /// Stores only if the key has no value; the answer is then whether it stored.
    pub fn only_if_absent(self) -> SetIf<'c, V, M> {
        SetIf {
            set: self,
            condition: Condition::Absent,
        }
    }

    /// Stores only if the key has a value; the answer is then whether it stored.
    pub fn only_if_present(self) -> SetIf<'c, V, M> {
        SetIf {
            set: self,
            condition: Condition::Present,
        }
    }

    fn start(self) -> CacheFuture<'c, ()> {
        match self.sending(None) {
            Ok(sending) => CacheFuture::asking(async move {
                let keys = Keys::One(sending.key[0].user());
                let send = async |core: &Core| core.told(sending.send(core).await.map(|_| ()));
                sending.core.watched("set", keys, send).await
            }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }

    /// Encodes here and now: the value need not cross to another thread, nor live any longer.
    fn sending(self, condition: Option<Condition>) -> Result<Sending<'c>> {
        let key = self.key?;
        let codec = self.core.codec();
        let value = codec::encode(self.value, codec)
            .and_then(|body| body.packed(codec))
            .map_err(|error| error.for_key(key.user()))?;
        Ok(Sending {
            core: self.core,
            key: [key],
            value,
            stay: self.core.settle(&self.life)?,
            tags: self.core.tags(&self.tags)?,
            condition,
        })
    }
}

operation!(Set<'c; ?Sized V: Encode> -> ());

/// A pending `set` under a condition: `add` and `replace`.
#[must_use = "nothing is stored until it is carried out, by `.await` or `.run()`"]
pub struct SetIf<'c, V: ?Sized, M = Async> {
    set: Set<'c, V, M>,
    condition: Condition,
}

/// Under which condition a `SET` stores.
#[derive(Clone, Copy, Debug)]
enum Condition {
    Absent,
    Present,
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

    /// Tags of the entry, as those of [`Set::tags`].
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.set = self.set.tags(tags);
        self
    }

    fn start(self) -> CacheFuture<'c, bool> {
        match self.set.sending(Some(self.condition)) {
            Ok(sending) => CacheFuture::asking(async move {
                let keys = Keys::One(sending.key[0].user());
                let command = match sending.condition {
                    Some(Condition::Absent) => "add",
                    Some(Condition::Present) | None => "replace",
                };
                let send = async |core: &Core| core.told(sending.send(core).await);
                sending.core.watched(command, keys, send).await
            }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }
}

operation!(SetIf<'c; ?Sized V: Encode> -> bool);

/// A `SET`, ready to go.
struct Sending<'c> {
    core: &'c Core,
    key: [StoredKey; 1],
    value: Body,
    stay: Stay,
    tags: Vec<Tag>,
    condition: Option<Condition>,
}

impl Sending<'_> {
    async fn send(&self, core: &Core) -> Result<bool> {
        let [key] = &self.key;
        let sent = match self.condition {
            // Whether it stored is not known, and what is there may be another's.
            Some(Condition::Absent) => Sent::leases(core, &self.key),
            Some(Condition::Present) | None => Sent::keys(core, &self.key),
        };
        let head = match core.tagged(&self.tags, self.stay).await {
            Ok(head) => head,
            Err(error) => return sent.failed(error),
        };
        let entry = head.seal(&self.value);
        let mut set = core.set_command(key, &entry, self.stay);
        match self.condition {
            Some(Condition::Absent) => drop(set.arg("NX")),
            Some(Condition::Present) => drop(set.arg("XX")),
            None => {}
        }
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.atomic().add_command(set);
        pipeline.cmd("UNLINK").arg(key.lease());
        let replies = sent.pipeline(&pipeline).await;
        let replies = replies.map_err(|error| error.for_key(key.user()))?;
        let stored = reply::stored("SET", replies.first().unwrap_or(&Value::Int(0)))?;
        if stored {
            core.count_write(entry.len());
            core.note(Outcome::Stored, entry.len());
        } else {
            core.note(Outcome::NotStored, 0);
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

/// model: Action::Delete
pub(crate) fn delete<'c, M>(core: &'c Core, key: &[u8]) -> Pending<'c, bool, M> {
    let key = core.stored(key);
    Pending::new(async move {
        let key = [key?];
        core.watched("delete", Keys::One(key[0].user()), async |core| {
            core.told(core.unlink_with_leases(&key).await.map(|count| count > 0))
        })
        .await
        .map_err(|error| error.for_key(key[0].user()))
    })
}

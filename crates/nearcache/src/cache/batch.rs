//! Many keys at once: `get_many`, `set_many`, `delete_many`.
//!
//! A batch is split at a bounded size, so that no call holds the connection, or the server, for long:
//! others' commands go between the parts. Each part has the timeout to itself.

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Pipeline, Value};

use super::core::{Core, reply};
use super::invalidate::Sent;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use super::write::Life;
use crate::codec::{self, Body, Decode, Encode};
use crate::error::{Error, Result};
use crate::hooks::{Keys, Outcome};
use crate::keyspace::StoredKey;
use crate::read_through::entry::{Entry, Judgement};
use crate::ttl::IntoTtl;

/// How many keys travel together at most.
pub(super) const KEYS: usize = 1_000;

/// How many bytes of keys and values travel together, unless one entry alone is larger.
const BYTES: usize = 4 * 1024 * 1024;

/// A pending `get_many`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct GetMany<'c, T, M = Async> {
    core: &'c Core,
    keys: Result<Vec<StoredKey>>,
    marked: PhantomData<fn() -> T>,
    mode: Marked<M>,
}

impl<'c, T: Decode, M> GetMany<'c, T, M> {
    pub(crate) fn new(core: &'c Core, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        GetMany {
            core,
            keys: stored(core, keys),
            marked: PhantomData,
            mode: PhantomData,
        }
    }

    fn start(self) -> CacheFuture<'c, Vec<Option<T>>> {
        let core = self.core;
        match self.keys {
            Ok(keys) if keys.is_empty() => CacheFuture::ready(Ok(Vec::new())),
            Ok(keys) => CacheFuture::asking(async move {
                core.watched("get_many", Keys::Stored(&keys), async |core| {
                    core.read_many(&keys).await
                })
                .await
            }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }
}

operation!(GetMany<'c, T: Decode> -> Vec<Option<T>>);

impl Core {
    async fn read_many<T: Decode>(&self, keys: &[StoredKey]) -> Result<Vec<Option<T>>> {
        let mut values = Vec::with_capacity(keys.len());
        for part in parts(keys, |key| key.as_bytes().len()) {
            let marks: Vec<_> = part.iter().map(|key| self.mark(key)).collect();
            let read = match self.entries(part).await {
                Ok(entries) => self.judged(entries).await,
                Err(error) => Err(error),
            };
            match read {
                Err(error) => {
                    for key in part {
                        let entry = self.fall_back(key, error.clone())?;
                        values.push(self.decode(entry).0.hit());
                    }
                }
                Ok(judged) => {
                    let mut all_spoiled = Vec::new();
                    for ((entry, judgement), (key, mark)) in judged.zip(part.iter().zip(marks)) {
                        self.saw(key, entry.as_ref(), judgement, mark);
                        let fresh = entry.filter(|_| judgement == Judgement::Fresh);
                        let (found, spoiled) = self.decode(fresh);
                        values.push(found.hit());
                        all_spoiled.extend(spoiled.map(|entry| (key, entry)));
                    }
                    self.heal(all_spoiled).await;
                }
            }
        }
        Ok(values)
    }

    /// `MGET`, in as many parts as it needs.
    pub(super) async fn entries(&self, keys: &[StoredKey]) -> Result<Vec<Option<Entry>>> {
        let mut entries = Vec::with_capacity(keys.len());
        for part in parts(keys, |key| key.as_bytes().len()) {
            match self.request(&keyed("MGET", part)).await? {
                Value::Array(replies) if replies.len() == part.len() => {
                    for (reply, key) in replies.into_iter().zip(part) {
                        let bytes = reply::bytes("MGET", reply);
                        let bytes = bytes.map_err(|error| error.for_key(key.user()))?;
                        entries.push(bytes.map(Entry::new));
                    }
                }
                other => return Err(Error::unexpected("MGET", &other)),
            }
        }
        Ok(entries)
    }
}

/// A pending `set_many`.
#[must_use = "nothing is stored until it is carried out, by `.await` or `.run()`"]
pub struct SetMany<'c, M = Async> {
    core: &'c Core,
    entries: Result<Vec<(StoredKey, Body)>>,
    life: Life,
    tags: Vec<Vec<u8>>,
    mode: Marked<M>,
}

impl<'c, M> SetMany<'c, M> {
    pub(crate) fn new<K: AsRef<[u8]>, V: Encode>(
        core: &'c Core,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        // Encoded here, because the entries are the caller's to consume only now.
        let entries = entries
            .into_iter()
            .map(|(key, value)| {
                let key = core.stored(key.as_ref())?;
                let codec = core.codec();
                let value = codec::encode(&value, codec)
                    .and_then(|body| body.packed(codec))
                    .map_err(|error| error.for_key(key.user()))?;
                Ok((key, value))
            })
            .collect();
        SetMany {
            core,
            entries,
            life: Life::Default,
            tags: Vec::new(),
            mode: PhantomData,
        }
    }

    /// The entries expire after this time, each spread by the cache's jitter.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.life = Life::For(ttl.into_ttl());
        self
    }

    /// The entries do not expire, whatever the cache's default TTL.
    pub fn forever(mut self) -> Self {
        self.life = Life::Forever;
        self
    }

    /// Tags of every one of the entries: [`invalidate_tag`](crate::Cache::invalidate_tag) of any of them
    /// is their end. They cost a round trip more.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.tags
            .extend(tags.into_iter().map(|tag| tag.as_ref().to_vec()));
        self
    }

    fn start(self) -> CacheFuture<'c, ()> {
        let SetMany {
            core,
            entries,
            life,
            tags,
            mode: _,
        } = self;
        match entries {
            Ok(entries) if entries.is_empty() => CacheFuture::ready(Ok(())),
            Ok(entries) => CacheFuture::asking(async move {
                core.watched("set_many", Keys::Entries(&entries), async |core| {
                    core.told(core.write_many(&entries, &life, &tags).await)
                })
                .await
            }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }
}

operation!(SetMany<'c> -> ());

impl Core {
    async fn write_many(
        &self,
        entries: &[(StoredKey, Body)],
        life: &Life,
        tags: &[Vec<u8>],
    ) -> Result<()> {
        let (stay, tags) = (self.settle(life)?, self.tags(tags)?);
        let asking = Sent::keys(self, entries.iter().map(|(key, _)| key));
        let head = match self.tagged(&tags, stay).await {
            Ok(head) => head,
            Err(error) => return asking.failed(error),
        };
        asking.taken_over();
        let size = |(key, value): &(StoredKey, Body)| key.as_bytes().len() + value.bytes.len();
        // All of them from the beginning: those after a part that failed are kept for later, too.
        let parts: Vec<_> = parts(entries, size)
            .map(|part| (part, Sent::keys(self, part.iter().map(|(key, _)| key))))
            .collect();
        for (part, sent) in parts {
            let mut pipeline = Pipeline::with_capacity(part.len() + 1);
            pipeline.atomic();
            let mut sizes = Vec::with_capacity(part.len());
            for (key, value) in part {
                let entry = head.seal(value);
                sizes.push(entry.len());
                pipeline.add_command(self.set_command(key, &entry, stay));
            }
            pipeline.add_command(unlink_leases(part.iter().map(|(key, _)| key)));
            sent.pipeline(&pipeline).await?;
            for size in sizes {
                self.count_write(size);
                self.note(Outcome::Stored, size);
            }
        }
        Ok(())
    }

    /// `UNLINK` of keys, their leases before them; says how many of the keys were there.
    pub(super) async fn unlink_with_leases(&self, keys: &[StoredKey]) -> Result<u64> {
        let mut deleted = 0;
        // All of them from the beginning: those after a part that failed are kept for later, too.
        let parts: Vec<_> = parts(keys, |key| 2 * key.as_bytes().len())
            .map(|part| (part, Sent::keys(self, part)))
            .collect();
        for (part, sent) in parts {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.add_command(unlink_leases(part));
            pipeline.add_command(keyed("UNLINK", part));
            let replies = sent.pipeline(&pipeline).await?;
            let count = reply::count("UNLINK", replies.last().unwrap_or(&Value::Nil))?;
            self.counters().deletes.add(count);
            deleted += count;
        }
        Ok(deleted)
    }
}

pub(crate) fn delete_many<'c, M>(
    core: &'c Core,
    keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Pending<'c, u64, M> {
    let keys = stored(core, keys);
    Pending::new(async move {
        let keys = keys?;
        core.watched("delete_many", Keys::Stored(&keys), async |core| {
            core.told(core.unlink_with_leases(&keys).await)
        })
        .await
    })
}

impl<T, M> fmt::Debug for GetMany<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetMany")
            .field("keys", &self.keys.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for SetMany<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.as_ref().map(Vec::len);
        f.debug_struct("SetMany")
            .field("entries", &entries)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

fn stored(core: &Core, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<StoredKey>> {
    keys.into_iter()
        .map(|key| core.stored(key.as_ref()))
        .collect()
}

/// `UNLINK` of the leases of keys.
fn unlink_leases<'k>(keys: impl IntoIterator<Item = &'k StoredKey>) -> Cmd {
    let mut command = redis::cmd("UNLINK");
    for key in keys {
        command.arg(key.lease());
    }
    command
}

/// A command with many keys.
fn keyed(verb: &str, keys: &[StoredKey]) -> Cmd {
    let bytes = keys.iter().map(|key| key.as_bytes().len()).sum::<usize>();
    let mut command = Cmd::with_capacity(1 + keys.len(), verb.len() + bytes);
    command.arg(verb);
    for key in keys {
        command.arg(key);
    }
    command
}

/// Splits a batch at [`KEYS`] and [`BYTES`].
pub(super) fn parts<T>(items: &[T], size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = rest.iter().take(KEYS).take_while(|item| {
            bytes += size(item);
            bytes <= BYTES
        });
        let (part, after) = rest.split_at(fit.count().max(1).min(rest.len()));
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_is_split_by_number_and_by_size() {
        let sizes = |items: &[usize]| {
            parts(items, |size| *size)
                .map(<[usize]>::len)
                .collect::<Vec<_>>()
        };
        assert!(sizes(&[]).is_empty());
        assert_eq!(sizes(&[1; 2_500]), [1_000, 1_000, 500]);
        assert_eq!(
            sizes(&[BYTES, 1, BYTES + 1, BYTES / 2, BYTES / 2, 1]),
            [1, 1, 1, 2, 1]
        );
    }

    proptest! {
        #[test]
        fn splitting_loses_nothing(items in prop::collection::vec(0..2 * BYTES, 0..50)) {
            let joined: Vec<usize> = parts(&items, |size| *size).flatten().copied().collect();
            prop_assert_eq!(joined, items);
        }
    }
}

//! Many keys at once: `get_many`, `set_many`, `delete_many`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::CacheOf;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use super::write::{Life, millis, set_step, tagged_head};
use crate::client::batch::parts;
use crate::codec::{Bodies, Decode, Encode, Piece};
use crate::error::Result;
use crate::hooks::{CallKeys, Outcome};
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::{self, Delivery};
use crate::read_through::near::Shape;
use crate::read_through::presence::Stay;
use crate::read_through::tags::Tag;
use crate::resilience::Steps;
use crate::ttl::{IntoTtl, Ttl};

impl<M> CacheOf<M> {
    /// The values of many keys, in the order of the keys. A key is `None` where [`get`](CacheOf::get) would return
    /// `None`, and also where it holds another Redis type.
    ///
    /// Up to 1,000 keys take one round trip (`MGET`); more keys are split.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set_many([("a", 1), ("b", 2)]).await?;
    /// let values: Vec<Option<i32>> = cache.get_many(["a", "x", "b", "a"]).await?;
    /// assert_eq!(values, [Some(1), None, Some(2), Some(1)]);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// The first error of any key; no values are returned then.
    pub fn get_many<T: Decode + Clone>(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> GetMany<'_, T, M> {
        GetMany {
            core: &self.core,
            keys: stored(&self.core, keys),
            extend: None,
            near: Some(Shape::cloned()),
            mode: PhantomData,
        }
    }

    /// Stores many values with one TTL (jitter is applied to each entry). Up to 1,000 entries or 4 MiB take one round
    /// trip; more are split. Not atomic: after an error, some entries may be stored.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set_many([("a", 1), ("b", 2)]).ttl("1h").await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`set`](CacheOf::set), for the first entry that has one.
    pub fn set_many<K: AsRef<[u8]>, V: Encode>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> SetMany<'_, M> {
        SetMany::new(&self.core, entries)
    }

    /// Deletes many keys and returns how many existed. Up to 1,000 keys take one round trip; more are split.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]). After an error, some keys may be deleted.
    pub fn delete_many(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Pending<'_, u64, M> {
        let core = &self.core;
        let keys = stored(core, keys);
        Pending::new(async move {
            let keys = keys?;
            core.invalidate("delete_many", CallKeys::Stored(&keys), async |core| {
                delivery::unlink(core, &keys).await
            })
            .await
        })
    }
}

/// A pending `get_many`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct GetMany<'c, T, M = Async> {
    core: &'c ReadThrough,
    keys: Result<Vec<StoredKey>>,
    extend: Option<Result<Ttl>>,
    /// How near values are taken; `None` if Redis is to be asked.
    near: Option<Shape<T>>,
    mode: Marked<M>,
}

impl<'c, T: Decode, M> GetMany<'c, T, M> {
    /// Restarts the TTLs in the same step: see [`Get::extend`](super::operation::Get::extend).
    pub fn extend(mut self, ttl: impl IntoTtl) -> Self {
        self.extend = Some(ttl.into_ttl());
        self
    }

    /// Asks Redis, whatever the near tier holds: see [`Get::skip_near`](super::operation::Get::skip_near).
    pub fn skip_near(mut self) -> Self {
        self.near = None;
        self
    }

    pub(crate) fn start(self) -> CacheFuture<'c, Vec<Option<T>>> {
        let (core, near) = (self.core, self.near);
        let extend = match self.extend.transpose() {
            Ok(extend) => extend,
            Err(error) => return CacheFuture::ready(Err(error)),
        };
        match self.keys {
            Ok(keys) if keys.is_empty() => CacheFuture::ready(Ok(Vec::new())),
            Ok(keys) => CacheFuture::asking(async move {
                core.perform("get_many", CallKeys::Stored(&keys), async |core| {
                    core.look_up_many(&keys, extend, near).await
                })
                .await
            }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }
}

operation!(GetMany<'c, T: Decode> -> Vec<Option<T>>);

/// A pending `set_many`.
#[must_use = "nothing is stored until it is carried out, by `.await` or `.run()`"]
pub struct SetMany<'c, M = Async> {
    core: &'c ReadThrough,
    entries: Result<Vec<(StoredKey, Piece)>>,
    bodies: Bodies,
    life: Life,
    tags: Vec<Vec<u8>>,
    mode: Marked<M>,
}

impl<'c, M> SetMany<'c, M> {
    fn new<K: AsRef<[u8]>, V: Encode>(
        core: &'c ReadThrough,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        // The entries are encoded now, because the iterator is the caller's and cannot be kept.
        let (mut bodies, codec) = (Bodies::default(), core.client().codec());
        let entries = entries
            .into_iter()
            .map(|(key, value)| {
                let key = core.client().stored(key.as_ref())?;
                let body = bodies.encode(&value, codec);
                let body = body.map_err(|error| error.for_key(&key))?;
                Ok((key, body))
            })
            .collect();
        SetMany {
            core,
            entries,
            bodies,
            life: Life::Default,
            tags: Vec::new(),
            mode: PhantomData,
        }
    }

    /// The entries expire after this time. The cache's jitter varies it for each entry.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.life = Life::For(ttl.into_ttl());
        self
    }

    /// The entries do not expire, whatever the cache's default TTL.
    pub fn forever(mut self) -> Self {
        self.life = Life::Forever;
        self
    }

    /// Tags of every entry: [`invalidate_tag`](crate::Cache::invalidate_tag) of any of them invalidates all these
    /// entries. Tags take one more round trip.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.tags
            .extend(tags.into_iter().map(|tag| tag.as_ref().to_vec()));
        self
    }

    fn start(self) -> CacheFuture<'c, ()> {
        self.start_counting(Arc::default())
    }

    /// The same; how many of the entries are stored is counted meanwhile, so that it is known after an error, too.
    pub(crate) fn start_counting(self, stored: Arc<AtomicUsize>) -> CacheFuture<'c, ()> {
        let SetMany {
            core,
            entries,
            bodies,
            life,
            tags,
            mode: _,
        } = self;
        match entries {
            Ok(entries) if entries.is_empty() => CacheFuture::ready(Ok(())),
            Ok(entries) => CacheFuture::asking(async move {
                core.invalidate("set_many", CallKeys::Entries(&entries), async |core| {
                    write_many(core, (&entries, &bodies), &life, &tags, &stored).await
                })
                .await
            }),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }
}

operation!(SetMany<'c> -> ());

async fn write_many(
    core: &ReadThrough,
    (entries, bodies): (&[(StoredKey, Piece)], &Bodies),
    life: &Life,
    tags: &[Vec<u8>],
    stored: &AtomicUsize,
) -> Result<()> {
    let stay = life.settle(core)?;
    let tags = Tag::of_entry(core.client().keyspace(), tags)?;
    let size = |(key, body): &(StoredKey, Piece)| key.as_bytes().len() + body.len();
    // Create every part's delivery before the first is sent: if one part fails, the parts after it go to the outbox
    // too.
    let parts: Vec<_> = parts(entries, size)
        .map(|part| (part, Delivery::keys(core, part.iter().map(|(key, _)| key))))
        .collect();
    let head = match tagged_head(core, &tags, stay).await {
        Ok(head) => head,
        Err(error) => {
            let ended = parts.into_iter().map(|(_, part)| part.fail(error.clone()));
            // One that is not kept for later must not be hidden by those that are.
            let worst = ended.reduce(|one: Result<()>, other| match &one {
                Err(error) if error.is_deferred() => other,
                _ => one,
            });
            return worst.unwrap_or(Ok(()));
        }
    };
    let spread = core.client().is_spread();
    for (part, delivery) in parts {
        let sealed: Vec<_> = part
            .iter()
            .map(|(_, body)| head.seal_as(body.form, bodies.of(body)))
            .collect();
        let texts = Texts::of(core, part, stay);
        let mut steps = Steps::with_capacity(2 * part.len(), 7 * part.len());
        for (at, (key, _)) in part.iter().enumerate() {
            set_step(&mut steps, key, &sealed[at], texts.ttl(at));
            if spread {
                steps.step(&[b"UNLINK", texts.lease(at)]);
            }
        }
        let note = |entry: &[u8]| {
            stored.fetch_add(1, Ordering::Relaxed);
            core.client().count_write(entry.len());
            core.client().note(Outcome::Stored, entry.len());
        };
        if spread {
            // Each slot has a transaction of its own, and what failed may be the others' success.
            let keys: Vec<&StoredKey> = part.iter().map(|(key, _)| key).collect();
            let pipeline = steps.pipeline();
            let sent = delivery.send_pairs(&keys, &pipeline, |at, _| note(&sealed[at]));
            sent.await?;
        } else {
            steps.word(b"UNLINK");
            (0..part.len()).for_each(|at| steps.word(texts.lease(at)));
            steps.end();
            delivery.send_steps(&steps).await?;
            sealed.iter().for_each(|entry| note(entry));
        }
    }
    Ok(())
}

/// The TTL and the lease of each entry, as they are sent, in one piece of memory.
struct Texts {
    bytes: Vec<u8>,
    /// Of each entry, where its lease begins and ends.
    leases: Vec<(usize, usize)>,
}

impl Texts {
    fn of(core: &ReadThrough, part: &[(StoredKey, Piece)], stay: Stay) -> Self {
        let mut texts = Texts {
            bytes: Vec::with_capacity(part.len() * 64),
            leases: Vec::with_capacity(part.len()),
        };
        for (key, _) in part {
            if let Some(ttl) = millis(core, stay, &mut itoa::Buffer::new()) {
                texts.bytes.extend_from_slice(ttl);
            }
            let begin = texts.bytes.len();
            texts.bytes.extend_from_slice(&key.lease());
            texts.leases.push((begin, texts.bytes.len()));
        }
        texts
    }

    fn lease(&self, at: usize) -> &[u8] {
        let (begin, end) = self.leases[at];
        &self.bytes[begin..end]
    }

    /// In milliseconds; `None`: it does not expire.
    fn ttl(&self, at: usize) -> Option<&[u8]> {
        let begin = at.checked_sub(1).map_or(0, |before| self.leases[before].1);
        Some(&self.bytes[begin..self.leases[at].0]).filter(|ttl| !ttl.is_empty())
    }
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

fn stored(
    core: &ReadThrough,
    keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Result<Vec<StoredKey>> {
    keys.into_iter()
        .map(|key| core.client().stored(key.as_ref()))
        .collect()
}

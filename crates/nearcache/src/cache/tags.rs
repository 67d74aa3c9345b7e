//! Invalidating by tag, and marking stale by tag.

use super::CacheOf;
use super::operation::Pending;
use crate::error::Result;
use crate::hooks::CallKeys;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::{self, Delivery};
use crate::read_through::tags::Tag;

/// How many tags are marked together.
const PART: usize = 500;

impl<M> CacheOf<M> {
    /// Invalidates every entry that carries this tag, however many there are and whichever process stored them, in one
    /// round trip (two in a Redis Cluster). See [`invalidate_tags`](CacheOf::invalidate_tags).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set("user:1", "Alice").tags(["users", "org:7"]).await?;
    /// cache.invalidate_tag("org:7").await?;
    /// assert_eq!(cache.get::<String>("user:1").await?, None);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey) for a tag that is empty or longer than 1 KiB, and those
    /// of every call (see [`CacheOf`]). An invalidation that Redis did not acknowledge is kept and sent later: see
    /// [`Builder::on_undelivered`](crate::Builder::on_undelivered).
    pub fn invalidate_tag(&self, tag: impl AsRef<[u8]>) -> Pending<'_, (), M> {
        self.invalidate_tags([tag])
    }

    /// Invalidates every entry that carries any of these tags.
    ///
    /// # Errors
    /// Those of [`invalidate_tag`](CacheOf::invalidate_tag).
    pub fn invalidate_tags(
        &self,
        tags: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Pending<'_, (), M> {
        let core = &self.core;
        let names: Vec<Vec<u8>> = tags.into_iter().map(|tag| tag.as_ref().to_vec()).collect();
        Pending::new(async move {
            core.invalidate("invalidate_tags", CallKeys::Names(&names), async |core| {
                invalidate(core, &names).await
            })
            .await
        })
    }
}

impl<M> CacheOf<M> {
    /// Marks every entry that carries this tag stale, in one round trip (two in a Redis Cluster): see
    /// [`mark_tags_stale`](CacheOf::mark_tags_stale).
    ///
    /// # Errors
    /// Those of [`mark_tags_stale`](CacheOf::mark_tags_stale).
    pub fn mark_tag_stale(&self, tag: impl AsRef<[u8]>) -> Pending<'_, (), M> {
        self.mark_tags_stale([tag])
    }

    /// Marks every entry that carries any of these tags stale, whichever process stored it. `remember` with a
    /// `stale_for` then returns the old value at once, and loads a new one in the background; to every other method the
    /// entries are gone. A load that began before stores nothing.
    ///
    /// An entry is returned as stale until its TTL and its stale window end. A tag may be marked eight times; entries
    /// from before the last eight times are gone, as after [`invalidate_tags`](CacheOf::invalidate_tags), which is the
    /// right method if the old values must not be seen any more.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # use nearcache::Error;
    /// let prices = async |price: u32| {
    ///     cache
    ///         .remember("price:1", move || async move { Ok::<_, Error>(price) })
    ///         .ttl("1h")
    ///         .stale_for("5m")
    ///         .tags(["prices"])
    ///         .await
    /// };
    /// assert_eq!(prices(10).await?, 10);
    /// cache.mark_tag_stale("prices").await?;
    /// assert_eq!(prices(11).await?, 10); // the old price at once; 11 is loaded meanwhile
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`invalidate_tag`](CacheOf::invalidate_tag). What Redis did not acknowledge is sent later as an
    /// invalidation of the tags.
    pub fn mark_tags_stale(
        &self,
        tags: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Pending<'_, (), M> {
        let core = &self.core;
        let names: Vec<Vec<u8>> = tags.into_iter().map(|tag| tag.as_ref().to_vec()).collect();
        Pending::new(async move {
            core.invalidate("mark_tags_stale", CallKeys::Names(&names), async |core| {
                mark(core, &names).await
            })
            .await
        })
    }
}

async fn mark(core: &ReadThrough, names: &[Vec<u8>]) -> Result<()> {
    let tags = in_parts(core, names)?;
    let parts: Vec<_> = tags.iter().map(|part| Delivery::tags(core, part)).collect();
    for (part, delivery) in tags.iter().zip(parts) {
        let marked = core.mark_tags(part).await;
        delivery.conclude(marked)?;
    }
    Ok(())
}

fn in_parts(core: &ReadThrough, names: &[Vec<u8>]) -> Result<Vec<Vec<Tag>>> {
    names
        .chunks(PART)
        .map(|part| Tag::all(core.client().keyspace(), part))
        .collect()
}

async fn invalidate(core: &ReadThrough, names: &[Vec<u8>]) -> Result<()> {
    let tags: Vec<Tag> = in_parts(core, names)?.into_iter().flatten().collect();
    delivery::invalidate_tags(core, &tags).await
}

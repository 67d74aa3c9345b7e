//! Invalidating by tag.

use redis::Pipeline;

use super::CacheOf;
use super::operation::Pending;
use crate::error::Result;
use crate::hooks::CallKeys;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Delivery;
use crate::read_through::tags::Tag;

/// How many tags are sent together.
const PART: usize = 500;

impl<M> CacheOf<M> {
    /// Invalidates every entry that carries this tag, however many there are and whichever process stored them, in one
    /// round trip. See [`invalidate_tags`](CacheOf::invalidate_tags).
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

/// model: Action::InvalidateTag
async fn invalidate(core: &ReadThrough, names: &[Vec<u8>]) -> Result<()> {
    let tags: Vec<Vec<Tag>> = names
        .chunks(PART)
        .map(|part| Tag::all(core.client().keyspace(), part))
        .collect::<Result<_>>()?;
    // Create every part's delivery before the first is sent: if one part fails, the parts after it go to the outbox
    // too.
    let parts: Vec<_> = tags.iter().map(|part| Delivery::tags(core, part)).collect();
    for delivery in parts {
        let mut pipeline = Pipeline::with_capacity(2 * delivery.invalidations().len());
        for invalidation in delivery.invalidations() {
            invalidation.add_to(&mut pipeline);
        }
        delivery.send(&pipeline).await?;
    }
    Ok(())
}

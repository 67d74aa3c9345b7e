//! Invalidating by tag.

use redis::Pipeline;

use super::core::Core;
use super::invalidate::Sent;
use super::operation::Pending;
use super::{Cache, verbs};
use crate::error::Result;
use crate::hooks::Keys;
use crate::read_through::tags::Tag;

/// How many tags travel together.
const PART: usize = 500;

impl Cache {
    /// Ends every entry that carries this tag, however many there are and in whatever process they were
    /// stored, in one round trip. See [`invalidate_tags`](Cache::invalidate_tags).
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
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey) for a tag that is empty or longer than 1 KiB, and
    /// those of every call (see [`Cache`]). One that Redis did not acknowledge is kept and sent later: see
    /// [`Builder::on_undelivered`](crate::Builder::on_undelivered).
    pub fn invalidate_tag(&self, tag: impl AsRef<[u8]>) -> Pending<'_, ()> {
        verbs::invalidate_tags(&self.core, [tag])
    }

    /// Ends every entry that carries any of these tags.
    ///
    /// # Errors
    /// Those of [`invalidate_tag`](Cache::invalidate_tag).
    pub fn invalidate_tags(
        &self,
        tags: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Pending<'_, ()> {
        verbs::invalidate_tags(&self.core, tags)
    }
}

/// model: Action::InvalidateTag
pub(crate) fn invalidate_tags<'c, M>(
    core: &'c Core,
    tags: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Pending<'c, (), M> {
    let names: Vec<Vec<u8>> = tags.into_iter().map(|tag| tag.as_ref().to_vec()).collect();
    Pending::new(async move {
        core.watched("invalidate_tags", Keys::Names(&names), async |core| {
            core.told(core.invalidate(&names).await)
        })
        .await
    })
}

impl Core {
    async fn invalidate(&self, names: &[Vec<u8>]) -> Result<()> {
        let tags: Vec<Vec<Tag>> = names
            .chunks(PART)
            .map(|part| self.tags_of(part))
            .collect::<Result<_>>()?;
        // All of them from the beginning: those after a part that failed are kept for later, too.
        let parts: Vec<_> = tags.iter().map(|part| Sent::tags(self, part)).collect();
        for sent in parts {
            let mut pipeline = Pipeline::with_capacity(2 * sent.undone().len());
            for undone in sent.undone() {
                undone.add_to(&mut pipeline);
            }
            sent.pipeline(&pipeline).await?;
        }
        Ok(())
    }
}

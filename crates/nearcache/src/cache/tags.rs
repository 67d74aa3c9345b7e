//! Invalidating by tag.

use redis::Pipeline;

use super::core::Core;
use super::invalidate::Sent;
use super::operation::Pending;
use crate::error::Result;
use crate::hooks::Keys;
use crate::read_through::tags::Tag;
use crate::resilience;

/// How many tags travel together.
const PART: usize = 500;

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
                resilience::invalidate(&mut pipeline, undone);
            }
            sent.pipeline(&pipeline).await?;
        }
        Ok(())
    }
}

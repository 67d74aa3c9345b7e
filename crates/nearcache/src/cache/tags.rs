//! Invalidating by tag.

use redis::Pipeline;

use super::core::Core;
use super::invalidate::Sent;
use super::operation::Pending;
use crate::error::Result;
use crate::resilience;

/// How many tags travel together.
const PART: usize = 500;

/// model: Action::InvalidateTag
pub(crate) fn invalidate_tags<'c, M>(
    core: &'c Core,
    tags: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Pending<'c, (), M> {
    let names: Vec<Vec<u8>> = tags.into_iter().map(|tag| tag.as_ref().to_vec()).collect();
    Pending::new(async move { core.told(core.invalidate(&names).await) })
}

impl Core {
    async fn invalidate(&self, names: &[Vec<u8>]) -> Result<()> {
        for part in names.chunks(PART) {
            let tags = self.tags_of(part)?;
            let sent = Sent::tags(self, &tags);
            let mut pipeline = Pipeline::with_capacity(2 * tags.len());
            for undone in sent.undone() {
                resilience::invalidate(&mut pipeline, undone);
            }
            sent.pipeline(&pipeline).await?;
        }
        Ok(())
    }
}

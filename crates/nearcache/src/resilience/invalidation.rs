//! What is to be invalidated, as the commands that do it.

use redis::Pipeline;

/// What is to be invalidated. It can be sent twice: what is gone stays gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Invalidation {
    /// An entry, with its lease.
    Entry { key: Box<[u8]>, lease: Box<[u8]> },
    /// The lease of an entry that may be another's: what was written only if there was none.
    Lease { lease: Box<[u8]> },
    /// A tag's version, with what changes when any of them does.
    Tag {
        version: Box<[u8]>,
        epoch: Box<[u8]>,
    },
}

impl Invalidation {
    /// How many bytes its keys have.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Invalidation::Entry { key, lease } => key.len() + lease.len(),
            Invalidation::Lease { lease } => lease.len(),
            Invalidation::Tag { version, epoch } => version.len() + epoch.len(),
        }
    }

    /// Invalidates, as `delete` and `invalidate_tag` do.
    pub(crate) fn add_to(&self, pipeline: &mut Pipeline) {
        match self {
            // The lease first: a load that is fenced by it must not fill between the two.
            Invalidation::Entry { key, lease } => {
                pipeline.cmd("UNLINK").arg(&**lease);
                pipeline.cmd("UNLINK").arg(&**key);
            }
            Invalidation::Lease { lease } => {
                pipeline.cmd("UNLINK").arg(&**lease);
            }
            // A version that is gone ends its entries as another version would; and removing it works
            // where Redis is out of memory. What stands for all tags goes with it, for the loads that
            // learn their tags only at their end.
            Invalidation::Tag { version, epoch } => {
                pipeline.cmd("UNLINK").arg(&**epoch).arg(&**version);
            }
        }
    }
}

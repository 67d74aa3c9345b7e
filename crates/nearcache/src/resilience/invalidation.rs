//! Invalidations as commands.

use redis::Pipeline;

/// One invalidation. It may be sent twice: the second time it has nothing to delete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Invalidation {
    /// An entry, with its lease.
    Entry { key: Box<[u8]>, lease: Box<[u8]> },
    /// Only a lease, after an `add` whose outcome is unknown: the entry may be another caller's.
    Lease { lease: Box<[u8]> },
    /// A tag's version key, and the epoch, which changes with every tag invalidation.
    Tag {
        version: Box<[u8]>,
        epoch: Box<[u8]>,
    },
}

impl Invalidation {
    /// The total size of its keys in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Invalidation::Entry { key, lease } => key.len() + lease.len(),
            Invalidation::Lease { lease } => lease.len(),
            Invalidation::Tag { version, epoch } => version.len() + epoch.len(),
        }
    }

    /// Adds the commands, which are the same as in `delete` and `invalidate_tag`.
    pub(crate) fn add_to(&self, pipeline: &mut Pipeline) {
        match self {
            // The lease first, so that the running load cannot fill between the two.
            Invalidation::Entry { key, lease } => {
                pipeline.cmd("UNLINK").arg(&**lease);
                pipeline.cmd("UNLINK").arg(&**key);
            }
            Invalidation::Lease { lease } => {
                pipeline.cmd("UNLINK").arg(&**lease);
            }
            // Deleting a version invalidates its entries as much as a new version would, and also works when Redis is
            // out of memory. The epoch goes with it, for loads that learn their tags only at their end.
            Invalidation::Tag { version, epoch } => {
                pipeline.cmd("UNLINK").arg(&**epoch).arg(&**version);
            }
        }
    }
}

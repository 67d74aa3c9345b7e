//! Invalidations as commands.

use redis::Pipeline;

use crate::keyspace::{Keyspace, StoredKey, lease_of};

/// One invalidation. It may be sent twice: the second time it has nothing to delete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Invalidation {
    pub(super) kind: Kind,
    /// The key of the entry, the key of the lease, or the version key of the tag.
    pub(super) name: Box<[u8]>,
    /// The length of the name's prefix. Two caches may reach one key by different prefixes, with different leases.
    pub(super) prefix: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// An entry, with its lease.
    Entry,
    /// The same, but only if the key holds a string, because nobody asked for its deletion.
    String,
    /// Only a lease, after an `add` whose outcome is unknown: the entry may be another caller's.
    Lease,
    /// A tag's version key, and the epoch, which changes with every tag invalidation.
    Tag,
}

impl Invalidation {
    pub(crate) fn entry(key: &StoredKey) -> Self {
        Invalidation {
            kind: Kind::Entry,
            name: key.as_bytes().into(),
            prefix: key.prefix_len(),
        }
    }

    pub(crate) fn lease(key: &StoredKey) -> Self {
        Invalidation {
            kind: Kind::Lease,
            name: key.lease().into(),
            prefix: key.prefix_len(),
        }
    }

    pub(crate) fn tag(keyspace: &Keyspace, version: &[u8]) -> Self {
        Invalidation {
            kind: Kind::Tag,
            name: version.into(),
            prefix: keyspace.prefix_len(),
        }
    }

    pub(super) fn keyspace(&self) -> Keyspace {
        Keyspace::of(&self.name, self.prefix)
    }

    /// The size of its name in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.name.len()
    }

    /// Adds the commands, which are the same as in `delete` and `invalidate_tag`.
    pub(crate) fn add_to(&self, pipeline: &mut Pipeline) {
        match self.kind {
            // The lease first, so that the running load cannot fill between the two.
            Kind::Entry | Kind::String => {
                let lease = lease_of(&self.name, self.prefix);
                pipeline.cmd("UNLINK").arg(lease);
                pipeline.cmd("UNLINK").arg(&*self.name);
            }
            Kind::Lease => {
                pipeline.cmd("UNLINK").arg(&*self.name);
            }
            // Deleting a version invalidates its entries as much as a new version would, and also works when Redis is
            // out of memory. The epoch goes with it, for loads that learn their tags only at their end.
            Kind::Tag => {
                let epoch = self.keyspace().tag_epoch();
                pipeline.cmd("UNLINK").arg(epoch).arg(&*self.name);
            }
        }
    }
}

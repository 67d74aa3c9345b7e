//! Invalidations as commands.
//!
//! 1. The epoch of a tag is removed, and the removal acknowledged, before its version: a load that learns its tags at
//!    its end compares the epoch, and the entry that it stores carries the version that it read before that. They may be
//!    on different servers, so they are never in one command here.
//! 2. An entry and its lease are in one slot, and go in one command.

use std::collections::HashSet;
use std::sync::Arc;

use redis::Pipeline;

use super::Guarded;
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

/// The servers that an invalidation is for, where there are several: that of its name, and that of the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Goal([Option<Arc<str>>; 2]);

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
            name: key.lease().as_slice().into(),
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

    /// The servers that it is for; `None` while one of them is away.
    pub(super) fn goal(&self, guarded: &Guarded) -> Option<Goal> {
        let epoch = match self.kind {
            Kind::Tag => guarded.host_of(&self.keyspace().tag_epoch())?,
            _ => None,
        };
        Some(Goal([guarded.host_of(&self.name)?, epoch]))
    }

    /// The key of the entry, the key of the lease, or the version key of the tag.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The size of its name in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.name.len()
    }

    /// The commands of these, in steps: each is sent once everything in the one before it is acknowledged. If a server
    /// is replaced by another meanwhile, all of them begin again, because it may have lost a step that its predecessor had
    /// acknowledged.
    pub(crate) fn steps<'i>(
        invalidations: impl IntoIterator<Item = &'i Invalidation>,
    ) -> impl Iterator<Item = Pipeline> {
        let (mut first, mut second) = (Pipeline::new(), Pipeline::new());
        let mut epochs = HashSet::new();
        for invalidation in invalidations {
            let name = &*invalidation.name;
            match invalidation.kind {
                Kind::Entry | Kind::String => {
                    let lease = lease_of(name, invalidation.prefix);
                    first.cmd("UNLINK").arg(name).arg(&*lease);
                }
                Kind::Lease => {
                    first.cmd("UNLINK").arg(name);
                }
                // Deleting a version invalidates its entries as much as a new version would, and also works when Redis
                // is out of memory.
                Kind::Tag => {
                    let epoch = invalidation.keyspace().tag_epoch();
                    if !epochs.contains(&epoch) {
                        first.cmd("UNLINK").arg(&epoch);
                        epochs.insert(epoch);
                    }
                    second.cmd("UNLINK").arg(name);
                }
            }
        }
        [first, second].into_iter().filter(|step| !step.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::Arg;

    #[test]
    fn the_epoch_goes_once_and_before_every_version() {
        let app = Keyspace::new("app", ":").unwrap();
        let other = Keyspace::new("other", ":").unwrap();
        let key = app.stored(b"k").unwrap();
        let all = [
            Invalidation::tag(&app, &app.tag(b"a").unwrap()),
            Invalidation::entry(&key),
            Invalidation::tag(&app, &app.tag(b"b").unwrap()),
            Invalidation::tag(&other, &other.tag(b"a").unwrap()),
            Invalidation::lease(&key),
        ];
        let words = |pipeline: Pipeline| -> Vec<String> {
            let of = |command: &redis::Cmd| {
                let words = command.args_iter().map(|word| match word {
                    Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
                    _ => String::new(),
                });
                words.collect::<Vec<_>>().join(" ")
            };
            pipeline.cmd_iter().map(of).collect()
        };
        let steps: Vec<_> = Invalidation::steps(&all).map(words).collect();
        let [first, second] = &steps[..] else {
            panic!("{steps:?}");
        };
        assert_eq!(
            first[..],
            [
                "UNLINK app:#nearcache:tags",
                "UNLINK app:k app:{app:k}#nearcache:lease",
                "UNLINK other:#nearcache:tags",
                "UNLINK app:{app:k}#nearcache:lease",
            ]
        );
        assert_eq!(
            second[..],
            [
                "UNLINK app:#nearcache:tag:a",
                "UNLINK app:#nearcache:tag:b",
                "UNLINK other:#nearcache:tag:a",
            ]
        );
        let untagged = Invalidation::steps(&all[1..2]);
        assert_eq!(untagged.count(), 1);
    }
}

//! A value that this process stores, and keeps: the end of a load.
//!
//! To be near, a value must be one whose later changes are told. A server that was asked for `NOLOOP` stops telling of a key
//! when the key is written over the same connection, until it is read again (measured on Redis 7.0). FILL therefore ends
//! with a read of the entry and of the versions of its tags, which it may have made live longer, in the same script:
//! nothing comes between the two. The other scripts that touch versions for a load or a write with tags end likewise. So
//! none of them ends what is near of the same tags.
//!
//! FILL announces its key here by itself, and to all other tiers by `resilience::keepers`; and only its own announcement
//! leaves its mark in force.

use std::sync::Arc;

use super::super::entry::Entry;
use super::marks::Reading;
use super::{Keeper, Near};
use crate::client::Client;
use crate::keyspace::{Keyspace, StoredKey};

/// A FILL that was sent. If it is dropped without an answer, the key counts as changed.
pub(in super::super) struct OwnFill {
    near: Arc<Near>,
    key: StoredKey,
    reading: Option<Reading>,
}

impl Near {
    /// Which tier an announcement is not for.
    pub(in super::super) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Announces a FILL of an entry with these version keys of tags. Call it before it is sent, and before what it
    /// depends on is read.
    pub(in super::super) fn begin_fill(
        self: &Arc<Self>,
        key: &StoredKey,
        versions: Vec<Vec<u8>>,
        client: &Client,
    ) -> OwnFill {
        self.written(key.as_bytes());
        let mut reading = self.begin(key, client);
        for version_key in versions {
            self.begin_tag(&mut reading, version_key, client);
        }
        OwnFill {
            near: Arc::clone(self),
            key: key.clone(),
            reading: Some(reading),
        }
    }
}

/// The version keys of an entry's tags.
pub(in super::super) fn version_keys(entry: &Entry, keyspace: &Keyspace) -> Vec<Vec<u8>> {
    let keys = entry.tags().filter_map(|tag| keyspace.tag(tag).ok());
    keys.collect()
}

impl OwnFill {
    /// The bytes were stored, for so many ms (0: for ever).
    pub(in super::super) fn stored(mut self, bytes: &[u8], stays: u64, client: &Client) {
        let Some(mut reading) = self.reading.take() else {
            return;
        };
        // Nothing else has written the key.
        let Some(renewed) = self.near.marks.renew(reading.mark) else {
            self.near.written(self.key.as_bytes());
            return;
        };
        reading.mark = renewed;
        let entry = Entry::new(bytes.to_vec());
        let marked = |version_key| {
            reading
                .tags
                .iter()
                .any(|(marked, _)| *marked == version_key)
        };
        if !version_keys(&entry, client.keyspace())
            .into_iter()
            .all(marked)
        {
            // In a Cluster, the version of a tag that only the loader named was read before it was marked.
            self.near.written(self.key.as_bytes());
            return;
        }
        reading.left = match stays {
            0 => Some(-1),
            stays => i64::try_from(stays).ok(),
        };
        self.near.keep(&self.key, &entry, true, reading, client);
    }
}

impl Drop for OwnFill {
    fn drop(&mut self) {
        if self.reading.is_some() {
            self.near.written(self.key.as_bytes());
        }
    }
}

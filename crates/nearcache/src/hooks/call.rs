//! What a hook is told of a call.

use std::fmt;
use std::time::Duration;

use crate::codec::Body;
use crate::keyspace::{Key, StoredKey};

/// A call: which verb, of which keys.
pub struct Call<'c> {
    command: &'static str,
    keys: CallKeys<'c>,
    host: &'c str,
    db: u32,
}

/// The keys of a call.
#[derive(Clone, Copy)]
pub(crate) enum CallKeys<'c> {
    None,
    One(&'c [u8]),
    Stored(&'c [StoredKey]),
    Entries(&'c [(StoredKey, Body)]),
    Names(&'c [Vec<u8>]),
}

impl<'c> Call<'c> {
    pub(crate) fn new(command: &'static str, keys: CallKeys<'c>, host: &'c str, db: u32) -> Self {
        Call {
            command,
            keys,
            host,
            db,
        }
    }

    /// The verb: `get`, `set`, `remember`, ... as the methods of [`Cache`](crate::Cache) are named; `load` for
    /// a run of a loader, whose outcome is whether its value was stored.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// The key, without the prefix, of a call with one. (A tag, for `invalidate_tags` with one; a pattern, for
    /// `delete_pattern`.)
    pub fn key(&self) -> Option<Key> {
        let mut keys = self.keys();
        match (keys.next(), keys.next()) {
            (Some(key), None) => Some(Key::from(key)),
            _ => None,
        }
    }

    /// All its keys, without the prefix.
    pub fn keys(&self) -> impl Iterator<Item = &'c [u8]> + use<'c> {
        let keys = self.keys;
        (0..self.key_count()).filter_map(move |index| match keys {
            CallKeys::None => None,
            CallKeys::One(key) => Some(key),
            CallKeys::Stored(keys) => Some(keys.get(index)?.user()),
            CallKeys::Entries(entries) => Some(entries.get(index)?.0.user()),
            CallKeys::Names(names) => names.get(index).map(|name| &**name),
        })
    }

    /// How many keys it has.
    pub fn key_count(&self) -> usize {
        match self.keys {
            CallKeys::None => 0,
            CallKeys::One(_) => 1,
            CallKeys::Stored(keys) => keys.len(),
            CallKeys::Entries(entries) => entries.len(),
            CallKeys::Names(names) => names.len(),
        }
    }

    /// The server, as `host:port` or the socket's path; `memory://` and the store's name for one in this
    /// process.
    pub fn host(&self) -> &'c str {
        self.host
    }

    /// The number of its database.
    pub fn db(&self) -> u32 {
        self.db
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("command", &self.command)
            .field("key", &self.key())
            .field("key_count", &self.key_count())
            .field("host", &self.host)
            .finish()
    }
}

/// How a call succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Done {
    /// What came of it.
    pub outcome: Outcome,
    /// How many keys were answered from the cache: 0 or 1, but for a call with many keys.
    pub hits: u64,
    /// How many were not, of a call that reads.
    pub misses: u64,
    /// The bytes of the values that were read or written, as they lie in Redis.
    pub bytes: u64,
    /// How long the call took; of `remember`, waiting for the loader included.
    pub took: Duration,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It has no other outcome: `expire`, `ping`, a call with many keys.
    #[default]
    Done,
    /// A value was read.
    Hit,
    /// A value past its TTL was the answer.
    Stale,
    /// A cached nothing was read.
    Nothing,
    /// There was none.
    Miss,
    /// A value was stored.
    Stored,
    /// A condition was not met, or the loader did not want its value to be stored.
    NotStored,
    /// What was loaded was not stored, because an invalidation came between.
    Fenced,
}

impl Outcome {
    /// The outcome as metrics name it: `hit`, `not_stored`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Hit => "hit",
            Outcome::Stale => "stale",
            Outcome::Nothing => "nothing",
            Outcome::Miss => "miss",
            Outcome::Stored => "stored",
            Outcome::NotStored => "not_stored",
            Outcome::Fenced => "fenced",
        }
    }

    pub(super) const ALL: [Outcome; 8] = [
        Outcome::Done,
        Outcome::Hit,
        Outcome::Stale,
        Outcome::Nothing,
        Outcome::Miss,
        Outcome::Stored,
        Outcome::NotStored,
        Outcome::Fenced,
    ];
}

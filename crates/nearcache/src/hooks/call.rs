//! What hooks are told about a call.

use std::fmt;
use std::time::Duration;

use crate::codec::Piece;
use crate::error::ErrorKind;
use crate::keyspace::{Key, StoredKey, in_message};

/// A call: which operation, and on which keys.
pub struct Call<'c> {
    command: &'static str,
    keys: CallKeys<'c>,
    host: &'c str,
    db: u32,
    /// Whether texts show a hash in place of the key.
    redact: bool,
}

/// The keys of a call.
#[derive(Clone, Copy)]
pub(crate) enum CallKeys<'c> {
    None,
    One(&'c [u8]),
    Stored(&'c [StoredKey]),
    Entries(&'c [(StoredKey, Piece)]),
    Names(&'c [Vec<u8>]),
}

impl<'c> CallKeys<'c> {
    /// The keys, without the prefix.
    pub(crate) fn each(self) -> impl Iterator<Item = &'c [u8]> + use<'c> {
        (0..self.count()).filter_map(move |index| match self {
            CallKeys::None => None,
            CallKeys::One(key) => Some(key),
            CallKeys::Stored(keys) => Some(keys.get(index)?.user()),
            CallKeys::Entries(entries) => Some(entries.get(index)?.0.user()),
            CallKeys::Names(names) => names.get(index).map(|name| &**name),
        })
    }

    fn count(self) -> usize {
        match self {
            CallKeys::None => 0,
            CallKeys::One(_) => 1,
            CallKeys::Stored(keys) => keys.len(),
            CallKeys::Entries(entries) => entries.len(),
            CallKeys::Names(names) => names.len(),
        }
    }
}

impl<'c> Call<'c> {
    pub(crate) fn new(command: &'static str, keys: CallKeys<'c>, host: &'c str, db: u32) -> Self {
        Call {
            command,
            keys,
            host,
            db,
            redact: false,
        }
    }

    /// Shows a hash in place of the key, if `redact`.
    pub(crate) fn redacted(mut self, redact: bool) -> Self {
        self.redact = redact;
        self
    }

    /// The operation: `get`, `set`, `remember`, ... as the methods of [`Cache`](crate::Cache) are named. `load` is a
    /// run of a loader; its outcome is whether the value was stored.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// The key, without the prefix, if the call has exactly one. (For `invalidate_tags` or
    /// `mark_tags_stale` with one tag it is the tag; for `delete_pattern`, the pattern.) It is the key itself also for a cache that
    /// [shows no keys](crate::Builder::redact_keys); a hook that writes texts writes the call's `Debug`.
    pub fn key(&self) -> Option<Key> {
        let mut keys = self.keys();
        match (keys.next(), keys.next()) {
            (Some(key), None) => Some(Key::from(key)),
            _ => None,
        }
    }

    /// All keys, without the prefix.
    pub fn keys(&self) -> impl Iterator<Item = &'c [u8]> + use<'c> {
        self.keys.each()
    }

    /// How many keys the call has.
    pub fn key_count(&self) -> usize {
        self.keys.count()
    }

    /// The server, as `host:port` or the path of the socket. For a store in this process: `memory://` and the store's
    /// name.
    pub fn host(&self) -> &'c str {
        self.host
    }

    /// The number of the database.
    pub fn db(&self) -> u32 {
        self.db
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key();
        f.debug_struct("Call")
            .field("command", &self.command)
            .field(
                "key",
                &key.as_ref()
                    .map(|key| in_message(key.as_bytes(), self.redact)),
            )
            .field("key_count", &self.key_count())
            .field("host", &self.host)
            .finish()
    }
}

/// How a call succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Done {
    /// The outcome.
    pub outcome: Outcome,
    /// How many keys were answered from the cache: 0 or 1, or more for a call with many keys.
    pub hits: u64,
    /// How many keys of a read were not answered from the cache.
    pub misses: u64,
    /// The size of the values that were read or written, as stored in Redis.
    pub bytes: u64,
    /// The kind of the first error of Redis that the call went on without: `remember` has run its loader instead.
    pub degraded: Option<ErrorKind>,
    /// How long the call took. `remember` includes waiting for the loader.
    pub took: Duration,
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The call has no other outcome: `expire`, `ping`, a call with many keys.
    #[default]
    Done,
    /// A value was found.
    Hit,
    /// The answer was a value past its TTL.
    Stale,
    /// A cached nothing was found.
    Nothing,
    /// No value was found.
    Miss,
    /// A value was stored.
    Stored,
    /// A condition was not met, or the loader asked not to store the value.
    NotStored,
    /// The loaded value was not stored, because an invalidation came between.
    Fenced,
    /// A rate limiter allowed it.
    Allowed,
    /// A rate limiter denied it.
    Denied,
}

impl Outcome {
    /// The name in metrics: `hit`, `not_stored`, ...
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
            Outcome::Allowed => "allowed",
            Outcome::Denied => "denied",
        }
    }

    pub(super) const ALL: [Outcome; 10] = [
        Outcome::Done,
        Outcome::Hit,
        Outcome::Stale,
        Outcome::Nothing,
        Outcome::Miss,
        Outcome::Stored,
        Outcome::NotStored,
        Outcome::Fenced,
        Outcome::Allowed,
        Outcome::Denied,
    ];
}

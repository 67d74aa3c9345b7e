//! [`Cache`] and its verbs.
//!
//! `core` is what a cache is made of, whoever calls it; `operation` is how a verb is carried out by an
//! async and by a blocking caller; each other file is a group of verbs. The verbs themselves are one
//! line each, here and in `blocking`.

mod asked;
mod batch;
mod bound;
mod builder;
mod core;
mod counter;
mod expiry;
mod invalidate;
mod manage;
pub mod operation;
mod options;
mod read;
mod remember;
mod remember_many;
mod scan;
mod stats;
mod tags;
mod write;

use std::fmt;
use std::time::{Duration, SystemTime};

pub use self::bound::Bound;
pub use self::builder::Builder;
pub(crate) use self::core::Core;
pub use self::invalidate::Undelivered;
pub use self::read::Lookup;
pub use self::stats::Stats;

/// The verbs without options, for both faces.
pub(crate) mod verbs {
    pub(crate) use super::batch::delete_many;
    pub(crate) use super::counter::counter;
    pub(crate) use super::expiry::{expire, expire_at, persist, ttl};
    #[cfg(feature = "blocking")]
    pub(crate) use super::manage::blocking_connection;
    pub(crate) use super::manage::{connection, ping, server};
    pub(crate) use super::read::{contains, take};
    pub(crate) use super::scan::delete_pattern;
    pub(crate) use super::tags::invalidate_tags;
    pub(crate) use super::write::delete;
}

use self::operation::{
    Async, Clear, Close, Get, GetMany, Incr, Keys, LookUp, Pending, Set, SetIf, SetMany, Touch,
};
use crate::codec::{Codec, Decode, Encode};
use crate::connect::{Connection, ServerInfo};
use crate::error::Result;
use crate::ttl::{IntoTtl, Remaining};

/// A cache: in this process to start with, on Redis or Valkey by changing its URL.
///
/// Cloning is cheap, and clones are the same cache. Every verb returns an operation that takes its
/// options and is carried out by `.await`; what is wrong with an option or a key shows there, as an
/// [`Error`](crate::Error).
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use nearcache::Cache;
///
/// let cache = Cache::open("memory://")?; // or redis://localhost:6379
/// cache.set("user:1", &"Alice").ttl("2h30m").await?;
/// let name: Option<String> = cache.get("user:1").await?;
/// assert_eq!(name.as_deref(), Some("Alice"));
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
///
/// # While Redis is away
/// Making a cache succeeds. A call fails within its timeout (500 ms unless set otherwise), with
/// [`ErrorKind::Connect`](crate::ErrorKind::Connect) or
/// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout); after five failures in a row, calls fail at once
/// with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), but one at a time that sees whether
/// Redis is back. Within 2 s of its return everything works again. What reads answer meanwhile,
/// [`Builder::on_unavailable`] says.
///
/// # Runtimes
/// A cache may live in a `static` and be called from any number of tokio runtimes: each has a
/// connection of its own. Without a runtime, use
/// `nearcache::blocking::Cache` (feature `blocking`).
#[derive(Clone)]
pub struct Cache {
    core: Core,
}

impl Cache {
    /// A cache at this URL, with the options that stand in it. See [the table of URLs](crate#urls).
    ///
    /// Nothing is connected to yet: that is the first call's work.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`](crate::ErrorKind::InvalidUrl), pointing at the part that is wrong.
    pub fn open(url: &str) -> Result<Cache> {
        Cache::builder(url).build()
    }

    /// As [`Cache::open`], and makes sure that the server is there and lets us in.
    ///
    /// # Errors
    /// Those of [`Cache::open`] and of [`Cache::ping`].
    pub async fn connect(url: &str) -> Result<Cache> {
        let cache = Cache::open(url)?;
        cache.ping().await?;
        Ok(cache)
    }

    /// A cache at this URL, with options beyond those of the URL.
    pub fn builder(url: &str) -> Builder<Async> {
        Builder::new(url)
    }

    pub(crate) fn from_core(core: Core) -> Cache {
        Cache { core }
    }

    /// The same cache, with another timeout: 1 ms to 1 hour, of Redis's time for one call.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use std::time::Duration;
    ///
    /// let value: Option<u32> = cache.within(Duration::from_millis(50)).get("answer").await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn within(&self, timeout: Duration) -> Cache {
        Cache {
            core: self.core.within(timeout),
        }
    }

    /// The same cache, which writes in another way: see [`Codec`](crate::Codec). What it reads needs no saying.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # #[cfg(feature = "msgpack")] {
    /// use nearcache::Codec;
    ///
    /// cache.with_codec(Codec::message_pack()).set("point", &(1.5, 2.5)).await?;
    /// assert_eq!(cache.get("point").await?, Some((1.5, 2.5)));
    /// # }
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn with_codec(&self, codec: Codec) -> Cache {
        Cache {
            core: self.core.with_codec(codec),
        }
    }

    /// The value of a key, or `None`: not there, expired, a cached nothing, or not readable as `T`
    /// (which [`Stats::undecodable`] counts).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set("answer", &42).await?;
    /// assert_eq!(cache.get::<u32>("answer").await?, Some(42));
    /// assert_eq!(cache.get::<u32>("question").await?, None);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) where the key holds a list, a hash or the
    /// like; [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey); and those of every call
    /// (see [`Cache`]).
    pub fn get<T: Decode>(&self, key: impl AsRef<[u8]>) -> Get<'_, T> {
        Get::new(&self.core, key.as_ref())
    }

    /// As [`get`](Cache::get), telling a cached nothing from a miss.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::Lookup;
    ///
    /// cache.set("user:404", &None::<String>).ttl("1m").await?; // it is known that there is none
    /// assert_eq!(cache.lookup::<String>("user:404").await?, Lookup::Nothing);
    /// assert_eq!(cache.lookup::<String>("user:405").await?, Lookup::Miss);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`get`](Cache::get).
    pub fn lookup<T: Decode>(&self, key: impl AsRef<[u8]>) -> LookUp<'_, T> {
        LookUp::new(&self.core, key.as_ref())
    }

    /// The values of many keys, in the order of the keys, `None` for each that [`get`](Cache::get)
    /// would have none for, and for a key that holds another Redis type.
    ///
    /// Up to 1,000 keys are one round trip (`MGET`); more are split.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set_many([("a", 1), ("b", 2)]).await?;
    /// let values: Vec<Option<i32>> = cache.get_many(["a", "x", "b", "a"]).await?;
    /// assert_eq!(values, [Some(1), None, Some(2), Some(1)]);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// The first of any: nothing is returned in part.
    pub fn get_many<T: Decode>(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> GetMany<'_, T> {
        GetMany::new(&self.core, keys)
    }

    /// Stores a value, in place of what was there. `.ttl(..)`, `.forever()` or `.keep_ttl()` say how
    /// long it stays; without them, the cache's default TTL does, or it does not expire.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set("session:7", &"alice").ttl("30m").await?;
    /// cache.set("session:7", &"bob").keep_ttl().await?;
    /// let first = cache.set("session:7", &"carol").only_if_absent().await?;
    /// assert!(!first);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) and
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) before anything is sent. After
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) the value may or may not have been stored.
    pub fn set<'c, V: Encode + ?Sized>(
        &'c self,
        key: impl AsRef<[u8]>,
        value: &'c V,
    ) -> Set<'c, V> {
        Set::new(&self.core, key.as_ref(), value)
    }

    /// Stores many values with one TTL (each with a jitter of its own). Up to 1,000 entries or 4 MiB
    /// are one round trip; more are split. Not atomic: after an error, some may be stored.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set_many([("a", 1), ("b", 2)]).ttl("1h").await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`set`](Cache::set), for the first entry that has one.
    pub fn set_many<K: AsRef<[u8]>, V: Encode>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> SetMany<'_> {
        SetMany::new(&self.core, entries)
    }

    /// Stores a value if the key has none; says whether it did. What is there keeps its value and TTL.
    ///
    /// # Errors
    /// Those of [`set`](Cache::set).
    pub fn add<'c, V: Encode + ?Sized>(
        &'c self,
        key: impl AsRef<[u8]>,
        value: &'c V,
    ) -> SetIf<'c, V> {
        self.set(key, value).only_if_absent()
    }

    /// Stores a value if the key has one; says whether it did.
    ///
    /// # Errors
    /// Those of [`set`](Cache::set).
    pub fn replace<'c, V: Encode + ?Sized>(
        &'c self,
        key: impl AsRef<[u8]>,
        value: &'c V,
    ) -> SetIf<'c, V> {
        self.set(key, value).only_if_present()
    }

    /// The value of a key, which is deleted in the same step: of many takers one gets it.
    ///
    /// Needs Redis 6.2 (`GETDEL`).
    ///
    /// # Errors
    /// Those of [`get`](Cache::get). A value that cannot be read as `T` is deleted, and is `None`.
    pub fn take<T: Decode>(&self, key: impl AsRef<[u8]>) -> Pending<'_, Option<T>> {
        verbs::take(&self.core, key.as_ref())
    }

    /// Starts a key's TTL anew, without reading it: `.ttl(..)`, or the cache's default TTL. Without
    /// either, Redis only notes that the key was used (`TOUCH`). Says whether the key is there.
    ///
    /// # Errors
    /// Those of every call (see [`Cache`]).
    pub fn touch(&self, key: impl AsRef<[u8]>) -> Touch<'_> {
        Touch::new(&self.core, key.as_ref())
    }

    /// Deletes a key; says whether it was there.
    ///
    /// # Errors
    /// Those of every call (see [`Cache`]).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool> {
        verbs::delete(&self.core, key.as_ref())
    }

    /// Deletes many keys; says how many were there. Up to 1,000 are one round trip; more are split.
    ///
    /// # Errors
    /// Those of every call (see [`Cache`]). After one, some may be deleted.
    pub fn delete_many(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Pending<'_, u64> {
        verbs::delete_many(&self.core, keys)
    }

    /// Deletes the keys that a glob pattern matches (`*`, `?`, `[a-c]`, `\` before any of these to
    /// mean itself); says how many. The pattern cannot leave the cache's prefix.
    ///
    /// Goes through the whole keyspace (`SCAN`), so its time grows with the size of the server's
    /// database, not with the number of matches. Each round trip has the timeout to itself.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set_many([("user:1", 1), ("user:2", 2), ("order:1", 3)]).await?;
    /// assert_eq!(cache.delete_pattern("user:*").await?, 2);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every call (see [`Cache`]). After one, some may be deleted.
    pub fn delete_pattern(&self, pattern: impl AsRef<[u8]>) -> Pending<'_, u64> {
        verbs::delete_pattern(&self.core, pattern.as_ref())
    }

    /// Deletes everything under the cache's prefix; says how many keys that was.
    ///
    /// A cache without a prefix has the whole database, other programs' keys included, so it refuses
    /// unless `.whole_database()` says so.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) as said; those of
    /// [`delete_pattern`](Cache::delete_pattern).
    pub fn clear(&self) -> Clear<'_> {
        Clear::new(&self.core)
    }

    /// Whether a key is there (a cached nothing is), without reading it.
    ///
    /// # Errors
    /// Those of every call (see [`Cache`]).
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool> {
        verbs::contains(&self.core, key.as_ref())
    }

    /// The cache's keys, without the prefix, each once: a lazy stream. `.matching(..)` narrows it.
    ///
    /// Reads on as it is asked for more (`SCAN`), and may be dropped in the middle. A key that is
    /// there all along is listed; one that comes or goes meanwhile may be. To give each key once, it
    /// remembers a hash of 16 bytes of each.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set_many([("user:1", 1), ("user:2", 2), ("order:1", 3)]).await?;
    /// let mut keys = cache.keys().matching("user:*");
    /// while let Some(key) = keys.next().await {
    ///     assert!(key?.as_str().unwrap().starts_with("user:"));
    /// }
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(&self.core)
    }

    /// How long a key still has.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::Remaining;
    ///
    /// cache.set("a", &1).forever().await?;
    /// cache.set("b", &1).ttl("1h").await?;
    /// assert_eq!(cache.ttl("a").await?, Remaining::Forever);
    /// assert!(matches!(cache.ttl("b").await?, Remaining::In(left) if left.as_secs() > 3_500));
    /// assert_eq!(cache.ttl("c").await?, Remaining::Missing);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every call (see [`Cache`]).
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Pending<'_, Remaining> {
        verbs::ttl(&self.core, key.as_ref())
    }

    /// Gives a key a TTL, exactly (no jitter); says whether the key is there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl), and those of every call (see [`Cache`]).
    pub fn expire(&self, key: impl AsRef<[u8]>, ttl: impl IntoTtl) -> Pending<'_, bool> {
        verbs::expire(&self.core, key.as_ref(), ttl)
    }

    /// Lets a key expire at a point in time, by the server's clock; says whether the key was there.
    /// A time that has passed deletes it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) for a time before 1970 or 1,000 years
    /// ahead, and those of every call (see [`Cache`]).
    pub fn expire_at(&self, key: impl AsRef<[u8]>, time: SystemTime) -> Pending<'_, bool> {
        verbs::expire_at(&self.core, key.as_ref(), time)
    }

    /// Takes a key's TTL away; says whether it had one.
    ///
    /// # Errors
    /// Those of every call (see [`Cache`]).
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool> {
        verbs::persist(&self.core, key.as_ref())
    }

    /// Adds 1, or what `.by(..)` says, to a counter, and gives the new value. Atomic: of many callers
    /// none is lost. A counter that is not there starts from 0, without a TTL; one that is keeps its.
    ///
    /// Counters are plain integers in Redis: `redis-cli INCR` and a `set` of an integer work on them.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// assert_eq!(cache.incr("visits").await?, 1);
    /// assert_eq!(cache.incr("visits").by(10).await?, 11);
    /// assert_eq!(cache.decr("visits").await?, 10);
    /// assert_eq!(cache.counter("visits").await?, Some(10));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotInteger`](crate::ErrorKind::NotInteger) and
    /// [`ErrorKind::Overflow`](crate::ErrorKind::Overflow), which change nothing. After
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) it may or may not have counted.
    pub fn incr(&self, key: impl AsRef<[u8]>) -> Incr<'_> {
        Incr::new(&self.core, key.as_ref(), "INCRBY")
    }

    /// As [`incr`](Cache::incr), downwards.
    ///
    /// # Errors
    /// Those of [`incr`](Cache::incr).
    pub fn decr(&self, key: impl AsRef<[u8]>) -> Incr<'_> {
        Incr::new(&self.core, key.as_ref(), "DECRBY")
    }

    /// The value of a counter, `None` if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::NotInteger`](crate::ErrorKind::NotInteger): what is there is no counter, and is
    /// never taken for 0.
    pub fn counter(&self, key: impl AsRef<[u8]>) -> Pending<'_, Option<i64>> {
        verbs::counter(&self.core, key.as_ref())
    }

    /// The cache narrowed to one key, to be handed to code that has no business with others.
    pub fn bind(&self, key: impl AsRef<[u8]>) -> Bound<Cache> {
        Bound::new(self.clone(), key.as_ref())
    }

    /// Makes sure that the server is there and lets us in.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect),
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout),
    /// [`ErrorKind::Auth`](crate::ErrorKind::Auth) or
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), which say what is wrong.
    pub fn ping(&self) -> Pending<'_, ()> {
        verbs::ping(&self.core)
    }

    /// What the server is: asked for once, then remembered.
    ///
    /// # Errors
    /// Those of every call (see [`Cache`]), the first time.
    pub fn server(&self) -> Pending<'_, ServerInfo> {
        verbs::server(&self.core)
    }

    /// A Redis connection of the caller's own, for every command that the cache has no verb for.
    ///
    /// # Errors
    /// Those of [`ping`](Cache::ping).
    pub fn connection(&self) -> Pending<'_, Connection> {
        verbs::connection(&self.core)
    }

    /// Closes the cache, with all its clones: calls on them fail from now on with
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed), and those under way are waited for. Caches that
    /// were opened apart and share its connection are not affected; with the last of them the connection
    /// is closed. Dropping the last clone does the same, without waiting.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if calls are still under way after the timeout.
    /// The cache is closed all the same.
    pub fn close(&self) -> Close<'_> {
        Close::new(&self.core)
    }

    /// Whether the cache has not been closed. (Whether the server is there, [`ping`](Cache::ping)
    /// says.)
    pub fn is_open(&self) -> bool {
        self.core.is_open()
    }

    /// What this cache has done so far, its clones included.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.describe(f, "Cache")
    }
}

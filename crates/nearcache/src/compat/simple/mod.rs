//! The interface of Python's cachelib (its `RedisCache`), for applications that migrate from it, and for programs that
//! share a cache with one: the keys and the values in Redis are the same.
//!
//! [`SimpleCache`] has the methods. [`BasicCache`] is what is behind them in cachelib, a trait: code that takes a
//! `Box<dyn BasicCache>` runs with any implementation. A [`Value`] is Python's plain data, and a [`Serializer`] stores it:
//! [`RedisSerializer`] as cachelib does, with pickles (feature `pickle`).
//!
//! ```
//! # async fn example() -> nearcache::Result<()> {
//! use nearcache::Cache;
//! use nearcache::simple::SimpleCache;
//!
//! let cache = Cache::open("memory://")?; // or redis://localhost:6379
//! let simple = SimpleCache::new(&cache).key_prefix("app_");
//!
//! simple.set("answer", 42).timeout(60).await?;
//! assert_eq!(simple.get("answer").await?, Some(42.into()));
//! assert_eq!(simple.inc("answer").await?, Some(43));
//! assert!(simple.delete("answer").await?);
//! # Ok(())
//! # }
//! # nearcache::__example(example());
//! ```

mod basic;
mod integer;
mod many;
mod operations;
#[cfg(feature = "pickle")]
mod pickle;
mod serializer;
mod timeout;
mod value;

use std::fmt;
use std::sync::Arc;

pub use basic::{BasicCache, NullCache};
pub use integer::Integer;
pub use operations::{Count, Store};
pub use serializer::{JsonSerializer, RedisSerializer, Serializer};
pub use timeout::Timeout;
pub use value::Value;

use crate::cache::CacheOf;
use crate::cache::operation::{Async, Executor, Pending};
use crate::codec::{Codec, Raw};
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::literally;
use crate::resilience::Seldom;

/// A cache with the interface of cachelib's `RedisCache`, over a [`Cache`](crate::Cache) or a `blocking::Cache`.
///
/// It is made by [`SimpleCache::new`], and set up by the options that follow it. Cloning is cheap, and clones are the
/// same cache. An operation does not borrow from it.
///
/// # Keys
/// A key is anything that can be shown as text: `5` is the key `5`. In Redis it stands behind the prefix, without a
/// separator. (A prefix of the `Cache` beneath comes first, with its separator; other programs see that, too.)
///
/// # While Redis is away
/// As cachelib documents it: `set`, `add`, `delete`, `has` and `clear` return `false`, `get`, `inc` and `dec` return
/// `None`, `get_many` returns only `None`s, and `set_many` and `delete_many` return the keys that worked before. A warning
/// is logged, at most every 15 seconds. With [`strict`](SimpleCache::strict) these are errors.
///
/// What is wrong with a call or with what is stored is always an error: a key or a timeout that cannot be, a value that
/// cannot be stored, a key that holds a list or a hash, `inc` of what is no counter.
pub struct SimpleCache<M = Async> {
    /// The cache as it was given.
    cache: CacheOf<M>,
    /// The same, which writes bytes as they are, whatever compression the cache has.
    plain: CacheOf<M>,
    settings: Arc<Settings>,
}

#[derive(Clone)]
struct Settings {
    prefix: Prefix,
    default_timeout: Timeout,
    serializer: Arc<dyn Serializer>,
    strict: bool,
    ignore_delete_many_errors: bool,
    /// When it was last logged that Redis is away.
    said: Arc<Seldom>,
}

#[derive(Clone)]
enum Prefix {
    Text(String),
    Made(Arc<dyn Fn() -> String + Send + Sync>),
}

impl<M> SimpleCache<M> {
    /// The interface over a cache: without a prefix, with a default timeout of 300 s, and with the [`RedisSerializer`].
    pub fn new(cache: &CacheOf<M>) -> Self {
        SimpleCache {
            cache: cache.clone(),
            plain: cache.with_codec(Codec::json()),
            settings: Arc::new(Settings {
                prefix: Prefix::Text(String::new()),
                default_timeout: Timeout::DEFAULT,
                serializer: Arc::new(RedisSerializer),
                strict: false,
                ignore_delete_many_errors: true,
                said: Arc::default(),
            }),
        }
    }

    /// The timeout of entries that are stored without one: seconds, or a [`Duration`](std::time::Duration). 0 and −1 mean
    /// that they never expire. Default: 300 s. A timeout below −1 is an error of the calls that use it.
    #[must_use]
    pub fn default_timeout(self, timeout: impl Into<Timeout>) -> Self {
        let timeout = timeout.into();
        self.with(|settings| settings.default_timeout = timeout)
    }

    /// The start of every key, which no separator follows. Default: none.
    #[must_use]
    pub fn key_prefix(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        self.with(|settings| settings.prefix = Prefix::Text(prefix))
    }

    /// A function that makes the start of every key. It is called once for each call of the cache, and must be quick.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # use nearcache::simple::SimpleCache;
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let tenant = || String::from("tenant7_"); // from where the application keeps it
    /// let simple = SimpleCache::new(&cache).key_prefix_with(tenant);
    /// simple.set("n", 1).await?;
    /// assert!(cache.contains("tenant7_n").await?);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    #[must_use]
    pub fn key_prefix_with(self, prefix: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.prefix = Prefix::Made(Arc::new(prefix)))
    }

    /// How values are stored. Default: [`RedisSerializer`].
    #[must_use]
    pub fn serializer(self, serializer: impl Serializer + 'static) -> Self {
        self.with(|settings| settings.serializer = Arc::new(serializer))
    }

    /// Returns errors of Redis as errors, in place of `false` and `None`.
    #[must_use]
    pub fn strict(self) -> Self {
        self.with(|settings| settings.strict = true)
    }

    /// Whether `delete_many` leaves out keys that could not be deleted. Default: yes. With `false` it fails, as with
    /// [`strict`](SimpleCache::strict). A key that does not exist counts as deleted.
    #[must_use]
    pub fn ignore_delete_many_errors(self, ignore: bool) -> Self {
        self.with(|settings| settings.ignore_delete_many_errors = ignore)
    }

    /// The cache beneath: for everything that cachelib has no method for.
    pub fn cache(&self) -> &CacheOf<M> {
        &self.cache
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    fn prefix(&self) -> String {
        match &self.settings.prefix {
            Prefix::Text(prefix) => prefix.clone(),
            Prefix::Made(make) => make(),
        }
    }

    fn key(&self, key: &impl fmt::Display) -> String {
        match &self.settings.prefix {
            Prefix::Text(prefix) => format!("{prefix}{key}"),
            Prefix::Made(make) => format!("{}{key}", make()),
        }
    }

    fn keys<K: fmt::Display>(&self, keys: &[K]) -> Vec<String> {
        let prefix = self.prefix();
        keys.iter().map(|key| format!("{prefix}{key}")).collect()
    }

    /// The bytes of a value.
    fn dumps(&self, key: &str, value: &Value) -> Result<Raw> {
        let refused = |error: crate::error::BoxError| match error.downcast::<Error>() {
            Ok(error) => *error,
            // What a serializer of the application says may quote the value.
            Err(error) => Error::new(
                ErrorKind::Codec,
                format!("a {} cannot be stored", value.kind()),
            )
            .caused_by(error),
        };
        let redacts = self.cache.core().client().keyspace().redacts();
        match self.settings.serializer.dumps(value) {
            Ok(bytes) => Ok(Raw(bytes)),
            Err(error) => Err(refused(error).named(key.as_bytes(), redacts)),
        }
    }

    fn loads(&self, stored: Option<&Raw>) -> Option<Value> {
        let bytes = stored.map(|Raw(bytes)| bytes.as_slice());
        self.settings.serializer.loads(bytes)
    }

    /// The outcome of a call: what is said in place of an error of Redis, unless errors are wanted.
    fn settle<T>(&self, outcome: Result<T>, instead: T) -> Result<T> {
        match outcome {
            Err(error) if !self.settings.strict && is_of_redis(&error) => {
                self.warn(&error);
                Ok(instead)
            }
            outcome => outcome,
        }
    }

    fn warn(&self, error: &Error) {
        let now = self.cache.core().client().runtime().now();
        if self.settings.said.may(now) {
            tracing::warn!(%error, "a call of a simple cache fails: it is answered with false or None");
        }
    }
}

/// Whether an error is one of Redis or of the way to it, and not of the call or the data.
fn is_of_redis(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Connect
            | ErrorKind::Auth
            | ErrorKind::Denied
            | ErrorKind::Timeout
            | ErrorKind::Unavailable
            | ErrorKind::PoolExhausted
            | ErrorKind::Server
            | ErrorKind::Protocol
    )
}

impl<M: Executor> SimpleCache<M> {
    /// The value of a key; `None` if there is none, if it has expired, or if it cannot be read. What cannot be read stays
    /// where it is. A cached `None` is `Some(Value::None)`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`]; [`ErrorKind::WrongType`] if the key holds a list, a hash or the like. See
    /// [`SimpleCache`] for those of Redis.
    pub fn get(&self, key: impl fmt::Display) -> Pending<'static, Option<Value>, M> {
        let (this, key) = (self.clone(), self.key(&key));
        Pending::new(async move {
            match this.plain.get::<Raw>(&key).start().await {
                Ok(stored) => Ok(this.loads(stored.as_ref())),
                failed => this.settle(failed.map(|_| None), None),
            }
        })
    }

    /// Stores a value, in place of one that is there. Returns whether it is stored. `.timeout(..)` says how long it stays;
    /// without one the [default timeout](SimpleCache::default_timeout) applies.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # use nearcache::simple::{SimpleCache, Value};
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # let simple = SimpleCache::new(&cache);
    /// simple.set("n", 1).await?; // for 300 s
    /// simple.set("n", 2).timeout(60).await?;
    /// simple.set("n", 3).timeout(0).await?; // never expires
    /// # #[cfg(feature = "pickle")]
    /// simple.set("user", [("name", "Ada")]).await?; // a dict
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] for a value that cannot be stored; [`ErrorKind::InvalidTtl`] for a timeout below −1;
    /// [`ErrorKind::InvalidKey`] and [`ErrorKind::TooLarge`]. See [`SimpleCache`] for those of Redis.
    pub fn set(&self, key: impl fmt::Display, value: impl Into<Value>) -> Store<'static, bool, M> {
        let (this, key) = (self.clone(), self.key(&key));
        let bytes = this.dumps(&key, &value.into());
        self.storing(move |ttl| {
            Box::pin(async move {
                let set = this.plain.set(&key, bytes?);
                let set = match ttl {
                    Some(ttl) => set.ttl(ttl),
                    None => set.forever(),
                };
                this.settle(set.answering().start().await, false)
            })
        })
    }

    /// Like [`set`](SimpleCache::set), if there is nothing under the key. Otherwise returns `false`, and neither the value
    /// nor its timeout changes.
    ///
    /// # Errors
    /// Those of [`set`](SimpleCache::set).
    pub fn add(&self, key: impl fmt::Display, value: impl Into<Value>) -> Store<'static, bool, M> {
        let (this, key) = (self.clone(), self.key(&key));
        let bytes = this.dumps(&key, &value.into());
        self.storing(move |ttl| {
            Box::pin(async move {
                let add = this.plain.add(&key, bytes?);
                let add = match ttl {
                    Some(ttl) => add.ttl(ttl),
                    None => add.forever(),
                };
                this.settle(add.start().await, false)
            })
        })
    }

    /// Deletes a key. Returns whether it was there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`]. See [`SimpleCache`] for those of Redis.
    pub fn delete(&self, key: impl fmt::Display) -> Pending<'static, bool, M> {
        let (this, key) = (self.clone(), self.key(&key));
        Pending::new(async move { this.settle(this.plain.delete(&key).start().await, false) })
    }

    /// Whether there is something under a key, without reading it: also a cached `None`, and what cannot be read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`]. See [`SimpleCache`] for those of Redis.
    pub fn has(&self, key: impl fmt::Display) -> Pending<'static, bool, M> {
        let (this, key) = (self.clone(), self.key(&key));
        Pending::new(async move { this.settle(this.plain.contains(&key).start().await, false) })
    }

    /// Adds 1, or the `.delta(..)`, to the integer of a key, and returns the new one. No other caller's is lost. A key that
    /// is missing begins with the delta, and does not expire; one that is there keeps its timeout.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # use nearcache::simple::SimpleCache;
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # let simple = SimpleCache::new(&cache);
    /// assert_eq!(simple.inc("hits").await?, Some(1));
    /// assert_eq!(simple.inc("hits").delta(10).await?, Some(11));
    /// assert_eq!(simple.dec("left").delta(3).await?, Some(-3));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotInteger`] for what is no integer, or one beyond 64 bits: a pickle, `True`, and the integers that
    /// cachelib pickled before its version 0.16. [`ErrorKind::Overflow`]. Both leave the value as it was. See
    /// [`SimpleCache`] for those of Redis.
    pub fn inc(&self, key: impl fmt::Display) -> Count<'static, M> {
        let (this, key) = (self.clone(), self.key(&key));
        Count::new(move |delta| {
            Box::pin(async move {
                let counted = this.plain.incr(&key).by(delta).start().await;
                this.settle(counted.map(Some), None)
            })
        })
    }

    /// Like [`inc`](SimpleCache::inc), but subtracts: a key that is missing begins with `-delta`.
    ///
    /// # Errors
    /// Those of [`inc`](SimpleCache::inc).
    pub fn dec(&self, key: impl fmt::Display) -> Count<'static, M> {
        let (this, key) = (self.clone(), self.key(&key));
        Count::new(move |delta| {
            Box::pin(async move {
                let counted = this.plain.decr(&key).by(delta).start().await;
                this.settle(counted.map(Some), None)
            })
        })
    }

    /// Deletes all keys under the prefix. Returns whether there were any.
    ///
    /// Without a prefix (neither here nor of the cache beneath) it empties the **whole database** (`FLUSHDB`), other
    /// programs' keys included, and returns `true`: as cachelib does.
    ///
    /// It scans the database, so its time grows with the size of that. Nothing outside the prefix is touched, whatever
    /// characters the prefix has.
    ///
    /// # Errors
    /// See [`SimpleCache`] for those of Redis: some keys may be deleted then.
    pub fn clear(&self) -> Pending<'static, bool, M> {
        let (this, prefix) = (self.clone(), self.prefix());
        let made = matches!(this.settings.prefix, Prefix::Made(_));
        Pending::new(async move {
            let whole = prefix.is_empty() && !made;
            let cleared = if !whole {
                let pattern = literally(prefix.as_bytes(), b"*");
                let swept = this.plain.delete_pattern(pattern).start().await;
                swept.map(|deleted| deleted > 0)
            } else if this.cache.core().client().keyspace().has_prefix() {
                this.plain.clear().start().await.map(|deleted| deleted > 0)
            } else {
                this.plain
                    .clear()
                    .whole_database()
                    .start()
                    .await
                    .map(|_| true)
            };
            this.settle(cleared, false)
        })
    }
}

impl<M> Clone for SimpleCache<M> {
    fn clone(&self) -> Self {
        SimpleCache {
            cache: self.cache.clone(),
            plain: self.plain.clone(),
            settings: Arc::clone(&self.settings),
        }
    }
}

impl<M: Executor> fmt::Debug for SimpleCache<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix: &dyn fmt::Debug = match &self.settings.prefix {
            Prefix::Text(prefix) => prefix,
            Prefix::Made(_) => &"a function",
        };
        f.debug_struct("SimpleCache")
            .field("cache", &self.cache)
            .field("key_prefix", prefix)
            .field("default_timeout", &self.settings.default_timeout)
            .field("serializer", &self.settings.serializer)
            .field("strict", &self.settings.strict)
            .finish_non_exhaustive()
    }
}

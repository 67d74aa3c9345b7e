//! [`CacheOf`] and its verbs: a file for each group of them.
//!
//! A verb is declared once, for async and blocking callers: it returns an [`operation`], which is carried out by
//! `.await` or `.run()`. Only what takes a loader is declared for each, over one body (`remember`, `remember_many`).

mod batch;
mod bound;
mod builder;
mod counter;
mod expiry;
mod manage;
pub mod operation;
mod options;
mod read;
mod remember;
mod remember_many;
mod scan;
mod tags;
mod write;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

pub use self::bound::Bound;
pub use self::builder::Builder;
#[cfg(feature = "config")]
pub(crate) use self::builder::{LEASE, LEASES, MAX_LOADS, TIMEOUT};
use self::operation::{Async, Executor, Marked};
use crate::codec::Codec;
use crate::error::Result;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;

/// A cache: in this process to start with, on Redis or Valkey by changing its URL.
///
/// There is one for each way to wait: [`Cache`](crate::Cache), whose operations end in `.await`, and
/// `blocking::Cache` (feature `blocking`), whose operations end in `.run()`. Everything else is the same.
///
/// Cloning is cheap, and clones are the same cache. Every verb returns an operation that takes its
/// options and is carried out by `.await` or `.run()`; what is wrong with an option or a key shows there, as an
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
/// with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), except one at a time that sees whether
/// Redis is back. Within 2 s of its return everything works again. What reads answer meanwhile,
/// [`Builder::on_unavailable`] says.
///
/// # Runtimes
/// An async cache may live in a `static` and be called from any number of tokio runtimes: each has a
/// connection of its own. A blocking cache needs no runtime: a thread that waits has a connection of its own from
/// a pool.
pub struct CacheOf<M> {
    core: ReadThrough,
    mode: Marked<M>,
}

impl<M: Executor> CacheOf<M> {
    /// A cache at this URL, with the options that stand in it. See [the table of URLs](crate#urls).
    ///
    /// Nothing is connected to yet: that is the first call's work.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`](crate::ErrorKind::InvalidUrl), pointing at the part that is wrong.
    pub fn open(url: &str) -> Result<Self> {
        Self::builder(url).build()
    }

    /// A cache at this URL, with options beyond those of the URL.
    pub fn builder(url: &str) -> Builder<M> {
        Builder::new(url)
    }

    /// The same cache for callers who wait in another way: they share settings, hooks, [`stats`](CacheOf::stats) and
    /// the server, and each is closed by itself.
    fn for_executor<N: Executor>(&self) -> Result<CacheOf<N>> {
        Ok(CacheOf::from_core(self.core.in_mode(N::MODE)?))
    }
}

impl CacheOf<Async> {
    /// As [`open`](CacheOf::open), and makes sure that the server is there and lets us in.
    ///
    /// # Errors
    /// Those of [`open`](CacheOf::open) and of [`ping`](CacheOf::ping).
    pub async fn connect(url: &str) -> Result<Self> {
        let cache = Self::open(url)?;
        cache.ping().await?;
        Ok(cache)
    }

    /// This cache for code without an async runtime: the same settings, hooks, [`stats`](CacheOf::stats), server
    /// and, where it is embedded, the same store. Each of the two is closed by itself.
    ///
    /// ```
    /// # #[cfg(feature = "blocking")]
    /// # async fn example() -> nearcache::Result<()> {
    /// let cache = nearcache::Cache::open("memory://")?;
    /// cache.set("answer", &42).await?;
    ///
    /// let blocking = cache.blocking()?;
    /// let answer = std::thread::spawn(move || blocking.get::<u32>("answer").run());
    /// assert_eq!(answer.join().unwrap()?, Some(42));
    /// # Ok(())
    /// # }
    /// # #[cfg(feature = "blocking")]
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`open`](CacheOf::open).
    #[cfg(feature = "blocking")]
    pub fn blocking(&self) -> Result<CacheOf<operation::Blocking>> {
        self.for_executor()
    }
}

#[cfg(feature = "blocking")]
impl CacheOf<operation::Blocking> {
    /// As [`open`](CacheOf::open), and makes sure that the server is there and lets us in.
    ///
    /// # Errors
    /// Those of [`open`](CacheOf::open) and of [`ping`](CacheOf::ping).
    pub fn connect(url: &str) -> Result<Self> {
        let cache = Self::open(url)?;
        cache.ping().run()?;
        Ok(cache)
    }

    /// This cache for async callers. See [`blocking`](CacheOf::blocking), which is the way back.
    ///
    /// # Errors
    /// Those of [`open`](CacheOf::open).
    pub fn asynchronous(&self) -> Result<CacheOf<Async>> {
        self.for_executor()
    }
}

impl<M> CacheOf<M> {
    pub(crate) fn from_core(core: ReadThrough) -> Self {
        CacheOf {
            core,
            mode: PhantomData,
        }
    }

    #[cfg(feature = "component")]
    pub(crate) fn core(&self) -> &ReadThrough {
        &self.core
    }

    /// The cache within, and the stored form of a key.
    fn named(&self, key: impl AsRef<[u8]>) -> (&ReadThrough, Result<StoredKey>) {
        (&self.core, self.core.client().stored(key.as_ref()))
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
    pub fn within(&self, timeout: Duration) -> Self {
        CacheOf::from_core(self.core.within(timeout))
    }

    /// The same cache, which writes in another way: see [`Codec`](crate::Codec). It reads every format either way.
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
    pub fn with_codec(&self, codec: Codec) -> Self {
        CacheOf::from_core(self.core.with_codec(codec))
    }

    /// The cache narrowed to one key, to be handed to code that has no business with others.
    pub fn bind(&self, key: impl AsRef<[u8]>) -> Bound<M> {
        Bound::new(self.clone(), key.as_ref())
    }
}

impl<M> Clone for CacheOf<M> {
    fn clone(&self) -> Self {
        CacheOf::from_core(self.core.clone())
    }
}

/// Where it goes and how it is set, never the password.
impl<M: Executor> fmt::Debug for CacheOf<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.describe(f, M::CACHE)
    }
}

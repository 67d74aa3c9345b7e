//! [`CacheOf`] and its methods, a file for each group of them.
//!
//! A method is declared once for async and blocking callers: it returns an [`operation`], which is carried out by
//! `.await` or `.run()`. Only methods that take a loader (`remember`, `remember_many`) are declared twice, with a
//! shared body.

mod batch;
mod bound;
mod builder;
mod counter;
pub(crate) mod expiry;
mod in_place;
mod kept;
mod manage;
pub mod operation;
mod options;
mod own_error;
mod read;
mod remember;
mod remember_many;
mod scan;
mod shared;
mod tags;
mod write;

use std::fmt;
use std::marker::PhantomData;

pub use self::bound::Bound;
pub use self::builder::Builder;
#[cfg(feature = "config")]
pub(crate) use self::builder::{LEASE, LEASES, MAX_LOADS, TIMEOUT};
use self::operation::{Async, Executor, Marked};
pub use self::shared::SharedConnection;
pub(crate) use self::shared::check as check_shared;
use crate::client::timeout_of;
use crate::codec::Codec;
use crate::error::Result;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::ttl::IntoTtl;

/// A cache: in this process to start with, on Redis or Valkey by changing its URL.
///
/// There are two forms: [`Cache`](crate::Cache), whose operations end in `.await`, and `blocking::Cache` (feature
/// `blocking`), whose operations end in `.run()`. Everything else is the same.
///
/// Cloning is cheap, and clones are the same cache. Every method returns an operation, which takes options and is
/// carried out by `.await` or `.run()`. An invalid option or key is reported then, as an [`Error`](crate::Error).
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
/// Building a cache succeeds without a server. A call fails within its timeout (500 ms by default), with
/// [`ErrorKind::Connect`](crate::ErrorKind::Connect) or [`ErrorKind::Timeout`](crate::ErrorKind::Timeout). After five
/// failures in a row, the circuit breaker opens: calls fail at once with
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), except for one probe at a time that finds out whether
/// Redis is back. Within 2 s of Redis's return everything works again. [`Builder::on_unavailable`] says what reads
/// return meanwhile.
///
/// # Runtimes
/// An async cache may live in a `static` and be called from any number of tokio runtimes: each runtime has a connection
/// of its own. A blocking cache needs no runtime: each waiting thread uses a connection from a pool.
pub struct CacheOf<M> {
    core: ReadThrough,
    mode: Marked<M>,
}

impl<M: Executor> CacheOf<M> {
    /// Opens a cache at this URL, with the options in the URL. See [the table of URLs](crate#urls).
    ///
    /// It does not connect yet: the first call does.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`](crate::ErrorKind::InvalidUrl), pointing at the part that is wrong.
    pub fn open(url: &str) -> Result<Self> {
        Self::builder(url).build()
    }

    /// Builds a cache at this URL, with more options than a URL has.
    pub fn builder(url: &str) -> Builder<M> {
        Builder::new(url)
    }

    /// The same cache for the other kind of caller (async or blocking). Both share settings, hooks,
    /// [`stats`](CacheOf::stats) and the server, and each is closed separately.
    #[cfg(feature = "blocking")]
    fn for_executor<N: Executor>(&self) -> Result<CacheOf<N>> {
        Ok(CacheOf::from_core(self.core.in_mode(N::MODE)?))
    }
}

impl CacheOf<Async> {
    /// Like [`open`](CacheOf::open), and checks that the server answers and accepts the credentials.
    ///
    /// # Errors
    /// Those of [`open`](CacheOf::open) and of [`ping`](CacheOf::ping).
    pub async fn connect(url: &str) -> Result<Self> {
        let cache = Self::open(url)?;
        cache.ping().await?;
        Ok(cache)
    }

    /// This cache for code without an async runtime. Both share settings, hooks, [`stats`](CacheOf::stats), the server
    /// and the embedded store, if that is used. Each of the two is closed separately.
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
    /// Like [`open`](CacheOf::open), and checks that the server answers and accepts the credentials.
    ///
    /// # Errors
    /// Those of [`open`](CacheOf::open) and of [`ping`](CacheOf::ping).
    pub fn connect(url: &str) -> Result<Self> {
        let cache = Self::open(url)?;
        cache.ping().run()?;
        Ok(cache)
    }

    /// This cache for async callers: the reverse of [`blocking`](CacheOf::blocking).
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

    #[inline]
    pub(crate) fn core(&self) -> &ReadThrough {
        &self.core
    }

    /// The core, and the stored form of a key.
    fn named(&self, key: impl AsRef<[u8]>) -> (&ReadThrough, Result<StoredKey>) {
        (&self.core, self.core.client().stored(key.as_ref()))
    }

    /// The time by which TTLs end here, in Unix milliseconds. For nearcache-tower.
    #[doc(hidden)]
    pub fn __unix_millis(&self) -> u64 {
        self.core.client().unix_millis()
    }

    /// The same cache with another timeout for each call to Redis: a text such as `"50ms"`, a [`Duration`](std::time::Duration), or a whole
    /// number of seconds, from 1 ms to 1 hour. Any other is an error of each call
    /// ([`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig)).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let value: Option<u32> = cache.within("50ms").get("answer").await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn within(&self, timeout: impl IntoTtl) -> Self {
        CacheOf::from_core(self.core.within(timeout_of(timeout)))
    }

    /// The same cache with another codec for writing: see [`Codec`](crate::Codec). It still reads every format.
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

    /// The cache bound to one key, for code that must use no other.
    pub fn bind(&self, key: impl AsRef<[u8]>) -> Bound<M> {
        Bound::new(self.clone(), key.as_ref())
    }
}

impl<M> Clone for CacheOf<M> {
    fn clone(&self) -> Self {
        CacheOf::from_core(self.core.clone())
    }
}

/// The place and the settings, never the password.
impl<M: Executor> fmt::Debug for CacheOf<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.describe(f, M::CACHE)
    }
}

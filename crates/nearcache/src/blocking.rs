//! The same cache for code without an async runtime.
//!
//! The verbs and their options are those of [`nearcache::Cache`](crate::Cache), where they are
//! described; an operation ends in `.run()` instead of `.await`, and a thread that waits has a
//! connection of its own from a pool. No runtime is started, and nothing runs beside the caller.
//!
//! ```
//! # fn example() -> nearcache::Result<()> {
//! use nearcache::blocking::Cache;
//!
//! let cache = Cache::open("memory://")?; // or redis://localhost:6379
//! cache.set("user:1", "Alice").ttl("2h30m").run()?;
//! assert_eq!(cache.get::<String>("user:1").run()?.as_deref(), Some("Alice"));
//!
//! for key in cache.keys().matching("user:*") {
//!     println!("{:?}", key?);
//! }
//! # Ok(())
//! # }
//! # nearcache::__example(async { example() });
//! ```

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::cache::operation::{
    Blocking, Clear, Close, Get, GetMany, Incr, Keys, LookUp, Pending, Remember, RememberMany, Set,
    SetIf, SetMany, Touch,
};
use crate::cache::{Bound, Builder, Core, Stats, verbs};
use crate::codec::{Codec, Decode, Encode};
use crate::connect::{Mode, ServerInfo};
use crate::error::Result;
use crate::read_through::load::{BoxError, Loadable};
use crate::read_through::plan::Way;
use crate::ttl::{IntoTtl, Remaining};

pub use crate::connect::BlockingConnection as Connection;

/// A cache for code without an async runtime: see [`nearcache::Cache`](crate::Cache) for what its
/// verbs do.
///
/// Cloning is cheap, and clones are the same cache; threads may share one.
#[derive(Clone)]
pub struct Cache {
    core: Core,
}

impl Cache {
    /// A cache at this URL. Nothing is connected to yet. See [`Cache::open`](crate::Cache::open).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`](crate::ErrorKind::InvalidUrl), pointing at the part that is wrong.
    pub fn open(url: &str) -> Result<Cache> {
        Cache::builder(url).build()
    }

    /// As [`open`](Cache::open), and makes sure that the server is there and lets us in.
    ///
    /// # Errors
    /// Those of [`open`](Cache::open) and of [`ping`](Cache::ping).
    pub fn connect(url: &str) -> Result<Cache> {
        let cache = Cache::open(url)?;
        cache.ping().run()?;
        Ok(cache)
    }

    /// A cache at this URL, with options beyond those of the URL.
    pub fn builder(url: &str) -> Builder<Blocking> {
        Builder::new(url)
    }

    /// See [`within`](crate::Cache::within).
    pub fn within(&self, timeout: Duration) -> Cache {
        Cache {
            core: self.core.within(timeout),
        }
    }

    /// See [`with_codec`](crate::Cache::with_codec).
    pub fn with_codec(&self, codec: Codec) -> Cache {
        Cache {
            core: self.core.with_codec(codec),
        }
    }

    /// See [`get`](crate::Cache::get).
    pub fn get<T: Decode>(&self, key: impl AsRef<[u8]>) -> Get<'_, T, Blocking> {
        Get::new(&self.core, key.as_ref())
    }

    /// See [`lookup`](crate::Cache::lookup).
    pub fn lookup<T: Decode>(&self, key: impl AsRef<[u8]>) -> LookUp<'_, T, Blocking> {
        LookUp::new(&self.core, key.as_ref())
    }

    /// See [`get_many`](crate::Cache::get_many).
    pub fn get_many<T: Decode>(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> GetMany<'_, T, Blocking> {
        GetMany::new(&self.core, keys)
    }

    /// See [`remember`](crate::Cache::remember). The loader runs on the calling thread, and may borrow from
    /// it; with [`stale_for`](Remember::stale_for), [`soft_timeout`](Remember::soft_timeout) or
    /// [`early_refresh`](Remember::early_refresh) on a thread of its own when the caller is answered without it.
    ///
    /// ```
    /// # fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::blocking::Cache::open("memory://")?;
    /// let path = "Cargo.toml".to_owned();
    /// let size: u64 = cache
    ///     .remember(&path, || std::fs::metadata(&path).map(|file| file.len()))
    ///     .ttl("1m")
    ///     .run()?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(async { example() });
    /// ```
    pub fn remember<F, L, E>(
        &self,
        key: impl AsRef<[u8]>,
        load: F,
    ) -> Remember<'_, L::Value, F, Blocking>
    where
        F: FnOnce() -> std::result::Result<L, E>,
        L: Loadable,
        E: Into<BoxError>,
    {
        Remember::new(&self.core, key.as_ref(), load, Way::Miss)
    }

    /// See [`remember_many`](crate::Cache::remember_many).
    pub fn remember_many<K, F, I, Q, L, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        load: F,
    ) -> RememberMany<'_, K, L::Value, F, Blocking>
    where
        K: AsRef<[u8]> + Clone,
        F: Fn(Vec<K>) -> std::result::Result<I, E>,
        I: IntoIterator<Item = (Q, L)>,
        Q: AsRef<[u8]>,
        L: Loadable,
        E: Into<BoxError>,
    {
        RememberMany::new(&self.core, keys, load)
    }

    /// See [`refresh`](crate::Cache::refresh).
    pub fn refresh<F, L, E>(
        &self,
        key: impl AsRef<[u8]>,
        load: F,
    ) -> Remember<'_, L::Value, F, Blocking>
    where
        F: FnOnce() -> std::result::Result<L, E>,
        L: Loadable,
        E: Into<BoxError>,
    {
        Remember::new(&self.core, key.as_ref(), load, Way::Force)
    }

    /// See [`set`](crate::Cache::set).
    pub fn set<'c, V: Encode + ?Sized>(
        &'c self,
        key: impl AsRef<[u8]>,
        value: &'c V,
    ) -> Set<'c, V, Blocking> {
        Set::new(&self.core, key.as_ref(), value)
    }

    /// See [`set_many`](crate::Cache::set_many).
    pub fn set_many<K: AsRef<[u8]>, V: Encode>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> SetMany<'_, Blocking> {
        SetMany::new(&self.core, entries)
    }

    /// See [`add`](crate::Cache::add).
    pub fn add<'c, V: Encode + ?Sized>(
        &'c self,
        key: impl AsRef<[u8]>,
        value: &'c V,
    ) -> SetIf<'c, V, Blocking> {
        self.set(key, value).only_if_absent()
    }

    /// See [`replace`](crate::Cache::replace).
    pub fn replace<'c, V: Encode + ?Sized>(
        &'c self,
        key: impl AsRef<[u8]>,
        value: &'c V,
    ) -> SetIf<'c, V, Blocking> {
        self.set(key, value).only_if_present()
    }

    /// See [`take`](crate::Cache::take).
    pub fn take<T: Decode>(&self, key: impl AsRef<[u8]>) -> Pending<'_, Option<T>, Blocking> {
        verbs::take(&self.core, key.as_ref())
    }

    /// See [`touch`](crate::Cache::touch).
    pub fn touch(&self, key: impl AsRef<[u8]>) -> Touch<'_, Blocking> {
        Touch::new(&self.core, key.as_ref())
    }

    /// See [`delete`](crate::Cache::delete).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool, Blocking> {
        verbs::delete(&self.core, key.as_ref())
    }

    /// See [`invalidate_tag`](crate::Cache::invalidate_tag).
    pub fn invalidate_tag(&self, tag: impl AsRef<[u8]>) -> Pending<'_, (), Blocking> {
        verbs::invalidate_tags(&self.core, [tag])
    }

    /// See [`invalidate_tags`](crate::Cache::invalidate_tags).
    pub fn invalidate_tags(
        &self,
        tags: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Pending<'_, (), Blocking> {
        verbs::invalidate_tags(&self.core, tags)
    }

    /// See [`delete_many`](crate::Cache::delete_many).
    pub fn delete_many(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Pending<'_, u64, Blocking> {
        verbs::delete_many(&self.core, keys)
    }

    /// See [`delete_pattern`](crate::Cache::delete_pattern).
    pub fn delete_pattern(&self, pattern: impl AsRef<[u8]>) -> Pending<'_, u64, Blocking> {
        verbs::delete_pattern(&self.core, pattern.as_ref())
    }

    /// See [`clear`](crate::Cache::clear).
    pub fn clear(&self) -> Clear<'_, Blocking> {
        Clear::new(&self.core)
    }

    /// See [`contains`](crate::Cache::contains).
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool, Blocking> {
        verbs::contains(&self.core, key.as_ref())
    }

    /// The cache's keys, without the prefix, each once: a lazy iterator. See
    /// [`keys`](crate::Cache::keys).
    pub fn keys(&self) -> Keys<'_, Blocking> {
        Keys::new(&self.core)
    }

    /// See [`ttl`](crate::Cache::ttl).
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Pending<'_, Remaining, Blocking> {
        verbs::ttl(&self.core, key.as_ref())
    }

    /// See [`expire`](crate::Cache::expire).
    pub fn expire(&self, key: impl AsRef<[u8]>, ttl: impl IntoTtl) -> Pending<'_, bool, Blocking> {
        verbs::expire(&self.core, key.as_ref(), ttl)
    }

    /// See [`expire_at`](crate::Cache::expire_at).
    pub fn expire_at(
        &self,
        key: impl AsRef<[u8]>,
        time: SystemTime,
    ) -> Pending<'_, bool, Blocking> {
        verbs::expire_at(&self.core, key.as_ref(), time)
    }

    /// See [`persist`](crate::Cache::persist).
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool, Blocking> {
        verbs::persist(&self.core, key.as_ref())
    }

    /// See [`incr`](crate::Cache::incr).
    pub fn incr(&self, key: impl AsRef<[u8]>) -> Incr<'_, Blocking> {
        Incr::new(&self.core, key.as_ref(), "INCRBY")
    }

    /// See [`decr`](crate::Cache::decr).
    pub fn decr(&self, key: impl AsRef<[u8]>) -> Incr<'_, Blocking> {
        Incr::new(&self.core, key.as_ref(), "DECRBY")
    }

    /// See [`counter`](crate::Cache::counter).
    pub fn counter(&self, key: impl AsRef<[u8]>) -> Pending<'_, Option<i64>, Blocking> {
        verbs::counter(&self.core, key.as_ref())
    }

    /// See [`bind`](crate::Cache::bind).
    pub fn bind(&self, key: impl AsRef<[u8]>) -> Bound<Cache> {
        Bound::new(self.clone(), key.as_ref())
    }

    /// See [`ping`](crate::Cache::ping).
    pub fn ping(&self) -> Pending<'_, (), Blocking> {
        verbs::ping(&self.core)
    }

    /// See [`server`](crate::Cache::server).
    pub fn server(&self) -> Pending<'_, ServerInfo, Blocking> {
        verbs::server(&self.core)
    }

    /// A Redis connection of the caller's own. See [`connection`](crate::Cache::connection).
    pub fn connection(&self) -> Pending<'_, Connection, Blocking> {
        verbs::blocking_connection(&self.core)
    }

    /// See [`close`](crate::Cache::close).
    pub fn close(&self) -> Close<'_, Blocking> {
        Close::new(&self.core)
    }

    /// See [`is_open`](crate::Cache::is_open).
    pub fn is_open(&self) -> bool {
        self.core.is_open()
    }

    /// See [`stats`](crate::Cache::stats).
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl Builder<Blocking> {
    /// Makes the cache. Connects to nothing yet: that is the first call's work.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`](crate::ErrorKind::InvalidUrl),
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) or
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig), for the first thing that is wrong.
    pub fn build(self) -> Result<Cache> {
        Ok(Cache {
            core: self.build_core(Mode::Blocking)?,
        })
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.describe(f, "blocking::Cache")
    }
}

//! A cache narrowed to one key.

use super::Cache;
use super::operation::{Get, Incr, LookUp, Pending, Remember, Set, SetIf, Touch};
use crate::codec::{Decode, Encode};
use crate::keyspace::Key;
use crate::read_through::load::{BoxError, Loadable};
use crate::ttl::{IntoTtl, Remaining};
use std::time::SystemTime;

/// A cache narrowed to one key: the verbs of [`Cache`] (or of `blocking::Cache`) without the key.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// let cache = nearcache::Cache::open("memory://")?;
/// let user = cache.bind("user:1");
/// user.set("Alice").ttl("1h").await?;
/// assert_eq!(user.get::<String>().await?.as_deref(), Some("Alice"));
/// user.delete().await?;
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
#[derive(Clone, Debug)]
pub struct Bound<C> {
    cache: C,
    key: Key,
}

impl<C> Bound<C> {
    pub(crate) fn new(cache: C, key: &[u8]) -> Self {
        Bound {
            cache,
            key: Key::from(key),
        }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The cache.
    pub fn cache(&self) -> &C {
        &self.cache
    }
}

macro_rules! bound {
    ($cache:ty, $mode:ty) => {
        impl Bound<$cache> {
            /// As `get` of the cache.
            pub fn get<T: Decode>(&self) -> Get<'_, T, $mode> {
                self.cache.get(&self.key)
            }

            /// As `lookup` of the cache.
            pub fn lookup<T: Decode>(&self) -> LookUp<'_, T, $mode> {
                self.cache.lookup(&self.key)
            }

            /// As `set` of the cache.
            pub fn set<'c, V: Encode + ?Sized>(&'c self, value: &'c V) -> Set<'c, V, $mode> {
                self.cache.set(&self.key, value)
            }

            /// As `add` of the cache.
            pub fn add<'c, V: Encode + ?Sized>(&'c self, value: &'c V) -> SetIf<'c, V, $mode> {
                self.cache.add(&self.key, value)
            }

            /// As `replace` of the cache.
            pub fn replace<'c, V: Encode + ?Sized>(&'c self, value: &'c V) -> SetIf<'c, V, $mode> {
                self.cache.replace(&self.key, value)
            }

            /// As `take` of the cache.
            pub fn take<T: Decode>(&self) -> Pending<'_, Option<T>, $mode> {
                self.cache.take(&self.key)
            }

            /// As `touch` of the cache.
            pub fn touch(&self) -> Touch<'_, $mode> {
                self.cache.touch(&self.key)
            }

            /// As `delete` of the cache.
            pub fn delete(&self) -> Pending<'_, bool, $mode> {
                self.cache.delete(&self.key)
            }

            /// As `contains` of the cache.
            pub fn contains(&self) -> Pending<'_, bool, $mode> {
                self.cache.contains(&self.key)
            }

            /// As `ttl` of the cache.
            pub fn ttl(&self) -> Pending<'_, Remaining, $mode> {
                self.cache.ttl(&self.key)
            }

            /// As `expire` of the cache.
            pub fn expire(&self, ttl: impl IntoTtl) -> Pending<'_, bool, $mode> {
                self.cache.expire(&self.key, ttl)
            }

            /// As `expire_at` of the cache.
            pub fn expire_at(&self, time: SystemTime) -> Pending<'_, bool, $mode> {
                self.cache.expire_at(&self.key, time)
            }

            /// As `persist` of the cache.
            pub fn persist(&self) -> Pending<'_, bool, $mode> {
                self.cache.persist(&self.key)
            }

            /// As `incr` of the cache.
            pub fn incr(&self) -> Incr<'_, $mode> {
                self.cache.incr(&self.key)
            }

            /// As `decr` of the cache.
            pub fn decr(&self) -> Incr<'_, $mode> {
                self.cache.decr(&self.key)
            }

            /// As `counter` of the cache.
            pub fn counter(&self) -> Pending<'_, Option<i64>, $mode> {
                self.cache.counter(&self.key)
            }
        }
    };
}

bound!(Cache, super::operation::Async);
#[cfg(feature = "blocking")]
bound!(crate::blocking::Cache, super::operation::Blocking);

impl Bound<Cache> {
    /// As `remember` of the cache.
    pub fn remember<F, Fut, L, E>(&self, load: F) -> Remember<'_, L::Value, F>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Loadable,
        E: Into<BoxError> + 'static,
    {
        self.cache.remember(&self.key, load)
    }

    /// As `refresh` of the cache.
    pub fn refresh<F, Fut, L, E>(&self, load: F) -> Remember<'_, L::Value, F>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Loadable,
        E: Into<BoxError> + 'static,
    {
        self.cache.refresh(&self.key, load)
    }
}

#[cfg(feature = "blocking")]
impl Bound<crate::blocking::Cache> {
    /// As `remember` of the cache.
    pub fn remember<F, L, E>(
        &self,
        load: F,
    ) -> Remember<'_, L::Value, F, super::operation::Blocking>
    where
        F: FnOnce() -> Result<L, E>,
        L: Loadable,
        E: Into<BoxError>,
    {
        self.cache.remember(&self.key, load)
    }

    /// As `refresh` of the cache.
    pub fn refresh<F, L, E>(&self, load: F) -> Remember<'_, L::Value, F, super::operation::Blocking>
    where
        F: FnOnce() -> Result<L, E>,
        L: Loadable,
        E: Into<BoxError>,
    {
        self.cache.refresh(&self.key, load)
    }
}

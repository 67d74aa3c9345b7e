//! A cache bound to one key.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::de::DeserializeOwned;

use super::CacheOf;
use super::operation::{
    Async, Executor, Get, Incr, LookUp, Pending, Remember, Set, SetIf, Sure, Touch,
};
use crate::codec::{Decode, Encode};
use crate::error::BoxError;
use crate::keyspace::{Key, in_message};
use crate::read_through::load::Loadable;
use crate::ttl::{IntoTtl, Remaining};

/// A cache bound to one key: the methods of [`CacheOf`] without the key argument.
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
pub struct Bound<M = Async> {
    cache: CacheOf<M>,
    key: Key,
}

impl<M> Bound<M> {
    pub(super) fn new(cache: CacheOf<M>, key: &[u8]) -> Self {
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
    pub fn cache(&self) -> &CacheOf<M> {
        &self.cache
    }

    /// See [`get`](CacheOf::get).
    pub fn get<T: Decode + Clone>(&self) -> Get<'_, T, M> {
        self.cache.get(&self.key)
    }

    /// See [`get_arc`](CacheOf::get_arc).
    pub fn get_arc<T>(&self) -> Get<'_, Arc<T>, M>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.cache.get_arc(&self.key)
    }

    /// See [`lookup`](CacheOf::lookup).
    pub fn lookup<T: Decode + Clone>(&self) -> LookUp<'_, T, M> {
        self.cache.lookup(&self.key)
    }

    /// See [`set`](CacheOf::set).
    pub fn set<V: Encode>(&self, value: V) -> Set<'_, V, M> {
        self.cache.set(&self.key, value)
    }

    /// See [`add`](CacheOf::add).
    pub fn add<V: Encode>(&self, value: V) -> SetIf<'_, V, M> {
        self.cache.add(&self.key, value)
    }

    /// See [`replace`](CacheOf::replace).
    pub fn replace<V: Encode>(&self, value: V) -> SetIf<'_, V, M> {
        self.cache.replace(&self.key, value)
    }

    /// See [`take`](CacheOf::take).
    pub fn take<T: Decode>(&self) -> Pending<'_, Option<T>, M> {
        self.cache.take(&self.key)
    }

    /// See [`touch`](CacheOf::touch).
    pub fn touch(&self) -> Touch<'_, M> {
        self.cache.touch(&self.key)
    }

    /// See [`delete`](CacheOf::delete).
    pub fn delete(&self) -> Pending<'_, bool, M> {
        self.cache.delete(&self.key)
    }

    /// See [`mark_stale`](CacheOf::mark_stale).
    pub fn mark_stale(&self) -> Pending<'_, (), M> {
        self.cache.mark_stale(&self.key)
    }

    /// See [`contains`](CacheOf::contains).
    pub fn contains(&self) -> Pending<'_, bool, M> {
        self.cache.contains(&self.key)
    }

    /// See [`ttl`](CacheOf::ttl).
    pub fn ttl(&self) -> Pending<'_, Remaining, M> {
        self.cache.ttl(&self.key)
    }

    /// See [`expire`](CacheOf::expire).
    pub fn expire(&self, ttl: impl IntoTtl) -> Pending<'_, bool, M> {
        self.cache.expire(&self.key, ttl)
    }

    /// See [`expire_at`](CacheOf::expire_at).
    pub fn expire_at(&self, time: SystemTime) -> Pending<'_, bool, M> {
        self.cache.expire_at(&self.key, time)
    }

    /// See [`persist`](CacheOf::persist).
    pub fn persist(&self) -> Pending<'_, bool, M> {
        self.cache.persist(&self.key)
    }

    /// See [`incr`](CacheOf::incr).
    pub fn incr(&self) -> Incr<'_, M> {
        self.cache.incr(&self.key)
    }

    /// See [`decr`](CacheOf::decr).
    pub fn decr(&self) -> Incr<'_, M> {
        self.cache.decr(&self.key)
    }

    /// See [`counter`](CacheOf::counter).
    pub fn counter(&self) -> Pending<'_, Option<i64>, M> {
        self.cache.counter(&self.key)
    }
}

impl Bound<Async> {
    /// See [`remember`](CacheOf::remember).
    pub fn remember<F, Fut, L, E>(&self, load: F) -> Remember<'_, L::Value, F>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        self.cache.remember(&self.key, load)
    }

    /// See [`refresh`](CacheOf::refresh).
    pub fn refresh<F, Fut, L, E>(&self, load: F) -> Remember<'_, L::Value, F>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        self.cache.refresh(&self.key, load)
    }

    /// See [`remember_with`](CacheOf::remember_with).
    pub fn remember_with<F, Fut, L>(&self, load: F) -> Remember<'_, L::Value, Sure<F>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = L> + Send + 'static,
        L: Loadable<Value: Clone>,
    {
        self.cache.remember_with(&self.key, load)
    }

    /// See [`refresh_with`](CacheOf::refresh_with).
    pub fn refresh_with<F, Fut, L>(&self, load: F) -> Remember<'_, L::Value, Sure<F>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = L> + Send + 'static,
        L: Loadable<Value: Clone>,
    {
        self.cache.refresh_with(&self.key, load)
    }
}

#[cfg(feature = "blocking")]
impl Bound<super::operation::Blocking> {
    /// See [`remember`](CacheOf::remember).
    pub fn remember<F, L, E>(
        &self,
        load: F,
    ) -> Remember<'_, L::Value, F, super::operation::Blocking>
    where
        F: FnOnce() -> Result<L, E>,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        self.cache.remember(&self.key, load)
    }

    /// See [`refresh`](CacheOf::refresh).
    pub fn refresh<F, L, E>(&self, load: F) -> Remember<'_, L::Value, F, super::operation::Blocking>
    where
        F: FnOnce() -> Result<L, E>,
        L: Loadable<Value: Clone>,
        E: Into<BoxError> + 'static,
    {
        self.cache.refresh(&self.key, load)
    }

    /// See [`remember_with`](CacheOf::remember_with).
    pub fn remember_with<F, L>(
        &self,
        load: F,
    ) -> Remember<'_, L::Value, Sure<F>, super::operation::Blocking>
    where
        F: FnOnce() -> L,
        L: Loadable<Value: Clone>,
    {
        self.cache.remember_with(&self.key, load)
    }

    /// See [`refresh_with`](CacheOf::refresh_with).
    pub fn refresh_with<F, L>(
        &self,
        load: F,
    ) -> Remember<'_, L::Value, Sure<F>, super::operation::Blocking>
    where
        F: FnOnce() -> L,
        L: Loadable<Value: Clone>,
    {
        self.cache.refresh_with(&self.key, load)
    }
}

impl<M> Clone for Bound<M> {
    fn clone(&self) -> Self {
        Bound {
            cache: self.cache.clone(),
            key: self.key.clone(),
        }
    }
}

impl<M: Executor> fmt::Debug for Bound<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redact = self.cache.core.client().keyspace().redacts();
        f.debug_struct("Bound")
            .field("cache", &self.cache)
            .field("key", &in_message(self.key.as_bytes(), redact))
            .finish()
    }
}

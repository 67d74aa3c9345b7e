//! The base of cachelib's caches, as a trait: for code that runs with any of them.

use std::collections::HashMap;

use super::{SimpleCache, Timeout, Value};
use crate::cache::operation::{Async, Executor, Pending};
use crate::error::{Error, ErrorKind, Result};

/// What a cache of cachelib can do (its `BaseCache`): for code that is given one and need not know which.
///
/// `dyn BasicCache` is one for async callers, and `dyn BasicCache<Blocking>` one for code without an async runtime. A
/// cache of your own says how to get, set, add, delete and look, and how to clear; the other methods are made of these,
/// one key after the other, and can be replaced. (So `inc` and `dec` are not atomic there, unless they are.)
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use nearcache::Cache;
/// use nearcache::simple::{BasicCache, NullCache, SimpleCache};
///
/// async fn visits(cache: &dyn BasicCache) -> nearcache::Result<Option<i64>> {
///     cache.inc("visits", 1).await
/// }
///
/// let real: Box<dyn BasicCache> = Box::new(SimpleCache::new(&Cache::open("memory://")?));
/// let none: Box<dyn BasicCache> = Box::new(NullCache);
/// assert_eq!(visits(&*real).await?, Some(1));
/// assert_eq!(visits(&*real).await?, Some(2));
/// assert_eq!(visits(&*none).await?, Some(1));
/// assert_eq!(visits(&*none).await?, Some(1));
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
pub trait BasicCache<M: Executor = Async>: Send + Sync {
    /// The value of a key; `None` if there is none, or if it cannot be read.
    fn get<'c>(&'c self, key: &'c str) -> Pending<'c, Option<Value>, M>;

    /// Stores a value; without a timeout, for the default one. Returns whether it is stored.
    fn set<'c>(
        &'c self,
        key: &'c str,
        value: Value,
        timeout: Option<Timeout>,
    ) -> Pending<'c, bool, M>;

    /// Stores a value if there is none. Returns whether it is stored.
    fn add<'c>(
        &'c self,
        key: &'c str,
        value: Value,
        timeout: Option<Timeout>,
    ) -> Pending<'c, bool, M>;

    /// Deletes a key. Returns whether it was there.
    fn delete<'c>(&'c self, key: &'c str) -> Pending<'c, bool, M>;

    /// Whether there is something under a key.
    fn has<'c>(&'c self, key: &'c str) -> Pending<'c, bool, M>;

    /// Deletes everything. Returns whether that was done.
    fn clear(&self) -> Pending<'_, bool, M>;

    /// The values of many keys, in their order.
    fn get_many<'c>(&'c self, keys: &'c [&'c str]) -> Pending<'c, Vec<Option<Value>>, M> {
        Pending::new(async move {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                values.push(self.get(key).start().await?);
            }
            Ok(values)
        })
    }

    /// The same as a map by key. A key that is given twice is there once.
    fn get_dict<'c>(
        &'c self,
        keys: &'c [&'c str],
    ) -> Pending<'c, HashMap<&'c str, Option<Value>>, M> {
        Pending::new(async move {
            let values = self.get_many(keys).start().await?;
            Ok(keys.iter().copied().zip(values).collect())
        })
    }

    /// Stores many values. Returns the keys that are stored.
    fn set_many<'c>(
        &'c self,
        entries: Vec<(&'c str, Value)>,
        timeout: Option<Timeout>,
    ) -> Pending<'c, Vec<&'c str>, M> {
        Pending::new(async move {
            let mut stored = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                if self.set(key, value, timeout).start().await? {
                    stored.push(key);
                }
            }
            Ok(stored)
        })
    }

    /// Deletes many keys. Returns those that are not there any more.
    fn delete_many<'c>(&'c self, keys: &'c [&'c str]) -> Pending<'c, Vec<&'c str>, M> {
        Pending::new(async move {
            let mut gone = Vec::with_capacity(keys.len());
            for key in keys {
                if self.delete(key).start().await? || !self.has(key).start().await? {
                    gone.push(*key);
                }
            }
            Ok(gone)
        })
    }

    /// Adds to the integer of a key, and returns the new one; a key that is missing begins with the delta. `None` if it
    /// cannot be stored.
    fn inc<'c>(&'c self, key: &'c str, delta: i64) -> Pending<'c, Option<i64>, M> {
        Pending::new(async move {
            let number = match self.get(key).start().await? {
                None | Some(Value::None) => 0,
                Some(value) => value.as_i64().ok_or_else(|| {
                    let why = format!("it is a {}", value.kind());
                    Error::new(ErrorKind::NotInteger, why).named(key.as_bytes(), false)
                })?,
            };
            let sum = number.checked_add(delta).ok_or_else(|| {
                Error::new(ErrorKind::Overflow, format!("{number} and {delta}"))
                    .named(key.as_bytes(), false)
            })?;
            let stored = self.set(key, sum.into(), None).start().await?;
            Ok(stored.then_some(sum))
        })
    }

    /// Subtracts from the integer of a key. Otherwise like [`inc`](BasicCache::inc).
    fn dec<'c>(&'c self, key: &'c str, delta: i64) -> Pending<'c, Option<i64>, M> {
        match delta.checked_neg() {
            Some(delta) => self.inc(key, delta),
            None => Pending::new(async move {
                let why = "the delta is the least integer of 64 bits, which has no opposite";
                Err(Error::new(ErrorKind::Overflow, why).named(key.as_bytes(), false))
            }),
        }
    }
}

impl<M: Executor> BasicCache<M> for SimpleCache<M> {
    fn get<'c>(&'c self, key: &'c str) -> Pending<'c, Option<Value>, M> {
        SimpleCache::get(self, key)
    }

    fn set<'c>(
        &'c self,
        key: &'c str,
        value: Value,
        timeout: Option<Timeout>,
    ) -> Pending<'c, bool, M> {
        let timeout = timeout.unwrap_or(self.settings.default_timeout);
        Pending::new(SimpleCache::set(self, key, value).timeout(timeout).start())
    }

    fn add<'c>(
        &'c self,
        key: &'c str,
        value: Value,
        timeout: Option<Timeout>,
    ) -> Pending<'c, bool, M> {
        let timeout = timeout.unwrap_or(self.settings.default_timeout);
        Pending::new(SimpleCache::add(self, key, value).timeout(timeout).start())
    }

    fn delete<'c>(&'c self, key: &'c str) -> Pending<'c, bool, M> {
        SimpleCache::delete(self, key)
    }

    fn has<'c>(&'c self, key: &'c str) -> Pending<'c, bool, M> {
        SimpleCache::has(self, key)
    }

    fn clear(&self) -> Pending<'_, bool, M> {
        SimpleCache::clear(self)
    }

    fn get_many<'c>(&'c self, keys: &'c [&'c str]) -> Pending<'c, Vec<Option<Value>>, M> {
        SimpleCache::get_many(self, keys)
    }

    fn set_many<'c>(
        &'c self,
        entries: Vec<(&'c str, Value)>,
        timeout: Option<Timeout>,
    ) -> Pending<'c, Vec<&'c str>, M> {
        let timeout = timeout.unwrap_or(self.settings.default_timeout);
        Pending::new(
            SimpleCache::set_many(self, entries)
                .timeout(timeout)
                .start(),
        )
    }

    fn delete_many<'c>(&'c self, keys: &'c [&'c str]) -> Pending<'c, Vec<&'c str>, M> {
        SimpleCache::delete_many(self, keys.iter().copied())
    }

    fn inc<'c>(&'c self, key: &'c str, delta: i64) -> Pending<'c, Option<i64>, M> {
        Pending::new(SimpleCache::inc(self, key).delta(delta).start())
    }

    fn dec<'c>(&'c self, key: &'c str, delta: i64) -> Pending<'c, Option<i64>, M> {
        Pending::new(SimpleCache::dec(self, key).delta(delta).start())
    }
}

/// A cache that keeps nothing, and says that it does: for tests, and to turn caching off.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullCache;

/// An answer that is known.
fn known<'c, T: Send + 'c, M>(answer: T) -> Pending<'c, T, M> {
    Pending::new(async move { Result::Ok(answer) })
}

impl<M: Executor> BasicCache<M> for NullCache {
    fn get<'c>(&'c self, _: &'c str) -> Pending<'c, Option<Value>, M> {
        known(None)
    }

    fn set<'c>(&'c self, _: &'c str, _: Value, _: Option<Timeout>) -> Pending<'c, bool, M> {
        known(true)
    }

    fn add<'c>(&'c self, _: &'c str, _: Value, _: Option<Timeout>) -> Pending<'c, bool, M> {
        known(true)
    }

    fn delete<'c>(&'c self, _: &'c str) -> Pending<'c, bool, M> {
        known(true)
    }

    fn has<'c>(&'c self, _: &'c str) -> Pending<'c, bool, M> {
        known(false)
    }

    fn clear(&self) -> Pending<'_, bool, M> {
        known(true)
    }
}

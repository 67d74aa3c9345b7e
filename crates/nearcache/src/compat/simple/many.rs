//! Many keys at once: `get_many`, `get_dict`, `set_many`, `delete_many`. They return the keys that were given, without
//! the prefix.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{SimpleCache, Store, Value};
use crate::cache::operation::{Executor, Pending};
use crate::codec::Raw;
use crate::error::Result;

/// How many keys are deleted in one round trip.
const DELETED_TOGETHER: usize = 1_000;

impl<M: Executor> SimpleCache<M> {
    /// The values of many keys, in their order. A key is `None` where [`get`](SimpleCache::get) would return `None`, and
    /// also where it holds another Redis type. Up to 1,000 keys take one round trip; more are split.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # use nearcache::simple::SimpleCache;
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # let simple = SimpleCache::new(&cache);
    /// simple.set_many([("foo", 1), ("bar", 2)]).await?;
    /// let values = simple.get_many(["foo", "x", "bar"]).await?;
    /// assert_eq!(values, [Some(1.into()), None, Some(2.into())]);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey). See [`SimpleCache`] for those of Redis.
    pub fn get_many<K: Display>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Pending<'static, Vec<Option<Value>>, M> {
        let keys: Vec<K> = keys.into_iter().collect();
        let (this, keys) = (self.clone(), self.keys(&keys));
        Pending::new(async move { this.load_many(&keys).await })
    }

    /// The same as a map by key. A key that is given twice is there once.
    ///
    /// # Errors
    /// Those of [`get_many`](SimpleCache::get_many).
    pub fn get_dict<'k, K: Display + Eq + Hash + Send + 'k>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Pending<'k, HashMap<K, Option<Value>>, M> {
        let keys: Vec<K> = keys.into_iter().collect();
        let (this, stored) = (self.clone(), self.keys(&keys));
        Pending::new(async move {
            let values = this.load_many(&stored).await?;
            Ok(keys.into_iter().zip(values).collect())
        })
    }

    async fn load_many(&self, keys: &[String]) -> Result<Vec<Option<Value>>> {
        match self.plain.get_many::<Raw>(keys).start().await {
            Ok(values) => Ok(values
                .iter()
                .map(|value| self.loads(value.as_ref()))
                .collect()),
            failed => self.settle(failed.map(|_| Vec::new()), vec![None; keys.len()]),
        }
    }

    /// Stores many values with one timeout, and returns the keys whose values are stored. Up to 1,000 of them take one
    /// round trip; more are split. If Redis goes away in between, the keys of the parts before are returned.
    ///
    /// # Errors
    /// Those of [`set`](SimpleCache::set): a value that cannot be stored is one before anything is sent.
    pub fn set_many<'k, K: Display + Send + 'k, V: Into<Value>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Store<'k, Vec<K>, M> {
        let this = self.clone();
        let (mut keys, values): (Vec<K>, Vec<V>) = entries.into_iter().unzip();
        let stored = self.keys(&keys);
        let entries = stored.into_iter().zip(values).map(|(key, value)| {
            let bytes = this.dumps(&key, &value.into())?;
            Ok((key, bytes))
        });
        let entries: Result<Vec<(String, Raw)>> = entries.collect();
        self.storing(move |ttl| {
            Box::pin(async move {
                let count = Arc::new(AtomicUsize::new(0));
                let set = this.plain.set_many(entries?);
                let set = match ttl {
                    Some(ttl) => set.ttl(ttl),
                    None => set.forever(),
                };
                let outcome = set.start_counting(Arc::clone(&count)).await;
                this.settle(outcome, ())?;
                keys.truncate(count.load(Ordering::Relaxed));
                Ok(keys)
            })
        })
    }

    /// Deletes many keys, and returns those that are not there any more: also those that never were. Up to 1,000 keys take
    /// one round trip; more are split. If Redis goes away in between, only the keys of the parts that it confirmed are
    /// returned.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # use nearcache::simple::SimpleCache;
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # let simple = SimpleCache::new(&cache);
    /// simple.set("foo", 1).await?;
    /// assert_eq!(simple.delete_many(["foo", "missing"]).await?, ["foo", "missing"]);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey). See [`SimpleCache`] for those of Redis, which are also
    /// returned after [`ignore_delete_many_errors(false)`](SimpleCache::ignore_delete_many_errors).
    pub fn delete_many<'k, K: Display + Send + 'k>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Pending<'k, Vec<K>, M> {
        let keys: Vec<K> = keys.into_iter().collect();
        let (this, stored) = (self.clone(), self.keys(&keys));
        Pending::new(async move {
            let mut gone = Vec::with_capacity(keys.len());
            let mut failed = None;
            let mut keys = keys.into_iter();
            for part in stored.chunks(DELETED_TOGETHER) {
                let names = keys.by_ref().take(part.len());
                match this.plain.delete_many(part).start().await {
                    Ok(_) => gone.extend(names),
                    // The other parts are tried all the same: what is to be deleted is remembered for when Redis is back.
                    Err(error) => {
                        names.for_each(drop);
                        failed.get_or_insert(error);
                    }
                }
            }
            match failed {
                Some(error) if !this.settings.ignore_delete_many_errors => Err(error),
                Some(error) => this.settle(Err(error), gone),
                None => Ok(gone),
            }
        })
    }
}

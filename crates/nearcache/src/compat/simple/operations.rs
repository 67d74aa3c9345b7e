//! The operations that take options: a timeout, a delta.

use std::fmt;
use std::marker::PhantomData;

use super::{SimpleCache, Timeout};
use crate::cache::operation::{Async, CacheFuture, Marked, operation};
use crate::connect::BoxFuture;
use crate::error::Result;
use crate::ttl::Ttl;

/// What is done, once its option is known.
type Job<'k, O, T> = Box<dyn FnOnce(O) -> BoxFuture<'k, Result<T>> + Send + 'k>;

/// A pending `set`, `add` or `set_many`.
#[must_use = "nothing is stored until it is carried out, by `.await` or `.run()`"]
pub struct Store<'k, T, M = Async> {
    job: Job<'k, Option<Ttl>, T>,
    timeout: Timeout,
    mode: Marked<M>,
}

impl<M> SimpleCache<M> {
    /// A pending write, with the default timeout. Its job is told the TTL.
    pub(super) fn storing<'k, T>(
        &self,
        job: impl FnOnce(Option<Ttl>) -> BoxFuture<'k, Result<T>> + Send + 'k,
    ) -> Store<'k, T, M> {
        Store {
            job: Box::new(job),
            timeout: self.settings.default_timeout,
            mode: PhantomData,
        }
    }
}

impl<'k, T: Send + 'k, M> Store<'k, T, M> {
    /// How long the entry stays: seconds, or a [`Duration`](std::time::Duration), of which a part of a second counts as a
    /// whole one. 0 and −1 mean for ever. Default: the cache's [default timeout](SimpleCache::default_timeout). The
    /// jitter of the cache beneath applies.
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.timeout = timeout.into();
        self
    }

    pub(super) fn start(self) -> CacheFuture<'k, T> {
        match self.timeout.ttl() {
            Ok(ttl) => CacheFuture::asking((self.job)(ttl)),
            Err(error) => CacheFuture::ready(Err(error)),
        }
    }
}

operation!(Store<'k, T: Send> -> T);

impl<T, M> fmt::Debug for Store<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A pending `inc` or `dec`.
#[must_use = "nothing is counted until it is carried out, by `.await` or `.run()`"]
pub struct Count<'k, M = Async> {
    job: Job<'k, i64, Option<i64>>,
    delta: i64,
    mode: Marked<M>,
}

impl<'k, M> Count<'k, M> {
    pub(super) fn new(
        job: impl FnOnce(i64) -> BoxFuture<'k, Result<Option<i64>>> + Send + 'k,
    ) -> Self {
        Count {
            job: Box::new(job),
            delta: 1,
            mode: PhantomData,
        }
    }

    /// How much is added or subtracted, instead of 1. It may be negative.
    pub fn delta(mut self, delta: i64) -> Self {
        self.delta = delta;
        self
    }

    pub(super) fn start(self) -> CacheFuture<'k, Option<i64>> {
        CacheFuture::asking((self.job)(self.delta))
    }
}

operation!(Count<'k> -> Option<i64>);

impl<M> fmt::Debug for Count<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Count")
            .field("delta", &self.delta)
            .finish_non_exhaustive()
    }
}

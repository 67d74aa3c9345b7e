//! Limits: so many calls in so many seconds, counted in the cache, for all processes together.

use nearcache::Cache;

use crate::failure::Failure;

/// A limit. The window begins with the first call in it, which makes the counter and its TTL in one step: no counter is
/// left behind that never ends.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What is limited; a part of the counter's key.
    pub what: &'static str,
    /// How many calls there may be in a window.
    pub most: i64,
    /// How long a window is.
    pub seconds: u64,
}

impl Limit {
    /// Counts a call, and refuses it if there were too many. While Redis is away every call is let through: a service
    /// that cannot count is better than one that serves nobody.
    ///
    /// # Errors
    /// [`Failure::TooMany`].
    pub async fn admit(&self, cache: &Cache, who: &str) -> Result<(), Failure> {
        let counter = format!("limit:{}:{who}", self.what);
        match cache.incr(counter).ttl(self.seconds).await {
            Ok(calls) if calls > self.most => Err(Failure::TooMany(self.seconds)),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

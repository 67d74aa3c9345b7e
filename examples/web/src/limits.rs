//! Limits: how often somebody may do something, counted in the cache, for all processes together.

use nearcache::Cache;
use nearcache::patterns::{Decision, Quota};

use crate::failure::Failure;

/// A limit: at most so many in any minute.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What is limited: the name of the limiter.
    pub what: &'static str,
    /// How many there may be.
    pub a_minute: u64,
}

impl Limit {
    /// Counts one, and refuses it if there were too many. While Redis is away each process counts by itself: a service
    /// with a weaker limit is better than one that serves nobody, or that anybody may try passwords at.
    ///
    /// # Errors
    /// [`Failure::TooMany`].
    pub async fn admit(&self, cache: &Cache, who: &str) -> Result<(), Failure> {
        let limiter = cache.rate_limiter(self.what, Quota::per_minute(self.a_minute));
        match limiter.sliding_window().check(who).await? {
            Decision::Allowed { .. } => Ok(()),
            denied @ Decision::Denied { .. } => {
                Err(Failure::TooMany(denied.retry_after().as_secs() + 1))
            }
        }
    }
}

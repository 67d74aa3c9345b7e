//! What all services of a layer share: the cache, and the layer's options.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderName;
use http::request::Parts;
use nearcache::{Cache, Raw, Ttl};
use parking_lot::Mutex;

use super::fields::from_millis;
use super::record::Stored;
use super::terms::Rules;

/// A function of the application's, of a request.
pub(super) type OfRequest<T> = Arc<dyn Fn(&Parts) -> T + Send + Sync>;

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) cache: Cache,
    /// The beginning of every key.
    pub(super) name: String,
    pub(super) rules: Rules,
    /// The largest body that is stored, in bytes.
    pub(super) body_limit: usize,
    /// How long it is known that a page is not stored.
    pub(super) pass_for: Ttl,
    /// How long a request waits for the response to another.
    pub(super) wait_for: Ttl,
    pub(super) ignore_host: bool,
    pub(super) ignore_cookies: bool,
    pub(super) ignore_request_directives: bool,
    pub(super) key: Option<OfRequest<Option<String>>>,
    pub(super) request_tags: Option<OfRequest<Vec<String>>>,
    pub(super) tag_header: Option<HeaderName>,
    /// The name in `Cache-Status`, as the field has it.
    pub(super) cache_status: Option<String>,
    /// What is fetched anew in the background by this process.
    pub(super) refreshing: Arc<Mutex<HashSet<String>>>,
}

/// What was found under a key.
pub(super) struct Found {
    pub(super) stored: Stored,
    /// Whether the cache holds it for stale: its time has ended, or it was marked so.
    pub(super) is_stale: bool,
}

/// The cache does not answer.
pub(super) struct Away;

impl Shared {
    /// The cache's time.
    pub(super) fn now(&self) -> SystemTime {
        from_millis(self.unix_millis())
    }

    pub(super) fn unix_millis(&self) -> u64 {
        self.cache.__unix_millis()
    }

    /// What is stored under a key.
    ///
    /// # Errors
    /// The cache does not answer: it is of no use to ask it for more.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Found>, Away> {
        let kept = match self.cache.get_kept::<Raw>(key).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::debug!(%error, "a response could not be read from the cache");
                return Err(Away);
            }
        };
        Ok(kept.and_then(|kept| {
            Some(Found {
                is_stale: kept.stale_for.is_some(),
                stored: Stored::decode(kept.value.0)?,
            })
        }))
    }

    /// Removes pages. What cannot be removed now is removed once Redis is back.
    pub(super) async fn remove(&self, keys: Vec<String>) {
        if let Err(error) = self.cache.delete_many(&keys).await {
            tracing::debug!(%error, "responses could not be removed from the cache");
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("cache", &self.cache)
            .field("name", &self.name)
            .field("rules", &self.rules)
            .field("body_limit", &self.body_limit)
            .finish_non_exhaustive()
    }
}

/// A page that is being fetched anew in the background. Ends when it is dropped.
pub(super) struct Refreshing {
    all: Arc<Mutex<HashSet<String>>>,
    key: String,
}

impl Refreshing {
    /// `None` if it is already.
    pub(super) fn begin(shared: &Shared, key: &str) -> Option<Self> {
        let is_first = shared.refreshing.lock().insert(key.to_owned());
        is_first.then(|| Refreshing {
            all: Arc::clone(&shared.refreshing),
            key: key.to_owned(),
        })
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

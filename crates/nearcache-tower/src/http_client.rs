//! Responses of APIs that a program calls: a `CacheManager` for the crate `http-cache`, and so for `reqwest-middleware`.
//!
//! What is stored is `'N' 'C' version(1) length(4) head body`: the head is JSON, the body is as it came.

use std::time::{Duration, SystemTime};

use http_cache::{CacheManager, HttpResponse};
use http_cache_semantics_2::CachePolicy;
use nearcache::{Cache, IntoTtl, Raw, Result};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 3] = [b'N', b'C', 1];

/// How long a response is kept past its freshness, unless said otherwise.
const KEEP_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A `CacheManager` for the crate [`http-cache`](https://docs.rs/http-cache/0.21), in version 0.21, which is what
/// `http-cache-reqwest` 0.16 and others take: an HTTP client whose responses are cached in a [`Cache`], for all processes
/// that share it.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use http_cache_reqwest::{Cache as Cached, CacheMode, HttpCache, HttpCacheOptions};
/// use nearcache::Cache;
/// use nearcache_tower::HttpCacheManager;
/// use reqwest_middleware::ClientBuilder;
///
/// let cache = Cache::open("memory://")?; // or redis://…
/// let client = ClientBuilder::new(reqwest::Client::new())
///     .with(Cached(HttpCache {
///         mode: CacheMode::Default,
///         manager: HttpCacheManager::new(cache),
///         options: HttpCacheOptions::default(),
///     }))
///     .build();
/// # let _ = client;
/// # Ok(())
/// # }
/// # nearcache::__example(async { example().await.map_err(|error| error.to_string()) });
/// ```
///
/// `http-cache` decides what is stored and how long it is fresh. A response is kept for a
/// [day](HttpCacheManager::keep_for) longer, so that the server need only say whether it is still right.
///
/// The policy that `http-cache` stores with a response has the fields of the request, `Authorization` among them: whoever
/// reads the cache reads them. The keys are `http-client:` and then the method and the address.
///
/// While Redis is away, nothing is found and nothing stored, and requests go to the server: no error of the cache reaches
/// the caller. What is to be removed then is removed once Redis is back.
#[derive(Clone, Debug)]
pub struct HttpCacheManager {
    cache: Cache,
    name: String,
    keep_for: Duration,
}

impl HttpCacheManager {
    /// A manager over this cache.
    pub fn new(cache: Cache) -> Self {
        HttpCacheManager {
            cache,
            name: "http-client".to_owned(),
            keep_for: KEEP_FOR,
        }
    }

    /// What the keys begin with. Default: `http-client`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long a response is kept past its freshness: a text such as `"1h"`, a [`Duration`], or whole seconds. Default: 1
    /// day.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`](nearcache::ErrorKind::InvalidTtl) if it is not from 1 ms to 1,000 years.
    pub fn keep_for(mut self, time: impl IntoTtl) -> Result<Self> {
        self.keep_for = time.into_ttl()?.as_duration();
        Ok(self)
    }

    fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.name)
    }
}

/// Everything but the body.
#[derive(Serialize, Deserialize)]
struct Head {
    response: HttpResponse,
    policy: CachePolicy,
}

fn encode(head: &Head, body: &[u8]) -> serde_json::Result<Vec<u8>> {
    let head = serde_json::to_vec(head)?;
    let mut out = MAGIC.to_vec();
    out.reserve(4 + head.len() + body.len());
    out.extend_from_slice(&(head.len() as u32).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
    Ok(out)
}

/// `None` for bytes that are none of ours, or damaged.
fn decode(bytes: &[u8]) -> Option<Head> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (head, body) = rest.split_at_checked(length)?;
    let mut head: Head = serde_json::from_slice(head).ok()?;
    head.response.body = body.to_vec();
    Some(head)
}

#[async_trait::async_trait]
impl CacheManager for HttpCacheManager {
    async fn get(
        &self,
        cache_key: &str,
    ) -> http_cache::Result<Option<(HttpResponse, CachePolicy)>> {
        let found = match self.cache.get::<Raw>(self.key(cache_key)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "a response could not be read from the cache");
                None
            }
        };
        let head = found.and_then(|bytes| decode(&bytes.0));
        Ok(head.map(|head| (head.response, head.policy)))
    }

    async fn put(
        &self,
        cache_key: String,
        mut response: HttpResponse,
        policy: CachePolicy,
    ) -> http_cache::Result<HttpResponse> {
        let fresh = policy.time_to_live(SystemTime::now());
        let body = std::mem::take(&mut response.body);
        let head = Head { response, policy };
        let stored = match encode(&head, &body) {
            Ok(bytes) => {
                let key = self.key(&cache_key);
                let ttl = fresh.saturating_add(self.keep_for);
                let set = self.cache.set(key, Raw(bytes)).ttl(ttl);
                set.await.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = stored {
            tracing::debug!(error, "a response could not be stored in the cache");
        }
        let mut response = head.response;
        response.body = body;
        Ok(response)
    }

    async fn delete(&self, cache_key: &str) -> http_cache::Result<()> {
        if let Err(error) = self.cache.delete(self.key(cache_key)).await {
            tracing::debug!(%error, "a response could not be removed from the cache");
        }
        Ok(())
    }
}

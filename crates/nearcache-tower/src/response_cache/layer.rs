//! The layer and its options.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, Uri};
use nearcache::{Cache, Error, IntoTtl, Result, Ttl};
use tower_layer::Layer;

use super::service::ResponseCache;
use super::shared::Shared;
use super::status;
use super::subject::keys_of;
use super::terms::Rules;

/// The largest body that is stored, unless said otherwise: 1 MiB.
const BODY_LIMIT: usize = 1 << 20;
/// How long a response that can be validated is kept past its freshness, unless said otherwise.
const KEEP_FOR: Duration = Duration::from_secs(60 * 60);
/// How long it is known that a page is not stored, unless said otherwise.
const PASS_FOR: Duration = Duration::from_secs(60);
/// How long a request waits for the response to another, unless said otherwise: as long as in nginx
/// (`proxy_cache_lock_timeout`).
const WAIT_FOR: Duration = Duration::from_secs(5);

/// A layer that caches responses as a shared HTTP cache does (RFC 9111), in a [`Cache`].
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::http::header::CACHE_CONTROL;
/// use axum::{Router, routing::get};
/// use nearcache::Cache;
/// use nearcache_tower::ResponseCacheLayer;
///
/// async fn products() -> impl axum::response::IntoResponse {
///     ([(CACHE_CONTROL, "public, max-age=60, stale-while-revalidate=600")], "…")
/// }
///
/// let cache = Cache::open("memory://")?; // or redis://…, and all processes share the responses
/// let app: Router = Router::new()
///     .route("/products", get(products))
///     .layer(ResponseCacheLayer::new(cache));
/// # Ok(())
/// # }
/// # nearcache::__example(async { example().await.map_err(|error| error.to_string()) });
/// ```
///
/// # What is stored
/// Responses to GET that say how long they are fresh (`max-age`, `s-maxage`, `Expires`), or can be validated (`ETag`,
/// `Last-Modified`): by the rules of RFC 9111, which the crate `http-cache-semantics` applies. Never stored are:
///
/// - `private` and `no-store` responses, and those with `Vary: *`;
/// - responses with `Set-Cookie`, unless [`store_set_cookie`](ResponseCacheBuilder::store_set_cookie) says so;
/// - responses to requests with `Authorization`, unless they say `public`, `s-maxage` or `must-revalidate` (RFC 9111,
///   section 3.5). Nor is another response used for such a request;
/// - bodies beyond the [limit](ResponseCacheBuilder::body_limit), bodies that break off or are shorter than their
///   `Content-Length`, `text/event-stream`, and partial responses. They are sent on unchanged.
///
/// A response that says nothing of its freshness is stored only if
/// [`default_ttl`](ResponseCacheBuilder::default_ttl) or [`heuristic`](ResponseCacheBuilder::heuristic) says so. A
/// request's cookies do not matter to a response that says itself how long it is fresh: a page that differs by user says
/// `private`, or `Vary: Cookie`.
///
/// Requests with `Range`, `If-Match`, `Upgrade` or a body, and methods other than GET and HEAD, go to the handler. HEAD
/// is answered from the response to GET.
///
/// # One load
/// If many requests miss a page together, in this process or in others, one of them asks the handler, and the others wait
/// for its response. If that turns out not to be for others, each of them asks for itself; for a
/// [minute](ResponseCacheBuilder::pass_for), requests for this page then do so at once, without waiting.
///
/// A response that is stored is read to its end before its first byte is sent. The handler runs in a task of its own:
/// a client that goes away does not stop it, and task-local values do not reach it. Request extensions do.
///
/// # What removes a response
/// - A POST, PUT, DELETE or other unsafe request to its address that succeeds, or whose response names it in `Location` or
///   `Content-Location` (RFC 9111, section 4.4). A response that was being loaded meanwhile is not stored.
/// - [`invalidate_tag`](nearcache::CacheOf::invalidate_tag) of the cache, for the tags in [`CacheTags`](crate::CacheTags).
/// - [`invalidate`](ResponseCacheLayer::invalidate).
///
/// # While Redis is away
/// Requests are answered by the handler, one load for those that wait together in this process. No error of the cache
/// reaches a client. What is to be removed then is removed once Redis is back.
///
/// # Keys
/// A page's key is made of its host, path and query, in plain text: `http:get:example.com/products?page=2`. So
/// `delete_pattern("http:*:example.com/products*")` removes many. Whoever sees the keys of the cache sees the addresses:
/// say [`redact_keys`](nearcache::Builder::redact_keys) where they hold secrets.
///
/// Nothing else of a request is in the key. If a handler answers by something else (`X-Forwarded-Proto`, a client's
/// address), its response must say so in `Vary`, or the application names its own [`key`](ResponseCacheBuilder::key).
///
/// In axum, a layer within a nested router sees the path without the part that it is nested at. The key has the whole path
/// all the same, by the feature `axum`; without it, put the layer on the outer router, or give each layer its own
/// [`name`](ResponseCacheBuilder::name).
#[derive(Clone, Debug)]
pub struct ResponseCacheLayer {
    shared: Arc<Shared>,
}

impl ResponseCacheLayer {
    /// A layer over this cache, with the options as they are.
    pub fn new(cache: Cache) -> Self {
        let shared = ResponseCacheLayer::builder(cache).shared;
        ResponseCacheLayer {
            shared: Arc::new(shared),
        }
    }

    /// A layer over this cache, with other options.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache_tower::ResponseCacheLayer;
    ///
    /// let layer = ResponseCacheLayer::builder(cache)
    ///     .default_ttl("10s")
    ///     .stale_if_error("1h")
    ///     .cache_status("shop")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn builder(cache: Cache) -> ResponseCacheBuilder {
        ResponseCacheBuilder {
            shared: Shared {
                cache,
                name: "http".to_owned(),
                rules: Rules {
                    heuristic: 0.0,
                    default_ttl: Duration::ZERO,
                    stale_while_revalidate: Duration::ZERO,
                    stale_if_error: Duration::ZERO,
                    keep_for: KEEP_FOR,
                    with_set_cookie: false,
                },
                body_limit: BODY_LIMIT,
                pass_for: PASS_FOR.into_ttl().unwrap_or(Ttl::MIN),
                wait_for: WAIT_FOR.into_ttl().unwrap_or(Ttl::MIN),
                ignore_host: false,
                ignore_cookies: false,
                ignore_request_directives: false,
                key: None,
                request_tags: None,
                tag_header: None,
                cache_status: None,
                refreshing: Arc::default(),
            },
            wrong: None,
        }
    }

    /// Removes a page, with all its variants, as a successful PUT to it would. The address has its host
    /// (`http://example.com/products?page=2`), unless the layer [ignores](ResponseCacheBuilder::ignore_host) hosts. A
    /// response that is being loaded meanwhile is not stored.
    ///
    /// With a [`key`](ResponseCacheBuilder::key) of your own, it is asked with a GET of this address and no headers.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # let layer = nearcache_tower::ResponseCacheLayer::new(cache);
    /// let page = http::Uri::from_static("http://example.com/products?page=2");
    /// layer.invalidate(&page).await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`delete`](nearcache::CacheOf::delete). What Redis did not acknowledge is sent once it is back.
    pub async fn invalidate(&self, page: &Uri) -> Result<()> {
        let mut request = http::Request::new(());
        *request.uri_mut() = page.clone();
        let (parts, ()) = request.into_parts();
        let keys = keys_of(&parts, &self.shared);
        self.shared.cache.delete_many(&keys).await.map(drop)
    }
}

impl<S> Layer<S> for ResponseCacheLayer {
    type Service = ResponseCache<S>;

    fn layer(&self, service: S) -> ResponseCache<S> {
        ResponseCache {
            shared: Arc::clone(&self.shared),
            service,
        }
    }
}

/// The options of a [`ResponseCacheLayer`]. Times are texts such as `"10s"`, [`Duration`]s, or whole seconds, from 1 ms
/// to 1,000 years.
#[derive(Debug)]
#[must_use]
pub struct ResponseCacheBuilder {
    shared: Shared,
    /// The first option that is not valid.
    wrong: Option<Error>,
}

impl ResponseCacheBuilder {
    /// The layer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`](nearcache::ErrorKind::InvalidTtl) or
    /// [`ErrorKind::InvalidConfig`](nearcache::ErrorKind::InvalidConfig) for the first option that is not valid.
    pub fn build(self) -> Result<ResponseCacheLayer> {
        match self.wrong {
            Some(error) => Err(error),
            None => Ok(ResponseCacheLayer {
                shared: Arc::new(self.shared),
            }),
        }
    }

    /// What the layer's keys begin with. Default: `http`. Layers of the same name over one cache share their responses.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.shared.name = name.into();
        self
    }

    /// The largest body that is stored, in bytes. Default: 1 MiB. A larger one is sent on as it comes.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.shared.body_limit = bytes;
        self
    }

    /// How long a response is fresh that does not say it, if its status may be stored by default (RFC 9110, section 15.1:
    /// 200, 301, 404 and others). Default: not at all. What says `no-cache`, `no-store` or `private` is left as it is.
    ///
    /// A response to a request with cookies is not given this time, nor is such a response used for a request with
    /// cookies: it could be meant for one user. See [`ignore_cookies`](Self::ignore_cookies).
    pub fn default_ttl(mut self, ttl: impl IntoTtl) -> Self {
        if let Some(ttl) = self.valid(ttl) {
            self.shared.rules.default_ttl = ttl;
        }
        self
    }

    /// Gives a response that does not say how long it is fresh, but when it was last modified, this part of its age, as
    /// RFC 9111, section 4.2.2 has it; 0.1 is usual. From 0 (the default: none) to 1. As for
    /// [`default_ttl`](Self::default_ttl), cookies exclude it.
    pub fn heuristic(mut self, part: f32) -> Self {
        match (0.0..=1.0).contains(&part) {
            true => self.shared.rules.heuristic = part,
            false => self.refuse(format!("heuristic is {part}; it is a part, from 0 to 1")),
        }
        self
    }

    /// Cookies of a request do not matter to [`default_ttl`](Self::default_ttl) and [`heuristic`](Self::heuristic): for
    /// applications whose pages are the same for all.
    pub fn ignore_cookies(mut self) -> Self {
        self.shared.ignore_cookies = true;
        self
    }

    /// For this time after its freshness, a response is used at once, while a new one is fetched in the background,
    /// unless the response has a `stale-while-revalidate` of its own (RFC 5861). Default: 0. `must-revalidate`,
    /// `proxy-revalidate`, `no-cache` and `s-maxage` exclude it.
    pub fn stale_while_revalidate(mut self, time: impl IntoTtl) -> Self {
        if let Some(time) = self.valid(time) {
            self.shared.rules.stale_while_revalidate = time;
        }
        self
    }

    /// For this time after its freshness, a response is used in place of an error (the service's, or status 500, 502, 503
    /// or 504), unless the response has a `stale-if-error` of its own (RFC 5861). Default: 0. What excludes
    /// [`stale_while_revalidate`](Self::stale_while_revalidate) excludes it, too.
    pub fn stale_if_error(mut self, time: impl IntoTtl) -> Self {
        if let Some(time) = self.valid(time) {
            self.shared.rules.stale_if_error = time;
        }
        self
    }

    /// How long a response with an `ETag` or a `Last-Modified` is kept past its freshness, so that the handler need only
    /// say whether it is still right. Default: 1 hour.
    pub fn keep_for(mut self, time: impl IntoTtl) -> Self {
        if let Some(time) = self.valid(time) {
            self.shared.rules.keep_for = time;
        }
        self
    }

    /// How long it is remembered that the response to a page is not for others, so that its requests do not wait for each
    /// other. It ends earlier when a response comes that may be stored. Default: 1 minute.
    pub fn pass_for(mut self, time: impl IntoTtl) -> Self {
        if let Some(ttl) = self.valid_ttl(time) {
            self.shared.pass_for = ttl;
        }
        self
    }

    /// How long a request waits for a response that another request asked the handler for, in this process or in another,
    /// before it asks for itself. Default: 5 seconds. If Redis was away for a moment, what waits for a load that it has
    /// lost waits for so long.
    pub fn wait_for(mut self, time: impl IntoTtl) -> Self {
        if let Some(ttl) = self.valid_ttl(time) {
            self.shared.wait_for = ttl;
        }
        self
    }

    /// Hosts share their pages: the key has none.
    pub fn ignore_host(mut self) -> Self {
        self.shared.ignore_host = true;
        self
    }

    /// What a client says in `Cache-Control` or `Pragma` does not matter: nobody can reload a page past the cache.
    pub fn ignore_request_directives(mut self) -> Self {
        self.shared.ignore_request_directives = true;
        self
    }

    /// Responses with `Set-Cookie` are stored, and the cookie is sent to everyone.
    pub fn store_set_cookie(mut self) -> Self {
        self.shared.rules.with_set_cookie = true;
        self
    }

    /// The key of a page, in place of its host, path and query; `None` for a request that is to be passed by. It must hold
    /// everything by which responses differ, except for what `Vary` names. Keys beyond 8 KiB are passed by.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache_tower::ResponseCacheLayer;
    ///
    /// // The query does not matter to these pages.
    /// let layer = ResponseCacheLayer::builder(cache)
    ///     .key(|request| Some(request.uri.path().to_owned()))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn key(mut self, key: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.shared.key = Some(Arc::new(key));
        self
    }

    /// Tags of the response to a request, in addition to those that the response has.
    pub fn request_tags(
        mut self,
        tags: impl Fn(&Parts) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.shared.request_tags = Some(Arc::new(tags));
        self
    }

    /// A response header that names tags, separated by commas or blanks, such as `Cache-Tag` or `Surrogate-Key`. It is
    /// taken off before the response is sent.
    pub fn tag_header(mut self, name: impl TryInto<HeaderName>) -> Self {
        match name.try_into() {
            Ok(name) => self.shared.tag_header = Some(name),
            Err(_) => self.refuse("tag_header is no name of a header".to_owned()),
        }
        self
    }

    /// Responses say what the cache did with the request, in `Cache-Status` (RFC 9211), under this name of the cache.
    pub fn cache_status(mut self, name: &str) -> Self {
        match status::name(name) {
            Some(name) => self.shared.cache_status = Some(name),
            None => self
                .refuse("cache_status is no name: it has other characters than ASCII".to_owned()),
        }
        self
    }

    fn valid(&mut self, time: impl IntoTtl) -> Option<Duration> {
        self.valid_ttl(time).map(Ttl::as_duration)
    }

    fn valid_ttl(&mut self, time: impl IntoTtl) -> Option<Ttl> {
        match time.into_ttl() {
            Ok(ttl) => Some(ttl),
            Err(error) => {
                self.wrong.get_or_insert(error);
                None
            }
        }
    }

    fn refuse(&mut self, why: String) {
        self.wrong.get_or_insert(Error::__invalid_config(why));
    }
}

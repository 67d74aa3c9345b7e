//! The layer, with its options.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;
use nearcache::Result;
use nearcache::patterns::RateLimiter;
use tower_layer::Layer;

use super::fields::{Fields, RateLimitFields};
use super::key::{KeyBy, WithoutKey, digest};
use super::service::RateLimit;

/// Limits the requests to a service: who has made too many gets a 429 at once, and the service is not asked.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use axum::{Router, routing::get};
/// use nearcache::Cache;
/// use nearcache::patterns::Quota;
/// use nearcache_tower::RateLimitLayer;
///
/// let cache = Cache::open("memory://")?; // or redis://localhost: then all processes share the limit
/// let limiter = cache.rate_limiter("api", Quota::per_minute(100).burst(20));
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(RateLimitLayer::new(limiter)?.by_header("x-api-key"));
/// # drop(app);
/// # Ok(())
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
///
/// # Whose request it is
/// By default the peer's address is the key: see [`by_peer_address`](RateLimitLayer::by_peer_address). Others are
/// [a header](RateLimitLayer::by_header) and [a function](RateLimitLayer::by). [`WithoutKey`] says what becomes of
/// requests without one.
///
/// # What a response says
/// A 429 (RFC 6585) has `Retry-After` in whole seconds, and an empty body (put a layer around this one for another).
/// All responses have the fields of [`RateLimitFields`].
///
/// # While Redis is away
/// The limiter's [`when_away`](RateLimiter::when_away) decides: [`Local`](nearcache::patterns::WhenAway::Local), the
/// default, limits by what this process counts. What cannot be checked at all (a key of more than 64 KiB, a cache
/// that was closed, a cost above the maximum) is answered with 429 if the limiter denies while Redis is away, and passes if not; it is logged. So
/// this layer never answers 500, and never panics.
///
/// # Services
/// For axum, hyper, warp and whatever has HTTP requests and responses whose body has a `Default`. (A gRPC client of tonic
/// reads the 429 as `UNAVAILABLE`.)
#[derive(Clone)]
pub struct RateLimitLayer {
    pub(super) shared: Arc<Shared>,
}

/// What all services of one layer have.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) limiter: RateLimiter,
    pub(super) key: KeyBy,
    pub(super) without_key: WithoutKey,
    pub(super) cost: Option<Arc<Cost>>,
    pub(super) fields: Fields,
}

type Cost = dyn Fn(&Parts) -> u64 + Send + Sync;

impl RateLimitLayer {
    /// The id under which requests without a key are counted: see [`WithoutKey::Together`].
    pub const NO_KEY: &'static str = "(no key)";

    /// A layer that asks this limiter, for the address of the peer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](nearcache::ErrorKind::InvalidConfig) for a quota that is none,
    /// [`ErrorKind::InvalidKey`](nearcache::ErrorKind::InvalidKey) for a limiter without a name.
    pub fn new(limiter: RateLimiter) -> Result<Self> {
        limiter.validate()?;
        let fields = Fields::new(
            RateLimitFields::default(),
            limiter.name().as_bytes(),
            limiter.quota(),
        );
        Ok(RateLimitLayer {
            shared: Arc::new(Shared {
                limiter,
                key: KeyBy::Peer,
                without_key: WithoutKey::default(),
                cost: None,
                fields,
            }),
        })
    }

    fn change(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }

    /// By the address of the peer, as the server has put it into the request's extensions: axum's `ConnectInfo<SocketAddr>`
    /// (feature `axum`, on by default; serve the router by `into_make_service_with_connect_info::<SocketAddr>()`), a
    /// [`SocketAddr`](std::net::SocketAddr) or an [`IpAddr`](std::net::IpAddr). Of an IPv6 address, the first 64 bits count,
    /// because whoever has one has many.
    ///
    /// Behind a proxy the peer is the proxy: use [`by`](RateLimitLayer::by) then, with the header that *your* proxy sets.
    /// A header that anybody can send is no key.
    pub fn by_peer_address(self) -> Self {
        self.change(|shared| shared.key = KeyBy::Peer)
    }

    /// By the value of a header, such as an API key. The id is a digest of it ([`id_of`](RateLimitLayer::id_of)), so that no
    /// secret is stored or shown.
    pub fn by_header(self, name: &'static str) -> Self {
        // A name that is none is one that no request has.
        let key = match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => KeyBy::Header(name),
            Err(_) => KeyBy::Function(Arc::new(|_| None)),
        };
        self.change(|shared| shared.key = key)
    }

    /// By what a function says: it sees the request without its body. The id is these bytes, so hash a secret. `None` or
    /// nothing in it is no key.
    pub fn by<K: Into<Vec<u8>>>(
        self,
        key: impl Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        let key = move |parts: &Parts| key(parts).map(Into::into);
        self.change(|shared| shared.key = KeyBy::Function(Arc::new(key)))
    }

    /// What becomes of requests without a key.
    pub fn without_key(self, what: WithoutKey) -> Self {
        self.change(|shared| shared.without_key = what)
    }

    /// How many permits a request costs, instead of 1; 0 passes without taking any.
    pub fn cost(self, cost: impl Fn(&Parts) -> u64 + Send + Sync + 'static) -> Self {
        self.change(|shared| shared.cost = Some(Arc::new(cost)))
    }

    /// Which fields the responses have.
    pub fn fields(self, which: RateLimitFields) -> Self {
        self.change(|shared| shared.fields = shared.fields.clone().with(which))
    }

    /// The id under which the value of a header is counted, for [`RateLimiter::reset`] and the like.
    pub fn id_of(value: impl AsRef<[u8]>) -> String {
        String::from_utf8_lossy(&digest(value.as_ref())).into_owned()
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, service: S) -> RateLimit<S> {
        RateLimit {
            shared: Arc::clone(&self.shared),
            service,
        }
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shared, f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("limiter", &self.limiter)
            .field("key", &self.key)
            .field("without_key", &self.without_key)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

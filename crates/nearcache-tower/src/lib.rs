//! nearcache for [tower](https://docs.rs/tower): layers and stores for axum, tonic, hyper, warp and whatever else is
//! built of tower services, over a [`nearcache::Cache`].
//!
//! # Features
//! | feature | | what it adds |
//! | --- | --- | --- |
//! | `response-cache` | default | [`ResponseCacheLayer`]: responses that are cached by RFC 9111 |
//! | `sessions` | default | [`SessionStore`]: the sessions of tower-sessions |
//! | `rate-limit` | default | [`RateLimitLayer`]: 429 for who makes too many requests |
//! | `axum` | default | [`RateLimitLayer::by_peer_address`] knows axum's `ConnectInfo`, and [`ResponseCacheLayer`] the whole path within a nested router |
//! | `http-cache` | | `HttpCacheManager`: the responses of APIs that the program calls, for reqwest-middleware and others |

// A feature each; a file, or a folder, each.
#[cfg(feature = "http-cache")]
mod http_client;
#[cfg(feature = "rate-limit")]
mod rate_limit;
#[cfg(feature = "response-cache")]
mod response_cache;
#[cfg(feature = "sessions")]
mod sessions;

#[cfg(feature = "http-cache")]
pub use http_client::HttpCacheManager;
#[cfg(feature = "rate-limit")]
pub use rate_limit::{RateLimit, RateLimitFields, RateLimitLayer, WithoutKey};
#[cfg(feature = "response-cache")]
pub use response_cache::{
    CacheTags, ResponseBody, ResponseCache, ResponseCacheBuilder, ResponseCacheLayer,
};
#[cfg(feature = "sessions")]
pub use sessions::SessionStore;

/// The examples in the README are compiled and run, too.
#[cfg(all(doctest, feature = "response-cache"))]
#[doc = include_str!("../README.md")]
struct Readme;

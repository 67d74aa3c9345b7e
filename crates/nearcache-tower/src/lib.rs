//! nearcache for [tower](https://docs.rs/tower): layers and stores for axum, tonic, hyper, warp and whatever else is
//! built of tower services, over a [`nearcache::Cache`].
//!
//! # Features
//! | feature | | what it adds |
//! | --- | --- | --- |
//! | `response-cache` | default | [`ResponseCacheLayer`]: responses that are cached by RFC 9111 |
//! | `sessions` | default | [`SessionStore`]: the sessions of tower-sessions |

// A feature each; a file, or a folder, each.
#[cfg(feature = "response-cache")]
mod response_cache;

#[cfg(feature = "response-cache")]
pub use response_cache::{
    CacheTags, ResponseBody, ResponseCache, ResponseCacheBuilder, ResponseCacheLayer,
};

#[cfg(feature = "sessions")]
mod sessions;

#[cfg(feature = "sessions")]
pub use sessions::SessionStore;

//! Rate limits of HTTP services.
//!
//! `layer` is what an application sees; `service` checks each request; `key` says whose it is, and `fields` what the
//! response says.

mod fields;
mod key;
mod layer;
mod service;

pub use fields::RateLimitFields;
pub use key::WithoutKey;
pub use layer::RateLimitLayer;
pub use service::RateLimit;

//! The cache for code without an async runtime.
//!
//! The methods and their options are those of [`CacheOf`], which describes them. An operation ends in
//! `.run()` instead of `.await`, and each waiting thread uses a connection from a pool. No runtime is started. Loaders
//! run on the calling thread, and may borrow from it.
//!
//! ```
//! # fn example() -> nearcache::Result<()> {
//! use nearcache::blocking::Cache;
//!
//! let cache = Cache::open("memory://")?; // or redis://localhost:6379
//! cache.set("user:1", "Alice").ttl("2h30m").run()?;
//! assert_eq!(cache.get::<String>("user:1").run()?.as_deref(), Some("Alice"));
//!
//! for key in cache.keys().matching("user:*") {
//!     println!("{:?}", key?);
//! }
//! # Ok(())
//! # }
//! # nearcache::__example(async { example() });
//! ```

use crate::cache::CacheOf;
use crate::cache::operation::Blocking;

/// A cache for code without an async runtime: every operation ends in `.run()`.
pub type Cache = CacheOf<Blocking>;

/// A component for code without an async runtime: every operation ends in `.run()`.
#[cfg(feature = "component")]
pub type Component = crate::compat::component::ComponentOf<Blocking>;

/// The interface of Python's cachelib for code without an async runtime: every operation ends in `.run()`.
#[cfg(feature = "simple")]
pub type SimpleCache = crate::compat::simple::SimpleCache<Blocking>;

pub use crate::connect::BlockingConnection as Connection;

//! The interfaces of other cache libraries, on the same core, for applications that migrate from them.
//!
//! - `registry` (feature `config`): caches that are elements of an application, as in JitAI.
//! - `component` (feature `component`): a cache with the life cycle of a pip-services component.
//! - `simple` (feature `simple`): the interface of Python's cachelib, and its data (feature `pickle`).

#[cfg(feature = "component")]
pub mod component;
#[cfg(feature = "config")]
pub mod registry;
#[cfg(feature = "simple")]
pub mod simple;

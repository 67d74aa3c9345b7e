//! The faces of other cache libraries, on the same core: for applications that come from them.
//!
//! - `registry` (feature `config`): caches that are elements of an application, as JitAI has them.
//! - `component` (feature `component`): a cache with the life of a component, as pip-services has it.

#[cfg(feature = "component")]
pub mod component;
#[cfg(feature = "config")]
pub mod registry;

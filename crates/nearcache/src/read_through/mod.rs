//! Read-through: a miss is loaded once, and what was loaded before an invalidation is never stored after
//! it. `docs/protocols.md` tells how, for users; the model in `nearcache-model` shows that it holds.
//!
//! What `remember` does, and where:
//! 1. `entry`: reads the key and judges what lies there (fresh, stale, dead). A fresh value is the answer.
//! 2. `flight`: of the callers in this process that found none, one leads.
//! 3. `lease`: of the leaders in all processes, one gets the lease, and loads; the others wait (`lead`).
//! 4. `load`: runs the loader. `keeper` renews the lease meanwhile, for callers without a runtime.
//! 5. `fill`: FILL stores what was loaded, unless an invalidation came between.
//!
//! `plan` is what a call asks for, `lead_many` what `remember_many` does instead of `lead`. `tags` is what invalidates many entries at once.
//!
//! Invariants:
//! 1. A value that was loaded before an invalidation is not stored after it, and is not the answer to a
//!    caller who asked after that invalidation had returned.
//! 2. One load per miss, in all processes, while the loader works within its lease.
//! 3. Whatever a caller does (it goes away, its loader fails or panics), the key can be loaded again at
//!    once; if its process dies, after the lease.

pub(crate) mod entry;
mod fill;
pub(crate) mod flight;
#[cfg(feature = "blocking")]
mod keeper;
pub(crate) mod lead;
pub(crate) mod lead_many;
pub(crate) mod lease;
pub(crate) mod load;
pub(crate) mod plan;
pub(crate) mod tags;

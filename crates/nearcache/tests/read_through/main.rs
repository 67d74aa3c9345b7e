//! Read-through, as its callers see it: what `remember` answers, loads and stores; and that what was loaded
//! before an invalidation is never stored after it (`docs/protocols.md`).
//!
//! Everything runs embedded and on Redis, async and blocking, unless a test says why it cannot.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
#[macro_use]
#[path = "../support/target.rs"]
mod target;
#[macro_use]
#[path = "../support/scene.rs"]
mod scene;

mod adversity;
mod answers;
mod closing;
mod hooks;
mod many;
mod marks;
mod options;
mod prolong;
mod race;
mod remember;
mod tags;

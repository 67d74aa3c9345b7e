//! Failure handling. A failing Redis costs a call at most its time limit, and later calls only microseconds.
//!
//! Every command goes through `guarded`, a place with all of these around it. `sendable` is what it sends (`words`: what a cache sends most), `node` one server with its breaker,
//! `spread` several of them that share the keys, `primary` one of those for a scan. `registry` shares one among equal
//! targets, and `gate` is one cache's entrance to it. `outbox` keeps each `invalidation` that the server has not
//! acknowledged, and sends it before any command about the same keys or tags. `breaker` keeps callers from a server that does not answer,
//! `retry` says which commands may be sent twice, and `fallback` what a read returns instead. `sweep` scans all keys. `keepers` are told of
//! all writes.
//! The time limit is passed with each command, and the backend enforces it. Time in the caller's own code does not
//! count, because the clock starts when something is sent.
//!
//! 1. A call costs at most its limit of time on Redis, retrying included, and connecting, unless that has a time of its
//!    own.
//! 2. While the breaker is open no call waits for Redis, except for one probe at a time.
//! 3. Only commands that change nothing are sent twice, and only within the time limit.
//! 4. Redis acknowledges what the outbox holds of a command's keys before the command goes through. This includes what comes into the
//!    outbox because the command's own connection turned out to lead to another server than before.

mod breaker;
mod fallback;
mod gate;
mod glob;
mod guarded;
mod invalidation;
pub(crate) mod keepers;
mod node;
mod outbox;
mod primary;
mod registry;
mod retry;
mod seldom;
mod sendable;
#[cfg(feature = "cluster")]
mod spread;
pub(crate) mod sweep;
mod words;

pub use breaker::BreakerState;
pub use fallback::{Fallback, Instead, Outage};
pub(crate) use gate::{Closing, Gate, Pass};
pub(crate) use guarded::Guarded;
pub(crate) use invalidation::Invalidation;
pub use outbox::DataLoss;
pub(crate) use outbox::{BEGINNINGS, Outbox, leaves_open, replaced};
pub(crate) use primary::Primary;
pub(crate) use registry::open;
pub(crate) use seldom::Seldom;
pub(crate) use words::{Steps, Words};

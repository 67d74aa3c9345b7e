//! How it fails: what Redis does to a call costs the call at most its budget, and the calls after it
//! microseconds.
//!
//! `guarded` is a backend with all of this around it, and what every command goes through; `registry` lets
//! equal targets share one, and `gate` is one cache's way to it. `outbox` keeps the `invalidation`s that a
//! server has not acknowledged, and sends them before anything else; `breaker` keeps callers from a server
//! that does not answer, `retry` says what may be sent twice, `fallback` what a reader gets instead, `stale`
//! keeps what was read last. `sweep` goes through all keys. The budget itself is a limit that each command
//! is given, and that the waist keeps to; time in the caller's own code does not count, because nothing
//! counts until something is sent.
//!
//! 1. A call costs at most its budget of time on Redis, connecting and retrying included.
//! 2. While the breaker is open no call waits for Redis, but one at a time that probes it.
//! 3. Only what changes nothing is sent twice, and only while the budget lasts.
//! 4. What the outbox holds is acknowledged before a command goes through; also what came into it because
//!    the connection that the command goes over was made to another server than before.

mod breaker;
mod fallback;
mod gate;
mod guarded;
mod invalidation;
mod outbox;
mod registry;
mod retry;
pub(crate) mod sweep;

pub use breaker::BreakerState;
pub use fallback::{Fallback, Outage};
pub(crate) use gate::{Gate, Pass};
pub(crate) use guarded::Guarded;
pub(crate) use invalidation::Invalidation;
pub use outbox::DataLoss;
pub(crate) use outbox::{Outbox, leaves_open};
pub(crate) use registry::open;

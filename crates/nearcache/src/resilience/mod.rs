//! How it fails: what Redis does to a call costs the call at most its budget, and the calls after it
//! microseconds.
//!
//! Every command goes through [`request`] or [`pipeline`] here, on its way down to the waist.
//! `breaker` keeps callers from a server that does not answer, `retry` says what may be sent twice,
//! `fallback` what a reader gets instead. The budget itself is a limit that each command is given, and
//! that the waist keeps to; time in the caller's own code does not count, because nothing counts until
//! something is sent.
//!
//! 1. A call costs at most its budget of time on Redis, connecting and retrying included.
//! 2. While the breaker is open no call waits for Redis, but one at a time that probes it.
//! 3. Only what changes nothing is sent twice, and only while the budget lasts.

mod breaker;
mod fallback;
mod retry;

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

pub(crate) use breaker::Breaker;
pub use breaker::BreakerState;
pub use fallback::{Fallback, Outage};

use crate::connect::{Backend, Raw};
use crate::error::Result;

/// Less than this is not enough for another try.
const WORTH_A_TRY: Duration = Duration::from_millis(1);

/// One command, within the limit.
pub(crate) async fn request(
    backend: &dyn Backend,
    command: &Cmd,
    limit: Duration,
) -> Result<Value> {
    let common = backend.common();
    let permit = common.breaker().admit(backend)?;
    let begun = common.runtime().now();
    let mut outcome = backend.request(command, limit).await;
    if let Err(error) = &outcome
        && retry::may_be_sent_again(command, error)
    {
        let left = limit.saturating_sub(common.runtime().now().saturating_duration_since(begun));
        if left >= WORTH_A_TRY {
            outcome = backend.request(command, left).await;
        }
    }
    permit.report(outcome.as_ref().err());
    outcome
}

/// A connection of the caller's own, within the limit.
pub(crate) async fn connection(backend: &dyn Backend, limit: Duration) -> Result<Raw> {
    let permit = backend.common().breaker().admit(backend)?;
    let outcome = backend.connection(limit).await;
    permit.report(outcome.as_ref().err());
    outcome
}

/// Commands that travel together, within the limit. Never sent twice.
pub(crate) async fn pipeline(
    backend: &dyn Backend,
    pipeline: &Pipeline,
    limit: Duration,
) -> Result<Vec<Value>> {
    let permit = backend.common().breaker().admit(backend)?;
    let outcome = backend.pipeline(pipeline, limit).await;
    permit.report(outcome.as_ref().err());
    outcome
}

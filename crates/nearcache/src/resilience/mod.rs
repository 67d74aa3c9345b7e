//! How it fails: what Redis does to a call costs the call at most its budget, and the calls after it
//! microseconds.
//!
//! Every command goes through [`request`] or [`pipeline`] here, on its way down to the waist.
//! `outbox` keeps the invalidations that a server has not acknowledged, and sends them before anything
//! else; `breaker` keeps callers from a server that does not answer, `retry` says what may be sent twice,
//! `fallback` what a reader gets instead. The budget itself is a limit that each command is given, and
//! that the waist keeps to; time in the caller's own code does not count, because nothing counts until
//! something is sent.
//!
//! 1. A call costs at most its budget of time on Redis, connecting and retrying included.
//! 2. While the breaker is open no call waits for Redis, but one at a time that probes it.
//! 3. Only what changes nothing is sent twice, and only while the budget lasts.
//! 4. What the outbox holds is acknowledged before a command goes through; also what came into it because
//!    the connection that the command goes over was made to another server than before.

mod breaker;
pub(crate) mod direct;
mod fallback;
mod outbox;
mod retry;
mod stale;

use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, Value};

pub(crate) use breaker::Breaker;
pub use breaker::BreakerState;
pub use fallback::{Fallback, Outage};
pub use outbox::DataLoss;
pub(crate) use outbox::{Outbox, Undone, invalidate, leaves_open};
pub(crate) use stale::{LastSeen, Mark};

use crate::connect::{Backend, Raw, Terms};
use crate::error::{Error, ErrorKind, Result};
use direct::on_terms;

/// One command, within the limit, after what had to be sent before it.
pub(crate) async fn request(
    backend: &dyn Backend,
    command: &Cmd,
    limit: Duration,
) -> Result<Value> {
    let common = backend.common();
    let (begun, epoch) = (common.runtime().now(), common.outbox().epoch());
    if !common.outbox().is_waiting() {
        let outcome = on_terms::request(backend, command, Terms { limit, epoch }, begun).await;
        if !matches!(&outcome, Err(error) if error.is_outdated()) {
            return outcome;
        }
    }
    let slowly = async {
        loop {
            let (terms, begun) = after_the_outbox(backend, limit, begun).await?;
            match on_terms::request(backend, command, terms, begun).await {
                Err(error) if error.is_outdated() => {}
                outcome => return outcome,
            }
        }
    };
    Box::pin(slowly).await
}

/// Commands that travel together, within the limit, after what had to be sent before them.
pub(crate) async fn pipeline(
    backend: &dyn Backend,
    pipeline: &Pipeline,
    limit: Duration,
) -> Result<Vec<Value>> {
    let common = backend.common();
    let (begun, epoch) = (common.runtime().now(), common.outbox().epoch());
    if !common.outbox().is_waiting() {
        let outcome = on_terms::pipeline(backend, pipeline, Terms { limit, epoch }, begun).await;
        if !matches!(&outcome, Err(error) if error.is_outdated()) {
            return outcome;
        }
    }
    let slowly = async {
        loop {
            let (terms, begun) = after_the_outbox(backend, limit, begun).await?;
            match on_terms::pipeline(backend, pipeline, terms, begun).await {
                Err(error) if error.is_outdated() => {}
                outcome => return outcome,
            }
        }
    };
    Box::pin(slowly).await
}

/// Sends what is in the outbox; the terms for what comes after it, of a call that began at some time.
async fn after_the_outbox(
    backend: &dyn Backend,
    limit: Duration,
    begun: Instant,
) -> Result<(Terms, Instant)> {
    let common = backend.common();
    // Before the outbox is looked at: what comes into it after that is another epoch.
    let epoch = common.outbox().epoch();
    let now = common.runtime().now();
    let left = limit.saturating_sub(now.saturating_duration_since(begun));
    if left.is_zero() {
        return Err(gave_up(backend, limit));
    }
    let limit = catch_up(backend, left).await?;
    Ok((Terms { limit, epoch }, common.runtime().now()))
}

/// A connection of the caller's own, within the limit.
pub(crate) async fn connection(backend: &dyn Backend, limit: Duration) -> Result<Raw> {
    let permit = backend.common().breaker().admit(backend)?;
    let outcome = backend.connection(limit).await;
    permit.report(outcome.as_ref().err());
    outcome
}

/// Sends what is in the outbox; says what is left of the limit.
pub(crate) async fn catch_up(backend: &dyn Backend, limit: Duration) -> Result<Duration> {
    let common = backend.common();
    if !common.outbox().is_waiting() {
        return Ok(limit);
    }
    let begun = common.runtime().now();
    let Some(sent) = common
        .runtime()
        .timeout(limit, || common.outbox().empty(backend, limit))
        .await
    else {
        return Err(gave_up(backend, limit));
    };
    sent?;
    let taken = common.runtime().now().saturating_duration_since(begun);
    Ok(limit.saturating_sub(taken).max(Duration::from_millis(1)))
}

fn gave_up(backend: &dyn Backend, limit: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("gave up after {limit:?} of sending the invalidations that go first"),
    )
    .on_host(backend.common().host())
}

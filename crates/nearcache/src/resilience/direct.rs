//! Past the outbox: commands as they go through the breaker to the waist.
//!
//! On terms, for what comes after the outbox was seen to be empty; and within a limit only, for what the
//! outbox itself sends.

use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, Value};

use super::retry;
use crate::connect::{Backend, Terms};
use crate::error::Result;

/// Less than this is not enough for another try.
const WORTH_A_TRY: Duration = Duration::from_millis(1);

/// One command, whatever the server turns out to be.
pub(crate) async fn request(
    backend: &dyn Backend,
    command: &Cmd,
    limit: Duration,
) -> Result<Value> {
    let common = backend.common();
    let begun = common.runtime().now();
    let mut left = limit;
    loop {
        let epoch = common.outbox().epoch();
        let outcome =
            on_terms::request(backend, command, Terms { limit: left, epoch }, begun).await;
        match outcome {
            Err(error) if error.is_outdated() => left = left_of(limit, begun, backend),
            outcome => return outcome,
        }
    }
}

/// Commands that travel together, whatever the server turns out to be.
pub(crate) async fn pipeline(
    backend: &dyn Backend,
    pipeline: &Pipeline,
    limit: Duration,
) -> Result<Vec<Value>> {
    let common = backend.common();
    let begun = common.runtime().now();
    let mut left = limit;
    loop {
        let epoch = common.outbox().epoch();
        let terms = Terms { limit: left, epoch };
        match on_terms::pipeline(backend, pipeline, terms, begun).await {
            Err(error) if error.is_outdated() => left = left_of(limit, begun, backend),
            outcome => return outcome,
        }
    }
}

/// What is left of a limit: never nothing, so that it is the waist that says so.
pub(super) fn left_of(limit: Duration, begun: Instant, backend: &dyn Backend) -> Duration {
    let now = backend.common().runtime().now();
    let left = limit.saturating_sub(now.saturating_duration_since(begun));
    left.max(Duration::from_millis(1))
}

/// Commands that began at some time, on terms.
pub(super) mod on_terms {
    use super::{Backend, Cmd, Instant, Pipeline, Result, Terms, Value, WORTH_A_TRY, retry};

    /// # Errors
    /// `is_outdated`, where it was not sent for that.
    pub(in crate::resilience) async fn request(
        backend: &dyn Backend,
        command: &Cmd,
        terms: Terms,
        begun: Instant,
    ) -> Result<Value> {
        let permit = backend.common().breaker().admit(backend)?;
        let mut outcome = backend.request(command, terms).await;
        if let Err(error) = &outcome
            && retry::may_be_sent_again([command], error)
            && let Some(terms) = again(terms, begun, backend)
        {
            outcome = backend.request(command, terms).await;
        }
        permit.report(outcome.as_ref().err());
        outcome
    }

    /// # Errors
    /// `is_outdated`, where they were not sent for that.
    pub(in crate::resilience) async fn pipeline(
        backend: &dyn Backend,
        pipeline: &Pipeline,
        terms: Terms,
        begun: Instant,
    ) -> Result<Vec<Value>> {
        let permit = backend.common().breaker().admit(backend)?;
        let mut outcome = backend.pipeline(pipeline, terms).await;
        if let Err(error) = &outcome
            && retry::may_be_sent_again(pipeline.cmd_iter(), error)
            && let Some(terms) = again(terms, begun, backend)
        {
            outcome = backend.pipeline(pipeline, terms).await;
        }
        permit.report(outcome.as_ref().err());
        outcome
    }

    /// The terms of another try, which shares the time of the first.
    fn again(terms: Terms, begun: Instant, backend: &dyn Backend) -> Option<Terms> {
        let now = backend.common().runtime().now();
        let limit = terms
            .limit
            .saturating_sub(now.saturating_duration_since(begun));
        (limit >= WORTH_A_TRY).then_some(Terms { limit, ..terms })
    }
}

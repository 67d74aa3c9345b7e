//! Past the outbox: commands as they go through the breaker to the waist.
//!
//! For what the outbox itself sends, and for what comes after it was emptied.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use super::retry;
use crate::connect::Backend;
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
        && retry::may_be_sent_again([command], error)
        && let Some(left) = left_of(limit, begun, backend)
    {
        outcome = backend.request(command, left).await;
    }
    permit.report(outcome.as_ref().err());
    outcome
}

/// Commands that travel together, within the limit.
pub(crate) async fn pipeline(
    backend: &dyn Backend,
    pipeline: &Pipeline,
    limit: Duration,
) -> Result<Vec<Value>> {
    let common = backend.common();
    let permit = common.breaker().admit(backend)?;
    let begun = common.runtime().now();
    let mut outcome = backend.pipeline(pipeline, limit).await;
    if let Err(error) = &outcome
        && retry::may_be_sent_again(pipeline.cmd_iter(), error)
        && let Some(left) = left_of(limit, begun, backend)
    {
        outcome = backend.pipeline(pipeline, left).await;
    }
    permit.report(outcome.as_ref().err());
    outcome
}

fn left_of(limit: Duration, begun: std::time::Instant, backend: &dyn Backend) -> Option<Duration> {
    let now = backend.common().runtime().now();
    let left = limit.saturating_sub(now.saturating_duration_since(begun));
    (left >= WORTH_A_TRY).then_some(left)
}

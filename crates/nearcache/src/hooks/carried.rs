//! Carries the caller's trace context to the task that runs the loader.
//!
//! A loader runs in a task of its own, so that it finishes even if its caller is cancelled. Its queries still belong
//! to the caller's trace, so the caller's `tracing` span goes along, and with the feature `otel` the OpenTelemetry
//! context. A background refresh, for which no caller waits, does not get them: it would keep the caller's span open
//! after the caller has its answer.

use tracing::{Instrument, Span};

/// `work`, polled within the current trace context if the caller `waits` for it.
pub(crate) fn carry<F: Future>(waits: bool, work: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "otel")]
    let work = {
        use opentelemetry::Context;
        use opentelemetry::trace::FutureExt;
        let context = if waits {
            Context::current()
        } else {
            Context::new()
        };
        work.with_context(context)
    };
    work.instrument(if waits { Span::current() } else { Span::none() })
}

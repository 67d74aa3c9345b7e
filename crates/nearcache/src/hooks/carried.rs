//! What is current where a call is made is current in the task that its loader runs in.
//!
//! A loader runs in a task of its own, so that a caller who goes away stops nothing. Its queries belong to the
//! caller's trace all the same: the span of `tracing` that the caller was in goes along, and with the feature
//! `otel` the context of OpenTelemetry. Not with a refresh, which nobody waits for: it would keep the caller's
//! span open after the caller's answer.

use tracing::{Instrument, Span};

/// `work`, polled with what is current here and now if the caller `waits` for it.
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

//! Spans and events in the application's `tracing`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::Empty;
use tracing::{Level, Span, event_enabled, span_enabled};

use super::{Call, Done, Hook, KeyGroups, Scope};
use crate::error::Error;

/// Gives each call a span, and each call that fails or is slow an event, up to a number per second.
///
/// - A span `nearcache` at level `DEBUG`, target `nearcache::call`, around each call and each load. Its fields are
///   `command`, `host`, `keys` (how many), `group` (of the key, if you set key groups), and at the end `outcome`,
///   `bytes` and `error`. A load is in the span of the call that waits for it, and the work of a loader is in the
///   span of its load.
/// - An event with the same target: at level `WARN` for a call that fails, at `INFO` for one that is slower than
///   [`slow`](Tracing::slow).
///
/// If no subscriber listens at these levels, a call costs about a nanosecond more. No span or event contains values,
/// and keys only as [groups](Tracing::keys), if you set them. Calls beyond the limits have no span and no event; the
/// field `left_out` of the next event says how many events were dropped.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use std::time::Duration;
/// use nearcache::Cache;
/// use nearcache::hooks::{KeyGroups, Tracing};
///
/// let tracing = Tracing::new()
///     .slow(Duration::from_millis(50))
///     .keys(KeyGroups::automatic())
///     .spans_per_second(100);
/// let cache = Cache::builder("memory://").hook(tracing).build()?;
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
#[derive(Debug)]
pub struct Tracing {
    slow: Option<Duration>,
    keys: KeyGroups,
    spans: Allowance,
    events: Allowance,
}

impl Default for Tracing {
    fn default() -> Self {
        Tracing::new()
    }
}

impl Tracing {
    /// Spans for up to 1,000 calls a second, events for up to 10. No call counts as slow, and no key is named.
    pub fn new() -> Self {
        Tracing {
            slow: None,
            keys: KeyGroups::off(),
            spans: Allowance::new(1_000),
            events: Allowance::new(10),
        }
    }

    /// Calls that take this long count as slow. (`remember` includes waiting for its loader.)
    #[must_use]
    pub fn slow(mut self, time: Duration) -> Self {
        self.slow = Some(time);
        self
    }

    /// How spans and events name keys. By default they do not.
    #[must_use]
    pub fn keys(mut self, groups: KeyGroups) -> Self {
        self.keys = groups;
        self
    }

    /// How many calls per second have a span; 0 for none.
    #[must_use]
    pub fn spans_per_second(mut self, spans: u32) -> Self {
        self.spans = Allowance::new(spans);
        self
    }

    /// How many events there may be per second; 0 for none.
    #[must_use]
    pub fn events_per_second(mut self, events: u32) -> Self {
        self.events = Allowance::new(events);
        self
    }

    fn group(&self, call: &Call<'_>) -> Option<std::sync::Arc<str>> {
        self.keys.group(call.keys().next()?)
    }
}

impl Hook for Tracing {
    fn scope(&self, call: &Call<'_>) -> Option<Box<dyn Scope>> {
        if !span_enabled!(target: "nearcache::call", Level::DEBUG)
            || self.spans.take(Instant::now()).is_none()
        {
            return None;
        }
        let span = tracing::debug_span!(
            target: "nearcache::call",
            "nearcache",
            command = call.command(),
            host = call.host(),
            keys = call.key_count(),
            group = self.group(call).as_deref(),
            outcome = Empty,
            bytes = Empty,
            error = Empty,
        );
        Some(Box::new(Entered(span)))
    }

    fn after(&self, call: &Call<'_>, done: &Done) {
        if self.slow.is_none_or(|slow| done.took < slow)
            || !event_enabled!(target: "nearcache::call", Level::INFO)
        {
            return;
        }
        if let Some(left_out) = self.events.take(Instant::now()) {
            tracing::info!(
                target: "nearcache::call",
                command = call.command(),
                host = call.host(),
                keys = call.key_count(),
                group = self.group(call).as_deref(),
                outcome = done.outcome.as_str(),
                bytes = done.bytes,
                took = ?done.took,
                left_out,
                "a call of the cache was slow"
            );
        }
    }

    fn error(&self, call: &Call<'_>, error: &Error, took: Duration) {
        if !event_enabled!(target: "nearcache::call", Level::WARN) {
            return;
        }
        if let Some(left_out) = self.events.take(Instant::now()) {
            // The error's kind and not its message, because the message names the key.
            tracing::warn!(
                target: "nearcache::call",
                command = call.command(),
                host = call.host(),
                keys = call.key_count(),
                group = self.group(call).as_deref(),
                error = error.kind().as_str(),
                took = ?took,
                left_out,
                "a call of the cache failed"
            );
        }
    }
}

/// A call's span.
struct Entered(Span);

impl Scope for Entered {
    fn within(&self, work: &mut dyn FnMut()) {
        self.0.in_scope(work);
    }

    fn after(&self, _: &Call<'_>, done: &Done) {
        self.0.record("outcome", done.outcome.as_str());
        self.0.record("bytes", done.bytes);
    }

    fn error(&self, _: &Call<'_>, error: &Error, _: Duration) {
        self.0.record("error", error.kind().as_str());
    }
}

/// Allows a number per second.
struct Allowance {
    per_second: u64,
    /// When the current second began, and how many there were in it. Both are under one lock, which is taken only if
    /// a subscriber listens.
    second: Mutex<(Option<Instant>, u64)>,
    left_out: AtomicU64,
}

impl Allowance {
    fn new(per_second: u32) -> Self {
        Allowance {
            per_second: per_second.into(),
            second: Mutex::default(),
            left_out: AtomicU64::new(0),
        }
    }

    /// `None` if there may not be another one now; else how many were left out since the last one.
    fn take(&self, now: Instant) -> Option<u64> {
        let mut second = self.second.lock();
        let (begun, count) = &mut *second;
        if begun.is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1))
        {
            (*begun, *count) = (Some(now), 0);
        }
        if *count >= self.per_second {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        *count += 1;
        Some(self.left_out.swap(0, Relaxed))
    }
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} a second", self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_allowed_in_a_second_and_what_was_left_out_is_told() {
        let allowance = Allowance::new(3);
        let begun = Instant::now();
        let taken: Vec<_> = (0..10).map(|_| allowance.take(begun)).collect();
        assert_eq!(taken[..3], [Some(0); 3]);
        assert_eq!(taken[3..], [None; 7]);
        assert_eq!(allowance.take(begun + Duration::from_millis(999)), None);
        assert_eq!(allowance.take(begun + Duration::from_secs(1)), Some(8));
        assert_eq!(Allowance::new(0).take(begun), None);
    }
}

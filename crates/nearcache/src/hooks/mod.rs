//! Hooks watch a cache's calls, for metrics, traces and logs of your own.
//!
//! 1. A hook is told before a call, and once after it: how it succeeded, the error, or that its caller was cancelled.
//! 2. A hook that panics does not affect the call; the panic is logged, at most once a minute.
//! 3. Without hooks, a call only checks an empty list.
//!
//! # The hooks
//! | hook | feature | what it does |
//! | --- | --- | --- |
//! | [`MetricsCollector`] | | counts calls and errors in this process, with percentiles of their durations |
//! | [`Tracing`] | | spans for calls, and events for calls that fail or are slow, in the application's `tracing` |
//! | `MetricsFacade` | `metrics` | reports to the `metrics` crate, and so to Prometheus and others |
//! | `OpenTelemetry` | `otel` | OpenTelemetry metrics and traces |
//!
//! The names of their metrics, spans and attributes are in one table, in `docs/observability.md`.

// `call` is what a hook is told; in `watch` the operations record their outcome; `scope` is what a hook keeps during
// one call; `carried` carries the trace context to the task of a loader.
mod call;
mod carried;
mod collector;
#[cfg(feature = "metrics")]
mod facade;
mod groups;
mod handle;
mod names;
#[cfg(feature = "otel")]
mod otel;
mod scope;
mod spans;
mod stats;
mod telemetry;
mod watch;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub(crate) use call::CallKeys;
pub use call::{Call, Done, Outcome};
pub(crate) use carried::carry;
pub use collector::{CommandMetrics, Latency, MetricsCollector};
#[cfg(feature = "metrics")]
pub use facade::MetricsFacade;
pub use groups::KeyGroups;
pub use handle::StatsHandle;
#[cfg(feature = "otel")]
pub use otel::{OpenTelemetry, OpenTelemetryBuilder};
pub use scope::Scope;
use scope::Scopes;
pub use spans::Tracing;
pub(crate) use stats::{Counter, Counters};
pub use stats::{NearTracking, Stats};
pub(crate) use telemetry::Telemetry;
pub(crate) use watch::{Telling, Watch};

use crate::error::Error;

/// Watches a cache's calls.
///
/// The methods run on the thread of the call, before it and after it. The call waits for them, so they must be quick.
/// They must not call the cache. Implement only the methods that you need.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use nearcache::Cache;
/// use nearcache::hooks::{Call, Done, Hook};
///
/// #[derive(Default)]
/// struct Slow(AtomicU64);
///
/// impl Hook for Slow {
///     fn after(&self, call: &Call<'_>, done: &Done) {
///         if done.took.as_millis() > 50 {
///             println!("{} of {:?} took {:?}", call.command(), call.key(), done.took);
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let slow = Arc::new(Slow::default());
/// let cache = Cache::builder("memory://").hook(slow.clone()).build()?;
/// cache.set("k", &1).await?;
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
pub trait Hook: Send + Sync + 'static {
    /// A call is about to begin.
    fn before(&self, call: &Call<'_>) {
        let _ = call;
    }

    /// The call succeeded.
    fn after(&self, call: &Call<'_>, done: &Done) {
        let _ = (call, done);
    }

    /// The call failed.
    fn error(&self, call: &Call<'_>, error: &Error, took: Duration) {
        let _ = (call, error, took);
    }

    /// The caller was cancelled before the call ended: a timeout of the application's own, or a request that was
    /// broken off. What the call was to do may have been done. (A load goes on without its caller, and is reported as
    /// `load`.)
    fn abandoned(&self, call: &Call<'_>, took: Duration) {
        let _ = (call, took);
    }

    /// What the hook keeps for the duration of this call, if anything. Called after `before`.
    fn scope(&self, call: &Call<'_>) -> Option<Box<dyn Scope>> {
        let _ = call;
        None
    }

    /// A cache was created with this hook. The handle gives access to what the cache counts.
    fn attached(&self, cache: &StatsHandle) {
        let _ = cache;
    }
}

impl<H: Hook + ?Sized> Hook for Arc<H> {
    fn before(&self, call: &Call<'_>) {
        (**self).before(call);
    }

    fn after(&self, call: &Call<'_>, done: &Done) {
        (**self).after(call, done);
    }

    fn error(&self, call: &Call<'_>, error: &Error, took: Duration) {
        (**self).error(call, error, took);
    }

    fn abandoned(&self, call: &Call<'_>, took: Duration) {
        (**self).abandoned(call, took);
    }

    fn scope(&self, call: &Call<'_>) -> Option<Box<dyn Scope>> {
        (**self).scope(call)
    }

    fn attached(&self, cache: &StatsHandle) {
        (**self).attached(cache);
    }
}

/// A panic of a hook is logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The hooks of a cache.
#[derive(Default)]
pub(crate) struct Hooks {
    hooks: Vec<Box<dyn Hook>>,
    /// When a panic was last logged.
    logged: Mutex<Option<Instant>>,
}

impl Hooks {
    pub(crate) fn add(&mut self, hook: impl Hook) {
        self.hooks.push(Box::new(hook));
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    pub(crate) fn before(&self, call: &Call<'_>) {
        self.each(|hook| hook.before(call));
    }

    pub(crate) fn attached(&self, cache: &StatsHandle) {
        self.each(|hook| hook.attached(cache));
    }

    fn scopes(&self, call: &Call<'_>) -> Scopes {
        let mut scopes = Scopes::default();
        for hook in &self.hooks {
            if let Some(Some(scope)) = self.guarded(|| hook.scope(call)) {
                scopes.push(scope);
            }
        }
        scopes
    }

    fn after(&self, call: &Call<'_>, done: &Done, scopes: &Scopes) {
        for scope in scopes.iter() {
            self.guarded(|| scope.after(call, done));
        }
        self.each(|hook| hook.after(call, done));
    }

    fn error(&self, call: &Call<'_>, error: &Error, took: Duration, scopes: &Scopes) {
        for scope in scopes.iter() {
            self.guarded(|| scope.error(call, error, took));
        }
        self.each(|hook| hook.error(call, error, took));
    }

    fn abandoned(&self, call: &Call<'_>, took: Duration) {
        self.each(|hook| hook.abandoned(call, took));
    }

    fn each(&self, tell: impl Fn(&dyn Hook)) {
        for hook in &self.hooks {
            self.guarded(|| tell(&**hook));
        }
    }

    /// Runs a hook's method and catches its panic. State that the hook leaves half changed is its own concern.
    fn guarded<T>(&self, hook: impl FnOnce() -> T) -> Option<T> {
        let told = catch_unwind(AssertUnwindSafe(hook));
        if told.is_err() {
            self.panicked();
        }
        told.ok()
    }

    #[cold]
    fn panicked(&self) {
        let now = Instant::now();
        let mut logged = self.logged.lock();
        if logged.is_none_or(|at| now.duration_since(at) >= LOG_EVERY) {
            *logged = Some(now);
            tracing::error!("a hook of the cache panicked; the call was not affected");
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hooks({})", self.hooks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Panics;

    impl Hook for Panics {
        fn before(&self, _: &Call<'_>) {
            panic!("as tests do");
        }
    }

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Hook for Counts {
        fn before(&self, _: &Call<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_hook_that_panics_keeps_no_other_from_being_told() {
        let counts = Arc::new(Counts::default());
        let mut hooks = Hooks::default();
        hooks.add(Panics);
        hooks.add(Arc::clone(&counts));
        let call = Call::new("get", CallKeys::One(b"k"), "host", 0);
        hooks.before(&call);
        hooks.before(&call);
        assert_eq!(counts.0.load(Ordering::Relaxed), 2);
        assert!(hooks.logged.lock().is_some());
    }
}

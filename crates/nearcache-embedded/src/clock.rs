//! The clock for deadlines: the system's, or one that a test advances.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::store::Shared;

/// Where a manual clock starts: 2026-01-01T00:00:00Z.
const MANUAL_START_MS: i64 = 1_767_225_600_000;

/// The clock of a [`Store`](crate::Store). Clones are the same clock.
///
/// ```
/// use nearcache_embedded::{Clock, Store};
/// use std::time::Duration;
///
/// let clock = Clock::manual();
/// let store = Store::builder().clock(clock.clone()).build();
/// let mut connection = store.connect();
///
/// redis::cmd("SET").arg(&["key", "value", "EX", "10"]).exec(&mut connection)?;
/// clock.advance(Duration::from_secs(10));
/// let value: Option<String> = redis::cmd("GET").arg("key").query(&mut connection)?;
/// assert_eq!(value, None);
/// # Ok::<(), redis::RedisError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System,
    Manual(Arc<Manual>),
}

struct Manual {
    now: AtomicI64,
    /// The stores that go by it, in which commands may wait for a time.
    stores: Mutex<Vec<Weak<Shared>>>,
}

impl fmt::Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now.fmt(f)
    }
}

impl Clock {
    /// The system's wall clock.
    #[must_use]
    pub fn system() -> Self {
        Clock(Kind::System)
    }

    /// A clock that stands still at the start of 2026 until it is [advanced](Clock::advance).
    #[must_use]
    pub fn manual() -> Self {
        Clock(Kind::Manual(Arc::new(Manual {
            now: AtomicI64::new(MANUAL_START_MS),
            stores: Mutex::default(),
        })))
    }

    /// Unix time in milliseconds.
    #[inline]
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Kind::System => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Kind::Manual(manual) => manual.now.load(Ordering::Relaxed),
        }
    }

    /// Milliseconds from an arbitrary start. They may lag by a few, at a quarter of the cost of the exact time.
    #[inline]
    pub(crate) fn coarse_ms(&self) -> u64 {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Kind::System = &self.0 {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
            return (now.tv_sec * 1000 + now.tv_nsec / 1_000_000).cast_unsigned();
        }
        self.now_ms().cast_unsigned()
    }

    /// Advances a manual clock, in whole milliseconds; it stops at the largest time. Commands that wait no longer than
    /// that have their replies when this returns. Does nothing to the system's clock.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(manual) = &self.0 {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            let advanced = manual
                .now
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                    Some(now.saturating_add(by))
                });
            debug_assert!(advanced.is_ok());
            let stores: Vec<_> = {
                let mut stores = manual.stores.lock();
                stores.retain(|store| store.strong_count() > 0);
                stores.iter().filter_map(Weak::upgrade).collect()
            };
            stores.iter().for_each(|store| store.end_overdue());
        }
    }

    /// Tells a store whenever a manual clock is advanced.
    pub(crate) fn tell(&self, store: &Weak<Shared>) {
        if let Kind::Manual(manual) = &self.0 {
            manual.stores.lock().push(store.clone());
        }
    }

    /// Whether only [`advance`](Clock::advance) moves this clock.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Kind::Manual(_))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::system()
    }
}

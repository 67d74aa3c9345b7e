//! The circuit breaker: it keeps callers from waiting for a server that does not answer.
//!
//! 1. *Closed*: all calls go through. [`RUN`] failures in a row open the breaker; any answer of the server, even an
//!    error reply, starts the count again. A failure is a lost or refused connection, a timeout, or a refused password,
//!    but not a mistake of the caller. Calls that wait together for one connect, and fail with it, are one failure.
//! 2. *Open*: calls fail at once, with an error that says since when and why. After a pause one call goes through, the
//!    probe. If the probe fails, the pause gets longer: it doubles, up to [`LONGEST`], with jitter, so that clients
//!    that lost a server together do not come back together. If it succeeds, the breaker closes.
//! 3. If a probe is cancelled (its future is dropped), or found no free connection, another probe may go through at once.
//! 4. When the breaker opens, the connections are dropped. So a probe cannot fail on a connection that died meanwhile
//!    although the server works again.
//!
//! There is one breaker for each target, shared by all its caches. While closed, it costs a call two loads of one word.
//!
//! The pattern is Nygard's (*Release It!*, 2007); the jitter follows Brooker, "Exponential Backoff And
//! Jitter" (AWS Architecture Blog, 2015).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::connect::Backend;
use crate::error::{Error, ErrorKind, Result};

/// How many failures in a row open the breaker.
pub(crate) const RUN: u32 = 5;

/// The pause before the first probe.
pub(super) const SHORTEST: Duration = Duration::from_millis(100);

/// The longest pause between probes: after Redis is back, calls fail for this time at most.
pub(crate) const LONGEST: Duration = Duration::from_secs(2);

/// How often something that goes on is logged.
pub(super) const LOG_EVERY: Duration = Duration::from_secs(15);

/// The value of `run` that means open.
const OPEN: u32 = u32::MAX;

/// Whether calls go through to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls go through.
    #[default]
    Closed,
    /// Calls fail at once, except for one probe at a time.
    Open,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    enabled: bool,
    /// The number of failures in a row, or [`OPEN`].
    run: AtomicU32,
    opening: Mutex<Option<Opening>>,
    openings: AtomicU64,
}

/// The state while the breaker is open.
#[derive(Debug)]
struct Opening {
    since: Instant,
    why: Error,
    pause: Duration,
    probe_at: Instant,
    probing: bool,
    logged: Instant,
}

impl Breaker {
    pub(crate) fn new(enabled: bool) -> Self {
        Breaker {
            enabled,
            run: AtomicU32::new(0),
            opening: Mutex::new(None),
            openings: AtomicU64::new(0),
        }
    }

    /// Asks whether a call may go through now.
    ///
    /// # Errors
    /// `Unavailable`, with since when and why.
    pub(crate) fn admit<'b>(&'b self, backend: &'b dyn Backend) -> Result<Permit<'b>> {
        if self.run.load(Ordering::Acquire) != OPEN {
            return Ok(self.permit(backend, false));
        }
        self.admit_open(backend, backend.common().runtime().now())
    }

    #[cold]
    fn admit_open<'b>(&'b self, backend: &'b dyn Backend, now: Instant) -> Result<Permit<'b>> {
        let mut opening = self.opening.lock();
        match opening.as_mut() {
            // The breaker closed meanwhile.
            None => Ok(self.permit(backend, false)),
            Some(opening) if !opening.probing && now >= opening.probe_at => {
                opening.probing = true;
                Ok(self.permit(backend, true))
            }
            Some(opening) => Err(opening.turned_away(now).on_host(backend.common().host())),
        }
    }

    /// The place leads to another server now: whether that one answers is tried by the next call.
    pub(super) fn probe_soon(&self, now: Instant) {
        if let Some(opening) = self.opening.lock().as_mut() {
            opening.pause = SHORTEST;
            opening.probe_at = now;
        }
    }

    fn permit<'b>(&'b self, backend: &'b dyn Backend, probe: bool) -> Permit<'b> {
        Permit {
            breaker: self,
            backend,
            probe,
            reported: false,
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        if self.run.load(Ordering::Acquire) == OPEN {
            BreakerState::Open
        } else {
            BreakerState::Closed
        }
    }

    /// How often it has opened.
    pub(crate) fn openings(&self) -> u64 {
        self.openings.load(Ordering::Relaxed)
    }

    fn record_success(&self, backend: &dyn Backend, probe: bool) {
        if probe {
            let opening = self.opening.lock().take();
            self.run.store(0, Ordering::Release);
            if let Some(opening) = opening {
                let away = backend
                    .common()
                    .runtime()
                    .now()
                    .saturating_duration_since(opening.since);
                tracing::info!(host = %backend.common().host(), ?away, "Redis is back");
            }
        } else if self.run.load(Ordering::Relaxed) != 0 {
            // Keep `OPEN`: the answer to a call from before the opening tells nothing about the server now.
            let _ = self
                .run
                .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |run| {
                    (run != OPEN).then_some(0)
                });
        }
    }

    fn record_failure(&self, backend: &dyn Backend, why: &Error, probe: bool) {
        let now = backend.common().runtime().now();
        if probe {
            let mut opening = self.opening.lock();
            if let Some(opening) = opening.as_mut() {
                opening.probe_failed(why, now, backend);
            }
            drop(opening);
            backend.disconnect();
            return;
        }
        // A refused password stays refused: open at once, so that the server is not asked again and again.
        let run = if why.kind() == ErrorKind::Auth {
            RUN
        } else {
            1
        };
        let counted = self
            .run
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |so_far| {
                (so_far != OPEN).then(|| so_far.saturating_add(run).min(RUN))
            });
        if counted.is_ok_and(|before| before.saturating_add(run) >= RUN) {
            self.open(backend, why, now);
        }
    }

    fn open(&self, backend: &dyn Backend, why: &Error, now: Instant) {
        let mut opening = self.opening.lock();
        if opening.is_some() {
            return;
        }
        let pause = jittered(SHORTEST);
        *opening = Some(Opening {
            since: now,
            why: why.clone(),
            pause: SHORTEST,
            probe_at: now + pause,
            probing: false,
            logged: now,
        });
        self.run.store(OPEN, Ordering::Release);
        self.openings.fetch_add(1, Ordering::Relaxed);
        drop(opening);
        tracing::warn!(host = %backend.common().host(), error = %why, "Redis is away: calls fail at once until it answers");
        backend.disconnect();
    }
}

impl Opening {
    fn probe_failed(&mut self, why: &Error, now: Instant, backend: &dyn Backend) {
        self.probing = false;
        self.why = why.clone();
        self.pause = (self.pause * 2).min(LONGEST);
        self.probe_at = now + jittered(self.pause);
        if now.duration_since(self.logged) >= LOG_EVERY {
            self.logged = now;
            let away = now.duration_since(self.since);
            tracing::warn!(host = %backend.common().host(), ?away, error = %why, "Redis is still away");
        }
    }

    fn turned_away(&self, now: Instant) -> Error {
        let away = now.saturating_duration_since(self.since);
        // A refused password keeps its own kind, because waiting does not help.
        let kind = match self.why.kind() {
            ErrorKind::Auth => ErrorKind::Auth,
            _ => ErrorKind::Unavailable,
        };
        Error::new(
            kind,
            format!(
                "away for {:.1} s, so this call was not sent; the last try said: {}",
                away.as_secs_f64(),
                self.why
            ),
        )
        .caused_by(self.why.clone())
    }
}

/// A random time between half of the pause and all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() * 0.5)
}

/// The permission for one call, whose outcome must be reported.
#[derive(Debug)]
pub(crate) struct Permit<'b> {
    breaker: &'b Breaker,
    backend: &'b dyn Backend,
    probe: bool,
    reported: bool,
}

impl Permit<'_> {
    /// Reports the outcome of the call.
    pub(crate) fn report(mut self, error: Option<&Error>) {
        // The call did not get as far as the server: no outcome, as if it was cancelled.
        if error.is_some_and(|error| error.kind() == ErrorKind::PoolExhausted) {
            return;
        }
        self.reported = true;
        if error.is_some_and(Error::is_echo) && !self.probe {
            return;
        }
        if !self.breaker.enabled {
            return;
        }
        let failure = error.filter(|error| {
            matches!(
                error.kind(),
                ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Auth
            )
        });
        match failure {
            Some(why) => self.breaker.record_failure(self.backend, why, self.probe),
            None => self.breaker.record_success(self.backend, self.probe),
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // Invariant 3: the probe was cancelled, so its outcome is not known.
        if self.probe
            && !self.reported
            && let Some(opening) = self.breaker.opening.lock().as_mut()
        {
            opening.probing = false;
        }
    }
}

#[cfg(test)]
mod tests;

//! The circuit breaker: keeps callers from waiting for a server that does not answer.
//!
//! 1. *Closed*, it admits everyone. A run of [`RUN`] failures in a row opens it; any answer of the
//!    server, an error reply too, ends the run. A failure is a lost or refused connection, a timeout, or
//!    a refused password: not what the caller did wrong.
//! 2. *Open*, it turns callers away at once, saying since when and why. After a pause it admits one, the
//!    probe. The probe's failure makes the pause longer (doubling, up to [`LONGEST`], jittered, so that
//!    clients that lost a server together do not come back together); its success closes the breaker.
//! 3. A probe that is given up (its future dropped) makes room for another one at once.
//! 4. When it opens, the connections are dropped: a probe that finds the server well again is not misled
//!    by a connection that went dead meanwhile.
//!
//! One breaker stands before each target, for every cache that goes there. Closed, it costs a call two
//! loads of one word.
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
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest pause between probes: what a server that is back waits for us at most.
pub(crate) const LONGEST: Duration = Duration::from_secs(2);

/// How often an outage that goes on is logged.
const LOG_EVERY: Duration = Duration::from_secs(15);

/// In `run`, the breaker is open.
const OPEN: u32 = u32::MAX;

/// Whether calls go through to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls go through.
    #[default]
    Closed,
    /// Calls are turned away at once, but one at a time that probes the server.
    Open,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    enabled: bool,
    /// How many failures there were in a row, or [`OPEN`].
    run: AtomicU32,
    opening: Mutex<Option<Opening>>,
    openings: AtomicU64,
}

/// What is known while it is open.
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

    /// Whether a call may go through now.
    ///
    /// # Errors
    /// `Unavailable`, saying since when and why.
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
            // Closed meanwhile.
            None => Ok(self.permit(backend, false)),
            Some(opening) if !opening.probing && now >= opening.probe_at => {
                opening.probing = true;
                Ok(self.permit(backend, true))
            }
            Some(opening) => Err(opening.turned_away(now).on_host(backend.common().host())),
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

    /// Whether it ever opens.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
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
            // Not over `OPEN`: an answer to a call of before it opened says nothing of now.
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
        // A refused password stays refused: asking on would be hammering.
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
        tracing::warn!(host = %backend.common().host(), error = %why, "Redis is away: calls are turned away until it answers");
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
        // A refused password is a fault of its own kind, which waiting does not mend.
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

/// Half of it to all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() * 0.5)
}

/// The right to call, and the duty to say how it went.
#[derive(Debug)]
pub(crate) struct Permit<'b> {
    breaker: &'b Breaker,
    backend: &'b dyn Backend,
    probe: bool,
    reported: bool,
}

impl Permit<'_> {
    /// How the call went.
    pub(crate) fn report(mut self, error: Option<&Error>) {
        self.reported = true;
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
        // Invariant 3: the caller gave up, and nobody knows how it went.
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

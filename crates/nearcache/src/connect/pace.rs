//! The pace of reconnecting, so that a server that is away, or cannot be used, is not run into by every call.
//!
//! 1. After [`BURST`] failed connects in a row, one is tried in each pause. Calls that need a connection meanwhile fail
//!    at once, with the error of the last try.
//! 2. A connection that is made ends the run. So a server that comes back is found within one pause.
//! 3. The pauses are jittered: clients that lost a server together do not come back together.
//! 4. What the circuit breaker counts is left to it, if there is one.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};

/// How many connects may fail in a row before they are paced: enough that a short break costs nobody a pause.
const BURST: u32 = 20;

/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Pace {
    /// Whether there is a circuit breaker.
    breaker: bool,
    run: Mutex<Run>,
}

/// The failures in a row.
#[derive(Debug, Default)]
struct Run {
    length: u32,
    /// The last failure, and when the next try is due.
    last: Option<(Error, Instant)>,
}

impl Pace {
    pub(super) fn new(breaker: bool) -> Self {
        Pace {
            breaker,
            run: Mutex::default(),
        }
    }

    /// Asks whether a connect may begin now.
    ///
    /// # Errors
    /// The error of the last try.
    pub(super) fn admit(&self, now: Instant) -> Result<()> {
        let mut run = self.run.lock();
        if run.length < BURST {
            return Ok(());
        }
        match &mut run.last {
            Some((why, due)) if now < *due => {
                let text = format!("{}; the next try is due in a moment", why.detail());
                Err(Error::new(why.kind(), text).caused_by(why.clone()))
            }
            // This is the one of this pause, however long it takes.
            Some((_, due)) => {
                *due = now + jittered();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes the outcome of a connect.
    pub(super) fn note<T>(&self, outcome: &Result<T>, now: Instant) {
        let mut run = self.run.lock();
        match outcome {
            Ok(_) => *run = Run::default(),
            Err(error) if self.breaker && counts(error) => {}
            Err(error) => {
                run.length = run.length.saturating_add(1);
                run.last = Some((error.clone(), now + jittered()));
            }
        }
    }
}

/// Whether the circuit breaker counts a failed connect.
fn counts(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Auth
    )
}

/// A random time between half of the pause and all of it.
fn jittered() -> Duration {
    PAUSE.mul_f64(0.5 + fastrand::f64() * 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: ErrorKind) -> Result<()> {
        Err(Error::new(kind, "refused"))
    }

    #[test]
    fn invariants_1_and_2_a_run_of_failures_is_paced_until_a_connect_succeeds() {
        let pace = Pace::new(false);
        let begun = Instant::now();
        for _ in 0..BURST {
            pace.admit(begun).unwrap();
            pace.note(&failed(ErrorKind::Connect), begun);
        }
        let tries = (0..10_000).filter(|ms| {
            let now = begun + Duration::from_millis(*ms);
            let admitted = pace.admit(now);
            match &admitted {
                Ok(()) => pace.note(&failed(ErrorKind::Connect), now),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Connect);
                    assert!(error.to_string().contains("refused"), "{error}");
                }
            }
            admitted.is_ok()
        });
        let tries = tries.count();
        // Ten seconds, with pauses of 100 to 200 ms.
        assert!((50..=100).contains(&tries), "{tries}");

        // One at a time, as long as its outcome is not known.
        let later = begun + Duration::from_secs(20);
        pace.admit(later).unwrap();
        assert!(pace.admit(later).is_err());
        pace.note(&Ok(()), later);
        for _ in 0..BURST {
            pace.admit(later).unwrap();
            pace.note(&failed(ErrorKind::Timeout), later);
        }
        assert!(pace.admit(later).is_err());
    }

    #[test]
    fn invariant_4_with_a_breaker_only_what_it_does_not_count_is_paced() {
        use ErrorKind::{Auth, Connect, InvalidConfig, Timeout};
        for (kind, paced) in [
            (Connect, false),
            (Timeout, false),
            (Auth, false),
            (InvalidConfig, true),
        ] {
            let pace = Pace::new(true);
            let now = Instant::now();
            for _ in 0..BURST {
                pace.note(&failed(kind), now);
            }
            assert_eq!(pace.admit(now).is_err(), paced, "{kind}");
        }
    }
}

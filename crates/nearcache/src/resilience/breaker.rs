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
    outage: Mutex<Option<Outage>>,
    openings: AtomicU64,
}

/// What is known while it is open.
#[derive(Debug)]
struct Outage {
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
            outage: Mutex::new(None),
            openings: AtomicU64::new(0),
        }
    }

    /// Whether a call may go through now.
    ///
    /// # Errors
    /// `Unavailable`, saying since when and why.
    pub(crate) fn admit<'b>(&'b self, backend: &'b dyn Backend) -> Result<Permit<'b>> {
        if self.run.load(Ordering::Acquire) != OPEN {
            return Ok(Permit {
                breaker: self,
                backend,
                probe: false,
                reported: false,
            });
        }
        self.admit_open(backend, backend.common().runtime().now())
    }

    #[cold]
    fn admit_open<'b>(&'b self, backend: &'b dyn Backend, now: Instant) -> Result<Permit<'b>> {
        let mut outage = self.outage.lock();
        match outage.as_mut() {
            // Closed meanwhile.
            None => Ok(Permit {
                breaker: self,
                backend,
                probe: false,
                reported: false,
            }),
            Some(outage) if !outage.probing && now >= outage.probe_at => {
                outage.probing = true;
                Ok(Permit {
                    breaker: self,
                    backend,
                    probe: true,
                    reported: false,
                })
            }
            Some(outage) => Err(outage.turned_away(now).on_host(backend.common().host())),
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

    fn succeeded(&self, backend: &dyn Backend, probe: bool) {
        if probe {
            let outage = self.outage.lock().take();
            self.run.store(0, Ordering::Release);
            if let Some(outage) = outage {
                let away = backend
                    .common()
                    .runtime()
                    .now()
                    .saturating_duration_since(outage.since);
                tracing::info!(host = %backend.common().host(), ?away, "Redis is back");
            }
        } else if self.run.load(Ordering::Relaxed) != 0 {
            // Not over `OPEN`: an answer to a call of before the outage says nothing of now.
            let _ = self
                .run
                .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |run| {
                    (run != OPEN).then_some(0)
                });
        }
    }

    fn failed(&self, backend: &dyn Backend, why: &Error, probe: bool) {
        let now = backend.common().runtime().now();
        if probe {
            let mut outage = self.outage.lock();
            if let Some(outage) = outage.as_mut() {
                outage.probe_failed(why, now, backend);
            }
            drop(outage);
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
        let mut outage = self.outage.lock();
        if outage.is_some() {
            return;
        }
        let pause = jittered(SHORTEST);
        *outage = Some(Outage {
            since: now,
            why: why.clone(),
            pause: SHORTEST,
            probe_at: now + pause,
            probing: false,
            logged: now,
        });
        self.run.store(OPEN, Ordering::Release);
        self.openings.fetch_add(1, Ordering::Relaxed);
        drop(outage);
        tracing::warn!(host = %backend.common().host(), error = %why, "Redis is away: calls are turned away until it answers");
        backend.disconnect();
    }
}

impl Outage {
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
            Some(why) => self.breaker.failed(self.backend, why, self.probe),
            None => self.breaker.succeeded(self.backend, self.probe),
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // Invariant 3: the caller gave up, and nobody knows how it went.
        if self.probe
            && !self.reported
            && let Some(outage) = self.breaker.outage.lock().as_mut()
        {
            outage.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::AtomicUsize;

    use redis::{Cmd, Pipeline, Value};

    use super::*;
    use crate::connect::target::{Place, Target};
    use crate::connect::{BoxFuture, Common, Raw, Terms};
    use crate::resilience;
    use crate::runtime::{Runtime, moved};

    /// A server that does what the test says, call by call; without a script it answers.
    #[derive(Debug)]
    struct Scripted {
        common: Common,
        script: Mutex<VecDeque<Act>>,
        asked: AtomicUsize,
    }

    #[derive(Debug)]
    enum Act {
        Fail(ErrorKind),
        Hang,
    }

    impl Backend for Scripted {
        fn request<'a>(&'a self, _: &'a Cmd, _: Terms) -> BoxFuture<'a, Result<Value>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let act = self.script.lock().pop_front();
            Box::pin(async move {
                match act {
                    None => Ok(Value::Okay),
                    Some(Act::Fail(kind)) => Err(Error::new(kind, "as the script says")),
                    Some(Act::Hang) => std::future::pending().await,
                }
            })
        }

        fn pipeline<'a>(&'a self, _: &'a Pipeline, _: Terms) -> BoxFuture<'a, Result<Vec<Value>>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn connection(&self, _: Duration) -> BoxFuture<'_, Result<Raw>> {
            Box::pin(async { Err(Error::new(ErrorKind::Connect, "no raw connection here")) })
        }

        fn disconnect(&self) {}

        fn common(&self) -> &Common {
            &self.common
        }
    }

    impl Scripted {
        fn new() -> (Scripted, moved::Clock) {
            let clock = moved::Clock::new();
            let target = Target::new(Place::Tcp {
                host: "scripted".into(),
                port: 1,
            });
            let common = Common::new(&target, Runtime::Moved(clock.clone()));
            (
                Scripted {
                    common,
                    script: Mutex::default(),
                    asked: AtomicUsize::new(0),
                },
                clock,
            )
        }

        fn will(&self, kinds: impl IntoIterator<Item = ErrorKind>) {
            self.script.lock().extend(kinds.into_iter().map(Act::Fail));
        }

        async fn set(&self) -> Result<Value> {
            resilience::request(self, &redis::cmd("SET"), Duration::from_millis(500)).await
        }

        async fn outage(kind: ErrorKind) -> (Scripted, moved::Clock) {
            let (server, clock) = Scripted::new();
            server.will([kind; RUN as usize]);
            while server.common.breaker().state() == BreakerState::Closed {
                assert_eq!(server.set().await.unwrap_err().kind(), kind);
            }
            (server, clock)
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn invariant_1_a_run_of_failures_opens_it_and_an_answer_ends_the_run() {
        use ErrorKind::{Connect, Timeout, WrongType};
        let (server, _clock) = Scripted::new();
        for kinds in [
            [Connect, Timeout, Connect, Timeout, WrongType],
            [Timeout, Timeout, Timeout, WrongType, Timeout],
        ] {
            server.will(kinds);
            for kind in kinds {
                assert_eq!(server.set().await.unwrap_err().kind(), kind);
            }
            server.set().await.unwrap();
        }
        assert_eq!(server.common.breaker().state(), BreakerState::Closed);
        server.will([Connect, Timeout, Timeout, Connect, Connect]);
        for _ in 0..RUN {
            server.set().await.unwrap_err();
        }
        assert_eq!(server.common.breaker().state(), BreakerState::Open);
        assert_eq!(server.common.breaker().openings(), 1);
    }

    #[tokio::test]
    async fn invariant_2_while_open_calls_are_turned_away_and_told_why() {
        let (server, clock) = Scripted::outage(ErrorKind::Timeout).await;
        clock.advance(Duration::from_millis(40));
        let asked = server.asked();
        for _ in 0..100 {
            let error = server.set().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            let text = error.to_string();
            assert!(
                text.contains("scripted:1")
                    && text.contains("as the script says")
                    && text.contains("0.0 s"),
                "{text}"
            );
        }
        assert_eq!(server.asked(), asked);
    }

    #[tokio::test]
    async fn invariant_2_one_probe_at_a_time_and_its_success_closes() {
        let (server, clock) = Scripted::outage(ErrorKind::Connect).await;
        clock.advance(SHORTEST);
        server.script.lock().push_back(Act::Hang);
        let asked = server.asked();
        let ping = redis::cmd("PING");
        let mut probe = Box::pin(resilience::request(&server, &ping, SHORTEST));
        assert!(futures_util::poll!(&mut probe).is_pending());
        assert_eq!(
            server.set().await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        assert_eq!(server.asked(), asked + 1);
        // Invariant 3: given up, it makes room at once.
        drop(probe);
        server.set().await.unwrap();
        assert_eq!(server.common.breaker().state(), BreakerState::Closed);
        server.set().await.unwrap();
    }

    #[tokio::test]
    async fn invariant_2_the_pause_doubles_up_to_the_longest() {
        let (server, clock) = Scripted::outage(ErrorKind::Connect).await;
        let mut pause = SHORTEST;
        for _ in 0..10 {
            server.will([ErrorKind::Connect]);
            let asked = server.asked();
            // Jitter takes away up to half.
            clock.advance(pause.mul_f64(0.49));
            assert_eq!(
                server.set().await.unwrap_err().kind(),
                ErrorKind::Unavailable,
                "{pause:?}"
            );
            assert_eq!(server.asked(), asked);
            clock.advance(pause.mul_f64(0.51));
            assert_eq!(
                server.set().await.unwrap_err().kind(),
                ErrorKind::Connect,
                "{pause:?}"
            );
            pause = (pause * 2).min(LONGEST);
        }
        assert_eq!(pause, LONGEST);
        clock.advance(LONGEST);
        server.set().await.unwrap();
    }

    #[tokio::test]
    async fn a_refused_password_opens_it_at_once_and_stays_what_it_is() {
        let (server, _clock) = Scripted::new();
        server.will([ErrorKind::Auth]);
        server.set().await.unwrap_err();
        let asked = server.asked();
        assert_eq!(server.set().await.unwrap_err().kind(), ErrorKind::Auth);
        assert_eq!(server.asked(), asked);
    }

    #[tokio::test]
    async fn a_read_is_sent_again_after_a_lost_connection_and_a_write_is_not() {
        let (server, _clock) = Scripted::new();
        server.will([ErrorKind::Connect]);
        let limit = Duration::from_millis(500);
        resilience::request(&server, &redis::cmd("GET"), limit)
            .await
            .unwrap();
        assert_eq!(server.asked(), 2);
        server.will([ErrorKind::Connect]);
        resilience::request(&server, &redis::cmd("SET"), limit)
            .await
            .unwrap_err();
        assert_eq!(server.asked(), 3);
    }

    #[tokio::test]
    async fn a_minute_of_outage_at_a_thousand_calls_a_second_logs_a_few_lines() {
        let (server, clock) = Scripted::new();
        server.will([ErrorKind::Connect; 60_000]);
        let lines = LogLines::default();
        let logging = tracing::subscriber::set_default(lines.clone());
        for _ in 0..60_000 {
            server.set().await.unwrap_err();
            clock.advance(Duration::from_millis(1));
        }
        server.script.lock().clear();
        clock.advance(LONGEST);
        server.set().await.unwrap();
        drop(logging);
        let lines = lines.0.load(Ordering::Relaxed);
        assert!((3..30).contains(&lines), "{lines} lines");
        assert!(
            server.asked() < 60,
            "{} calls reached the server",
            server.asked()
        );
    }

    /// Counts what is logged.
    #[derive(Clone, Default)]
    struct LogLines(std::sync::Arc<AtomicUsize>);

    impl tracing::Subscriber for LogLines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }
}

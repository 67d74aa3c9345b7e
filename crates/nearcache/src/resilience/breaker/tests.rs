//! When the breaker opens, which calls it admits, and when it closes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use nearcache_testkit::Logs;
use redis::{Cmd, Pipeline, Value};

use super::*;
use crate::connect::target::{Place, Target};
use crate::connect::{BoxFuture, Common, Dedicated, Terms};
use crate::resilience::Guarded;
use crate::runtime::{Runtime, moved};

/// A server whose reply to each call is set by the test; without a script it answers.
#[derive(Debug)]
struct Scripted {
    common: Common,
    script: Mutex<VecDeque<Act>>,
    asked: AtomicUsize,
}

#[derive(Debug)]
enum Act {
    Fail(ErrorKind),
    /// As one of several who waited for the same connect.
    Echo,
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
                Some(Act::Echo) => Err(Error::new(ErrorKind::Timeout, "as the others").into_echo()),
                Some(Act::Hang) => std::future::pending().await,
            }
        })
    }

    fn pipeline<'a>(&'a self, _: &'a Pipeline, _: Terms) -> BoxFuture<'a, Result<Vec<Value>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn dedicated(&self, _: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        Box::pin(async { Err(Error::new(ErrorKind::Connect, "no raw connection here")) })
    }

    fn disconnect(&self) {}

    fn common(&self) -> &Common {
        &self.common
    }
}

/// The scripted server, guarded.
struct Server {
    backend: Arc<Scripted>,
    guarded: Arc<Guarded>,
}

impl Server {
    fn new() -> (Server, moved::Clock) {
        let clock = moved::Clock::new();
        let target = Target::new(Place::Tcp {
            host: "scripted".into(),
            port: 1,
        });
        let backend = Arc::new(Scripted {
            common: Common::new(&target, Runtime::Moved(clock.clone())),
            script: Mutex::default(),
            asked: AtomicUsize::new(0),
        });
        let guarded = Guarded::new(Arc::<Scripted>::clone(&backend), &target);
        (Server { backend, guarded }, clock)
    }

    fn will(&self, kinds: impl IntoIterator<Item = ErrorKind>) {
        let script = &self.backend.script;
        script.lock().extend(kinds.into_iter().map(Act::Fail));
    }

    async fn set(&self) -> Result<Value> {
        let limit = Duration::from_millis(500);
        self.guarded.request(&redis::cmd("SET"), limit).await
    }

    async fn outage(kind: ErrorKind) -> (Server, moved::Clock) {
        let (server, clock) = Server::new();
        server.will([kind; RUN as usize]);
        while server.guarded.breaker_state() == BreakerState::Closed {
            assert_eq!(server.set().await.unwrap_err().kind(), kind);
        }
        (server, clock)
    }

    fn asked(&self) -> usize {
        self.backend.asked.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn invariant_1_those_who_waited_for_one_connect_are_one_failure() {
    let (server, _clock) = Server::new();
    for opens in [false, false, false, false, true] {
        server.will([ErrorKind::Timeout]);
        let echoes = (0..2 * RUN).map(|_| Act::Echo);
        server.backend.script.lock().extend(echoes);
        for _ in 0..=2 * RUN {
            server.set().await.unwrap_err();
        }
        let state = server.guarded.breaker_state();
        assert_eq!(state == BreakerState::Open, opens);
    }
}

#[tokio::test]
async fn invariant_1_a_run_of_failures_opens_it_and_an_answer_ends_the_run() {
    use ErrorKind::{Connect, Timeout, WrongType};
    let (server, _clock) = Server::new();
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
    assert_eq!(server.guarded.breaker_state(), BreakerState::Closed);
    server.will([Connect, Timeout, Timeout, Connect, Connect]);
    for _ in 0..RUN {
        server.set().await.unwrap_err();
    }
    assert_eq!(server.guarded.breaker_state(), BreakerState::Open);
    assert_eq!(server.guarded.breaker_openings(), 1);
}

#[tokio::test]
async fn invariant_2_while_open_calls_are_turned_away_and_told_why() {
    let (server, clock) = Server::outage(ErrorKind::Timeout).await;
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
    let (server, clock) = Server::outage(ErrorKind::Connect).await;
    clock.advance(SHORTEST);
    server.backend.script.lock().push_back(Act::Hang);
    let asked = server.asked();
    let ping = redis::cmd("PING");
    let mut probe = Box::pin(server.guarded.request(&ping, SHORTEST));
    assert!(futures_util::poll!(&mut probe).is_pending());
    assert_eq!(
        server.set().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(server.asked(), asked + 1);
    // Invariant 3: when the probe is cancelled, another one may go at once.
    drop(probe);
    server.set().await.unwrap();
    assert_eq!(server.guarded.breaker_state(), BreakerState::Closed);
    server.set().await.unwrap();
}

#[tokio::test]
async fn invariant_2_the_pause_doubles_up_to_the_longest() {
    let (server, clock) = Server::outage(ErrorKind::Connect).await;
    let mut pause = SHORTEST;
    for _ in 0..10 {
        server.will([ErrorKind::Connect]);
        let asked = server.asked();
        // Jitter shortens the pause by up to half.
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
    let (server, _clock) = Server::new();
    server.will([ErrorKind::Auth]);
    server.set().await.unwrap_err();
    let asked = server.asked();
    assert_eq!(server.set().await.unwrap_err().kind(), ErrorKind::Auth);
    assert_eq!(server.asked(), asked);
}

#[tokio::test]
async fn a_read_is_sent_again_after_a_lost_connection_and_a_write_is_not() {
    let (server, _clock) = Server::new();
    server.will([ErrorKind::Connect]);
    let limit = Duration::from_millis(500);
    server
        .guarded
        .request(&redis::cmd("GET"), limit)
        .await
        .unwrap();
    assert_eq!(server.asked(), 2);
    server.will([ErrorKind::Connect]);
    server
        .guarded
        .request(&redis::cmd("SET"), limit)
        .await
        .unwrap_err();
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn a_minute_of_outage_at_a_thousand_calls_a_second_logs_a_few_lines() {
    let (server, clock) = Server::new();
    server.will([ErrorKind::Connect; 60_000]);
    let logs = Logs::up_to(tracing::Level::TRACE);
    for _ in 0..60_000 {
        server.set().await.unwrap_err();
        clock.advance(Duration::from_millis(1));
    }
    server.backend.script.lock().clear();
    clock.advance(LONGEST);
    server.set().await.unwrap();
    let lines = logs.text().lines().count();
    assert!((3..30).contains(&lines), "{lines} lines");
    assert!(
        server.asked() < 60,
        "{} calls reached the server",
        server.asked()
    );
}

#[tokio::test]
async fn invariants_1_and_3_a_call_that_found_no_free_connection_says_nothing_of_the_server() {
    use ErrorKind::{PoolExhausted, Timeout};
    let (server, _clock) = Server::new();
    server.will([PoolExhausted; 3 * RUN as usize]);
    for _ in 0..3 * RUN {
        server.set().await.unwrap_err();
    }
    assert_eq!(server.guarded.breaker_state(), BreakerState::Closed);
    // Nor does it end a run of failures.
    for kind in [Timeout, Timeout, PoolExhausted, Timeout, Timeout, Timeout] {
        server.will([kind]);
        assert_eq!(server.set().await.unwrap_err().kind(), kind);
    }
    assert_eq!(server.guarded.breaker_state(), BreakerState::Open);

    let (server, clock) = Server::outage(Timeout).await;
    clock.advance(LONGEST);
    server.will([PoolExhausted]);
    assert_eq!(server.set().await.unwrap_err().kind(), PoolExhausted);
    assert_eq!(server.guarded.breaker_state(), BreakerState::Open);
    server.set().await.unwrap();
    assert_eq!(server.guarded.breaker_state(), BreakerState::Closed);
}

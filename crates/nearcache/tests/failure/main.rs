//! What happens when Redis fails: the table of `docs/failure.md`, as a test.
//!
//! Each fault is brought about on a real server, and each verb is called under it, async and blocking.
//! The kind of error is what the table says; no call takes longer than its timeout (with a guard's
//! width: what it really takes is measured by the benchmarks); and after the fault the same cache works
//! again by itself.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
mod scene;

use std::time::{Duration, Instant};

use nearcache::ErrorKind::{Auth, Connect, Timeout, Unavailable};
use nearcache::patterns::{Decision, Quota, WhenAway};
use nearcache::{BreakerState, Cache, ErrorKind, Fallback, Raw, blocking};
use nearcache_testkit::{Direction, Fault, Frames, Proxy, Redis};

use crate::face::{Face, run};
use crate::scene::Scene;

/// The timeout of every cache here.
const TIMEOUT: Duration = Duration::from_millis(400);

/// How much longer than its timeout a call may take before the test calls it hanging.
const GUARD: Duration = Duration::from_secs(10);

/// The longest that a cache needs to notice that Redis is back, and that a call takes to which nothing
/// happens.
const BACK: Duration = Duration::from_secs(60);

/// What a verb's call came to: `None` for success.
type Outcome = Option<ErrorKind>;

/// A row of the table: what each verb's call comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    get: Outcome,
    set: Outcome,
    get_many: Outcome,
    delete: Outcome,
    incr: Outcome,
    keys: Outcome,
    clear: Outcome,
    ping: Outcome,
}

impl Row {
    fn outcomes(&mut self) -> [&mut Outcome; 8] {
        let Row {
            get,
            set,
            get_many,
            delete,
            incr,
            keys,
            clear,
            ping,
        } = self;
        [get, set, get_many, delete, incr, keys, clear, ping]
    }

    /// How many calls came to a timeout.
    fn late(&self) -> usize {
        let mut row = *self;
        let outcomes = row.outcomes();
        outcomes
            .iter()
            .filter(|outcome| ***outcome == Some(Timeout))
            .count()
    }

    /// A resolver that takes longer than the timeout to say that there is no such host is no fault of
    /// ours.
    fn forgive_a_slow_resolver(&mut self) {
        for outcome in self.outcomes() {
            *outcome = outcome.map(|kind| if kind == Timeout { Connect } else { kind });
        }
    }

    const fn all(outcome: Outcome) -> Row {
        Row {
            get: outcome,
            set: outcome,
            get_many: outcome,
            delete: outcome,
            incr: outcome,
            keys: outcome,
            clear: outcome,
            ping: outcome,
        }
    }
}

#[test]
fn nobody_listens() {
    hold(Scene::killed(), &Row::all(Some(Connect)));
}

#[test]
fn the_host_has_no_address() {
    hold(Scene::unknown_host(), &Row::all(Some(Connect)));
}

#[test]
fn the_password_is_wrong() {
    hold(Scene::wrong_password(), &Row::all(Some(Auth)));
}

#[test]
fn the_server_is_stopped() {
    hold(Scene::stopped(), &Row::all(Some(Timeout)));
}

#[test]
fn the_server_is_out_of_memory() {
    let row = Row {
        set: Some(Unavailable),
        incr: Some(Unavailable),
        ..Row::all(None)
    };
    hold(Scene::out_of_memory(), &row);
}

#[test]
fn the_server_is_loading_its_data() {
    hold(Scene::loading(), &Row::all(Some(Unavailable)));
}

#[test]
fn the_server_is_a_read_only_replica() {
    let row = Row {
        set: Some(Unavailable),
        delete: Some(Unavailable),
        incr: Some(Unavailable),
        clear: Some(Unavailable),
        ..Row::all(None)
    };
    hold(Scene::read_only_replica(), &row);
}

#[test]
fn the_server_takes_no_more_clients() {
    hold(Scene::full(), &Row::all(Some(Connect)));
}

#[test]
fn the_server_takes_200_ms_for_everything() {
    hold(Scene::slow(), &Row::all(None));
}

#[test]
fn the_server_accepts_and_never_answers() {
    hold(Scene::half_open(), &Row::all(Some(Timeout)));
}

/// A server and a proxy before it, with an async and a blocking cache on that.
fn broken_way() -> (Redis, Proxy, [Face; 2]) {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let url = format!(
        "{}?timeout={}ms&breaker=off",
        proxy.url(),
        TIMEOUT.as_millis()
    );
    let faces = [
        Face::Async(Cache::open(&url).unwrap()),
        Face::Blocking(blocking::Cache::open(&url).unwrap()),
    ];
    (redis, proxy, faces)
}

#[test]
fn garbage_for_a_reply_is_an_error_and_never_the_next_ones() {
    let (_redis, proxy, faces) = broken_way();
    run(async {
        for face in &faces {
            call!(face.set("k", &1)).unwrap();
            for garbage in [
                &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                b"\x00\xff\xfe\r\n",
                b"*3\r\n:1\r\n",
                b"$5\r\nab",
                b":42\r\n",
                b"+PONG\r\n",
                b"*1\r\n$1\r\n7\r\n",
                b"%1\r\n+a\r\n+b\r\n",
                b"$99999999999999999999\r\n",
            ] {
                proxy.set(Fault::replace(Frames::replies().of("GET"), garbage));
                let said = call!(face.get::<u8>("k"));
                // Where the garbage broke the connection, the read was sent again.
                let kinds = [ErrorKind::Protocol, Connect, Timeout];
                match &said {
                    Ok(value) => assert_eq!(*value, Some(1), "{}", garbage.escape_ascii()),
                    Err(error) => assert!(
                        kinds.contains(&error.kind()),
                        "{}: {error}",
                        garbage.escape_ascii()
                    ),
                }
                proxy.heal();
                for n in 0..5 {
                    // A write may meet the broken connection; it is told, and the next one is not.
                    if let Err(error) = call!(face.set("n", &n)) {
                        assert!(kinds.contains(&error.kind()), "{error}");
                        call!(face.set("n", &n)).unwrap();
                    }
                    assert_eq!(
                        call!(face.get::<u8>("k")).unwrap(),
                        Some(1),
                        "{}",
                        garbage.escape_ascii()
                    );
                    assert_eq!(
                        call!(face.get::<u8>("n")).unwrap(),
                        Some(n),
                        "{}",
                        garbage.escape_ascii()
                    );
                }
            }
        }
    });
}

#[test]
fn a_read_that_is_cut_in_mid_reply_is_sent_again_and_a_write_is_told() {
    let (_redis, proxy, faces) = broken_way();
    run(async {
        let large = Raw(vec![7_u8; 10_000_000]);
        // A large value on a busy machine takes its time.
        for face in &faces.map(|face| face.within(BACK)) {
            call!(face.set("large", &large)).unwrap();
            proxy.reset_counts();
            proxy.set(Fault::truncate(
                Frames::replies().longer_than(1_000_000),
                5_000_000,
            ));
            assert!(call!(face.get::<Raw>("large")).unwrap().as_ref() == Some(&large));
            let gets = proxy
                .commands()
                .iter()
                .filter(|command| command.starts_with("GET"))
                .count();
            assert_eq!(gets, 2);

            proxy.reset_counts();
            proxy.set(Fault::truncate(Frames::replies().of("EXEC"), 2));
            assert_eq!(call!(face.incr("n")).unwrap_err().kind(), Connect);
            let counted = proxy
                .commands()
                .iter()
                .filter(|command| command.starts_with("INCRBY"))
                .count();
            assert_eq!(counted, 1);
            proxy.heal();
            assert_eq!(call!(face.counter("n")).unwrap(), Some(1));
            call!(face.delete("n")).unwrap();
        }
    });
}

#[test]
fn a_reply_that_dribbles_costs_no_more_than_the_timeout() {
    let (_redis, proxy, faces) = broken_way();
    run(async {
        let large = Raw(vec![7_u8; 1_000_000]);
        for face in &faces {
            let patient = face.within(BACK);
            call!(patient.set("large", &large)).unwrap();
            // Always something to read, and never the end of it.
            proxy.set(Fault::Limit {
                direction: Direction::ToClient,
                bytes_per_second: 20_000,
            });
            let outcome = timed(async {
                call!(face.get::<Raw>("large"))
                    .err()
                    .map(|error| error.kind())
            })
            .await;
            assert_eq!(outcome, Some(Timeout));
            proxy.heal();
            assert!(call!(patient.get::<Raw>("large")).unwrap().as_ref() == Some(&large));
        }
    });
}

/// Brings the fault about, calls every verb under it, ends it, and sees the same caches work again.
fn hold(mut scene: Scene, expected: &Row) {
    run(async {
        let faces = scene.open("breaker=off");
        let guarded = scene.open("breaker=on");
        if scene.begins_connected() {
            for face in faces.iter().chain(&guarded) {
                call!(face.set("present", &1)).unwrap();
            }
        }
        scene.begin();
        for face in &faces {
            scene.sent();
            let mut found = row(face).await;
            let sent = scene.sent();
            for verb in ["GET", "SET", "MGET", "INCRBY", "PING"] {
                let times = sent
                    .iter()
                    .filter(|command| command.split(' ').next() == Some(verb))
                    .count();
                assert!(times <= 1, "{verb} was sent {times} times: {sent:?}");
            }
            // A machine that stands still for as long as the timeout makes one of anything. It does not
            // do so twice.
            if found != *expected && found.late() > expected.late() {
                found = row(face).await;
            }
            if !scene.mends() {
                found.forgive_a_slow_resolver();
            }
            assert_eq!(found, *expected, "{face:?}");
            // A check writes, as `incr` does. It is never an error.
            for when_away in [WhenAway::Allow, WhenAway::Deny, WhenAway::Local] {
                let decision = limited(face, when_away).await;
                let away = expected.incr.is_some();
                assert!(decision.is_away() || !away, "{face:?}: {decision:?}");
                let allowed = !decision.is_away() || when_away != WhenAway::Deny;
                assert_eq!(decision.is_allowed(), allowed, "{face:?}: {decision:?}");
            }
        }
        // With the breaker on, calls stay as short, and the server is left alone.
        for face in &guarded {
            for _ in 0..8 {
                timed(async { call!(face.get::<u8>("k")).err().map(|error| error.kind()) }).await;
            }
        }
        scene.end();
        if !scene.mends() {
            return;
        }
        for face in faces.iter().chain(&guarded) {
            let since = Instant::now();
            while let Err(error) = call!(face.set("k", &2)) {
                assert!(since.elapsed() < BACK, "{face:?} still fails: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), Some(2), "{face:?}");
            assert_eq!(ask!(face.stats()).breaker, BreakerState::Closed);
        }
    });
}

async fn limited(face: &Face, when_away: WhenAway) -> Decision {
    let since = Instant::now();
    let quota = Quota::per_day(1_000);
    let checked = call!(
        face.rate_limiter("api", quota)
            .when_away(when_away)
            .check("a")
    );
    let took = since.elapsed();
    assert!(took < 2 * TIMEOUT + GUARD, "a check took {took:?}");
    checked.expect("a decision")
}

async fn row(face: &Face) -> Row {
    macro_rules! outcome {
        ($($operation:tt)*) => {
            timed(async { call!(face.$($operation)*).err().map(|error| error.kind()) }).await
        };
    }
    Row {
        get: outcome!(get::<u8>("k")),
        set: outcome!(set("k", &1)),
        get_many: outcome!(get_many::<u8>(["k", "l"])),
        delete: outcome!(delete("k")),
        incr: outcome!(incr("n")),
        keys: timed(async {
            match face {
                Face::Async(cache) => cache.keys().next().await.and_then(Result::err),
                Face::Blocking(cache) => cache.keys().next().and_then(Result::err),
            }
            .map(|error| error.kind())
        })
        .await,
        clear: outcome!(clear()),
        ping: outcome!(ping()),
    }
}

/// One call, which does not hang.
async fn timed(call: impl Future<Output = Outcome>) -> Outcome {
    let since = Instant::now();
    let outcome = call.await;
    let took = since.elapsed();
    // A clear is several round trips, each with the timeout to itself.
    assert!(took < 2 * TIMEOUT + GUARD, "a call took {took:?}");
    outcome
}

#[test]
fn reads_fall_back_and_writes_are_told() {
    let mut redis = Redis::start();
    redis.kill();
    let url = redis.url();
    run(async {
        let build = |fallback: Fallback| {
            let cache = Cache::builder(&url)
                .on_unavailable(fallback.clone())
                .build()
                .unwrap();
            let sync = blocking::Cache::builder(&url)
                .on_unavailable(fallback)
                .build()
                .unwrap();
            [Face::Async(cache), Face::Blocking(sync)]
        };
        for face in build(Fallback::Miss) {
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), None);
            assert_eq!(
                call!(face.get_many::<u8>(["a", "b"])).unwrap(),
                [None, None]
            );
            assert!(call!(face.set("k", &1)).is_err());
            assert!(call!(face.delete("k")).is_err());
            assert!(call!(face.ttl("k")).is_err());
            assert!(call!(face.contains("k")).is_err());
            assert_eq!(ask!(face.stats()).fallbacks, 3);
        }
        let local = Fallback::call(|outage| {
            assert!(outage.error.kind() == Connect || outage.error.kind() == Unavailable);
            (*outage.key == "known").then(|| b"7".to_vec())
        });
        for face in build(local) {
            assert_eq!(call!(face.get::<u8>("known")).unwrap(), Some(7));
            assert_eq!(
                call!(face.get_many::<u8>(["x", "known"])).unwrap(),
                [None, Some(7)]
            );
        }
        for face in build(Fallback::Error) {
            assert_eq!(call!(face.get::<u8>("k")).unwrap_err().kind(), Connect);
        }
    });
}

#[test]
fn a_fallback_does_not_hide_what_the_caller_did_wrong() {
    let redis = Redis::start();
    redis.inline("RPUSH list x");
    run(async {
        let cache = Cache::builder(&redis.patient_url())
            .on_unavailable(Fallback::Miss)
            .build()
            .unwrap();
        // Another program's list is no fault of the caller's.
        assert_eq!(cache.get::<u8>("list").await.unwrap(), None);
        assert_eq!(redis.inline("LLEN list"), ":1\r\n");
        assert_eq!(
            cache.get::<u8>("").await.unwrap_err().kind(),
            ErrorKind::InvalidKey
        );
        for _ in 0..20 {
            let _ = cache.get::<u8>("list").await;
        }
        assert_eq!(cache.stats().breaker, BreakerState::Closed);
    });
}

#[test]
fn the_timeout_can_be_set_for_one_call() {
    let redis = Redis::start();
    run(async {
        let cache = Cache::open(&format!("{}?timeout=20s&breaker=off", redis.url())).unwrap();
        let sync =
            blocking::Cache::open(&format!("{}?timeout=20s&breaker=off", redis.url())).unwrap();
        for face in [Face::Async(cache), Face::Blocking(sync)] {
            call!(face.ping()).unwrap();
            redis.freeze();
            let short = match &face {
                Face::Async(cache) => cache.within(Duration::from_millis(30)).get::<u8>("k").await,
                Face::Blocking(cache) => {
                    cache.within(Duration::from_millis(30)).get::<u8>("k").run()
                }
            };
            assert_eq!(short.unwrap_err().kind(), Timeout);
            redis.thaw();
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), None);
            let none = match &face {
                Face::Async(cache) => cache.within(Duration::ZERO).get::<u8>("k").await,
                Face::Blocking(cache) => cache.within(Duration::ZERO).get::<u8>("k").run(),
            };
            assert_eq!(none.unwrap_err().kind(), ErrorKind::InvalidConfig);
        }
    });
}

#[test]
fn a_close_waits_for_the_calls_under_way() {
    let redis = Redis::start();
    run(async {
        let cache = Cache::connect(&format!("{}?timeout=20s", redis.url()))
            .await
            .unwrap();
        redis.inline("CLIENT PAUSE 10000 WRITE");
        let writer = cache.clone();
        let write = tokio::spawn(async move { writer.set("k", &Raw(b"last words")).await });
        let closer = cache.clone();
        // The write is on its way before the cache is closed.
        while redis.inline("CLIENT LIST").matches("cmd=set").count() == 0 {
            tokio::task::yield_now().await;
        }
        let close = tokio::spawn(async move { closer.close().await });
        while cache.is_open() {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            cache.get::<u8>("k").await.unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert!(!close.is_finished() && !write.is_finished());
        redis.inline("CLIENT UNPAUSE");
        write.await.unwrap().unwrap();
        close.await.unwrap().unwrap();
        assert!(redis.inline("GET k").contains("last words"));
    });
}

/// A read that extends is a read first.
#[test]
fn where_nothing_can_be_written_a_read_that_extends_reads() {
    let (redis, _proxy, faces) = broken_way();
    run(async {
        for face in &faces {
            redis.inline("REPLICAOF NO ONE");
            redis.inline("CONFIG SET maxmemory 0");
            call!(face.set("k", &1).ttl("1h")).unwrap();
            call!(face.set("tagged", &2).ttl("1h").tags(["t"])).unwrap();
            for command in [
                "REPLICAOF 127.0.0.1 1",
                "CONFIG SET maxmemory 1kb maxmemory-policy noeviction",
            ] {
                redis.inline(command);
                for (key, value) in [("k", 1), ("tagged", 2)] {
                    let found = call!(face.get::<u8>(key).extend("2h"));
                    assert_eq!(found.unwrap(), Some(value), "{command}");
                    let found = call!(face.get_many::<u8>([key, "x"]).extend("2h"));
                    assert_eq!(found.unwrap(), [Some(value), None], "{command}");
                }
                redis.inline("REPLICAOF NO ONE");
                redis.inline("CONFIG SET maxmemory 0");
            }
        }
    });
}

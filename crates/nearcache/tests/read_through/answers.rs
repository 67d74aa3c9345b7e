//! Whatever Redis answers, the loader answers: a server that says what it is told, for every answer that servers,
//! proxies and managed services are known to give, to each command that `remember` sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nearcache::hooks::MetricsCollector;
use nearcache::{Builder, Cache, ErrorKind, Fallback, blocking};
use nearcache_testkit::{Impostor, Redis, random_prefix};

use crate::face::{Face, run};
use crate::scene::{Source, elsewhere};

const ANSWERS: [&str; 44] = [
    "-NOPERM User app has no permissions to run the 'evalsha' command",
    "-NOPERM this user has no permissions to run the 'get' command or its subcommand",
    "-NOPERM No permissions to access a key",
    "-NOAUTH Authentication required.",
    "-WRONGPASS invalid username-password pair or user is disabled.",
    "-MOVED 3999 127.0.0.1:6381",
    "-ASK 3999 127.0.0.1:6381",
    "-CROSSSLOT Keys in request don't hash to the same slot",
    "-CLUSTERDOWN Hash slot not served",
    "-TRYAGAIN Multiple keys request during rehashing of slot",
    "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "-LOADING Redis is loading the dataset in memory",
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "-READONLY You can't write against a read only replica.",
    "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "-OOM command not allowed when used memory > 'maxmemory'.",
    "-NOREPLICAS Not enough good replicas to write.",
    "-ERR Error running script (call to f_9a1): @user_script:7: @user_script: 7: -OOM command not allowed when used memory > 'maxmemory'.",
    "-ERR Error running script (call to f_9a1): @user_script:7: @user_script: 7: -READONLY You can't write against a read only replica.",
    "-ERR Error running script (call to f_9a1): @user_script:7: @user_script: 7: -MISCONF Redis is configured to save RDB snapshots",
    "-ERR Error running script (call to f_9a1): @user_script:7: @user_script: 7: -NOREPLICAS Not enough good replicas to write.",
    "-ERR Error running script (call to f_9a1): @user_script:1: WRONGTYPE Operation against a key holding the wrong kind of value",
    "-WRONGTYPE Operation against a key holding the wrong kind of value",
    "-NOSCRIPT No matching script. Please use EVAL.",
    "-EXECABORT Transaction discarded because of previous errors.",
    "-ERR unknown command 'GET', with args beginning with: 'k'",
    "-ERR unknown command `EVALSHA`, with args beginning with: `abc`",
    "-ERR max daily request limit exceeded. Limit: 10000, Usage: 10001. See https://example.com/redis for details",
    "-ERR max number of clients reached",
    "-ERR value is not an integer or out of range",
    "-ERR increment or decrement would overflow",
    "-ERR Connection timed out",
    "-no upstream host",
    "-upstream failure",
    "-UNBLOCKED client unblocked via CLIENT UNBLOCK",
    "-",
    "+OK",
    "+QUEUED",
    ":7",
    "*0",
    "*-1",
    "*2\r\n:1\r\n:2",
    "hello",
    "%1\r\n+a\r\n+b",
];

/// The commands whose replies say it; none: all replies, those to the greeting of a new connection included.
const TO: [Option<&str>; 5] = [
    None,
    Some("GET"),
    Some("MGET"),
    Some("EVALSHA"),
    Some("EVAL"),
];

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A cache with a connection of its own.
fn open<M>(server: &Impostor, build: impl Fn(&str) -> Builder<M>) -> Builder<M> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let url = format!(
        "{}&timeout=300ms&breaker=off&client_name=answers{number}&prefix={}",
        server.url(),
        random_prefix()
    );
    build(&url)
}

fn faces(server: &Impostor, fallback: &Fallback) -> [Face; 2] {
    let on = |fallback: &Fallback| fallback.clone();
    let asynchronous = open(server, Cache::builder)
        .on_unavailable(on(fallback))
        .build();
    let blocking = open(server, blocking::Cache::builder)
        .on_unavailable(on(fallback))
        .build();
    [
        Face::Async(asynchronous.unwrap()),
        Face::Blocking(blocking.unwrap()),
    ]
}

#[test]
fn whatever_redis_answers_the_loader_answers() {
    let redis = Redis::start();
    let server = Impostor::start(&redis.address());
    run(async {
        for face in faces(&server, &Fallback::Error) {
            for answer in ANSWERS {
                for to in TO {
                    server.says(format!("{answer}\r\n"), to);
                    let key = format!("{answer}{to:?}");
                    answers(&face, &key, &format!("{answer} to {to:?}")).await;
                }
            }
            server.is_honest();
            // It is the same cache that works again.
            call!(face.set("k", &1)).unwrap();
            let source = Source::new();
            assert_eq!(remember!(face, "k", source.gives(2)).await.unwrap(), 1);
            let stats = ask!(face.stats());
            assert!(stats.degraded > 0, "{stats:?}");
        }
    });
}

/// Each verb with a loader gives what its loader gives.
async fn answers(face: &Face, key: &str, what: &str) {
    let source = Source::new();
    let found = remember!(face, key.to_owned(), source.gives(1)).await;
    assert_eq!(found.expect(what), 1, "{what}");
    let found =
        remember!(face, key.to_owned(), source.gives(1); .tags(["t"]).stale_for("1m")).await;
    assert_eq!(found.expect(what), 1, "{what}");
    let brought = source.gives(nearcache::Loaded::new(1).tags(["u"]));
    let found = remember!(face, format!("{key}b"), brought).await;
    assert_eq!(found.expect(what), 1, "{what}");
    let found = refresh!(face, key.to_owned(), source.gives(2)).await;
    assert_eq!(found.expect(what), 2, "{what}");
    let load = |keys: Vec<String>| -> Result<Vec<(String, u8)>, std::io::Error> {
        Ok(keys.into_iter().map(|key| (key, 3)).collect())
    };
    let keys = [format!("{key}1"), format!("{key}2")];
    let found = match face.clone() {
        Face::Async(cache) => {
            cache
                .remember_many(keys, move |keys| async move { load(keys) })
                .await
        }
        Face::Blocking(cache) => elsewhere(move || cache.remember_many(keys, load).run()).await,
    };
    assert_eq!(found.expect(what), [Some(3), Some(3)], "{what}");
}

#[test]
fn hooks_are_told_what_a_call_went_on_without() {
    let redis = Redis::start();
    let server = Impostor::start(&redis.address());
    run(async {
        let metrics = Arc::new(MetricsCollector::new());
        let asynchronous = open(&server, Cache::builder)
            .hook(Arc::clone(&metrics))
            .build();
        let blocking = open(&server, blocking::Cache::builder)
            .hook(Arc::clone(&metrics))
            .build();
        for face in [
            Face::Async(asynchronous.unwrap()),
            Face::Blocking(blocking.unwrap()),
        ] {
            for (answer, to) in [("-NOPERM no", "EVALSHA"), ("-WRONGTYPE a list", "GET")] {
                server.says(format!("{answer}\r\n"), Some(to));
                let source = Source::new();
                assert_eq!(
                    remember!(face, to.to_owned(), source.gives(1))
                        .await
                        .unwrap(),
                    1
                );
                server.is_honest();
            }
        }
        assert_eq!(metrics.count("remember"), 4);
        assert_eq!(metrics.total_errors(), 0);
        assert_eq!(metrics.degraded_count(ErrorKind::Denied), 2);
        assert_eq!(metrics.degraded_count(ErrorKind::WrongType), 2);
        assert_eq!(metrics.degraded_count(ErrorKind::Timeout), 0);
    });
}

#[test]
fn the_fallback_answers_for_the_same() {
    let redis = Redis::start();
    let server = Impostor::start(&redis.address());
    run(async {
        let fallback = Fallback::call(|_| Some(b"7".to_vec()));
        for face in faces(&server, &fallback) {
            for answer in ANSWERS.iter().filter(|answer| answer.starts_with('-')) {
                server.says(format!("{answer}\r\n"), None);
                let found = call!(face.get::<u8>("k"));
                assert_eq!(found.expect(answer), Some(7), "{answer}");
                let found = call!(face.get_many::<u8>(["k", "l"]));
                assert_eq!(found.expect(answer), [Some(7), Some(7)], "{answer}");
            }
        }
    });
}

#[test]
fn what_the_caller_did_wrong_is_an_error() {
    run(async {
        for face in [
            Face::Async(Cache::open("memory://").unwrap()),
            Face::Blocking(blocking::Cache::open("memory://").unwrap()),
        ] {
            let source = Source::new();
            let kind = |found: nearcache::Result<u8>| found.unwrap_err().kind();
            let found = remember!(face, "", source.gives(1)).await;
            assert_eq!(kind(found), ErrorKind::InvalidKey);
            let found = remember!(face, "k", source.gives(1); .ttl("soon")).await;
            assert_eq!(kind(found), ErrorKind::InvalidTtl);
            let found = remember!(face, "k", source.gives(1); .tags([""])).await;
            assert_eq!(kind(found), ErrorKind::InvalidKey);
            let found = remember!(face, "k", source.gives(1); .early_refresh(-1.0)).await;
            assert_eq!(kind(found), ErrorKind::InvalidConfig);
            let face = face.within(Duration::ZERO);
            let found = remember!(face, "k", source.gives(1)).await;
            assert_eq!(kind(found), ErrorKind::InvalidConfig);
            assert_eq!(source.loads(), 0);
        }
    });
}

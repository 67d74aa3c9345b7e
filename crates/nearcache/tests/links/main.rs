//! What a connection leads to, and when it is replaced: another server behind the same name, a server of another kind,
//! a connection that has died.

#[macro_use]
#[path = "../support/face.rs"]
mod face;
mod late;
#[cfg(feature = "tls")]
mod secure;
mod way;

use nearcache::{Cache, ErrorKind, blocking};
use nearcache_testkit::{Redis, eventually};

use crate::face::{Face, run};
use crate::way::Way;

/// An async and a blocking cache.
fn faces(url: &str) -> [Face; 2] {
    [
        Face::Async(Cache::open(url).unwrap()),
        Face::Blocking(blocking::Cache::open(url).unwrap()),
    ]
}

/// One name, and a failover behind it: the old primary goes on as a replica, and closes no connection.
#[test]
fn after_a_failover_behind_one_name_writes_go_to_the_new_primary() {
    let (old, new) = (Redis::start(), Redis::start());
    run(async {
        for script in [false, true] {
            let way = Way::to(old.port());
            for face in faces(&format!("{}?timeout=20s&breaker=off", way.url())) {
                old.inline("REPLICAOF NO ONE");
                way.lead_to(old.port());
                call!(face.set("k", &1)).unwrap();
                old.inline(&format!("REPLICAOF 127.0.0.1 {}", new.port()));
                way.lead_to(new.port());
                let outcome = if script {
                    call!(face.incr("n")).map(drop)
                } else {
                    call!(face.set("k", &2))
                };
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                // The call after the one that found out.
                call!(face.set("k", &3)).unwrap();
                assert_eq!(new.inline("GET k"), "3", "{face:?}");
            }
        }
        old.inline("REPLICAOF NO ONE");
    });
}

/// A replica for good: it is read from, and each write finds out the same.
#[test]
fn a_cache_on_a_replica_does_not_connect_for_each_write() {
    let primary = Redis::start_with(&["--repl-diskless-sync-delay", "0"]);
    let replica = Redis::start();
    replica.inline(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    eventually("the replica follows", || {
        replica
            .inline("INFO replication")
            .contains("master_link_status:up")
    });
    run(async {
        for face in faces(&format!("{}?timeout=20s&breaker=off", replica.url())) {
            let begun = std::time::Instant::now();
            for _ in 0..200 {
                assert!(call!(face.incr("n")).is_err());
                call!(face.get::<u8>("n")).unwrap();
            }
            let most = 2 + begun.elapsed().as_secs();
            let stats = ask!(face.stats());
            assert!(stats.connects <= most, "{stats:?}");
        }
    });
}

/// Each verb's error on both faces, and that of a connection of the caller's own.
async fn each_says(url: &str, what: &str) {
    for face in faces(url) {
        let connection = match &face {
            Face::Async(cache) => cache.connection().await.map(drop),
            Face::Blocking(cache) => cache.connection().run().map(drop),
        };
        for outcome in [
            call!(face.ping()),
            call!(face.get::<u8>("k")).map(drop),
            call!(face.set("k", &1)),
            call!(face.delete("k")).map(drop),
            call!(face.incr("n")).map(drop),
            connection,
        ] {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            assert!(error.to_string().contains(what), "{error}");
            assert!(!error.is_deferred(), "{error}");
        }
    }
}

#[test]
fn a_cluster_node_and_a_sentinel_say_what_to_use_instead() {
    let cluster = Redis::start_with(&["--cluster-enabled", "yes"]);
    let sentinel = Redis::start_sentinel();
    run(async {
        let says = "this is a node of a Redis Cluster, so write redis-cluster:// in the URL";
        for url in [cluster.url(), cluster.unix_url()] {
            each_says(&url, says).await;
            // A database is refused there, which is not the point.
            let db = if url.contains("unix") { "?db=1" } else { "/1" };
            each_says(&format!("{url}{db}"), says).await;
        }
        let says = "this is a Sentinel; give the address of the primary";
        for options in ["", "?protocol=2", "/1"] {
            each_says(&format!("{}{options}", sentinel.url()), says).await;
        }
    });
}

/// One connection, and a thread that has it for longer than another one waits.
#[test]
fn a_pool_without_a_free_connection_is_an_error_of_its_own() {
    let redis = Redis::start();
    let url = format!("{}?pool_size=1&timeout=60s", redis.url());
    let cache = blocking::Cache::builder(&url)
        .on_unavailable(nearcache::Fallback::Miss)
        .build()
        .unwrap();
    cache.set("k", &1).run().unwrap();
    redis.inline("CLIENT PAUSE 60000 WRITE");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| cache.set("k", &2).run());
        eventually("the connection is in use", || {
            redis.inline("CLIENT LIST").contains("cmd=set")
        });
        let short = cache.within(std::time::Duration::from_millis(20));
        for _ in 0..10 {
            let error = short.ping().run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PoolExhausted, "{error}");
            assert_eq!(error.kind().as_str(), "pool_exhausted");
            assert!(error.to_string().contains("pool_size"), "{error}");
        }
        assert_eq!(short.get::<u8>("k").run().unwrap(), None, "a fallback");
        assert!(short.delete("other").run().unwrap_err().is_deferred());
        let stats = cache.stats();
        assert_eq!(stats.breaker, nearcache::BreakerState::Closed, "{stats:?}");
        redis.inline("CLIENT UNPAUSE");
        writer.join().unwrap().unwrap();
    });
    assert_eq!(cache.get::<u8>("k").run().unwrap(), Some(2));
}

/// A server that accepts and hangs up, and calls as fast as they come.
#[test]
fn without_a_breaker_a_server_that_is_away_is_not_run_into_by_every_call() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}?breaker=off", listener.local_addr().unwrap());
    let tries = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counting = std::sync::Arc::clone(&tries);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            drop(stream);
        }
    });
    run(async {
        for face in faces(&url) {
            let begun = std::time::Instant::now();
            let before = tries.load(std::sync::atomic::Ordering::Relaxed);
            for n in 0..1_000 {
                let error = if n % 100 == 99 {
                    match &face {
                        Face::Async(cache) => cache.connection().await.map(drop),
                        Face::Blocking(cache) => cache.connection().run().map(drop),
                    }
                    .unwrap_err()
                } else {
                    call!(face.get::<u8>("k")).unwrap_err()
                };
                assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
            }
            // At most ten a second, and the first ones.
            let most = 25 + begun.elapsed().as_millis() as u64 / 100;
            let tries = tries.load(std::sync::atomic::Ordering::Relaxed) - before;
            assert!(tries <= most, "{tries} tries: {face:?}");
        }
    });
}

/// What the greeting asks beside the password is no condition.
#[test]
fn a_user_who_may_only_read_and_write_has_a_cache() {
    let redis = Redis::start();
    redis.inline("ACL SETUSER app on >pass ~* +@all -client -info -hello");
    redis.inline("ACL SETUSER least on >pass ~* +get +set +multi +exec +unlink +ping");
    run(async {
        for user in ["app", "least"] {
            for protocol in ["", "&protocol=2", "&protocol=3"] {
                let url = format!(
                    "redis://{user}:pass@{}?client_name=named{protocol}",
                    redis.address()
                );
                for face in faces(&url) {
                    call!(face.ping()).unwrap();
                    call!(face.set("k", &1)).unwrap();
                    assert_eq!(call!(face.get::<u8>("k")).unwrap(), Some(1));
                }
            }
        }
        // Without users, where everybody is the one who may not. HELLO is unknown to older servers, and denied here.
        redis.inline("ACL SETUSER default -hello -client -info");
        for face in faces(&format!("{}?timeout=20s&client_name=named", redis.url())) {
            call!(face.set("k", &2)).unwrap();
        }
        let url = format!("{}?client_name=my%20service", redis.url());
        let error = Cache::open(&url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    });
}

/// Users without transactions, without scripts, and without both: what can be done is done.
#[test]
fn a_user_without_transactions_or_scripts_has_a_cache() {
    let redis = Redis::start();
    redis.inline("ACL SETUSER no-multi on >pass ~* +@all -multi -exec");
    redis.inline("ACL SETUSER no-exec on >pass ~* +@all -exec");
    redis.inline("ACL SETUSER no-scripts on >pass ~* +@all -@scripting");
    redis.inline("ACL SETUSER neither on >pass ~* +@all -@scripting -multi -exec");
    run(async {
        for user in ["no-multi", "no-scripts", "neither"] {
            let url = format!(
                "redis://{user}:pass@{}?prefix={user}&client_name={user}",
                redis.address()
            );
            for face in faces(&url) {
                call!(face.clear()).unwrap();
                call!(face.set("k", &1)).unwrap();
                call!(face.set("tagged", &1).tags(["t"])).unwrap_or_else(|error| {
                    // A tag's version is made by a script.
                    assert_eq!(error.kind(), ErrorKind::Denied, "{user}: {error}");
                    assert!(error.to_string().contains("eval"), "{error}");
                    assert_ne!(user, "no-multi");
                });
                assert_eq!(call!(face.get::<u8>("k")).unwrap(), Some(1), "{user}");
                assert!(call!(face.add("new", &1)).unwrap(), "{user}");
                assert!(!call!(face.add("new", &2)).unwrap(), "{user}");
                assert!(call!(face.replace("new", &3)).unwrap(), "{user}");
                assert_eq!(call!(face.incr("n")).unwrap(), 1, "{user}");
                assert_eq!(call!(face.incr("n").ttl("1m")).unwrap(), 2, "{user}");
                call!(face.set_many([("a", 1), ("b", 2)])).unwrap();
                assert_eq!(call!(face.take::<u8>("a")).unwrap(), Some(1), "{user}");
                assert!(call!(face.touch("b").ttl("1m")).unwrap(), "{user}");
                assert!(call!(face.expire("b", "2m")).unwrap(), "{user}");
                assert!(call!(face.contains("b")).unwrap(), "{user}");
                assert!(call!(face.ttl("b")).unwrap().duration().is_some(), "{user}");
                assert!(call!(face.persist("b")).unwrap(), "{user}");
                assert!(call!(face.delete("b")).unwrap(), "{user}");
                assert_eq!(
                    call!(face.get::<u8>("k").extend("1m")).unwrap(),
                    Some(1),
                    "{user}"
                );
                // What cannot be marked stale is invalidated.
                call!(face.mark_stale("k")).unwrap();
                assert_eq!(call!(face.get::<u8>("k")).unwrap(), None, "{user}");
                call!(face.mark_tag_stale("t")).unwrap();
                assert_eq!(call!(face.get::<u8>("tagged")).unwrap(), None, "{user}");
                call!(face.set("k", &1)).unwrap();
                call!(face.set("k", &2).keep_ttl()).unwrap();
                call!(face.invalidate_tag("t")).unwrap();
                // The loader runs; without scripts its value is not stored.
                let load = || Ok::<_, std::io::Error>(7);
                let loaded = match &face {
                    Face::Async(cache) => cache.remember("l", move || async move { load() }).await,
                    Face::Blocking(cache) => cache.remember("l", load).run(),
                };
                assert_eq!(loaded.unwrap(), 7, "{user}");
                let stored = call!(face.get::<u8>("l")).unwrap();
                assert_eq!(stored, (user == "no-multi").then_some(7), "{user}");
                assert!(call!(face.clear()).unwrap() > 0, "{user}");
            }
        }
        // Begun and never ended: the connection is of no use to the next call.
        for face in faces(&format!(
            "redis://no-exec:pass@{}?client_name=ne",
            redis.address()
        )) {
            let error = call!(face.set("k", &1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.to_string().contains("exec"), "{error}");
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), None);
        }
    });
}

/// As a server of Redis 6 answers a user who may not call `HELLO`.
#[test]
fn a_denied_hello_is_no_failure() {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines();
                while let Some(Ok(line)) = lines.next() {
                    let reply = match line.as_str() {
                        "PING" => "+PONG\r\n",
                        "HELLO" | "CLIENT" | "INFO" => "-NOPERM this user has no permissions\r\n",
                        _ => continue,
                    };
                    if (&stream).write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    run(async {
        for face in faces(&url) {
            call!(face.ping()).unwrap();
        }
    });
}

//! Connections, against servers of the tests' own: made late, shared, refused, lost, slow.

use std::sync::LazyLock;
use std::time::Duration;

use nearcache::{Cache, Error, ErrorKind, blocking};
use nearcache_testkit::{Port, Redis, eventually};
use redis::AsyncCommands;

/// How many connections of this name the server has.
fn connections(redis: &Redis, name: &str) -> usize {
    redis
        .inline("CLIENT LIST")
        .lines()
        .filter(|line| line.contains(&format!(" name={name} ")))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_is_made_while_the_server_is_away_and_works_once_it_is_there() {
    let mut redis = Redis::start();
    redis.kill();
    let cache = Cache::open(&redis.patient_url()).unwrap();
    let sync = blocking::Cache::open(&redis.patient_url()).unwrap();
    for error in [
        cache.get::<u8>("k").await.unwrap_err(),
        sync.get::<u8>("k").run().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        assert!(
            error.host().is_some_and(|host| host == redis.address()),
            "{error}"
        );
        assert!(error.to_string().contains("cannot reach Redis"), "{error}");
    }
    assert_eq!(
        Cache::connect(&redis.patient_url())
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Connect
    );
    assert_eq!(
        blocking::Cache::connect(&redis.patient_url())
            .unwrap_err()
            .kind(),
        ErrorKind::Connect
    );

    redis.restart();
    cache.set("k", &1).await.unwrap();
    assert_eq!(sync.get::<u8>("k").run().unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_goes_on_by_itself_after_the_server_restarts() {
    let mut redis = Redis::start();
    let cache = Cache::connect(&redis.patient_url()).await.unwrap();
    let sync = blocking::Cache::connect(&redis.patient_url()).unwrap();
    for _ in 0..3 {
        redis.restart();
        let fails = |error: Error| {
            let kinds = [ErrorKind::Connect, ErrorKind::Timeout];
            assert!(kinds.contains(&error.kind()), "{error}");
        };
        // The call that finds out may fail; the one after it does not.
        cache.set("k", &1).await.unwrap_or_else(fails);
        cache.set("k", &1).await.unwrap();
        sync.set("k", &2).run().unwrap_or_else(fails);
        sync.set("k", &2).run().unwrap();
        assert_eq!(cache.get::<u8>("k").await.unwrap(), Some(2));
    }
    let stats = cache.stats();
    assert!(stats.connects >= 4 && stats.losses >= 3, "{stats:?}");
}

#[test]
fn one_cache_serves_runtimes_at_once_and_one_after_another() {
    static REDIS: LazyLock<Redis> = LazyLock::new(Redis::start);
    static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::open(&REDIS.patient_url()).unwrap());
    let on_a_runtime = |name: String| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            for n in 0..200 {
                CACHE.set(&name, &n).await.unwrap();
                assert_eq!(CACHE.get::<i32>(&name).await.unwrap(), Some(n));
            }
        });
    };
    for round in 0..3 {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || on_a_runtime(format!("k{round}:{thread}")));
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_targets_share_a_connection_until_the_last_is_gone() {
    let redis = Redis::start();
    let url = format!("{}?timeout=20s&client_name=shared", redis.url());
    let first = Cache::connect(&url).await.unwrap();
    let second = Cache::builder(&url).prefix("other").build().unwrap();
    second.ping().await.unwrap();
    let elsewhere = Cache::connect(&format!("{url}&db=1")).await.unwrap();
    assert_eq!(
        connections(&redis, "shared"),
        2,
        "{}",
        redis.inline("CLIENT LIST")
    );

    first.close().await.unwrap();
    second.set("k", &1).await.unwrap();
    drop(elsewhere);
    eventually("the unused connection is closed", || {
        connections(&redis, "shared") == 1
    });
    second.close().await.unwrap();
    eventually("closing the last one closes the connection", || {
        connections(&redis, "shared") == 0
    });
    drop((first, second));

    let sync = blocking::Cache::connect(&url).unwrap();
    let other = blocking::Cache::connect(&url).unwrap();
    assert_eq!(connections(&redis, "shared"), 1);
    sync.close().run().unwrap();
    other.set("k", &1).run().unwrap();
    drop(other);
    eventually("the last one takes the pool along", || {
        connections(&redis, "shared") == 0
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_password_is_an_auth_error_that_does_not_show_it() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    let address = redis.address();
    for protocol in ["", "?protocol=2", "?protocol=3"] {
        for user in ["", ":hunter2@", "nobody:hunter2@"] {
            let url = format!("redis://{user}{address}{protocol}");
            let errors = [
                Cache::connect(&url).await.unwrap_err(),
                blocking::Cache::connect(&url).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Auth, "{url}: {error}");
                let text = format!("{error} {error:?}");
                assert!(
                    !text.contains("hunter2") && text.contains(&address),
                    "{text}"
                );
            }
        }
        for user in [":s3cret@", "default:s3cret@"] {
            let url = format!("redis://{user}{address}{protocol}");
            Cache::connect(&url).await.unwrap();
            blocking::Cache::connect(&url).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_given_to_a_server_without_one_is_an_auth_error() {
    let redis = Redis::start();
    // (In RESP3 such a server takes any.)
    let url = format!("redis://:hunter2@{}?protocol=2", redis.address());
    for error in [
        Cache::connect(&url).await.unwrap_err(),
        blocking::Cache::connect(&url).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_hello_is_spoken_to_in_resp2() {
    let redis = Redis::start_with(&["--rename-command", "HELLO", ""]);
    let cache = Cache::connect(&redis.patient_url()).await.unwrap();
    cache.set("k", &1).await.unwrap();
    let sync = blocking::Cache::connect(&redis.patient_url()).unwrap();
    assert_eq!(sync.get::<u8>("k").run().unwrap(), Some(1));
    assert!(
        Cache::connect(&format!("{}?protocol=3", redis.url()))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_hello_takes_the_password_and_never_shows_it() {
    let redis = Redis::start_with(&["--rename-command", "HELLO", "", "--requirepass", "s3cret"]);
    let url = format!("redis://:s3cret@{}", redis.address());
    Cache::connect(&url).await.unwrap();
    blocking::Cache::connect(&url).unwrap();
    // Asked for RESP3, such a server quotes the greeting, with the password in it.
    let resp3 = format!("{url}?protocol=3");
    let errors = [
        Cache::connect(&resp3).await.unwrap_err(),
        blocking::Cache::connect(&resp3).unwrap_err(),
    ];
    for error in errors {
        let mut said = format!("{error} {error:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            said += &format!(" {cause} {cause:?}");
            source = cause.source();
        }
        assert!(!said.contains("s3cret"), "{said}");
        assert_eq!(error.kind(), ErrorKind::Server, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_there_is_an_error_that_names_it() {
    let redis = Redis::start();
    let url = format!("{}/99", redis.url());
    for error in [
        Cache::connect(&url).await.unwrap_err(),
        blocking::Cache::connect(&url).unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("DB index is out of range"),
            "{error}"
        );
    }
    assert_eq!(
        Cache::open("memory:///99").unwrap_err().kind(),
        ErrorKind::InvalidConfig
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_costs_the_timeout_and_confuses_no_later_reply() {
    let redis = Redis::start();
    let url = format!("{}?timeout=300ms&pool_size=2&breaker=off", redis.url());
    let cache = Cache::connect(&url).await.unwrap();
    let sync = blocking::Cache::connect(&url).unwrap();
    cache.set("a", &1).await.unwrap();
    cache.set("b", &2).await.unwrap();
    for _ in 0..3 {
        redis.freeze();
        let error = cache.get::<u8>("a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let error = sync.get::<u8>("a").run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        redis.thaw();
        for _ in 0..10 {
            assert_eq!(cache.get::<u8>("b").await.unwrap(), Some(2));
            assert_eq!(sync.get::<u8>("b").run().unwrap(), Some(2));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_never_answers_costs_the_timeout() {
    // Accepted by the kernel, read by nobody.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}?timeout=50ms", silent.local_addr().unwrap());
    for error in [
        Cache::connect(&url).await.unwrap_err(),
        blocking::Cache::connect(&url).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_talks_nonsense_is_an_error_and_no_panic() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}?timeout=200ms", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ =
                std::io::Write::write_all(&mut &stream, b"HTTP/1.1 400 Bad Request\r\n\r\n<html>");
        }
    });
    for error in [
        Cache::connect(&url).await.unwrap_err(),
        blocking::Cache::connect(&url).unwrap_err(),
    ] {
        assert!(
            matches!(
                error.kind(),
                ErrorKind::Protocol | ErrorKind::Connect | ErrorKind::Timeout
            ),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_told_for_a_port_a_host_and_a_socket() {
    let nobody = Port::unused();
    for url in [
        format!("redis://127.0.0.1:{nobody}"),
        "redis://no-such-host.invalid:6379?timeout=1s".to_owned(),
        "redis+unix:///nowhere/redis.sock".to_owned(),
    ] {
        for error in [
            Cache::connect(&url).await.unwrap_err(),
            blocking::Cache::connect(&url).unwrap_err(),
        ] {
            // A resolver may take its time to say that there is no such host.
            let slow = error.kind() == ErrorKind::Timeout && url.contains("no-such-host");
            assert!(slow || error.kind() == ErrorKind::Connect, "{url}: {error}");
        }
    }
}

#[test]
fn more_threads_than_connections_take_turns() {
    let redis = Redis::start();
    let cache = blocking::Cache::open(&format!(
        "{}?pool_size=3&client_name=pool&timeout=20s",
        redis.url()
    ))
    .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..24 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..50 {
                    let key = format!("{thread}:{n}");
                    cache.set(&key, &n).run().unwrap();
                    assert_eq!(cache.get::<i32>(&key).run().unwrap(), Some(n));
                }
            });
        }
    });
    assert!(connections(&redis, "pool") <= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_each_get_their_own_reply() {
    let redis = Redis::start();
    let cache = Cache::open(&redis.patient_url()).unwrap();
    let tasks: Vec<_> = (0..200)
        .map(|task| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    let key = format!("{task}:{n}");
                    cache.set(&key, &(task, n)).await.unwrap();
                    assert_eq!(
                        cache.get::<(i32, i32)>(&key).await.unwrap(),
                        Some((task, n))
                    );
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(cache.stats().connects, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_gives_up_disturbs_nobody() {
    let redis = Redis::start();
    let cache = Cache::open(&redis.patient_url()).unwrap();
    for n in 0..200_u32 {
        cache.set("k", &n).await.unwrap();
        // Dropped before, while, or after its reply comes.
        let _ = tokio::time::timeout(Duration::from_micros(u64::from(n)), async {
            cache.get::<u32>("k").await
        })
        .await;
        assert_eq!(cache.get::<u32>("k").await.unwrap(), Some(n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_connection_is_the_callers_own() {
    let redis = Redis::start();
    let cache = Cache::builder(&redis.patient_url())
        .prefix("app")
        .build()
        .unwrap();
    let mut connection = cache.connection().await.unwrap();
    let _: () = redis::cmd("SELECT")
        .arg(3)
        .query_async(&mut connection)
        .await
        .unwrap();
    cache.set("k", &1).await.unwrap();
    let in_three: Option<String> = connection.get("app:k").await.unwrap();
    assert_eq!(in_three, None, "the cache stays in its own database");
    let _: () = connection.lpush("list", &["a", "b"]).await.unwrap();
    let (length, first): (u32, String) = redis::pipe()
        .atomic()
        .cmd("LLEN")
        .arg("list")
        .cmd("LINDEX")
        .arg("list")
        .arg(0)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!((length, first.as_str()), (2, "b"));

    let sync = blocking::Cache::builder(&redis.patient_url())
        .prefix("app")
        .build()
        .unwrap();
    let mut connection = sync.connection().run().unwrap();
    let (value, nothing): (i32, Option<String>) = redis::pipe()
        .cmd("GET")
        .arg("app:k")
        .cmd("GET")
        .arg("x")
        .query(&mut connection)
        .unwrap();
    assert_eq!((value, nothing), (1, None));
    let error = redis::pipe()
        .atomic()
        .cmd("SET")
        .arg("only-a-key")
        .query::<()>(&mut connection)
        .unwrap_err();
    assert!(
        error.to_string().contains("wrong number of arguments"),
        "{error}"
    );
    assert!(
        redis::cmd("PING").query::<String>(&mut connection).is_ok(),
        "in step after the error"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_sees_who_we_are() {
    let redis = Redis::start();
    let url = format!("{}?timeout=20s&client_name=who", redis.url());
    let cache = Cache::connect(&url).await.unwrap();
    assert_eq!(connections(&redis, "who"), 1);
    drop(cache);
    let cache = blocking::Cache::connect(&url).unwrap();
    eventually("the blocking one alone is there", || {
        connections(&redis, "who") == 1
    });
    drop(cache);
}

#[test]
fn an_async_cache_outside_a_runtime_says_what_to_use() {
    let cache = Cache::open("redis://127.0.0.1:1").unwrap();
    let error = futures_util::FutureExt::now_or_never(async { cache.get::<u8>("k").await })
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("nearcache::blocking"), "{error}");
}

#[test]
fn a_value_beyond_what_redis_takes_is_refused_before_it_is_sent() {
    let cache = blocking::Cache::open("redis://127.0.0.1:1").unwrap();
    let value = vec![0_u8; 512 * 1024 * 1024 + 1];
    let error = cache.set("k", &nearcache::Raw(&value)).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("512 MB"), "{error}");
}

#[test]
fn caches_and_their_futures_cross_threads() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    fn sendable<T: Send>(_: T) {}
    check::<Cache>();
    check::<blocking::Cache>();
    let cache = Cache::open("memory://").unwrap();
    sendable(cache.get::<String>("k").into_future());
    sendable(cache.set("k", "v").into_future());
    sendable(cache.keys());
}

#[tokio::test]
async fn a_client_of_redis_rs_says_where_a_cache_goes() {
    let redis = Redis::start();
    let client = redis::Client::open(format!("{}/2", redis.url())).unwrap();
    let prefix = nearcache_testkit::random_prefix();
    let url = format!("redis://?prefix={prefix}");
    let cache = Cache::builder(&url).client(&client).build().unwrap();
    cache.set("k", "v").await.unwrap();
    let mut connection = client.get_connection().unwrap();
    let key = format!("{prefix}:k");
    let value: String = redis::cmd("GET").arg(key).query(&mut connection).unwrap();
    assert_eq!(value, "\"v\"");
    // What is said beside it goes before it.
    let elsewhere = Cache::builder(&url).client(&client).db(3).build().unwrap();
    assert_eq!(elsewhere.get::<String>("k").await.unwrap(), None);
    // Two servers are one too many.
    let two = Cache::builder("redis://db.example.com")
        .client(&client)
        .build();
    let error = two.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("db.example.com"), "{error}");
}

/// Also when another server answers than before, so that the outbox comes first: here the one that was restarted.
#[test]
fn connecting_with_a_time_of_its_own_is_no_part_of_the_call() {
    let mut redis = Redis::start();
    let url = format!("{}?connect_timeout=60s&timeout=1s&breaker=off", redis.url());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cache = Cache::open(&url).unwrap();
    let sync = blocking::Cache::open(&url).unwrap();
    for restarted in [false, true] {
        let longer_than_a_call = |get: &dyn Fn() -> Result<Option<u8>, Error>| {
            redis.freeze();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(1_300));
                    redis.thaw();
                });
                get().unwrap();
            });
        };
        longer_than_a_call(&|| runtime.block_on(async { cache.get("k").await }));
        longer_than_a_call(&|| sync.get("k").run());
        runtime.block_on(async { cache.set("k", 1).await.unwrap() });
        sync.set("k", 1).run().unwrap();
        if !restarted {
            redis.restart();
        }
    }
}

//! Raw commands on the cache's own connections: kept for the life of the program, over a restart of the server.

use nearcache::{Cache, blocking};
use nearcache_testkit::Redis;
use redis::{AsyncCommands, Commands, RedisResult};

use crate::face::run;

/// A program keeps one, whatever the face.
#[test]
fn a_shared_connection_outlives_a_restart_of_the_server() {
    let mut redis = Redis::start();
    let url = format!("{}?timeout=20s&breaker=off", redis.url());
    run(async {
        let cache = Cache::open(&url).unwrap();
        let sync = blocking::Cache::open(&url).unwrap();
        let (mut raw, mut raw_sync) = (cache.shared_connection(), sync.shared_connection());
        let mut clone = raw.clone();
        for _ in 0..3 {
            // The call that finds out may fail; the one after it does not.
            let _: RedisResult<u64> = raw.rpush("list", "a").await;
            let _: u64 = clone.rpush("list", "b").await.unwrap();
            let _: RedisResult<u64> = raw_sync.rpush("list", "c");
            let length: u64 = raw_sync.rpush("list", "d").unwrap();
            assert!(length >= 2);
            redis.restart();
        }
        cache.set("k", 1).await.unwrap();
        let connected = cache.stats().connects;
        let _: String = raw.get("k").await.unwrap();
        assert_eq!(
            cache.stats().connects,
            connected,
            "it is the cache's own connection"
        );
    });
}

#[test]
fn pipelines_transactions_scripts_and_errors_are_as_on_any_connection() {
    let redis = Redis::start();
    run(async {
        for url in [redis.patient_url(), "memory://".to_owned()] {
            let cache = Cache::open(&url).unwrap();
            let mut raw = cache.shared_connection();
            let mut raw_sync = cache.blocking().unwrap().shared_connection();
            for atomic in [false, true] {
                let mut pipe = redis::pipe();
                pipe.cmd("SET")
                    .arg("k")
                    .arg("\r\n")
                    .ignore()
                    .cmd("GET")
                    .arg("k");
                if atomic {
                    pipe.atomic();
                }
                let got: (String,) = pipe.query_async(&mut raw).await.unwrap();
                assert_eq!(got.0, "\r\n");
                let got: (String,) = pipe.query(&mut raw_sync).unwrap();
                assert_eq!(got.0, "\r\n");
            }
            let errors: [RedisResult<i64>; 2] = [raw.incr("k", 1).await, raw_sync.incr("k", 1)];
            for error in errors {
                let error = error.unwrap_err();
                assert!(error.to_string().contains("not an integer"), "{error}");
            }
            if url.starts_with("redis") {
                // What `redis::Script` looks for.
                let mut call = redis::cmd("EVALSHA");
                call.arg("0123456789012345678901234567890123456789").arg(0);
                let unknown = redis::ErrorKind::Server(redis::ServerErrorKind::NoScript);
                let outcomes = [call.exec_async(&mut raw).await, call.exec(&mut raw_sync)];
                for outcome in outcomes {
                    assert_eq!(outcome.unwrap_err().kind(), unknown);
                }
            }
        }
    });
}

#[test]
fn what_would_change_the_connection_for_others_is_refused() {
    let redis = Redis::start();
    run(async {
        let cache = Cache::open(&redis.patient_url()).unwrap();
        let sync = cache.blocking().unwrap();
        for refused in [
            "SELECT 1",
            "select 1",
            "MULTI",
            "WATCH k",
            "BLPOP k 0",
            "CLIENT REPLY OFF",
            "SUBSCRIBE c",
            "XREAD COUNT 1 BLOCK 0 STREAMS s $",
        ] {
            let mut words = refused.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            for word in words {
                command.arg(word);
            }
            let mut pipe = redis::pipe();
            pipe.add_command(command.clone());
            if refused == "MULTI" {
                pipe.cmd("GET").arg("k").cmd("EXEC");
            }
            let outcomes = [
                command.exec_async(&mut cache.shared_connection()).await,
                command.exec(&mut sync.shared_connection()),
                pipe.exec_async(&mut cache.shared_connection()).await,
                pipe.exec(&mut sync.shared_connection()),
            ];
            for outcome in outcomes {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains("connection()"), "{refused}: {error}");
            }
        }
        let mut raw = cache.shared_connection();
        let _: u64 = redis::cmd("CLIENT")
            .arg("ID")
            .query_async(&mut raw)
            .await
            .unwrap();
        cache.close().await.unwrap();
        let closed: RedisResult<String> = raw.get("k").await;
        let closed = closed.unwrap_err().to_string();
        assert!(closed.contains("the cache is closed"), "{closed}");
    });
}

//! A connection of its own: commands that wait longer than the timeout, and messages that come beside the replies.

use std::thread;
use std::time::Duration;

use nearcache::{Cache, blocking};
use nearcache_testkit::Redis;
use redis::{PushKind, Value};

use crate::face::run;

const PATIENCE: Duration = Duration::from_secs(60);

/// An async and a blocking cache on each place, with a timeout.
fn places(redis: &Redis, timeout: &str) -> Vec<(Cache, blocking::Cache)> {
    [redis.url(), "memory://".to_owned()]
        .iter()
        .map(|url| {
            let cache = Cache::builder(url).timeout(timeout).build().unwrap();
            let sync = cache.blocking().unwrap();
            (cache, sync)
        })
        .collect()
}

fn cmd(line: &str) -> redis::Cmd {
    let mut words = line.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd
}

fn somebody_waits(redis: &mut impl redis::ConnectionLike) -> bool {
    let info: String = cmd("INFO clients").query(redis).unwrap();
    !info.contains("blocked_clients:0\r")
}

fn text(text: &str) -> Value {
    Value::BulkString(text.into())
}

#[test]
fn a_command_that_waits_may_take_as_long_as_it_says() {
    let redis = Redis::start();
    run(async {
        for (cache, sync) in places(&redis, "1s") {
            // Longer than the timeout, and in vain; all at the same time.
            let lines = [
                "BLPOP none 1.1",
                "BLMOVE none other LEFT LEFT 1.1",
                "XREAD BLOCK 1100 STREAMS none 0",
            ];
            thread::scope(|scope| {
                for line in lines {
                    let mut blocking = sync.connection().run().unwrap();
                    scope.spawn(move || {
                        let nothing = cmd(line).query::<Value>(&mut blocking).unwrap();
                        assert_eq!(nothing, Value::Nil, "{line}");
                    });
                }
            });
            for line in lines {
                let mut connection = cache.connection().await.unwrap();
                let nothing: Value = cmd(line).query_async(&mut connection).await.unwrap();
                assert_eq!(nothing, Value::Nil, "{line}");
            }
            let mut connection = cache.connection().await.unwrap();
            let mut blocking = sync.connection().run().unwrap();
            // Until something comes.
            let other = sync.clone();
            let pusher = thread::spawn(move || {
                let mut raw = other.shared_connection();
                while !somebody_waits(&mut raw) {
                    thread::yield_now();
                }
                cmd("RPUSH queue 1 2").exec(&mut raw).unwrap();
            });
            let pop = cmd("BLPOP queue 0");
            let popped: (String, u64) = pop.query_async(&mut connection).await.unwrap();
            assert_eq!(popped, ("queue".to_owned(), 1));
            let popped: (String, u64) = pop.query(&mut blocking).unwrap();
            assert_eq!(popped.1, 2);
            pusher.join().unwrap();
        }
    });
}

#[test]
fn messages_of_a_channel_come_beside_the_replies() {
    let redis = Redis::start();
    run(async {
        for (cache, sync) in places(&redis, "20s") {
            let mut connection = cache.connection().await.unwrap();
            let mut blocking = sync.connection().run().unwrap();
            let subscribe = cmd("SUBSCRIBE news weather");
            subscribe.exec_async(&mut connection).await.unwrap();
            subscribe.exec(&mut blocking).unwrap();
            let mut raw = sync.shared_connection();
            for message in ["one", "two"] {
                let heard: u64 = cmd(&format!("PUBLISH news {message}"))
                    .query(&mut raw)
                    .unwrap();
                assert_eq!(heard, 2);
                // Replies still find their commands.
                let pong: String = cmd("ECHO pong").query_async(&mut connection).await.unwrap();
                assert_eq!(pong, "pong");
                assert_eq!(
                    cmd("ECHO pong").query::<String>(&mut blocking).unwrap(),
                    "pong"
                );
            }
            cmd("UNSUBSCRIBE")
                .exec_async(&mut connection)
                .await
                .unwrap();
            cmd("UNSUBSCRIBE").exec(&mut blocking).unwrap();
            let (mut heard, mut heard_blocking) = (Vec::new(), Vec::new());
            for _ in 0..6 {
                let push = tokio::time::timeout(PATIENCE, connection.next_push());
                heard.push(push.await.unwrap().unwrap());
                heard_blocking.push(blocking.next_push(PATIENCE).unwrap().unwrap());
            }
            for heard in [heard, heard_blocking] {
                let kinds: Vec<_> = heard.iter().map(|push| push.kind.clone()).collect();
                assert_eq!(
                    kinds,
                    [
                        PushKind::Subscribe,
                        PushKind::Subscribe,
                        PushKind::Message,
                        PushKind::Message,
                        PushKind::Unsubscribe,
                        PushKind::Unsubscribe,
                    ]
                );
                assert_eq!(heard[2].data, [text("news"), text("one")]);
                assert_eq!(heard[3].data, [text("news"), text("two")]);
            }
            let pong: String = cmd("ECHO pong").query(&mut blocking).unwrap();
            assert_eq!(pong, "pong", "in step after all confirmations");
            let none = blocking.next_push(Duration::from_millis(20)).unwrap();
            assert!(none.is_none(), "{none:?}");
        }
    });
}

#[test]
fn a_tracked_key_that_changes_is_told() {
    let redis = Redis::start();
    run(async {
        for (cache, sync) in places(&redis, "20s") {
            let mut connection = cache.connection().await.unwrap();
            let mut blocking = sync.connection().run().unwrap();
            cmd("HELLO 3").exec_async(&mut connection).await.unwrap();
            cmd("HELLO 3").exec(&mut blocking).unwrap();
            for line in ["CLIENT TRACKING ON", "GET key"] {
                cmd(line).exec_async(&mut connection).await.unwrap();
                cmd(line).exec(&mut blocking).unwrap();
            }
            cmd("SET key 1")
                .exec(&mut sync.shared_connection())
                .unwrap();
            let told = tokio::time::timeout(PATIENCE, connection.next_push());
            let told = told.await.unwrap().unwrap();
            let told_blocking = blocking.next_push(PATIENCE).unwrap().unwrap();
            for told in [told, told_blocking] {
                assert_eq!(told.kind, PushKind::Invalidate);
                assert_eq!(told.data, [Value::Array(vec![text("key")])]);
            }
        }
    });
}

#[test]
fn without_resp3_the_error_says_so() {
    let redis = Redis::start();
    run(async {
        let cache = Cache::open(&format!("{}?timeout=20s&protocol=2", redis.url())).unwrap();
        let mut connection = cache.connection().await.unwrap();
        let error = connection.next_push().await.unwrap_err().to_string();
        assert!(error.contains("RESP3"), "{error}");
    });
}

#[test]
fn a_connection_that_breaks_says_so() {
    let mut redis = Redis::start();
    run(async {
        let url = redis.patient_url();
        let cache = Cache::open(&url).unwrap();
        let mut connection = cache.connection().await.unwrap();
        let mut blocking = cache.blocking().unwrap().connection().run().unwrap();
        cmd("SUBSCRIBE news")
            .exec_async(&mut connection)
            .await
            .unwrap();
        cmd("SUBSCRIBE news").exec(&mut blocking).unwrap();
        redis.restart();
        assert!(connection.next_push().await.is_ok(), "the confirmation");
        let broken = tokio::time::timeout(PATIENCE, connection.next_push());
        assert!(broken.await.unwrap().is_err());
        assert!(blocking.next_push(PATIENCE).unwrap().is_some());
        assert!(blocking.next_push(PATIENCE).is_err());
    });
}

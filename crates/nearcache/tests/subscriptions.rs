//! What goes on for as long as a cache is open, and reconnects by itself: subscriptions and consumers. A real Redis is
//! killed and started again; a subscriber does not read.

#[macro_use]
#[path = "support/face.rs"]
mod face;

use std::time::Duration;

use nearcache::structures::{Delivery, Heard};
use nearcache::{Cache, Raw, Result, blocking};
use nearcache_testkit::Redis;

use crate::face::run;

const PATIENCE: Duration = Duration::from_secs(60);

fn message<T: std::fmt::Debug>(heard: Option<Result<Heard<T>>>) -> T {
    match heard {
        Some(Ok(Heard::Message(message))) => message,
        other => panic!("{other:?}"),
    }
}

fn is_gap<T>(heard: &Option<Result<Heard<T>>>) -> bool {
    matches!(heard, Some(Ok(Heard::Gap)))
}

#[test]
fn a_subscription_survives_a_restart_and_says_that_there_is_a_gap() {
    for protocol in [
        "?timeout=20s",
        "?timeout=20s&protocol=2",
        "?timeout=20s&protocol=3",
    ] {
        let mut redis = Redis::start();
        let url = format!("{}{protocol}", redis.url());
        run(async {
            let cache = Cache::open(&url).unwrap();
            let (news, all) = (cache.topic::<u32>("news"), cache.topics::<u32>("n*"));
            let mut listener = news.subscribe().await.unwrap();
            let mut pattern = all.subscribe().await.unwrap();
            assert_eq!(news.publish(1).await.unwrap(), 2);
            assert_eq!(message(listener.next().await), 1);
            assert_eq!(message(pattern.next().await).message, 1);
            for round in 2..4 {
                redis.kill();
                // Nothing comes, and it is no error.
                let waits = tokio::time::timeout(Duration::from_millis(300), listener.next());
                assert!(waits.await.is_err(), "{url}");
                redis.restart();
                assert!(is_gap(&listener.next().await), "{url}");
                assert!(is_gap(&pattern.next().await), "{url}");
                // Both are heard again from here on. The cache's own connection may be away for a moment.
                while news.publish(round).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert_eq!(message(listener.next().await), round);
                assert_eq!(message(pattern.next().await).message, round);
            }
        });
    }
}

#[test]
fn so_does_a_blocking_one() {
    for protocol in [
        "?timeout=20s",
        "?timeout=20s&protocol=2",
        "?timeout=20s&protocol=3",
    ] {
        let mut redis = Redis::start();
        let cache = blocking::Cache::open(&format!("{}{protocol}", redis.url())).unwrap();
        let news = cache.topic::<u32>("news");
        let mut listener = news.subscribe().run().unwrap();
        assert_eq!(news.publish(1).run().unwrap(), 1);
        assert_eq!(message(listener.next()), 1);
        for round in 2..4 {
            redis.kill();
            assert!(listener.next_timeout(Duration::from_millis(300)).is_none());
            redis.restart();
            assert!(is_gap(&listener.next()));
            while news.publish(round).run().is_err() {
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(message(listener.next_timeout(PATIENCE)), round);
        }
    }
}

/// How long nothing comes before a subscriber counts as one who has read everything.
const QUIET: Duration = Duration::from_secs(2);

/// Publishes, and reads nothing meanwhile, until the subscriber has missed something. Between a server and a subscriber
/// are the buffers of both and those of the operating system, which may be large: with luck, once is not enough. How
/// many messages of the last time were still heard before the gap.
async fn until_the_gap<T: std::fmt::Debug + Send + 'static>(
    mut publish: impl AsyncFnMut(),
    mut next: impl AsyncFnMut() -> Option<Result<Heard<T>>>,
) -> usize {
    for _ in 0..20 {
        publish().await;
        let mut heard = 0;
        loop {
            match next().await {
                Some(Ok(Heard::Message(_))) => heard += 1,
                Some(Ok(Heard::Gap)) => return heard,
                None => break,
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("everything is kept for a subscriber who does not read")
}

#[test]
fn a_subscriber_that_does_not_read_is_bounded_and_hears_of_the_gap() {
    let redis = Redis::start();
    for url in [redis.url(), "memory://".to_owned()] {
        run(async {
            let cache = Cache::builder(&url).timeout("20s").build().unwrap();
            let topic = cache.topic::<Raw<Vec<u8>>>("large");
            let megabyte = Raw(vec![b'x'; 1 << 20]);
            let publish = async || {
                for _ in 0..96 {
                    topic.publish(&megabyte).await.unwrap();
                }
            };
            let mut listener = topic.subscribe().await.unwrap();
            let next = async || {
                let heard = tokio::time::timeout(QUIET, listener.next());
                heard.await.unwrap_or_default()
            };
            let heard = until_the_gap(publish, next).await;
            assert!(heard < 96, "{url}: {heard}");
            topic.publish(Raw(b"news".to_vec())).await.unwrap();
            assert_eq!(message(listener.next().await).0, b"news");
            drop(listener);

            let blocking = cache.blocking().unwrap().topic::<Raw<Vec<u8>>>("large");
            let mut listener = blocking.subscribe().run().unwrap();
            let heard = until_the_gap(publish, async || listener.next_timeout(QUIET)).await;
            assert!(heard < 96, "{url}: {heard}");
            topic.publish(Raw(b"news".to_vec())).await.unwrap();
            assert_eq!(message(listener.next_timeout(PATIENCE)).0, b"news");
        });
    }
}

#[test]
fn so_is_one_of_many_small_messages() {
    let redis = Redis::start();
    run(async {
        let cache = Cache::builder(&redis.url()).timeout("20s").build().unwrap();
        let topic = cache.topic::<u32>("small");
        let mut listener = topic.subscribe().await.unwrap();
        let connection = cache.shared_connection();
        let publish = async || {
            let mut connection = connection.clone();
            for part in 0..30 {
                let mut pipeline = redis::pipe();
                for number in 0..10_000 {
                    pipeline
                        .cmd("PUBLISH")
                        .arg("small")
                        .arg(part * 10_000 + number);
                }
                let heard: Vec<u32> = pipeline.query_async(&mut connection).await.unwrap();
                assert_eq!(heard.len(), 10_000);
            }
        };
        let next = async || {
            let heard = tokio::time::timeout(QUIET, listener.next());
            heard.await.unwrap_or_default()
        };
        let heard = until_the_gap(publish, next).await;
        assert!(heard < 300_000, "{heard}");
    });
}

async fn value<M: 'static>(delivery: Option<Result<Delivery<u32, M>>>) -> Delivery<u32, M> {
    delivery.expect("it goes on").expect("a delivery")
}

#[test]
fn a_consumer_survives_a_restart_and_loses_nothing() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    run(async {
        let cache = Cache::open(&redis.patient_url()).unwrap();
        let orders = cache.stream::<u32>("orders");
        let mut worker = orders.group("billing").consumer("w1").batch(3);
        for number in 0..5_u32 {
            orders.append(number).await.unwrap();
        }
        let mut seen = Vec::new();
        for _ in 0..2 {
            let delivery = value(worker.next().await).await;
            delivery.ack().await.unwrap();
            seen.push(*delivery.value().unwrap());
        }
        redis.kill();
        redis.restart();
        while orders.append(5).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while !(0..6).all(|number| seen.contains(&number)) {
            let delivery = value(worker.next().await).await;
            seen.push(*delivery.value().unwrap());
            while delivery.ack().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // An append that was sent again may be there twice; a delivery is not.
        seen.retain(|number| *number != 5);
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert_eq!(orders.group("billing").pending().await.unwrap().count, 0);
    });
    let sync = blocking::Cache::open(&redis.patient_url()).unwrap();
    let orders = sync.stream::<u32>("orders");
    let mut worker = orders.group("blocking").consumer("w1");
    assert_eq!(*worker.next().unwrap().unwrap().value().unwrap(), 0);
    redis.kill();
    assert!(
        worker.next_timeout(Duration::ZERO).is_some(),
        "it was read with the first"
    );
    redis.restart();
    let mut seen = Vec::new();
    while seen.last() != Some(&5) {
        seen.push(
            *worker
                .next_timeout(PATIENCE)
                .unwrap()
                .unwrap()
                .value()
                .unwrap(),
        );
    }
    assert_eq!(seen[..3], [2, 3, 4]);
}

//! Topics: what is published is heard by those who listen.

use std::time::Duration;

use nearcache::ErrorKind;
use nearcache::structures::{Heard, Named, Subscription};

use crate::target::{Face, Target, raw};

suite! {
    what_is_published_is_heard,
    the_names_of_topics_are_under_the_prefix,
    a_sharded_topic_is_another_one,
    a_pattern_hears_many_topics,
    what_is_no_message_is_one_error,
    closing_the_cache_ends_a_subscription,
    a_wait_that_was_given_up_loses_nothing,
}

/// A subscription of either face.
enum Listener<T> {
    Async(Subscription<T>),
    Blocking(Subscription<T, nearcache::operation::Blocking>),
}

impl<T: Send + 'static> Listener<T> {
    async fn next(&mut self) -> Option<nearcache::Result<Heard<T>>> {
        match self {
            Listener::Async(listener) => listener.next().await,
            Listener::Blocking(listener) => listener.next(),
        }
    }

    async fn next_within(&mut self, time: Duration) -> Option<nearcache::Result<Heard<T>>> {
        match self {
            Listener::Async(listener) => tokio::time::timeout(time, listener.next()).await.ok()?,
            Listener::Blocking(listener) => listener.next_timeout(time),
        }
    }

    async fn hears(&mut self) -> T {
        match self.next().await {
            Some(Ok(Heard::Message(message))) => message,
            Some(Ok(Heard::Gap)) => panic!("a gap"),
            Some(Err(error)) => panic!("{error}"),
            None => panic!("the end"),
        }
    }
}

macro_rules! listen {
    ($face:ident . $($operation:tt)*) => {
        match &$face {
            Face::Async(cache) => cache.$($operation)*.await.map(Listener::Async),
            Face::Blocking(cache) => cache.$($operation)*.run().map(Listener::Blocking),
        }
    };
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(30);

/// How many are said to have heard a message, of so many: in a Cluster, those on the node that was asked.
fn said(target: Target, heard: u64, listening: u64) -> bool {
    heard == listening || target.is_a_cluster() && heard < listening
}

async fn what_is_published_is_heard(target: Target) {
    let cache = target.cache();
    if !target.is_a_cluster() {
        // (In a Cluster it may still be on its way from one node to the other when somebody begins to listen.)
        assert_eq!(call!(cache.topic::<u32>("n").publish(1)).unwrap(), 0);
    }
    let mut one = listen!(cache.topic::<u32>("n").subscribe()).unwrap();
    let mut other = listen!(cache.topic::<u32>("n").subscribe()).unwrap();
    for number in 2..50_u32 {
        let heard = call!(cache.topic::<u32>("n").publish(number)).unwrap();
        assert!(said(target, heard, 2), "{heard}");
    }
    for number in 2..50 {
        assert_eq!(one.hears().await, number);
        assert_eq!(other.hears().await, number);
    }
    assert!(one.next_within(SHORT).await.is_none());
    drop(other);
    drop(one);
    // Texts are bare.
    let mut texts = listen!(cache.topic::<String>("t").subscribe()).unwrap();
    call!(cache.topic::<String>("t").publish("ada")).unwrap();
    assert_eq!(texts.hears().await, "ada");
    let error = listen!(cache.topic::<String>("").subscribe())
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    let error = call!(cache.topic::<String>("").publish("ada")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

async fn a_sharded_topic_is_another_one(target: Target) {
    let cache = target.cache();
    if target.is_acl_user() {
        // Not every server knows these commands, so they are no part of the guide's line.
        let error = call!(cache.topic::<u32>("n").sharded().publish(1)).unwrap_err();
        assert!(error.to_string().ends_with("+spublish"), "{error}");
        return;
    }
    let plain = listen!(cache.topic::<u32>("n").subscribe()).unwrap();
    match call!(cache.topic::<u32>("n").sharded().publish(1)) {
        // Redis before 7 has none.
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Server, "{error}");
            assert!(error.to_string().contains("SPUBLISH"), "{error}");
            return;
        }
        heard => assert_eq!(heard.unwrap(), 0),
    }
    let mut sharded = listen!(cache.topic::<u32>("n").sharded().subscribe()).unwrap();
    for number in 2..50 {
        let heard = call!(cache.topic::<u32>("n").sharded().publish(number)).unwrap();
        assert_eq!(heard, 1);
    }
    for number in 2..50 {
        assert_eq!(sharded.hears().await, number);
    }
    call!(cache.topic::<u32>("n").publish(50)).unwrap();
    let mut plain = plain;
    assert_eq!(plain.hears().await, 50);
    assert!(sharded.next_within(SHORT).await.is_none());
}

async fn the_names_of_topics_are_under_the_prefix(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let url = target.url("topics");
    let cache = target.cache_at(&url, &prefix);
    let other = target.cache_at(&url, "another");
    let mut listener = listen!(cache.topic::<String>("n").subscribe()).unwrap();
    assert_eq!(
        call!(other.topic::<String>("n").publish("not for us")).unwrap(),
        0
    );
    let channel = format!("{prefix}:n");
    let heard = raw(&cache, &[b"PUBLISH", channel.as_bytes(), b"plain"]).await;
    let redis::Value::Int(heard) = heard else {
        panic!("{heard:?}");
    };
    assert!(said(target, heard.cast_unsigned(), 1), "{heard}");
    assert_eq!(listener.hears().await, "plain");
    // A topic is no key.
    assert!(!call!(cache.contains("n")).unwrap());
}

async fn a_pattern_hears_many_topics(target: Target) {
    if target.is_acl_user() {
        // Such a user needs every pattern as a rule of its own, which the error names.
        let cache = target.cache();
        let listening = listen!(cache.topics::<u32>("scores.*").subscribe());
        let error = listening.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains(":scores.*"), "{error}");
        return;
    }
    let cache = target.cache();
    let mut all = listen!(cache.topics::<u32>("scores.*").subscribe()).unwrap();
    for (topic, number) in [("scores.chess", 1), ("news", 2), ("scores.go", 3)] {
        call!(cache.topic::<u32>(topic).publish(number)).unwrap();
    }
    let mut heard = Vec::new();
    for _ in 0..2 {
        let Named { topic, message, .. } = all.hears().await;
        heard.push((topic.as_str().unwrap().to_owned(), message));
    }
    // Two nodes of a Cluster, each of which was told one of them, pass them on in any order.
    heard.sort();
    assert_eq!(
        heard,
        [("scores.chess".to_owned(), 1), ("scores.go".to_owned(), 3)]
    );
    assert!(all.next_within(SHORT).await.is_none());
    // The prefix is meant literally, whatever it holds.
    let url = target.url("topics");
    let stars = target.cache_at(&url, "a*");
    let others = target.cache_at(&url, "ab");
    let mut all = listen!(stars.topics::<u32>("*").subscribe()).unwrap();
    assert_eq!(call!(others.topic::<u32>("n").publish(1)).unwrap(), 0);
    let heard = call!(stars.topic::<u32>("n").publish(2)).unwrap();
    assert!(said(target, heard, 1), "{heard}");
    let heard = all.hears().await;
    assert_eq!((heard.topic.as_str(), heard.message), (Some("n"), 2));
}

async fn what_is_no_message_is_one_error(target: Target) {
    let cache = target.cache();
    let mut numbers = listen!(cache.topic::<u32>("n").subscribe()).unwrap();
    call!(cache.topic::<String>("n").publish("seven")).unwrap();
    call!(cache.topic::<u32>("n").publish(8)).unwrap();
    let error = numbers.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("\"n\""), "{error}");
    assert_eq!(numbers.hears().await, 8);
}

async fn closing_the_cache_ends_a_subscription(target: Target) {
    let cache = target.cache();
    let listener = listen!(cache.topic::<u32>("n").subscribe()).unwrap();
    let waits = match listener {
        Listener::Async(mut listener) => {
            tokio::spawn(async move { listener.next().await.is_none() })
        }
        Listener::Blocking(mut listener) => {
            tokio::task::spawn_blocking(move || listener.next().is_none())
        }
    };
    tokio::time::sleep(SHORT).await;
    call!(cache.close()).unwrap();
    assert!(tokio::time::timeout(LONG, waits).await.unwrap().unwrap());
    let error = listen!(cache.topic::<u32>("n").subscribe())
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

async fn a_wait_that_was_given_up_loses_nothing(target: Target) {
    let cache = target.cache();
    let mut listener = listen!(cache.topic::<u32>("n").subscribe()).unwrap();
    for number in 0..20_u32 {
        assert!(
            listener
                .next_within(Duration::from_millis(1))
                .await
                .is_none()
        );
        call!(cache.topic::<u32>("n").publish(number)).unwrap();
        let heard = listener.next_within(LONG).await.unwrap().unwrap();
        assert_eq!(heard, Heard::Message(number));
    }
}

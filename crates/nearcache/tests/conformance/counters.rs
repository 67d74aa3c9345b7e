//! Counters are plain integers, and none is lost.

use nearcache::{ErrorKind, Remaining, Text};

use crate::target::{Face, Target, raw};

suite! {
    a_counter_starts_from_zero_and_has_no_ttl,
    amounts_may_be_negative_and_the_ttl_stays,
    a_counter_is_a_plain_integer_to_others,
    what_is_no_integer_is_an_error_and_never_zero,
    an_overflow_is_an_error_and_changes_nothing,
    concurrent_increments_are_all_counted,
    a_ttl_is_for_the_counter_that_is_made,
    a_ttl_does_no_harm_to_what_is_no_counter,
}

async fn a_counter_starts_from_zero_and_has_no_ttl(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.counter("n")).unwrap(), None);
    assert_eq!(call!(cache.incr("n")).unwrap(), 1);
    assert_eq!(call!(cache.decr("m").by(5)).unwrap(), -5);
    assert_eq!(call!(cache.ttl("n")).unwrap(), Remaining::Forever);
    assert_eq!(call!(cache.counter("m")).unwrap(), Some(-5));
}

async fn amounts_may_be_negative_and_the_ttl_stays(target: Target) {
    let cache = target.cache();
    call!(cache.set("n", &10).ttl("1h")).unwrap();
    assert_eq!(call!(cache.incr("n").by(-3)).unwrap(), 7);
    assert_eq!(call!(cache.decr("n").by(-3)).unwrap(), 10);
    assert_eq!(call!(cache.incr("n").by(0)).unwrap(), 10);
    assert!(call!(cache.ttl("n")).unwrap().duration().is_some());
}

async fn a_counter_is_a_plain_integer_to_others(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    call!(cache.set("n", &41)).unwrap();
    assert_eq!(
        raw(&cache, &[b"INCR", format!("{prefix}:n").as_bytes()]).await,
        redis::Value::Int(42)
    );
    assert_eq!(call!(cache.get::<i64>("n")).unwrap(), Some(42));
    assert_eq!(call!(cache.counter("n")).unwrap(), Some(42));
    call!(cache.incr("n")).unwrap();
    assert_eq!(
        raw(&cache, &[b"GET", format!("{prefix}:n").as_bytes()]).await,
        redis::Value::BulkString(b"43".to_vec())
    );
    call!(cache.delete("n")).unwrap();
}

async fn what_is_no_integer_is_an_error_and_never_zero(target: Target) {
    let cache = target.cache();
    for text in [
        "abc",
        "1.5",
        " 1",
        "1 ",
        "",
        "99999999999999999999",
        "\"1\"",
    ] {
        call!(cache.set("k", &Text(text))).unwrap();
        assert_eq!(
            call!(cache.counter("k")).unwrap_err().kind(),
            ErrorKind::NotInteger,
            "{text:?}"
        );
        assert_eq!(
            call!(cache.incr("k")).unwrap_err().kind(),
            ErrorKind::NotInteger,
            "{text:?}"
        );
        assert_eq!(
            call!(cache.get::<Text>("k")).unwrap(),
            Some(Text(text.into()))
        );
    }
}

async fn an_overflow_is_an_error_and_changes_nothing(target: Target) {
    let cache = target.cache();
    call!(cache.set("n", &i64::MAX)).unwrap();
    assert_eq!(
        call!(cache.incr("n")).unwrap_err().kind(),
        ErrorKind::Overflow
    );
    assert_eq!(call!(cache.counter("n")).unwrap(), Some(i64::MAX));
    call!(cache.set("n", &i64::MIN)).unwrap();
    assert_eq!(
        call!(cache.decr("n")).unwrap_err().kind(),
        ErrorKind::Overflow
    );
    assert_eq!(
        call!(cache.decr("new").by(i64::MIN)).unwrap_err().kind(),
        ErrorKind::Overflow
    );
    assert_eq!(call!(cache.counter("new")).unwrap(), None);
}

async fn concurrent_increments_are_all_counted(target: Target) {
    let cache = target.cache();
    match &cache {
        Face::Async(cache) => {
            let tasks: Vec<_> = (0..20)
                .map(|_| {
                    let cache = cache.clone();
                    tokio::spawn(async move {
                        for _ in 0..100 {
                            cache.incr("n").await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        }
        Face::Blocking(cache) => std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        cache.incr("n").run().unwrap();
                    }
                });
            }
        }),
    }
    assert_eq!(call!(cache.counter("n")).unwrap(), Some(2_000));
}

async fn a_ttl_is_for_the_counter_that_is_made(target: Target) {
    let cache = target.cache();
    let left = async |key: &'static str| call!(cache.ttl(key)).unwrap();
    let minute = |left| matches!(left, Remaining::In(left) if (50..=60).contains(&left.as_secs()));
    assert_eq!(call!(cache.incr("n").ttl("60s")).unwrap(), 1);
    assert!(minute(left("n").await));
    // The time runs from the first call on.
    assert_eq!(call!(cache.incr("n").by(2).ttl("1h")).unwrap(), 3);
    assert!(minute(left("n").await));
    assert_eq!(call!(cache.decr("m").by(7).ttl(60)).unwrap(), -7);
    assert!(minute(left("m").await));
    // What lives for ever goes on to.
    call!(cache.incr("old")).unwrap();
    assert_eq!(call!(cache.incr("old").ttl("60s")).unwrap(), 2);
    assert_eq!(left("old").await, Remaining::Forever);
    assert_eq!(call!(cache.incr("zero").by(0).ttl("60s")).unwrap(), 0);
    assert!(minute(left("zero").await));
}

async fn a_ttl_does_no_harm_to_what_is_no_counter(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", "text")).unwrap();
    for (call, kind) in [
        (call!(cache.incr("k").ttl("60s")), ErrorKind::NotInteger),
        (call!(cache.incr("n").ttl("0s")), ErrorKind::InvalidTtl),
        (
            call!(cache.decr("n").by(i64::MIN).ttl("60s")),
            ErrorKind::Overflow,
        ),
    ] {
        assert_eq!(call.unwrap_err().kind(), kind);
    }
    assert_eq!(call!(cache.get::<String>("k")).unwrap().unwrap(), "text");
    assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Forever);
    assert!(!call!(cache.contains("n")).unwrap());
}

//! Rate limiters: what each algorithm gives, what a check says, and where its keys are.

use std::time::{Duration, SystemTime};

use nearcache::ErrorKind;
use nearcache::patterns::{Decision, Quota};
use redis::Value;

use crate::target::{Face, Options, Target, keys_matching, raw, two};

suite! {
    the_burst_is_given_and_then_the_rate,
    a_check_takes_all_that_it_costs_or_nothing,
    a_cost_above_the_maximum_is_an_error_and_none_is_free,
    a_window_gives_its_quota,
    a_sliding_window_gives_back_what_it_gave,
    a_peek_takes_nothing_and_a_reset_gives_all_back,
    ids_names_and_algorithms_are_apart,
    retry_after_is_true,
    waiting_ends_when_it_is_allowed_or_cannot_be,
    concurrent_checks_get_no_more_than_there_is,
    caches_on_one_server_share_a_limiter,
    a_limiter_shows_no_keys_and_its_keys_expire,
    what_is_no_quota_or_no_id_is_an_error,
    what_others_left_under_the_key_locks_nobody_out,
}

/// So slow that nothing comes back while a test runs.
fn slow(permits: u64) -> Quota {
    Quota::per_day(permits)
}

async fn the_burst_is_given_and_then_the_rate(target: Target) {
    let cache = target.cache();
    let hour = Duration::from_secs(3_600);
    for taken in 1..=3 {
        let decision = call!(
            cache
                .rate_limiter("api", Quota::per_hour(1).burst(3))
                .check("ada")
        )
        .unwrap();
        let Decision::Allowed {
            limit,
            remaining,
            reset_after,
            retry_after,
            at,
            away,
            ..
        } = decision
        else {
            panic!("{decision:?}");
        };
        assert_eq!(
            (limit, remaining, retry_after, away),
            (3, 3 - taken, Duration::ZERO, false)
        );
        let taken = u32::try_from(taken).unwrap();
        assert!(
            reset_after <= hour * taken && reset_after > hour * taken - Duration::from_secs(60)
        );
        let age = SystemTime::now().duration_since(at).unwrap_or_default();
        assert!(age < Duration::from_secs(60), "{age:?}");
    }
    let decision = call!(
        cache
            .rate_limiter("api", Quota::per_hour(1).burst(3))
            .check("ada")
    )
    .unwrap();
    let Decision::Denied {
        retry_after,
        remaining,
        ..
    } = decision
    else {
        panic!("{decision:?}");
    };
    assert_eq!(remaining, 0);
    assert!(retry_after <= hour && retry_after > hour - Duration::from_secs(60));
}

async fn a_check_takes_all_that_it_costs_or_nothing(target: Target) {
    let cache = target.cache();
    macro_rules! each {
        ($($by:ident)*) => {$({
            let check = async |cost: u64| {
                call!(cache.rate_limiter("api", slow(10)).$by().check("ada").cost(cost)).unwrap()
            };
            assert_eq!(check(7).await.remaining(), 3);
            let denied = check(4).await;
            assert!(!denied.is_allowed());
            assert_eq!(denied.remaining(), 3);
            assert!(check(3).await.is_allowed());
            let denied = check(10).await;
            assert!(!denied.is_allowed() && denied.retry_after() > Duration::ZERO);
        })*};
    }
    each!(gcra sliding_window fixed_window);
}

async fn a_cost_above_the_maximum_is_an_error_and_none_is_free(target: Target) {
    let cache = target.cache();
    macro_rules! each {
        ($($by:ident)*) => {$({
            let error = call!(cache.rate_limiter("api", slow(10)).$by().check("ada").cost(11));
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
            let all = call!(cache.rate_limiter("api", slow(10)).$by().check("ada").cost(10));
            assert!(all.unwrap().is_allowed());
            let free = call!(cache.rate_limiter("api", slow(10)).$by().check("ada").cost(0)).unwrap();
            assert!(free.is_allowed());
            assert_eq!(free.remaining(), 0);
            let free = call!(cache.rate_limiter("api", slow(10)).$by().check("bob").cost(0)).unwrap();
            assert_eq!((free.remaining(), free.reset_after()), (10, Duration::ZERO));
        })*};
    }
    each!(gcra sliding_window fixed_window);
}

async fn a_window_gives_its_quota(target: Target) {
    let cache = target.cache();
    macro_rules! each {
        ($($by:ident)*) => {$({
            for number in 0..8 {
                // The burst is GCRA's.
                let quota = Quota::per(5, "520w").burst(1);
                let decision =
                    call!(cache.rate_limiter("api", quota).$by().check("ada")).unwrap();
                assert_eq!(decision.is_allowed(), number < 5, "{decision:?}");
                assert_eq!(decision.limit(), 5);
            }
        })*};
    }
    each!(sliding_window fixed_window);
}

async fn a_sliding_window_gives_back_what_it_gave(target: Target) {
    let cache = target.cache();
    let check = async |cost: u64| {
        call!(
            cache
                .rate_limiter("api", Quota::per(5, "200ms"))
                .sliding_window()
                .check("a")
                .cost(cost)
        )
        .unwrap()
    };
    for cost in [2, 1, 2] {
        assert!(check(cost).await.is_allowed());
    }
    // What it waits for is not the first entry.
    let denied = check(3).await;
    if !denied.is_allowed() {
        tokio::time::sleep(denied.retry_after() + Duration::from_millis(2)).await;
        assert!(check(3).await.is_allowed(), "{denied:?}");
    }
}

async fn a_peek_takes_nothing_and_a_reset_gives_all_back(target: Target) {
    let cache = target.cache();
    macro_rules! each {
        ($($by:ident)*) => {$({
            for _ in 0..3 {
                let peeked = call!(cache.rate_limiter("api", slow(2)).$by().peek("ada")).unwrap();
                assert!(peeked.is_allowed());
                assert_eq!((peeked.remaining(), peeked.reset_after()), (2, Duration::ZERO));
            }
            for _ in 0..2 {
                let _ = call!(cache.rate_limiter("api", slow(2)).$by().check("ada")).unwrap();
            }
            let peeked = call!(cache.rate_limiter("api", slow(2)).$by().peek("ada").cost(2)).unwrap();
            assert!(!peeked.is_allowed());
            call!(cache.rate_limiter("api", slow(2)).reset("ada")).unwrap();
            let peeked = call!(cache.rate_limiter("api", slow(2)).$by().peek("ada")).unwrap();
            assert_eq!(peeked.remaining(), 2);
        })*};
    }
    each!(gcra sliding_window fixed_window);
}

async fn ids_names_and_algorithms_are_apart(target: Target) {
    let cache = target.cache();
    let check = async |name: &'static [u8], id: &'static [u8]| {
        let checked = call!(cache.rate_limiter(name, slow(1)).check(id)).unwrap();
        checked.is_allowed()
    };
    for (name, id) in [
        (&b"a:b"[..], &b"c"[..]),
        (b"a", b"b:c"),
        (b"a", b"{b}c"),
        (b"\xff\0", b"\0"),
        (b"a%3Ab", b"c"),
    ] {
        assert!(check(name, id).await, "{name:?} {id:?}");
        assert!(!check(name, id).await, "{name:?} {id:?}");
    }
    let other = call!(cache.rate_limiter("a", slow(1)).fixed_window().check("b:c")).unwrap();
    assert!(other.is_allowed());
}

async fn retry_after_is_true(target: Target) {
    let cache = target.cache();
    macro_rules! each {
        ($($by:ident)*) => {$({
            let mut given = 0;
            while given < 12 {
                let quota = Quota::per(5, "100ms").burst(2);
                let decision = call!(cache.rate_limiter("api", quota).$by().check("ada")).unwrap();
                if decision.is_allowed() {
                    given += 1;
                    continue;
                }
                tokio::time::sleep(decision.retry_after() + Duration::from_millis(2)).await;
                let quota = Quota::per(5, "100ms").burst(2);
                let again = call!(cache.rate_limiter("api", quota).$by().check("ada")).unwrap();
                assert!(again.is_allowed(), "{decision:?} {again:?}");
                given += 1;
            }
        })*};
    }
    each!(gcra sliding_window fixed_window);
}

async fn waiting_ends_when_it_is_allowed_or_cannot_be(target: Target) {
    let cache = target.cache();
    let quota = || Quota::per_second(20).burst(1);
    let mut last = None;
    for _ in 0..4 {
        let ready = call!(cache.rate_limiter("api", quota()).until_ready("ada")).unwrap();
        assert!(ready.is_allowed());
        if let Some(last) = last {
            let apart = ready.at().duration_since(last).unwrap_or_default();
            assert!(apart >= Duration::from_millis(50), "{apart:?}");
        }
        last = Some(ready.at());
    }
    let one = call!(
        cache
            .rate_limiter("b", slow(1))
            .until_ready("ada")
            .max_wait("1s")
    )
    .unwrap();
    assert!(one.is_allowed());
    // It is known at once, and nobody waits.
    let more = call!(
        cache
            .rate_limiter("b", slow(1))
            .until_ready("ada")
            .max_wait("1h")
    )
    .unwrap();
    assert!(!more.is_allowed());
    let error = call!(cache.rate_limiter("b", slow(1)).until_ready("ada").cost(2));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
    let error = call!(
        cache
            .rate_limiter("b", slow(1))
            .until_ready("ada")
            .max_wait("soon")
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidTtl);
}

async fn concurrent_checks_get_no_more_than_there_is(target: Target) {
    let cache = target.cache();
    macro_rules! each {
        ($($by:ident)*) => {$({
            let allowed: usize = match &cache {
                Face::Async(cache) => {
                    let mut tasks = Vec::new();
                    for _ in 0..10 {
                        let limiter = cache.rate_limiter("api", slow(50)).$by();
                        tasks.push(tokio::spawn(async move {
                            let mut allowed = 0;
                            for _ in 0..20 {
                                allowed += usize::from(limiter.check("a").await.unwrap().is_allowed());
                            }
                            allowed
                        }));
                    }
                    let mut sum = 0;
                    for task in tasks {
                        sum += task.await.unwrap();
                    }
                    sum
                }
                Face::Blocking(cache) => std::thread::scope(|scope| {
                    let threads: Vec<_> = (0..10)
                        .map(|_| {
                            let limiter = cache.rate_limiter("api", slow(50)).$by();
                            scope.spawn(move || {
                                (0..20)
                                    .filter(|_| limiter.check("a").run().unwrap().is_allowed())
                                    .count()
                            })
                        })
                        .collect();
                    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
                }),
            };
            assert_eq!(allowed, 50, stringify!($by));
        })*};
    }
    each!(gcra sliding_window fixed_window);
}

async fn caches_on_one_server_share_a_limiter(target: Target) {
    let (one, other) = two(target, Options::default());
    assert!(
        call!(one.rate_limiter("api", slow(1)).check("a"))
            .unwrap()
            .is_allowed()
    );
    assert!(
        !call!(other.rate_limiter("api", slow(1)).check("a"))
            .unwrap()
            .is_allowed()
    );
}

async fn a_limiter_shows_no_keys_and_its_keys_expire(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    macro_rules! each {
        ($($by:ident $part:literal)*) => {$({
            let check = async || {
                let quota = Quota::per(1, "10m");
                call!(cache.rate_limiter("api", quota).$by().check("a")).unwrap()
            };
            assert!(check().await.is_allowed());
            let key = format!(concat!("{}:#nearcache:limit:{{api:a}}:", $part), prefix);
            let ttl = raw(&cache, &[b"PTTL", key.as_bytes()]).await;
            assert!(matches!(ttl, Value::Int(1..=600_001)), "{ttl:?}");
            assert!(keys_matching(&cache, b"*").await.is_empty());
            call!(cache.clear()).unwrap();
            assert!(!check().await.is_allowed(), "a clear spares it");
        })*};
    }
    each!(gcra "gcra" sliding_window "log" fixed_window "window");
    // And then they are gone.
    let brief = call!(
        cache
            .rate_limiter("brief", Quota::per(1, "20ms"))
            .check("a")
    )
    .unwrap();
    assert!(brief.is_allowed());
    tokio::time::sleep(Duration::from_millis(40)).await;
    let key = format!("{prefix}:#nearcache:limit:{{brief:a}}:gcra");
    assert_eq!(
        raw(&cache, &[b"EXISTS", key.as_bytes()]).await,
        Value::Int(0)
    );
}

async fn what_is_no_quota_or_no_id_is_an_error(target: Target) {
    let cache = target.cache();
    for quota in [
        Quota::per_second(0),
        Quota::per_minute(1).burst(0),
        Quota::per(1, "soon"),
        Quota::per_second(u64::MAX),
    ] {
        let error = call!(cache.rate_limiter("api", quota.clone()).check("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{quota:?}");
    }
    let many = || Quota::per_day(2_000_000);
    assert!(
        call!(cache.rate_limiter("api", many()).check("a"))
            .unwrap()
            .is_allowed()
    );
    let error = call!(
        cache
            .rate_limiter("api", many())
            .sliding_window()
            .check("a")
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
    for (name, id) in [("", "a"), ("api", "")] {
        let error = call!(cache.rate_limiter(name, slow(1)).check(id)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
        assert!(call!(cache.rate_limiter(name, slow(1)).reset(id)).is_err());
    }
    let long = "x".repeat(100_000);
    let error = call!(cache.rate_limiter("api", slow(1)).check(&long)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

async fn what_others_left_under_the_key_locks_nobody_out(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    macro_rules! each {
        ($($by:ident $part:literal)*) => {$({
            let key = format!(concat!("{}:#nearcache:limit:{{api:a}}:", $part), prefix);
            for left in [
                &[&b"SET"[..], key.as_bytes(), b"garbage"][..],
                &[b"SET", key.as_bytes(), b""],
                &[b"LPUSH", key.as_bytes(), b"x"],
                &[b"HSET", key.as_bytes(), b"f", b"x"],
                &[b"ZADD", key.as_bytes(), b"inf", b"x"],
                &[b"SADD", key.as_bytes(), b"x"],
            ] {
                raw(&cache, &[b"DEL", key.as_bytes()]).await;
                raw(&cache, left).await;
                let peek = call!(cache.rate_limiter("api", slow(2)).$by().peek("a")).unwrap();
                assert!(peek.is_allowed() && peek.remaining() == 2, "{left:?}");
                for number in 0..3 {
                    let check = call!(cache.rate_limiter("api", slow(2)).$by().check("a")).unwrap();
                    assert_eq!(check.is_allowed(), number < 2, "{left:?}");
                }
            }
        })*};
    }
    each!(gcra "gcra" sliding_window "log" fixed_window "window");
}

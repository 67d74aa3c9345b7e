//! What `remember` answers, loads and stores.

use std::time::Duration;

use nearcache::{ErrorKind, Loaded, Lookup, Raw};

use crate::scene::Source;
use crate::target::{Face, Options, Target, raw, two};

brief_suite! {
    a_miss_loads_and_a_hit_does_not,
    what_is_stored_is_what_every_other_program_reads,
    a_none_is_remembered_as_such,
    an_error_reaches_the_caller_with_its_type_and_is_not_stored,
    a_panic_is_an_error_and_the_key_is_loadable_at_once,
    callers_that_miss_together_load_once,
    an_error_reaches_every_caller_that_waits,
    a_caller_that_goes_away_stops_nothing,
    two_processes_load_once,
    a_load_that_takes_longer_than_its_lease_is_still_one,
    a_value_that_cannot_be_read_is_loaded_anew,
    a_key_of_another_type_is_loaded_and_left_alone,
    bypass_does_not_read_and_stores,
    refresh_loads_whatever_is_there,
    refresh_takes_the_place_of_a_load_that_is_under_way,
    a_loader_decides_ttl_and_tags_and_whether_to_store,
    a_loaded_value_that_cannot_be_stored_is_returned,
    so_many_loads_run_at_a_time,
    a_waiter_whose_patience_ends_loads_for_all_who_wait,
    a_loader_may_itself_remember,
    a_bound_cache_remembers_its_key,
}

async fn a_miss_loads_and_a_hit_does_not(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    for _ in 0..3 {
        assert_eq!(remember!(cache, "k", source.gives(7)).await.unwrap(), 7);
    }
    assert_eq!(source.loads(), 1);
    let stats = ask!(cache.stats());
    assert_eq!((stats.hits, stats.misses, stats.loads), (2, 1, 1));
    assert_eq!(stats.writes, 1);
}

async fn what_is_stored_is_what_every_other_program_reads(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let text = "张三".to_owned();
    remember!(cache, "k", source.gives(text); .ttl("1m"))
        .await
        .unwrap();
    let stored: Option<Raw> = call!(cache.get("k")).unwrap();
    assert_eq!(stored, Some(Raw("\"张三\"".as_bytes().to_vec())));
    assert!(call!(cache.ttl("k")).unwrap().duration().is_some());
}

async fn a_none_is_remembered_as_such(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    for _ in 0..2 {
        let nothing = source.gives(None::<u8>);
        let found = remember!(cache, "k", nothing; .ttl("1h").negative_ttl("1m")).await;
        assert_eq!(found.unwrap(), None);
    }
    assert_eq!(source.loads(), 1);
    assert_eq!(call!(cache.lookup::<u8>("k")).unwrap(), Lookup::Nothing);
    let left = call!(cache.ttl("k")).unwrap().duration().unwrap();
    assert!(left <= Duration::from_secs(60), "{left:?}");
    // A type without a nothing does not take one for an answer.
    assert_eq!(remember!(cache, "k", source.gives(5_u8)).await.unwrap(), 5);
}

async fn an_error_reaches_the_caller_with_its_type_and_is_not_stored(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let error = remember!(cache, "k", source.fails::<u8>())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Loader);
    assert!(error.to_string().contains("on fire"), "{error}");
    assert!(error.downcast_ref::<std::io::Error>().is_some());
    assert_eq!(error.key().and_then(|key| key.as_str()), Some("k"));
    assert!(!call!(cache.contains("k")).unwrap());
    assert_eq!(remember!(cache, "k", source.gives(1)).await.unwrap(), 1);
    assert_eq!(ask!(cache.stats()).load_errors, 1);
}

async fn a_panic_is_an_error_and_the_key_is_loadable_at_once(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let panics = || -> Result<u8, std::io::Error> { panic!("no table") };
    let error = remember!(cache, "k", panics).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Loader);
    assert!(error.to_string().contains("no table"), "{error}");
    assert_eq!(remember!(cache, "k", source.gives(1)).await.unwrap(), 1);
}

async fn callers_that_miss_together_load_once(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let first = tokio::spawn(remember!(cache, "k", source.holds(7)));
    source.begun().await;
    let others: Vec<_> = (0..50)
        .map(|_| tokio::spawn(remember!(cache, "k", source.gives(8))))
        .collect();
    waiting(&cache, 50).await;
    source.go_on();
    assert_eq!(first.await.unwrap().unwrap(), 7);
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), 7);
    }
    assert_eq!(source.loads(), 1);
}

/// Waits until so many callers wait for another's load.
async fn waiting(cache: &Face, callers: u64) {
    while ask!(cache.stats()).coalesced < callers {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn an_error_reaches_every_caller_that_waits(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let holds = source.holds(());
    let fails = source.fails::<u8>();
    let first = tokio::spawn(remember!(cache, "k", move || {
        holds()?;
        fails()
    }));
    source.begun().await;
    let other = tokio::spawn(remember!(cache, "k", source.gives(1)));
    waiting(&cache, 1).await;
    source.go_on();
    for caller in [first, other] {
        let error = caller.await.unwrap().unwrap_err();
        assert!(error.downcast_ref::<std::io::Error>().is_some(), "{error}");
    }
    assert_eq!(remember!(cache, "k", source.gives(2)).await.unwrap(), 2);
}

async fn a_caller_that_goes_away_stops_nothing(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let first = tokio::spawn(remember!(cache, "k", source.holds(7)));
    source.begun().await;
    let other = tokio::spawn(remember!(cache, "k", source.gives(8)));
    waiting(&cache, 1).await;
    first.abort();
    let gone = tokio::spawn(remember!(cache, "k", source.gives(9)));
    waiting(&cache, 2).await;
    gone.abort();
    source.go_on();
    assert_eq!(other.await.unwrap().unwrap(), 7);
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(7));
    assert_eq!(source.loads(), 1);
}

async fn two_processes_load_once(target: Target) {
    let ((here, there), source) = (two(target, Options::default()), Source::new());
    let first = tokio::spawn(remember!(here, "k", source.holds(7)));
    source.begun().await;
    let other = tokio::spawn(remember!(there, "k", source.gives(8)));
    while ask!(there.stats()).lease_waits == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    source.go_on();
    assert_eq!(first.await.unwrap().unwrap(), 7);
    assert_eq!(other.await.unwrap().unwrap(), 7);
    assert_eq!(source.loads(), 1);
}

async fn a_load_that_takes_longer_than_its_lease_is_still_one(target: Target) {
    let options = Options {
        // Three times as long as a busy machine may stand still between two renewals.
        lease: Some(Duration::from_secs(2)),
        ..Options::default()
    };
    let ((here, there), source) = (two(target, options), Source::new());
    let slow = source.gives_after(Duration::from_secs(5), 7);
    let first = tokio::spawn(remember!(here, "k", slow));
    while source.loads() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let patient = Duration::from_secs(20);
    let other = remember!(there, "k", source.gives(8); .load_timeout(patient));
    assert_eq!(other.await.unwrap(), 7);
    assert_eq!(first.await.unwrap().unwrap(), 7);
    assert_eq!(source.loads(), 1);
}

async fn a_value_that_cannot_be_read_is_loaded_anew(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    for garbage in [&b"{"[..], b"\xC1NC\x09\xff", b"\xC1NC\x01\x04\x02", b""] {
        call!(cache.set("k", &Raw(garbage))).unwrap();
        assert_eq!(remember!(cache, "k", source.gives(3)).await.unwrap(), 3);
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(3));
    }
    assert_eq!(source.loads(), 4);
}

async fn a_key_of_another_type_is_loaded_and_left_alone(target: Target) {
    let (prefix, source) = (nearcache_testkit::random_prefix(), Source::new());
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let key = format!("{prefix}:k");
    raw(&cache, &[b"LPUSH", key.as_bytes(), b"x"]).await;
    assert_eq!(remember!(cache, "k", source.gives(1)).await.unwrap(), 1);
    assert_eq!(source.loads(), 1);
    let length = raw(&cache, &[b"LLEN", key.as_bytes()]).await;
    assert_eq!(length, nearcache::redis::Value::Int(1));
    assert_eq!(ask!(cache.stats()).degraded, 1);
}

async fn bypass_does_not_read_and_stores(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    call!(cache.set("k", &1)).unwrap();
    assert_eq!(
        remember!(cache, "k", source.gives(2); .bypass())
            .await
            .unwrap(),
        2
    );
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(2));
    // Beside another load, whose value is the one that is stored.
    let other = tokio::spawn(remember!(cache, "new", source.holds(3)));
    source.begun().await;
    assert_eq!(
        remember!(cache, "new", source.gives(4); .bypass())
            .await
            .unwrap(),
        4
    );
    source.go_on();
    assert_eq!(other.await.unwrap().unwrap(), 3);
    assert_eq!(call!(cache.get::<u8>("new")).unwrap(), Some(3));
}

async fn refresh_loads_whatever_is_there(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    for value in [1, 2, 3] {
        assert_eq!(
            refresh!(cache, "k", source.gives(value)).await.unwrap(),
            value
        );
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(value));
    }
}

async fn refresh_takes_the_place_of_a_load_that_is_under_way(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let old = tokio::spawn(remember!(cache, "k", source.holds(1)));
    source.begun().await;
    assert_eq!(refresh!(cache, "k", source.gives(2)).await.unwrap(), 2);
    source.go_on();
    assert_eq!(old.await.unwrap().unwrap(), 1);
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(2));
    assert_eq!(ask!(cache.stats()).fenced, 1);
}

async fn a_loader_decides_ttl_and_tags_and_whether_to_store(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let short = source.gives(Loaded::new(1).ttl("10s"));
    assert_eq!(
        remember!(cache, "short", short; .ttl("1h")).await.unwrap(),
        1
    );
    let left = call!(cache.ttl("short")).unwrap().duration().unwrap();
    assert!(left <= Duration::from_secs(10), "{left:?}");

    let not_stored = source.gives(Loaded::do_not_store(2));
    assert_eq!(remember!(cache, "not", not_stored).await.unwrap(), 2);
    assert!(!call!(cache.contains("not")).unwrap());

    let tagged = source.gives(Loaded::new(3).tags(["org:7"]));
    assert_eq!(
        remember!(cache, "tagged", tagged; .tags(["users"]))
            .await
            .unwrap(),
        3
    );
    assert_eq!(call!(cache.get::<u8>("tagged")).unwrap(), Some(3));
    call!(cache.invalidate_tag("org:7")).unwrap();
    assert_eq!(call!(cache.get::<u8>("tagged")).unwrap(), None);
}

/// What the loader says besides the value is wrong: the value is returned all the same.
async fn a_loaded_value_that_cannot_be_stored_is_returned(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let many: Vec<String> = (0..65).map(|number| format!("tag:{number}")).collect();
    let values = [
        Loaded::new(0).ttl("10 parsecs"),
        Loaded::new(1).ttl(Duration::ZERO),
        Loaded::new(2).ttl("0s"),
        Loaded::new(3).tags(many),
        Loaded::new(4).tags([""]),
        Loaded::new(5).tags(["x".repeat(2_000)]),
    ];
    for (number, value) in (0..).zip(values) {
        let loaded = remember!(cache, "k", source.gives(value)).await;
        assert_eq!(loaded.unwrap(), number);
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
    }
    let stats = ask!(cache.stats());
    assert_eq!((stats.not_stored, stats.load_errors), (6, 0));
    // The lease is free again: nobody waits.
    let begun = std::time::Instant::now();
    assert_eq!(remember!(cache, "k", source.gives(7)).await.unwrap(), 7);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it waited for a lease"
    );
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(7));
}

async fn so_many_loads_run_at_a_time(target: Target) {
    let options = Options {
        max_loads: Some(2),
        ..Options::default()
    };
    let ((cache, _), source) = (two(target, options), Source::new());
    let patience = Duration::from_millis(50);
    let running: Vec<_> = ["a", "b"]
        .map(|key| tokio::spawn(remember!(cache, key, source.holds(1))))
        .into();
    source.begun().await;
    source.begun().await;
    let error = remember!(cache, "c", source.gives(1); .load_timeout(patience)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Overloaded);
    source.go_on();
    source.go_on();
    for load in running {
        load.await.unwrap().unwrap();
    }
    assert_eq!(remember!(cache, "c", source.gives(1)).await.unwrap(), 1);
}

async fn a_waiter_whose_patience_ends_loads_for_all_who_wait(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let hangs = tokio::spawn(remember!(cache, "k", source.holds(1)));
    source.begun().await;
    // Far longer than the load that is waited for next, on a busy machine as well.
    let patience = Duration::from_millis(500);
    let other = Source::new();
    let impatient: Vec<_> = (0..5)
        .map(|_| {
            let slow = other.gives_after(Duration::from_millis(20), 2);
            tokio::spawn(remember!(cache, "k", slow; .load_timeout(patience)))
        })
        .collect();
    for caller in impatient {
        assert_eq!(caller.await.unwrap().unwrap(), 2);
    }
    assert!(other.loads() <= 2, "{} loads", other.loads());
    assert!(
        !call!(cache.contains("k")).unwrap(),
        "stored without a lease"
    );
    source.go_on();
    assert_eq!(hangs.await.unwrap().unwrap(), 1);
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
}

async fn a_loader_may_itself_remember(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let inner = source.gives(20);
    let sum = match cache.clone() {
        Face::Async(cache) => {
            let nested = cache.clone();
            cache
                .remember("outer", || async move {
                    let inner = nested.remember("inner", || async move { inner() }).await?;
                    Ok::<_, nearcache::Error>(inner + 1)
                })
                .await
        }
        Face::Blocking(cache) => cache
            .remember("outer", || {
                Ok::<_, nearcache::Error>(cache.remember("inner", inner).run()? + 1)
            })
            .run(),
    };
    assert_eq!(sum.unwrap(), 21);
    assert_eq!(call!(cache.get::<i32>("inner")).unwrap(), Some(20));
}

async fn a_bound_cache_remembers_its_key(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let (first, second) = (source.gives(1), source.gives(2));
    match cache.clone() {
        Face::Async(cache) => {
            let bound = cache.bind("k");
            assert_eq!(bound.remember(|| async { first() }).await.unwrap(), 1);
            assert_eq!(bound.refresh(|| async { second() }).await.unwrap(), 2);
        }
        Face::Blocking(cache) => {
            let bound = cache.bind("k");
            assert_eq!(bound.remember(first).run().unwrap(), 1);
            assert_eq!(bound.refresh(second).run().unwrap(), 2);
        }
    }
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(2));
}

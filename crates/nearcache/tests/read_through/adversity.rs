//! What goes wrong beside the source: values that cannot be stored, loaders that hang, callers of another type, leases
//! that end too early. Who asked gets a value, and nobody else pays for it.

use std::time::{Duration, Instant};

use nearcache::{ErrorKind, Loaded, blocking};
use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};

use crate::face::Face;
use crate::scene::{Source, elsewhere};
use crate::target::{Options, Target, raw};

brief_suite! {
    all_who_wait_get_a_value_that_cannot_be_encoded,
    all_who_wait_get_a_value_that_its_type_does_not_read_back,
    a_serializer_that_panics_costs_nothing_but_the_entry,
    a_waiter_of_another_type_loads_for_itself,
    what_only_its_leader_may_fail_with_is_no_answer_to_others,
    a_loader_that_hangs_holds_nobody_up_for_long,
    a_refresh_that_is_fenced_leaves_no_old_entry,
    a_refresh_that_is_not_to_be_stored_leaves_no_old_entry,
    a_batch_returns_what_it_cannot_store,
}

/// How long a test waits at most for what should be there at once.
const SOON: Duration = Duration::from_secs(9);

/// A type that cannot always be written: NaN has no form in JSON, `Panics` panics, and what `Text` writes is not read.
#[derive(Clone, Debug, PartialEq)]
enum Odd {
    Number(f64),
    Panics,
    Text,
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Odd::Number(number) => number.serialize(serializer),
            Odd::Panics => panic!("as this type does"),
            Odd::Text => "no number".serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Odd::Number)
    }
}

/// Waits until so many callers wait for another's load.
async fn coalesced(cache: &Face, count: u64) {
    while ask!(cache.stats()).coalesced < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Eight callers together, whose loaders give this. The load of the one that leads begins once all others wait.
async fn eight(target: Target, value: Odd) -> Face {
    let prefix = nearcache_testkit::random_prefix();
    let options = Options {
        prefix: &prefix,
        max_loads: Some(1),
        ..Options::default()
    };
    let cache = target.build(&target.url(&prefix), options).unwrap();
    let (other, source) = (Source::new(), Source::new());
    let busy = tokio::spawn(remember!(cache, "other", other.holds(0)));
    other.begun().await;
    let callers: Vec<_> = (0..8)
        .map(|_| tokio::spawn(remember!(cache, "k", source.gives(value.clone()))))
        .collect();
    coalesced(&cache, 7).await;
    other.go_on();
    busy.await.unwrap().unwrap();
    for caller in callers {
        let found = caller.await.unwrap().unwrap();
        assert_eq!(format!("{found:?}"), format!("{value:?}"));
    }
    assert_eq!(source.loads(), 1);
    let stats = ask!(cache.stats());
    assert_eq!((stats.not_stored, stats.load_errors), (1, 0));
    cache
}

async fn all_who_wait_get_a_value_that_cannot_be_encoded(target: Target) {
    eight(target, Odd::Number(f64::NAN)).await;
}

async fn all_who_wait_get_a_value_that_its_type_does_not_read_back(target: Target) {
    let cache = eight(target, Odd::Text).await;
    // Nothing was stored, so nobody finds what they cannot read.
    assert!(!call!(cache.contains("k")).unwrap());
}

async fn a_serializer_that_panics_costs_nothing_but_the_entry(target: Target) {
    let cache = eight(target, Odd::Panics).await;
    let source = Source::new();
    // Alone, and again: no lease is left behind.
    let begun = Instant::now();
    for _ in 0..2 {
        let found = remember!(cache, "k", source.gives(Odd::Panics)).await;
        assert_eq!(found.unwrap(), Odd::Panics);
    }
    let found = remember!(cache, "k", source.gives(Odd::Number(2.0))).await;
    assert_eq!(found.unwrap(), Odd::Number(2.0));
    assert!(begun.elapsed() < SOON, "it waited for a lease");
    assert_eq!(call!(cache.get::<f64>("k")).unwrap(), Some(2.0));
}

async fn a_waiter_of_another_type_loads_for_itself(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let text = tokio::spawn(remember!(cache, "k", source.holds("text".to_owned())));
    source.begun().await;
    let own = source.gives(vec![7_u8]);
    let numbers = tokio::spawn(remember!(cache, "k", own));
    coalesced(&cache, 1).await;
    source.go_on();
    assert_eq!(text.await.unwrap().unwrap(), "text");
    assert_eq!(numbers.await.unwrap().unwrap(), [7]);
    // The same for a type that has no nothing.
    let nothing = tokio::spawn(remember!(cache, "n", source.holds(None::<u8>)));
    source.begun().await;
    let number = tokio::spawn(remember!(cache, "n", source.gives(3_u8)));
    coalesced(&cache, 2).await;
    source.go_on();
    assert_eq!(nothing.await.unwrap().unwrap(), None);
    assert_eq!(number.await.unwrap().unwrap(), 3);
}

async fn what_only_its_leader_may_fail_with_is_no_answer_to_others(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let options = Options {
        prefix: &prefix,
        ..Options::default()
    };
    let narrow = Options {
        max_loads: Some(1),
        ..options.clone()
    };
    // Two caches of one place share their flights.
    let url = target.url(&prefix);
    let (busy, free) = (
        target.build(&url, narrow).unwrap(),
        target.build(&url, options).unwrap(),
    );
    let source = Source::new();
    let other = tokio::spawn(remember!(busy, "other", source.holds(1)));
    source.begun().await;
    let patience = Duration::from_millis(300);
    let overloaded = tokio::spawn(remember!(busy, "k", source.gives(2); .load_timeout(patience)));
    while ask!(busy.stats()).misses < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It may lead at once, or join, and then leads when the other is given up.
    let found = remember!(free, "k", source.gives(3)).await;
    assert_eq!(found.unwrap(), 3);
    match overloaded.await.unwrap() {
        Ok(found) => assert_eq!(found, 3),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Overloaded),
    }
    source.go_on();
    other.await.unwrap().unwrap();
}

async fn a_loader_that_hangs_holds_nobody_up_for_long(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let patience = Duration::from_millis(200);
    let hanging = tokio::spawn(remember!(cache, "k", source.holds(0); .load_timeout(patience)));
    source.begun().await;
    let substitute = tokio::spawn(remember!(cache, "k", source.holds(1); .load_timeout(patience)));
    source.begun().await;
    let begun = Instant::now();
    let others: Vec<_> = (0..3)
        .map(|_| tokio::spawn(remember!(cache, "k", source.gives(2); .load_timeout(patience))))
        .collect();
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), 2);
    }
    assert!(begun.elapsed() < SOON);
    source.go_on();
    source.go_on();
    for hanging in [hanging, substitute] {
        hanging.await.unwrap().unwrap();
    }
}

/// The lease key of `k` under a prefix.
fn lease_of(prefix: &str) -> String {
    format!("{prefix}:{{{prefix}:k}}#nearcache:lease")
}

async fn a_refresh_that_is_fenced_leaves_no_old_entry(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let url = target.url(&prefix);
    let (cache, source) = (target.cache_at(&url, &prefix), Source::new());
    call!(cache.set("k", &1)).unwrap();
    let refresh = tokio::spawn(refresh!(cache, "k", source.holds(2)));
    source.begun().await;
    // As if it had expired.
    let lease = lease_of(&prefix);
    let ended = raw(&cache, &[b"UNLINK", lease.as_bytes()]).await;
    assert_eq!(ended, nearcache::redis::Value::Int(1));
    source.go_on();
    assert_eq!(refresh.await.unwrap().unwrap(), 2);
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
    // What is stored next stays.
    assert_eq!(remember!(cache, "k", source.gives(3)).await.unwrap(), 3);
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(3));
}

async fn a_refresh_that_is_not_to_be_stored_leaves_no_old_entry(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let values = [
        Loaded::do_not_store(Odd::Number(2.0)),
        Loaded::new(Odd::Number(f64::NAN)),
        Loaded::new(Odd::Number(2.0)).ttl(Duration::ZERO),
    ];
    for value in values {
        call!(cache.set("k", &1)).unwrap();
        refresh!(cache, "k", source.gives(value)).await.unwrap();
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
    }
}

async fn a_batch_returns_what_it_cannot_store(target: Target) {
    let cache = target.cache();
    let keys = ["bad ttl", "fine", "too many tags", "no form"];
    let load = |keys: Vec<&'static str>| -> Result<_, std::io::Error> {
        let of = |key| {
            let value = Loaded::new(Odd::Number(1.0));
            match key {
                "bad ttl" => value.ttl(Duration::ZERO),
                "too many tags" => value.tags((0..65).map(|number| number.to_string())),
                "no form" => Loaded::new(Odd::Number(f64::INFINITY)),
                _ => value,
            }
        };
        Ok(keys
            .into_iter()
            .map(|key| (key, of(key)))
            .collect::<Vec<_>>())
    };
    let found = match cache.clone() {
        Face::Async(cache) => {
            cache
                .remember_many(keys, move |keys| async move { load(keys) })
                .await
        }
        Face::Blocking(cache) => {
            elsewhere(move || blocking::Cache::remember_many(&cache, keys, load).run()).await
        }
    };
    let one = Some(Odd::Number(1.0));
    let expected = [
        one.clone(),
        one.clone(),
        one,
        Some(Odd::Number(f64::INFINITY)),
    ];
    assert_eq!(found.unwrap(), expected);
    let mut stored = Vec::new();
    for key in keys {
        stored.push(call!(cache.contains(key)).unwrap());
    }
    assert_eq!(stored, [false, true, false, false]);
    assert_eq!(ask!(cache.stats()).not_stored, 3);
}

/// Keys whose values are stale, on a blocking cache.
fn stale(count: usize, max_loads: Option<usize>) -> (blocking::Cache, Vec<String>) {
    let clock = nearcache::embedded::Clock::manual();
    let store = nearcache::embedded::Store::builder()
        .clock(clock.clone())
        .build();
    let mut builder = blocking::Cache::builder("memory://").store(&store);
    if let Some(loads) = max_loads {
        builder = builder.max_loads(loads);
    }
    let cache = builder.build().unwrap();
    let keys: Vec<String> = (0..count).map(|number| format!("k:{number}")).collect();
    for key in &keys {
        let old = || Ok::<_, std::io::Error>(1);
        let remember = cache.remember(key, old).ttl("1m").stale_for("1h");
        assert_eq!(remember.run().unwrap(), 1);
    }
    clock.advance(Duration::from_secs(120));
    (cache, keys)
}

/// Reads each of the keys twice, while no refresh ends. Returns how many of them ran at most at a time, and in all.
fn refreshed(cache: &blocking::Cache, keys: &[String]) -> (usize, usize) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, RwLock};
    let gate = Arc::new(RwLock::new(()));
    let (now, most, all) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let closed = gate.write().unwrap();
    for _ in 0..2 {
        for key in keys {
            let (gate, now, most, all) = (gate.clone(), now.clone(), most.clone(), all.clone());
            let load = move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                all.fetch_add(1, Ordering::SeqCst);
                drop(gate.read());
                now.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, std::io::Error>(2)
            };
            let found = cache.remember(key, load).ttl("1h").stale_for("1h").run();
            assert_eq!(found.unwrap(), 1);
        }
    }
    drop(closed);
    let begun = Instant::now();
    while cache.get_many::<u8>(keys).run().unwrap() != vec![Some(2); keys.len()] {
        assert!(begun.elapsed() < 4 * SOON, "they are not refreshed");
        std::thread::sleep(Duration::from_millis(5));
    }
    (most.load(Ordering::SeqCst), all.load(Ordering::SeqCst))
}

#[test]
fn refreshes_of_a_blocking_cache_run_on_a_few_threads() {
    let (cache, keys) = stale(500, None);
    let (most, all) = refreshed(&cache, &keys);
    assert!(most <= 16, "{most} at a time");
    assert_eq!(all, 500, "each once");
}

#[test]
fn max_loads_holds_for_refreshes_of_a_blocking_cache() {
    let (cache, keys) = stale(100, Some(2));
    let (most, all) = refreshed(&cache, &keys);
    assert!(most <= 2, "{most} at a time");
    assert_eq!(all, 100, "each once");
}

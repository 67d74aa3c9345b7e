//! The forms of a loader: one that cannot fail, and one for many values by their ids.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nearcache::{BoxError, Cache, ErrorKind, Loaded, Lookup, blocking};

use crate::face::run;

#[test]
fn a_loader_that_cannot_fail_returns_the_value_itself() {
    run(async {
        let cache = Cache::open("memory://").unwrap();
        let factor = 6;
        let answer = cache
            .remember_with("answer", async move || 7 * factor)
            .await;
        assert_eq!(answer.unwrap(), 42);
        let kept: i32 = cache
            .remember_with("answer", || async { 0 })
            .ttl("1h")
            .await
            .unwrap();
        assert_eq!(kept, 42);
        let fresh: i32 = cache.refresh_with("answer", || async { 43 }).await.unwrap();
        assert_eq!(fresh, 43);
        // An `Option` is cached, a `Loaded` sets its options.
        let none: Option<u8> = cache.remember_with("none", async || None).await.unwrap();
        assert_eq!(none, None);
        let bound = cache.bind("tagged");
        let tagged = bound.remember_with(async || Loaded::new(1).tags(["t"]));
        assert_eq!(tagged.stale_for("1m").await.unwrap(), 1);
        cache.invalidate_tag("t").await.unwrap();
        assert_eq!(bound.remember_with(async || 2).await.unwrap(), 2);
        assert_eq!(bound.refresh_with(async || 3).await.unwrap(), 3);
        let panicked = cache.remember_with("bad", async || -> u8 { panic!("no database") });
        assert_eq!(panicked.await.unwrap_err().kind(), ErrorKind::Loader);
    });
}

#[test]
fn a_blocking_loader_that_cannot_fail_may_borrow() {
    let cache = blocking::Cache::open("memory://").unwrap();
    let text = String::from("cached");
    let length = cache.remember_with("length", || text.len()).run().unwrap();
    assert_eq!(length, 6);
    assert_eq!(
        cache
            .refresh_with("length", || text.len() + 1)
            .run()
            .unwrap(),
        7
    );
    let bound = cache.bind("length");
    assert_eq!(bound.remember_with(|| 0_usize).run().unwrap(), 7);
    assert_eq!(bound.refresh_with(|| 8_usize).run().unwrap(), 8);
    let lengths = cache
        .remember_many_with(["a", "bcd"], |words| {
            words
                .into_iter()
                .map(|word| (word, text.len() + word.len()))
                .collect::<Vec<_>>()
        })
        .run();
    assert_eq!(lengths.unwrap(), [Some(7), Some(9)]);
    // In the background it owns what it uses.
    let beside = cache
        .remember_with("beside", move || text.len())
        .stale_for("1m");
    assert_eq!(beside.run().unwrap(), 6);
}

#[test]
fn a_loader_of_many_that_cannot_fail_returns_its_pairs() {
    run(async {
        let cache = Cache::open("memory://").unwrap();
        let lengths = cache
            .remember_many_with(["a", "bcd", "a"], async |words: Vec<&'static str>| {
                words
                    .into_iter()
                    .map(|word| (word, word.len()))
                    .collect::<HashMap<_, _>>()
            })
            .await;
        assert_eq!(lengths.unwrap(), [Some(1), Some(3), Some(1)]);
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id(u32);

fn key_of(id: &Id) -> String {
    format!("user:{}", id.0)
}

#[test]
fn values_are_loaded_by_ids_of_a_type_of_their_own_and_come_in_their_order() {
    run(async {
        let cache = Cache::open("memory://").unwrap();
        cache.set("user:2", "two").await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let names: Vec<Option<String>> = cache
            .remember_many_by([3, 2, 1, 3].map(Id), key_of, move |missing: Vec<Id>| {
                counted.fetch_add(missing.len(), Ordering::Relaxed);
                async move {
                    let known = missing.into_iter().filter(|id| id.0 != 1).rev();
                    let names = known.map(|id| (id, format!("loaded {}", id.0)));
                    Ok::<_, BoxError>(names.collect::<HashMap<Id, String>>())
                }
            })
            .ttl("1h")
            .stale_for("1m")
            .await
            .unwrap();
        let names: Vec<_> = names.iter().map(Option::as_deref).collect();
        assert_eq!(
            names,
            [Some("loaded 3"), Some("two"), None, Some("loaded 3")]
        );
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        // What was not found is cached, too.
        assert_eq!(
            cache.lookup::<String>("user:1").await.unwrap(),
            Lookup::Nothing
        );
        assert_eq!(
            cache.get("user:3").await.unwrap(),
            Some("loaded 3".to_owned())
        );
    });
}

#[test]
fn a_blocking_loader_of_ids_may_borrow() {
    let cache = blocking::Cache::open("memory://").unwrap();
    let names = HashMap::from([(Id(1), "one"), (Id(2), "two")]);
    let found: Vec<Option<String>> = cache
        .remember_many_by([Id(2), Id(9)], key_of, |missing| {
            let name = |id: Id| Some((id, (*names.get(&id)?).to_owned()));
            Ok::<_, BoxError>(missing.into_iter().filter_map(name).collect::<Vec<_>>())
        })
        .run()
        .unwrap();
    assert_eq!(found, [Some("two".to_owned()), None]);
    let bad = cache.remember_many_by([Id(1)], |_| "", |_| Ok::<[(Id, u8); 0], BoxError>([]));
    assert_eq!(bad.run().unwrap_err().kind(), ErrorKind::InvalidKey);
}

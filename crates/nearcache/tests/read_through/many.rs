//! `remember_many`: one read, one load, one write, and every value in its place.

use std::sync::Arc;
use std::time::Duration;

use nearcache::{ErrorKind, Loaded, Raw};
use parking_lot::Mutex;

use crate::face::Face;
use crate::scene::{Source, elsewhere};
use crate::target::{Options, Target};

brief_suite! {
    the_missing_ones_are_loaded_with_one_call,
    values_come_in_the_callers_order_also_twice,
    what_the_loader_does_not_return_is_remembered_as_nothing,
    a_format_without_a_nothing_asks_again,
    options_hold_for_each_of_them,
    an_error_is_the_answer_and_nothing_is_stored,
    a_key_that_another_loads_is_waited_for,
    two_that_wait_for_each_other_both_end,
    an_invalidation_fences_only_its_key,
    thousands_are_split,
    no_keys_are_no_work,
    bypass_and_force_do_not_read,
    a_key_that_is_loaded_elsewhere_is_waited_for,
}

/// What a loader was asked for, call by call.
#[derive(Clone, Debug, Default)]
struct Asked(Arc<Mutex<Vec<Vec<String>>>>);

impl Asked {
    /// A loader that gives each key's length, for those that this accepts.
    fn lengths(
        &self,
        accept: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> impl Fn(Vec<String>) -> Result<Vec<(String, usize)>, std::io::Error> + Send + Sync + 'static
    {
        let asked = self.clone();
        move |keys| {
            let mut sorted = keys.clone();
            sorted.sort();
            asked.0.lock().push(sorted);
            let pairs = keys.into_iter().filter(|key| accept(key));
            // Not in the order of the question.
            Ok(pairs.rev().map(|key| (key.clone(), key.len())).collect())
        }
    }

    fn calls(&self) -> Vec<Vec<String>> {
        self.0.lock().clone()
    }
}

/// `remember_many` on either face, beside which others can go on.
macro_rules! remember_many {
    ($face:expr, $keys:expr, $load:expr $(; $($options:tt)*)?) => {{
        let (face, keys, load) = ($face.clone(), texts($keys), Arc::new($load));
        async move {
            match face {
                Face::Async(cache) => {
                    cache
                        .remember_many(keys, move |missing| {
                            let load = Arc::clone(&load);
                            elsewhere(move || load(missing))
                        })
                        $($($options)*)?
                        .await
                }
                Face::Blocking(cache) => {
                    elsewhere(move || {
                        cache.remember_many(keys, move |missing| load(missing)) $($($options)*)? .run()
                    })
                    .await
                }
            }
        }
    }};
}

fn texts<'k>(keys: impl IntoIterator<Item = &'k str>) -> Vec<String> {
    keys.into_iter().map(str::to_owned).collect()
}

async fn the_missing_ones_are_loaded_with_one_call(target: Target) {
    let (cache, asked) = (target.cache(), Asked::default());
    call!(cache.set("bb", &20)).unwrap();
    let found = remember_many!(cache, ["a", "bb", "ccc"], asked.lengths(|_| true)).await;
    assert_eq!(found.unwrap(), [Some(1), Some(20), Some(3)]);
    assert_eq!(asked.calls(), [["a", "ccc"]]);
    let found = remember_many!(cache, ["ccc", "bb", "a"], asked.lengths(|_| true)).await;
    assert_eq!(found.unwrap(), [Some(3), Some(20), Some(1)]);
    assert_eq!(asked.calls().len(), 1);
    assert_eq!(call!(cache.get::<usize>("ccc")).unwrap(), Some(3));
    let stats = ask!(cache.stats());
    assert_eq!((stats.hits, stats.misses, stats.loads), (5, 2, 1));
}

async fn values_come_in_the_callers_order_also_twice(target: Target) {
    let (cache, asked) = (target.cache(), Asked::default());
    let keys = ["x", "yy", "x", "zzz", "yy", "x"];
    let found = remember_many!(cache, keys, asked.lengths(|key| key != "zzz")).await;
    assert_eq!(
        found.unwrap(),
        [Some(1), Some(2), Some(1), None, Some(2), Some(1)]
    );
    assert_eq!(asked.calls(), [["x", "yy", "zzz"]]);
}

async fn what_the_loader_does_not_return_is_remembered_as_nothing(target: Target) {
    let (cache, asked) = (target.cache(), Asked::default());
    for _ in 0..2 {
        let some = asked.lengths(|key| key != "gone");
        let found =
            remember_many!(cache, ["here", "gone"], some; .ttl("1h").negative_ttl("1m")).await;
        assert_eq!(found.unwrap(), [Some(4), None]);
    }
    assert_eq!(asked.calls().len(), 1);
    let left = call!(cache.ttl("gone")).unwrap().duration().unwrap();
    assert!(left <= Duration::from_secs(60), "{left:?}");
}

async fn a_format_without_a_nothing_asks_again(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    for _ in 0..2 {
        let counted = source.clone();
        let load = move |_: Vec<String>| counted.gives(vec![("a", Raw(b"1".to_vec()))])();
        let found = remember_many!(cache, ["a", "b"], load).await;
        assert_eq!(found.unwrap(), [Some(Raw(b"1".to_vec())), None]);
    }
    assert_eq!(source.loads(), 2);
}

async fn options_hold_for_each_of_them(target: Target) {
    let (cache, asked) = (target.cache(), Asked::default());
    let found = remember_many!(cache, ["a", "b"], asked.lengths(|_| true); .ttl("1h").tags(["t"]));
    found.await.unwrap();
    assert!(call!(cache.ttl("b")).unwrap().duration().is_some());
    call!(cache.invalidate_tag("t")).unwrap();
    let load = move |keys: Vec<String>| -> Result<Vec<_>, std::io::Error> {
        let pairs = keys.into_iter().map(|key| {
            let tags = [format!("tag of {key}")];
            (key, Loaded::new(9).ttl("10s").tags(tags))
        });
        Ok(pairs.collect())
    };
    let found = remember_many!(cache, ["a", "b"], load; .ttl("1h").tags(["t"])).await;
    assert_eq!(found.unwrap(), [Some(9), Some(9)]);
    let left = call!(cache.ttl("a")).unwrap().duration().unwrap();
    assert!(left <= Duration::from_secs(10), "{left:?}");
    call!(cache.invalidate_tag("tag of a")).unwrap();
    let found: Vec<Option<i32>> = call!(cache.get_many(["a", "b"])).unwrap();
    assert_eq!(found, [None, Some(9)]);
}

async fn an_error_is_the_answer_and_nothing_is_stored(target: Target) {
    let cache = target.cache();
    call!(cache.set("a", &1)).unwrap();
    let fails = |_: Vec<String>| Err::<Vec<(String, usize)>, _>(std::io::Error::other("no disk"));
    let error = remember_many!(cache, ["a", "b"], fails).await.unwrap_err();
    assert!(error.downcast_ref::<std::io::Error>().is_some(), "{error}");
    assert!(!call!(cache.contains("b")).unwrap());
    let asked = Asked::default();
    let found = remember_many!(cache, ["a", "b"], asked.lengths(|_| true)).await;
    assert_eq!(found.unwrap(), [Some(1), Some(1)]);
    let error = remember_many!(cache, ["a", ""], asked.lengths(|_| true)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidKey);
}

async fn a_key_that_another_loads_is_waited_for(target: Target) {
    let (cache, source, asked) = (target.cache(), Source::new(), Asked::default());
    let first = tokio::spawn(remember!(cache, "a", source.holds(100_usize)));
    source.begun().await;
    let many = tokio::spawn(remember_many!(cache, ["a", "b"], asked.lengths(|_| true)));
    while asked.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    source.go_on();
    assert_eq!(first.await.unwrap().unwrap(), 100);
    assert_eq!(many.await.unwrap().unwrap(), [Some(100), Some(1)]);
    assert_eq!(asked.calls(), [["b"]]);
}

async fn two_that_wait_for_each_other_both_end(target: Target) {
    let cache = target.cache();
    let both: Vec<_> = (0..20)
        .map(|number| {
            let mut keys = ["a", "b", "c", "d"];
            keys.rotate_left(number % 4);
            let load = Asked::default();
            tokio::spawn(remember_many!(cache, keys, load.lengths(|_| true)))
        })
        .collect();
    for call in both {
        assert_eq!(call.await.unwrap().unwrap(), [Some(1); 4]);
    }
}

async fn an_invalidation_fences_only_its_key(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    let held = source.clone();
    let load = move |keys: Vec<String>| {
        let pairs: Vec<_> = keys.into_iter().map(|key| (key, 1)).collect();
        held.holds(pairs)()
    };
    let many = tokio::spawn(remember_many!(cache, ["a", "b"], load));
    source.begun().await;
    call!(cache.delete("a")).unwrap();
    source.go_on();
    assert_eq!(many.await.unwrap().unwrap(), [Some(1), Some(1)]);
    let found: Vec<Option<i32>> = call!(cache.get_many(["a", "b"])).unwrap();
    assert_eq!(found, [None, Some(1)]);
}

async fn thousands_are_split(target: Target) {
    let (cache, asked) = (target.cache(), Asked::default());
    let keys: Vec<String> = (0..2_500).map(|number| format!("key:{number}")).collect();
    let names = || keys.iter().map(String::as_str);
    for _ in 0..2 {
        let found = remember_many!(cache, names(), asked.lengths(|_| true))
            .await
            .unwrap();
        let expected: Vec<_> = keys.iter().map(|key| Some(key.len())).collect();
        assert_eq!(found, expected);
    }
    assert_eq!(asked.calls().len(), 1);
}

async fn no_keys_are_no_work(target: Target) {
    let (cache, asked) = (target.cache(), Asked::default());
    let found = remember_many!(cache, [], asked.lengths(|_| true)).await;
    assert_eq!(found.unwrap(), []);
    assert!(asked.calls().is_empty());
}

async fn bypass_and_force_do_not_read(target: Target) {
    let (cache, asked) = (target.cache(), Asked::default());
    call!(cache.set_many([("a", 10), ("b", 20)])).unwrap();
    let found = remember_many!(cache, ["a", "b"], asked.lengths(|_| true); .bypass()).await;
    assert_eq!(found.unwrap(), [Some(1), Some(1)]);
    call!(cache.set_many([("a", 10), ("b", 20)])).unwrap();
    let found = remember_many!(cache, ["a", "b"], asked.lengths(|_| true); .force()).await;
    assert_eq!(found.unwrap(), [Some(1), Some(1)]);
    let found: Vec<Option<usize>> = call!(cache.get_many(["a", "b"])).unwrap();
    assert_eq!(found, [Some(1), Some(1)]);
}

async fn a_key_that_is_loaded_elsewhere_is_waited_for(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let url = target.url(&prefix);
    let with = if url.contains('?') { '&' } else { '?' };
    let options = Options {
        prefix: &prefix,
        ..Options::default()
    };
    let here = target.build(&url, options.clone()).unwrap();
    let there = target
        .build(&format!("{url}{with}client_name=other"), options)
        .unwrap();
    let (source, asked) = (Source::new(), Asked::default());
    let first = tokio::spawn(remember!(here, "a", source.holds(100_usize)));
    source.begun().await;
    let many = tokio::spawn(remember_many!(there, ["a", "b"], asked.lengths(|_| true)));
    while ask!(there.stats()).lease_waits == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    source.go_on();
    assert_eq!(first.await.unwrap().unwrap(), 100);
    assert_eq!(many.await.unwrap().unwrap(), [Some(100), Some(1)]);
    assert_eq!(asked.calls(), [["b"]]);
}

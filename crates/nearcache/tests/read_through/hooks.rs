//! Hooks: what they are told of each verb, and that they break nothing.

use std::sync::Arc;
use std::time::Duration;

use nearcache::hooks::{Call, Done, Hook};
use nearcache::{Cache, Error, blocking};
use parking_lot::Mutex;

use crate::face::Face;
use crate::scene::Source;
use crate::target::Target;

brief_suite! {
    every_verb_is_told_with_its_outcome,
    a_load_is_told_with_its_own_outcome,
    an_error_is_told_instead_of_an_outcome,
    a_hook_that_panics_breaks_nothing,
}

/// Writes down what it is told.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Hook for Recorder {
    fn before(&self, call: &Call<'_>) {
        assert!(call.key_count() == 1 || call.key().is_none());
        assert!(!call.host().is_empty());
    }

    fn after(&self, call: &Call<'_>, done: &Done) {
        let keys: Vec<_> = call.keys().map(String::from_utf8_lossy).collect();
        let (command, keys) = (call.command(), keys.join(","));
        let Done {
            outcome,
            hits,
            misses,
            bytes,
            ..
        } = done;
        let line = format!(
            "{command} {keys}: {} {hits}/{misses} {bytes}",
            outcome.as_str()
        );
        self.0.lock().push(line);
    }

    fn error(&self, call: &Call<'_>, error: &Error, took: Duration) {
        assert!(took < Duration::from_secs(60));
        let line = format!("{}: {:?}", call.command(), error.kind());
        self.0.lock().push(line);
    }
}

/// A cache with this hook.
/// Longer than any machine is busy: what is told is not that Redis was slow.
const PATIENT: std::time::Duration = std::time::Duration::from_secs(20);

fn hooked(target: Target, hook: impl Hook) -> Face {
    let prefix = nearcache_testkit::random_prefix();
    let url = target.url(&prefix);
    if target.is_blocking() {
        let builder = blocking::Cache::builder(&url)
            .prefix(prefix)
            .timeout(PATIENT)
            .hook(hook);
        Face::Blocking(builder.build().unwrap())
    } else {
        let builder = Cache::builder(&url)
            .prefix(prefix)
            .timeout(PATIENT)
            .hook(hook);
        Face::Async(builder.build().unwrap())
    }
}

async fn every_verb_is_told_with_its_outcome(target: Target) {
    let recorder = Arc::new(Recorder::default());
    let cache = hooked(target, Arc::clone(&recorder));
    call!(cache.set("a", "xyz").ttl("1h")).unwrap();
    call!(cache.get::<String>("a")).unwrap();
    call!(cache.lookup::<String>("b")).unwrap();
    call!(cache.add("a", &1)).unwrap();
    call!(cache.get::<u8>("a")).unwrap();
    call!(cache.set("a", &1)).unwrap();
    call!(cache.replace("a", &1)).unwrap();
    call!(cache.contains("a")).unwrap();
    call!(cache.take::<u8>("a")).unwrap();
    call!(cache.set("n", &None::<u8>)).unwrap();
    call!(cache.get::<u8>("n")).unwrap();
    call!(cache.set_many([("a", 1), ("b", 22)]).tags(["t"])).unwrap();
    call!(cache.get_many::<u8>(["a", "b", "c"])).unwrap();
    call!(cache.incr("i")).unwrap();
    call!(cache.decr("i")).unwrap();
    call!(cache.counter("i")).unwrap();
    call!(cache.touch("i").ttl("1h")).unwrap();
    call!(cache.expire("i", "1h")).unwrap();
    call!(cache.ttl("i")).unwrap();
    call!(cache.persist("i")).unwrap();
    call!(cache.invalidate_tag("t")).unwrap();
    call!(cache.delete("a")).unwrap();
    call!(cache.delete_many(["b", "c"])).unwrap();
    call!(cache.delete_pattern("i*")).unwrap();
    call!(cache.clear()).unwrap();
    call!(cache.ping()).unwrap();
    assert_eq!(
        recorder.told(),
        [
            "set a: stored 0/0 5",
            "get a: hit 1/0 5",
            "lookup b: miss 0/1 0",
            "add a: not_stored 0/0 0",
            "get a: miss 0/1 5",
            "set a: stored 0/0 1",
            "replace a: stored 0/0 1",
            "contains a: hit 1/0 0",
            "take a: hit 1/0 1",
            "set n: stored 0/0 4",
            "get n: nothing 1/0 4",
            "set_many a,b: done 0/0 53",
            "get_many a,b,c: done 2/1 53",
            "incr i: done 0/0 0",
            "decr i: done 0/0 0",
            "counter i: hit 1/0 1",
            "touch i: done 0/0 0",
            "expire i: done 0/0 0",
            "ttl i: done 0/0 0",
            "persist i: done 0/0 0",
            "invalidate_tags t: done 0/0 0",
            "delete a: done 0/0 0",
            "delete_many b,c: done 0/0 0",
            "delete_pattern i*: done 0/0 0",
            "clear : done 0/0 0",
            "ping : done 0/0 0",
        ]
    );
}

async fn a_load_is_told_with_its_own_outcome(target: Target) {
    let (recorder, source) = (Arc::new(Recorder::default()), Source::new());
    let cache = hooked(target, Arc::clone(&recorder));
    for _ in 0..2 {
        remember!(cache, "k", source.gives(123)).await.unwrap();
    }
    refresh!(cache, "k", source.gives(4)).await.unwrap();
    assert_eq!(
        recorder.told(),
        [
            "load k: stored 0/0 3",
            "remember k: miss 0/1 0",
            "remember k: hit 1/0 3",
            "load k: stored 0/0 1",
            "refresh k: done 0/0 0",
        ]
    );
    let old = tokio::spawn(remember!(cache, "fenced", source.holds(1)));
    source.begun().await;
    call!(cache.delete("fenced")).unwrap();
    source.go_on();
    old.await.unwrap().unwrap();
    assert!(
        recorder
            .told()
            .contains(&"load fenced: fenced 0/0 0".to_owned())
    );
}

async fn an_error_is_told_instead_of_an_outcome(target: Target) {
    let (recorder, source) = (Arc::new(Recorder::default()), Source::new());
    let cache = hooked(target, Arc::clone(&recorder));
    remember!(cache, "k", source.fails::<u8>())
        .await
        .unwrap_err();
    call!(cache.set("text", "x")).unwrap();
    call!(cache.incr("text")).unwrap_err();
    assert_eq!(
        recorder.told(),
        [
            "load: Loader",
            "remember: Loader",
            "set text: stored 0/0 3",
            "incr: NotInteger"
        ]
    );
}

async fn a_hook_that_panics_breaks_nothing(target: Target) {
    struct Panics;
    impl Hook for Panics {
        fn before(&self, _: &Call<'_>) {
            panic!("before");
        }
        fn after(&self, _: &Call<'_>, _: &Done) {
            panic!("after");
        }
    }
    let (cache, source) = (hooked(target, Panics), Source::new());
    call!(cache.set("k", &1)).unwrap();
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
    assert_eq!(remember!(cache, "r", source.gives(2)).await.unwrap(), 2);
}

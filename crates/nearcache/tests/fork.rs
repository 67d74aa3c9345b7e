//! A process that forks with an open cache: parent and child each get their own replies.
//!
//! There is one test, so that nothing else runs in the process that forks.

#![cfg(unix)]

use nearcache::{Cache, blocking};
use nearcache_testkit::{Fork, Redis};
use tokio::runtime::{Builder, Runtime};

const CALLS: u32 = 500;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn call(cache: &blocking::Cache, who: &str) {
    for n in 0..CALLS {
        cache.set(who, &n).run().unwrap();
        assert_eq!(cache.get::<u32>(who).run().unwrap(), Some(n), "{who}");
    }
}

async fn call_async(cache: &Cache, who: &str) {
    for n in 0..CALLS {
        cache.set(who, &n).await.unwrap();
        assert_eq!(cache.get::<u32>(who).await.unwrap(), Some(n), "{who}");
    }
}

#[test]
fn after_a_fork_parent_and_child_each_get_their_own_replies() {
    let redis = Redis::start();
    for url in [redis.url(), redis.unix_url()] {
        let url = format!("{url}?timeout=20s&breaker=off");

        let cache = blocking::Cache::connect(&url).unwrap();
        call(&cache, "parent");
        let child = Fork::of(|| call(&cache, "child"));
        call(&cache, "parent");
        assert!(child.succeeded(), "blocking, {url}");
        call(&cache, "parent");
        let stats = cache.stats();
        assert_eq!((stats.connects, stats.losses), (1, 0), "{stats:?}");

        let parent = runtime();
        let cache = parent.block_on(Cache::connect(&url)).unwrap();
        parent.block_on(call_async(&cache, "parent"));
        let child = Fork::of(|| runtime().block_on(call_async(&cache, "child")));
        parent.block_on(call_async(&cache, "parent"));
        assert!(child.succeeded(), "async, {url}");
        // A child that does not use it drops its copy.
        let mut cache = Some(cache);
        let child = Fork::of(|| drop(cache.take()));
        assert!(child.succeeded());
        let cache = cache.expect("the parent's is still here");
        parent.block_on(call_async(&cache, "parent"));
        let stats = cache.stats();
        assert_eq!((stats.connects, stats.losses), (1, 0), "{stats:?}");
    }
}

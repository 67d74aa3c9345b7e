//! What goes with a decorated function.

use std::sync::Arc;

use nearcache::{Cache, blocking, cached};
use tokio::sync::Semaphore;

use crate::{Runs, everywhere, everywhere_blocking};

#[cached(cache = cache, key = "n:{n}", ttl = "1h")]
async fn run(cache: &Cache, n: u32, runs: &Runs) -> Result<usize, nearcache::Error> {
    Ok(runs.add())
}

#[cached(cache = cache, key = "n:{n}", ttl = "1h")]
fn run_blocking(cache: &blocking::Cache, n: u32, runs: &Runs) -> Option<usize> {
    Some(runs.add())
}

#[test]
fn invalidate_refresh_prime_and_the_call_without_a_cache() {
    everywhere(async |scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        assert_eq!(run(cache, 1, &runs).await.unwrap(), 1);
        assert!(run::invalidate(cache, 1, &runs).await.unwrap());
        assert!(!run::invalidate(cache, 1, &runs).await.unwrap());
        assert_eq!(run(cache, 1, &runs).await.unwrap(), 2);
        assert_eq!(run::refresh(cache, 1, &runs).await.unwrap(), 3);
        assert_eq!(run(cache, 1, &runs).await.unwrap(), 3);
        assert_eq!(run::uncached(cache, 1, &runs).await.unwrap(), 4);
        assert_eq!(run(cache, 1, &runs).await.unwrap(), 3);
        // What is primed is the value, or what the function would have returned.
        run::prime(cache, 1, &runs, 50).await.unwrap();
        assert_eq!(run(cache, 1, &runs).await.unwrap(), 50);
        run::prime(cache, 1, &runs, Ok(60)).await.unwrap();
        assert_eq!(run(cache, 1, &runs).await.unwrap(), 60);
        let error = cache.get::<u8>("").await.unwrap_err();
        run::prime(cache, 1, &runs, Err(error)).await.unwrap();
        assert_eq!(run(cache, 1, &runs).await.unwrap(), 60);
        let left = cache.ttl(run::key(cache, 1, &runs).unwrap()).await.unwrap();
        assert!(left.duration().is_some());
        assert_eq!(runs.count(), 4);
    });
    everywhere_blocking(|scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        assert_eq!(run_blocking(cache, 1, &runs), Some(1));
        assert!(run_blocking::invalidate(cache, 1, &runs).unwrap());
        assert_eq!(run_blocking::refresh(cache, 1, &runs), Some(2));
        assert_eq!(run_blocking::uncached(cache, 1, &runs), Some(3));
        assert_eq!(run_blocking(cache, 1, &runs), Some(2));
        run_blocking::prime(cache, 1, &runs, None).unwrap();
        assert_eq!(run_blocking(cache, 1, &runs), None);
        run_blocking::prime(cache, 1, &runs, Some(7)).unwrap();
        assert_eq!(run_blocking(cache, 1, &runs), Some(7));
        assert_eq!(run_blocking::key(cache, 1, &runs).unwrap(), "n:1");
    });
}

#[test]
fn what_was_loaded_before_an_invalidation_is_not_cached_after_it() {
    everywhere(async |scene| {
        #[cached(cache = cache, key = "slow")]
        async fn slow(cache: &Cache, go_on: &Arc<Semaphore>, runs: &Runs) -> usize {
            let run = runs.add();
            let _ = go_on.acquire().await;
            run
        }
        let (go_on, runs) = (Arc::new(Semaphore::new(0)), Runs::default());
        let loading = {
            let (cache, go_on, runs) = (scene.cache.clone(), go_on.clone(), runs.clone());
            tokio::spawn(async move { slow(&cache, &go_on, &runs).await })
        };
        while runs.count() == 0 {
            tokio::task::yield_now().await;
        }
        slow::invalidate(&scene.cache, &go_on, &runs).await.unwrap();
        go_on.add_permits(2);
        assert_eq!(loading.await.unwrap(), 1);
        assert_eq!(slow(&scene.cache, &go_on, &runs).await, 2);
    });
}

/// Whether a value is a nothing is asked of the value: JSON has no form for this one.
#[cfg(feature = "msgpack")]
#[tokio::test]
async fn prime_takes_what_the_caches_format_takes() {
    use std::collections::BTreeMap;

    #[cached(cache = cache, key = "pairs", negative_ttl = "1m")]
    async fn pairs(cache: &Cache) -> Option<BTreeMap<(u8, u8), u8>> {
        None
    }
    let cache = Cache::builder("memory://").codec(nearcache::Codec::message_pack());
    let cache = cache.build().unwrap();
    let value = Some(BTreeMap::from([((1, 2), 3)]));
    pairs::prime(&cache, value.clone()).await.unwrap();
    assert_eq!(pairs(&cache).await, value);
    assert_eq!(
        cache.ttl("pairs").await.unwrap(),
        nearcache::Remaining::Forever
    );
    pairs::prime(&cache, None).await.unwrap();
    assert!(matches!(
        cache.ttl("pairs").await.unwrap(),
        nearcache::Remaining::In(_)
    ));
}

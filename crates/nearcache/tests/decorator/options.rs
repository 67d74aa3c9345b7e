//! What the options of `remember` do for a decorated function.

use std::time::Duration;

use nearcache::embedded::{Clock, Store};
use nearcache::{Cache, Remaining, Ttl, blocking, cached};

use crate::{Runs, everywhere, everywhere_blocking};

/// Whether a key has so many seconds left, or no end: tests take a moment.
async fn lasts(cache: &Cache, key: nearcache::Result<nearcache::Key>, seconds: u64) {
    let left = cache.ttl(key.unwrap()).await.unwrap();
    let expected = match left {
        Remaining::Missing => false,
        Remaining::Forever => seconds == FOREVER,
        Remaining::In(left) => {
            let least = seconds.saturating_sub(3);
            (least..=seconds).contains(&(left.as_millis().div_ceil(1_000) as u64))
        }
    };
    assert!(expected, "{left:?}, not {seconds} s");
}

const FOREVER: u64 = u64::MAX;

mod ttl {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[cached(cache = cache, ttl = "1m30s")]
    pub(super) async fn text(cache: &Cache) -> u8 {
        1
    }

    #[cached(cache = cache, ttl = 60)]
    pub(super) async fn seconds(cache: &Cache) -> u8 {
        1
    }

    #[cached(cache = cache, ttl = TEN * 2)]
    pub(super) async fn expression(cache: &Cache) -> u8 {
        1
    }

    #[cached(cache = cache, ttl = minutes * 60)]
    pub(super) async fn over_arguments(cache: &Cache, minutes: u64) -> u8 {
        1
    }

    #[cached(cache = cache, ttl = |_, minutes, unit| format!("{minutes}{unit}"))]
    pub(super) async fn closure(cache: &Cache, minutes: u64, unit: &str) -> u8 {
        1
    }

    #[cached(cache = cache, ttl = Ttl::from_secs(seconds))]
    pub(super) async fn result(cache: &Cache, seconds: u64) -> nearcache::Result<u8> {
        Ok(1)
    }

    #[cached(cache = cache, ttl = (seconds > 0).then_some(seconds))]
    pub(super) async fn option(cache: &Cache, seconds: u64) -> u8 {
        1
    }

    #[cached(cache = cache, forever)]
    pub(super) async fn forever(cache: &Cache) -> u8 {
        1
    }

    #[cached(
        cache = cache,
        ttl = "1m",
        negative_ttl = "5s",
        ttl_of = |found: &Option<u64>| found.filter(|n| *n > 10)
    )]
    pub(super) async fn of_the_value(cache: &Cache, n: u64) -> Option<u64> {
        (n > 0).then_some(n)
    }

    #[cached(cache = cache, ttl_of = seconds_of)]
    pub(super) fn of_the_value_blocking(
        cache: &blocking::Cache,
        n: u64,
    ) -> Result<u64, nearcache::Error> {
        Ok(n)
    }

    fn seconds_of(n: &u64) -> Duration {
        Duration::from_secs(*n)
    }
}

#[test]
fn a_ttl_is_a_literal_an_expression_or_a_closure() {
    everywhere(async |scene| {
        let cache = &scene.cache;
        ttl::text(cache).await;
        lasts(cache, ttl::text::key(cache), 90).await;
        ttl::seconds(cache).await;
        lasts(cache, ttl::seconds::key(cache), 60).await;
        ttl::expression(cache).await;
        lasts(cache, ttl::expression::key(cache), 20).await;
        ttl::over_arguments(cache, 2).await;
        lasts(cache, ttl::over_arguments::key(cache, 2), 120).await;
        ttl::closure(cache, 3, "m").await;
        lasts(cache, ttl::closure::key(cache, 3, "m"), 180).await;
        ttl::result(cache, 7).await.unwrap();
        lasts(cache, ttl::result::key(cache, 7), 7).await;
        ttl::result(cache, 0).await.unwrap_err();
        ttl::option(cache, 8).await;
        lasts(cache, ttl::option::key(cache, 8), 8).await;
        ttl::option(cache, 0).await;
        lasts(cache, ttl::option::key(cache, 0), FOREVER).await;
        ttl::forever(cache).await;
        lasts(cache, ttl::forever::key(cache), FOREVER).await;
    });
}

#[test]
fn a_ttl_of_the_value_goes_first_where_it_says_one() {
    everywhere(async |scene| {
        let cache = &scene.cache;
        for (n, seconds) in [(0, 5), (1, 60), (20, 20)] {
            ttl::of_the_value(cache, n).await;
            let key = ttl::of_the_value::key(cache, n);
            lasts(cache, key, seconds).await;
        }
        // To prime it is to be told of the value as well.
        for (n, seconds) in [(None, 5), (Some(1), 60), (Some(30), 30)] {
            ttl::of_the_value::prime(cache, 100, n).await.unwrap();
            let key = ttl::of_the_value::key(cache, 100);
            lasts(cache, key, seconds).await;
        }
    });
    everywhere_blocking(|scene| {
        let cache = &scene.cache;
        ttl::of_the_value_blocking(cache, 9).unwrap();
        let key = ttl::of_the_value_blocking::key(cache, 9).unwrap();
        let left = cache.ttl(key).run().unwrap().duration().unwrap();
        assert!(left > Duration::from_secs(5) && left <= Duration::from_secs(9));
    });
}

mod when {
    use super::*;

    #[cached(cache = cache, key = "k", bypass = |_, fresh, _| *fresh)]
    pub(super) async fn bypass(cache: &Cache, fresh: bool, runs: &Runs) -> usize {
        runs.add()
    }

    #[cached(cache = cache, key = "k", force = fresh)]
    pub(super) async fn force(cache: &Cache, fresh: bool, runs: &Runs) -> usize {
        runs.add()
    }

    #[cached(cache = cache, key = "k", bypass)]
    pub(super) fn always(cache: &blocking::Cache, runs: &Runs) -> usize {
        runs.add()
    }

    #[cached(cache = cache, key = "{id}", condition = id.is_multiple_of(2))]
    pub(super) async fn condition(cache: &Cache, id: usize, runs: &Runs) -> usize {
        runs.add()
    }

    #[cached(cache = cache, key = "k", store_if = |run: &usize| *run > 2)]
    pub(super) async fn store_if(cache: &Cache, runs: &Runs) -> usize {
        runs.add()
    }
}

#[test]
fn bypass_and_force_do_not_read_and_still_write() {
    everywhere(async |scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        assert_eq!(when::bypass(cache, false, &runs).await, 1);
        assert_eq!(when::bypass(cache, true, &runs).await, 2);
        assert_eq!(when::bypass(cache, false, &runs).await, 2);
        assert_eq!(when::force(cache, true, &runs).await, 3);
        assert_eq!(when::force(cache, false, &runs).await, 3);
    });
    everywhere_blocking(|scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        assert_eq!(when::always(cache, &runs), 1);
        assert_eq!(when::always(cache, &runs), 2);
        assert_eq!(cache.get::<usize>("k").run().unwrap(), Some(2));
    });
}

#[test]
fn without_its_condition_a_call_has_nothing_to_do_with_the_cache() {
    everywhere(async |scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        for run in 1..=2 {
            assert_eq!(when::condition(cache, 1, &runs).await, run);
        }
        assert!(!cache.contains("1").await.unwrap());
        for _ in 0..2 {
            assert_eq!(when::condition(cache, 2, &runs).await, 3);
        }
    });
}

#[test]
fn a_value_is_stored_if_it_is_to_be() {
    everywhere(async |scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(when::store_if(cache, &runs).await);
        }
        assert_eq!(all, [1, 2, 3, 3]);
    });
}

#[cached(cache = cache, key = "{id}", tags = ["users", "org:{org}", format!("id:{}", id + 1)])]
async fn tagged(cache: &Cache, id: u32, org: &str, runs: &Runs) -> usize {
    runs.add()
}

#[cached(cache = cache, key = "{id}", tags = |_, id, _| (0..*id).map(|n| format!("t{n}")))]
async fn tagged_by_closure(cache: &Cache, id: u32, runs: &Runs) -> usize {
    runs.add()
}

#[test]
fn tags_are_filled_from_the_arguments() {
    everywhere(async |scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        for (run, tag) in ["users", "org:acme", "id:8"].into_iter().enumerate() {
            let called = tagged(cache, 7, "acme", &runs).await;
            assert_eq!(called, run + 1);
            assert_eq!(tagged(cache, 7, "acme", &runs).await, called);
            cache.invalidate_tag("org:other").await.unwrap();
            assert_eq!(tagged(cache, 7, "acme", &runs).await, called);
            cache.invalidate_tag(tag).await.unwrap();
        }
        tagged::prime(cache, 7, "acme", &runs, 100).await.unwrap();
        assert_eq!(tagged(cache, 7, "acme", &runs).await, 100);
        cache.invalidate_tag("users").await.unwrap();
        assert_eq!(tagged(cache, 7, "acme", &runs).await, 4);

        assert_eq!(tagged_by_closure(cache, 3, &runs).await, 5);
        cache.invalidate_tag("t2").await.unwrap();
        assert_eq!(tagged_by_closure(cache, 3, &runs).await, 6);
    });
}

mod stale {
    use super::*;

    #[cached(cache = cache, key = "error", ttl = "10m", stale_if_error = "1h", load_timeout = "5s")]
    pub(super) async fn if_error(cache: &Cache, runs: &Runs) -> Result<usize, nearcache::Error> {
        match runs.add() {
            1 => Ok(1),
            _ => Err(Ttl::from_secs(0).unwrap_err()),
        }
    }

    #[cached(cache = cache, key = "for", ttl = "10m", stale_for = "1h", early_refresh = 1)]
    pub(super) async fn during(cache: &Cache, runs: &Runs) -> usize {
        runs.add()
    }

    #[cached(cache = cache, key = "for", ttl = "10m", stale_for = "1h")]
    pub(super) fn during_blocking(cache: &blocking::Cache, runs: &Runs) -> usize {
        runs.add()
    }

    #[cached(
        cache = cache, key = "soft", ttl = "10m", stale_if_error = "1h",
        soft_timeout = Duration::from_millis(20)
    )]
    pub(super) fn soft(cache: &blocking::Cache, runs: &Runs) -> usize {
        let run = runs.add();
        if run > 1 {
            std::thread::sleep(Duration::from_millis(100));
        }
        run
    }
}

#[tokio::test]
async fn a_stale_value_stands_in_as_it_does_for_remember() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let cache = Cache::builder("memory://").store(&store).build().unwrap();
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let runs = Runs::default();
    assert_eq!(stale::if_error(&cache, &runs).await.unwrap(), 1);
    clock.advance(minutes(11));
    assert_eq!(stale::if_error(&cache, &runs).await.unwrap(), 1);
    assert_eq!(runs.count(), 2, "it was tried");

    let runs = Runs::default();
    assert_eq!(stale::during(&cache, &runs).await, 1);
    clock.advance(minutes(11));
    assert_eq!(stale::during(&cache, &runs).await, 1);
    while cache.stats().writes < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(stale::during(&cache, &runs).await, 2);
}

#[test]
fn a_stale_value_stands_in_for_those_who_block_too() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let builder = blocking::Cache::builder("memory://");
    let cache = builder.store(&store).build().unwrap();
    let wait = |writes: u64| {
        while cache.stats().writes < writes {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let runs = Runs::default();
    assert_eq!(stale::during_blocking(&cache, &runs), 1);
    clock.advance(Duration::from_secs(11 * 60));
    assert_eq!(stale::during_blocking(&cache, &runs), 1);
    wait(2);
    assert_eq!(stale::during_blocking(&cache, &runs), 2);

    let runs = Runs::default();
    assert_eq!(stale::soft(&cache, &runs), 1);
    clock.advance(Duration::from_secs(11 * 60));
    assert_eq!(stale::soft(&cache, &runs), 1);
    wait(4);
    assert_eq!(stale::soft(&cache, &runs), 2);
}

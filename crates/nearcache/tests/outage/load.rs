//! An outage in the middle of a load.

use std::time::Duration;

use nearcache::ErrorKind;
use nearcache_testkit::{Close, Fault, Frames};

use crate::scene::Source;
use crate::site::{both, so};

#[test]
fn a_load_in_whose_midst_redis_dies_answers_all_and_stores_nothing() {
    both(&[], async |mut site| {
        let (cache, source) = (site.cache(), Source::new());
        let leader = tokio::spawn(remember!(cache, "k", source.holds(1)));
        source.begun().await;
        let waiters: Vec<_> = (0..10)
            .map(|_| tokio::spawn(remember!(cache, "k", source.gives(2))))
            .collect();
        so("they wait", || ask!(cache.stats()).coalesced == 10).await;
        site.redis.kill();
        source.go_on();
        assert_eq!(leader.await.unwrap().unwrap(), 1);
        // Nobody knows whether the value of the first was stored: they ask again, and load together.
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap().unwrap(), 2);
        }
        assert_eq!(source.loads(), 2);
        site.redis.restart();
        so("it is back", || site.stored("k").is_empty()).await;
        assert_eq!(remember!(cache, "k", source.gives(3)).await.unwrap(), 3);
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(3));
    });
}

#[test]
fn a_fill_whose_reply_is_lost_still_answers_and_is_asked_about_again() {
    both(&[], async |site| {
        let (cache, source) = (site.cache(), Source::new());
        // So that the script travels by its name.
        remember!(cache, "other", source.gives(0)).await.unwrap();
        let leader = tokio::spawn(remember!(cache, "k", source.holds(1)));
        source.begun().await;
        let waiter = tokio::spawn(remember!(cache, "k", source.gives(2)));
        so("one waits", || ask!(cache.stats()).coalesced == 1).await;
        let fill = Frames::replies().of("EVALSHA").about("app:k");
        site.proxy.set(Fault::truncate(fill, 1));
        source.go_on();
        assert_eq!(leader.await.unwrap().unwrap(), 1);
        // It was stored, and that is what the one who waited is answered with.
        assert_eq!(waiter.await.unwrap().unwrap(), 1);
        assert_eq!(source.loads(), 2, "one for each key");
    });
}

#[test]
fn an_acquire_whose_reply_is_lost_leaves_a_lease_that_ends_by_itself() {
    both(&[], async |site| {
        let short = Duration::from_secs(1);
        let options = configured!(.lease(Duration::from_secs(1)));
        let (cache, source) = (site.cache_with(&options), Source::new());
        remember!(cache, "other", source.gives(0)).await.unwrap();
        let acquire = Frames::replies().of("EVALSHA").about("app:k");
        site.proxy.set(Fault::truncate(acquire, 1));
        // It cannot know that the lease is its own: it loads, and stores nothing.
        assert_eq!(remember!(cache, "k", source.gives(1)).await.unwrap(), 1);
        assert_eq!(site.stored("k"), "");
        let patient = remember!(cache, "k", source.gives(2); .load_timeout(100 * short));
        assert_eq!(patient.await.unwrap(), 2);
        assert_eq!(site.stored("k"), "2");
    });
}

#[test]
fn while_redis_is_away_those_who_wait_together_load_once() {
    both(&[], async |mut site| {
        let url = format!("{}?prefix=app&breaker=on", site.redis.url());
        for breaker in [false, true] {
            let cache = if breaker {
                site.open(&url, &crate::site::Plain)
            } else {
                site.cache()
            };
            call!(cache.set("k", &1)).unwrap();
            site.redis.kill();
            if breaker {
                for _ in 0..5 {
                    call!(cache.get::<u8>("k")).unwrap_err();
                }
                assert_eq!(ask!(cache.stats()).breaker, nearcache::BreakerState::Open);
            }
            let source = Source::new();
            let first = tokio::spawn(remember!(cache, "k", source.holds(2)));
            source.begun().await;
            let waiters: Vec<_> = (0..10)
                .map(|_| tokio::spawn(remember!(cache, "k", source.gives(3))))
                .collect();
            so("they wait", || ask!(cache.stats()).coalesced == 10).await;
            source.go_on();
            assert_eq!(first.await.unwrap().unwrap(), 2);
            for waiter in waiters {
                // The first load began before they came.
                assert_eq!(waiter.await.unwrap().unwrap(), 3);
            }
            assert_eq!(source.loads(), 2);
            let error = remember!(cache, "k", source.fails::<u8>())
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Loader);
            site.redis.restart();
        }
    });
}

#[test]
fn a_server_that_is_silent_costs_a_load_a_bounded_time() {
    both(&[], async |site| {
        let options = configured!(.timeout(Duration::from_millis(500)));
        let (cache, source) = (site.cache_with(&options), Source::new());
        call!(cache.ping()).unwrap();
        site.proxy.set(Fault::Silence);
        // It ends: how soon is measured elsewhere.
        assert_eq!(remember!(cache, "k", source.gives(1)).await.unwrap(), 1);
        site.proxy.heal();
        site.proxy.cut(Close::Reset);
        so("it works again", || site.stored("k").is_empty()).await;
        while remember!(cache, "k", source.gives(2)).await.unwrap() != 2 || site.stored("k") != "2"
        {
        }
    });
}

#[test]
fn a_read_only_replica_is_read_from_and_loads_are_not_stored() {
    both(&[], async |site| {
        let (cache, source) = (site.cache(), Source::new());
        call!(cache.set("k", &1)).unwrap();
        call!(cache.set("tagged", &1).tags(["t"])).unwrap();
        let nobody = nearcache_testkit::Port::unused();
        site.redis.inline(&format!("REPLICAOF 127.0.0.1 {nobody}"));
        for failed in [
            call!(cache.delete("gone")).unwrap_err(),
            call!(cache.set("gone", &2)).unwrap_err(),
            call!(cache.invalidate_tag("another")).unwrap_err(),
            call!(cache.clear()).unwrap_err(),
        ] {
            assert_eq!(failed.kind(), ErrorKind::Unavailable);
            assert!(failed.is_deferred(), "{failed}");
        }
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(1));
        assert_eq!(call!(cache.get::<u8>("tagged")).unwrap(), Some(1));
        assert_eq!(remember!(cache, "k", source.gives(2)).await.unwrap(), 1);
        assert_eq!(remember!(cache, "new", source.gives(2)).await.unwrap(), 2);
        assert_eq!(call!(cache.get::<u8>("new")).unwrap(), None);
        // A primary again, it is told what waited.
        site.redis.inline("REPLICAOF NO ONE");
        let since = std::time::Instant::now();
        while ask!(cache.stats()).invalidations_waiting > 0 {
            assert!(since.elapsed() < Duration::from_secs(60));
            let _ = call!(cache.ping());
        }
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
    });
}

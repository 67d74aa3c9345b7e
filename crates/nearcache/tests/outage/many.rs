//! More to delete than one call can: it goes on in the background, and no call waits for it.

use std::time::{Duration, Instant};

use nearcache_testkit::{Close, Fault};

use crate::scene::Source;
use crate::site::{Plain, Site, both, settled};

/// So many that a scan takes many pages.
const FOREIGN: &str = "DEBUG POPULATE 200000";

const DEBUG: [&str; 2] = ["--enable-debug-command", "yes"];

/// A cache among many foreign keys, which owes a sweep that has not begun.
macro_rules! owing {
    ($site:ident, $options:expr, $sweep:ident $argument:tt) => {{
        let cache = $site.cache_with($options);
        let patient = cache.within(Duration::from_secs(5));
        for key in ["user:old", "user:unread", "user:kept", "other"] {
            call!(patient.set(key, &1)).unwrap();
        }
        $site.redis.inline(FOREIGN);
        cut(&$site);
        assert!(call!(cache.$sweep $argument).unwrap_err().is_deferred());
        $site.proxy.heal();
        assert_eq!(ask!(cache.stats()).sweeps_waiting, 1);
        cache
    }};
}

fn cut(site: &Site) {
    site.proxy.set(Fault::Refuse);
    site.proxy.cut(Close::Reset);
}

#[test]
fn a_sweep_that_is_owed_goes_on_in_the_background_whatever_comes_meanwhile() {
    both(&DEBUG, async |site| {
        let cache = owing!(site, &Plain, clear());
        let since = Instant::now();
        let mut rounds = 0;
        // Each call is about keys of the sweep, and is answered at once, as if the sweep were done.
        while ask!(cache.stats()).sweeps_waiting > 0 {
            assert!(since.elapsed() < Duration::from_secs(60), "it never ends");
            let key = format!("user:{rounds}");
            assert_eq!(call!(cache.get::<u8>("user:old")).unwrap(), None);
            call!(cache.set(&key, &2)).unwrap();
            assert_eq!(call!(cache.get::<u8>(&key)).unwrap(), Some(2));
            call!(cache.delete(&key)).unwrap();
            rounds += 1;
        }
        assert!(rounds > 1);
        settled(&cache).await;
        assert_eq!(site.stored("user:unread"), "");
        assert!(site.redis.inline("DBSIZE").starts_with(":200000"));
    });
}

#[test]
fn a_sweep_holds_back_only_what_it_is_about() {
    both(&DEBUG, async |site| {
        let cache = owing!(site, &Plain, delete_pattern("user:*"));
        let source = Source::new();
        assert_eq!(call!(cache.get::<u8>("other")).unwrap(), Some(1));
        assert!(!call!(cache.contains("user:unread")).unwrap());
        let found = call!(cache.get_many::<u8>(["user:old", "other"])).unwrap();
        assert_eq!(found, [None, Some(1)]);
        let loaded = remember!(cache, "user:kept", source.gives(3)).await;
        assert_eq!(loaded.unwrap(), 3, "OLD");
        call!(cache.set("user:new", &4)).unwrap();
        assert_eq!(call!(cache.incr("user:count")).unwrap(), 1);
        assert!(call!(cache.add("user:added", &5)).unwrap());
        assert_eq!(ask!(cache.stats()).sweeps_waiting, 1, "it still goes on");
        settled(&cache).await;
        // What came after it has survived it.
        for (key, value) in [
            ("user:old", ""),
            ("user:kept", "3"),
            ("user:new", "4"),
            ("user:count", "1"),
            ("user:added", "5"),
            ("other", "1"),
        ] {
            assert_eq!(site.stored(key), value, "{key}");
        }
    });
}

#[test]
fn a_listing_leaves_out_what_a_sweep_is_about() {
    both(&DEBUG, async |site| {
        let cache = owing!(site, &Plain, delete_pattern("user:*"));
        call!(cache.set("user:new", &4)).unwrap();
        let mut listed = Vec::new();
        match &cache {
            crate::face::Face::Async(cache) => {
                let mut keys = cache.keys();
                while let Some(key) = keys.next().await {
                    listed.push(key.unwrap());
                }
            }
            crate::face::Face::Blocking(cache) => {
                listed.extend(cache.keys().map(Result::unwrap));
            }
        }
        listed.sort();
        assert_eq!(listed, ["other", "user:new"]);
    });
}

#[test]
fn a_load_that_began_before_a_sweep_was_owed_is_fenced_by_it() {
    both(&DEBUG, async |site| {
        let (cache, source) = (site.cache(), Source::new());
        let old = tokio::spawn(remember!(cache, "user:loaded", source.holds(1)));
        source.begun().await;
        let owing = owing!(site, &Plain, delete_pattern("user:*"));
        source.go_on();
        assert_eq!(old.await.unwrap().unwrap(), 1);
        assert_eq!(call!(owing.get::<u8>("user:loaded")).unwrap(), None);
        settled(&owing).await;
        assert_eq!(site.stored("user:loaded"), "");
    });
}

/// Only an async caller can go away.
#[test]
fn a_clear_whose_caller_went_away_costs_nobody_else_anything() {
    both(&DEBUG, async |site| {
        let options = configured!(.timeout(Duration::from_millis(500)));
        let cache = site.cache_with(&options);
        let crate::face::Face::Async(asynchronous) = &cache else {
            return;
        };
        call!(cache.set("k", &1)).unwrap();
        site.redis.inline(FOREIGN);
        for _ in 0..3 {
            let scans = nearcache_testkit::Frames::requests().of("SCAN");
            let hold = site.proxy.hold(scans);
            let clear = tokio::spawn({
                let cache = asynchronous.clone();
                async move { cache.clear().await }
            });
            hold.until_held(1).await;
            clear.abort();
            assert!(clear.await.unwrap_err().is_cancelled());
            drop(hold);
            call!(cache.set("new", &2)).unwrap();
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
        }
        settled(&cache).await;
        assert_eq!(site.stored("new"), "2");
    });
}

/// A runtime that ends takes its task along, and another one goes on.
#[test]
fn a_sweep_goes_on_in_the_runtime_that_is_there() {
    let redis = nearcache_testkit::Redis::start_with(&DEBUG);
    let proxy = nearcache_testkit::Proxy::start(&redis.address());
    let url = format!("{}?prefix=app&breaker=off", proxy.url());
    let cache = nearcache::Cache::open(&url).unwrap();
    redis.inlines(&["SET app:k 1", FOREIGN]);
    crate::face::run(async {
        proxy.set(Fault::Refuse);
        assert!(cache.clear().await.unwrap_err().is_deferred());
        proxy.heal();
        cache.ping().await.unwrap();
        assert_eq!(cache.stats().sweeps_waiting, 1);
    });
    assert_eq!(cache.stats().sweeps_waiting, 1, "it still goes on");
    crate::face::run(async {
        cache.ping().await.unwrap();
        crate::site::so("it is done", || cache.stats().sweeps_waiting == 0).await;
    });
    assert!(redis.inline("GET app:k").starts_with("$-1"));
}

#[test]
fn more_than_the_list_holds_takes_nothing_else_along() {
    both(&[], async |site| {
        let url = format!("{}?breaker=off&client_name=bare", site.proxy.url());
        let (bare, cache) = (site.open(&url, &Plain), site.cache());
        for face in [&cache, &bare] {
            for key in ["read", "unread", "session", "added"] {
                call!(face.set(key, &1)).unwrap();
            }
        }
        cut(&site);
        let many: Vec<String> = (0..12_000).map(|number| number.to_string()).collect();
        for face in [&cache, &bare] {
            let error = call!(face.set_many(many.iter().map(|key| (key, 1)))).unwrap_err();
            assert!(error.is_deferred(), "{error}");
            for key in ["read", "unread"] {
                assert!(call!(face.delete(key)).unwrap_err().is_deferred(), "{key}");
            }
            let error = call!(face.add("added", &2)).unwrap_err();
            assert!(error.is_deferred(), "{error}");
        }
        site.proxy.heal();
        for face in [&cache, &bare] {
            assert_eq!(call!(face.get::<u8>("read")).unwrap(), None);
            assert_eq!(call!(face.get::<u8>("session")).unwrap(), Some(1));
            call!(face.set("read", &3)).unwrap();
            settled(face).await;
            assert_eq!(call!(face.get::<u8>("read")).unwrap(), Some(3));
            assert_eq!(call!(face.get::<u8>("unread")).unwrap(), None);
            assert_eq!(call!(face.get::<u8>("session")).unwrap(), Some(1));
            assert_eq!(call!(face.get::<u8>("added")).unwrap(), Some(1));
        }
        assert_eq!(site.stored("unread"), "");
    });
}

/// A call waits for what it is about, and for nothing else.
#[test]
fn a_call_sends_only_what_waits_of_its_own_keys() {
    both(&[], async |site| {
        let cache = site.cache();
        call!(cache.set("k", &1)).unwrap();
        let many: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        cut(&site);
        assert!(call!(cache.delete_many(&many)).unwrap_err().is_deferred());
        assert!(call!(cache.delete("k")).unwrap_err().is_deferred());
        site.proxy.heal();
        site.proxy.reset_counts();
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
        let commands = site.commands();
        let read = commands.iter().position(|said| said == "GET app:k");
        let before = &commands[..read.expect("it is read")];
        // With its lease.
        assert_eq!(before, ["UNLINK app:k"]);
        settled(&cache).await;
    });
}

#[test]
fn a_sweep_waits_while_redis_is_away_and_goes_on_afterwards() {
    both(&DEBUG, async |mut site| {
        let cache = owing!(site, &Plain, clear());
        call!(cache.ping()).unwrap();
        site.redis.kill();
        call!(cache.get::<u8>("user:old")).unwrap_err();
        assert_eq!(ask!(cache.stats()).sweeps_waiting, 1);
        site.redis.restart();
        call!(cache.ping()).unwrap();
        settled(&cache).await;
    });
}

//! What is answered while Redis is away: false and None, and a warning; or the error, if that is wanted.

use nearcache::simple::{SimpleCache, Value};
use nearcache::{Cache, ErrorKind, Undelivered, blocking};
use nearcache_testkit::{Logs, Port, Redis, random_prefix};

use crate::face::{run, run_in_one_thread};
use crate::simple_face::Simple;

/// A cache on both faces whose server is not there.
fn nowhere(port: &Port) -> [Simple; 2] {
    let url = format!("redis://127.0.0.1:{port}?breaker=off");
    [
        Simple::Async(SimpleCache::new(&Cache::open(&url).unwrap())),
        Simple::Blocking(SimpleCache::new(&blocking::Cache::open(&url).unwrap())),
    ]
}

#[test]
fn it_answers_with_false_and_none_and_says_so_once_in_a_while() {
    let log = Logs::of_this_thread();
    let port = Port::unused();
    run_in_one_thread(async {
        for simple in nowhere(&port) {
            let simple = with!(simple, key_prefix("p"));
            assert_eq!(simply!(simple.get("k")).unwrap(), None);
            assert!(!simply!(simple.set("k", 1)).unwrap());
            assert!(!simply!(simple.add("k", 1)).unwrap());
            assert!(!simply!(simple.delete("k")).unwrap());
            assert!(!simply!(simple.has("k")).unwrap());
            assert_eq!(simply!(simple.inc("k")).unwrap(), None);
            assert_eq!(simply!(simple.dec("k")).unwrap(), None);
            assert_eq!(simply!(simple.get_many(["a", "b"])).unwrap(), [None, None]);
            let dict = simply!(simple.get_dict(["a", "b"])).unwrap();
            assert_eq!(dict, [("a", None), ("b", None)].into());
            assert!(simply!(simple.set_many([("a", 1)])).unwrap().is_empty());
            assert!(simply!(simple.delete_many(["a", "b"])).unwrap().is_empty());
            assert!(!simply!(simple.clear()).unwrap());
            // What is wrong with the call is an error all the same.
            let kinds = [
                simply!(simple.set("k", 1).timeout(-2)).unwrap_err().kind(),
                simply!(simple.add("k", 1).timeout(-2)).unwrap_err().kind(),
            ];
            assert_eq!(kinds, [ErrorKind::InvalidTtl; 2]);
        }
    });
    let text = log.text();
    let said = text.matches("a call of a simple cache fails").count();
    assert_eq!(said, 2, "once for each cache: {text}");
    assert!(
        text.contains("WARN") && text.contains("cannot reach Redis"),
        "{text}"
    );
}

#[test]
fn a_strict_one_returns_the_errors() {
    let port = Port::unused();
    run(async {
        for simple in nowhere(&port) {
            let lax = simple.clone();
            let simple = with!(simple, strict());
            let kinds = [
                simply!(simple.get("k")).unwrap_err().kind(),
                simply!(simple.set("k", 1)).unwrap_err().kind(),
                simply!(simple.add("k", 1)).unwrap_err().kind(),
                simply!(simple.delete("k")).unwrap_err().kind(),
                simply!(simple.has("k")).unwrap_err().kind(),
                simply!(simple.inc("k")).unwrap_err().kind(),
                simply!(simple.dec("k")).unwrap_err().kind(),
                simply!(simple.get_many(["k"])).unwrap_err().kind(),
                simply!(simple.get_dict(["k"])).unwrap_err().kind(),
                simply!(simple.set_many([("k", 1)])).unwrap_err().kind(),
                simply!(simple.delete_many(["k"])).unwrap_err().kind(),
                simply!(simple.clear()).unwrap_err().kind(),
            ];
            assert_eq!(kinds, [ErrorKind::Connect; 12]);
            // Deleting many is strict by an option of its own, too.
            let lax = with!(lax, ignore_delete_many_errors(false));
            assert!(!simply!(lax.delete("k")).unwrap());
            let error = simply!(lax.delete_many(["k"])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Connect);
        }
    });
}

#[test]
fn a_closed_cache_is_the_callers_mistake() {
    run(async {
        let cache = Cache::open("memory://").unwrap();
        let simple = SimpleCache::new(&cache);
        cache.close().await.unwrap();
        assert_eq!(simple.get("k").await.unwrap_err().kind(), ErrorKind::Closed);
    });
}

#[test]
fn what_is_not_stored_is_not_said_to_be_even_if_writes_may_wait() {
    let port = Port::unused();
    run(async {
        let url = format!("redis://127.0.0.1:{port}");
        let cache = Cache::builder(&url)
            .on_undelivered(Undelivered::Deferred)
            .build()
            .unwrap();
        let simple = SimpleCache::new(&cache).strict();
        assert!(!simple.set("k", 1).await.unwrap());
        assert!(simple.set_many([("k", 1)]).await.unwrap().is_empty());
    });
}

#[test]
fn it_works_again_once_redis_is_back_and_a_refusal_is_no_success() {
    let mut redis = Redis::start();
    run(async {
        let cache = Cache::builder(&redis.patient_url())
            .breaker(false)
            .build()
            .unwrap();
        let simple = SimpleCache::new(&cache).key_prefix(random_prefix());
        assert!(simple.set("k", 1).await.unwrap());
        redis.kill();
        assert!(!simple.set("k", 2).await.unwrap());
        redis.restart();
        assert!(simple.set("k", 3).await.unwrap());
        assert_eq!(simple.get("k").await.unwrap(), Some(Value::from(3)));
        redis.inline("CONFIG SET maxmemory 1");
        assert!(!simple.set("k", 4).await.unwrap());
        assert_eq!(simple.inc("n").await.unwrap(), None);
        redis.inline("CONFIG SET maxmemory 0");
        // What could not be replaced is not served any more.
        assert_eq!(simple.get("k").await.unwrap(), None);
        assert!(simple.set("k", 5).await.unwrap());
    });
}

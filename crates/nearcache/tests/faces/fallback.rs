//! What a fallback function knows, answers and lets pass, on both faces, while Redis is away.

use std::sync::{Arc, Mutex};

use nearcache::{BoxError, Cache, Error, ErrorKind, Fallback, Instead};
use nearcache_testkit::Port;

use crate::Face;
use crate::face::run;

/// Both faces of a cache whose server is away.
fn away(port: &Port, fallback: Fallback) -> [Face; 2] {
    let cache = Cache::builder(&format!("redis://127.0.0.1:{}?breaker=off", port.number()))
        .on_unavailable(fallback)
        .build()
        .unwrap();
    let blocking = cache.blocking().unwrap();
    [Face::Async(cache), Face::Blocking(blocking)]
}

#[test]
fn a_function_answers_reads_and_remember_and_lets_writes_pass() {
    let port = Port::unused();
    run(async {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        let fallback = Fallback::call(move |outage| {
            assert_eq!(outage.error.kind(), ErrorKind::Connect);
            let key = outage.key.as_str().unwrap().to_owned();
            told.lock()
                .unwrap()
                .push(format!("{} {key}", outage.command));
            match (outage.command, &*key) {
                (_, "refused") => Instead::Error,
                (_, "nothing") => Instead::Value(b"null".to_vec()),
                (_, "broken") => Instead::Value(b"{".to_vec()),
                ("get" | "get_many" | "remember" | "remember_many", "known") => {
                    Instead::Value(b"7".to_vec())
                }
                _ => Instead::Done,
            }
        });
        for face in away(&port, fallback) {
            let fails = || Err::<u8, BoxError>("the loader ran".into());
            // Reads.
            assert_eq!(call!(face.get::<u8>("known")).unwrap(), Some(7));
            assert_eq!(call!(face.get::<u8>("other")).unwrap(), None);
            assert!(call!(face.get::<u8>("refused")).is_err());
            let many = call!(face.get_many::<u8>(["known", "other"]));
            assert_eq!(many.unwrap(), [Some(7), None]);
            // The loader runs only where there is no value.
            let (known, other, nothing, broken, refused, found) = match &face {
                Face::Async(cache) => (
                    cache.remember("known", async move || fails()).await,
                    cache.remember_with("other", async || 1).await,
                    cache.remember_with("nothing", async || Some(2_u8)).await,
                    cache.remember_with("broken", async || 3).await,
                    cache.remember_with("refused", async || 4).await,
                    cache
                        .remember_many_with(["known", "other"], async |missing: Vec<&str>| {
                            missing
                                .into_iter()
                                .map(|key| (key, 5_u8))
                                .collect::<Vec<_>>()
                        })
                        .await,
                ),
                Face::Blocking(cache) => (
                    cache.remember("known", fails).run(),
                    cache.remember_with("other", || 1).run(),
                    cache.remember_with("nothing", || Some(2_u8)).run(),
                    cache.remember_with("broken", || 3).run(),
                    cache.remember_with("refused", || 4).run(),
                    cache
                        .remember_many_with(["known", "other"], |missing| {
                            missing
                                .into_iter()
                                .map(|key| (key, 5_u8))
                                .collect::<Vec<_>>()
                        })
                        .run(),
                ),
            };
            assert_eq!(known.unwrap(), 7);
            assert_eq!(other.unwrap(), 1);
            assert_eq!(nothing.unwrap(), None);
            assert_eq!(broken.unwrap(), 3);
            assert_eq!(refused.unwrap(), 4);
            assert_eq!(found.unwrap(), [Some(7), Some(5)]);
            // Writes.
            call!(face.set("k", 1)).unwrap();
            assert!(!call!(face.add("k", 1)).unwrap());
            assert!(!call!(face.replace("k", 1)).unwrap());
            call!(face.set_many([("a", 1), ("b", 2)])).unwrap();
            assert!(!call!(face.delete("k")).unwrap());
            assert_eq!(call!(face.delete_many(["a", "b"])).unwrap(), 0);
            call!(face.invalidate_tag("t")).unwrap();
            assert!(call!(face.set("refused", 1)).is_err());
            call!(face.set("nothing", 1)).unwrap(); // the value is dropped
            assert!(call!(face.set_many([("a", 1), ("refused", 2)])).is_err());
            // What the caller goes on with, or affects more than is known.
            assert!(call!(face.take::<u8>("k")).is_err());
            assert!(call!(face.incr("k")).is_err());
            assert!(call!(face.expire("k", "1m")).is_err());
            assert!(call!(face.ttl("k")).is_err());
            assert!(call!(face.delete_pattern("k*")).is_err());
            let asked = std::mem::take(&mut *asked.lock().unwrap());
            for told in [
                "get known",
                "get_many other",
                "remember known",
                "remember_many other",
                "set k",
                "add k",
                "replace k",
                "set_many b",
                "delete k",
                "delete_many a",
                "invalidate_tags t",
            ] {
                assert!(asked.iter().any(|asked| asked == told), "{told}: {asked:?}");
            }
            assert!(
                !asked.iter().any(|asked| asked.starts_with("take")),
                "{asked:?}"
            );
        }
    });
}

/// An invalidation that passes is still kept for Redis.
#[test]
fn a_write_that_passes_is_an_invalidation_all_the_same() {
    let port = Port::unused();
    run(async {
        for face in away(&port, Fallback::call(|_| Instead::Done)) {
            call!(face.delete("k")).unwrap();
            assert!(ask!(face.stats()).invalidations_waiting >= 1);
        }
    });
}

#[test]
fn a_function_of_options_answers_reads_and_drops_the_value_of_a_write() {
    let port = Port::unused();
    run(async {
        for face in away(&port, Fallback::call(|_| Some(b"7".to_vec()))) {
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), Some(7));
            call!(face.set("k", 1)).unwrap();
            assert!(!call!(face.delete("k")).unwrap());
        }
        for face in away(&port, Fallback::call(|_| None::<Vec<u8>>)) {
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), None);
            assert!(call!(face.set("k", 1)).is_err());
            assert!(call!(face.delete("k")).is_err());
        }
        for face in away(&port, Fallback::call(|_| Instead::Error)) {
            let kinds = [
                call!(face.get::<u8>("k")).map_err(|error: Error| error.kind()),
                call!(face.set("k", 1))
                    .map(|()| None)
                    .map_err(|error| error.kind()),
            ];
            assert_eq!(kinds, [Err(ErrorKind::Connect); 2]);
        }
    });
}

/// It is not asked about what the caller did wrong.
#[test]
fn a_function_is_not_asked_about_what_the_caller_did_wrong() {
    run(async {
        let cache = Cache::builder("memory://")
            .on_unavailable(Fallback::call(|outage| -> Instead { panic!("{outage:?}") }))
            .build()
            .unwrap();
        cache.set("text", "a").await.unwrap();
        assert!(cache.incr("text").await.is_err());
        assert!(cache.set("", 1).await.is_err());
        assert!(cache.set("k", 1).ttl("0s").await.is_err());
        assert_eq!(cache.get::<u8>("none").await.unwrap(), None);
    });
}

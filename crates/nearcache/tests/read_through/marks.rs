//! Marking stale, by key and by tag: `remember` returns the old value and loads beside, and to every other verb the
//! entry is gone. A load that began before stores nothing.

use std::time::Duration;

use nearcache::{Codec, ErrorKind, Loaded, Lookup, Remaining};

use crate::options::{both, minutes};
use crate::scene::Source;
use crate::target::{Face, Options, Target, keys_matching, raw, two};

spread_suite! {
    a_marked_value_is_returned_once_more_while_it_is_loaded,
    without_a_stale_window_a_marked_value_is_loaded_in_front,
    every_other_verb_finds_nothing,
    a_mark_keeps_the_time_and_the_rest_of_the_envelope,
    what_cannot_be_marked_stays_as_it_is,
    a_tag_marks_all_that_carry_it_and_nothing_else,
    a_tag_is_marked_eight_times_and_its_version_lives_as_long,
    an_invalidated_tag_is_dead_however_often_it_was_marked,
    a_load_that_began_before_the_mark_stores_nothing,
    a_mark_is_no_mark_of_what_comes_after,
    who_takes_nothing_stale_gets_nothing_stale_from_one_who_does,
}

struct Scene {
    cache: Face,
    prefix: String,
    source: Source,
}

impl Scene {
    fn new(target: Target) -> Self {
        Self::with(target, None)
    }

    fn with(target: Target, codec: Option<Codec>) -> Self {
        let prefix = nearcache_testkit::random_prefix();
        let options = Options {
            prefix: &prefix,
            codec,
            ..Options::default()
        };
        let cache = target.build(&target.url(&prefix), options).unwrap();
        Scene {
            cache,
            prefix,
            source: Source::new(),
        }
    }

    async fn bytes(&self, key: &str) -> ::redis::Value {
        let key = format!("{}:{key}", self.prefix);
        raw(&self.cache, &[b"GET", key.as_bytes()]).await
    }

    async fn left(&self, key: &str) -> i64 {
        let key = format!("{}:{key}", self.prefix);
        match raw(&self.cache, &[b"PTTL", key.as_bytes()]).await {
            ::redis::Value::Int(left) => left,
            other => panic!("{other:?}"),
        }
    }

    async fn mark(&self, by: &str) {
        let cache = &self.cache;
        match by {
            "key" => call!(cache.mark_stale("k")).unwrap(),
            "tag" => call!(cache.mark_tag_stale("t")).unwrap(),
            _ => call!(cache.mark_tags_stale(["x", "t"])).unwrap(),
        }
    }

    /// `remember` with a stale window, whose load is waited for.
    async fn remembered(&self, value: u8) -> u8 {
        let cache = &self.cache;
        let load = self.source.gives(value);
        let found = remember!(cache, "k", load; .ttl("1h").stale_for("10m").tags(["t"]));
        let found = found.await.unwrap();
        while !call!(cache.contains("k")).unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        found
    }
}

async fn a_marked_value_is_returned_once_more_while_it_is_loaded(target: Target) {
    for by in ["key", "tag", "tags"] {
        let scene = Scene::new(target);
        let cache = &scene.cache;
        assert_eq!(scene.remembered(1).await, 1);
        assert_eq!(scene.remembered(2).await, 1);
        scene.mark(by).await;
        assert_eq!(scene.remembered(3).await, 1, "{by}");
        assert_eq!(scene.remembered(4).await, 3, "{by}");
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(3), "{by}");
        assert_eq!(scene.source.loads(), 2, "{by}");
        assert_eq!(ask!(cache.stats()).stale_hits, 1, "{by}");
    }
}

async fn without_a_stale_window_a_marked_value_is_loaded_in_front(target: Target) {
    for by in ["key", "tag"] {
        let scene = Scene::new(target);
        let (cache, source) = (&scene.cache, &scene.source);
        assert_eq!(scene.remembered(1).await, 1);
        scene.mark(by).await;
        // It stands in for a load that fails, where that is asked for.
        let load = source.fails::<u8>();
        let kept = remember!(cache, "k", load; .ttl("1h").stale_if_error("1h").tags(["t"]));
        assert_eq!(kept.await.unwrap(), 1, "{by}");
        let load = source.gives(2_u8);
        let found = remember!(cache, "k", load; .ttl("1h").tags(["t"]));
        assert_eq!(found.await.unwrap(), 2, "{by}");
    }
}

async fn every_other_verb_finds_nothing(target: Target) {
    for by in ["key", "tag"] {
        let scene = Scene::new(target);
        let cache = &scene.cache;
        let prepare = async || {
            call!(cache.set("k", &1).ttl("1h").tags(["t"])).unwrap();
            scene.mark(by).await;
        };
        prepare().await;
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{by}");
        assert_eq!(call!(cache.lookup::<u8>("k")).unwrap(), Lookup::Miss);
        assert_eq!(call!(cache.get_many::<u8>(["k"])).unwrap(), [None]);
        assert_eq!(call!(cache.get::<u8>("k").extend("1d")).unwrap(), None);
        assert!(!call!(cache.contains("k")).unwrap());
        assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Missing);
        assert!(!call!(cache.touch("k").ttl("1d")).unwrap());
        assert!(!call!(cache.expire("k", "1d")).unwrap());
        assert!(!call!(cache.persist("k")).unwrap());
        assert!(!call!(cache.replace("k", &2)).unwrap());
        assert!(keys_matching(cache, b"*").await.is_empty());
        assert_eq!(call!(cache.counter("k")).unwrap(), None);
        assert!(call!(cache.add("k", &2)).unwrap(), "{by}");
        prepare().await;
        assert_eq!(call!(cache.incr("k")).unwrap(), 1);
        prepare().await;
        assert_eq!(call!(cache.take::<u8>("k")).unwrap(), None);
    }
}

async fn a_mark_keeps_the_time_and_the_rest_of_the_envelope(target: Target) {
    let codecs = [
        Codec::json(),
        #[cfg(feature = "msgpack")]
        Codec::message_pack(),
        #[cfg(feature = "zstd")]
        Codec::json().compressed(nearcache::Compression::zstd().above(10)),
    ];
    let long = "a long text ".repeat(100);
    for codec in codecs {
        let scene = Scene::with(target, Some(codec));
        let (cache, source) = (&scene.cache, &scene.source);
        for tagged in [false, true] {
            let stored = if tagged {
                call!(cache.set("k", &long).ttl("1h").tags(["t", "u"]))
            } else {
                call!(cache.set("k", &long).ttl("1h"))
            };
            stored.unwrap();
            // The second time there is nothing left to do.
            for _ in 0..2 {
                call!(cache.mark_stale("k")).unwrap();
                let left = scene.left("k").await;
                assert!((3_500_000..=3_600_000).contains(&left), "{left}");
            }
            let load = source.fails::<String>();
            let kept = remember!(cache, "k", load; .stale_if_error("1h"));
            assert_eq!(kept.await.unwrap(), long);
            if tagged {
                call!(cache.invalidate_tag("u")).unwrap();
                let load = source.fails::<String>();
                let dead = remember!(cache, "k", load; .stale_if_error("1h")).await;
                assert_eq!(dead.unwrap_err().kind(), ErrorKind::Loader);
            }
        }
        // For ever as well, and a nothing.
        for value in [Some(7_u8), None] {
            call!(cache.set("k", &value)).unwrap();
            call!(cache.mark_stale("k")).unwrap();
            assert_eq!(scene.left("k").await, -1);
            assert_eq!(call!(cache.lookup::<u8>("k")).unwrap(), Lookup::Miss);
            let load = source.fails::<Option<u8>>();
            let kept = remember!(cache, "k", load; .stale_if_error("1h"));
            assert_eq!(kept.await.unwrap(), value);
        }
        // What was made to stay for ever had a time in its envelope.
        call!(cache.delete("k")).unwrap();
        scene.remembered(1).await;
        assert!(call!(cache.persist("k")).unwrap());
        call!(cache.mark_stale("k")).unwrap();
        assert!(!call!(cache.contains("k")).unwrap());
    }
}

async fn what_cannot_be_marked_stays_as_it_is(target: Target) {
    let scene = Scene::new(target);
    let cache = &scene.cache;
    call!(cache.mark_stale("k")).unwrap();
    assert_eq!(scene.bytes("k").await, ::redis::Value::Nil);
    call!(cache.mark_tag_stale("nobody's")).unwrap();
    let key = format!("{}:k", scene.prefix);
    for foreign in [&b"\xC1NC\x07\xFFwhatever"[..], b"\xC1NC\x01\x40", b"\xC1NC"] {
        raw(cache, &[b"SET", key.as_bytes(), foreign]).await;
        call!(cache.mark_stale("k")).unwrap();
        let stays = ::redis::Value::BulkString(foreign.to_vec());
        assert_eq!(scene.bytes("k").await, stays);
    }
    raw(cache, &[b"DEL", key.as_bytes()]).await;
    raw(cache, &[b"LPUSH", key.as_bytes(), b"x"]).await;
    let error = call!(cache.mark_stale("k")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    let error = call!(cache.mark_tag_stale("")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

async fn a_tag_marks_all_that_carry_it_and_nothing_else(target: Target) {
    let scene = Scene::new(target);
    let cache = &scene.cache;
    call!(cache.set_many([("a", 1), ("b", 2)]).tags(["t", "u"])).unwrap();
    call!(cache.set("c", &3).tags(["u"])).unwrap();
    call!(cache.set("d", &4)).unwrap();
    call!(cache.mark_tag_stale("t")).unwrap();
    let all = ["a", "b", "c", "d"];
    let found = call!(cache.get_many::<u8>(all)).unwrap();
    assert_eq!(found, [None, None, Some(3), Some(4)]);
    let keys = keys_matching(cache, b"*").await;
    assert_eq!(keys, [b"c", b"d"]);
    // What is written now is fresh.
    call!(cache.set("a", &5).tags(["t"])).unwrap();
    assert_eq!(call!(cache.get::<u8>("a")).unwrap(), Some(5));
    assert_eq!(call!(cache.get::<u8>("b")).unwrap(), None);
}

async fn a_tag_is_marked_eight_times_and_its_version_lives_as_long(target: Target) {
    let scene = Scene::new(target);
    let (cache, source) = (&scene.cache, &scene.source);
    call!(cache.set("k", &1).ttl("1w").tags(["t"])).unwrap();
    let version = "#nearcache:tag:t";
    let before = scene.left(version).await;
    assert!(before >= 7 * 86_400_000, "{before}");
    for marked in 1..=9 {
        call!(cache.mark_tag_stale("t")).unwrap();
        let ::redis::Value::BulkString(bytes) = scene.bytes(version).await else {
            panic!("no version");
        };
        assert_eq!(bytes.len(), 16 * (marked + 1).min(9));
        assert!(scene.left(version).await > before - 60_000);
        let load = source.fails::<u8>();
        let kept = remember!(cache, "k", load; .stale_if_error("1h").tags(["t"])).await;
        assert_eq!(kept.is_ok(), marked <= 8, "{marked}");
    }
    call!(cache.set("k", &1).tags(["t"])).unwrap();
    assert_eq!(scene.left(version).await, -1);
    call!(cache.mark_tag_stale("t")).unwrap();
    assert_eq!(scene.left(version).await, -1);
}

async fn an_invalidated_tag_is_dead_however_often_it_was_marked(target: Target) {
    let scene = Scene::new(target);
    let (cache, source) = (&scene.cache, &scene.source);
    for mark_first in [true, false] {
        call!(cache.set("k", &1).tags(["t"])).unwrap();
        if mark_first {
            call!(cache.mark_tag_stale("t")).unwrap();
        }
        call!(cache.invalidate_tag("t")).unwrap();
        call!(cache.mark_tag_stale("t")).unwrap();
        call!(cache.set("other", &1).tags(["t"])).unwrap();
        call!(cache.mark_tag_stale("t")).unwrap();
        let load = source.fails::<u8>();
        let dead = remember!(cache, "k", load; .stale_if_error("1h").tags(["t"])).await;
        assert_eq!(dead.unwrap_err().kind(), ErrorKind::Loader);
    }
}

async fn a_load_that_began_before_the_mark_stores_nothing(target: Target) {
    for (by, brings) in [
        ("key", false),
        ("tag", false),
        ("tags", false),
        ("tag", true),
    ] {
        let scene = Scene::new(target);
        let (cache, source) = (&scene.cache, &scene.source);
        if brings {
            // The tag has a version by now.
            call!(cache.set("other", &1).tags(["t"])).unwrap();
        }
        let load = if brings {
            let load = source.holds(Loaded::new(1_u8).tags(["t"]));
            tokio::spawn(remember!(cache, "k", load))
        } else {
            let load = source.holds(1_u8);
            let load = move || load().map(Loaded::new);
            tokio::spawn(remember!(cache, "k", load; .tags(["t"])))
        };
        source.begun().await;
        scene.mark(by).await;
        source.go_on();
        assert_eq!(load.await.unwrap().unwrap(), 1);
        assert_eq!(ask!(cache.stats()).fenced, 1, "{by}");
        if target.is_spread() && by != "key" && !brings {
            // What is stored carries the version from before the mark.
            assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None, "{by}");
            assert!(!call!(cache.contains("k")).unwrap(), "{by}");
        } else {
            assert_eq!(scene.bytes("k").await, ::redis::Value::Nil, "{by}");
        }
    }
}

async fn a_mark_is_no_mark_of_what_comes_after(target: Target) {
    let scene = Scene::new(target);
    let cache = &scene.cache;
    call!(cache.set("k", &1).ttl("1h")).unwrap();
    call!(cache.mark_stale("k")).unwrap();
    call!(cache.set("k", &2).ttl("1h")).unwrap();
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(2));
    call!(cache.mark_stale("k")).unwrap();
    // The time that it had is over.
    call!(cache.set("k", &3).keep_ttl()).unwrap();
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(3));
    assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Forever);
}

/// The window begins with the mark for a key, and with the end of the TTL for a tag.
#[test]
fn a_marked_value_is_returned_for_as_long_as_its_window() {
    both(async |cache, clock| {
        let source = Source::new();
        let face = &cache;
        let load = source.gives(1_u8);
        remember!(face, "k", load; .ttl("1h").stale_for("10m"))
            .await
            .unwrap();
        call!(cache.mark_stale("k")).unwrap();
        clock.advance(minutes(9));
        let hold = source.holds(2_u8);
        let found = remember!(face, "k", hold; .ttl("1h").stale_for("10m")).await;
        assert_eq!(found.unwrap(), 1);
        source.begun().await;
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), None);
        source.go_on();
        while call!(cache.get::<u8>("k")).unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        call!(cache.mark_stale("k")).unwrap();
        clock.advance(minutes(11));
        let load = source.gives(3_u8);
        let found = remember!(face, "k", load; .ttl("1h").stale_for("10m")).await;
        assert_eq!(found.unwrap(), 3);
    });
}

/// They wait for the same load of another process. Its value is marked before either of them sees it.
async fn who_takes_nothing_stale_gets_nothing_stale_from_one_who_does(target: Target) {
    for _ in 0..10 {
        let ((here, there), source) = (two(target, Options::default()), Source::new());
        let old = tokio::spawn(remember!(there, "k", source.holds(0)));
        source.begun().await;
        let takes = remember!(here, "k", source.gives(1); .ttl("1h").stale_for("10m"));
        let takes = tokio::spawn(takes);
        while ask!(here.stats()).lease_waits == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        source.go_on();
        assert_eq!(old.await.unwrap().unwrap(), 0);
        call!(there.mark_stale("k")).unwrap();
        let takes_not = remember!(here, "k", source.gives(1); .ttl("1h"));
        assert_eq!(takes_not.await.unwrap(), 1);
        // It asked before the mark.
        takes.await.unwrap().unwrap();
    }
}

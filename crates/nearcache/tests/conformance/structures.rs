//! What holds for every structure: its type, its TTL, and how the cache's own verbs see it.

use std::sync::Arc;

use nearcache::hooks::{Call, Done, Hook};
use nearcache::structures::Aggregate;
use nearcache::{Cache, Error, ErrorKind, Remaining, blocking};
use parking_lot::Mutex;

use crate::face::Face;
use crate::scene::Source;
use crate::target::{Options, Target, keys_matching, two_of_one_slot};

suite! {
    a_key_of_another_type_is_an_error_and_stays_as_it_is,
    strings_and_structures_replace_each_other,
    the_cache_sees_structures_as_it_sees_strings,
    a_load_answers_and_leaves_a_structure_alone,
    a_write_fences_the_loads_of_its_key,
    a_handle_can_be_kept_and_moved,
    hooks_see_every_verb,
}

/// Calls every verb that changes a hash, a list, a set or a sorted set at this key.
macro_rules! every_write {
    ($cache:ident, $key:expr, $each:expr) => {{
        let key: &str = $key;
        let each = $each;
        let kinds = ["hash", "list", "set_of", "sorted_set"];
        let one = "x";
        each(
            kinds[0],
            "set",
            call!($cache.hash(key).set("f", "1").ttl("1h")).map(drop),
        );
        each(
            kinds[0],
            "set_many",
            call!($cache.hash(key).set_many([("f", 1)]).ttl("1h")).map(drop),
        );
        each(
            kinds[0],
            "set_if_absent",
            call!($cache.hash(key).set_if_absent("f", "1").ttl("1h")).map(drop),
        );
        each(
            kinds[0],
            "incr",
            call!($cache.hash(key).incr("n").ttl("1h")).map(drop),
        );
        each(
            kinds[0],
            "incr_float",
            call!($cache.hash(key).incr_float("n", 1.0).ttl("1h")).map(drop),
        );
        each(
            kinds[0],
            "remove",
            call!($cache.hash(key).remove("f").ttl("1h")).map(drop),
        );
        each(
            kinds[0],
            "remove_many",
            call!($cache.hash(key).remove_many(["f"])).map(drop),
        );
        each(
            kinds[1],
            "push_front",
            call!($cache.list::<String>(key).push_front(one).ttl("1h")).map(drop),
        );
        each(
            kinds[1],
            "push_back",
            call!($cache.list::<String>(key).push_back(one).cap(3).ttl("1h")).map(drop),
        );
        each(
            kinds[1],
            "push_front_many",
            call!($cache.list::<String>(key).push_front_many([one])).map(drop),
        );
        each(
            kinds[1],
            "push_back_many",
            call!($cache.list::<String>(key).push_back_many([one]).cap(3)).map(drop),
        );
        each(
            kinds[1],
            "set",
            call!($cache.list::<String>(key).set(0, one).ttl("1h")).map(drop),
        );
        each(
            kinds[1],
            "insert_before",
            call!($cache.list::<String>(key).insert_before(one, "y").ttl("1h")).map(drop),
        );
        each(
            kinds[1],
            "insert_after",
            call!($cache.list::<String>(key).insert_after(one, "y")).map(drop),
        );
        each(
            kinds[1],
            "remove",
            call!($cache.list::<String>(key).remove("y").ttl("1h")).map(drop),
        );
        each(
            kinds[1],
            "trim",
            call!($cache.list::<String>(key).trim(..).ttl("1h")).map(drop),
        );
        each(
            kinds[1],
            "pop_front",
            call!($cache.list::<String>(key).pop_front()).map(drop),
        );
        each(
            kinds[1],
            "pop_back",
            call!($cache.list::<String>(key).pop_back().count(1)).map(drop),
        );
        each(
            kinds[1],
            "pop_front",
            call!($cache.list::<String>(key).pop_front().wait("1ms")).map(drop),
        );
        each(
            kinds[1],
            "move_to",
            call!($cache.list::<String>(key).move_to("other")).map(drop),
        );
        each(
            kinds[1],
            "move_to",
            call!($cache.list::<String>(key).move_to("other").wait("1ms")).map(drop),
        );
        each(
            kinds[2],
            "insert",
            call!($cache.set_of::<String>(key).insert(one).ttl("1h")).map(drop),
        );
        each(
            kinds[2],
            "insert_many",
            call!($cache.set_of::<String>(key).insert_many([one]).ttl("1h")).map(drop),
        );
        each(
            kinds[2],
            "remove",
            call!($cache.set_of::<String>(key).remove("y").ttl("1h")).map(drop),
        );
        each(
            kinds[2],
            "remove_many",
            call!($cache.set_of::<String>(key).remove_many(["y"])).map(drop),
        );
        each(
            kinds[2],
            "move_to",
            call!($cache.set_of::<String>(key).move_to("other", "y")).map(drop),
        );
        each(
            kinds[2],
            "pop",
            call!($cache.set_of::<String>(key).pop()).map(drop),
        );
        each(
            kinds[2],
            "pop_many",
            call!($cache.set_of::<String>(key).pop_many(1)).map(drop),
        );
        each(
            kinds[3],
            "insert",
            call!($cache.sorted_set::<String>(key).insert(one, 1).ttl("1h")).map(drop),
        );
        each(
            kinds[3],
            "insert_many",
            call!($cache.sorted_set::<String>(key).insert_many([(one, 1.0)])).map(drop),
        );
        each(
            kinds[3],
            "incr",
            call!($cache.sorted_set::<String>(key).incr(one, 1).ttl("1h")).map(drop),
        );
        each(
            kinds[3],
            "remove",
            call!($cache.sorted_set::<String>(key).remove("y").ttl("1h")).map(drop),
        );
        each(
            kinds[3],
            "remove_many",
            call!($cache.sorted_set::<String>(key).remove_many(["y"])).map(drop),
        );
        each(
            kinds[3],
            "remove_by_rank",
            call!($cache.sorted_set::<String>(key).remove_by_rank(..0)).map(drop),
        );
        each(
            kinds[3],
            "remove_by_score",
            call!($cache.sorted_set::<String>(key).remove_by_score(9.0..)).map(drop),
        );
        each(
            kinds[3],
            "remove_by_lex",
            call!($cache.sorted_set::<String>(key).remove_by_lex("y"..)).map(drop),
        );
        each(
            kinds[3],
            "pop_min",
            call!($cache.sorted_set::<String>(key).pop_min()).map(drop),
        );
        each(
            kinds[3],
            "pop_max",
            call!($cache.sorted_set::<String>(key).pop_max().count(1)).map(drop),
        );
        each(
            kinds[3],
            "pop_min",
            call!($cache.sorted_set::<String>(key).pop_min().wait("1ms")).map(drop),
        );
    }};
}

/// And every verb that only reads.
macro_rules! every_read {
    ($cache:ident, $key:expr, $each:expr) => {{
        let key: &str = $key;
        let each = $each;
        let kinds = ["hash", "list", "set_of", "sorted_set"];
        let one = "x";
        each(
            kinds[0],
            "get",
            call!($cache.hash(key).get::<String>("f")).map(drop),
        );
        each(
            kinds[0],
            "get_many",
            call!($cache.hash(key).get_many::<String>(["f"])).map(drop),
        );
        each(
            kinds[0],
            "all",
            call!($cache.hash(key).all::<String, String>()).map(drop),
        );
        each(
            kinds[0],
            "keys",
            call!($cache.hash(key).keys::<String>()).map(drop),
        );
        each(
            kinds[0],
            "values",
            call!($cache.hash(key).values::<String>()).map(drop),
        );
        each(kinds[0], "len", call!($cache.hash(key).len()).map(drop));
        each(
            kinds[0],
            "contains",
            call!($cache.hash(key).contains("f")).map(drop),
        );
        each(
            kinds[0],
            "load",
            call!(
                $cache
                    .hash(key)
                    .load::<std::collections::HashMap<String, String>>()
            )
            .map(drop),
        );
        each(
            kinds[0],
            "random",
            call!($cache.hash(key).random::<String>()).map(drop),
        );
        each(
            kinds[0],
            "random_many",
            call!($cache.hash(key).random_many::<String, String>(1)).map(drop),
        );
        each(
            kinds[1],
            "range",
            call!($cache.list::<String>(key).range(..)).map(drop),
        );
        each(
            kinds[1],
            "len",
            call!($cache.list::<String>(key).len()).map(drop),
        );
        each(
            kinds[1],
            "get",
            call!($cache.list::<String>(key).get(0)).map(drop),
        );
        each(
            kinds[1],
            "position",
            call!($cache.list::<String>(key).position(one)).map(drop),
        );
        each(
            kinds[1],
            "positions",
            call!($cache.list::<String>(key).positions(one)).map(drop),
        );
        each(
            kinds[2],
            "contains",
            call!($cache.set_of::<String>(key).contains(one)).map(drop),
        );
        each(
            kinds[2],
            "contains_many",
            call!($cache.set_of::<String>(key).contains_many([one])).map(drop),
        );
        each(
            kinds[2],
            "len",
            call!($cache.set_of::<String>(key).len()).map(drop),
        );
        each(
            kinds[2],
            "all",
            call!($cache.set_of::<String>(key).all()).map(drop),
        );
        each(
            kinds[2],
            "sample",
            call!($cache.set_of::<String>(key).sample()).map(drop),
        );
        each(
            kinds[2],
            "sample_many",
            call!($cache.set_of::<String>(key).sample_many(1)).map(drop),
        );
        each(
            kinds[2],
            "union",
            call!($cache.set_of::<String>(key).union(["none"])).map(drop),
        );
        each(
            kinds[2],
            "intersection",
            call!($cache.set_of::<String>(key).intersection(["none"])).map(drop),
        );
        each(
            kinds[2],
            "difference",
            call!($cache.set_of::<String>(key).difference(["none"])).map(drop),
        );
        each(
            kinds[2],
            "union_len",
            call!($cache.set_of::<String>(key).union_len(["none"])).map(drop),
        );
        each(
            kinds[2],
            "intersection_len",
            call!($cache.set_of::<String>(key).intersection_len([key])).map(drop),
        );
        each(
            kinds[2],
            "difference_len",
            call!($cache.set_of::<String>(key).difference_len(["none"])).map(drop),
        );
        each(
            kinds[3],
            "score",
            call!($cache.sorted_set::<String>(key).score(one)).map(drop),
        );
        each(
            kinds[3],
            "scores",
            call!($cache.sorted_set::<String>(key).scores([one])).map(drop),
        );
        each(
            kinds[3],
            "rank",
            call!($cache.sorted_set::<String>(key).rank(one)).map(drop),
        );
        each(
            kinds[3],
            "range",
            call!($cache.sorted_set::<String>(key).range(..)).map(drop),
        );
        each(
            kinds[3],
            "by_score",
            call!($cache.sorted_set::<String>(key).by_score(..).with_scores()).map(drop),
        );
        each(
            kinds[3],
            "by_lex",
            call!($cache.sorted_set::<String>(key).by_lex("a"..)).map(drop),
        );
        each(
            kinds[3],
            "count",
            call!($cache.sorted_set::<String>(key).count(..)).map(drop),
        );
        each(
            kinds[3],
            "count_lex",
            call!($cache.sorted_set::<String>(key).count_lex("a"..)).map(drop),
        );
        each(
            kinds[3],
            "len",
            call!($cache.sorted_set::<String>(key).len()).map(drop),
        );
        each(
            kinds[3],
            "random",
            call!($cache.sorted_set::<String>(key).random()).map(drop),
        );
        each(
            kinds[3],
            "random_many",
            call!($cache.sorted_set::<String>(key).random_many(1)).map(drop),
        );
        each(
            kinds[3],
            "union",
            call!(
                $cache
                    .sorted_set::<String>(key)
                    .union(["none"])
                    .aggregate(Aggregate::Max)
            )
            .map(drop),
        );
        each(
            kinds[3],
            "intersection",
            call!($cache.sorted_set::<String>(key).intersection([key])).map(drop),
        );
        each(
            kinds[3],
            "difference",
            call!(
                $cache
                    .sorted_set::<String>(key)
                    .difference(["none"])
                    .with_scores()
            )
            .map(drop),
        );
        each(
            kinds[3],
            "intersection_len",
            call!($cache.sorted_set::<String>(key).intersection_len([key])).map(drop),
        );
    }};
}

async fn a_key_of_another_type_is_an_error_and_stays_as_it_is(target: Target) {
    let cache = target.cache_of_one_slot();
    call!(cache.set("text", "x")).unwrap();
    call!(cache.hash("hash").set("f", "x")).unwrap();
    call!(cache.list::<String>("list").push_back("x")).unwrap();
    for (own, key) in [("", "text"), ("hash", "hash"), ("list", "list")] {
        let check = |kind: &str, verb: &str, outcome: nearcache::Result<()>| {
            // A set counts as a sorted set for the union of sorted sets.
            if kind != own {
                let error = outcome.expect_err(verb);
                assert_eq!(error.kind(), ErrorKind::WrongType, "{kind}.{verb}: {error}");
                assert!(error.key().is_some(), "{kind}.{verb}");
            }
        };
        if own.is_empty() {
            every_write!(cache, key, check);
        }
        every_read!(cache, key, check);
        assert_eq!(call!(cache.ttl(key)).unwrap(), Remaining::Forever);
    }
    assert_eq!(call!(cache.get::<String>("text")).unwrap().unwrap(), "x");
    assert!(!call!(cache.contains("other")).unwrap());
    assert_eq!(
        call!(cache.hash("hash").get::<String>("f"))
            .unwrap()
            .unwrap(),
        "x"
    );
    // `incr` and the like of a string are errors, too.
    let error = call!(cache.incr("hash").ttl("1h")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    let error = call!(cache.get::<String>("hash")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert_eq!(call!(cache.ttl("hash")).unwrap(), Remaining::Forever);
}

async fn fill(cache: &Face, key: &str, kind: usize) {
    match kind {
        0 => drop(call!(cache.hash(key).set("f", "x")).unwrap()),
        1 => drop(call!(cache.list::<String>(key).push_back("x")).unwrap()),
        2 => drop(call!(cache.set_of::<String>(key).insert("x")).unwrap()),
        _ => drop(call!(cache.sorted_set::<String>(key).insert("x", 1)).unwrap()),
    }
}

async fn strings_and_structures_replace_each_other(target: Target) {
    let cache = target.cache();
    for kind in 0..4 {
        for with in 0..4 {
            call!(cache.delete("k")).unwrap();
            fill(&cache, "k", kind).await;
            match with {
                0 => call!(cache.set("k", "text")).unwrap(),
                1 => call!(cache.set("k", "text").ttl("1h")).unwrap(),
                2 => call!(cache.set("k", "text").tags(["t"])).unwrap(),
                _ => call!(cache.set_many([("k", "text")])).unwrap(),
            }
            let found = call!(cache.get::<String>("k")).unwrap();
            assert_eq!(found.as_deref(), Some("text"), "{kind} {with}");
            assert_eq!(
                call!(cache.ttl("k")).unwrap() == Remaining::Forever,
                with != 1
            );
        }
        call!(cache.delete("k")).unwrap();
        fill(&cache, "k", kind).await;
        assert!(!call!(cache.add("k", "text")).unwrap(), "it is there");
        call!(
            cache
                .hash("k")
                .store(&std::collections::HashMap::from([("a", 1)]))
        )
        .unwrap();
        assert_eq!(call!(cache.hash("k").get("a")).unwrap(), Some(1));
    }
}

async fn the_cache_sees_structures_as_it_sees_strings(target: Target) {
    let cache = target.cache();
    let names = ["hash", "list", "set", "zset"];
    for (kind, key) in names.into_iter().enumerate() {
        fill(&cache, key, kind).await;
        assert!(call!(cache.contains(key)).unwrap());
        assert_eq!(call!(cache.ttl(key)).unwrap(), Remaining::Forever);
        assert!(call!(cache.expire(key, "1h")).unwrap());
        assert!(call!(cache.ttl(key)).unwrap().duration().is_some(), "{key}");
        assert!(call!(cache.touch(key)).unwrap(), "{key}");
        assert!(call!(cache.persist(key)).unwrap(), "{key}");
        assert_eq!(call!(cache.ttl(key)).unwrap(), Remaining::Forever, "{key}");
    }
    let listed = keys_matching(&cache, b"*").await;
    let wanted: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    assert_eq!(listed, wanted);
    assert!(call!(cache.delete("hash")).unwrap());
    assert!(!call!(cache.delete("hash")).unwrap());
    assert_eq!(call!(cache.delete_many(["list", "hash"])).unwrap(), 1);
    assert_eq!(call!(cache.delete_pattern("s*")).unwrap(), 1);
    assert_eq!(keys_matching(&cache, b"*").await, [b"zset"]);
    assert_eq!(call!(cache.clear()).unwrap(), 1);
    assert!(keys_matching(&cache, b"*").await.is_empty());
}

async fn a_load_answers_and_leaves_a_structure_alone(target: Target) {
    let (cache, source) = (target.cache(), Source::new());
    for kind in 0..4 {
        let key = ["hash", "list", "set", "zset"][kind];
        fill(&cache, key, kind).await;
        let found = remember!(cache, key, source.gives(7)).await.unwrap();
        assert_eq!(found, 7);
        let error = call!(cache.get::<u8>(key)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType, "it is not stored over");
        assert_eq!(source.loads(), kind + 1);
    }
    assert!(call!(cache.hash("hash").contains("f")).unwrap());
}

/// A load that found nothing does not store over a structure, or after it.
async fn a_write_fences_the_loads_of_its_key(target: Target) {
    let (cache, other) = two_of_one_slot(target, Options::default());
    for kind in 0..4 {
        let source = Source::new();
        let load = tokio::spawn(remember!(cache, "k", source.holds(1)));
        source.begun().await;
        fill(&other, "k", kind).await;
        // As a delete by another program, which fences nothing: the fence was the write's.
        crate::target::raw(&other, &[b"PING"]).await;
        source.go_on();
        assert_eq!(load.await.unwrap().unwrap(), 1);
        let error = call!(other.get::<u8>("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
        call!(other.delete("k")).unwrap();
    }
    // The structure is gone again when the load ends: its value is OLD all the same.
    let source = Source::new();
    let load = tokio::spawn(remember!(cache, "k", source.holds(1)));
    source.begun().await;
    call!(other.list::<u8>("k").push_back(1)).unwrap();
    call!(other.list::<u8>("k").pop_front()).unwrap();
    source.go_on();
    assert_eq!(load.await.unwrap().unwrap(), 1);
    assert!(!call!(other.contains("k")).unwrap());
    // And of a destination.
    let source = Source::new();
    let load = tokio::spawn(remember!(cache, "to", source.holds(1)));
    source.begun().await;
    call!(other.set_of::<u8>("a").union(["b"]).into("to")).unwrap();
    source.go_on();
    assert_eq!(load.await.unwrap().unwrap(), 1);
    assert!(!call!(other.contains("to")).unwrap());
}

async fn a_handle_can_be_kept_and_moved(target: Target) {
    fn movable<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    match target.cache() {
        Face::Async(cache) => {
            let (hash, list) = (cache.hash("h"), cache.list::<u8>("l"));
            let (set, sorted) = (cache.set_of::<u8>("s"), cache.sorted_set::<u8>("z"));
            movable(&hash);
            movable(&list);
            movable(&set);
            movable(&sorted);
            drop(cache);
            let task = tokio::spawn(async move {
                let pending = list.push_back(1);
                drop(list);
                pending.await.unwrap()
            });
            assert_eq!(task.await.unwrap(), 1);
            assert_eq!(set.key().as_str(), Some("s"));
            assert!(format!("{sorted:?}").contains('z'));
            hash.set("a", &1).await.unwrap();
        }
        Face::Blocking(cache) => {
            let list = cache.list::<u8>("l");
            movable(&list);
            drop(cache);
            let thread = std::thread::spawn(move || list.push_back(1).run().unwrap());
            assert_eq!(thread.join().unwrap(), 1);
        }
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Hook for Recorder {
    fn after(&self, call: &Call<'_>, _: &Done) {
        assert!(call.key_count() > 0);
        self.0.lock().push(call.command().to_owned());
    }

    fn error(&self, call: &Call<'_>, error: &Error, _: std::time::Duration) {
        self.0.lock().push(format!("{}: {error}", call.command()));
    }
}

async fn hooks_see_every_verb(target: Target) {
    let recorder = Arc::new(Recorder::default());
    let prefix = nearcache_testkit::random_prefix();
    let url = target.url(&prefix);
    let cache = if target.is_blocking() {
        let builder = blocking::Cache::builder(&url).prefix(&prefix);
        Face::Blocking(builder.hook(Arc::clone(&recorder)).build().unwrap())
    } else {
        let builder = Cache::builder(&url).prefix(&prefix);
        Face::Async(builder.hook(Arc::clone(&recorder)).build().unwrap())
    };
    let check = |kind: &str, verb: &str, outcome: nearcache::Result<()>| {
        let told = std::mem::take(&mut *recorder.0.lock());
        if outcome.is_ok() {
            assert_eq!(told, [format!("{kind}.{verb}")]);
        } else {
            assert_eq!(told.len(), 1, "{kind}.{verb}: {told:?}");
            assert!(told[0].starts_with(&format!("{kind}.{verb}: ")), "{told:?}");
        }
    };
    // A missing key is of any type; the structures that are made are of their own.
    every_read!(cache, "none", check);
    every_write!(cache, "k", check);
    call!(
        cache
            .hash("h")
            .store(&std::collections::HashMap::from([("a", 1)]))
    )
    .unwrap();
    assert_eq!(*recorder.0.lock(), ["hash.store"]);
    recorder.0.lock().clear();
    call!(cache.command("GET").key("text").query::<()>()).unwrap();
    assert_eq!(*recorder.0.lock(), ["command"]);
}

//! Opening, sharing and closing.

use std::sync::Arc;

use nearcache::{Error, ErrorKind, ServerKind};
use nearcache_testkit::random_prefix;

use crate::target::{Face, Target, raw};

suite! {
    ping_and_server_tell_what_is_there,
    a_closed_cache_says_so_and_others_go_on,
    clones_are_the_same_cache,
    bound_verbs_are_those_of_the_key,
    the_two_forms_of_a_cache_share_all_but_their_end,
    a_value_is_shared_rather_than_cloned,
    databases_are_apart,
    debug_shows_no_password,
}

async fn ping_and_server_tell_what_is_there(target: Target) {
    let cache = target.cache();
    call!(cache.ping()).unwrap();
    if target.is_acl_user() {
        // INFO is not among what the cache itself needs.
        let error = call!(cache.server()).unwrap_err();
        assert!(error.to_string().contains("+info"), "{error}");
        return;
    }
    let server = call!(cache.server()).unwrap();
    assert_eq!(server.kind == ServerKind::Embedded, target.is_a_store());
    assert!(server.is_at_least(6, 2), "{server}");
    let mode = if target.is_a_cluster() {
        "cluster"
    } else {
        "standalone"
    };
    assert_eq!(server.mode, mode);
}

async fn a_closed_cache_says_so_and_others_go_on(target: Target) {
    let prefix = random_prefix();
    let url = target.url(&prefix);
    let (cache, other) = (
        target.cache_at(&url, &prefix),
        target.cache_at(&url, &prefix),
    );
    call!(cache.set("k", &1)).unwrap();
    call!(other.ping()).unwrap();
    call!(cache.close()).unwrap();
    call!(cache.close()).unwrap();
    assert!(!ask!(cache.is_open()) && ask!(other.is_open()));
    let closed = |error: Error| error.kind() == ErrorKind::Closed;
    assert!(closed(call!(cache.get::<i32>("k")).unwrap_err()));
    assert!(closed(call!(cache.set("k", &2)).unwrap_err()));
    assert!(closed(call!(cache.ping()).unwrap_err()));
    assert!(closed(call!(cache.delete_pattern("*")).unwrap_err()));
    let opened = match &cache {
        Face::Async(cache) => cache.connection().await.map(drop),
        Face::Blocking(cache) => cache.connection().run().map(drop),
    };
    assert!(closed(opened.unwrap_err()));
    assert_eq!(call!(other.get::<i32>("k")).unwrap(), Some(1));
    drop(cache);
    assert_eq!(call!(other.get::<i32>("k")).unwrap(), Some(1));
    // Closed for good, but another one opens at any time.
    let again = target.cache_at(&url, &prefix);
    assert_eq!(call!(again.get::<i32>("k")).unwrap(), Some(1));
}

async fn clones_are_the_same_cache(target: Target) {
    let cache = target.cache();
    let clone = cache.clone();
    call!(cache.set("k", &1)).unwrap();
    assert_eq!(call!(clone.get::<i32>("k")).unwrap(), Some(1));
    assert_eq!(ask!(cache.stats()).hits, 1);
    call!(clone.close()).unwrap();
    assert!(!ask!(cache.is_open()));
}

async fn bound_verbs_are_those_of_the_key(target: Target) {
    macro_rules! bound_verbs {
        ($cache:expr, $($end:tt)*) => {{
            let bound = $cache.bind("user:1");
            assert_eq!(*bound.key(), "user:1");
            bound.set("Alice").ttl("1h").$($end)*.unwrap();
            assert_eq!($cache.get::<String>("user:1").$($end)*.unwrap().as_deref(), Some("Alice"));
            assert!(bound.contains().$($end)*.unwrap());
            assert!(bound.ttl().$($end)*.unwrap().duration().is_some());
            assert!(bound.persist().$($end)*.unwrap());
            assert!(bound.expire("2h").$($end)*.unwrap());
            assert!(bound.touch().$($end)*.unwrap());
            assert!(!bound.add("Bob").$($end)*.unwrap());
            assert!(bound.replace("Bob").$($end)*.unwrap());
            assert_eq!(bound.take::<String>().$($end)*.unwrap().as_deref(), Some("Bob"));
            assert_eq!(bound.incr().$($end)*.unwrap(), 1);
            assert_eq!(bound.decr().by(3).$($end)*.unwrap(), -2);
            assert_eq!(bound.counter().$($end)*.unwrap(), Some(-2));
            assert!(bound.delete().$($end)*.unwrap());
            assert_eq!(bound.get::<String>().$($end)*.unwrap(), None);
        }};
    }
    match target.cache() {
        Face::Async(cache) => bound_verbs!(cache, await),
        Face::Blocking(cache) => bound_verbs!(cache, run()),
    }
}

async fn databases_are_apart(target: Target) {
    if target.is_a_cluster() {
        // It has only one.
        return;
    }
    let prefix = random_prefix();
    let url = target.url(&prefix);
    let joint = if url.contains('?') { "&" } else { "?" };
    let first = target.cache_at(&url, &prefix);
    let second = target.cache_at(&format!("{url}{joint}db=1"), &prefix);
    call!(first.set("k", &1)).unwrap();
    assert_eq!(call!(second.get::<i32>("k")).unwrap(), None);
    let found = raw(&second, &[b"EXISTS", format!("{prefix}:k").as_bytes()]).await;
    assert_eq!(found, redis::Value::Int(0));
}

async fn debug_shows_no_password(target: Target) {
    let cache = target.cache_at("redis://app:hunter2@127.0.0.1:1/3?client_name=api", "p");
    let text = format!("{cache:?}");
    assert!(
        !text.contains("hunter2") && text.contains("127.0.0.1:1") && text.contains("app"),
        "{text}"
    );
}

async fn the_two_forms_of_a_cache_share_all_but_their_end(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", &1)).unwrap();
    let other = match &cache {
        Face::Async(cache) => Face::Blocking(cache.blocking().unwrap()),
        Face::Blocking(cache) => Face::Async(cache.asynchronous().unwrap()),
    };
    // The prefix, the place and, where it is embedded, the store.
    assert_eq!(call!(other.get::<i32>("k")).unwrap(), Some(1));
    call!(other.set("k", &2)).unwrap();
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), Some(2));
    // What they count.
    let (here, there) = (ask!(cache.stats()), ask!(other.stats()));
    assert_eq!((here.hits, here.writes), (2, 2));
    assert_eq!((there.hits, there.writes), (2, 2));
    // A load and its fence.
    let loaded = match &other {
        Face::Async(cache) => cache.remember("n", async || Ok::<_, Error>(7)).await,
        Face::Blocking(cache) => cache.remember("n", || Ok::<_, Error>(7)).run(),
    };
    assert_eq!(loaded.unwrap(), 7);
    assert_eq!(call!(cache.get::<i32>("n")).unwrap(), Some(7));
    // Not their end.
    call!(cache.close()).unwrap();
    assert!(!ask!(cache.is_open()) && ask!(other.is_open()));
    assert_eq!(call!(other.get::<i32>("k")).unwrap(), Some(2));
}

async fn a_value_is_shared_rather_than_cloned(target: Target) {
    /// It is not `Clone`.
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Page {
        html: String,
    }
    let page = || Page {
        html: "<h1>Hello</h1>".to_owned(),
    };
    let cache = target.cache();
    call!(cache.set("page", &page())).unwrap();
    let found = call!(cache.get_arc::<Page>("page")).unwrap();
    assert_eq!(found.as_deref(), Some(&page()));
    assert_eq!(call!(cache.get_arc::<Page>("none")).unwrap(), None);
    // A loader may give one, and `T` and `Arc<T>` are one entry.
    let load = move || Ok::<_, Error>(Arc::new(page()));
    let loaded = match &cache {
        Face::Async(cache) => cache.remember("loaded", async move || load()).await,
        Face::Blocking(cache) => cache.remember("loaded", load).run(),
    };
    assert_eq!(*loaded.unwrap(), page());
    let again = call!(cache.get::<Arc<Page>>("loaded")).unwrap();
    assert_eq!(again.as_deref(), Some(&page()));
}

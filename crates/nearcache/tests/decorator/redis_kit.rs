//! What redis_kit's `@cached` does, in the words of Rust: `docs/decorator.md` has the table.

use nearcache::{Cache, ErrorKind, blocking, cached};

use crate::{Runs, everywhere, everywhere_blocking};

#[cached(cache = cache, key = "user:{user_id}:{lang}", ttl = 300)]
async fn user(cache: &Cache, user_id: u32, lang: &str, runs: &Runs) -> Option<String> {
    runs.add();
    (user_id > 0).then(|| format!("{user_id} in {lang}"))
}

#[cached(cache = cache, key = "user:{user_id}:{lang}", ttl = 300)]
fn user_blocking(cache: &blocking::Cache, user_id: u32, lang: &str, runs: &Runs) -> Option<String> {
    runs.add();
    (user_id > 0).then(|| format!("{user_id} in {lang}"))
}

#[test]
fn the_template_is_filled_from_the_arguments_and_the_faces_share_their_entries() {
    everywhere(async |scene| {
        let runs = Runs::default();
        let first = user(&scene.cache, 1, "en", &runs).await;
        let again = user(&scene.cache, 1, "en", &runs).await;
        assert_eq!(first, again);
        assert_eq!(runs.count(), 1);
        let stored: Option<String> = scene.cache.get("user:1:en").await.unwrap();
        assert_eq!(stored, first);
    });
    everywhere_blocking(|scene| {
        let runs = Runs::default();
        let cache = &scene.cache;
        let stored = cache.set("user:1:en", "theirs").run();
        stored.unwrap();
        let found = user_blocking(cache, 1, "en", &runs);
        assert_eq!((found.as_deref(), runs.count()), (Some("theirs"), 0));
    });
}

#[test]
fn none_is_cached() {
    everywhere(async |scene| {
        let runs = Runs::default();
        for _ in 0..2 {
            assert_eq!(user(&scene.cache, 0, "en", &runs).await, None);
        }
        assert_eq!(runs.count(), 1);
    });
}

#[cached(
    cache = cache,
    key = |_, id, _, _| format!("article:{id}"),
    ttl = |_, id, _, _| if *id < 10 { "1h" } else { "1m" },
    bypass = |_, _, fresh, _| *fresh,
)]
async fn article(cache: &Cache, id: u32, fresh: bool, runs: &Runs) -> usize {
    runs.add()
}

#[test]
fn key_ttl_and_bypass_may_be_closures_and_bypass_skips_the_read_and_still_writes() {
    everywhere(async |scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        assert_eq!(article(cache, 1, false, &runs).await, 1);
        assert_eq!(article(cache, 1, true, &runs).await, 2);
        assert_eq!(article(cache, 1, false, &runs).await, 2);
        let left = cache.ttl("article:1").await.unwrap().duration().unwrap();
        assert!(left.as_secs() > 60);
    });
}

#[tokio::test]
async fn invalidate_raises_when_redis_is_down() {
    let server = nearcache_testkit::Redis::start();
    let cache = Cache::open(&server.patient_url()).unwrap();
    let runs = Runs::default();
    user(&cache, 1, "en", &runs).await;
    assert!(user::invalidate(&cache, 1, "en", &runs).await.unwrap());
    drop(server);
    // The function itself goes on.
    assert!(user(&cache, 1, "en", &runs).await.is_some());
    let error = user::invalidate(&cache, 1, "en", &runs).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Connect | ErrorKind::Unavailable),
        "{error}"
    );
    assert!(error.is_deferred(), "and it is sent when Redis is back");
}

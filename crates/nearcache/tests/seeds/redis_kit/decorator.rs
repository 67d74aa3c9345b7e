//! The page's "@cached Decorator".

use super::*;

// # @cached Decorator

static RUNS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn ran(what: String) {
    RUNS.lock().unwrap().push(what);
}

fn runs_of(what: &str) -> usize {
    RUNS.lock()
        .unwrap()
        .iter()
        .filter(|run| *run == what)
        .count()
}

#[cached(cache = cache, key = "user:{user_id}", ttl = "1h")]
fn get_user(cache: &blocking::Cache, user_id: u32, whose: &str) -> Option<String> {
    ran(format!("user {user_id} {whose}"));
    (user_id != 999).then(|| format!("user {user_id}"))
}

#[cached(cache = cache, key = "product:{pid}", ttl = 3600)]
async fn get_product(cache: &Cache, pid: u32, whose: &str) -> Option<String> {
    ran(format!("product {pid} {whose}"));
    (pid != 999).then(|| format!("product {pid}"))
}

#[cached(
    cache = cache,
    key = |_, uid, _, _| format!("user:{uid}"),
    ttl = |_, uid, _, _| if *uid < 100 { 3600 } else { 300 },
    bypass = |_, _, force, _| *force,
)]
async fn get_user_forced(cache: &Cache, uid: u32, force: bool, whose: &str) -> String {
    ran(format!("forced {uid} {whose}"));
    format!("{uid} {}", runs_of(&format!("forced {uid} {whose}")))
}

#[cached(cache = cache, key = "degraded:{user_id}", ttl = "1h", on_error = "execute")]
async fn get_user_degraded(cache: &Cache, user_id: u32, whose: &str) -> nearcache::Result<String> {
    ran(format!("degraded {user_id} {whose}"));
    Ok(format!("user {user_id}"))
}

#[test]
fn the_decorator() {
    for on_redis in [false, true] {
        let whose = random_prefix();
        let place = match on_redis {
            false => format!("memory://{whose}"),
            true => nearcache_testkit::Redis::shared().url(),
        };
        run(async {
            let cache = Cache::builder(&place)
                .prefix(&whose)
                .timeout("10s")
                .build()
                .unwrap();
            let sync = cache.blocking().unwrap();
            let whose = whose.as_str();
            for _ in 0..2 {
                assert_eq!(get_user(&sync, 1, whose).as_deref(), Some("user 1"));
                assert_eq!(
                    get_product(&cache, 42, whose).await.as_deref(),
                    Some("product 42")
                );
                // None is cached.
                assert_eq!(get_user(&sync, 999, whose), None);
                assert_eq!(get_product(&cache, 999, whose).await, None);
            }
            for what in ["user 1", "product 42", "user 999", "product 999"] {
                assert_eq!(runs_of(&format!("{what} {whose}")), 1, "{what}");
            }
            // Cache Invalidation
            assert!(get_user::invalidate(&sync, 1, whose).unwrap());
            assert!(get_product::invalidate(&cache, 42, whose).await.unwrap());
            get_user(&sync, 1, whose);
            get_product(&cache, 42, whose).await;
            assert_eq!(runs_of(&format!("user 1 {whose}")), 2);
            assert_eq!(runs_of(&format!("product 42 {whose}")), 2);
            // Callable Key/TTL/Bypass: bypass skips the read and still writes.
            assert_eq!(get_user_forced(&cache, 7, false, whose).await, "7 1");
            assert_eq!(get_user_forced(&cache, 7, false, whose).await, "7 1");
            assert_eq!(get_user_forced(&cache, 7, true, whose).await, "7 2");
            assert_eq!(get_user_forced(&cache, 7, false, whose).await, "7 2");
            assert!(
                cache
                    .ttl("user:7")
                    .await
                    .unwrap()
                    .duration()
                    .unwrap()
                    .as_secs()
                    > 300
            );
            get_user_forced(&cache, 100, false, whose).await;
            assert!(
                cache
                    .ttl("user:100")
                    .await
                    .unwrap()
                    .duration()
                    .unwrap()
                    .as_secs()
                    <= 300
            );
        });
    }
}

/// Error Degradation: the function runs, exactly once a call.
#[test]
fn the_decorator_runs_the_function_while_redis_is_away() {
    let nobody = Port::unused();
    let whose = random_prefix();
    run(async {
        let cache = Cache::open(&format!("redis://127.0.0.1:{}", nobody.number())).unwrap();
        for calls in 1..=2 {
            let user = get_user_degraded(&cache, 1, &whose).await.unwrap();
            assert_eq!(
                (user.as_str(), runs_of(&format!("degraded 1 {whose}"))),
                ("user 1", calls)
            );
        }
        // An invalidation is an error.
        let error = get_user_degraded::invalidate(&cache, 1, &whose)
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Connect | ErrorKind::Unavailable),
            "{error}"
        );
    });
}

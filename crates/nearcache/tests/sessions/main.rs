//! Sessions under adversity: commands that are held back while others end, change or renew the session; processes that
//! are killed while they change it; Redis away; and ids that nobody tells.

#[path = "../support/child.rs"]
mod child;
mod processes;
mod secrets;

use std::time::{Duration, Instant};

use nearcache::patterns::{SessionId, Sessions};
use nearcache::{Cache, ErrorKind};
use nearcache_testkit::{Frames, Proxy, Redis, random_prefix};

/// A value whose script calls are longer than those without it.
type Value = (Vec<u32>, String);

fn value() -> Value {
    (Vec::new(), "x".repeat(2_000))
}

/// One cache through a proxy, and one beside it.
struct Scene {
    proxy: Proxy,
    delayed: Sessions<Value>,
    direct: Sessions<Value>,
}

impl Scene {
    async fn new() -> Scene {
        let redis = Redis::shared();
        let proxy = Proxy::start(&redis.address());
        let prefix = random_prefix();
        let open = |url: &str| {
            let builder = Cache::builder(url).prefix(&prefix);
            builder.timeout(Duration::from_secs(20)).build().unwrap()
        };
        let (delayed, direct) = (open(&proxy.url()), open(&redis.url()));
        let scene = Scene {
            proxy,
            delayed: delayed.sessions(),
            direct: direct.sessions(),
        };
        // The server knows the scripts from here on.
        let id = scene.direct.create(&value()).await.unwrap();
        scene
            .direct
            .update(&id, |value| value.0.push(1))
            .await
            .unwrap();
        let id = scene.direct.renew_id(&id).await.unwrap().unwrap();
        scene.direct.end(&id).await.unwrap();
        scene.delayed.load(&id).await.unwrap();
        scene
    }

    /// What writes a value is held back; what reads one is not.
    fn hold_writes(&self) -> nearcache_testkit::Hold {
        self.proxy
            .hold(Frames::requests().of("EVALSHA").longer_than(1_000))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_runs_while_all_sessions_end_ends_too() {
    let scene = Scene::new().await;
    let id = scene.direct.create(&value()).user("alice").await.unwrap();
    let hold = scene.hold_writes();
    let update = tokio::spawn(
        scene
            .delayed
            .update(&id, |value| value.0.push(7))
            .into_future(),
    );
    hold.until_held(1).await;
    scene.direct.end_all_of("alice").await.unwrap();
    hold.release();
    update.await.unwrap().unwrap();
    assert_eq!(scene.direct.load(&id).await.unwrap(), None);
    assert_eq!(scene.delayed.load(&id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_id_that_is_made_while_all_sessions_end_is_refused() {
    for user in [None, Some("alice")] {
        let scene = Scene::new().await;
        let id = scene.direct.create(&value()).user("alice").await.unwrap();
        let hold = scene.hold_writes();
        let renew = scene.delayed.renew_id(&id);
        let renew = match user {
            Some(user) => renew.user(user),
            None => renew,
        };
        let renew = tokio::spawn(renew.into_future());
        hold.until_held(1).await;
        scene.direct.end_all_of("alice").await.unwrap();
        hold.release();
        if let Some(renewed) = renew.await.unwrap().unwrap() {
            assert_eq!(scene.direct.load(&renewed).await.unwrap(), None);
        }
        assert_eq!(scene.direct.load(&id).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_made_while_all_sessions_end_is_refused() {
    let scene = Scene::new().await;
    // The user has a version already.
    scene.direct.create(&value()).user("alice").await.unwrap();
    let hold = scene.hold_writes();
    let create = tokio::spawn(scene.delayed.create(&value()).user("alice").into_future());
    hold.until_held(1).await;
    scene.direct.end_all_of("alice").await.unwrap();
    hold.release();
    let id = create.await.unwrap().unwrap();
    assert_eq!(scene.direct.load(&id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_comes_between_is_kept() {
    let scene = Scene::new().await;
    let id = scene.direct.create(&value()).await.unwrap();
    let hold = scene.hold_writes();
    let update = tokio::spawn(
        scene
            .delayed
            .update(&id, |value| value.0.push(1))
            .into_future(),
    );
    hold.until_held(1).await;
    scene
        .direct
        .update(&id, |value| value.0.push(2))
        .await
        .unwrap();
    hold.release();
    assert_eq!(update.await.unwrap().unwrap(), Some(()));
    assert_eq!(scene.direct.load(&id).await.unwrap().unwrap().0, [2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_comes_between_moves_to_the_new_id() {
    let scene = Scene::new().await;
    let id = scene.direct.create(&value()).await.unwrap();
    let hold = scene.hold_writes();
    let renew = tokio::spawn(scene.delayed.renew_id(&id).into_future());
    hold.until_held(1).await;
    // Until the new id is told, the old one is good.
    scene
        .direct
        .update(&id, |value| value.0.push(2))
        .await
        .unwrap();
    hold.release();
    let renewed = renew.await.unwrap().unwrap().unwrap();
    assert_eq!(scene.direct.load(&id).await.unwrap(), None);
    assert_eq!(scene.direct.load(&renewed).await.unwrap().unwrap().0, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_revives_a_session_that_ended_meanwhile() {
    let scene = Scene::new().await;
    for renewed in [false, true] {
        let id = scene.direct.create(&value()).await.unwrap();
        let hold = scene.hold_writes();
        let update = tokio::spawn(
            scene
                .delayed
                .update(&id, |value| value.0.push(1))
                .into_future(),
        );
        hold.until_held(1).await;
        if renewed {
            scene.direct.renew_id(&id).await.unwrap().unwrap();
        } else {
            assert!(scene.direct.end(&id).await.unwrap());
        }
        hold.release();
        assert_eq!(update.await.unwrap().unwrap(), None);
        assert_eq!(scene.direct.load(&id).await.unwrap(), None);
        let hold = scene.hold_writes();
        let save = tokio::spawn(scene.delayed.save(&id, &value()).into_future());
        hold.until_held(1).await;
        hold.release();
        assert!(!save.await.unwrap().unwrap());
    }
}

/// Every verb, and the kind of its error, if it fails.
async fn every_verb(
    sessions: &Sessions<Value>,
    id: &SessionId,
) -> Vec<(&'static str, Option<ErrorKind>)> {
    fn kind<T>(outcome: nearcache::Result<T>) -> Option<ErrorKind> {
        outcome.err().map(|error| error.kind())
    }
    vec![
        ("create", kind(sessions.create(&value()).await)),
        (
            "create for",
            kind(sessions.create(&value()).user("alice").await),
        ),
        ("load", kind(sessions.load(id).await)),
        (
            "update",
            kind(sessions.update(id, |value| value.0.push(1)).await),
        ),
        ("save", kind(sessions.save(id, &value()).await)),
        ("renew_id", kind(sessions.renew_id(id).await)),
        ("end", kind(sessions.end(id).await)),
        ("end_all_of", kind(sessions.end_all_of("alice").await)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_every_verb_fails_in_time() {
    let mut redis = Redis::start();
    let cache = Cache::builder(&redis.url())
        .timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    let sessions = cache.sessions::<Value>();
    let id = sessions.create(&value()).user("alice").await.unwrap();
    let check = async |what: &str| {
        for _ in 0..2 {
            let begun = Instant::now();
            for (verb, failed) in every_verb(&sessions, &id).await {
                let failed = failed.unwrap_or_else(|| panic!("{what}: {verb} went on"));
                assert!(
                    matches!(
                        failed,
                        ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable
                    ),
                    "{what}: {verb}: {failed:?}"
                );
            }
            // Eight verbs, with room for a loaded machine.
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        }
    };
    redis.freeze();
    check("frozen").await;
    redis.thaw();
    redis.kill();
    check("killed").await;
    redis.restart();
    nearcache_testkit::eventually("sessions work again", || {
        let create = sessions.create(&value()).into_future();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(create)).is_ok()
    });
}

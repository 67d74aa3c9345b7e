//! What is told of: some of every outcome there is.

use std::sync::Arc;
use std::time::Duration;

use nearcache::hooks::{Call, Done, Hook};
use nearcache::{Builder, Cache, Error, Loaded, Raw};
use nearcache_testkit::Redis;
use tokio::sync::Notify;

/// A cache, and word of its loads.
pub(crate) struct Scene {
    pub(crate) cache: Cache,
    loaded: Arc<LoadEnded>,
}

/// Tells that a load has ended, after all other hooks were told.
#[derive(Default)]
struct LoadEnded(Notify);

impl Hook for LoadEnded {
    fn after(&self, call: &Call<'_>, _: &Done) {
        if call.command() == "load" {
            self.0.notify_one();
        }
    }
}

/// A cache in this process, with this hook.
pub(crate) fn embedded(hook: impl Hook) -> Scene {
    scene(Cache::builder("memory://").hook(hook))
}

/// A cache on a server of its own, so that what the connection counts is its alone.
pub(crate) fn served(redis: &Redis, hook: impl Hook) -> Scene {
    let builder = Cache::builder(&format!("{}/3", redis.url())).hook(hook);
    // The golden files are of calls that succeed, however busy the machine is.
    scene(builder.timeout(Duration::from_secs(20)))
}

fn scene(builder: Builder) -> Scene {
    let loaded = Arc::<LoadEnded>::default();
    let builder = builder.prefix("app").hook(Arc::clone(&loaded));
    Scene {
        cache: builder.build().unwrap(),
        loaded,
    }
}

/// The run.
pub(crate) async fn run(scene: &Scene) {
    let cache = &scene.cache;
    cache.set("user:1", "Ada").ttl("1h").await.unwrap();
    cache.get::<String>("user:1").await.unwrap();
    cache.get::<String>("user:2").await.unwrap();
    cache.get::<u8>("user:1").await.unwrap();
    cache.set("user:3", &None::<u8>).await.unwrap();
    cache.get::<u8>("user:3").await.unwrap();
    cache.set_many([("a:1", 1), ("a:2", 2)]).await.unwrap();
    cache.get_many::<u8>(["a:1", "a:2", "b:1"]).await.unwrap();
    for _ in 0..2 {
        let load = async || Ok::<_, Error>(4u8);
        cache
            .remember("page:7:html", load)
            .tags(["pages"])
            .await
            .unwrap();
    }
    cache
        .remember("none", async || {
            Err::<u8, _>(std::io::Error::other("the database is away"))
        })
        .await
        .unwrap_err();
    cache
        .remember("user:4", async || Ok::<_, Error>(Loaded::do_not_store(5u8)))
        .await
        .unwrap();
    cache.invalidate_tag("pages").await.unwrap();
    cache.set("text", &Raw(b"no number")).await.unwrap();
    cache.incr("text").await.unwrap_err();
    cache.delete("user:1").await.unwrap();
    abandon(scene).await;
    cache.clear().await.unwrap();
}

/// A caller who goes away while his loader runs, which ends all the same.
pub(crate) async fn abandon(scene: &Scene) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (loading, goes) = (Arc::clone(&begun), Arc::clone(&go));
    let load = async move || {
        loading.notify_one();
        goes.notified().await;
        Ok::<_, Error>(1u8)
    };
    {
        let asked = scene.cache.remember("slow:1", load).into_future();
        tokio::select! {
            biased;
            () = begun.notified() => {}
            _ = asked => panic!("nobody let the loader end"),
        }
    }
    // Of the loads before.
    let _ = tokio::time::timeout(Duration::ZERO, scene.loaded.0.notified()).await;
    go.notify_one();
    scene.loaded.0.notified().await;
}

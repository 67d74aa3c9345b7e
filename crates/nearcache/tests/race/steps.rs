//! A load and an invalidation in two processes, each stopped at each of its commands, before the server has it
//! and before the answer is back; and let go in either order. However they meet, OLD is not readable once both
//! have ended, nor once the invalidation has returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nearcache_testkit::{Frames, Hold, Proxy, Redis, random_prefix};
use tokio::task::JoinHandle;

use crate::face::{Face, run};
use crate::scene::elsewhere;
use crate::target::{Options, Place, Target};

const OLD: u64 = 1;
const NEW: u64 = 2;

/// Where something is stopped: at the so-manieth of these frames.
#[derive(Clone, Debug)]
struct Stop(Frames, usize);

/// The names of what a load and an invalidation of `k` send.
struct Names {
    key: String,
    lease: String,
    counter: String,
}

impl Names {
    fn new(prefix: &str) -> Names {
        Names {
            key: format!("{prefix}:k"),
            lease: format!("{prefix}:{{{prefix}:k}}#nearcache:lease"),
            counter: format!("{prefix}:#nearcache:tag:t"),
        }
    }

    /// Every stop of a load.
    fn load(&self, verb: &str) -> Vec<Stop> {
        let mut stops = Vec::new();
        for frames in [Frames::requests(), Frames::replies()] {
            if verb == "remember" {
                stops.push(Stop(frames.clone().of("GET").about(&self.key), 1));
            }
            for script in 1..=2 {
                let frames = frames.clone().of("EVALSHA").about(&self.key);
                stops.push(Stop(frames, script));
            }
        }
        stops
    }

    /// Every stop of an invalidation.
    fn invalidation(&self, how: &str) -> Vec<Stop> {
        let mut stops = Vec::new();
        for frames in [Frames::requests(), Frames::replies()] {
            let of = |verb| frames.clone().of(verb);
            stops.extend(match how {
                "delete" => vec![
                    Stop(of("UNLINK").about(&self.lease), 1),
                    Stop(of("UNLINK").about(&self.key), 1),
                ],
                "set" => vec![
                    Stop(of("MULTI"), 1),
                    Stop(of("SET").about(&self.key), 1),
                    Stop(of("UNLINK").about(&self.lease), 1),
                    Stop(of("EXEC"), 1),
                ],
                "invalidate_tag" => vec![Stop(of("UNLINK").about(&self.counter), 1)],
                _ => vec![
                    Stop(of("SCAN"), 1),
                    Stop(of("UNLINK").about(&self.lease), 1),
                    Stop(of("SCAN"), 2),
                    Stop(of("UNLINK").about(&self.key), 1),
                ],
            });
        }
        stops
    }
}

/// Two processes, each with a way to the server of its own, and a third that looks on.
struct Site {
    loads: (Face, Proxy),
    invalidates: (Face, Proxy),
    looks: Face,
    names: Names,
}

impl Site {
    fn new(redis: &Redis, target: Target) -> Site {
        let prefix = random_prefix();
        let open = |url: String| {
            let options = Options {
                prefix: &prefix,
                ..Options::default()
            };
            target.build(&url, options).expect("a cache")
        };
        let process = || {
            let proxy = Proxy::start(&redis.address());
            (open(proxy.url()), proxy)
        };
        Site {
            loads: process(),
            invalidates: process(),
            looks: open(redis.url()),
            names: Names::new(&prefix),
        }
    }
}

/// Stops a task at this place: `None` if it ended without coming there.
async fn stopped<T>(
    proxy: &Proxy,
    stop: Option<&Stop>,
    task: &JoinHandle<T>,
    hold: Option<Hold>,
) -> Option<Hold> {
    let (Some(Stop(_, nth)), Some(hold)) = (stop, hold) else {
        return None;
    };
    let since = Instant::now();
    let mut passed = 0;
    while !task.is_finished() {
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "{stop:?}: {:?}",
            proxy.commands()
        );
        if hold.held() > 0 {
            passed += 1;
            if passed == *nth {
                return Some(hold);
            }
            hold.pass(1);
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    None
}

fn load(cache: &Face, verb: &str, source: &Arc<AtomicU64>) -> JoinHandle<nearcache::Result<u64>> {
    let source = Arc::clone(source);
    let read = move || Ok::<_, std::io::Error>(source.load(Ordering::SeqCst));
    if verb == "remember" {
        tokio::spawn(remember!(cache, "k", read; .tags(["t"])))
    } else {
        tokio::spawn(refresh!(cache, "k", read; .tags(["t"])))
    }
}

fn invalidate(cache: &Face, how: &'static str) -> JoinHandle<nearcache::Result<()>> {
    let cache = cache.clone();
    tokio::spawn(async move {
        match cache {
            Face::Async(cache) => match how {
                "delete" => cache.delete("k").await.map(drop),
                "set" => cache.set("k", &NEW).await,
                "invalidate_tag" => cache.invalidate_tag("t").await,
                _ => cache.clear().await.map(drop),
            },
            Face::Blocking(cache) => {
                elsewhere(move || match how {
                    "delete" => cache.delete("k").run().map(drop),
                    "set" => cache.set("k", &NEW).run(),
                    "invalidate_tag" => cache.invalidate_tag("t").run(),
                    _ => cache.clear().run().map(drop),
                })
                .await
            }
        }
    })
}

async fn every_meeting(redis: &Redis, target: Target, how: &'static str) {
    let site = Site::new(redis, target);
    let (loads, invalidates) = (&site.loads.0, &site.invalidates.0);
    let source = Arc::new(AtomicU64::new(OLD));
    // From here on scripts travel by their names, and connections are there.
    load(loads, "remember", &source).await.unwrap().unwrap();
    call!(invalidates.clear()).unwrap();
    let with_none = |stops: Vec<Stop>| {
        let some = stops.into_iter().map(Some);
        some.chain([None]).collect::<Vec<_>>()
    };
    let mut met = 0;
    for verb in ["remember", "refresh"] {
        for load_stop in with_none(site.names.load(verb)) {
            for stop in with_none(site.names.invalidation(how)) {
                for load_first in [true, false] {
                    let what = format!(
                        "{verb} stopped at {load_stop:?}, {how} at {stop:?}, the {} goes on first",
                        if load_first { "load" } else { "invalidation" }
                    );
                    source.store(OLD, Ordering::SeqCst);
                    call!(invalidates.clear()).unwrap();
                    if verb == "refresh" {
                        let looks = &site.looks;
                        call!(looks.set("k", &OLD).tags(["t"])).unwrap();
                    }
                    let hold = load_stop
                        .as_ref()
                        .map(|stop| site.loads.1.hold(stop.0.clone()));
                    let loading = load(loads, verb, &source);
                    let load_held =
                        stopped(&site.loads.1, load_stop.as_ref(), &loading, hold).await;
                    source.store(NEW, Ordering::SeqCst);
                    let hold = stop
                        .as_ref()
                        .map(|stop| site.invalidates.1.hold(stop.0.clone()));
                    let invalidating = invalidate(invalidates, how);
                    let held =
                        stopped(&site.invalidates.1, stop.as_ref(), &invalidating, hold).await;
                    met += usize::from(load_held.is_some() && held.is_some());
                    if load_first {
                        drop(load_held);
                        loading.await.unwrap().expect(&what);
                        drop(held);
                        invalidating.await.unwrap().expect(&what);
                    } else {
                        drop(held);
                        invalidating.await.unwrap().expect(&what);
                        assert_ne!(get(&site.looks).await, Some(OLD), "{what}");
                        drop(load_held);
                        loading.await.unwrap().expect(&what);
                    }
                    for cache in [&site.looks, loads, invalidates] {
                        assert_ne!(get(cache).await, Some(OLD), "{what}");
                    }
                    for cache in [&site.looks, loads] {
                        let found = load(cache, "remember", &source).await.unwrap();
                        assert_eq!(found.expect(&what), NEW, "{what}");
                    }
                }
            }
        }
    }
    assert!(met >= 36, "they met {met} times");
}

async fn get(cache: &Face) -> Option<u64> {
    call!(cache.get::<u64>("k")).unwrap()
}

macro_rules! meetings {
    ($($name:ident: $how:literal),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let redis = Redis::start();
                for target in [
                    Target::asynchronous(Place::RedisResp3),
                    Target::blocking(Place::RedisResp2),
                ] {
                    run(every_meeting(&redis, target, $how));
                }
            }
        )*
    };
}

meetings! {
    old_is_not_readable_after_delete_however_they_meet: "delete",
    old_is_not_readable_after_set_however_they_meet: "set",
    old_is_not_readable_after_invalidate_tag_however_they_meet: "invalidate_tag",
    old_is_not_readable_after_clear_however_they_meet: "clear",
}

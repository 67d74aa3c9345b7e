//! A load and an invalidation in two processes, each stopped at each of its commands, before the server has it
//! and before the answer is back; and let go in either order. However they meet, OLD is not readable once both
//! have ended, nor once the invalidation has returned; and who asks after that, and joins the load, gets NEW.
//!
//! In both forms: that of one server, and that of a Cluster, where the tags are read by requests of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nearcache::Loaded;
use nearcache_testkit::{Frames, Hold, Proxy, Redis, Server, random_prefix};
use tokio::task::JoinHandle;

use crate::face::{Face, run};
use crate::scene::elsewhere;
use crate::target::{Options, Place, Target};
#[cfg(feature = "tls")]
use crate::terminator::Terminator;

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
    epoch: String,
    /// Whether the tag's counter is read and removed by commands of its own, because it is in another slot.
    apart: bool,
}

/// Who names the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tagged {
    ByTheCall,
    ByTheLoader,
}

impl Names {
    fn new(prefix: &str, apart: bool) -> Names {
        Names {
            apart,
            epoch: format!("{prefix}:#nearcache:tags"),
            key: format!("{prefix}:k"),
            lease: format!("{prefix}:{{{prefix}:k}}#nearcache:lease"),
            counter: format!("{prefix}:#nearcache:tag:t"),
        }
    }

    /// Every stop of a load.
    fn load(&self, verb: &str, tagged: Tagged) -> Vec<Stop> {
        let mut scripts = vec![(&self.key, 1), (&self.key, 2)];
        if self.apart {
            scripts.extend(match tagged {
                // Before the load and after it.
                Tagged::ByTheCall => vec![(&self.counter, 1), (&self.counter, 2)],
                Tagged::ByTheLoader => vec![(&self.epoch, 1), (&self.counter, 1), (&self.epoch, 2)],
            });
        }
        let mut stops = Vec::new();
        for frames in [Frames::requests(), Frames::replies()] {
            if verb == "remember" {
                stops.push(Stop(frames.clone().of("GET").about(&self.key), 1));
            }
            for (key, nth) in &scripts {
                let frames = frames.clone().of("EVALSHA").about(key);
                stops.push(Stop(frames, *nth));
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
                "delete" if self.apart => vec![
                    Stop(of("MULTI"), 1),
                    Stop(of("UNLINK").about(&self.lease), 1),
                    Stop(of("UNLINK").about(&self.key), 1),
                    Stop(of("EXEC"), 1),
                ],
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
                "invalidate_tag" if self.apart => vec![
                    Stop(of("UNLINK").about(&self.epoch), 1),
                    Stop(of("UNLINK").about(&self.counter), 1),
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

/// Where the processes meet.
enum Meeting {
    Server(Redis),
    #[cfg(feature = "tls")]
    OverTls(Redis),
    /// Each process has a Sentinel, which knows the server by its proxy.
    #[cfg(feature = "sentinel")]
    Sentinel(Redis),
    #[cfg(feature = "cluster")]
    Cluster(Box<nearcache_testkit::Cluster>),
}

/// A process's way there: a proxy before the server, or one before each node.
enum Way {
    Server(Proxy),
    /// TLS ends before the proxy, which looks at what passes.
    #[cfg(feature = "tls")]
    OverTls(Proxy, Terminator),
    #[cfg(feature = "sentinel")]
    Sentinel(Proxy, Redis),
    #[cfg(feature = "cluster")]
    Cluster(nearcache_testkit::Proxies),
}

impl Meeting {
    fn way(&self) -> Way {
        match self {
            Meeting::Server(redis) => Way::Server(Proxy::start(&redis.address())),
            #[cfg(feature = "tls")]
            Meeting::OverTls(redis) => {
                let proxy = Proxy::start(&redis.address());
                let terminator = Terminator::before(proxy.address());
                Way::OverTls(proxy, terminator)
            }
            #[cfg(feature = "sentinel")]
            Meeting::Sentinel(redis) => {
                let (proxy, sentinel) = (Proxy::start(&redis.address()), Redis::start_sentinel());
                let port = proxy.port();
                sentinel.inline(&format!("SENTINEL MONITOR main 127.0.0.1 {port} 1"));
                Way::Sentinel(proxy, sentinel)
            }
            #[cfg(feature = "cluster")]
            Meeting::Cluster(cluster) => Way::Cluster(cluster.proxies()),
        }
    }

    fn url(&self) -> String {
        match self {
            Meeting::Server(redis) => redis.url(),
            #[cfg(feature = "tls")]
            Meeting::OverTls(redis) => redis.url(),
            #[cfg(feature = "sentinel")]
            Meeting::Sentinel(redis) => redis.url(),
            #[cfg(feature = "cluster")]
            Meeting::Cluster(cluster) => cluster.url(),
        }
    }
}

impl Way {
    fn url(&self) -> String {
        match self {
            Way::Server(proxy) => proxy.url(),
            #[cfg(feature = "tls")]
            Way::OverTls(_, terminator) => terminator.url(),
            #[cfg(feature = "sentinel")]
            Way::Sentinel(_, sentinel) => format!("redis-sentinel://{}/main", sentinel.address()),
            #[cfg(feature = "cluster")]
            Way::Cluster(proxies) => proxies.url(),
        }
    }

    fn hold(&self, frames: &Frames) -> Vec<Hold> {
        match self {
            Way::Server(proxy) => vec![proxy.hold(frames.clone())],
            #[cfg(feature = "tls")]
            Way::OverTls(proxy, _) => vec![proxy.hold(frames.clone())],
            #[cfg(feature = "sentinel")]
            Way::Sentinel(proxy, _) => vec![proxy.hold(frames.clone())],
            #[cfg(feature = "cluster")]
            Way::Cluster(proxies) => proxies.hold(frames),
        }
    }

    fn commands(&self) -> Vec<String> {
        match self {
            Way::Server(proxy) => proxy.commands(),
            #[cfg(feature = "tls")]
            Way::OverTls(proxy, _) => proxy.commands(),
            #[cfg(feature = "sentinel")]
            Way::Sentinel(proxy, _) => proxy.commands(),
            #[cfg(feature = "cluster")]
            Way::Cluster(proxies) => proxies.commands(),
        }
    }
}

/// Two processes, each with a way to the server of its own, and a third that looks on.
struct Site {
    loads: (Face, Way),
    invalidates: (Face, Way),
    looks: Face,
    names: Names,
}

impl Site {
    fn new(meeting: &Meeting, target: Target) -> Site {
        let prefix = random_prefix();
        let near = if target.is_near() { "?near=1000" } else { "" };
        let open = |url: String| {
            let url = format!("{url}{near}");
            let options = Options {
                prefix: &prefix,
                ..Options::default()
            };
            target.build(&url, options).expect("a cache")
        };
        let process = || {
            let way = meeting.way();
            (open(way.url()), way)
        };
        Site {
            loads: process(),
            invalidates: process(),
            looks: open(meeting.url()),
            names: Names::new(&prefix, target.is_spread()),
        }
    }
}

/// Stops a task at this place: `None` if it ended without coming there.
async fn stopped<T>(
    way: &Way,
    stop: Option<&Stop>,
    task: &JoinHandle<T>,
    holds: Option<Vec<Hold>>,
) -> Option<Vec<Hold>> {
    let (Some(Stop(_, nth)), Some(holds)) = (stop, holds) else {
        return None;
    };
    let since = Instant::now();
    let mut passed = 0;
    while !task.is_finished() {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "{stop:?}: {:?}",
            way.commands()
        );
        if let Some(hold) = holds.iter().find(|hold| hold.held() > 0) {
            passed += 1;
            if passed == *nth {
                return Some(holds);
            }
            hold.pass(1);
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    None
}

fn load(
    cache: &Face,
    verb: &str,
    tagged: Tagged,
    source: &Arc<AtomicU64>,
) -> JoinHandle<nearcache::Result<u64>> {
    let source = Arc::clone(source);
    let read = move || Ok::<_, std::io::Error>(source.load(Ordering::SeqCst));
    match (verb, tagged) {
        ("remember", Tagged::ByTheCall) => tokio::spawn(remember!(cache, "k", read; .tags(["t"]))),
        (_, Tagged::ByTheCall) => tokio::spawn(refresh!(cache, "k", read; .tags(["t"]))),
        (_, Tagged::ByTheLoader) => {
            let read = move || read().map(|value| Loaded::new(value).tags(["t"]));
            if verb == "remember" {
                tokio::spawn(remember!(cache, "k", read))
            } else {
                tokio::spawn(refresh!(cache, "k", read))
            }
        }
    }
}

/// Somebody asks in the process of a load that is held. Comes back once it has joined, if its own read is not held.
async fn join(
    cache: &Face,
    tagged: Tagged,
    source: &Arc<AtomicU64>,
) -> JoinHandle<nearcache::Result<u64>> {
    let joined = |cache: &Face| ask!(cache.stats()).coalesced;
    let before = joined(cache);
    let joiner = load(cache, "remember", tagged, source);
    let since = Instant::now();
    while joined(cache) == before
        && !joiner.is_finished()
        && since.elapsed() < Duration::from_millis(5)
    {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    joiner
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

async fn every_meeting(meeting: &Meeting, target: Target, how: &'static str, tagged: Tagged) {
    let site = Site::new(meeting, target);
    let (loads, invalidates) = (&site.loads.0, &site.invalidates.0);
    let source = Arc::new(AtomicU64::new(OLD));
    // From here on scripts travel by their names, and connections are there.
    for tagged in [Tagged::ByTheCall, Tagged::ByTheLoader] {
        for verb in ["remember", "refresh"] {
            let loaded = load(loads, verb, tagged, &source);
            loaded.await.unwrap().unwrap();
        }
    }
    call!(invalidates.clear()).unwrap();
    let with_none = |stops: Vec<Stop>| {
        let some = stops.into_iter().map(Some);
        some.chain([None]).collect::<Vec<_>>()
    };
    let mut met = 0;
    for verb in ["remember", "refresh"] {
        for load_stop in with_none(site.names.load(verb, tagged)) {
            for stop in with_none(site.names.invalidation(how)) {
                for load_first in [true, false] {
                    let what = format!(
                        "{verb} stopped at {load_stop:?}, {how} at {stop:?}, the {} goes on first",
                        if load_first { "load" } else { "invalidation" }
                    );
                    source.store(OLD, Ordering::SeqCst);
                    call!(invalidates.clear()).unwrap();
                    for cache in [&site.looks, loads] {
                        told(cache, target).await;
                    }
                    if verb == "refresh" {
                        let looks = &site.looks;
                        call!(looks.set("k", &OLD).tags(["t"])).unwrap();
                        told(loads, target).await;
                    }
                    let hold = load_stop.as_ref().map(|stop| site.loads.1.hold(&stop.0));
                    let loading = load(loads, verb, tagged, &source);
                    let load_held =
                        stopped(&site.loads.1, load_stop.as_ref(), &loading, hold).await;
                    source.store(NEW, Ordering::SeqCst);
                    let hold = stop.as_ref().map(|stop| site.invalidates.1.hold(&stop.0));
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
                        told(&site.looks, target).await;
                        assert_ne!(get(&site.looks).await, Some(OLD), "{what}");
                        let joiner = join(loads, tagged, &source).await;
                        drop(load_held);
                        loading.await.unwrap().expect(&what);
                        let joined = joiner.await.unwrap().expect(&what);
                        assert_eq!(joined, NEW, "{what}: who joined");
                    }
                    for cache in [&site.looks, loads, invalidates] {
                        told(cache, target).await;
                        assert_ne!(get(cache).await, Some(OLD), "{what}");
                    }
                    for cache in [&site.looks, loads] {
                        let found = load(cache, "remember", tagged, &source).await.unwrap();
                        assert_eq!(found.expect(&what), NEW, "{what}");
                    }
                }
            }
        }
    }
    assert!(met >= 36, "they met {met} times");
}

/// With a near tier, the news of what others did before have come when the reply to what is sent now comes.
async fn told(cache: &Face, target: Target) {
    if target.is_near() {
        call!(cache.ping()).unwrap();
    }
}

async fn get(cache: &Face) -> Option<u64> {
    call!(cache.get::<u64>("k")).unwrap()
}

fn on_a_server(how: &'static str, tagged: Tagged) {
    let server = Meeting::Server(Redis::start());
    for target in [
        Target::asynchronous(Place::RedisResp3),
        Target::blocking(Place::RedisResp2),
        Target::asynchronous(Place::NearRedis),
    ] {
        run(every_meeting(&server, target, how, tagged));
    }
}

/// On servers of other versions.
fn on_another_server(how: &'static str, tagged: Tagged) {
    for server in [Server::Redis6, Server::Valkey9] {
        if server.is_there() {
            let server = Meeting::Server(Redis::start_as(server, &[]));
            for target in [
                Target::asynchronous(Place::RedisResp3),
                Target::blocking(Place::RedisResp3),
            ] {
                run(every_meeting(&server, target, how, tagged));
            }
        }
    }
}

/// As a user who may only do what the guide's line permits.
fn as_a_limited_user(how: &'static str, tagged: Tagged) {
    let server = Meeting::Server(Redis::start());
    for target in [
        Target::asynchronous(Place::AclUser),
        Target::blocking(Place::AclUser),
    ] {
        run(every_meeting(&server, target, how, tagged));
    }
}

/// In the form of a Cluster, whose other commands wait behind the one that is held.
fn spread_on_a_server(how: &'static str, tagged: Tagged) {
    let server = Meeting::Server(Redis::start());
    let target = Target::spread_blocking(Place::RedisResp2);
    run(every_meeting(&server, target, how, tagged));
}

#[cfg(feature = "sentinel")]
fn behind_sentinels(how: &'static str, tagged: Tagged) {
    let server = Meeting::Sentinel(Redis::start());
    for target in [
        Target::asynchronous(Place::Sentinel),
        Target::blocking(Place::Sentinel),
    ] {
        run(every_meeting(&server, target, how, tagged));
    }
}

#[cfg(feature = "tls")]
fn over_tls(how: &'static str, tagged: Tagged) {
    let server = Meeting::OverTls(Redis::start());
    for target in [
        Target::asynchronous(Place::RedisResp3),
        Target::blocking(Place::RedisResp3),
    ] {
        run(every_meeting(&server, target, how, tagged));
    }
}

#[cfg(feature = "cluster")]
fn on_a_cluster(how: &'static str, tagged: Tagged) {
    let options = nearcache_testkit::ClusterOptions {
        replicas: 0,
        ..nearcache_testkit::ClusterOptions::default()
    };
    let cluster = nearcache_testkit::Cluster::start_with(options);
    let cluster = Meeting::Cluster(Box::new(cluster));
    for target in [
        Target::asynchronous(Place::Cluster),
        Target::blocking(Place::Cluster),
    ] {
        run(every_meeting(&cluster, target, how, tagged));
    }
}

macro_rules! meetings {
    ($on:ident; $($name:ident: $how:literal $tagged:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                $on($how, Tagged::$tagged);
            }
        )*
    };
}

meetings! {
    on_a_server;
    old_is_not_readable_after_delete_however_they_meet: "delete" ByTheCall,
    old_is_not_readable_after_set_however_they_meet: "set" ByTheCall,
    old_is_not_readable_after_invalidate_tag_however_they_meet: "invalidate_tag" ByTheCall,
    old_is_not_readable_after_invalidate_tag_of_the_loader_however_they_meet: "invalidate_tag" ByTheLoader,
    old_is_not_readable_after_clear_however_they_meet: "clear" ByTheCall,
}

meetings! {
    on_another_server;
    old_is_not_readable_after_set_on_another_server: "set" ByTheCall,
    old_is_not_readable_after_invalidate_tag_on_another_server: "invalidate_tag" ByTheCall,
}

meetings! {
    as_a_limited_user;
    old_is_not_readable_after_set_as_a_limited_user: "set" ByTheCall,
    old_is_not_readable_after_invalidate_tag_as_a_limited_user: "invalidate_tag" ByTheCall,
}

meetings! {
    spread_on_a_server;
    old_is_not_readable_after_delete_in_the_form_of_a_cluster: "delete" ByTheCall,
    old_is_not_readable_after_invalidate_tag_in_the_form_of_a_cluster: "invalidate_tag" ByTheCall,
    old_is_not_readable_after_invalidate_tag_of_the_loader_in_the_form_of_a_cluster: "invalidate_tag" ByTheLoader,
}

// The other two travel the same way.
#[cfg(feature = "sentinel")]
meetings! {
    behind_sentinels;
    old_is_not_readable_after_set_behind_sentinels: "set" ByTheCall,
    old_is_not_readable_after_invalidate_tag_behind_sentinels: "invalidate_tag" ByTheCall,
}

#[cfg(feature = "tls")]
meetings! {
    over_tls;
    old_is_not_readable_after_delete_over_tls: "delete" ByTheCall,
    old_is_not_readable_after_set_over_tls: "set" ByTheCall,
    old_is_not_readable_after_invalidate_tag_over_tls: "invalidate_tag" ByTheCall,
    old_is_not_readable_after_clear_over_tls: "clear" ByTheCall,
}

#[cfg(feature = "cluster")]
meetings! {
    on_a_cluster;
    old_is_not_readable_after_delete_on_a_cluster: "delete" ByTheCall,
    old_is_not_readable_after_set_on_a_cluster: "set" ByTheCall,
    old_is_not_readable_after_invalidate_tag_on_a_cluster: "invalidate_tag" ByTheCall,
    old_is_not_readable_after_invalidate_tag_of_the_loader_on_a_cluster: "invalidate_tag" ByTheLoader,
    old_is_not_readable_after_clear_on_a_cluster: "clear" ByTheCall,
}

//! Where a near tier can be, and how the news come there.

use std::time::{Duration, Instant};

use nearcache::{Builder, Cache, NearTracking, blocking};
use nearcache_testkit::{Cluster, Redis, Sentinels, random_prefix};

use crate::face::Face;

/// A place, and the way callers wait there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The events of a store in this process.
    Embedded,
    EmbeddedBlocking,
    /// Tracking of what was read, on the connection that reads.
    Redis,
    RedisUnix,
    /// Tracking by prefix, on a connection of its own.
    RedisBlocking,
    /// No news: a bounded time.
    RedisResp2,
    /// A primary that Sentinels name.
    Sentinel,
    SentinelBlocking,
    /// A connection to each primary of a Cluster.
    Cluster,
    ClusterBlocking,
}

/// Runs each test in every place.
macro_rules! places {
    ($($test:ident),* $(,)?) => {
        places!(@on embedded, Embedded: $($test),*);
        places!(@on embedded_blocking, EmbeddedBlocking: $($test),*);
        places!(@on server, Redis: $($test),*);
        places!(@on server_unix, RedisUnix: $($test),*);
        places!(@on server_blocking, RedisBlocking: $($test),*);
        places!(@on server_resp2, RedisResp2: $($test),*);
        places!(@on sentinel, Sentinel: $($test),*);
        places!(@on sentinel_blocking, SentinelBlocking: $($test),*);
        places!(@on cluster, Cluster: $($test),*);
        places!(@on cluster_blocking, ClusterBlocking: $($test),*);
    };
    (@on $module:ident, $place:ident: $($test:ident),*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    $crate::face::run(super::$test($crate::places::Place::$place));
                }
            )*
        }
    };
}

/// Two caches that share nothing but their place and prefix, as two processes do. The first has a near tier.
pub(crate) struct Two {
    pub(crate) near: Face,
    pub(crate) other: Face,
    pub(crate) prefix: String,
}

impl Place {
    pub(crate) fn is_blocking(self) -> bool {
        self == Place::EmbeddedBlocking || self.hears_its_own()
    }

    /// Whether the news are of its own writes, too, and come over another connection than the replies.
    pub(crate) fn hears_its_own(self) -> bool {
        matches!(
            self,
            Place::RedisBlocking | Place::SentinelBlocking | Place::ClusterBlocking
        )
    }

    /// Whether there are several servers.
    pub(crate) fn is_spread(self) -> bool {
        matches!(self, Place::Cluster | Place::ClusterBlocking)
    }

    pub(crate) fn is_embedded(self) -> bool {
        matches!(self, Place::Embedded | Place::EmbeddedBlocking)
    }

    /// Whether changes by others are told.
    pub(crate) fn is_told(self) -> bool {
        self != Place::RedisResp2
    }

    pub(crate) fn two(self) -> Two {
        // A machine that is busy with other tests is no reason to hear nothing for too long.
        self.two_with("near=10000&near_heartbeat=30s")
    }

    /// The same, with these options of the first one's URL.
    pub(crate) fn two_with(self, options: &str) -> Two {
        let prefix = random_prefix();
        let redis = || Redis::shared();
        let (near, other) = match self {
            Place::Embedded | Place::EmbeddedBlocking => {
                let url = format!("memory://{prefix}?");
                (url.clone(), url)
            }
            Place::RedisUnix => (
                format!("{}?", redis().unix_url()),
                format!("{}?", redis().url()),
            ),
            Place::Redis | Place::RedisBlocking | Place::RedisResp2 => {
                let url = format!("{}?", redis().url());
                let other = url.replace("127.0.0.1", "localhost");
                match self {
                    Place::RedisResp2 => (format!("{url}protocol=2&near_ttl=1h&"), other),
                    _ => (url, other),
                }
            }
            Place::Sentinel | Place::SentinelBlocking => {
                let site = Sentinels::shared();
                let primary = site.server(site.primary()).url();
                (format!("{}?", site.url()), format!("{primary}?"))
            }
            Place::Cluster | Place::ClusterBlocking => {
                let cluster = Cluster::shared();
                let other = cluster.url_of(&[1]);
                (format!("{}?", cluster.url()), format!("{other}?"))
            }
        };
        Two {
            near: self.open(&format!("{near}{options}"), &prefix),
            other: self.open(&other, &prefix),
            prefix,
        }
    }

    /// A cache whose callers wait as here.
    pub(crate) fn open(self, url: &str, prefix: &str) -> Face {
        fn with<M>(builder: Builder<M>, prefix: &str) -> Builder<M> {
            builder.prefix(prefix).timeout("10s")
        }
        if self.is_blocking() {
            let builder = with(blocking::Cache::builder(url), prefix);
            Face::Blocking(builder.build().expect("a cache"))
        } else {
            let builder = with(Cache::builder(url), prefix);
            Face::Async(builder.build().expect("a cache"))
        }
    }
}

/// How many answers came from the near tier.
pub(crate) fn near_hits(cache: &Face) -> u64 {
    ask!(cache.stats()).near_hits
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn get(cache: &Face, key: &str) -> Option<u64> {
    call!(cache.get::<u64>(key)).expect("an answer")
}

/// Stores a value, and waits until the news of that have come here, if they come over another connection: then nothing
/// ends what is read from now on.
pub(crate) async fn put(place: Place, cache: &Face, key: &str, value: u64) {
    let told = || ask!(cache.stats()).near_invalidations;
    if place.hears_its_own() {
        call!(cache.ping()).expect("an answer");
        until("it is told", async || tracking(cache) == NearTracking::On).await;
    }
    if place == Place::ClusterBlocking {
        // By the server that has this key, too.
        until("it is told of the key", async || {
            let before = told();
            call!(cache.set(key, &value)).expect("it is stored");
            tokio::time::sleep(Duration::from_millis(30)).await;
            told() > before
        })
        .await;
    }
    let before = told();
    call!(cache.set(key, &value)).expect("it is stored");
    if place.hears_its_own() {
        until("the news of its own", async || told() > before).await;
    }
}

/// Reads a key until the near tier answers, which is at once when there is a connection, and says that it answers this.
pub(crate) async fn warm(cache: &Face, key: &str, value: u64) {
    until("the near tier answers", async || {
        let before = near_hits(cache);
        assert_eq!(get(cache, key).await, Some(value), "{key}");
        near_hits(cache) > before
    })
    .await;
}

/// Waits until what others did before is known here.
pub(crate) async fn settle(place: Place, cache: &Face, key: &str, value: Option<u64>) {
    match place {
        // Told before the command returned.
        Place::Embedded | Place::EmbeddedBlocking => {}
        // Told before the reply to whatever follows.
        Place::Redis | Place::RedisUnix | Place::Sentinel => {
            call!(cache.ping()).expect("an answer");
        }
        Place::RedisBlocking
        | Place::SentinelBlocking
        | Place::Cluster
        | Place::ClusterBlocking => {
            until("the news arrive", async || get(cache, key).await == value).await;
        }
        Place::RedisResp2 => {}
    }
}

pub(crate) fn tracking(cache: &Face) -> NearTracking {
    ask!(cache.stats()).near_tracking
}

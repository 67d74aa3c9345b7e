//! The places the suite runs in, and the two faces of a cache behind one macro.

#![allow(dead_code, unused_macros, reason = "each suite uses its part of this")]

use std::time::Duration;

use nearcache::{Builder, Cache, Codec, Error, blocking};
use nearcache_testkit::{Redis, random_prefix};

pub(crate) use crate::face::Face;

/// A place, with the way callers wait there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    place: Place,
    blocking: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Embedded,
    RedisResp2,
    RedisResp3,
    RedisUnix,
    /// An embedded store behind its port.
    #[cfg(feature = "serve")]
    Served,
}

/// The URL of a store that is served for all tests.
#[cfg(feature = "serve")]
fn served() -> String {
    use std::sync::OnceLock;
    static PORT: OnceLock<u16> = OnceLock::new();
    let port = PORT.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let store = nearcache::embedded::Store::new();
                let server = nearcache::serve(&store).bind("127.0.0.1:0");
                let server = server.start().await.expect("a free port");
                let address = server.local_addr().expect("it listens on TCP");
                tell.send(address.port()).expect("somebody waits");
                server.serve().await;
            });
        });
        told.recv().expect("it listens")
    });
    format!("redis://127.0.0.1:{port}")
}

impl Target {
    pub(crate) const fn asynchronous(place: Place) -> Target {
        Target {
            place,
            blocking: false,
        }
    }

    pub(crate) const fn blocking(place: Place) -> Target {
        Target {
            place,
            blocking: true,
        }
    }

    pub(crate) fn is_blocking(self) -> bool {
        self.blocking
    }

    /// Whether a store of ours answers, in this process or behind its port.
    pub(crate) fn is_a_store(self) -> bool {
        !matches!(
            self.place,
            Place::RedisResp2 | Place::RedisResp3 | Place::RedisUnix
        )
    }

    pub(crate) fn is_embedded(self) -> bool {
        matches!(self.place, Place::Embedded)
    }

    /// The URL, without a prefix. For the embedded store it names one that `stay` keeps.
    pub(crate) fn url(self, name: &str) -> String {
        match self.place {
            Place::Embedded => format!("memory://{name}"),
            Place::RedisResp2 => format!("{}?protocol=2", Redis::shared().url()),
            Place::RedisResp3 => format!("{}?protocol=3", Redis::shared().url()),
            Place::RedisUnix => Redis::shared().unix_url(),
            #[cfg(feature = "serve")]
            Place::Served => served(),
        }
    }

    /// A cache with a prefix that no other test has.
    pub(crate) fn cache(self) -> Face {
        let prefix = random_prefix();
        self.cache_at(&self.url(&prefix), &prefix)
    }

    /// A cache with this prefix.
    pub(crate) fn cache_at(self, url: &str, prefix: &str) -> Face {
        self.build(
            url,
            Options {
                prefix,
                ..Options::default()
            },
        )
        .expect("a cache")
    }

    pub(crate) fn build(self, url: &str, options: Options<'_>) -> Result<Face, Error> {
        Ok(if self.blocking {
            Face::Blocking(options.onto(blocking::Cache::builder(url)).build()?)
        } else {
            Face::Async(options.onto(Cache::builder(url)).build()?)
        })
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Options<'o> {
    pub(crate) prefix: &'o str,
    pub(crate) separator: Option<&'o str>,
    pub(crate) default_ttl: Option<&'o str>,
    pub(crate) ttl_jitter: f64,
    pub(crate) lease: Option<Duration>,
    /// For one call. Generous without it: in most tests it matters what comes, not when.
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_loads: Option<usize>,
    pub(crate) codec: Option<Codec>,
    pub(crate) version: Option<&'o str>,
    /// Whether what cannot be decoded stays.
    pub(crate) keep_spoiled: bool,
}

impl Options<'_> {
    fn onto<M>(self, mut builder: Builder<M>) -> Builder<M> {
        let timeout = self.timeout.unwrap_or(Duration::from_secs(10));
        builder = builder
            .prefix(self.prefix)
            .ttl_jitter(self.ttl_jitter)
            .timeout(timeout);
        if let Some(separator) = self.separator {
            builder = builder.separator(separator);
        }
        if let Some(ttl) = self.default_ttl {
            builder = builder.default_ttl(ttl);
        }
        if let Some(lease) = self.lease {
            builder = builder.lease(lease);
        }
        if let Some(loads) = self.max_loads {
            builder = builder.max_loads(loads);
        }
        if let Some(codec) = self.codec {
            builder = builder.codec(codec);
        }
        if let Some(version) = self.version {
            builder = builder.version(version);
        }
        if self.keep_spoiled {
            builder = builder.heal(false);
        }
        builder
    }
}

/// Two caches that share nothing but the server, as two processes do.
pub(crate) fn two(target: Target, options: Options<'_>) -> (Face, Face) {
    let prefix = random_prefix();
    let url = target.url(&prefix);
    let with = if url.contains('?') { '&' } else { '?' };
    let options = Options {
        prefix: &prefix,
        ..options
    };
    let other = format!("{url}{with}client_name=other");
    (
        target.build(&url, options.clone()).expect("a cache"),
        target.build(&other, options).expect("a cache"),
    )
}

/// The keys that a pattern matches, sorted.
pub(crate) async fn keys_matching(face: &Face, pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    match face {
        Face::Async(cache) => {
            let mut listing = cache.keys().matching(pattern);
            while let Some(key) = listing.next().await {
                keys.push(key.expect("a key").as_bytes().to_vec());
            }
        }
        Face::Blocking(cache) => {
            for key in cache.keys().matching(pattern) {
                keys.push(key.expect("a key").as_bytes().to_vec());
            }
        }
    }
    keys.sort();
    keys
}

/// A raw command, for what another program would do: `raw(&cache, &["LPUSH", "key", "x"])`. Keys are
/// given with their prefix.
pub(crate) async fn raw(face: &Face, arguments: &[&[u8]]) -> redis::Value {
    let mut command = redis::Cmd::new();
    command.arg(arguments);
    let reply = match face {
        Face::Async(cache) => {
            let mut connection = cache.connection().await.expect("a connection");
            command.query_async(&mut connection).await
        }
        Face::Blocking(cache) => {
            let mut connection = cache.connection().run().expect("a connection");
            command.query(&mut connection)
        }
    };
    reply.expect("a reply")
}

/// Runs each test where it makes a difference how the protocols travel: embedded and on Redis, async and
/// blocking.
macro_rules! brief_suite {
    ($($test:ident),* $(,)?) => {
        suite!(@on embedded, asynchronous, Embedded: $($test),*);
        suite!(@on embedded_blocking, blocking, Embedded: $($test),*);
        suite!(@on redis, asynchronous, RedisResp3: $($test),*);
        suite!(@on redis_blocking, blocking, RedisResp2: $($test),*);
    };
}

/// Runs each test on every target.
macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        suite!(@on embedded, asynchronous, Embedded: $($test),*);
        suite!(@on embedded_blocking, blocking, Embedded: $($test),*);
        suite!(@on redis_resp2, asynchronous, RedisResp2: $($test),*);
        suite!(@on redis_resp2_blocking, blocking, RedisResp2: $($test),*);
        suite!(@on redis_resp3, asynchronous, RedisResp3: $($test),*);
        suite!(@on redis_resp3_blocking, blocking, RedisResp3: $($test),*);
        suite!(@on redis_unix, asynchronous, RedisUnix: $($test),*);
        suite!(@on redis_unix_blocking, blocking, RedisUnix: $($test),*);
        #[cfg(feature = "serve")]
        suite!(@on served, asynchronous, Served: $($test),*);
        #[cfg(feature = "serve")]
        suite!(@on served_blocking, blocking, Served: $($test),*);
    };
    (@on $module:ident, $way:ident, $place:ident: $($test:ident),*) => {
        mod $module {
            use $crate::target::{Place, Target};
            $(
                #[test]
                fn $test() {
                    $crate::face::run(super::$test(Target::$way(Place::$place)));
                }
            )*
        }
    };
}

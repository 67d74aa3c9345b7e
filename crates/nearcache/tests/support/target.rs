//! The places the suite runs in, and the two faces of a cache behind one macro.

#![allow(dead_code, unused_macros, reason = "each suite uses its part of this")]

#[path = "servers.rs"]
mod servers;

use std::time::Duration;

use nearcache::{Builder, Cache, Codec, Error, blocking};
use nearcache_testkit::{Redis, Server, random_prefix};

pub(crate) use crate::face::Face;
#[allow(unused_imports, reason = "each suite uses its part of this")]
pub(crate) use servers::as_user as as_limited_user;

/// A place, with the way callers wait there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    place: Place,
    blocking: bool,
    /// Whether the cache does as if its keys were spread over the slots of a Cluster.
    spread: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Embedded,
    RedisResp2,
    RedisResp3,
    RedisUnix,
    /// With a near tier, which is told of changes: by a store in this process, and by a server.
    NearEmbedded,
    NearRedis,
    /// With a near tier whose server tells nothing, so that it is right for a bounded time.
    NearResp2,
    /// Over TLS, with a client certificate.
    #[cfg(feature = "tls")]
    RedisTls,
    /// A primary that Sentinels name.
    #[cfg(feature = "sentinel")]
    Sentinel,
    /// The oldest Redis that is supported.
    Redis6,
    /// The newest Valkey.
    Valkey9,
    /// As a user with no more permissions than the guide's.
    AclUser,
    /// Three primaries with a replica each.
    #[cfg(feature = "cluster")]
    Cluster,
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
            spread: false,
        }
    }

    pub(crate) const fn blocking(place: Place) -> Target {
        Target {
            place,
            blocking: true,
            spread: false,
        }
    }

    /// The same place, in the form of a Cluster: no script names keys of two slots, and what is in two slots is two steps.
    pub(crate) const fn spread(place: Place) -> Target {
        Target {
            spread: true,
            ..Target::asynchronous(place)
        }
    }

    pub(crate) const fn spread_blocking(place: Place) -> Target {
        Target {
            spread: true,
            ..Target::blocking(place)
        }
    }

    pub(crate) fn is_blocking(self) -> bool {
        self.blocking
    }

    pub(crate) fn is_spread(self) -> bool {
        self.spread || self.is_a_cluster() || std::env::var_os("SPREAD_FORM").is_some()
    }

    /// Whether a store of ours answers, in this process or behind its port.
    pub(crate) fn is_a_store(self) -> bool {
        match self.place {
            Place::Embedded | Place::NearEmbedded => true,
            #[cfg(feature = "serve")]
            Place::Served => true,
            _ => false,
        }
    }

    /// Whether the place is on this machine. If it is not, that is said, and its tests are skipped.
    pub(crate) fn is_there(self) -> bool {
        match self.place {
            Place::Redis6 => Server::Redis6.is_there(),
            Place::Valkey9 => Server::Valkey9.is_there(),
            _ => true,
        }
    }

    /// Whether the server knows TTLs of fields: Redis from 7.4 on, and Valkey from 9 on.
    pub(crate) fn has_field_ttls(self) -> bool {
        matches!(self.place, Place::Valkey9)
    }

    /// Whether the cache is a user who may only do what the guide's line permits.
    pub(crate) fn is_acl_user(self) -> bool {
        matches!(self.place, Place::AclUser)
    }

    pub(crate) fn is_a_cluster(self) -> bool {
        #[cfg(feature = "cluster")]
        return matches!(self.place, Place::Cluster);
        #[cfg(not(feature = "cluster"))]
        false
    }

    pub(crate) fn is_embedded(self) -> bool {
        matches!(self.place, Place::Embedded | Place::NearEmbedded)
    }

    /// Whether there is a near tier.
    pub(crate) fn is_near(self) -> bool {
        matches!(
            self.place,
            Place::NearEmbedded | Place::NearRedis | Place::NearResp2
        )
    }

    /// The URL, without a prefix. For the embedded store it names one that `stay` keeps.
    pub(crate) fn url(self, name: &str) -> String {
        match self.place {
            Place::Embedded => format!("memory://{name}"),
            Place::RedisResp2 => format!("{}?protocol=2", Redis::shared().url()),
            Place::RedisResp3 => format!("{}?protocol=3", Redis::shared().url()),
            Place::RedisUnix => Redis::shared().unix_url(),
            Place::NearEmbedded => format!("memory://{name}?near=1000"),
            Place::NearRedis => format!("{}?protocol=3&near=1000", Redis::shared().url()),
            Place::NearResp2 => {
                let url = Redis::shared().url();
                format!("{url}?protocol=2&near=1000&near_ttl=20ms")
            }
            #[cfg(feature = "tls")]
            Place::RedisTls => nearcache_testkit::SecureRedis::shared().tls_url(),
            #[cfg(feature = "sentinel")]
            Place::Sentinel => nearcache_testkit::Sentinels::shared().url(),
            Place::Redis6 => format!("{}?protocol=3", servers::redis_6().url()),
            Place::Valkey9 => format!("{}?protocol=3", servers::valkey_9().url()),
            Place::AclUser => format!("{}?protocol=3", servers::with_users().url()),
            #[cfg(feature = "cluster")]
            Place::Cluster => nearcache_testkit::Cluster::shared().url(),
            #[cfg(feature = "serve")]
            Place::Served => served(),
        }
    }

    /// A cache with a prefix that no other test has.
    pub(crate) fn cache(self) -> Face {
        let prefix = random_prefix();
        self.cache_at(&self.url(&prefix), &prefix)
    }

    /// The same, and all of its keys are in one slot where there are slots: for verbs of several keys.
    pub(crate) fn cache_of_one_slot(self) -> Face {
        let prefix = self.prefix_of_one_slot();
        self.cache_at(&self.url(&random_prefix()), &prefix)
    }

    /// A prefix that no other test has, and that puts all keys into one slot where there are slots.
    fn prefix_of_one_slot(self) -> String {
        let name = random_prefix();
        if self.is_a_cluster() {
            format!("{{{name}}}")
        } else {
            name
        }
    }

    /// A cache with a prefix that no other test has, and that prefix: for what is looked at in the server itself.
    pub(crate) fn cache_and_prefix(self) -> (Face, String) {
        let prefix = random_prefix();
        (self.cache_at(&self.url(&prefix), &prefix), prefix)
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
        let url = &match self.place {
            Place::AclUser => servers::as_user(url, options.prefix),
            _ => url.to_owned(),
        };
        Ok(if self.blocking {
            let builder = options.onto(blocking::Cache::builder(url));
            Face::Blocking(self.formed(builder).build()?)
        } else {
            let builder = options.onto(Cache::builder(url));
            Face::Async(self.formed(builder).build()?)
        })
    }

    /// `SPREAD_FORM=1` runs every test in the form of a Cluster.
    fn formed<M>(self, builder: Builder<M>) -> Builder<M> {
        if self.is_spread() && !self.is_a_cluster() {
            builder.as_on_a_cluster()
        } else {
            builder
        }
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
    two_at(target, &random_prefix(), options)
}

/// The same, and all of their keys are in one slot where there are slots.
pub(crate) fn two_of_one_slot(target: Target, options: Options<'_>) -> (Face, Face) {
    two_at(target, &target.prefix_of_one_slot(), options)
}

fn two_at(target: Target, prefix: &str, options: Options<'_>) -> (Face, Face) {
    let url = target.url(&random_prefix());
    let with = if url.contains('?') { '&' } else { '?' };
    let options = Options { prefix, ..options };
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
    match reply {
        // Another program is another user.
        Err(error) if error.code() == Some("NOPERM") => servers::as_admin(&command),
        Err(error) if error.code() == Some("MOVED") => asked_there(&command, &error),
        reply => reply.expect("a reply"),
    }
}

/// The stored keys that match this, at every server there is.
pub(crate) async fn stored_keys(target: Target, face: &Face, pattern: &str) -> Vec<Vec<u8>> {
    #[cfg(feature = "cluster")]
    if target.is_a_cluster() {
        let cluster = nearcache_testkit::Cluster::shared();
        let of = |primary| cluster.tell(primary, &["KEYS", pattern]).elements();
        return cluster.primaries().into_iter().flat_map(of).collect();
    }
    let _ = target;
    let redis::Value::Array(keys) = raw(face, &[b"KEYS", pattern.as_bytes()]).await else {
        panic!("a list");
    };
    let bytes = |key| match key {
        redis::Value::BulkString(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    keys.into_iter().map(bytes).collect()
}

/// Asks the node that another one has named.
fn asked_there(command: &redis::Cmd, moved: &redis::RedisError) -> redis::Value {
    let (address, _) = moved.redirect_node().expect("an address");
    let client = redis::Client::open(format!("redis://{address}")).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    command.query(&mut connection).expect("a reply")
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

/// The same, and in the form of a Cluster: for what is about tags, and about several keys.
macro_rules! spread_suite {
    ($($test:ident),* $(,)?) => {
        brief_suite!($($test),*);
        suite!(@on spread_embedded, spread, Embedded: $($test),*);
        suite!(@on spread_redis_blocking, spread_blocking, RedisResp2: $($test),*);
    };
}

/// Runs each test on a Cluster.
#[cfg(feature = "cluster")]
macro_rules! cluster_suite {
    ($($test:ident),* $(,)?) => {
        suite!(@on cluster, asynchronous, Cluster: $($test),*);
        suite!(@on cluster_blocking, blocking, Cluster: $($test),*);
    };
}

/// Runs each test on every target, and on those with a near tier.
macro_rules! near_suite {
    ($($test:ident),* $(,)?) => {
        suite!($($test),*);
        suite!(@on near_embedded, asynchronous, NearEmbedded: $($test),*);
        suite!(@on near_embedded_blocking, blocking, NearEmbedded: $($test),*);
        suite!(@on near_redis, asynchronous, NearRedis: $($test),*);
        suite!(@on near_redis_blocking, blocking, NearRedis: $($test),*);
        suite!(@on near_resp2, asynchronous, NearResp2: $($test),*);
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
        #[cfg(feature = "tls")]
        suite!(@on redis_tls, asynchronous, RedisTls: $($test),*);
        #[cfg(feature = "tls")]
        suite!(@on redis_tls_blocking, blocking, RedisTls: $($test),*);
        #[cfg(feature = "cluster")]
        cluster_suite!($($test),*);
        #[cfg(feature = "sentinel")]
        suite!(@on sentinel, asynchronous, Sentinel: $($test),*);
        #[cfg(feature = "sentinel")]
        suite!(@on sentinel_blocking, blocking, Sentinel: $($test),*);
        suite!(@on redis_6, asynchronous, Redis6: $($test),*);
        suite!(@on redis_6_blocking, blocking, Redis6: $($test),*);
        suite!(@on valkey_9, asynchronous, Valkey9: $($test),*);
        suite!(@on valkey_9_blocking, blocking, Valkey9: $($test),*);
        suite!(@on acl_user, asynchronous, AclUser: $($test),*);
        suite!(@on acl_user_blocking, blocking, AclUser: $($test),*);
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
                    let target = Target::$way(Place::$place);
                    if target.is_there() {
                        $crate::face::run(super::$test(target));
                    }
                }
            )*
        }
    };
}

//! The Redis cache: one [`Cache`] that starts **embedded**, with nothing to install, and moves to
//! Redis or Valkey by changing its URL.
//!
//! ```
//! use nearcache::Cache;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! struct User {
//!     id: u64,
//!     name: String,
//! }
//!
//! # async fn example() -> nearcache::Result<()> {
//! let cache = Cache::open("memory://")?; // or "redis://localhost:6379"
//!
//! let alice = User { id: 1, name: "Alice".into() };
//! cache.set("user:1", &alice).ttl("2h30m").await?;
//! assert_eq!(cache.get::<User>("user:1").await?, Some(alice));
//! cache.delete("user:1").await?;
//! # Ok(())
//! # }
//! # nearcache::__example(example());
//! ```
//!
//! # Where to look next
//! - [`Cache`]: every operation, with what it does while Redis is away.
//! - [`Cache::remember`]: returns the cached value, or loads it once for all callers; [`Cache::remember_many`] does it
//!   for many keys, [`Cache::remember_many_by`] for many ids, and [`Cache::remember_with`] for a loader that cannot
//!   fail; a [`Loaded`] lets the loader set TTL and tags.
//! - [`Cache::invalidate_tag`]: invalidates many entries at once; [`Cache::mark_tag_stale`] lets them be served once more
//!   while they are loaded anew.
//! - `nearcache::blocking::Cache`: the same without an async runtime (feature `blocking`).
//! - `#[cached]` (feature `macros`): caches the results of a function.
//! - [`Builder`]: prefix, default TTL, jitter, timeout.
//! - [`Error`] and [`ErrorKind`]: what can go wrong.
//! - [`Fallback`]: what a read returns while Redis is away, and what a function of yours says instead; [`Undelivered`] and [`DataLoss`]: what happens to an
//!   invalidation then.
//! - [`structures`]: hashes, lists, sets, sorted sets, bitmaps, HyperLogLogs, geospatial indexes, streams and topics as
//!   handles; [`command`]: any other command on keys of the cache.
//! - [`patterns`]: rate limits, sessions, locks, queues, leaderboards, series. The crate `nearcache-tower` has layers and
//!   stores for axum and whatever else is tower.
//! - [`Stats`]: the statistics of a cache; [`hooks`]: observing each call, metrics and traces.
//! - [`Codec`]: formats and compression; [`Text`] and [`Raw`]: values that are stored unchanged.
//! - `nearcache::config` (feature `config`): caches described in TOML, JSON or the environment;
//!   `nearcache::compat::registry`: caches that are elements of an application, as in JitAI (`docs/jitai.md`).
//! - `docs/redis-kit.md`: the calls of redis_kit, and those of this crate.
//! - `nearcache::simple` (feature `simple`): the interface of Python's cachelib, and its data (`docs/cachelib.md`).
//! - `nearcache::compat::component` (feature `component`): a cache that is configured, opened and closed.
//!
//! # What counts as an entry
//! All methods go by one answer, that of [`Cache::contains`].
//!
//! | the key holds | `get` | `contains`, `ttl`, `touch`, `expire`, `persist`, `replace`, `keys`, … | `add` stores, `incr` makes a counter |
//! | --- | --- | --- | --- |
//! | a value before its TTL has ended | the value | an entry | no |
//! | a cached `None` before its TTL has ended | `None` | an entry | no |
//! | a value past its TTL, kept for `stale_for` or `stale_if_error`, or marked stale | `None` | no entry | yes |
//! | a value whose tag was invalidated, or whose envelope is damaged | `None` | no entry | yes |
//! | bytes that cannot be read: of another version, or not of this type | `None` | an entry | no |
//!
//! Only [`Cache::remember`] returns a value past its TTL, and [`Cache::get_kept`], which says so. `docs/protocols.md` has the whole table.
//!
//! # URLs
//! | URL | where |
//! | --- | --- |
//! | `memory://` | in this process, in a store of its own |
//! | `memory://name` | in this process, in a store shared by all caches of that name; it lives as long as one of them does |
//! | `redis://[[user]:password@]host[:port][/db]` | Redis over TCP; the defaults are port 6379 and database 0 |
//! | `redis+unix://[[user]:password@]/path/to.sock` | Redis over a unix socket |
//! | `redis-sentinel://[[user]:password@]host[:port],…/name[/db]` | the primary that Sentinels know by this name |
//! | `redis-cluster://[[user]:password@]host[:port],…` | the Cluster to which these nodes belong (feature `cluster`): see `docs/deployments.md` |
//! | `rediss://…`, `rediss-sentinel://…`, `rediss-cluster://…` | the same over TLS (feature `tls`): see `docs/deployments.md` |
//! | `valkey://…`, `valkeys://…`, `valkey+unix://…`, `valkey-sentinel://…` | Valkey, in the same forms |
//!
//! Options follow a `?` and are joined by `&`: `prefix`, `separator`, `version`, `format`, `compression`,
//! `default_ttl`, `ttl_jitter`, `timeout`, `connect_timeout`, `breaker`, `db`, `username`, `password`, `client_name`, `protocol`,
//! `pool_size`, `redact_keys`, `near`, `near_bytes`, `near_ttl`, `near_heartbeat`; with Sentinels also `read`, `sentinel_username`, `sentinel_password`. The [`Builder`]'s method of the same name describes each. `memory://` also has `maxmemory` (such as
//! `64mb`; the default is 256 MiB, and 0 means no limit) and `policy` (what is evicted then: a `maxmemory-policy` of
//! Redis, by default `allkeys-lfu`). `rediss://` and `valkeys://` also have `ca`, `cert`, `key` (files in PEM),
//! `server_name` and `tls_verify`: see `Tls`. Special characters are percent-encoded (`%40` for `@`).
//!
//! # Features
//! | feature | | what it adds |
//! | --- | --- | --- |
//! | `embedded` | default | `memory://` |
//! | `macros` | default | `#[cached]` |
//! | `anyhow` | default | [`Error::downcast_ref`] finds what a loader returned inside an `anyhow::Error` |
//! | `eyre` | | the same for an `eyre::Report` |
//! | `blocking` | | `nearcache::blocking`, for code without an async runtime |
//! | `tls` | | `rediss://` and `valkeys://`: TLS by rustls, client certificates included |
//! | `sentinel` | | `redis-sentinel://`: a primary that Sentinels name, and its replicas |
//! | `msgpack`, `postcard` | | these formats, in addition to JSON |
//! | `zstd`, `lz4`, `zlib` | | compression |
//! | `metrics` | | `hooks::MetricsFacade`: the `metrics` crate, and so Prometheus and others |
//! | `otel` | | `hooks::OpenTelemetry`: metrics and traces |
//! | `config` | | `nearcache::config` and `nearcache::compat::registry`: caches from TOML, JSON, the environment, folders |
//! | `charset` | | GBK, Big5, Shift_JIS and others for the caches of a registry; includes `config` |
//! | `component` | | `nearcache::compat::component`; includes `config` |
//! | `simple`, `pickle` | | `nearcache::simple`, the interface of Python's cachelib; and its data |

//! # What is promised
//! Versions follow [Semantic Versioning](https://semver.org). Three other crates are part of what this one shows:
//!
//! - [`redis`] is re-exported, because [`Connection`], [`SharedConnection`] and [`Builder::client`] work with its types:
//!   its traits (`ConnectionLike`), [`redis::Cmd`], [`redis::Pipeline`], [`redis::Client`]. A new major version of it, or
//!   a minor one that changes these, comes with a new minor version of this crate before 1.0, and a new major one from
//!   1.0 on. Use it as `nearcache::redis`, and the versions agree by themselves. No other operation has its types.
//! - `embedded` is the crate `nearcache-embedded`, which has the version of this one. `Store` and its `Builder`, `Clock`,
//!   `Policy`, `Connection` and the events are meant for use, under the same promise. What it has for scripts (`Script`,
//!   `Twin`, `Call`) is for this crate, and may change with any version.
//! - [`erased_serde`] is re-exported for [`Serializer`] and the `ValueCache` of components: its `Serialize` and
//!   `Deserializer`, in version 0.4.
//!
//! [`Encode`], [`Decode`], [`Loadable`] and the traits in [`operation`] can be used as bounds, and cannot be implemented
//! elsewhere; so they may get new methods. A format of your own is a [`Serializer`]. What is hidden in the
//! documentation is not part of the API. Keys and bytes in Redis are frozen: see `docs/wire-format.md`.

#[cfg(feature = "blocking")]
pub mod blocking;
mod cache;
mod client;
mod coarse;
mod codec;
pub mod command;
#[cfg(any(feature = "config", feature = "simple"))]
pub mod compat;
#[cfg(feature = "config")]
pub mod config;
mod connect;
#[cfg(test)]
mod documented;
mod error;
pub mod hooks;
mod keyspace;
pub mod patterns;
mod read_through;
mod resilience;
mod runtime;
mod script;
#[cfg(feature = "serve")]
mod serve;
mod slot;
mod striped;
pub mod structures;
mod ttl;
mod url;

/// The code that `#[cached]` expands to calls this.
#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "decorator/mod.rs"]
pub mod __decorator;

/// The entry points for the fuzzer.
#[cfg(all(
    any(fuzzing, test),
    feature = "blocking",
    feature = "component",
    feature = "embedded",
    feature = "lz4",
    feature = "macros",
    feature = "msgpack",
    feature = "pickle",
    feature = "postcard",
    feature = "zlib",
    feature = "zstd"
))]
#[doc(hidden)]
#[path = "../fuzz/mod.rs"]
pub mod __fuzz;

#[cfg(feature = "macros")]
#[doc = include_str!("decorator/cached.md")]
pub use nearcache_macros::cached;

/// An async cache: every operation ends in `.await`.
pub type Cache = CacheOf<operation::Async>;

pub use cache::{Bound, Builder, CacheOf, SharedConnection, operation};
pub use codec::{Codec, Compression, Decode, Encode, Format, Raw, Serializer, Text};
#[cfg(feature = "tls")]
pub use connect::Tls;
pub use connect::credentials::{
    Credentials, CredentialsProvider, IntoCredentialsProvider, ProvidedCredentials,
};
pub use connect::{Connection, Protocol, ReadFrom, ServerInfo, ServerKind};
pub use error::{BoxError, Error, ErrorKind, Result};
pub use hooks::{NearTracking, Stats};
pub use keyspace::Key;
pub use read_through::delivery::Undelivered;
pub use read_through::load::{Loadable, Loaded};
pub use read_through::read::{Kept, Lookup};
pub use resilience::{BreakerState, DataLoss, Fallback, Instead, Outage};
pub use ttl::{IntoTtl, Remaining, Ttl};

/// The crate with the traits through which a [`Serializer`] gets values.
pub use erased_serde;

/// The redis crate that [`Connection`] works with.
pub use redis;

#[cfg(feature = "serve")]
pub use serve::serve;

#[cfg(feature = "simple")]
pub use compat::simple;

/// The embedded store, for use on its own or with [`Builder::store`].
#[cfg(feature = "embedded")]
pub use nearcache_embedded as embedded;

/// Runs an example of this documentation, if the embedded store is built in.
#[doc(hidden)]
pub fn __example<E: std::fmt::Debug>(example: impl Future<Output = std::result::Result<(), E>>) {
    if cfg!(feature = "embedded") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .expect("a runtime")
            .block_on(example)
            .expect("the example works");
    }
}

/// The traits of values cannot be implemented elsewhere.
///
/// ```compile_fail,E0277
/// struct Mine;
///
/// impl nearcache::Encode for Mine {
///     const NOTHING: Option<&'static [u8]> = None;
///     fn encode(&self, _: &nearcache::Codec, _: &mut Vec<u8>) -> nearcache::Result<nearcache::Format> {
///         Ok(nearcache::Format::Json)
///     }
/// }
/// ```
///
/// ```compile_fail,E0277
/// struct Mine;
///
/// impl nearcache::Loadable for Mine {
///     type Value = u8;
///     const BRINGS_TAGS: bool = false;
///     fn into_loaded(self) -> nearcache::Loaded<u8> {
///         nearcache::Loaded::new(7)
///     }
/// }
/// ```
#[cfg(doctest)]
struct Sealed;

/// The examples in the README are compiled and run, too.
#[cfg(all(doctest, feature = "embedded", feature = "blocking"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// And those in the guides.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/failure.md")]
struct Failure;

#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../../docs/near.md")]
struct Near;

#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../../docs/performance.md")]
struct Performance;

#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../../docs/protocols.md")]
struct Protocols;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/wire-format.md")]
struct WireFormat;

#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../../docs/structures.md")]
struct Structures;

#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../../docs/observability.md")]
struct Observability;

#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../../docs/use-cases.md")]
struct UseCases;

#[cfg(all(doctest, feature = "embedded", feature = "msgpack", feature = "zstd"))]
#[doc = include_str!("../../../docs/formats.md")]
struct Formats;
#[cfg(all(doctest, feature = "embedded", feature = "config"))]
#[doc = include_str!("../../../docs/configuration.md")]
struct Configuration;

#[cfg(all(doctest, feature = "embedded", feature = "config"))]
#[doc = include_str!("../../../docs/jitai.md")]
struct JitAi;

#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../../docs/redis-kit.md")]
struct RedisKit;

#[cfg(all(doctest, feature = "embedded", feature = "component"))]
#[doc = include_str!("../../../docs/component.md")]
struct Component;

#[cfg(all(doctest, feature = "embedded", feature = "pickle"))]
#[doc = include_str!("../../../docs/cachelib.md")]
struct Cachelib;

#[cfg(all(doctest, feature = "blocking", feature = "serve"))]
#[doc = include_str!("../../../docs/embedded.md")]
struct Embedded;

/// And those in the guide to `#[cached]`.
#[cfg(all(
    doctest,
    feature = "embedded",
    feature = "blocking",
    feature = "macros"
))]
#[doc = include_str!("../../../docs/decorator.md")]
struct Decorator;

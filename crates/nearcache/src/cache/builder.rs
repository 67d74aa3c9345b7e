//! The options of a cache. `build` makes a cache of them.

mod build;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

#[cfg(doc)]
use super::CacheOf;
use super::operation::{Async, Marked};
use crate::client::{duration_of, timeout_of};
use crate::codec::Codec;
use crate::connect::credentials::IntoCredentialsProvider;
use crate::connect::supply::Supply;
use crate::connect::target::Target;
use crate::connect::tls::Tls;
use crate::connect::{Protocol, ReadFrom};
use crate::error::Result;
#[cfg(doc)]
use crate::error::{Error, ErrorKind};
use crate::hooks::{Hook, Hooks};
use crate::read_through::delivery::Undelivered;
use crate::read_through::near;
use crate::resilience::{DataLoss, Fallback};
use crate::ttl::{IntoTtl, Ttl};
use crate::url::{self, Parsed};

/// The default time limit for one call to Redis.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(500);

/// The default lease of a load, and the shortest and longest lease allowed.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
pub(crate) const LEASES: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(3_600));

/// The largest `max_loads`: a semaphore can hold this many permits on every platform.
pub(crate) const MAX_LOADS: usize = 1 << 20;

/// Builds a cache. Options set here override those of the URL.
///
/// ```
/// # fn main() -> nearcache::Result<()> {
/// use nearcache::Cache;
///
/// let cache = Cache::builder("redis://localhost:6379/0")
///     .prefix("myapp")
///     .default_ttl("5m")
///     .ttl_jitter(0.1)
///     .timeout("250ms")
///     .build()?; // connects to nothing yet
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `.build()`"]
pub struct Builder<M = Async> {
    url: Result<Parsed>,
    prefix: Option<String>,
    separator: Option<String>,
    default_ttl: Option<Result<Ttl>>,
    ttl_jitter: Option<f64>,
    timeout: Option<Result<Duration>>,
    username: Option<String>,
    password: Option<String>,
    credentials: Option<Supply>,
    db: Option<u32>,
    sentinel_username: Option<String>,
    sentinel_password: Option<String>,
    read: Option<ReadFrom>,
    client_name: Option<String>,
    protocol: Option<Protocol>,
    pool_size: Option<usize>,
    breaker: Option<bool>,
    connect_timeout: Option<Result<Duration>>,
    near: near::Asked,
    near_ttl: Option<Result<Duration>>,
    near_heartbeat: Option<Result<Duration>>,
    tls: Option<Tls>,
    fallback: Fallback,
    log_on_fallback: bool,
    undelivered: Undelivered,
    data_loss: DataLoss,
    lease: Option<Result<Duration>>,
    spread: bool,
    max_loads: Option<usize>,
    hooks: Hooks,
    codec: Option<Codec>,
    version: Option<String>,
    heal: bool,
    redact_keys: Option<bool>,
    client: Option<Result<Target>>,
    #[cfg(feature = "embedded")]
    store: Option<nearcache_embedded::Store>,
    #[cfg(feature = "embedded")]
    folder: Option<std::path::PathBuf>,
    mode: Marked<M>,
}

impl<M> Builder<M> {
    pub(crate) fn new(url: &str) -> Self {
        Builder {
            url: url::parse(url),
            prefix: None,
            separator: None,
            default_ttl: None,
            ttl_jitter: None,
            timeout: None,
            username: None,
            password: None,
            credentials: None,
            db: None,
            sentinel_username: None,
            sentinel_password: None,
            read: None,
            client_name: None,
            protocol: None,
            pool_size: None,
            breaker: None,
            connect_timeout: None,
            near: near::Asked::default(),
            near_ttl: None,
            near_heartbeat: None,
            tls: None,
            fallback: Fallback::Error,
            log_on_fallback: true,
            undelivered: Undelivered::Error,
            data_loss: DataLoss::Replay,
            lease: None,
            spread: false,
            max_loads: None,
            hooks: Hooks::default(),
            codec: None,
            version: None,
            heal: true,
            redact_keys: None,
            client: None,
            #[cfg(feature = "embedded")]
            store: None,
            #[cfg(feature = "embedded")]
            folder: None,
            mode: PhantomData,
        }
    }

    /// The start of every key in Redis, before the separator. The cache sees nothing outside it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// The text between prefix and key. Default: `:`.
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = Some(separator.into());
        self
    }

    /// A part of every key, between prefix and key. Caches of different versions do not share entries: after a deploy
    /// that changes a struct, the new version never reads old entries, and both versions can run side by side.
    ///
    /// Invalidations reach only entries of the same version: while two versions run, each has to invalidate its own.
    /// Entries of a version that is no longer in use stay until their TTL ends.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// How values are written. Default: JSON. It can be changed while there are entries: every format is read.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Whether `get`, `lookup` and `get_many` delete an entry that nobody can read any more: its envelope or its
    /// compressed value is damaged, or one of its tags was invalidated. Default: on. The entry is not deleted if it was
    /// written again meanwhile. What another program wrote, another type or another version of nearcache is a miss, and
    /// is never deleted by a read.
    ///
    /// The deletion takes one more round trip, with a timeout of its own, and only for such a `get`. It is a script: if
    /// Redis does not answer or does not permit scripts, `get` still returns a miss, and the entry stays.
    pub fn heal(mut self, on: bool) -> Self {
        self.heal = on;
        self
    }

    /// Whether messages show a hash in place of a key: `#` and 12 hexadecimal digits, the beginning of the SHA-1 of the
    /// key without the prefix. It is the same in all processes, so that messages about one key can be found. Default:
    /// off. Turn it on where keys are secrets or personal, such as the token of a session.
    ///
    /// It holds for the text of errors, logs, spans, and `Debug` of operations and of what hooks are told. Code that
    /// asks gets the key itself: [`Error::key`], [`Call::key`](crate::hooks::Call::key),
    /// [`Outage::key`](crate::Outage). Whoever can guess a key can compare its hash, so a hash of `user:7` hides little.
    /// A loader's own error, which is the [source](std::error::Error::source) of the call's error, says what it says.
    /// What names keys in metrics and spans because you said so, [`KeyGroups`](crate::hooks::KeyGroups), is not
    /// affected.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// let cache = nearcache::Cache::builder("memory://").redact_keys(true).build()?;
    /// cache.set("session:f3a9", "alice").await?;
    /// let error = cache.incr("session:f3a9").await.unwrap_err();
    /// assert!(error.to_string().contains("key #7edf3f1860fb"), "{error}");
    /// assert_eq!(error.key().unwrap(), "session:f3a9");
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn redact_keys(mut self, on: bool) -> Self {
        self.redact_keys = Some(on);
        self
    }

    /// The TTL of entries that are written without one. Without this, they do not expire.
    pub fn default_ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.default_ttl = Some(ttl.into_ttl());
        self
    }

    /// Varies every TTL at random within ± this ratio (0 to 1), so that entries that are written together do not expire
    /// together. Default: 0, no jitter.
    pub fn ttl_jitter(mut self, ratio: f64) -> Self {
        self.ttl_jitter = Some(ratio);
        self
    }

    /// How long Redis may take for one call, connecting included (unless that has a
    /// [time of its own](Builder::connect_timeout)): `"250ms"`, a [`Duration`], or a whole number of
    /// seconds, from 1 ms to 1 hour. Default: 500 ms. For a call that takes several round trips (a split batch, a scan)
    /// the limit applies to each round trip.
    pub fn timeout(mut self, timeout: impl IntoTtl) -> Self {
        self.timeout = Some(timeout_of(timeout));
        self
    }

    /// How long connecting may take, apart from the [`timeout`](Builder::timeout) of the call that connects: from 1 ms
    /// to 1 hour, as there. It covers the look-up of the name, the connection and the handshake. Such a call then takes
    /// at most both times together. Default: connecting is a part of the call, and has no time of its own.
    ///
    /// ```
    /// # fn main() -> nearcache::Result<()> {
    /// // A server far away: a connection may take 2 s, and a call over it 250 ms.
    /// let cache = nearcache::Cache::builder("redis://localhost")
    ///     .connect_timeout("2s")
    ///     .timeout("250ms")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect_timeout(mut self, timeout: impl IntoTtl) -> Self {
        self.connect_timeout = Some(duration_of("connect_timeout", "1ms to 1h", timeout));
        self
    }

    /// Keeps up to so many values in this process, in front of Redis: the near tier. A read that finds its value there
    /// takes no round trip. Default: none; 0 is none, too.
    ///
    /// The values are those of Redis: a change by this process is seen at once, and one by another process as soon as
    /// Redis has told (`CLIENT TRACKING`, Redis 6 and later). While Redis does not tell, because the connection is lost or
    /// silent, nothing is answered from here. A value never stays longer than in Redis. Where the server does not tell
    /// at all, [`near_ttl`](Builder::near_ttl) bounds how old a value may be. Behind Sentinels and in a Cluster it is the
    /// same, for each primary by itself; what a replica says is not kept. See the guide
    /// [`docs/near.md`](https://github.com/nearcache/nearcache/blob/main/docs/near.md).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// use std::sync::Arc;
    /// use nearcache::Cache;
    ///
    /// let cache = Cache::builder("memory://").near(10_000).build()?;
    /// cache.set("page:home", "<h1>Hello</h1>").await?;
    /// let first: Option<Arc<String>> = cache.get_arc("page:home").await?; // from the store
    /// let again: Option<Arc<String>> = cache.get_arc("page:home").await?; // from the near tier
    /// assert_eq!(first, again);
    /// assert_eq!(cache.stats().near_hits, 1);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn near(mut self, entries: usize) -> Self {
        self.near.entries = Some(entries);
        self
    }

    /// Keeps values in this process, as [`near`](Builder::near) does, up to so many bytes: of their keys, and of the
    /// values as they are in Redis. (The values that were read take their own memory on top of that.) At least 64 KiB; 0
    /// is no near tier. Together with `near`, both limits hold.
    pub fn near_bytes(mut self, bytes: u64) -> Self {
        self.near.bytes = Some(bytes);
        self
    }

    /// How long the near tier may answer with a value that it has read once, from 20 ms to 24 h. Default: as long as
    /// Redis tells of changes; and 1 s where the server does not tell: one before Redis 6, a connection that speaks
    /// RESP2, a proxy, a user who may not call `CLIENT TRACKING`. There a value may be as old as this after another
    /// process has changed it.
    pub fn near_ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.near_ttl = Some(duration_of("near_ttl", "20ms to 24h", ttl));
        self
    }

    /// How often the connection that tells of changes is asked for a sign of life (`PING`), from 50 ms to 1 min. Default:
    /// 1 s. If it gives none for twice this time, the near tier answers nothing until it does.
    pub fn near_heartbeat(mut self, time: impl IntoTtl) -> Self {
        self.near_heartbeat = Some(duration_of("near_heartbeat", "50ms to 1m", time));
        self
    }

    /// How the connections over TLS are made, with a `rediss://` or `valkeys://` URL: the CA, the client's certificate,
    /// the server's name. What is set here goes before the same option of the URL. With another URL this is
    /// [`ErrorKind::InvalidConfig`]: the URL says whether there is TLS.
    ///
    /// ```
    /// use nearcache::{Cache, ErrorKind, Tls};
    ///
    /// // Certificates from memory, as a secret store gives them.
    /// # fn secret(name: &str) -> String { name.to_owned() }
    /// let tls = Tls::new()
    ///     .ca_pem(secret("redis-ca"))
    ///     .identity_pem(secret("client-cert"), secret("client-key"));
    /// let opened = Cache::builder("rediss://db.example.com:6380").tls(tls).build();
    /// // These are no certificates, and that is found at once.
    /// assert_eq!(opened.unwrap_err().kind(), ErrorKind::InvalidConfig);
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: Tls) -> Self {
        self.tls_of(tls)
    }

    /// The same, whatever is built in.
    #[cfg(any(feature = "tls", feature = "config"))]
    pub(crate) fn tls_of(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The user to authenticate as (Redis 6 and later).
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// The password to authenticate with. It appears in no error, log or `Debug`.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The user to authenticate as at the Sentinels of `redis-sentinel://`, which have users of their own. Elsewhere it
    /// has no meaning.
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel_username = Some(username.into());
        self
    }

    /// The password to authenticate with at the Sentinels of `redis-sentinel://`. It appears in no error, log or
    /// `Debug`. Default: none, also if there is a [`password`](Builder::password), which is for the servers.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_password = Some(password.into());
        self
    }

    /// Which servers may answer what only reads, behind `redis-sentinel://` and `redis-cluster://`. Elsewhere it has no
    /// meaning. Default: [`ReadFrom::Primary`].
    ///
    /// With [`ReadFrom::Replica`], a read may return what the replica has not heard of yet: it may be older than an
    /// invalidation of this very process, by the time that replication lags behind (usually milliseconds, and without a
    /// bound while the replica cannot reach its primary). What decides about a load or a fill is always asked of the
    /// primary, so `remember` is not affected.
    pub fn read(mut self, from: ReadFrom) -> Self {
        self.read = Some(from);
        self
    }

    /// Who gives the user and the password, if they change: the tokens of managed services, passwords that are rotated.
    /// A closure that returns them, also an async one, or a [`CredentialsProvider`](crate::CredentialsProvider), or an
    /// `Arc` of one, by whose clones caches share their connections.
    ///
    /// It is asked on each connect. If the server refuses what it gave, it is asked once more, at once: the password may
    /// have been changed. Credentials that [expire](crate::Credentials::expires_in) are renewed before, on the
    /// connections themselves, and no call waits for it. While the provider fails or hangs, connections go on with what
    /// they have until it expires; then, and where there was nothing yet, a call fails with
    /// [`ErrorKind::Auth`], or at its limit with [`ErrorKind::Timeout`], and the circuit breaker counts it. The
    /// provider's own error is the [source](std::error::Error::source).
    ///
    /// A [`connection`](CacheOf::connection), and a subscription, keep the credentials that they began with; when the
    /// server closes it, a subscription is made again with new ones. An embedded store asks nobody.
    ///
    /// ```
    /// # fn main() -> nearcache::Result<()> {
    /// use std::time::Duration;
    /// use nearcache::{BoxError, Cache, Credentials};
    ///
    /// # async fn fetch_token() -> Result<String, BoxError> { Ok(String::new()) }
    /// let cache = Cache::builder("redis://localhost?prefix=app")
    ///     .credentials(|| async {
    ///         let token = fetch_token().await?;
    ///         Ok::<_, BoxError>(Credentials::new("app", token).expires_in(Duration::from_secs(900)))
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A user or a password in the URL or on the builder as well is [`ErrorKind::InvalidConfig`].
    pub fn credentials<K>(mut self, provider: impl IntoCredentialsProvider<K>) -> Self {
        self.credentials = Some(Supply::new(provider.into_provider()));
        self
    }

    /// The number of the database. Default: 0.
    pub fn db(mut self, db: u32) -> Self {
        self.db = Some(db);
        self
    }

    /// The name that `CLIENT LIST` shows for the connections: printable ASCII without spaces. A server that does not
    /// permit `CLIENT SETNAME` shows none.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    /// The protocol. Default: RESP3 if the server supports it, else RESP2.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// The maximum number of connections for blocking callers, 1 to 1,024. Default: 16. Each waiting thread uses one.
    /// Async callers share one connection, whatever the value.
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = Some(connections);
        self
    }

    /// Whether the circuit breaker is on. Default: on. After five failures in a row, calls fail at once with
    /// [`ErrorKind::Unavailable`]. From time to time the breaker lets one call through as a probe (the first after 0.1
    /// s, later ones up to 2 s apart) to find out whether Redis is back. Caches that share a connection share its
    /// breaker.
    pub fn breaker(mut self, on: bool) -> Self {
        self.breaker = Some(on);
        self
    }

    /// What reads return when Redis does not answer. Default: the error.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// use nearcache::{Cache, Fallback};
    ///
    /// let no_server_here = "redis://127.0.0.1:1";
    /// let cache = Cache::builder(no_server_here).on_unavailable(Fallback::Miss).build()?;
    /// assert_eq!(cache.get::<String>("user:1").await?, None);
    /// assert!(cache.set("user:1", "Alice").await.is_err()); // a write still fails
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn on_unavailable(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    /// Whether it is logged, as a warning with the operation and the error, that a fallback answered. Default: on, at
    /// most once in 15 s. [`Stats::fallbacks`](crate::Stats) counts them all.
    pub fn log_on_fallback(mut self, on: bool) -> Self {
        self.log_on_fallback = on;
        self
    }

    /// What an invalidation returns when Redis did not acknowledge it. Default: the error. Either way the invalidation
    /// is kept in the outbox. Once Redis answers again, it is sent before any command about the same keys or tags.
    pub fn on_undelivered(mut self, undelivered: Undelivered) -> Self {
        self.undelivered = undelivered;
        self
    }

    /// What to do when another server answers than before (Redis was restarted, or a replica took over), which may have
    /// lost writes that it had acknowledged. Default: repeat the invalidations of the last seconds.
    pub fn on_data_loss(mut self, data_loss: DataLoss) -> Self {
        self.data_loss = data_loss;
        self
    }

    /// The lease of a load: how long a load keeps other processes from loading the same key: `"30s"`, a [`Duration`], or
    /// a whole number of seconds, from 100 ms to 1 hour. Default: 10 s. A load that takes longer renews its lease. If
    /// its process dies, others can load once the lease has expired.
    pub fn lease(mut self, time: impl IntoTtl) -> Self {
        self.lease = Some(duration_of("lease", "100ms to 1h", time));
        self
    }

    /// Does everything in the form for a Cluster, wherever the keys are: for tests of that form.
    #[doc(hidden)]
    pub fn as_on_a_cluster(mut self) -> Self {
        self.spread = true;
        self
    }

    /// How many loaders may run at the same time, for all keys together. Default: no limit. A caller that finds no free
    /// place waits for one (see [`Remember::load_timeout`](super::operation::Remember)), and then fails with
    /// [`ErrorKind::Overloaded`]. A loader that itself calls `remember` keeps its place while it waits for the inner
    /// load: leave room for both.
    pub fn max_loads(mut self, loads: usize) -> Self {
        self.max_loads = Some(loads);
        self
    }

    /// Adds a hook, which is told of every call. Hooks are called in the order in which they were added.
    pub fn hook(mut self, hook: impl Hook) -> Self {
        self.hooks.add(hook);
        self
    }

    /// Takes the server, user, database and protocol from an existing client of redis-rs. The cache opens connections
    /// of its own. The URL then contains only options.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = redis::Client::open("redis://localhost:6379/2")?;
    /// let cache = nearcache::Cache::builder("redis://?prefix=app").client(&client).build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Options that are set on the builder or in the URL ([`db`](Builder::db), [`username`](Builder::username), ...)
    /// override those of the client. A URL that names a server itself is [`ErrorKind::InvalidConfig`].
    ///
    /// A client that uses TLS is one here, too (feature `tls`). Certificates that were given to the client cannot be read
    /// from it: give them to the builder as well, with `Builder::tls`, or building is [`ErrorKind::InvalidConfig`]. A
    /// client that accepts any certificate (`#insecure`) makes a cache that does, with a warning.
    pub fn client(mut self, client: &redis::Client) -> Self {
        self.client = Some(Target::from_client(client));
        self
    }

    /// The embedded store to use, with a `memory://` URL: for example one whose clock a test moves, or one that is also
    /// used without the cache.
    #[cfg(feature = "embedded")]
    pub fn store(mut self, store: &nearcache_embedded::Store) -> Self {
        self.store = Some(store.clone());
        self
    }

    /// Keeps the embedded store in a folder, with a `memory://` URL: the same as the URL `memory:///FOLDER`. The folder
    /// is made if it is not there. What is in it is loaded by [`build`](Builder::build), and every write is logged in
    /// Redis's own format: see the guide [`docs/embedded.md`](https://github.com/nearcache/nearcache/blob/main/docs/embedded.md).
    ///
    /// `?appendfsync=always` in the URL lets a write return only when it is on the disk; by default (`everysec`), a
    /// crash of the machine costs a second at most.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("nearcache-doc-{}", std::process::id()));
    /// use nearcache::Cache;
    ///
    /// let cache = Cache::builder("memory://?prefix=app").persist(&folder).build()?;
    /// cache.set("greeting", "hello").await?;
    /// drop(cache);
    ///
    /// let cache = Cache::builder("memory://?prefix=app").persist(&folder).build()?;
    /// assert_eq!(cache.get::<String>("greeting").await?.as_deref(), Some("hello"));
    /// # drop(cache);
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// [`build`](Builder::build) fails with [`ErrorKind::InvalidConfig`] if another process has the folder open, or if
    /// a file in it is damaged; nothing is changed then.
    #[cfg(feature = "embedded")]
    pub fn persist(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }
}

/// The options set so far, without the password.
impl<M> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("url", &self.url)
            .field("prefix", &self.prefix)
            .field("default_ttl", &self.default_ttl)
            .field("timeout", &self.timeout)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

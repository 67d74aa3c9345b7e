//! Building a cache from a URL, options and defaults.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::CacheOf;
use super::operation::{Async, Executor, Marked};
use crate::client::{Client, Parts, TIMEOUTS, check_timeout, duration_of, timeout_of};
use crate::codec::Codec;
use crate::connect::target::{PORT, Place, Target};
use crate::connect::{Mode, Protocol};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{Hook, Hooks, Telemetry};
use crate::keyspace::{Keyspace, SEPARATOR};
use crate::read_through::delivery::Undelivered;
use crate::read_through::{ReadThrough, Settings};
use crate::resilience::{self, DataLoss, Fallback};
use crate::ttl::{IntoTtl, Ttl};
use crate::url::{self, MAX_POOL_SIZE, Parsed};

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
    db: Option<u32>,
    client_name: Option<String>,
    protocol: Option<Protocol>,
    pool_size: Option<usize>,
    breaker: Option<bool>,
    connect_timeout: Option<Result<Duration>>,
    fallback: Fallback,
    log_on_fallback: bool,
    undelivered: Undelivered,
    data_loss: DataLoss,
    lease: Option<Result<Duration>>,
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
            db: None,
            client_name: None,
            protocol: None,
            pool_size: None,
            breaker: None,
            connect_timeout: None,
            fallback: Fallback::Error,
            log_on_fallback: true,
            undelivered: Undelivered::Error,
            data_loss: DataLoss::Replay,
            lease: None,
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
    /// override those of the client. A client that uses TLS is [`ErrorKind::InvalidConfig`] for now; so is a URL that
    /// names a server itself.
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

    fn build_core(self, mode: Mode) -> Result<ReadThrough> {
        let mut parsed = self.url?;
        #[cfg(feature = "embedded")]
        if let Some(path) = self.folder {
            if parsed.target.place != (Place::Embedded { name: None }) {
                return invalid(format!(
                    "a folder was given, but the URL is for {}; a folder needs the URL memory://",
                    parsed.target.place
                ));
            }
            parsed.target.place = Place::Folder { path };
        }
        if let Some(client) = self.client {
            parsed.target = of_client(client?, parsed.target)?;
        }
        let target = Target {
            username: self.username.or(parsed.target.username),
            password: self.password.or(parsed.target.password),
            db: self.db.unwrap_or(parsed.target.db),
            client_name: self.client_name.or(parsed.target.client_name),
            protocol: self.protocol.or(parsed.target.protocol),
            pool_size: self.pool_size.unwrap_or(parsed.target.pool_size),
            breaker: self.breaker.unwrap_or(parsed.target.breaker),
            connect_timeout: self
                .connect_timeout
                .transpose()?
                .or(parsed.target.connect_timeout),
            bounds: parsed.target.bounds,
            place: parsed.target.place,
        };
        target.check()?;
        if target.bounds.appendfsync.is_some() && !matches!(target.place, Place::Folder { .. }) {
            return invalid(format!(
                "appendfsync is for a store that is kept in a folder, but the URL is for {}; write \
                 memory:///FOLDER?appendfsync=everysec",
                target.place
            ));
        }
        let prefix = self.prefix.or(parsed.prefix).unwrap_or_default();
        let separator = self.separator.or(parsed.separator);
        let ttl_jitter = self.ttl_jitter.or(parsed.ttl_jitter).unwrap_or(0.0);
        let limit = self
            .timeout
            .transpose()?
            .or(parsed.timeout)
            .unwrap_or(TIMEOUT);
        let default_ttl = self.default_ttl.transpose()?.or(parsed.default_ttl);

        if !(0.0..=1.0).contains(&ttl_jitter) {
            return invalid(format!(
                "ttl_jitter is {ttl_jitter}; it is a ratio from 0 to 1, as in 0.1 for ± 10 %"
            ));
        }
        check_timeout(limit)?;
        if let Some(time) = target
            .connect_timeout
            .filter(|time| !TIMEOUTS.contains(time))
        {
            return invalid(format!("connect_timeout is {time:?}; it is from 1ms to 1h"));
        }
        if !(1..=MAX_POOL_SIZE).contains(&target.pool_size) {
            return invalid(format!(
                "pool_size is {}; it is from 1 to {MAX_POOL_SIZE}",
                target.pool_size
            ));
        }
        let lease_time = self.lease.transpose()?.unwrap_or(LEASE);
        if !(LEASES.0..=LEASES.1).contains(&lease_time) {
            return invalid(format!("lease is {lease_time:?}; it is from 100ms to 1h"));
        }
        if self
            .max_loads
            .is_some_and(|loads| !(1..=MAX_LOADS).contains(&loads))
        {
            return invalid(format!(
                "max_loads is {}; it is from 1 to {MAX_LOADS}",
                self.max_loads.unwrap_or(0)
            ));
        }
        let codec = self.codec.unwrap_or_else(|| {
            let codec = Codec::new(parsed.format.unwrap_or_default());
            match parsed.compression {
                Some(compression) => codec.compressed(compression),
                None => codec,
            }
        });
        codec.check()?;
        let separator = separator.as_deref().unwrap_or(SEPARATOR);
        let prefix = match self.version.or(parsed.version) {
            Some(version) if version.is_empty() => {
                return invalid(
                    "version is empty; it is a part of every key, as in \"v2\"".to_owned(),
                );
            }
            Some(version) if prefix.is_empty() => version,
            Some(version) => format!("{prefix}{separator}{version}"),
            None => prefix,
        };
        let redact = self.redact_keys.or(parsed.redact_keys).unwrap_or(false);
        let keyspace = Keyspace::new(&prefix, separator)?.redacted(redact);
        if self.data_loss == DataLoss::Clear && !keyspace.has_prefix() {
            return invalid(
                "on_data_loss(DataLoss::Clear) needs a prefix: without one it would delete every key of the database, other programs' too"
                    .to_owned(),
            );
        }

        #[cfg(feature = "embedded")]
        let guarded = match &self.store {
            Some(store) => guarded_of(store, &target, mode)?,
            None => resilience::open(&target, mode)?,
        };
        #[cfg(not(feature = "embedded"))]
        let guarded = resilience::open(&target, mode)?;

        let client = Client::new(Parts {
            guarded,
            target,
            keyspace,
            telemetry: Telemetry::new(self.hooks),
            data_loss: self.data_loss,
            limit,
            codec,
        });
        client.attach_hooks();
        let settings = Settings {
            default_ttl,
            ttl_jitter,
            fallback: self.fallback,
            log_on_fallback: self.log_on_fallback,
            undelivered: self.undelivered,
            lease: lease_time,
            max_loads: self.max_loads,
            heal: self.heal,
        };
        Ok(ReadThrough::new(client, settings))
    }
}

/// The target of a client, with the options of a URL that names no server itself.
fn of_client(client: Target, url: Target) -> Result<Target> {
    let nothing_said = Place::Tcp {
        host: "localhost".to_owned(),
        port: PORT,
    };
    if url.place != nothing_said {
        return invalid(format!(
            "a client was given, but the URL names {}; with a client, the URL may only contain options, as in \
             redis://?prefix=app",
            url.place
        ));
    }
    Ok(Target {
        place: client.place,
        username: url.username.or(client.username),
        password: url.password.or(client.password),
        db: if url.db == 0 { client.db } else { url.db },
        protocol: url.protocol.or(client.protocol),
        ..url
    })
}

#[cfg(feature = "embedded")]
fn guarded_of(
    store: &nearcache_embedded::Store,
    target: &Target,
    mode: Mode,
) -> Result<std::sync::Arc<resilience::Guarded>> {
    use crate::connect::over_store;
    use crate::connect::target::Bounds;
    if target.place != (Place::Embedded { name: None }) {
        return invalid(format!(
            "a store was given, but the URL is for {}; a store needs the URL memory://",
            target.place
        ));
    }
    if target.bounds != Bounds::default() {
        return invalid(
            "a store was given, which has its own limits: remove maxmemory and policy from the URL"
                .to_owned(),
        );
    }
    let backend = over_store(store, target, mode.runtime())?;
    Ok(resilience::Guarded::new(backend, target))
}

fn invalid<T>(why: String) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidConfig, why))
}

impl<M: Executor> Builder<M> {
    /// Builds the cache. It does not connect yet: the first call does.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`], [`ErrorKind::InvalidTtl`] or [`ErrorKind::InvalidConfig`], for the first invalid
    /// option.
    pub fn build(self) -> Result<CacheOf<M>> {
        Ok(CacheOf::from_core(self.build_core(M::MODE)?))
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

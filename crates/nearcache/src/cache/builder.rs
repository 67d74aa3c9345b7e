//! Making a cache: what the URL says, what is said beside it, and what holds when neither says
//! anything.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::CacheOf;
use super::operation::{Async, Executor, Marked};
use crate::client::{Client, Parts, check_timeout};
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

/// How long Redis may take for one call, unless something else is asked for.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(500);

/// How long a load has its key to itself, unless something else is asked for, and what may be.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
pub(crate) const LEASES: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(3_600));

/// As many as a semaphore counts, on every machine.
pub(crate) const MAX_LOADS: usize = 1 << 20;

/// A cache in the making. What is said here goes before what the URL says.
///
/// ```
/// # fn main() -> nearcache::Result<()> {
/// use std::time::Duration;
/// use nearcache::Cache;
///
/// let cache = Cache::builder("redis://localhost:6379/0")
///     .prefix("myapp")
///     .default_ttl("5m")
///     .ttl_jitter(0.1)
///     .timeout(Duration::from_millis(250))
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
    timeout: Option<Duration>,
    username: Option<String>,
    password: Option<String>,
    db: Option<u32>,
    client_name: Option<String>,
    protocol: Option<Protocol>,
    pool_size: Option<usize>,
    breaker: Option<bool>,
    fallback: Fallback,
    undelivered: Undelivered,
    data_loss: DataLoss,
    lease: Option<Duration>,
    max_loads: Option<usize>,
    hooks: Hooks,
    codec: Option<Codec>,
    version: Option<String>,
    heal: bool,
    client: Option<Result<Target>>,
    #[cfg(feature = "embedded")]
    store: Option<nearcache_embedded::Store>,
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
            fallback: Fallback::Error,
            undelivered: Undelivered::Error,
            data_loss: DataLoss::Replay,
            lease: None,
            max_loads: None,
            hooks: Hooks::default(),
            codec: None,
            version: None,
            heal: true,
            client: None,
            #[cfg(feature = "embedded")]
            store: None,
            mode: PhantomData,
        }
    }

    /// What every key begins with in Redis, before the separator. The cache sees nothing outside it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// What stands between prefix and key: `:` unless said otherwise.
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = Some(separator.into());
        self
    }

    /// A part of every key, between prefix and key: entries of another version are others. A deploy in which a
    /// struct has changed never reads the old one, and both can run side by side.
    ///
    /// Invalidations reach entries of the same version only: while two versions run, each has to invalidate
    /// its own. The entries of a version that nobody runs any more stay until their TTL ends.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// How values are written: JSON, unless said otherwise. It can be changed while there are entries.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Whether an entry that cannot be decoded as what was asked for (an older struct, damage) is deleted by
    /// the `get` that found it, unless it has been written meanwhile: it is, unless said otherwise. Otherwise
    /// it stays until it is written, and `add` finds it in its way. (`remember` writes over it either way.)
    ///
    /// That is a round trip more, with the timeout to itself, for such a `get` alone; should Redis not answer, or
    /// not allow it (it is a script), the answer is the same miss, and the entry stays.
    pub fn heal(mut self, on: bool) -> Self {
        self.heal = on;
        self
    }

    /// How long an entry stays that is written without a TTL. Without this, it does not expire.
    pub fn default_ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.default_ttl = Some(ttl.into_ttl());
        self
    }

    /// Spreads every TTL uniformly within ± this ratio (0 to 1), so that what was written together
    /// does not expire together. 0, no jitter, unless said otherwise.
    pub fn ttl_jitter(mut self, ratio: f64) -> Self {
        self.ttl_jitter = Some(ratio);
        self
    }

    /// How long Redis may take for one call, connecting included: 1 ms to 1 hour, and 500 ms unless
    /// said otherwise. A call that is several round trips (a batch that is split, a scan) has it for
    /// each.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
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

    /// The number of the database: 0 unless said otherwise.
    pub fn db(mut self, db: u32) -> Self {
        self.db = Some(db);
        self
    }

    /// The name under which `CLIENT LIST` shows the connection.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    /// The protocol: RESP3 where the server knows it, else RESP2, unless said otherwise.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// How many connections blocking callers open at most, each thread that waits having one: 1 to
    /// 1,024, and 16 unless said otherwise. Async callers share one connection, whatever this is.
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = Some(connections);
        self
    }

    /// Whether the circuit breaker is on: it is, unless said otherwise. After five failures in a row it
    /// turns calls away at once, with [`ErrorKind::Unavailable`], and lets one through from time to time
    /// (after 0.1 s, then up to 2 s apart) to see whether Redis is back. Caches that share a connection
    /// share its breaker.
    pub fn breaker(mut self, on: bool) -> Self {
        self.breaker = Some(on);
        self
    }

    /// What reads answer when Redis does not: the error, unless said otherwise.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// use nearcache::{Cache, Fallback};
    ///
    /// let nobody_listens_here = "redis://127.0.0.1:1";
    /// let cache = Cache::builder(nobody_listens_here).on_unavailable(Fallback::Miss).build()?;
    /// assert_eq!(cache.get::<String>("user:1").await?, None);
    /// assert!(cache.set("user:1", "Alice").await.is_err()); // a write is told
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn on_unavailable(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    /// What the caller of an invalidation is told when Redis did not acknowledge it: the error, unless said
    /// otherwise. It is kept, and sent before anything else, either way.
    pub fn on_undelivered(mut self, undelivered: Undelivered) -> Self {
        self.undelivered = undelivered;
        self
    }

    /// What to do when Redis comes back as another server than before (it was restarted, or a replica took
    /// over) and may have lost what it had acknowledged: invalidate again what was invalidated in the
    /// last seconds, unless said otherwise.
    pub fn on_data_loss(mut self, data_loss: DataLoss) -> Self {
        self.data_loss = data_loss;
        self
    }

    /// For how long a loader has its key to itself among all processes: 100 ms to 1 hour, and 10 s unless
    /// said otherwise. A loader that takes longer renews it; if its process dies, others load after it.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = Some(time);
        self
    }

    /// How many loaders run at a time, for all keys: as many as there are, unless said otherwise. A caller
    /// who finds no place waits for one (see [`Remember::load_timeout`](super::operation::Remember)), and then
    /// fails with [`ErrorKind::Overloaded`]. A loader that itself calls `remember` has its place while it waits for
    /// the other: leave room for both.
    pub fn max_loads(mut self, loads: usize) -> Self {
        self.max_loads = Some(loads);
        self
    }

    /// Tells this hook of every call. More than one are told in the order in which they were added.
    pub fn hook(mut self, hook: impl Hook) -> Self {
        self.hooks.add(hook);
        self
    }

    /// An existing client of redis-rs: the cache goes where it goes, as the same user, to the same database and with
    /// the same protocol, over connections of its own. The URL then says options only.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = redis::Client::open("redis://localhost:6379/2")?;
    /// let cache = nearcache::Cache::builder("redis://?prefix=app").client(&client).build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What is said beside it ([`db`](Builder::db), [`username`](Builder::username), ...) goes before it. A client that
    /// goes over TLS is [`ErrorKind::InvalidConfig`] for now; so is a URL that names a server itself.
    pub fn client(mut self, client: &redis::Client) -> Self {
        self.client = Some(Target::from_client(client));
        self
    }

    /// The embedded store to use, for a `memory://` URL: one that tests move the clock of, say, or
    /// that is used beside the cache.
    #[cfg(feature = "embedded")]
    pub fn store(mut self, store: &nearcache_embedded::Store) -> Self {
        self.store = Some(store.clone());
        self
    }

    fn build_core(self, mode: Mode) -> Result<ReadThrough> {
        let mut parsed = self.url?;
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
            bounds: parsed.target.bounds,
            place: parsed.target.place,
        };
        let prefix = self.prefix.or(parsed.prefix).unwrap_or_default();
        let separator = self.separator.or(parsed.separator);
        let ttl_jitter = self.ttl_jitter.or(parsed.ttl_jitter).unwrap_or(0.0);
        let limit = self.timeout.or(parsed.timeout).unwrap_or(TIMEOUT);
        let default_ttl = self.default_ttl.transpose()?.or(parsed.default_ttl);

        if !(0.0..=1.0).contains(&ttl_jitter) {
            return invalid(format!(
                "ttl_jitter is {ttl_jitter}; it is a ratio from 0 to 1, as in 0.1 for ± 10 %"
            ));
        }
        check_timeout(limit)?;
        if !(1..=MAX_POOL_SIZE).contains(&target.pool_size) {
            return invalid(format!(
                "pool_size is {}; it is from 1 to {MAX_POOL_SIZE}",
                target.pool_size
            ));
        }
        let lease_time = self.lease.unwrap_or(LEASE);
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
        let keyspace = Keyspace::new(&prefix, separator)?;
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
            "a client was given, and the URL names {}; with a client the URL says options only, as in \
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
            "a store was given for {}; it goes with the URL memory://",
            target.place
        ));
    }
    if target.bounds != Bounds::default() {
        return invalid(
            "a store was given, which has bounds of its own: leave maxmemory and policy out of the URL"
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
    /// Makes the cache. Connects to nothing yet: that is the first call's work.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`], [`ErrorKind::InvalidTtl`] or [`ErrorKind::InvalidConfig`], for the
    /// first thing that is wrong.
    pub fn build(self) -> Result<CacheOf<M>> {
        Ok(CacheOf::from_core(self.build_core(M::MODE)?))
    }
}

/// What was said so far, without the password.
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

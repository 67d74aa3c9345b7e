//! The store: the key space and everything that belongs to it, and its life cycle.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use crate::clock::Clock;
use crate::connection::Connection;
use crate::event::{Event, Hub, Subscription};
use crate::eviction::Evictor;
use crate::exchange::Exchange;
use crate::expiry::Sweeper;
use crate::keyspace::{Keyspace, MAX_SHARDS};
use crate::limits::{Policy, Settings};
use crate::persist::{self, Loaded, Log, Persist, PersistError, Saving};
use crate::port::clients::Clients;
use crate::port::latency::Latency;
use crate::port::slow_log::SlowLog;
use crate::port::stats::Stats;
use crate::recipients::Recipients;
use crate::reply::Error;
use crate::script::{Script, Scripts};
use crate::tracking::Trackers;
use crate::waiting::Waiting;

/// An in-process Redis. Clones are handles to the same store. It is dropped with the last of its handles and
/// connections.
///
/// ```
/// let store = nearcache_embedded::Store::new();
/// let mut connection = store.connect();
/// redis::cmd("SET").arg("greeting").arg("hello").exec(&mut connection)?;
/// let greeting: String = redis::cmd("GET").arg("greeting").query(&mut connection)?;
/// assert_eq!(greeting, "hello");
/// # Ok::<(), redis::RedisError>(())
/// ```
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles and connections of a store share.
pub(crate) struct Shared {
    pub(crate) keyspace: Keyspace,
    pub(crate) databases: u32,
    pub(crate) clock: Clock,
    pub(crate) hub: Arc<Hub>,
    pub(crate) recipients: Arc<Recipients>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) trackers: Arc<Trackers>,
    pub(crate) scripts: Scripts,
    pub(crate) sweeper: Sweeper,
    pub(crate) settings: Settings,
    pub(crate) evictor: Evictor,
    pub(crate) waiting: Waiting,
    /// The append-only log, if the store has a folder; set when it was loaded.
    log: OnceLock<Arc<Log>>,
    loaded: OnceLock<Loaded>,
    pub(crate) saving: Saving,
    /// Itself, for its threads.
    pub(crate) me: Weak<Shared>,
    pub(crate) started: Instant,
    /// The value of the coarse clock at the start.
    born: u64,
    pub(crate) run_id: String,
    pub(crate) clients: Clients,
    pub(crate) stats: Stats,
    pub(crate) slow_log: SlowLog,
    pub(crate) latency: Latency,
    ids: AtomicU64,
    draws: AtomicU64,
}

impl Store {
    /// A store with the system's clock, 16 databases and no memory limit: the defaults of a server.
    #[must_use]
    pub fn new() -> Store {
        Store::builder().build()
    }

    /// A store with settings of your own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A connection of a new client, with a server's defaults: database 0, RESP2.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::new(self.shared.clone(), self.shared.next_client())
    }

    /// Lets connections run a script by its native twin: `EVAL` with its exact text, and `EVALSHA` as if it had been
    /// loaded. Registering a script again changes nothing.
    pub fn register(&self, script: Script) {
        self.shared.scripts.register(script);
    }

    /// Calls `f` for every change from now on, until the [`Subscription`] is dropped.
    ///
    /// There is one event for each command that really changed something. It comes after the change took effect and
    /// before the command returns, on the thread that ran the command. No lock is held then, so `f` may use the
    /// store, but it should be quick. Events of commands on different threads may arrive in another order than their
    /// changes took effect: read the key, and do not infer its value from events.
    ///
    /// `f` sees every change that takes effect after this call has returned. A store without subscribers pays one
    /// relaxed atomic load for each change.
    pub fn subscribe(&self, f: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Subscription {
        self.shared.hub.subscribe(Arc::new(f))
    }

    /// Removes expired keys, as many as fit into one short step, and returns how many.
    ///
    /// A store does this by itself from time to time; with a [manual clock](Clock::manual) it does not. It only
    /// matters for memory, `DBSIZE`, and the events of keys that no command asks for: no command ever returns an
    /// expired key.
    pub fn expire_cycle(&self) -> usize {
        self.shared.expire_step()
    }

    /// How many bytes of memory the keys take, the same as `used_memory` of `INFO`.
    #[must_use]
    pub fn used_memory(&self) -> usize {
        self.shared.keyspace.used()
    }

    /// How many bytes of memory the keys may take; 0 means no limit.
    #[must_use]
    pub fn max_memory(&self) -> usize {
        self.shared.settings.maxmemory.load(Ordering::Relaxed)
    }

    /// What happens when the limit is reached.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.shared.settings.policy()
    }

    /// The clock for deadlines.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }
}

/// Files: see [Persistence](crate#persistence).
impl Store {
    /// What was loaded when the store was opened; `None` if it has no folder.
    #[must_use]
    pub fn loaded(&self) -> Option<&Loaded> {
        self.shared.loaded.get()
    }

    /// Writes everything to one file, as commands, in one step: the file is complete and on the disk, or it is as
    /// before. The file holds what the store held at one moment; commands go on meanwhile.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("nearcache-save-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("copy.aof");
    /// use nearcache_embedded::Store;
    ///
    /// let store = Store::new();
    /// redis::cmd("SET").arg("key").arg("value").exec(&mut store.connect())?;
    /// store.save(&path)?;
    ///
    /// let other = Store::new();
    /// other.load(&path)?;
    /// let value: String = redis::cmd("GET").arg("key").query(&mut other.connect())?;
    /// assert_eq!(value, "value");
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file cannot be written, or another save or rewrite is under way.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PersistError> {
        self.shared.save(path.as_ref())
    }

    /// Replaces everything in the store by what a file says: one that [`save`](Store::save) wrote, or any other file
    /// of commands. Returns how many commands it ran. Keys that have expired since are left out. Other clients see
    /// the store while it is being filled.
    ///
    /// # Errors
    /// The file cannot be read, or is no whole file of commands: then nothing was changed. If one of its commands
    /// fails, what was before it is in the store.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<u64, PersistError> {
        persist::load_one(&mut self.connect(), path.as_ref())
    }

    /// Rewrites the log of a store with a folder now, and waits until that is done: as `BGREWRITEAOF` does in the
    /// background. Does nothing for a store without one.
    ///
    /// # Errors
    /// The files cannot be written, or another save or rewrite is under way. The log goes on as before.
    pub fn rewrite(&self) -> Result<(), PersistError> {
        match self.shared.log() {
            Some(log) => log.rewrite_now(&self.shared.me),
            None => Ok(()),
        }
    }

    /// Waits until everything is on the disk that was changed before this call, whatever the policy. Does nothing
    /// for a store without a folder.
    ///
    /// # Errors
    /// The disk cannot be written to.
    pub fn sync(&self) -> Result<(), PersistError> {
        self.shared.log().map_or(Ok(()), |log| log.sync_now())
    }
}

impl Shared {
    /// The append-only log, if the store has a folder, and is loaded.
    #[inline]
    pub(crate) fn log(&self) -> Option<&Arc<Log>> {
        self.log.get()
    }

    /// Why commands that change something are refused, if they are: the log cannot be written.
    #[inline]
    pub(crate) fn refuses_writes(&self) -> Option<Error> {
        let why = self.log()?.refuses()?;
        Some(persist::refusal(&why))
    }

    /// From now on changes are logged, and keys expire.
    pub(crate) fn begin_to_log(&self, log: Arc<Log>, loaded: Loaded) {
        let _ = self.loaded.set(loaded);
        let _ = self.log.set(log);
        let volatile = |index| self.keyspace.read(index).has_volatile();
        if (0..self.keyspace.shards()).any(volatile) {
            self.start_sweeper();
        }
        if self.keyspace.meter.is_over() {
            self.trim();
        }
    }

    /// When everything was last saved, in unix seconds.
    pub(crate) fn last_save(&self) -> i64 {
        self.saving.last.load(Ordering::Relaxed)
    }

    /// The id of a new client.
    pub(crate) fn next_client(&self) -> u64 {
        // Ids need to be unique, and nothing else, so relaxed ordering is enough.
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many milliseconds old the store is. It may lag by a few.
    #[inline]
    pub(crate) fn coarse_ms(&self) -> u64 {
        self.clock.coarse_ms().saturating_sub(self.born)
    }

    /// A number that nobody can predict without knowing the seed.
    pub(crate) fn random(&self) -> u64 {
        let n = self.draws.fetch_add(1, Ordering::Relaxed);
        self.keyspace.hash(&n.to_ne_bytes())
    }
}

impl Default for Store {
    fn default() -> Self {
        Store::new()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("run_id", &self.run_id)
            .field("databases", &self.databases)
            .field("shards", &self.keyspace.shards())
            .field("clock", &self.clock)
            .field("max_memory", &self.settings.maxmemory)
            .field("policy", &self.settings.policy())
            .finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        Shared::is_let_go(&self.shared);
    }
}

impl Shared {
    /// A handle is about to be dropped.
    #[inline]
    pub(crate) fn is_let_go(shared: &Arc<Shared>) {
        // Beside the last handle, a store's own threads may have it.
        const THREADS: usize = 4;
        if let Some(log) = shared.log()
            && Arc::strong_count(shared) <= 1 + THREADS
        {
            log.hand_over();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.sweeper.wake();
        if let Some(log) = self.log.get() {
            log.close();
        }
    }
}

/// Settings of a [`Store`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    clock: Clock,
    databases: u32,
    shards: usize,
    scripts: Vec<Script>,
    max_memory: usize,
    policy: Policy,
}

impl Default for Builder {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(4, usize::from);
        Builder {
            clock: Clock::system(),
            databases: 16,
            shards: (cores * 16).min(MAX_SHARDS),
            scripts: Vec::new(),
            max_memory: 0,
            policy: Policy::NoEviction,
        }
    }
}

impl Builder {
    /// The clock for deadlines; the default is the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How many databases `SELECT` can choose from, 1 to 1024; the default is 16, as on a server.
    pub fn databases(mut self, databases: u32) -> Self {
        self.databases = databases.clamp(1, 1024);
        self
    }

    /// How many locks the keys are spread over, 1 to 256, rounded up to a power of two; the default is 16 for each
    /// core.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// [Registers](Store::register) a script.
    pub fn script(mut self, script: Script) -> Self {
        self.scripts.push(script);
        self
    }

    /// How many bytes of memory the keys may take; the default is 0, which means no limit. The
    /// [`policy`](Builder::policy) decides what happens when the limit is reached. `CONFIG SET maxmemory` changes it
    /// later.
    ///
    /// ```
    /// use nearcache_embedded::{Policy, Store};
    ///
    /// let store = Store::builder().max_memory(64 << 20).policy(Policy::AllKeysLfu).build();
    /// assert_eq!(store.max_memory(), 64 << 20);
    /// ```
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.max_memory = bytes;
        self
    }

    /// What happens when the keys exceed the memory limit; the default is [`Policy::NoEviction`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Keeps the store in a folder, which is a server's `dir`: `redis-server --dir PATH --appendonly yes` starts on it
    /// (not at the same time), and a folder that a server wrote with `aof-use-rdb-preamble no` opens here. Other
    /// settings are made before this.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("nearcache-persist-{}", std::process::id()));
    /// use nearcache_embedded::{Fsync, Store};
    ///
    /// let open = || Store::builder().persist(&path).appendfsync(Fsync::Always).open();
    /// let store = open()?;
    /// redis::cmd("SET").arg("key").arg("value").exec(&mut store.connect())?;
    /// drop(store);
    ///
    /// let value: String = redis::cmd("GET").arg("key").query(&mut open()?.connect())?;
    /// assert_eq!(value, "value");
    /// # std::fs::remove_dir_all(&path).unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn persist(self, path: impl Into<PathBuf>) -> Persist {
        Persist::new(self, path.into())
    }

    /// Builds the store.
    #[must_use]
    pub fn build(self) -> Store {
        let keyspace = Keyspace::new(self.shards);
        keyspace.set_limit(self.max_memory);
        let scripts = Scripts::default();
        self.scripts
            .into_iter()
            .for_each(|script| scripts.register(script));
        // 160 random bits in hexadecimal, drawn through the seeded hash.
        let words = (0u8..3).map(|n| format!("{:016x}", keyspace.hash(&[n])));
        let run_id = words.collect::<String>()[..40].to_owned();
        let born = self.clock.coarse_ms();
        let (hub, recipients) = (Arc::<Hub>::default(), Arc::<Recipients>::default());
        let shared = Arc::new_cyclic(|shared| Shared {
            keyspace,
            databases: self.databases,
            clock: self.clock,
            trackers: Arc::new(Trackers::new(hub.clone(), recipients.clone())),
            exchange: Arc::default(),
            recipients,
            hub,
            scripts,
            sweeper: Sweeper::of(shared.clone()),
            settings: Settings::new(self.max_memory, self.policy),
            evictor: Evictor::default(),
            waiting: Waiting::default(),
            log: OnceLock::new(),
            loaded: OnceLock::new(),
            saving: Saving::default(),
            me: shared.clone(),
            started: Instant::now(),
            born,
            run_id,
            clients: Clients::default(),
            stats: Stats::default(),
            slow_log: SlowLog::default(),
            latency: Latency::default(),
            ids: AtomicU64::new(0),
            draws: AtomicU64::new(0),
        });
        shared.clock.tell(&shared.me);
        shared.note_saved();
        Store { shared }
    }
}

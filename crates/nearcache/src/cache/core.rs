//! What a cache is made of, whoever calls it: where its keys lie, its defaults, the way to the
//! server, and what it counts.

use std::fmt;
use std::ops::{Deref, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::sync::Semaphore;

use super::batch::parts;
use super::invalidate::Undelivered;
use super::stats::{Counters, Stats};
use crate::codec::Codec;
use crate::connect::LinkEvent;
use crate::connect::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{Call, Hooks, Keys, Outcome, StatsHandle, Telling, Watch};
use crate::keyspace::{Keyspace, StoredKey};
use crate::read_through::entry::Judgement;
use crate::read_through::flight::Flights;
use crate::resilience::{DataLoss, Fallback, Gate, Guarded, LastSeen, Mark, Outbox, Pass};
use crate::runtime::Runtime;
use crate::script::{self, Input, Script};
use crate::striped::Striped;
use crate::ttl::Ttl;

/// A cache, as its verbs see it. Cheap to clone; clones share everything but the limit.
#[derive(Clone)]
pub(crate) struct Core {
    shared: Arc<Shared>,
    /// How long Redis may take for one call.
    pub(super) limit: Duration,
    /// How values are written.
    codec: Codec,
    /// Where the call that this is a handle of notes how it went, if somebody wants to know.
    watch: Option<Arc<Watch>>,
}

/// What clones share.
pub(crate) struct Shared {
    gate: Gate,
    flights: Arc<Flights>,
    pub(super) target: Target,
    pub(super) keyspace: Keyspace,
    pub(super) default_ttl: Option<Ttl>,
    pub(super) ttl_jitter: f64,
    pub(super) fallback: Fallback,
    pub(super) undelivered: Undelivered,
    data_loss: DataLoss,
    lease_time: Duration,
    loads: Option<Semaphore>,
    hooks: Hooks,
    /// Whether an entry that cannot be decoded is deleted.
    pub(super) heal: bool,
    /// What was read last, if the fallback answers with it.
    last_seen: Option<LastSeen>,
    counters: Arc<Striped<Counters>>,
    listener: u64,
}

/// What a cache is built from.
pub(super) struct Parts {
    pub(super) guarded: Arc<Guarded>,
    pub(super) target: Target,
    pub(super) keyspace: Keyspace,
    pub(super) default_ttl: Option<Ttl>,
    pub(super) ttl_jitter: f64,
    pub(super) limit: Duration,
    pub(super) fallback: Fallback,
    pub(super) undelivered: Undelivered,
    pub(super) data_loss: DataLoss,
    pub(super) lease_time: Duration,
    pub(super) max_loads: Option<usize>,
    pub(super) hooks: Hooks,
    pub(super) codec: Codec,
    pub(super) heal: bool,
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            guarded,
            target,
            keyspace,
            default_ttl,
            ttl_jitter,
            limit,
            fallback,
            undelivered,
            data_loss,
            lease_time,
            max_loads,
            hooks,
            codec,
            heal,
        } = parts;
        let last_seen = matches!(fallback, Fallback::Stale).then(LastSeen::new);
        if data_loss == DataLoss::Clear {
            guarded.clear_on_loss(&keyspace);
        }
        let counters = Arc::<Striped<Counters>>::default();
        let counted = Arc::clone(&counters);
        let count = Arc::clone(&counters);
        let listener = guarded.listen(Arc::new(move |event| match event {
            LinkEvent::Ready { .. } => count.mine().connects.add(1),
            LinkEvent::Lost => count.mine().losses.add(1),
            LinkEvent::Dropped => {}
        }));
        let shared = Shared {
            flights: Flights::of(&guarded),
            gate: Gate::new(guarded),
            target,
            keyspace,
            default_ttl,
            ttl_jitter,
            fallback,
            undelivered,
            data_loss,
            lease_time,
            loads: max_loads.map(Semaphore::new),
            hooks,
            heal,
            last_seen,
            counters,
            listener,
        };
        let shared = Arc::new(shared);
        shared
            .hooks
            .attached(&StatsHandle::new(&shared, Shared::stats, move || {
                Counters::sum(&counted)
            }));
        Core {
            shared,
            limit,
            codec,
            watch: None,
        }
    }

    /// The same cache, with another limit.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        Core {
            limit,
            ..self.clone()
        }
    }

    /// The same cache, writing otherwise.
    ///
    /// # Errors
    /// With the first write: what this build does not have.
    pub(crate) fn with_codec(&self, codec: Codec) -> Self {
        Core {
            codec,
            ..self.clone()
        }
    }

    /// How values are written.
    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Does the work of a verb, and tells the hooks of it.
    pub(super) async fn watched<T>(
        &self,
        command: &'static str,
        keys: Keys<'_>,
        work: impl AsyncFnOnce(&Core) -> Result<T>,
    ) -> Result<T> {
        let Some(telling) = self.telling(command, keys) else {
            return work(self).await;
        };
        let core = Core {
            watch: Some(Arc::clone(telling.watch())),
            ..self.clone()
        };
        // Boxed, so that a call that nobody watches is no larger for it.
        let outcome = Box::pin(Telling::within(Some(&telling), || work(&core))).await;
        telling.ended(outcome.as_ref().err());
        outcome
    }

    /// Tells the hooks of a call that begins, if there are any.
    pub(crate) fn telling<'c>(
        &'c self,
        command: &'static str,
        keys: Keys<'c>,
    ) -> Option<Telling<'c>> {
        if self.hooks.is_empty() {
            return None;
        }
        let call = Call::new(command, keys, self.host(), self.target.db);
        Some(Telling::begin(&self.hooks, call, self.runtime()))
    }

    /// Whether anybody is told of calls.
    pub(crate) fn has_hooks(&self) -> bool {
        !self.hooks.is_empty()
    }

    /// Notes what came of the call, for its hooks.
    pub(crate) fn note(&self, outcome: Outcome, bytes: usize) {
        if let Some(watch) = &self.watch {
            watch.note(outcome, bytes);
        }
    }

    /// Lets a call in.
    ///
    /// # Errors
    /// `Closed`, once it was.
    pub(super) fn enter(&self) -> Result<Pass<'_>> {
        check_timeout(self.limit)?;
        self.gate.enter()
    }

    /// One command.
    pub(crate) async fn request(&self, command: &Cmd) -> Result<Value> {
        let call = self.enter()?;
        call.guarded().request(command, self.limit).await
    }

    /// One command about one key.
    pub(super) async fn call(&self, command: &Cmd, key: &StoredKey) -> Result<Value> {
        self.request(command)
            .await
            .map_err(|error| error.for_key(key.user()))
    }

    pub(super) async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let call = self.enter()?;
        call.guarded().pipeline(pipeline, self.limit).await
    }

    /// A script, by its name, or by its text where the server does not know it yet.
    pub(crate) async fn run(&self, script: &Script, call: &Input) -> Result<Value> {
        match self.request(&script.by_name(call)).await {
            Err(error) if script::unknown(&error) => self.request(&script.by_text(call)).await,
            reply => reply,
        }
    }

    /// A script, called often in as few round trips as its size allows. The replies are in the order of
    /// the calls.
    pub(crate) async fn run_many(
        &self,
        script: &Script,
        calls: &[Input],
    ) -> Result<Vec<Result<Value>>> {
        let mut replies = Vec::with_capacity(calls.len());
        for part in parts(calls, Input::bytes) {
            let mut pipeline = Pipeline::with_capacity(part.len());
            for call in part {
                pipeline.add_command(script.by_name(call));
            }
            for (reply, call) in self.pipeline(&pipeline).await?.into_iter().zip(part) {
                let reply = match reply {
                    Value::ServerError(error) => Err(Error::from_server(&error)),
                    reply => Ok(reply),
                };
                replies.push(match reply {
                    Err(error) if script::unknown(&error) => self.run(script, call).await,
                    reply => reply.map_err(|error| error.on_host(self.host())),
                });
            }
        }
        Ok(replies)
    }

    pub(super) fn guarded(&self) -> &Arc<Guarded> {
        self.gate.guarded()
    }

    pub(super) fn outbox(&self) -> &Outbox {
        self.gate.guarded().outbox()
    }

    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.flights
    }

    pub(crate) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    pub(crate) fn unix_millis(&self) -> u64 {
        self.gate.guarded().unix_millis()
    }

    /// How long a load has its key to itself, unless it renews that.
    pub(crate) fn lease(&self) -> Duration {
        self.lease_time
    }

    /// The places for loads, where their number is bounded.
    pub(crate) fn loads(&self) -> Option<&Semaphore> {
        self.loads.as_ref()
    }

    pub(crate) fn jittered(&self, ttl: Ttl) -> Ttl {
        ttl.jittered(self.ttl_jitter)
    }

    /// Before a read is sent whose answer is to be kept: see [`Core::keep`].
    pub(crate) fn mark(&self, key: &StoredKey) -> Option<Mark> {
        Some(self.last_seen.as_ref()?.mark(key.as_bytes()))
    }

    /// Keeps what was read, for when Redis is away.
    pub(crate) fn keep(&self, key: &StoredKey, entry: &[u8], mark: Option<Mark>) {
        if let (Some(seen), Some(mark)) = (&self.last_seen, mark) {
            seen.keep(key.as_bytes(), entry, mark);
        }
    }

    /// Keeps what was read and judged, or forgets what was read before it: what is dead, or gone, is no
    /// answer while Redis is away either.
    pub(super) fn saw(
        &self,
        key: &StoredKey,
        entry: Option<&crate::read_through::entry::Entry>,
        judgement: Judgement,
        mark: Option<Mark>,
    ) {
        match (entry, &self.last_seen) {
            (Some(entry), _) if judgement != Judgement::Dead => {
                self.keep(key, entry.bytes(), mark);
            }
            (_, Some(seen)) => seen.forget(key.as_bytes()),
            (_, None) => {}
        }
    }

    /// Whether this process keeps values beside Redis.
    pub(super) fn holds_values(&self) -> bool {
        self.last_seen.is_some()
    }

    /// What this process holds of a key is worth nothing any more.
    pub(super) fn poison(&self, key: &StoredKey) {
        if let Some(seen) = &self.last_seen {
            seen.poison(key.as_bytes());
        }
    }

    /// What this process holds of any key.
    pub(super) fn poison_all(&self) {
        if let Some(seen) = &self.last_seen {
            seen.poison_all();
        }
    }

    /// What was read last of a key.
    pub(super) fn last_seen(&self, key: &StoredKey) -> Option<Vec<u8>> {
        let entry = self.last_seen.as_ref()?.get(key.as_bytes())?;
        Some(entry.to_vec())
    }

    pub(super) fn host(&self) -> &Arc<str> {
        self.gate.guarded().host()
    }

    /// What this thread counts in.
    pub(crate) fn counters(&self) -> &Counters {
        self.counters.mine()
    }

    pub(super) fn stored(&self, key: &[u8]) -> Result<StoredKey> {
        self.keyspace.stored(key)
    }

    pub(super) fn close(&self) {
        self.gate.close();
    }

    pub(super) async fn drained(&self) {
        self.gate.drained().await;
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.gate.guarded().runtime()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.gate.is_open()
    }

    /// `Debug` of the faces: where it goes, never the password.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("target", &self.target)
            .field("keyspace", &self.keyspace)
            .field("default_ttl", &self.default_ttl)
            .field("ttl_jitter", &self.ttl_jitter)
            .field("timeout", &self.limit)
            .field("codec", &self.codec)
            .field("on_unavailable", &self.fallback)
            .field("on_undelivered", &self.undelivered)
            .field("on_data_loss", &self.data_loss)
            .field("lease", &self.lease_time)
            .field("open", &self.is_open())
            .finish()
    }
}

impl Shared {
    pub(crate) fn stats(&self) -> Stats {
        let breaker = self.gate.guarded().breaker();
        Stats {
            breaker: breaker.state(),
            breaker_openings: breaker.openings(),
            invalidations_waiting: self.gate.guarded().outbox().waiting() as u64,
            ..Counters::sum(&self.counters)
        }
    }
}

/// A core is a handle to what it shares.
impl Deref for Core {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// `Core` as the operations that cross to other tasks show it.
impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, "Core")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.gate.guarded().unlisten(self.listener);
        if self.data_loss == DataLoss::Clear {
            self.gate.guarded().keep_on_loss(&self.keyspace);
        }
    }
}

/// What a timeout can be: beyond an hour, a call that hangs is a call that hangs.
pub(crate) const TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(60 * 60);

/// # Errors
/// `InvalidConfig` for a timeout out of its range.
pub(super) fn check_timeout(limit: Duration) -> Result<()> {
    if TIMEOUTS.contains(&limit) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidConfig,
        format!("timeout is {limit:?}; it is from 1ms to 1h"),
    ))
}

/// What a reply must be for the command that it answers.
pub(super) mod reply {
    use super::{Error, Result, Value};

    pub(in crate::cache) fn integer(command: &str, reply: &Value) -> Result<i64> {
        match reply {
            Value::Int(number) => Ok(*number),
            other => Err(Error::unexpected(command, other)),
        }
    }

    /// 1 and 0, as `DEL` and `EXPIRE` answer.
    pub(in crate::cache) fn flag(command: &str, reply: &Value) -> Result<bool> {
        Ok(integer(command, reply)? != 0)
    }

    pub(in crate::cache) fn count(command: &str, reply: &Value) -> Result<u64> {
        Ok(integer(command, reply)?.try_into().unwrap_or(0))
    }

    /// A string or nil.
    pub(in crate::cache) fn bytes(command: &str, reply: Value) -> Result<Option<Vec<u8>>> {
        match reply {
            Value::BulkString(bytes) => Ok(Some(bytes)),
            Value::Nil => Ok(None),
            other => Err(Error::unexpected(command, &other)),
        }
    }

    /// OK, or nil where a condition was not met.
    pub(in crate::cache) fn stored(command: &str, reply: &Value) -> Result<bool> {
        match reply {
            Value::Okay => Ok(true),
            Value::Nil => Ok(false),
            other => Err(Error::unexpected(command, other)),
        }
    }
}

//! Sending the cache's commands to a server, each within its time limit, and telling the hooks.
//!
//! A [`Client`] has the naming of keys (`keyspace`), the writing of values (`codec`), the time limit for a call, and
//! the observers (`hooks`). It sends commands, pipelines and scripts through the [`Gate`], which `close` shuts. It does
//! not know what the commands are for: that is the task of the layers above, `read_through` and `cache`.
//!
//! `scripts` runs scripts, one or many; `batch` splits what is too large for one round trip; `reply` parses the replies of
//! commands; `commands` asks the server which arguments of a command are keys.

pub(crate) mod batch;
mod commands;
pub(crate) mod reply;
mod scripts;
mod timeout;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use crate::codec::Codec;
use crate::connect::LinkEvent;
use crate::connect::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{
    Call, CallKeys, Counter, Counters, Outcome, Stats, StatsHandle, Telemetry, Telling, Watch,
};
use crate::keyspace::{Keyspace, StoredKey};
use crate::resilience::{Closing, DataLoss, Gate, Guarded, Outbox, Pass, Seldom, Steps, Words};
use crate::runtime::Runtime;
pub(crate) use timeout::{TIMEOUTS, check_timeout, duration_of, timeout_of};

/// A connection to the server, as a cache uses it. Cheap to clone; clones share everything except limit and codec.
#[derive(Clone)]
pub(crate) struct Client {
    shared: Arc<Shared>,
    /// How long Redis may take for one call.
    limit: Duration,
    /// Why the limit is none, or out of its range: then calls fail.
    no_limit: Option<Error>,
    codec: Codec,
    /// Where the running call notes its outcome, if there are hooks.
    watch: Option<Arc<Watch>>,
    /// The near tier that knows what this client writes; 0: none does.
    sender: usize,
    /// The load that this client serves. It may send its commands while the cache closes.
    load: Option<Arc<Load>>,
}

/// A load under way. `close` waits until it is dropped.
struct Load(Arc<Shared>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.gate.end_load();
    }
}

/// Adds to the statistics what others count.
type Count = dyn Fn(&mut Stats) + Send + Sync;

/// The part that clones share.
struct Shared {
    gate: Gate,
    target: Target,
    keyspace: Keyspace,
    telemetry: Telemetry,
    data_loss: DataLoss,
    /// Whether it does as if the keys were spread over several slots, wherever they are.
    spread: bool,
    listener: u64,
    /// What the server says about its commands.
    commands: commands::Commands,
    /// Adds to the statistics.
    more: Arc<OnceLock<Box<Count>>>,
    /// When it was last logged that Redis refuses, and that a loaded value cannot be stored.
    said_degraded: Seldom,
    said_not_stored: Seldom,
}

/// The parts for a new client.
pub(crate) struct Parts {
    pub(crate) guarded: Arc<Guarded>,
    pub(crate) target: Target,
    pub(crate) keyspace: Keyspace,
    pub(crate) telemetry: Telemetry,
    pub(crate) data_loss: DataLoss,
    pub(crate) limit: Duration,
    pub(crate) codec: Codec,
    /// Whether it does as if the keys were spread over several slots, wherever they are.
    pub(crate) spread: bool,
}

impl Client {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            guarded,
            target,
            keyspace,
            telemetry,
            data_loss,
            limit,
            codec,
            spread,
        } = parts;
        if data_loss == DataLoss::Clear {
            guarded.clear_on_loss(&keyspace);
        }
        let links = telemetry.clone();
        let listener = guarded.listen(Arc::new(move |event| match event {
            LinkEvent::Ready { .. } => links.counters().connects.add(1),
            LinkEvent::Lost => links.counters().losses.add(1),
            LinkEvent::Dropped
            | LinkEvent::Moved
            | LinkEvent::Invalidated { .. }
            | LinkEvent::Flushed => {}
        }));
        let shared = Shared {
            gate: Gate::new(guarded),
            target,
            keyspace,
            telemetry,
            data_loss,
            spread,
            listener,
            commands: commands::Commands::default(),
            more: Arc::default(),
            said_degraded: Seldom::default(),
            said_not_stored: Seldom::default(),
        };
        Client {
            shared: Arc::new(shared),
            limit,
            no_limit: check_timeout(limit).err(),
            codec,
            watch: None,
            sender: 0,
            load: None,
        }
    }

    /// Gives the hooks a handle to this client's statistics.
    pub(crate) fn attach_hooks(&self) {
        let (counted, more) = (self.shared.telemetry.clone(), Arc::clone(&self.shared.more));
        let handle = StatsHandle::new(&self.shared, Shared::stats, move || {
            let mut stats = counted.stats();
            if let Some(more) = more.get() {
                more(&mut stats);
            }
            stats
        });
        self.shared.telemetry.hooks().attached(&handle);
    }

    /// The same client for the other kind of caller (async or blocking).
    ///
    /// # Errors
    /// Those of [`resilience::open`].
    #[cfg(feature = "blocking")]
    pub(crate) fn in_mode(&self, mode: crate::connect::Mode) -> Result<Self> {
        let guarded = self.guarded().in_mode(&self.shared.target, mode)?;
        Ok(Client::new(Parts {
            guarded,
            target: self.shared.target.clone(),
            keyspace: self.shared.keyspace.clone(),
            telemetry: self.shared.telemetry.clone(),
            data_loss: self.shared.data_loss,
            limit: self.limit,
            codec: self.codec.clone(),
            spread: self.shared.spread,
        }))
    }

    /// The same client with another time limit. If that is none, its calls fail with this error.
    pub(crate) fn within(&self, limit: Result<Duration>) -> Self {
        let (limit, no_limit) = match limit {
            Ok(limit) => (limit, check_timeout(limit).err()),
            Err(error) => (Duration::ZERO, Some(error)),
        };
        Client {
            limit,
            no_limit,
            ..self.clone()
        }
    }

    /// The same client with another codec. If this build does not support it, the first write fails.
    pub(crate) fn with_codec(&self, codec: Codec) -> Self {
        Client {
            codec,
            ..self.clone()
        }
    }

    /// The same client, for one call that hooks watch.
    pub(crate) fn watched_by(&self, watch: &Arc<Watch>) -> Self {
        Client {
            watch: Some(Arc::clone(watch)),
            ..self.clone()
        }
    }

    /// The same client, whose writes this near tier announces to itself.
    pub(crate) fn sending_for(&self, tier: usize) -> Self {
        Client {
            sender: tier,
            ..self.clone()
        }
    }

    /// Whether a call may be answered without asking Redis: the cache is open, and its limit is one.
    #[inline]
    pub(crate) fn may_answer(&self) -> bool {
        self.shared.gate.is_open() && self.no_limit.is_none()
    }

    /// Adds to the statistics what others count. What only grows is still asked for when the client is gone.
    pub(crate) fn count_more(&self, count: impl Fn(&mut Stats) + Send + Sync + 'static) {
        let _ = self.shared.more.set(Box::new(count));
    }

    /// Tells the hooks that a call begins, if there are any.
    pub(crate) fn telling<'c>(
        &'c self,
        verb: &'static str,
        keys: CallKeys<'c>,
    ) -> Option<Telling<'c>> {
        let hooks = self.shared.telemetry.hooks();
        if hooks.is_empty() {
            return None;
        }
        let call = Call::new(verb, keys, self.host(), self.shared.target.db);
        let call = call.redacted(self.shared.keyspace.redacts());
        Some(Telling::begin(hooks, call, self.runtime()))
    }

    /// Whether there are hooks.
    #[inline]
    pub(crate) fn has_hooks(&self) -> bool {
        !self.shared.telemetry.hooks().is_empty()
    }

    /// Notes the outcome of the call, for its hooks.
    #[inline]
    pub(crate) fn note(&self, outcome: Outcome, bytes: usize) {
        if let Some(watch) = &self.watch {
            watch.note(outcome, bytes);
        }
    }

    /// Notes that a call goes on without Redis, because of this error.
    pub(crate) fn note_degraded(&self, error: &Error) {
        self.counters().degraded.add(1);
        if let Some(watch) = &self.watch {
            watch.note_degraded(error.kind());
        }
        if is_refusal(error) && self.shared.said_degraded.may(self.runtime().now()) {
            tracing::warn!(%error, "Redis refuses what remember needs: loaders run, and their values may not be stored");
        }
    }

    /// Notes that a call is answered without Redis, because of this error.
    pub(crate) fn note_answered_without(&self, error: &Error) {
        self.counters().fallbacks.add(1);
        if let Some(watch) = &self.watch {
            watch.note_degraded(error.kind());
        }
        if is_refusal(error) && self.shared.said_degraded.may(self.runtime().now()) {
            tracing::warn!(%error, "Redis refuses what a rate limiter needs: it is answered without Redis");
        }
    }

    /// Logs, now and then, that a loaded value is returned and not stored.
    pub(crate) fn warn_not_stored(&self, error: &Error) {
        if self.shared.said_not_stored.may(self.runtime().now()) {
            tracing::warn!(%error, "a loaded value is returned, but cannot be stored");
        }
    }

    /// Admits a call.
    ///
    /// # Errors
    /// `Closed`, after the cache was closed. `InvalidConfig`, for a limit out of its range.
    pub(crate) fn enter(&self) -> Result<Pass<'_>> {
        self.check_limit()?;
        self.shared.gate.enter(self.load.is_some())
    }

    fn check_limit(&self) -> Result<()> {
        match &self.no_limit {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// The same client for a load, which may end while the cache closes.
    ///
    /// # Errors
    /// `Closed`, after the cache was closed.
    pub(crate) fn begin_load(&self) -> Result<Self> {
        self.check_limit()?;
        self.as_load(self.load.is_some())
    }

    /// The same client, for giving back leases while the cache closes.
    pub(crate) fn begin_release(&self) -> Result<Self> {
        self.as_load(true)
    }

    fn as_load(&self, while_closing: bool) -> Result<Self> {
        self.shared.gate.begin_load(while_closing)?;
        Ok(Client {
            load: Some(Arc::new(Load(Arc::clone(&self.shared)))),
            ..self.clone()
        })
    }

    /// Sends one command.
    pub(crate) async fn request(&self, command: &Cmd) -> Result<Value> {
        let pass = self.enter()?;
        if self.sender != 0 {
            let sent = pass.guarded().request_by(self.sender, command, self.limit);
            return Box::pin(sent).await;
        }
        pass.guarded().request(command, self.limit).await
    }

    /// Sends one command about one key, which an error names.
    pub(crate) async fn request_for(&self, key: &StoredKey, command: &Cmd) -> Result<Value> {
        self.request(command)
            .await
            .map_err(|error| error.for_key(key))
    }

    /// Sends a command about one key that only reads, to a replica where that is asked for.
    pub(crate) async fn read_for(&self, key: &StoredKey, command: &Cmd) -> Result<Value> {
        let pass = self.enter()?;
        let reply = pass.guarded().read(command, self.limit).await;
        reply.map_err(|error| error.for_key(key))
    }

    /// Sends a command about one key that only reads, given as its words.
    pub(crate) async fn request_words(&self, words: &[&[u8]]) -> Result<Value> {
        let pass = self.enter()?;
        let guarded = pass.guarded();
        guarded.request_words(Words(words), self.limit).await
    }

    /// The reply of a store in this process to a command about one key, given as its words. `None`: send it the usual
    /// way, which also says what is wrong.
    #[inline]
    pub(crate) fn words_here(&self, words: &[&[u8]]) -> Option<Value> {
        if !self.guarded().is_here() {
            return None;
        }
        let pass = self.enter().ok()?;
        pass.guarded().words_here(words)
    }

    /// Its replies to commands that take effect together, given as their words in a row and where each of them ends.
    #[inline]
    pub(crate) fn steps_here(&self, words: &[&[u8]], ends: &[usize]) -> Option<Vec<Value>> {
        let pass = self.enter().ok()?;
        pass.guarded().steps_here(words, ends)
    }

    /// [`request_words`](Client::request_words), to a replica where that is asked for.
    pub(crate) async fn read_words(&self, words: &[&[u8]]) -> Result<Value> {
        let pass = self.enter()?;
        pass.guarded().read_words(Words(words), self.limit).await
    }

    /// Sends commands that take effect together. Error replies are among the replies.
    pub(crate) async fn steps(&self, steps: &Steps<'_>) -> Result<Vec<Value>> {
        let pass = self.enter()?;
        if self.sender != 0 {
            let sent = pass.guarded().steps_by(self.sender, steps, self.limit);
            return Box::pin(sent).await;
        }
        pass.guarded().steps(steps, self.limit).await
    }

    /// Sends a command that only reads, to a replica where that is asked for.
    pub(crate) async fn read(&self, command: &Cmd) -> Result<Value> {
        let pass = self.enter()?;
        pass.guarded().read(command, self.limit).await
    }

    /// The same for commands that only read.
    pub(crate) async fn read_together(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let pass = self.enter()?;
        pass.guarded().read_together(pipeline, self.limit).await
    }

    /// Sends commands together. Error replies are among the replies.
    pub(crate) async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let pass = self.enter()?;
        if self.sender != 0 {
            let sent = pass
                .guarded()
                .pipeline_by(self.sender, pipeline, self.limit);
            return Box::pin(sent).await;
        }
        pass.guarded().pipeline(pipeline, self.limit).await
    }

    /// Sends commands that a caller wants to take effect together or not at all.
    pub(crate) async fn transaction(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let pass = self.enter()?;
        pass.guarded().transaction(pipeline, self.limit).await
    }

    pub(crate) fn keyspace(&self) -> &Keyspace {
        &self.shared.keyspace
    }

    /// The stored form of a user's key.
    ///
    /// # Errors
    /// `InvalidKey`.
    #[inline]
    pub(crate) fn stored(&self, key: &[u8]) -> Result<StoredKey> {
        self.shared.keyspace.stored(key)
    }

    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The number of the database.
    pub(crate) fn db(&self) -> u32 {
        self.shared.target.db
    }

    /// The guarded backend, for uses that are no call.
    pub(crate) fn guarded(&self) -> &Arc<Guarded> {
        self.shared.gate.guarded()
    }

    pub(crate) fn host(&self) -> &Arc<str> {
        self.guarded().host()
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.guarded().runtime()
    }

    /// The time in Unix milliseconds.
    pub(crate) fn unix_millis(&self) -> u64 {
        self.guarded().unix_millis()
    }

    /// The time in Unix milliseconds by the clock of the store, if that is in this process: it decides what has expired.
    pub(crate) fn store_millis(&self) -> Option<u64> {
        self.guarded().store_millis()
    }

    /// Whether the keys are in several slots, as in a Cluster: then a script or a `MULTI` names keys of one slot only.
    pub(crate) fn is_spread(&self) -> bool {
        self.shared.spread || self.guarded().is_spread()
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        self.guarded().outbox()
    }

    /// The counters of this thread.
    pub(crate) fn counters(&self) -> &Counters {
        self.shared.telemetry.counters()
    }

    /// Adds to some counters of this thread: what is done with every call.
    #[inline]
    pub(crate) fn count<const N: usize>(
        &self,
        which: impl for<'c> Fn(&'c Counters) -> [(&'c Counter, u64); N],
    ) {
        self.shared.telemetry.count(which);
    }

    pub(crate) fn count_write(&self, bytes: usize) {
        self.counters().writes.add(1);
        self.counters().bytes_out.add(bytes as u64);
    }

    pub(crate) fn stats(&self) -> Stats {
        self.shared.stats()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.shared.gate.is_open()
    }

    /// Closes the connections, also those that it shares with other caches: later calls connect anew. A closed cache has
    /// none any more.
    #[cfg(feature = "config")]
    pub(crate) fn disconnect(&self) {
        if self.is_open() {
            self.guarded().disconnect();
        }
    }

    /// Waits until the cache closes.
    pub(crate) async fn closed(&self) {
        self.shared.gate.closed().await;
    }

    /// Admits no more calls. The loads under way go on, until the returned value is dropped.
    pub(crate) fn begin_closing(&self) -> Closing<'_> {
        self.shared.gate.close()
    }

    /// Adds the client's fields to `Debug`: place and settings, never the password.
    pub(crate) fn describe(&self, f: &mut fmt::DebugStruct<'_, '_>) {
        f.field("target", &self.shared.target)
            .field("keyspace", &self.shared.keyspace)
            .field("timeout", &self.limit)
            .field("codec", &self.codec)
            .field("on_data_loss", &self.shared.data_loss)
            .field("open", &self.is_open());
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Client");
        self.describe(&mut shown);
        shown.finish()
    }
}

impl Shared {
    fn stats(&self) -> Stats {
        let guarded = self.gate.guarded();
        let (batches, batched_calls) = guarded.batches();
        let mut stats = Stats {
            batches,
            batched_calls,
            breaker: guarded.breaker_state(),
            breaker_openings: guarded.breaker_openings(),
            invalidations_waiting: guarded.outbox().waiting() as u64,
            sweeps_waiting: guarded.outbox().sweeps() as u64,
            ..self.telemetry.stats()
        };
        if let Some(more) = self.more.get() {
            more(&mut stats);
        }
        stats
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

/// Whether Redis refuses. (What keeps it away altogether is logged by the breaker.)
fn is_refusal(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable
    )
}

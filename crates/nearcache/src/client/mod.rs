//! What the cache says to a server: one call, within its limit, told to whoever watches.
//!
//! A [`Client`] knows how keys are named (`keyspace`), how values are written (`codec`), how long Redis may take
//! for a call, and who is told of it (`hooks`). It sends commands, pipelines and scripts through the
//! [`Gate`], which `close` shuts. What the commands are for, the layers above know: `read_through`
//! keeps values right, the faces name the verbs.
//!
//! `batch` splits what is too large for one round trip; `reply` reads what a command answers.

pub(crate) mod batch;
pub(crate) mod reply;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use crate::codec::Codec;
use crate::connect::target::Target;
use crate::connect::{LinkEvent, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{
    Call, CallKeys, Counters, Outcome, Stats, StatsHandle, Telemetry, Telling, Watch,
};
use crate::keyspace::{Keyspace, StoredKey};
use crate::resilience::{DataLoss, Gate, Guarded, Outbox, Pass};
use crate::runtime::Runtime;
use crate::script::{self, Input, Script};
use batch::parts;

/// A way to the server. Cheap to clone; clones share everything but limit and codec.
#[derive(Clone)]
pub(crate) struct Client {
    shared: Arc<Shared>,
    /// How long Redis may take for one call.
    limit: Duration,
    codec: Codec,
    /// Where the call under way notes its outcome, if hooks want to know.
    watch: Option<Arc<Watch>>,
}

/// What clones share.
struct Shared {
    gate: Gate,
    target: Target,
    keyspace: Keyspace,
    telemetry: Telemetry,
    data_loss: DataLoss,
    listener: u64,
}

/// What a client is made from.
pub(crate) struct Parts {
    pub(crate) guarded: Arc<Guarded>,
    pub(crate) target: Target,
    pub(crate) keyspace: Keyspace,
    pub(crate) telemetry: Telemetry,
    pub(crate) data_loss: DataLoss,
    pub(crate) limit: Duration,
    pub(crate) codec: Codec,
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
        } = parts;
        if data_loss == DataLoss::Clear {
            guarded.clear_on_loss(&keyspace);
        }
        let links = telemetry.clone();
        let listener = guarded.listen(Arc::new(move |event| match event {
            LinkEvent::Ready { .. } => links.counters().connects.add(1),
            LinkEvent::Lost => links.counters().losses.add(1),
            LinkEvent::Dropped => {}
        }));
        let shared = Shared {
            gate: Gate::new(guarded),
            target,
            keyspace,
            telemetry,
            data_loss,
            listener,
        };
        Client {
            shared: Arc::new(shared),
            limit,
            codec,
            watch: None,
        }
    }

    /// Gives the hooks a way to what this client counts.
    pub(crate) fn attach_hooks(&self) {
        let counted = self.shared.telemetry.clone();
        let handle = StatsHandle::new(&self.shared, Shared::stats, move || counted.stats());
        self.shared.telemetry.hooks().attached(&handle);
    }

    /// The same client for callers that wait in another way.
    ///
    /// # Errors
    /// Those of [`resilience::open`].
    pub(crate) fn in_mode(&self, mode: Mode) -> Result<Self> {
        let guarded = self.guarded().in_mode(&self.shared.target, mode)?;
        Ok(Client::new(Parts {
            guarded,
            target: self.shared.target.clone(),
            keyspace: self.shared.keyspace.clone(),
            telemetry: self.shared.telemetry.clone(),
            data_loss: self.shared.data_loss,
            limit: self.limit,
            codec: self.codec.clone(),
        }))
    }

    /// The same client, with another limit.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        Client {
            limit,
            ..self.clone()
        }
    }

    /// The same client, which writes in another way. What this build cannot write is an error of the first write.
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
        Some(Telling::begin(hooks, call, self.runtime()))
    }

    /// Whether anybody is told of calls.
    pub(crate) fn has_hooks(&self) -> bool {
        !self.shared.telemetry.hooks().is_empty()
    }

    /// Notes the outcome of the call, for its hooks.
    pub(crate) fn note(&self, outcome: Outcome, bytes: usize) {
        if let Some(watch) = &self.watch {
            watch.note(outcome, bytes);
        }
    }

    /// Lets a call in.
    ///
    /// # Errors
    /// `Closed`, once the cache was closed.
    pub(crate) fn enter(&self) -> Result<Pass<'_>> {
        check_timeout(self.limit)?;
        self.shared.gate.enter()
    }

    /// One command.
    pub(crate) async fn request(&self, command: &Cmd) -> Result<Value> {
        let pass = self.enter()?;
        pass.guarded().request(command, self.limit).await
    }

    /// One command about one key.
    pub(crate) async fn request_for(&self, key: &StoredKey, command: &Cmd) -> Result<Value> {
        self.request(command)
            .await
            .map_err(|error| error.for_key(key.user()))
    }

    /// Commands that travel together. Error replies stand among the replies.
    pub(crate) async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let pass = self.enter()?;
        pass.guarded().pipeline(pipeline, self.limit).await
    }

    /// A script: by its name, or by its text where the server does not know the name yet.
    pub(crate) async fn run(&self, script: &Script, input: &Input) -> Result<Value> {
        match self.request(&script.by_name(input)).await {
            Err(error) if script::unknown(&error) => self.request(&script.by_text(input)).await,
            reply => reply,
        }
    }

    /// A script, run once for each input, in as few round trips as their size allows. The replies are in the
    /// order of the inputs.
    pub(crate) async fn run_many(
        &self,
        script: &Script,
        inputs: &[Input],
    ) -> Result<Vec<Result<Value>>> {
        if let [input] = inputs {
            return Ok(vec![self.run(script, input).await]);
        }
        let mut replies = Vec::with_capacity(inputs.len());
        for part in parts(inputs, Input::bytes) {
            let mut pipeline = Pipeline::with_capacity(part.len());
            for input in part {
                pipeline.add_command(script.by_name(input));
            }
            for (reply, input) in self.pipeline(&pipeline).await?.into_iter().zip(part) {
                let reply = match reply {
                    Value::ServerError(error) => Err(Error::from_server(&error)),
                    reply => Ok(reply),
                };
                replies.push(match reply {
                    Err(error) if script::unknown(&error) => self.run(script, input).await,
                    reply => reply.map_err(|error| error.on_host(self.host())),
                });
            }
        }
        Ok(replies)
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

    /// What the calls go through, for what needs no call.
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

    pub(crate) fn outbox(&self) -> &Outbox {
        self.guarded().outbox()
    }

    /// What this thread counts in.
    pub(crate) fn counters(&self) -> &Counters {
        self.shared.telemetry.counters()
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

    /// Lets no call in any more, and waits for those under way.
    ///
    /// # Errors
    /// `Timeout`: some are still under way after the limit.
    pub(crate) async fn close(&self) -> Result<()> {
        let gate = &self.shared.gate;
        gate.close();
        let drained = self.runtime().timeout(self.limit, || gate.drain()).await;
        drained.ok_or_else(|| {
            let why = format!(
                "calls were still under way after {:?}; no more are let in",
                self.limit
            );
            Error::new(ErrorKind::Timeout, why).on_host(self.host())
        })
    }

    /// Adds what `Debug` shows of a client: where it goes, never the password.
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
        Stats {
            breaker: guarded.breaker().state(),
            breaker_openings: guarded.breaker().openings(),
            invalidations_waiting: guarded.outbox().waiting() as u64,
            ..self.telemetry.stats()
        }
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

/// What a timeout can be: a call that hangs for more than an hour is a call that hangs.
pub(crate) const TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(60 * 60);

/// # Errors
/// `InvalidConfig` for a timeout out of its range.
pub(crate) fn check_timeout(limit: Duration) -> Result<()> {
    if TIMEOUTS.contains(&limit) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidConfig,
        format!("timeout is {limit:?}; it is from 1ms to 1h"),
    ))
}

//! A worker at work: it takes jobs, waits for them on a connection of its own, and keeps those that are being worked on.
//!
//! 1. What was taken is in `hands` until it is settled or dropped. While it is there, no other worker gets it, as
//!    long as this process runs and reaches Redis.
//! 2. One caller at a time takes; the others wait for their turn.
//! 3. While Redis is away, taking is tried again and again, and the connection is opened anew.
//! 4. After `stop` nothing is taken.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::Value;
use tokio::sync::watch;

use super::scripts::{DONE, FAIL, KEEP, LEAVE, SWEEP, TAKE};
use super::{GROUP, Keys, Place};
use crate::client::Client;
use crate::connect::Alone;
use crate::connect::BoxFuture;
use crate::error::{Error, ErrorKind, Result};
use crate::patterns::lock::hold::{is_passing, jittered};
use crate::patterns::upkeep::{self, Chore, Tended};
use crate::read_through::lease::random;
use crate::runtime::first;
use crate::script::{Input, Script};

/// How long a worker waits for a job at a time. A delayed job is late by up to this.
const WAIT: Duration = Duration::from_secs(1);

/// The first pause after an error, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// For how long a consumer without jobs was idle before it is removed: an hour, in milliseconds.
const IDLE_MS: &[u8] = b"3600000";

/// How much of a reason is kept with a dead letter, in bytes.
const MOST_OF_A_REASON: usize = 1_024;

/// What a worker was told.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) concurrency: usize,
    pub(super) claim_after: Duration,
    pub(super) retries: u32,
    pub(super) backoff: (Duration, Duration),
}

impl Settings {
    /// After what time a job whose attempt failed is tried again; `None` if it has no retries left.
    pub(super) fn pause_after(&self, attempt: u32) -> Option<Duration> {
        if attempt > self.retries {
            return None;
        }
        let (shortest, longest) = self.backoff;
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let pause = shortest.saturating_mul(doubled).min(longest);
        // So that jobs that failed together are not tried together.
        Some(pause.mul_f64(0.75 + fastrand::f64() / 4.0))
    }
}

/// A job as it was delivered.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) entry: String,
    pub(super) id: String,
    pub(super) attempt: u32,
    /// `None`: the entry has no field `job`.
    pub(super) job: Option<Vec<u8>>,
}

/// Whether a worker was told to stop.
#[derive(Clone, Debug)]
pub(super) struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    pub(super) fn new() -> Self {
        Stop(Arc::new(watch::Sender::new(false)))
    }

    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) async fn stopped(&self) {
        // The sender is here, so there is no error.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}

/// A worker at work.
pub(super) struct Active {
    place: Place,
    keys: Keys,
    settings: Settings,
    consumer: String,
    stop: Stop,
    source: tokio::sync::Mutex<Source>,
    hands: Arc<Hands>,
    tended: Mutex<Option<Tended>>,
}

/// Where the jobs come from.
#[derive(Default)]
struct Source {
    /// Taken, and not given to anybody yet.
    ready: VecDeque<Taken>,
    link: Option<Alone>,
    has_swept: bool,
}

/// What is kept while it is worked on.
struct Hands {
    place: Place,
    jobs: Vec<u8>,
    consumer: String,
    period: Duration,
    entries: Mutex<HashSet<String>>,
}

impl Active {
    /// # Errors
    /// `InvalidKey` for a queue without a name.
    pub(super) fn new(place: Place, settings: Settings, stop: Stop) -> Result<Arc<Self>> {
        let keys = place.keys().map_err(|error| place.explain(error))?;
        let unique: String = random()[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let consumer = format!("{}:{unique}", settings.name);
        let hands = Hands {
            place: place.clone(),
            jobs: keys.jobs.as_bytes().to_vec(),
            consumer: consumer.clone(),
            period: settings.claim_after / 3,
            entries: Mutex::default(),
        };
        Ok(Arc::new(Active {
            place,
            keys,
            settings,
            consumer,
            stop,
            source: tokio::sync::Mutex::default(),
            hands: Arc::new(hands),
            tended: Mutex::default(),
        }))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    fn client(&self) -> &Client {
        self.place.core.client()
    }

    /// The next job: of up to so many that are taken at once, within this time, or whenever one comes. `None` if
    /// there was none in time, or the worker was stopped.
    pub(super) async fn next(
        &self,
        at_once: usize,
        patience: Option<Duration>,
    ) -> Result<Option<Taken>> {
        let runtime = self.client().runtime();
        let begun = runtime.now();
        let mut source = match patience {
            // Another caller may wait for a job meanwhile.
            Some(patience) if !patience.is_zero() => {
                match runtime.timeout(patience, || self.source.lock()).await {
                    Some(source) => source,
                    None => return Ok(None),
                }
            }
            _ => self.source.lock().await,
        };
        let mut pause = PAUSES.0;
        loop {
            if self.stop.is_stopped() {
                return Ok(None);
            }
            if let Some(taken) = source.ready.pop_front() {
                return Ok(Some(taken));
            }
            let left = |now: Instant| {
                patience.map(|all| all.saturating_sub(now.saturating_duration_since(begun)))
            };
            let round = self.round(&mut source, at_once, left(runtime.now())).await;
            let left = left(runtime.now());
            match round {
                Ok(true) => {}
                Ok(false) => {
                    if left.is_some_and(|left| left.is_zero()) {
                        return Ok(None);
                    }
                    pause = PAUSES.0;
                }
                Err(error) => {
                    source.link = None;
                    let goes_on = is_passing(error.kind()) || is_no_group(&error);
                    if !goes_on || left.is_some_and(|left| left.is_zero()) {
                        return Err(self.place.explain(error));
                    }
                    tracing::debug!(%error, "no job can be taken; trying again");
                    let sleep = jittered(pause).min(left.unwrap_or(pause));
                    let _ = first(runtime.sleep(sleep), self.stop.stopped()).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Takes what there is, or waits for a while. Returns whether there is something.
    async fn round(
        &self,
        source: &mut Source,
        at_once: usize,
        left: Option<Duration>,
    ) -> Result<bool> {
        let (jobs, due) = self
            .place
            .perform("queue.take", async |client| {
                match self.take(client, at_once).await {
                    Err(error) if is_no_group(&error) => {
                        self.make_group(client).await?;
                        self.take(client, at_once).await
                    }
                    taken => taken,
                }
            })
            .await?;
        if !source.has_swept {
            source.has_swept = true;
            let mut input = Input::default();
            input
                .key(self.keys.jobs.as_bytes())
                .arg(GROUP.as_bytes())
                .arg(IDLE_MS);
            if let Err(error) = self.client().run(&SWEEP, &input).await {
                tracing::debug!(%error, "consumers of workers that are gone could not be removed");
            }
        }
        if !jobs.is_empty() {
            self.receive(source, jobs)?;
            return Ok(true);
        }
        let wait = due.map_or(WAIT, |due| due.min(WAIT));
        let wait = left
            .map_or(wait, |left| left.min(wait))
            .min(self.settings.claim_after);
        if wait < Duration::from_millis(1) {
            return Ok(false);
        }
        let Ok(waited) = first(self.wait(source, wait), self.stop.stopped()).await else {
            // A connection that is left in the middle of a command is of no use any more.
            source.link = None;
            return Ok(false);
        };
        let jobs = waited?;
        let is_some = !jobs.is_empty();
        self.receive(source, jobs)?;
        Ok(is_some)
    }

    fn receive(&self, source: &mut Source, jobs: Vec<Taken>) -> Result<()> {
        if jobs.is_empty() {
            return Ok(());
        }
        {
            let mut entries = self.hands.entries.lock();
            entries.extend(jobs.iter().map(|job| job.entry.clone()));
        }
        source.ready.extend(jobs);
        let mut tended = self.tended.lock();
        if tended.is_none() {
            let hands = Arc::clone(&self.hands);
            let first = self.hands.period;
            *tended = Some(upkeep::begin(self.client().runtime(), first, hands)?);
        }
        Ok(())
    }

    async fn take(&self, client: &Client, count: usize) -> Result<(Vec<Taken>, Option<Duration>)> {
        let mut input = self.input_of_all();
        let millis = self.settings.claim_after.as_millis().to_string();
        input.arg(millis.as_bytes());
        input.arg(count.max(1).to_string().as_bytes());
        input.arg(self.settings.retries.to_string().as_bytes());
        let reply = client.run(&TAKE, &input).await?;
        let Value::Array(mut parts) = reply else {
            return Err(Error::unexpected("the script", &reply));
        };
        let (Some(Value::Int(due)), Some(Value::Array(jobs))) = (parts.pop(), parts.pop()) else {
            return Err(Error::unexpected("the script", &Value::Nil));
        };
        let due = u64::try_from(due).ok().map(Duration::from_millis);
        Ok((jobs.into_iter().filter_map(taken).collect(), due))
    }

    async fn make_group(&self, client: &Client) -> Result<()> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(&self.keys.jobs).arg(GROUP);
        command.arg("0").arg("MKSTREAM");
        match client.request(&command).await {
            Err(error) if error.detail().starts_with("BUSYGROUP") => Ok(()),
            made => made.map(drop),
        }
    }

    /// Waits for one job, on the worker's own connection.
    async fn wait(&self, source: &mut Source, wait: Duration) -> Result<Vec<Taken>> {
        let link = match &mut source.link {
            Some(link) => link,
            none => {
                let client = self.client();
                let pass = client.enter()?;
                let alone = pass
                    .guarded()
                    .alone(self.keys.jobs.as_bytes(), client.limit());
                none.insert(alone.await?)
            }
        };
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.consumer);
        command
            .arg("COUNT")
            .arg(1)
            .arg("BLOCK")
            .arg(wait.as_millis() as u64);
        command.arg("STREAMS").arg(&self.keys.jobs).arg(">");
        let asked = link.request(&command).await;
        let reply = asked.map_err(|error| error.on_host(self.client().host()))?;
        Ok(entries_read(reply).into_iter().filter_map(fresh).collect())
    }

    fn input_of_all(&self) -> Input {
        let mut input = Input::default();
        input.key(self.keys.jobs.as_bytes());
        input.key(self.keys.later.as_bytes());
        input.key(self.keys.dead.as_bytes());
        input.arg(GROUP.as_bytes()).arg(self.consumer.as_bytes());
        input
    }

    /// A job is done. Returns whether nobody else has said so.
    pub(super) async fn done(&self, entry: &str) -> Result<bool> {
        let mut input = Input::default();
        input.key(self.keys.jobs.as_bytes());
        input.arg(GROUP.as_bytes()).arg(entry.as_bytes());
        self.settle("queue.ack", &DONE, &input, entry).await
    }

    /// A job failed: it is due again after this time, or it is dead. Returns whether it was still this worker's.
    pub(super) async fn fail(
        &self,
        entry: &str,
        again: Option<Duration>,
        why: &str,
    ) -> Result<bool> {
        let mut input = self.input_of_all();
        input.arg(entry.as_bytes());
        match again {
            Some(pause) => input.arg(pause.as_millis().to_string().as_bytes()),
            None => input.arg(b""),
        };
        input.arg(beginning(why).as_bytes());
        let verb = if again.is_some() {
            "queue.retry"
        } else {
            "queue.bury"
        };
        self.settle(verb, &FAIL, &input, entry).await
    }

    async fn settle(
        &self,
        verb: &'static str,
        script: &'static Script,
        input: &Input,
        entry: &str,
    ) -> Result<bool> {
        let settled = self
            .place
            .perform(verb, async |client| client.run(script, input).await)
            .await;
        match settled {
            Ok(Value::Int(count)) => {
                self.let_go(entry);
                Ok(count > 0)
            }
            Ok(other) => Err(Error::unexpected("the script", &other)),
            // The group is gone, and the job with it.
            Err(error) if is_no_group(&error) => {
                self.let_go(entry);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Does something again and again, while Redis is away.
    pub(super) async fn insist<F: Future<Output = Result<bool>>>(
        &self,
        mut work: impl FnMut() -> F,
    ) {
        let runtime = self.client().runtime();
        let mut pause = PAUSES.0;
        let mut stopped_at = None;
        loop {
            let error = match work().await {
                Ok(_) => return,
                Err(error) => error,
            };
            if self.stop.is_stopped() {
                let since = *stopped_at.get_or_insert_with(|| runtime.now());
                // By then somebody else has the job.
                if runtime.now().saturating_duration_since(since) > self.settings.claim_after {
                    tracing::warn!(%error, "a job was worked on, and Redis does not know; it will be delivered once more");
                    return;
                }
            }
            if !is_passing(error.kind()) {
                tracing::warn!(%error, "a job was worked on, and Redis does not know; it will be delivered once more");
                return;
            }
            runtime.sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// The job is kept no more. Unless it was settled, another worker gets it.
    pub(super) fn let_go(&self, entry: &str) {
        self.hands.entries.lock().remove(entry);
    }

    /// Gives back what was taken and not begun, and takes leave. Best effort: what is not given back, others claim.
    pub(super) async fn leave(&self) {
        let unused: Vec<Taken> = {
            let mut source = self.source.lock().await;
            source.link = None;
            source.ready.drain(..).collect()
        };
        let mut input = Input::default();
        input.key(self.keys.jobs.as_bytes());
        input.arg(GROUP.as_bytes()).arg(self.consumer.as_bytes());
        for job in &unused {
            input.arg(job.entry.as_bytes());
            self.let_go(&job.entry);
        }
        let left = self.place.perform("queue.leave", async |client| {
            client.run(&LEAVE, &input).await
        });
        if let Err(error) = left.await
            && !is_no_group(&error)
        {
            tracing::debug!(%error, "a worker could not take leave; what it has is given to others later");
        }
    }
}

impl Chore for Hands {
    fn tend(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(async move {
            let entries: Vec<String> = self.entries.lock().iter().cloned().collect();
            if entries.is_empty() {
                return Some(self.period);
            }
            let mut input = Input::default();
            input
                .key(&self.jobs)
                .arg(GROUP.as_bytes())
                .arg(self.consumer.as_bytes());
            for entry in &entries {
                input.arg(entry.as_bytes());
            }
            let kept = self
                .place
                .perform("queue.keep", async |client| client.run(&KEEP, &input).await)
                .await;
            Some(match kept {
                Ok(_) => self.period,
                Err(error) => {
                    tracing::debug!(%error, "jobs that are worked on could not be kept; trying again");
                    self.period / 4
                }
            })
        })
    }
}

/// Whether there is no group, or was none any more while one waited: the queue was deleted.
pub(super) fn is_no_group(error: &Error) -> bool {
    let said = |code: &str| error.detail().starts_with(code);
    error.kind() == ErrorKind::Server && (said("NOGROUP") || said("UNBLOCKED"))
}

/// As much of a reason as is kept.
fn beginning(why: &str) -> &str {
    let end = (0..=MOST_OF_A_REASON.min(why.len()))
        .rev()
        .find(|end| why.is_char_boundary(*end));
    &why[..end.unwrap_or(0)]
}

/// What TAKE says of a job.
fn taken(job: Value) -> Option<Taken> {
    let Value::Array(mut parts) = job else {
        return None;
    };
    let (fields, deliveries, entry) = (parts.pop()?, parts.pop()?, parts.pop()?);
    let Value::Int(deliveries) = deliveries else {
        return None;
    };
    of_entry(entry, fields, u32::try_from(deliveries).unwrap_or(1))
}

/// What XREADGROUP says of an entry.
fn fresh(entry: Value) -> Option<Taken> {
    let Value::Array(mut parts) = entry else {
        return None;
    };
    let (fields, entry) = (parts.pop()?, parts.pop()?);
    of_entry(entry, fields, 1)
}

fn of_entry(entry: Value, fields: Value, deliveries: u32) -> Option<Taken> {
    let Value::BulkString(entry) = entry else {
        return None;
    };
    let entry = String::from_utf8_lossy(&entry).into_owned();
    let (mut id, mut attempts, mut job) = (entry.clone(), 0_u32, None);
    for (name, value) in pairs(fields) {
        match &name[..] {
            b"id" => id = String::from_utf8_lossy(&value).into_owned(),
            b"attempt" => {
                let number = std::str::from_utf8(&value).ok().map(str::parse);
                attempts = number.and_then(std::result::Result::ok).unwrap_or(0);
            }
            b"job" => job = Some(value),
            _ => {}
        }
    }
    Some(Taken {
        entry,
        id,
        attempt: attempts.saturating_add(deliveries),
        job,
    })
}

/// The fields of an entry.
pub(super) fn pairs(fields: Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    match fields {
        Value::Array(parts) => {
            let mut parts = parts.into_iter();
            while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                if let (Value::BulkString(name), Value::BulkString(value)) = (name, value) {
                    all.push((name, value));
                }
            }
        }
        Value::Map(parts) => {
            for (name, value) in parts {
                if let (Value::BulkString(name), Value::BulkString(value)) = (name, value) {
                    all.push((name, value));
                }
            }
        }
        _ => {}
    }
    all
}

/// The entries of the one stream that was asked for, as RESP2 or RESP3 has them.
fn entries_read(reply: Value) -> Vec<Value> {
    let entries = match reply {
        Value::Map(streams) => streams.into_iter().next().map(|(_, entries)| entries),
        Value::Array(streams) => match streams.into_iter().next() {
            Some(Value::Array(mut stream)) => stream.pop(),
            _ => None,
        },
        _ => None,
    };
    match entries {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    }
}

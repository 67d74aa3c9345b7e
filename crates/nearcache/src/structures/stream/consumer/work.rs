//! What a consumer does to get its next delivery.
//!
//! 1. On a new connection it first reads what is its own and was not given to its caller: entries above the last one that
//!    it gave. After a restart that is everything that it has; after a lost connection, what was lost on the way.
//! 2. Then what it asked for again, what others left idle, and what is new, in this order.
//! 3. Nothing is acknowledged that the caller has not acknowledged, but for entries that were removed from the stream.
//! 4. It ends with the cache, within [`SLICE`] for a blocking caller, who is not woken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, Value};

use super::super::entry::{Raw, element, of_one, raw};
use super::super::group::{Group, pending};
use super::super::id::EntryId;
use super::scripts::LONG_AGO;
use super::{Again, Delivery};
use crate::connect::Alone;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::runtime::first;
use crate::structures::member::Member;
use crate::structures::replies::list;
use crate::ttl::Ttl;

/// How long one read waits.
const SLICE: Duration = Duration::from_secs(1);

/// The pauses between attempts after a failure: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How often it looks for idle deliveries, at most and at least.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

pub(super) enum Came<T, M> {
    Delivery(Box<Delivery<T, M>>),
    Failed(Error),
    /// Nothing, within the time.
    Nothing,
    /// The cache is closed.
    Closed,
}

pub(super) struct Work<T, M> {
    group: Group<T, M>,
    consumer: Arc<[u8]>,
    pub(super) batch: u32,
    pub(super) claim: Option<Ttl>,
    /// An option that is not valid.
    pub(super) invalid: Option<Error>,
    connection: Option<Alone>,
    /// Whether there may be some of its own above `given`.
    unread: bool,
    /// The last new one that was read.
    given: EntryId,
    ready: VecDeque<Delivery<T, M>>,
    again: Again,
    /// Where the search for idle deliveries goes on, and when.
    cursor: String,
    look: Option<Instant>,
    pause: Duration,
    not_before: Option<Instant>,
}

impl<T: Member, M: 'static> Work<T, M> {
    pub(super) fn new(group: Group<T, M>, name: &[u8]) -> Self {
        Work {
            group,
            consumer: name.into(),
            batch: 10,
            claim: None,
            invalid: None,
            connection: None,
            unread: true,
            given: EntryId::MIN,
            ready: VecDeque::new(),
            again: Again::default(),
            cursor: "0-0".to_owned(),
            look: None,
            pause: PAUSES.0,
            not_before: None,
        }
    }

    pub(super) async fn next(&mut self, deadline: Option<Instant>) -> Came<T, M> {
        if let Some(error) = &self.invalid {
            return Came::Failed(error.clone());
        }
        let client = self.group.handle.client().clone();
        let runtime = client.runtime();
        loop {
            if !client.is_open() {
                return Came::Closed;
            }
            if let Some(delivery) = self.ready.pop_front() {
                return Came::Delivery(Box::new(delivery));
            }
            let now = runtime.now();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            let rest = self.not_before.map(|at| at.saturating_duration_since(now));
            if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
                let time = left.unwrap_or(rest).min(rest).min(SLICE);
                let _ = first(runtime.sleep(time), client.closed()).await;
                if left.is_some_and(|left| left <= time) {
                    return Came::Nothing;
                }
                continue;
            }
            let fetched = first(self.fetch(left), client.closed()).await;
            match fetched {
                Err(()) => return Came::Closed,
                Ok(Ok(())) => {
                    (self.pause, self.not_before) = (PAUSES.0, None);
                    if self.ready.is_empty() && left.is_some_and(|left| left <= SLICE) {
                        let now = runtime.now();
                        if deadline.is_some_and(|deadline| deadline <= now) {
                            return Came::Nothing;
                        }
                    }
                }
                Ok(Err(error)) => {
                    if let Some(error) = self.failed(error).await {
                        return Came::Failed(error);
                    }
                }
            }
        }
    }

    /// Notes a failure. Returns what the caller must be told.
    async fn failed(&mut self, error: Error) -> Option<Error> {
        let client = self.group.handle.client();
        let error = match error.kind() {
            // The stream is gone, or the group was never made.
            ErrorKind::Server if error.detail().starts_with("NOGROUP") => {
                match self.group.create().start().await {
                    Ok(_) => {
                        (self.given, self.unread) = (EntryId::MIN, true);
                        return None;
                    }
                    Err(error) => error,
                }
            }
            _ => error,
        };
        let now = client.runtime().now();
        let passes = matches!(
            error.kind(),
            ErrorKind::Connect
                | ErrorKind::Timeout
                | ErrorKind::Unavailable
                | ErrorKind::PoolExhausted
                | ErrorKind::Closed
        );
        (self.connection, self.unread) = (None, true);
        if passes {
            tracing::debug!(%error, "a consumer has lost its connection");
            self.not_before = Some(now + self.pause);
            self.pause = (self.pause * 2).min(PAUSES.1);
            return None;
        }
        self.not_before = Some(now + PAUSES.1);
        Some(error)
    }

    /// Asks once for deliveries.
    async fn fetch(&mut self, left: Option<Duration>) -> Result<()> {
        let core = self.group.handle.core().clone();
        let key = self.group.handle.key().clone();
        core.perform(
            "stream.deliver",
            CallKeys::One(key.as_bytes()),
            async |core| {
                let client = core.client();
                let key = client.stored(key.as_bytes())?;
                let fetched = self.fetch_of(&key, left).await;
                fetched.map_err(|error| error.on_host(client.host()).for_key(&key))
            },
        )
        .await
    }

    async fn fetch_of(&mut self, key: &StoredKey, left: Option<Duration>) -> Result<()> {
        let client = self.group.handle.client().clone();
        if self.connection.is_none() {
            // The waiting itself does not hold a `close` up.
            let pass = client.enter()?;
            let alone = pass.guarded().alone(key.as_bytes(), client.limit());
            self.connection = Some(alone.await?);
        }
        if self.unread {
            let command = self.read(key, &self.given.to_string(), None);
            let own = of_one("XREADGROUP", self.ask(&command).await?)?;
            match own.last() {
                Some((last, _)) => self.given = *last,
                None => self.unread = false,
            }
            self.deliver(key, own, false).await;
            return Ok(());
        }
        let again: Vec<EntryId> = self.again.lock().clone();
        if !again.is_empty() {
            let mut command = redis::cmd("XCLAIM");
            // Not what another one has taken by now: for that one it is not idle.
            command.arg(key).arg(&*self.group.name).arg(&*self.consumer);
            command.arg(LONG_AGO / 2);
            for id in &again {
                command.arg(id.to_string());
            }
            let claimed = raw("XCLAIM", self.ask(&command).await?)?;
            self.again.lock().retain(|id| !again.contains(id));
            if !claimed.is_empty() {
                self.deliver(key, claimed, false).await;
                return Ok(());
            }
        }
        let now = client.runtime().now();
        if let Some(idle) = self.claim
            && self.look.is_none_or(|at| at <= now)
        {
            let mut command = redis::cmd("XAUTOCLAIM");
            command.arg(key).arg(&*self.group.name).arg(&*self.consumer);
            command.arg(idle.as_millis()).arg(&self.cursor);
            command.arg("COUNT").arg(self.batch);
            let mut parts = list("XAUTOCLAIM", self.ask(&command).await?)?.into_iter();
            let (Some(Value::BulkString(cursor)), Some(claimed)) = (parts.next(), parts.next())
            else {
                return Err(Error::unexpected("XAUTOCLAIM", &Value::Nil));
            };
            self.cursor = String::from_utf8_lossy(&cursor).into_owned();
            if self.cursor == "0-0" {
                let pause = (idle.as_duration() / 2).clamp(LOOKS.0, LOOKS.1);
                self.look = Some(now + pause);
            }
            let claimed = raw("XAUTOCLAIM", claimed)?;
            if !claimed.is_empty() {
                self.deliver(key, claimed, false).await;
                return Ok(());
            }
            if self.cursor != "0-0" {
                return Ok(());
            }
        }
        let until_look = self.claim.and(self.look);
        let until_look = until_look.map_or(SLICE, |at| at.saturating_duration_since(now));
        let wait = left.unwrap_or(SLICE).min(SLICE).min(until_look);
        // 0 would be for ever.
        let wait = wait.max(Duration::from_millis(1)).as_millis() as u64;
        let command = self.read(key, ">", Some(wait));
        let new = of_one("XREADGROUP", self.ask(&command).await?)?;
        if let Some((last, _)) = new.last() {
            self.given = *last;
        }
        self.deliver(key, new, true).await;
        Ok(())
    }

    fn read(&self, key: &StoredKey, from: &str, wait: Option<u64>) -> Cmd {
        let mut command = redis::cmd("XREADGROUP");
        command
            .arg("GROUP")
            .arg(&*self.group.name)
            .arg(&*self.consumer);
        command.arg("COUNT").arg(self.batch);
        if let Some(millis) = wait {
            command.arg("BLOCK").arg(millis);
        }
        command.arg("STREAMS").arg(key).arg(from);
        command
    }

    async fn ask(&mut self, command: &Cmd) -> Result<Value> {
        match &mut self.connection {
            Some(connection) => connection.request(command).await,
            None => Err(Error::new(ErrorKind::Connect, "there is no connection")),
        }
    }

    /// Makes deliveries of entries. `new`: they were never delivered before.
    async fn deliver(&mut self, key: &StoredKey, entries: Vec<Raw>, new: bool) {
        let client = self.group.handle.client().clone();
        let attempts = match new {
            true => Vec::new(),
            false => self.attempts(key, &entries).await.unwrap_or_else(|error| {
                // They are this consumer's now, so they must not get lost.
                tracing::debug!(%error, "it is not known how often entries were delivered");
                vec![2; entries.len()]
            }),
        };
        let mut gone = redis::cmd("XACK");
        gone.arg(key).arg(&*self.group.name);
        let mut any_gone = false;
        for (at, (id, fields)) in entries.into_iter().enumerate() {
            match fields {
                Some(fields) => self.ready.push_back(Delivery {
                    id,
                    attempts: attempts.get(at).copied().unwrap_or(1),
                    value: element(self.group.form, id, fields).map_err(|error| error.for_key(key)),
                    group: self.group.clone(),
                    consumer: Arc::clone(&self.consumer),
                    again: Arc::clone(&self.again),
                }),
                None => {
                    gone.arg(id.to_string());
                    any_gone = true;
                }
            }
        }
        if any_gone && let Err(error) = client.request(&gone).await {
            tracing::debug!(%error, "entries that were removed from their stream stay pending");
        }
    }

    /// How often each was delivered.
    async fn attempts(&mut self, key: &StoredKey, entries: &[Raw]) -> Result<Vec<u64>> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut asked = Pipeline::new();
        for (id, _) in entries {
            let id = id.to_string();
            asked.cmd("XPENDING").arg(key).arg(&*self.group.name);
            asked.arg(&id).arg(&id).arg(1);
        }
        let replies = self.group.handle.client().pipeline(&asked).await?;
        let attempts = replies.into_iter().map(|reply| {
            let entry = list("XPENDING", reply)?.into_iter().next();
            Ok(entry
                .map(pending)
                .transpose()?
                .map_or(1, |entry| entry.attempts))
        });
        attempts.collect()
    }
}

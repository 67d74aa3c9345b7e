//! The connection of a subscription, which is made anew when it is lost.
//!
//! 1. After a loss, the gap is told once the server has confirmed the new subscription: what is published from then on
//!    is heard, so whoever reads the state anew then misses nothing.
//! 2. A loss is noticed even on a connection that says nothing: after [`SILENCE`] the server is asked whether it is there.
//! 3. It ends with the cache, within [`SLICE`] for a blocking caller, who is not woken.
//! 4. What is not read is bounded: by the connection's own limits, and by the server's (`client-output-buffer-limit
//!    pubsub`). Beyond them it is a loss.

use std::time::{Duration, Instant};

use redis::{Arg, Cmd, PushInfo, PushKind, Value};

use crate::client::Client;
use crate::connect::Alone;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::StoredKey;
use crate::runtime::first;

/// How long a connection may say nothing before it is asked.
const SILENCE: Duration = Duration::from_secs(15);

/// How long a blocking caller waits before it looks whether the cache was closed.
const SLICE: Duration = Duration::from_millis(200);

/// Long enough to look at what is there.
const MOMENT: Duration = Duration::from_millis(1);

/// The pauses between attempts to connect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What is listened to, and how it is asked for.
pub(super) struct Wanted {
    /// `SUBSCRIBE`, `SSUBSCRIBE` or `PSUBSCRIBE`.
    pub(super) command: Cmd,
    /// The kind of its messages.
    pub(super) kind: PushKind,
    /// The name whose slot the server must serve, if it matters.
    pub(super) slot_of: Option<StoredKey>,
}

/// What came.
pub(super) enum Came {
    /// A message: the channel as it is in Redis, and the bytes.
    Message(Vec<u8>, Vec<u8>),
    Gap,
    Failed(Error),
    /// Nothing, within the time.
    Nothing,
    /// The cache is closed.
    Closed,
}

pub(super) struct Link {
    client: Client,
    wanted: Wanted,
    connection: Option<Alone>,
    /// When the server last said something.
    heard: Instant,
    pause: Duration,
    /// Not before this time another attempt is made.
    not_before: Option<Instant>,
    /// The last error that was told, so that it is told once.
    told: Option<ErrorKind>,
}

impl Link {
    /// Connects and subscribes.
    pub(super) async fn open(client: &Client, wanted: Wanted) -> Result<Self> {
        let mut link = Link {
            client: client.clone(),
            wanted,
            connection: None,
            heard: client.runtime().now(),
            pause: PAUSES.0,
            not_before: None,
            told: None,
        };
        link.connect().await?;
        Ok(link)
    }

    async fn connect(&mut self) -> Result<()> {
        let client = &self.client;
        let mut connection = {
            // The subscription itself does not hold a `close` up.
            let pass = client.enter()?;
            let key = self.wanted.slot_of.as_ref().map(StoredKey::as_bytes);
            pass.guarded().for_messages(key, client.limit()).await?
        };
        connection
            .request(&self.wanted.command)
            .await
            .map_err(|error| self.explained(error))?;
        self.connection = Some(connection);
        self.heard = self.client.runtime().now();
        Ok(())
    }

    /// What comes next, until the deadline.
    pub(super) async fn next(&mut self, deadline: Option<Instant>) -> Came {
        loop {
            if !self.client.is_open() {
                return Came::Closed;
            }
            let runtime = self.client.runtime().clone();
            let now = runtime.now();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            let Some(connection) = &mut self.connection else {
                let wait = self.not_before.map(|at| at.saturating_duration_since(now));
                let wait = wait.unwrap_or_default();
                if left.is_some_and(|left| left.is_zero() || left < wait) {
                    self.rest(left.unwrap_or_default()).await;
                    return Came::Nothing;
                }
                if !wait.is_zero() {
                    self.rest(wait.min(SLICE)).await;
                    continue;
                }
                match self.connect().await {
                    Ok(()) => {
                        (self.pause, self.not_before, self.told) = (PAUSES.0, None, None);
                        return Came::Gap;
                    }
                    Err(error) => match self.failed(error) {
                        Some(error) => return Came::Failed(error),
                        None => continue,
                    },
                }
            };
            let quiet = now.saturating_duration_since(self.heard);
            let patience = SILENCE.saturating_sub(quiet);
            let slice = match connection.is_blocking() {
                true => SLICE,
                false => SILENCE,
            };
            let time = left.unwrap_or(slice).min(slice).min(patience).max(MOMENT);
            let next = first(connection.next_push(&runtime, time), self.client.closed());
            match next.await {
                Err(()) => return Came::Closed,
                // The slot has moved, and the server has ended what it does not serve any more.
                Ok(Ok(Some(push))) if push.kind == PushKind::SUnsubscribe => {
                    let moved =
                        Error::new(ErrorKind::Connect, "the topic has moved to another node");
                    self.lost(&moved);
                }
                Ok(Ok(Some(push))) => {
                    self.heard = runtime.now();
                    if let Some(came) = self.message(push) {
                        return came;
                    }
                }
                Ok(Ok(None)) => {
                    if patience <= time {
                        self.ask().await;
                    } else if left.is_some_and(|left| left <= time) {
                        return Came::Nothing;
                    }
                }
                Ok(Err(error)) => self.lost(&error),
            }
        }
    }

    /// An error of subscribing, with the rule for a pattern that was not permitted.
    fn explained(&self, error: Error) -> Error {
        let keyspace = self.client.keyspace();
        match self.wanted.command.args_iter().nth(1) {
            Some(Arg::Simple(pattern))
                if self.wanted.kind == PushKind::PMessage && !keyspace.redacts() =>
            {
                error.with_rule_for(pattern)
            }
            _ => error.with_rule(keyspace),
        }
    }

    async fn rest(&self, time: Duration) {
        let _ = first(self.client.runtime().sleep(time), self.client.closed()).await;
    }

    /// Notes that connecting failed. Returns what the subscriber must be told: an error that will not pass by itself,
    /// once.
    fn failed(&mut self, error: Error) -> Option<Error> {
        self.not_before = Some(self.client.runtime().now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSES.1);
        let passes = matches!(
            error.kind(),
            ErrorKind::Connect
                | ErrorKind::Timeout
                | ErrorKind::Unavailable
                | ErrorKind::PoolExhausted
        );
        if passes || error.kind() == ErrorKind::Closed || self.told == Some(error.kind()) {
            tracing::debug!(%error, "a subscription could not be renewed yet");
            return None;
        }
        self.told = Some(error.kind());
        Some(error)
    }

    fn lost(&mut self, error: &Error) {
        tracing::debug!(%error, "a subscription lost its connection");
        self.connection = None;
    }

    /// Asks whether the server is still there.
    async fn ask(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        match connection.request(&redis::cmd("PING")).await {
            Ok(_) => self.heard = self.client.runtime().now(),
            Err(error) => self.lost(&error),
        }
    }

    /// A message, if the push is one of the subscription.
    fn message(&self, push: PushInfo) -> Option<Came> {
        if push.kind != self.wanted.kind {
            return None;
        }
        let mut parts = push.data.into_iter().rev();
        match (parts.next(), parts.next()) {
            (Some(Value::BulkString(message)), Some(Value::BulkString(channel))) => {
                Some(Came::Message(channel, message))
            }
            _ => None,
        }
    }
}

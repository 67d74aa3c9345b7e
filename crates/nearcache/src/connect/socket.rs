//! A blocking connection with a deadline, even if the server sends byte by byte.
//!
//! It exists because redis-rs's own blocking connection applies the whole timeout to each read. A socket whose last reply was not read completely is never read again: see [`Socket::is_in_step`].

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use redis::{Pipeline, PushInfo, PushKind, RedisError, RedisResult, Value};

use super::frames::Incoming;
use super::greeting::{self, Met};
use super::led::{Led, turned_away};
use super::pushes::{KEPT_BYTES, KEPT_PUSHES, size, too_many_pushes};
use super::stream::{Stream, Timed};
use super::supply::Held;
#[cfg(feature = "tls")]
use super::target::Address;
use super::target::{Place, Protocol, Target};
#[cfg(feature = "tls")]
use super::tls::handshake::Secured;
use super::tls::perhaps_needed;
use super::{LAIN_IDLE, LONG_IDLE, result_of, timed_out};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{Runtime, block_on};

/// A blocking connection over a stream with a deadline.
pub(crate) struct Socket {
    stream: Timed,
    incoming: Incoming,
    /// Whether every command sent so far has got its whole reply.
    in_step: bool,
    /// The messages that the server sent by itself, if they are kept.
    pushes: Option<VecDeque<PushInfo>>,
    /// Their bytes.
    kept: usize,
    /// What the server said when the connection was made.
    pub(super) met: Met,
    /// Where the place led to.
    pub(super) led: Option<Led>,
    /// The credentials that it has from a provider.
    pub(super) held: Option<Arc<Held>>,
    /// When they are renewed next, if a try failed.
    pub(super) renew_at: Option<Instant>,
}

impl Socket {
    /// Connects, and does the handshake, with the credentials of the target's provider if it has one.
    pub(super) fn open(target: &Target, deadline: Instant, runtime: &Runtime) -> Result<Self> {
        let Some(supply) = &target.supply else {
            return Self::open_with(target, deadline);
        };
        let ask = |refused: Option<&Held>| {
            let limit = deadline.saturating_duration_since(runtime.now());
            let asking = runtime.timeout(limit, || supply.ask(runtime, refused));
            block_on(asking).unwrap_or_else(|| Err(timed_out(limit, target.connecting())))
        };
        let mut held = ask(None)?;
        let user = target.with_credentials(&held.credentials);
        let mut opened = Self::open_with(&user, deadline);
        if let Err(error) = &opened
            && error.kind() == ErrorKind::Auth
        {
            let anew = ask(Some(&held))?;
            // The same once more would be refused once more.
            if !anew.credentials.are_those_of(&held.credentials) {
                let user = target.with_credentials(&anew.credentials);
                held = anew;
                opened = Self::open_with(&user, deadline);
            }
        }
        let mut socket = opened?;
        socket.held = Some(held);
        Ok(socket)
    }

    fn open_with(target: &Target, deadline: Instant) -> Result<Self> {
        match target.protocol {
            Some(protocol) => Self::open_as(target, protocol, deadline),
            None => match Self::open_as(target, Protocol::Resp3, deadline) {
                // The server does not support HELLO or RESP3, or this user may not call it.
                Err(error) if matches!(error.kind(), ErrorKind::Server | ErrorKind::Denied) => {
                    Self::open_as(target, Protocol::Resp2, deadline)
                }
                outcome => outcome,
            },
        }
    }

    fn open_as(target: &Target, protocol: Protocol, deadline: Instant) -> Result<Self> {
        #[cfg(feature = "tls")]
        if let (Some(tls), Place::Tcp { host, .. } | Place::Node(Address { host, .. })) =
            (&target.tls, &target.place)
        {
            // Files are read before there is a connection to keep waiting.
            let secured = Secured::new(tls, host)?;
            let mut stream = Timed::new(Stream::open(&target.place, deadline).map_err(Error::io)?);
            secured.under(&mut stream, deadline)?;
            let mut socket = Socket::new(stream);
            return match socket.shake_hands(target, protocol, deadline) {
                Ok(()) => Ok(socket),
                Err(error) => {
                    secured.note(&mut socket.stream);
                    Err(secured.why(error))
                }
            };
        }
        let stream = Timed::new(Stream::open(&target.place, deadline).map_err(Error::io)?);
        let mut socket = Socket::new(stream);
        match socket.shake_hands(target, protocol, deadline) {
            Ok(()) => Ok(socket),
            Err(error) if matches!(target.place, Place::Unix { .. }) => Err(error),
            Err(error) => Err(perhaps_needed(error)),
        }
    }

    fn new(stream: Timed) -> Self {
        Socket {
            stream,
            incoming: Incoming::new(),
            in_step: true,
            pushes: None,
            kept: 0,
            met: Met::default(),
            led: None,
            held: None,
            renew_at: None,
        }
    }

    /// A socket over a stream whose handshake is done.
    #[cfg(all(unix, any(fuzzing, test)))]
    #[allow(dead_code, reason = "not so with all features")]
    pub(crate) fn over(stream: std::os::unix::net::UnixStream) -> Self {
        Socket::new(Timed::new(Stream::Unix(stream)))
    }

    /// Whether the server has not closed the connection, and its credentials are valid. The kernel is asked only if the
    /// socket was idle for a while, because that takes three system calls.
    pub(super) fn is_usable(&mut self, now: Instant) -> bool {
        if self.held.as_ref().is_some_and(|held| held.has_expired(now)) {
            return false;
        }
        self.is_current()
            && (now.saturating_duration_since(self.stream.begun()) < LAIN_IDLE
                || self.stream.is_connected())
    }

    /// Whether the place still leads there.
    pub(super) fn is_current(&self) -> bool {
        self.led.as_ref().is_none_or(Led::is_current)
    }

    /// Whether it was idle for so long that it must answer before it is used.
    pub(super) fn lain_long(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.stream.begun()) >= LONG_IDLE
    }

    /// Whether it answers by then.
    pub(super) fn answers(&mut self, now: Instant, deadline: Instant) -> bool {
        let question = self.met.question().get_packed_command();
        let answer = self.exchange(&question, 0, 1, now, deadline);
        answer.is_ok_and(|mut answer| {
            let answer = answer.pop().unwrap_or(Value::Nil);
            self.met.is_confirmed_by(&answer)
        })
    }

    /// Takes newer credentials. If the server refuses them, it goes by those before.
    pub(super) fn renew(
        &mut self,
        newer: Arc<Held>,
        now: Instant,
        deadline: Instant,
    ) -> RedisResult<()> {
        let auth = newer.auth().get_packed_command();
        let reply = self.exchange(&auth, 0, 1, now, deadline)?.pop();
        match result_of(reply.unwrap_or(Value::Nil)) {
            Ok(_) => (self.held, self.renew_at) = (Some(newer), None),
            Err(error) => {
                tracing::warn!(%error, "the credentials of a connection are not renewed yet");
                self.renew_at = self.held.as_ref().map(|held| now + held.pause(now));
            }
        }
        Ok(())
    }

    /// The handshake in one round trip: HELLO or AUTH, and what [`greeting`] adds.
    fn shake_hands(
        &mut self,
        target: &Target,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<()> {
        let mut greeting = Pipeline::new();
        match (protocol, &target.password) {
            (Protocol::Resp3, password) => {
                greeting.cmd("HELLO").arg(3);
                if let Some(password) = password {
                    greeting
                        .arg("AUTH")
                        .arg(target.username.as_deref().unwrap_or("default"))
                        .arg(password);
                }
            }
            (Protocol::Resp2, Some(password)) => {
                greeting
                    .cmd("AUTH")
                    .arg(target.username.as_deref())
                    .arg(password);
            }
            (Protocol::Resp2, None) => {}
        }
        let must = greeting.len();
        greeting::write(target, &mut greeting);
        let mut replies = self
            .exchange(
                &greeting.get_packed_pipeline(),
                0,
                greeting.len(),
                Instant::now(),
                deadline,
            )
            .map_err(Error::from_redis)?;
        let extras = replies.split_off(must);
        for reply in replies {
            result_of(reply)?;
        }
        self.met = greeting::read(target, extras)?;
        Ok(())
    }

    /// Sends packed commands, skips `offset` replies and reads `count`.
    pub(crate) fn exchange(
        &mut self,
        packed: &[u8],
        offset: usize,
        count: usize,
        now: Instant,
        deadline: Instant,
    ) -> RedisResult<Vec<Value>> {
        if !self.in_step {
            return Err(broke_earlier());
        }
        self.in_step = false;
        self.stream.start(now, deadline);
        self.stream.write_all(packed)?;
        let mut replies = Vec::with_capacity(count);
        let mut refused = None;
        for index in 0..offset + count {
            let reply = self.read()?;
            match reply {
                reply if index >= offset => replies.push(reply),
                // The error of a command that a transaction refused explains more than that of EXEC.
                Value::ServerError(error) => refused = refused.or(Some(error)),
                _ => {}
            }
        }
        self.in_step = true;
        match refused {
            Some(error) => Err(RedisError::from(error)),
            None => Ok(replies),
        }
    }

    fn read(&mut self) -> RedisResult<Value> {
        loop {
            match self.incoming.next(&mut self.stream)? {
                Value::Push { kind, data } => self.keep(PushInfo { kind, data })?,
                value => return Ok(value),
            }
        }
    }

    /// Sends a command that is answered by so many confirmations, which are pushes: `SUBSCRIBE` and its kin. An error
    /// reply is the only other answer.
    pub(super) fn subscribe(
        &mut self,
        packed: &[u8],
        confirmations: usize,
        now: Instant,
        deadline: Instant,
    ) -> RedisResult<Value> {
        if !self.in_step {
            return Err(broke_earlier());
        }
        self.in_step = false;
        self.stream.start(now, deadline);
        self.stream.write_all(packed)?;
        let mut left = confirmations;
        while left > 0 {
            match self.incoming.next(&mut self.stream)? {
                Value::Push { kind, data } => {
                    left -= usize::from(confirms(&kind));
                    self.keep(PushInfo { kind, data })?;
                }
                reply => {
                    self.in_step = true;
                    return Ok(reply);
                }
            }
        }
        self.in_step = true;
        Ok(Value::Nil)
    }

    fn keep(&mut self, push: PushInfo) -> RedisResult<()> {
        if let Some(pushes) = &mut self.pushes {
            self.kept += size(&push);
            if pushes.len() >= KEPT_PUSHES || self.kept > KEPT_BYTES {
                self.in_step = false;
                return Err(too_many_pushes());
            }
            pushes.push_back(push);
        }
        Ok(())
    }

    /// From now on, keeps the messages that the server sends by itself.
    pub(super) fn keep_pushes(&mut self) {
        self.pushes.get_or_insert_default();
    }

    /// A message that has come already.
    pub(super) fn kept_push(&mut self) -> Option<PushInfo> {
        let push = self.pushes.as_mut().and_then(VecDeque::pop_front)?;
        self.kept = self.kept.saturating_sub(size(&push));
        Some(push)
    }

    /// The next message that the server sends by itself, until the deadline.
    pub(super) fn next_push(&mut self, deadline: Instant) -> RedisResult<Option<PushInfo>> {
        if let Some(push) = self.kept_push() {
            return Ok(Some(push));
        }
        if !self.in_step {
            return Err(broke_earlier());
        }
        if !self.is_current() {
            return Err(turned_away());
        }
        loop {
            self.stream.start(Instant::now(), deadline);
            // If time is up in the middle of a message, what is there is kept, and the next time goes on.
            match self.incoming.next(&mut self.stream) {
                Ok(Value::Push { kind, data }) => return Ok(Some(PushInfo { kind, data })),
                // A reply that nobody waits for.
                Ok(_) => {}
                Err(error) if error.is_timeout() => return Ok(None),
                Err(error) => {
                    self.in_step = false;
                    return Err(error);
                }
            }
        }
    }

    pub(crate) fn is_in_step(&self) -> bool {
        self.in_step
    }
}

fn broke_earlier() -> RedisError {
    io::Error::new(io::ErrorKind::NotConnected, "the connection broke earlier").into()
}

/// Whether a push is the answer to a command.
fn confirms(kind: &PushKind) -> bool {
    matches!(
        kind,
        PushKind::Subscribe
            | PushKind::PSubscribe
            | PushKind::SSubscribe
            | PushKind::Unsubscribe
            | PushKind::PUnsubscribe
            | PushKind::SUnsubscribe
    )
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("in_step", &self.in_step)
            .finish_non_exhaustive()
    }
}

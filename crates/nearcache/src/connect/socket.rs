//! A blocking connection with a deadline, even if the server sends byte by byte.
//!
//! It exists because redis-rs's own blocking connection applies the whole timeout to each read. Encoding and parsing
//! are redis-rs's. A socket whose last reply was not read completely is never read again: see [`Socket::is_in_step`].

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use redis::{Pipeline, PushInfo, PushKind, RedisError, RedisResult, Value};

use super::driven::{KEPT_BYTES, KEPT_PUSHES, size, too_many_pushes};
use super::greeting::{self, Met};
use super::stream::{Stream, Timed};
use super::target::{Protocol, Target};
use super::{LAIN_IDLE, result_of};
use crate::error::{Error, ErrorKind, Result};

/// A blocking connection: redis-rs's parser over a stream with a deadline.
pub(crate) struct Socket {
    stream: Timed,
    parser: redis::Parser,
    /// Whether every command sent so far has got its whole reply.
    in_step: bool,
    /// The messages that the server sent by itself, if they are kept.
    pushes: Option<VecDeque<PushInfo>>,
    /// Their bytes.
    kept: usize,
    /// What the server said when the connection was made.
    pub(super) met: Met,
}

impl Socket {
    /// Connects, and does the handshake.
    pub(super) fn open(target: &Target, deadline: Instant) -> Result<Self> {
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
        let stream = Timed::new(Stream::open(&target.place, deadline).map_err(Error::io)?);
        let mut socket = Socket {
            stream,
            parser: redis::Parser::new(),
            in_step: true,
            pushes: None,
            kept: 0,
            met: Met::default(),
        };
        socket.shake_hands(target, protocol, deadline)?;
        Ok(socket)
    }

    /// A socket over a stream whose handshake is done.
    #[cfg(all(unix, any(fuzzing, test)))]
    #[allow(dead_code, reason = "not so with all features")]
    pub(crate) fn over(stream: std::os::unix::net::UnixStream) -> Self {
        Socket {
            stream: Timed::new(Stream::Unix(stream)),
            parser: redis::Parser::new(),
            in_step: true,
            pushes: None,
            kept: 0,
            met: Met::default(),
        }
    }

    /// Whether the server has not closed the connection. The kernel is asked only if the socket was idle for a while,
    /// because that takes three system calls.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.stream.begun) < LAIN_IDLE || self.stream.is_connected()
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
            match self.parser.parse_value(&mut self.stream)? {
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
            match self.parser.parse_value(&mut self.stream)? {
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

    /// The next message that the server sends by itself, until the deadline.
    pub(super) fn next_push(&mut self, deadline: Instant) -> RedisResult<Option<PushInfo>> {
        if let Some(push) = self.pushes.as_mut().and_then(VecDeque::pop_front) {
            self.kept = self.kept.saturating_sub(size(&push));
            return Ok(Some(push));
        }
        if !self.in_step {
            return Err(broke_earlier());
        }
        loop {
            self.stream.start(Instant::now(), deadline);
            // If time is up in the middle of a message, the parser keeps what it has, and goes on the next time.
            match self.parser.parse_value(&mut self.stream) {
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

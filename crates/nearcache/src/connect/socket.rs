//! A blocking connection that keeps to a deadline, however slowly the server dribbles.
//!
//! redis-rs's own blocking connection gives each read the whole timeout, which is why the socket is ours;
//! the encoding and the parsing are redis-rs's. What a socket has not read to its end it never reads again:
//! see [`Socket::is_in_step`].

use std::io;
use std::time::{Duration, Instant};

use redis::{Pipeline, RedisError, RedisResult, Value};

use super::stream::{Stream, Timed};
use super::target::{Protocol, Target};
use super::{result_of, server};
use crate::error::{Error, ErrorKind, Result};

/// After this, an idle socket is looked at before it is used.
const LAIN_IDLE: Duration = Duration::from_millis(100);

/// A blocking connection: redis-rs's parser over a socket that keeps to a deadline.
pub(crate) struct Socket {
    stream: Timed,
    parser: redis::Parser,
    /// Every command sent so far has had its whole reply.
    in_step: bool,
    /// What tells the server from another, if it says it.
    pub(super) run_id: Option<String>,
}

impl Socket {
    /// Connects, and greets the server.
    pub(super) fn open(target: &Target, deadline: Instant) -> Result<Self> {
        match target.protocol {
            Some(protocol) => Self::open_as(target, protocol, deadline),
            None => match Self::open_as(target, Protocol::Resp3, deadline) {
                // A server that does not know HELLO, or not this version of the protocol.
                Err(error) if error.kind() == ErrorKind::Server => {
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
            run_id: None,
        };
        socket.shake_hands(target, protocol, deadline)?;
        Ok(socket)
    }

    /// Over a stream on which somebody has shaken hands.
    #[cfg(all(unix, any(fuzzing, test)))]
    #[allow(dead_code, reason = "not so with all features")]
    pub(crate) fn over(stream: std::os::unix::net::UnixStream) -> Self {
        Socket {
            stream: Timed::new(Stream::Unix(stream)),
            parser: redis::Parser::new(),
            in_step: true,
            run_id: None,
        }
    }

    /// Whether the server has not hung up on it meanwhile. Asked of the kernel only after it has lain
    /// idle for a while: it costs three system calls.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.stream.begun) < LAIN_IDLE || self.stream.is_connected()
    }

    /// HELLO or AUTH, SELECT, and who we are, in one round trip.
    fn shake_hands(
        &mut self,
        target: &Target,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<()> {
        let mut greeting = Pipeline::new();
        // What the server must agree to; what follows is courtesy, and old servers do not know it.
        let mut must = 0;
        match (protocol, &target.password) {
            (Protocol::Resp3, password) => {
                greeting.cmd("HELLO").arg(3);
                if let Some(password) = password {
                    greeting
                        .arg("AUTH")
                        .arg(target.username.as_deref().unwrap_or("default"))
                        .arg(password);
                }
                must += 1;
            }
            (Protocol::Resp2, Some(password)) => {
                greeting
                    .cmd("AUTH")
                    .arg(target.username.as_deref())
                    .arg(password);
                must += 1;
            }
            (Protocol::Resp2, None) => {}
        }
        if target.db != 0 {
            greeting.cmd("SELECT").arg(target.db);
            must += 1;
        }
        if let Some(name) = &target.client_name {
            greeting.cmd("CLIENT").arg("SETNAME").arg(name);
            must += 1;
        }
        greeting
            .cmd("CLIENT")
            .arg("SETINFO")
            .arg("LIB-NAME")
            .arg("nearcache");
        greeting
            .cmd("CLIENT")
            .arg("SETINFO")
            .arg("LIB-VER")
            .arg(env!("CARGO_PKG_VERSION"));
        greeting.cmd("INFO").arg("server");
        let mut replies = self
            .exchange(
                &greeting.get_packed_pipeline(),
                0,
                greeting.len(),
                Instant::now(),
                deadline,
            )
            .map_err(Error::from_redis)?;
        self.run_id = replies.pop().as_ref().and_then(server::run_id);
        for reply in replies.into_iter().take(must) {
            result_of(reply)?;
        }
        Ok(())
    }

    /// Sends what is packed, skips `offset` replies and reads `count`.
    pub(crate) fn exchange(
        &mut self,
        packed: &[u8],
        offset: usize,
        count: usize,
        now: Instant,
        deadline: Instant,
    ) -> RedisResult<Vec<Value>> {
        if !self.in_step {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the connection broke earlier",
            )
            .into());
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
                // A command that a transaction did not take says better why than EXEC does.
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
                Value::Push { .. } => {}
                value => return Ok(value),
            }
        }
    }

    pub(crate) fn is_in_step(&self) -> bool {
        self.in_step
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("in_step", &self.in_step)
            .finish_non_exhaustive()
    }
}

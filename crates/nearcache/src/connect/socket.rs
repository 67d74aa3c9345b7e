//! A server, for blocking callers: a pool of sockets, one for each thread that is waiting.
//!
//! 1. Every future is ready when it is first polled: the socket blocks inside `poll`, on the caller's
//!    own thread, and no runtime is involved.
//! 2. A call ends at its limit, however slowly the server dribbles: every read and write is given what
//!    is left of it. (redis-rs's own blocking connection gives each read the whole timeout, which is
//!    why the socket is ours; the encoding and the parsing are redis-rs's.)
//! 3. A socket on which anything but a whole reply happened is never used again, so that no reply is
//!    taken for another command's.
//! 4. At most `pool_size` sockets are open; who finds none free waits for one, within its limit.

use std::io;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};

use super::raw::Raw;
use super::stream::{Stream, Timed};
use super::target::{Protocol, Target};
use super::{Backend, BoxFuture, Common, LinkEvent, Terms, checked, count, replies, timed_out};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;

/// A server, and the sockets that wait for a caller.
#[derive(Debug)]
pub(super) struct Server {
    target: Target,
    common: Common,
    pool: Mutex<Pool>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    /// The last one used comes first: few sockets stay warm, rather than all lukewarm.
    idle: Vec<Socket>,
    /// Idle ones and those in use.
    open: usize,
    /// Sockets of an older generation are closed when they come back.
    generation: u64,
}

impl Server {
    pub(super) fn new(target: Target) -> Self {
        let common = Common::new(&target, Runtime::Threads);
        Server {
            target,
            common,
            pool: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Runs one exchange on a socket of the pool.
    fn exchange(&self, packed: &[u8], count: usize, terms: Terms) -> Result<Vec<Value>> {
        self.try_exchange(packed, count, terms)
            .map_err(|error| error.on_host(&self.common.host))
    }

    fn try_exchange(&self, packed: &[u8], count: usize, terms: Terms) -> Result<Vec<Value>> {
        let limit = terms.limit;
        // The clock is read here, and then only where something takes its time.
        let begun = Instant::now();
        let mut taken = self.take(begun, limit)?;
        if let Err(outdated) = self.common.check(terms) {
            self.give_back(taken);
            return Err(outdated);
        }
        match taken
            .socket
            .exchange(packed, 0, count, taken.now, begun + limit)
        {
            Ok(values) => {
                self.give_back(taken);
                Ok(values)
            }
            Err(error) if error.is_timeout() => {
                self.drop_one(taken.generation, false);
                Err(timed_out(limit, ""))
            }
            Err(error) => {
                self.drop_one(taken.generation, true);
                Err(Error::from_redis(error))
            }
        }
    }

    fn take(&self, begun: Instant, limit: Duration) -> Result<Taken> {
        let mut pool = self.pool.lock();
        let mut now = begun;
        loop {
            let generation = pool.generation;
            while let Some(socket) = pool.idle.pop() {
                if socket.is_usable(now) {
                    return Ok(Taken {
                        socket,
                        generation,
                        now,
                    });
                }
                // Its end was noticed only now.
                pool.open -= 1;
                self.common.outbox.lost(now);
            }
            if pool.open < self.target.pool_size {
                pool.open += 1;
                drop(pool);
                let opened = Socket::open(&self.target, begun + limit);
                let socket = opened.map_err(|error| {
                    self.drop_one(generation, false);
                    match error.kind() {
                        ErrorKind::Timeout => timed_out(limit, "while connecting"),
                        _ => error,
                    }
                })?;
                self.common.connected(socket.greeted.as_ref());
                self.common.listeners.tell(LinkEvent::Ready);
                return Ok(Taken {
                    socket,
                    generation,
                    now: Instant::now(),
                });
            }
            if self.freed.wait_until(&mut pool, begun + limit).timed_out() && pool.idle.is_empty() {
                let doing = format!("waiting for one of {} connections", self.target.pool_size);
                return Err(timed_out(limit, &doing));
            }
            now = Instant::now();
        }
    }

    fn give_back(&self, taken: Taken) {
        let mut pool = self.pool.lock();
        if taken.generation == pool.generation {
            pool.idle.push(taken.socket);
        } else {
            pool.open -= 1;
        }
        drop(pool);
        self.freed.notify_one();
    }

    /// One socket less. Where the server hung up on it, the idle ones are as dead: nobody else needs
    /// to find that out.
    fn drop_one(&self, generation: u64, lost: bool) {
        let mut pool = self.pool.lock();
        pool.open -= 1;
        let lost = lost && generation == pool.generation;
        if lost {
            pool.generation += 1;
            pool.open -= pool.idle.len();
            pool.idle.clear();
        }
        drop(pool);
        self.freed.notify_one();
        if lost {
            self.common.lost();
        }
    }
}

struct Taken {
    socket: Socket,
    generation: u64,
    now: Instant,
}

impl Backend for Server {
    fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let reply = self
                .exchange(&command.get_packed_command(), 1, terms)?
                .pop();
            checked(reply.unwrap_or(Value::Nil)).map_err(|error| error.on_host(&self.common.host))
        })
    }

    fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        let count = count(pipeline);
        Box::pin(async move {
            let values = self.exchange(&pipeline.get_packed_pipeline(), count, terms)?;
            replies(pipeline, values).map_err(|error| error.on_host(&self.common.host))
        })
    }

    fn connection(&self, limit: Duration) -> BoxFuture<'_, Result<Raw>> {
        Box::pin(async move {
            let socket = Socket::open(&self.target, Instant::now() + limit)
                .map_err(|error| error.on_host(&self.common.host))?;
            Ok(Raw::Socket(Box::new(socket)))
        })
    }

    fn disconnect(&self) {
        self.common.outbox.lost(Instant::now());
        let mut pool = self.pool.lock();
        pool.generation += 1;
        pool.open -= pool.idle.len();
        pool.idle.clear();
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

/// A blocking connection: redis-rs's parser over a socket that keeps to a deadline.
pub(crate) struct Socket {
    stream: Timed,
    parser: redis::Parser,
    /// Every command sent so far has had its whole reply.
    in_step: bool,
    /// What the server said of itself, if it does.
    greeted: Option<Value>,
}

impl Socket {
    fn open(target: &Target, deadline: Instant) -> Result<Self> {
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
            greeted: None,
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
            greeted: None,
        }
    }

    /// Whether the server has not hung up on it meanwhile. Asked of the kernel only after it has lain
    /// idle for a while: it costs three system calls.
    fn is_usable(&self, now: Instant) -> bool {
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
        self.greeted = replies.pop();
        for reply in replies.into_iter().take(must) {
            checked(reply)?;
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

/// After this, a socket of the pool is looked at before it is used.
const LAIN_IDLE: Duration = Duration::from_millis(100);

//! The backend for blocking callers of a server: a pool of sockets, one for each waiting thread.
//!
//! 1. Every future is ready at the first poll: the socket blocks inside `poll`, on the caller's own thread, and no
//!    runtime is involved.
//! 2. A call ends at its limit, which includes waiting for a socket, and opening one, unless the target has a time for
//!    that.
//! 3. A socket is used again only if the last exchange on it read whole replies, so that no reply is taken for that of
//!    another command.
//! 4. At most `pool_size` sockets are open. A caller that finds none free waits for one, within its limit.
//! 5. After a fork, the child opens sockets of its own.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::raw::Dedicated;
use super::socket::Socket;
use super::target::Target;
use super::{
    Backend, BoxFuture, Common, LinkEvent, Terms, change_nothing, count, doubts, replies,
    result_of, time_to_connect, timed_out,
};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use crate::ttl::in_millis;

/// A server, and its idle sockets.
#[derive(Debug)]
pub(super) struct Pooled {
    target: Target,
    common: Common,
    pool: Mutex<Pool>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    /// The most recently used socket is taken first, so that only as many stay in use as are needed.
    idle: Vec<Socket>,
    /// The number of open sockets, idle and in use.
    open: usize,
    /// Sockets of an older generation are closed when they come back.
    generation: u64,
}

impl Pooled {
    fn open_alone(&self, target: &Target, limit: Duration) -> Result<Dedicated> {
        let (begun, pace) = (Instant::now(), self.common.pace());
        pace.admit(begun)?;
        let limit = time_to_connect(target, limit);
        let opened = Socket::open(target, begun + limit);
        pace.note(&opened, Instant::now());
        let mut socket = opened?;
        socket.keep_pushes();
        Ok(Dedicated::Socket(Box::new(socket)))
    }

    pub(super) fn new(target: Target) -> Self {
        let common = Common::new(&target, Runtime::Threads);
        Pooled {
            target,
            common,
            pool: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Sends commands and reads their replies on a socket of the pool.
    ///
    /// `writes`: whether the commands change anything.
    fn exchange(
        &self,
        packed: &[u8],
        count: usize,
        writes: bool,
        terms: Terms,
    ) -> Result<Vec<Value>> {
        let limit = terms.limit;
        // The clock is read here, and again only after a step that takes time.
        let begun = Instant::now();
        let mut taken = self.take(begun, limit)?;
        if let Err(outdated) = self.common.check(terms) {
            self.give_back(taken);
            return Err(outdated);
        }
        let deadline = taken.deadline;
        let mut sent = Ok(());
        if self.common.doubts().any() {
            sent = self.close_doubtful(&mut taken, deadline);
        }
        let outcome =
            sent.and_then(|()| taken.socket.exchange(packed, 0, count, taken.now, deadline));
        if writes && outcome.is_err() {
            self.common.doubts().add(&taken.socket.met);
        }
        match outcome {
            Ok(values) => {
                self.give_back(taken);
                // Promise 6 of [`Backend`].
                if self.common.must_leave(&values) {
                    self.disconnect();
                }
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

    /// Promise 7 of [`Backend`].
    #[cold]
    fn close_doubtful(&self, taken: &mut Taken, deadline: Instant) -> RedisResult<()> {
        let doubts = self.common.doubts();
        let ids = doubts.before(&taken.socket.met);
        if !ids.is_empty() {
            let packed = doubts::kill(&ids).get_packed_pipeline();
            let exchanged = taken
                .socket
                .exchange(&packed, 0, ids.len(), taken.now, deadline);
            doubts.killed(&ids, &exchanged?, self.common.host());
            taken.now = Instant::now();
        }
        Ok(())
    }

    fn take(&self, begun: Instant, limit: Duration) -> Result<Taken> {
        let mut pool = self.pool.lock();
        if self.common.is_fork() {
            self.start_afresh(&mut pool);
        }
        let mut now = begun;
        loop {
            let generation = pool.generation;
            while let Some(socket) = pool.idle.pop() {
                if socket.is_usable(now) {
                    return Ok(Taken {
                        socket,
                        generation,
                        now,
                        deadline: begun + limit,
                    });
                }
                // The server had closed it, which is noticed only now.
                pool.open -= 1;
                self.common.tell(&LinkEvent::Dropped);
            }
            if pool.open < self.target.pool_size {
                self.common.pace().admit(now)?;
                pool.open += 1;
                drop(pool);
                // With a time of its own, connecting does not count as a part of the call.
                let own = self.target.connect_timeout;
                let until = own.map_or(begun + limit, |time| now + time);
                let opened = Socket::open(&self.target, until);
                let ended = Instant::now();
                self.common.pace().note(&opened, ended);
                let socket = opened.map_err(|error| {
                    self.drop_one(generation, false);
                    match error.kind() {
                        ErrorKind::Timeout => timed_out(own.unwrap_or(limit), "while connecting"),
                        _ => error,
                    }
                })?;
                let run_id = socket.met.run_id.clone();
                self.common.tell(&LinkEvent::Ready { run_id });
                let waited = own.map_or(Duration::ZERO, |_| ended - now);
                return Ok(Taken {
                    socket,
                    generation,
                    now: ended,
                    deadline: begun + limit + waited,
                });
            }
            if self.freed.wait_until(&mut pool, begun + limit).timed_out() && pool.idle.is_empty() {
                let doing = format!(
                    "gave up after {:?} waiting for one of {} connections; raise pool_size",
                    in_millis(limit),
                    self.target.pool_size
                );
                return Err(Error::new(ErrorKind::PoolExhausted, doing));
            }
            now = Instant::now();
        }
    }

    /// Invariant 5. Closing a socket here does not close the parent's, and nothing is sent.
    #[cold]
    fn start_afresh(&self, pool: &mut Pool) {
        *pool = Pool {
            generation: pool.generation + 1,
            ..Pool::default()
        };
        self.common.take_over();
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

    /// Drops one socket. If the server closed it, the idle ones are dropped too: they are just as dead.
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
            self.common.tell(&LinkEvent::Lost);
        }
    }
}

struct Taken {
    socket: Socket,
    generation: u64,
    now: Instant,
    /// When the call ends.
    deadline: Instant,
}

impl Backend for Pooled {
    fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let packed = command.get_packed_command();
            let reply = self
                .exchange(&packed, 1, !change_nothing([command]), terms)?
                .pop();
            result_of(reply.unwrap_or(Value::Nil))
        })
    }

    fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        Box::pin(async move {
            let packed = pipeline.get_packed_pipeline();
            let writes = !change_nothing(pipeline.cmd_iter());
            let all = self.exchange(&packed, count(pipeline), writes, terms)?;
            replies(&self.common, pipeline, all)
        })
    }

    fn dedicated(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        Box::pin(async move { self.open_alone(&self.target, limit) })
    }

    fn for_messages(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        Box::pin(async move { self.open_alone(&self.target.for_messages(), limit) })
    }

    fn disconnect(&self) {
        self.common.tell(&LinkEvent::Dropped);
        let mut pool = self.pool.lock();
        pool.generation += 1;
        pool.open -= pool.idle.len();
        pool.idle.clear();
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

#[cfg(test)]
mod tests {
    use super::super::LAIN_IDLE;
    use super::*;

    #[test]
    fn what_the_server_closed_while_it_was_idle_is_found_before_a_write() {
        let redis = nearcache_testkit::Redis::start();
        for url in [redis.url(), redis.unix_url()] {
            let client = redis::Client::open(url.replace("redis+unix", "unix")).unwrap();
            let server = Pooled::new(Target::from_client(&client).unwrap());
            let limit = Duration::from_secs(60);
            let taken = server.take(Instant::now(), limit).unwrap();
            server.give_back(taken);
            redis.inline("CLIENT KILL TYPE normal");
            nearcache_testkit::eventually("the connection is closed", || {
                redis.inline("CLIENT LIST").lines().count() == 1
            });
            let later = Instant::now() + LAIN_IDLE;
            let mut taken = server.take(later, limit).unwrap();
            let packed = redis::cmd("INCR").arg("n").get_packed_command();
            let deadline = later + limit;
            taken
                .socket
                .exchange(&packed, 0, 1, later, deadline)
                .unwrap();
        }
        assert_eq!(redis.inline("GET n"), "2");
    }
}

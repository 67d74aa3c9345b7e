//! The backend for blocking callers of a server: a pool of sockets, one for each waiting thread.
//!
//! 1. Every future is ready at the first poll: the socket blocks inside `poll`, on the caller's own thread, and no
//!    runtime is involved. So a call needs no future at all (`begin`).
//! 2. A call ends at its limit, which includes waiting for a socket, and opening one, unless the target has a time for
//!    that.
//! 3. A socket is used again only if the last exchange on it read whole replies, so that no reply is taken for that of
//!    another command.
//! 4. At most `pool_size` sockets are open. A caller that finds none free waits for one, within its limit.
//! 5. After a fork, the child opens sockets of its own.
//! 6. A socket that was idle for [`LONG_IDLE`](super::LONG_IDLE) answers a question before a call is sent on it, within a
//!    quarter of the call's limit. If it does not, those that were idle as long are dropped with it: a firewall may have
//!    dropped them silently.
//! 7. A socket whose credentials expire takes newer ones before it is used. As long as there are none, it goes on with
//!    those it has, until they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::broadcast::Broadcast;
use super::led::connect_until;
use super::raw::Dedicated;
use super::socket::Socket;
use super::target::Target;
use super::{
    Answer, Backend, BoxFuture, Common, LinkEvent, Terms, change_nothing, changes_nothing, count,
    doubts, each_of, packed, replies, replies_of, result_of, time_to_connect, time_to_prove,
    timed_out,
};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use crate::ttl::in_millis;

/// A server, and its idle sockets.
#[derive(Debug)]
pub(super) struct Pooled {
    target: Target,
    common: Arc<Common>,
    broadcast: Broadcast,
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
        let (runtime, pace) = (self.common.runtime(), self.common.pace());
        let begun = runtime.now();
        pace.admit(begun)?;
        let limit = time_to_connect(target, limit);
        let opened = connect_until(target, &self.common, begun + limit);
        pace.note(&opened, runtime.now());
        let mut socket = opened?;
        socket.keep_pushes();
        Ok(Dedicated::Socket(Box::new(socket)))
    }

    pub(super) fn new(target: Target) -> Self {
        let common = Common::new(&target, Runtime::Threads);
        Self::with(target, common)
    }

    pub(super) fn with(target: Target, common: Common) -> Self {
        Pooled {
            broadcast: Broadcast::default(),
            target,
            common: Arc::new(common),
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
        let begun = self.common.runtime().now();
        let mut taken = self.take_proven(begun, limit)?;
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
                self.common.leave_if_useless(&values, || self.disconnect());
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

    /// A socket that can be trusted with a call (invariants 6 and 7).
    fn take_proven(&self, begun: Instant, limit: Duration) -> Result<Taken> {
        loop {
            let mut taken = self.take(begun, limit)?;
            let (now, deadline) = (taken.now, taken.deadline);
            if taken.socket.lain_long(now) {
                let patience = time_to_prove(deadline.saturating_duration_since(now));
                if !taken.socket.answers(now, now + patience) {
                    self.drop_silent(&taken);
                    continue;
                }
                taken.now = self.common.runtime().now();
            }
            if self.target.supply.is_some() && self.renew(&mut taken).is_err() {
                self.drop_silent(&taken);
                continue;
            }
            return Ok(taken);
        }
    }

    /// Invariant 7. Nothing is waited for but the server's answer to `AUTH`, when there are newer credentials.
    fn renew(&self, taken: &mut Taken) -> RedisResult<()> {
        let Taken {
            socket,
            now,
            deadline,
            ..
        } = taken;
        let (Some(supply), Some(held)) = (&self.target.supply, &socket.held) else {
            return Ok(());
        };
        if !held.is_due(*now) || socket.renew_at.is_some_and(|at| *now < at) {
            return Ok(());
        }
        if let Some(newer) = supply.newer(self.common.runtime(), held) {
            socket.renew(newer, *now, *deadline)?;
            *now = self.common.runtime().now();
        }
        Ok(())
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
            taken.now = self.common.runtime().now();
        }
        Ok(())
    }

    fn take(&self, begun: Instant, limit: Duration) -> Result<Taken> {
        let mut pool = self.pool.lock();
        if self.common.is_fork() {
            self.start_afresh(&mut pool);
        }
        self.broadcast.ensure(&self.target, &self.common);
        let mut now = begun;
        loop {
            let generation = pool.generation;
            while let Some(mut socket) = pool.idle.pop() {
                if socket.is_usable(now) {
                    // The news may come from another server by now, than this socket leads to.
                    if self.target.tracking.is_some() {
                        let run_id = socket.met.run_id.as_deref();
                        self.broadcast.check(&self.common, run_id);
                    }
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
                let opened = connect_until(&self.target, &self.common, until);
                let ended = self.common.runtime().now();
                self.common.pace().note(&opened, ended);
                let socket = opened.map_err(|error| {
                    self.drop_one(generation, false);
                    match error.kind() {
                        ErrorKind::Timeout => {
                            timed_out(own.unwrap_or(limit), self.target.connecting())
                        }
                        _ => error,
                    }
                })?;
                let met = &socket.met;
                self.broadcast.check(&self.common, met.run_id.as_deref());
                let server = met.server();
                self.common.tell(&LinkEvent::Ready { server });
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
            now = self.common.runtime().now();
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
        self.broadcast.abandon();
    }

    fn give_back(&self, taken: Taken) {
        let mut pool = self.pool.lock();
        if taken.generation == pool.generation && taken.socket.is_current() {
            pool.idle.push(taken.socket);
        } else {
            pool.open -= 1;
        }
        drop(pool);
        self.freed.notify_one();
    }

    /// Drops a socket that did not answer before it was used, and those that were idle as long as it.
    fn drop_silent(&self, taken: &Taken) {
        let mut pool = self.pool.lock();
        let before = pool.idle.len();
        pool.idle.retain(|socket| !socket.lain_long(taken.now));
        pool.open -= 1 + before - pool.idle.len();
        drop(pool);
        self.freed.notify_one();
        self.common.tell(&LinkEvent::Dropped);
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
        Box::pin(async move { self.begin(command, terms).await })
    }

    fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        Box::pin(async move { self.begin_together(pipeline, terms).await })
    }

    fn begin<'a>(&'a self, command: &'a Cmd, terms: Terms) -> Answer<'a, Value> {
        let packed = command.get_packed_command();
        let exchanged = self.exchange(&packed, 1, !change_nothing([command]), terms);
        Answer::Now(
            exchanged.and_then(|mut replies| result_of(replies.pop().unwrap_or(Value::Nil))),
        )
    }

    fn begin_together<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> Answer<'a, Vec<Value>> {
        let packed = pipeline.get_packed_pipeline();
        let writes = !change_nothing(pipeline.cmd_iter());
        let exchanged = self.exchange(&packed, count(pipeline), writes, terms);
        Answer::Now(exchanged.and_then(|all| replies(&self.common, pipeline, all)))
    }

    fn begin_words<'a>(&'a self, words: &'a [&'a [u8]], terms: Terms) -> Answer<'a, Value> {
        let packed = packed::pack([words]);
        let exchanged = self.exchange(&packed, 1, !changes_nothing(words), terms);
        let reply = |mut replies: Vec<Value>| result_of(replies.pop().unwrap_or(Value::Nil));
        Answer::Now(exchanged.and_then(reply))
    }

    fn begin_steps<'a>(
        &'a self,
        words: &'a [&'a [u8]],
        ends: &'a [usize],
        terms: Terms,
    ) -> Answer<'a, Vec<Value>> {
        const MULTI: &[&[u8]] = &[b"MULTI"];
        const EXEC: &[&[u8]] = &[b"EXEC"];
        let steps = || each_of(words, ends);
        let packed = packed::pack([MULTI].into_iter().chain(steps()).chain([EXEC]));
        let writes = !steps().all(changes_nothing);
        let exchanged = self.exchange(&packed, ends.len() + 2, writes, terms);
        let replies = exchanged.and_then(|all| replies_of(&self.common, true, all));
        Answer::Now(replies)
    }

    fn dedicated(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        Box::pin(async move { self.open_alone(&self.target, limit) })
    }

    fn for_messages(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        Box::pin(async move { self.open_alone(&self.target.for_messages(), limit) })
    }

    fn disconnect(&self) {
        self.broadcast.stop();
        self.common.carriers().end();
        self.common.tell(&LinkEvent::Dropped);
        let mut pool = self.pool.lock();
        pool.generation += 1;
        pool.open -= pool.idle.len();
        pool.idle.clear();
    }

    fn follow(&self) {
        self.common.carriers().follow();
        let mut pool = self.pool.lock();
        let before = pool.idle.len();
        pool.idle.retain(Socket::is_current);
        pool.open -= before - pool.idle.len();
        drop(pool);
        self.freed.notify_all();
        self.common.tell(&LinkEvent::Dropped);
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LAIN_IDLE, target};
    use super::*;

    #[test]
    fn what_the_server_closed_while_it_was_idle_is_found_before_a_write() {
        let redis = nearcache_testkit::SecureRedis::start();
        let targets = target::of(&redis);
        let written = targets.len();
        for target in targets {
            let server = Pooled::new(target);
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
        assert_eq!(redis.inline("GET n"), written.to_string());
    }

    #[test]
    fn invariant_6_what_was_dropped_silently_while_it_was_idle_costs_a_part_of_the_limit() {
        use super::super::LONG_IDLE;
        let redis = nearcache_testkit::Redis::start();
        let proxy = nearcache_testkit::Proxy::start(&redis.address());
        let client = redis::Client::open(proxy.url()).unwrap();
        let server = Pooled::new(Target::from_client(&client).unwrap());
        let limit = Duration::from_secs(60);
        let begun = Instant::now();
        let (one, other) = (
            server.take_proven(begun, limit).unwrap(),
            server.take_proven(begun, limit).unwrap(),
        );
        server.give_back(one);
        server.give_back(other);
        let later = Instant::now() + LONG_IDLE;
        let taken = server.take_proven(later, limit).unwrap();
        let commands = proxy.commands();
        let asked = commands
            .iter()
            .filter(|command| *command == "INFO replication");
        assert_eq!(asked.count(), 2 + 1, "once by each greeting: {commands:?}");
        server.give_back(taken);
        assert_eq!(proxy.connections(), 2);
        let silence = proxy.hold(nearcache_testkit::Frames::requests());
        // A quarter of the limit is waited for, and both are left.
        let limit = Duration::from_secs(4);
        let later = Instant::now() + 2 * LONG_IDLE;
        let mut taken = std::thread::scope(|scope| {
            let taking = scope.spawn(|| server.take_proven(later, limit).unwrap());
            nearcache_testkit::eventually("it connects anew", || proxy.connections() == 3);
            drop(silence);
            taking.join().unwrap()
        });
        assert_eq!(server.pool.lock().open, 1);
        let packed = redis::cmd("INCR").arg("n").get_packed_command();
        let now = Instant::now();
        taken
            .socket
            .exchange(&packed, 0, 1, now, now + Duration::from_secs(60))
            .unwrap();
    }
}

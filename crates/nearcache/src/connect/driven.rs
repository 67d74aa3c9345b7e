//! A connection to a server that many tasks share. `driver` has the task that drives it, `alive` what the two know of
//! each other, `lane` the calls that are on their way; `open` makes one.

mod open;

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisResult};
use tokio::task::AbortHandle;

use super::alive::{Alive, Seen};
use super::carrier::Carrier;
use super::greeting::Met;
use super::lane::Lane;
use super::led::{self, Led};
use super::pushes::{Kept, size, too_many_pushes, without_pushes};
use super::supply::Held;
use super::{Common, LAIN_IDLE, LONG_IDLE, LinkEvent};
use crate::runtime::first;

/// How often a driver is waited for that has something to read: a few turns of the scheduler, and then a millisecond each.
const CATCH_UP: usize = 20;

/// The references to an idle connection: its link, and the lock-free `latest`.
const HOLDERS: usize = 2;

/// A connection, and the task that drives it and ends with it.
#[derive(Debug)]
pub(crate) struct Driven {
    connection: MultiplexedConnection,
    alive: Arc<Alive>,
    driver: AbortHandle,
    /// What the server said when the connection was made.
    pub(super) met: Met,
    /// How often all connections had been left when it was made.
    partings: u64,
    /// When it was made, and in milliseconds from then, when a call last used it.
    made: Instant,
    used: AtomicU64,
    /// The calls in a row that got no reply, and since when.
    in_vain: AtomicU32,
    in_vain_since: Mutex<Option<Instant>>,
    /// In the same milliseconds, when its credentials end.
    expires: AtomicU64,
    renewer: Option<AbortHandle>,
    /// Whether it was idle for long, and has not answered since.
    doubtful: AtomicBool,
    proving: tokio::sync::Mutex<()>,
    /// A weak reference for the driver, which shows how many calls hold the connection.
    itself: Arc<OnceLock<Weak<Driven>>>,
    /// The messages that the server sends by itself, if they are kept.
    pushes: Option<Kept>,
    /// Where the place led to.
    led: Option<Led>,
}

impl Driven {
    /// What carries the news of changed keys, if they are told.
    pub(super) fn carrier(&self) -> Option<&Arc<Carrier>> {
        self.alive.carrier.get()
    }

    /// Where the place led to when it was made.
    #[cfg(feature = "sentinel")]
    pub(super) fn set_led(&mut self, led: Led) {
        if let Some(carrier) = self.carrier() {
            carrier.set_led(led.clone());
        }
        self.led = Some(led);
    }

    /// Moves it behind an `Arc`, whose count tells the driver how many calls are running.
    pub(super) fn shared(self) -> Arc<Self> {
        let shared = Arc::new(self);
        let _ = shared.itself.set(Arc::downgrade(&shared));
        shared
    }

    /// The connection, for an exclusive user: there are no other calls to send together with.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// The next message that the server sent by itself. An error if none can come any more.
    pub(super) async fn next_push(&self) -> RedisResult<PushInfo> {
        let Some(Kept { messages, bytes }) = &self.pushes else {
            return Err(without_pushes());
        };
        let next = async { messages.lock().await.recv().await };
        match self.while_current(async { Ok(next.await) }).await? {
            Some(push) if push.kind != PushKind::Disconnection => {
                bytes.fetch_sub(size(&push), Ordering::Relaxed);
                Ok(push)
            }
            Some(_) => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            None => Err(too_many_pushes()),
        }
    }

    /// Waits for a reply on a connection of the caller's own, but no longer than the place leads there.
    pub(super) async fn while_current<T>(
        &self,
        reply: impl Future<Output = RedisResult<T>>,
    ) -> RedisResult<T> {
        match &self.led {
            Some(led) => match first(reply, led.turned()).await {
                Ok(reply) => reply,
                Err(()) => Err(led::turned_away()),
            },
            None => reply.await,
        }
    }

    /// Whether the place still leads there.
    pub(super) fn is_current(&self) -> bool {
        self.led.as_ref().is_none_or(Led::is_current)
    }

    /// Begins to ask something through redis-rs.
    pub(super) fn begin(&self) -> Call<'_> {
        Call {
            connected: self,
            after: self.given_up(),
        }
    }

    /// The reply has come to something that was sent when so many writes had been given up.
    #[inline]
    pub(super) fn note_answer(&self, after: u64) {
        if self.doubtful.load(Ordering::Relaxed) {
            self.doubtful.store(false, Ordering::Relaxed);
        }
        if self.in_vain.load(Ordering::Relaxed) != 0 {
            self.in_vain.store(0, Ordering::Relaxed);
            *self.in_vain_since.lock() = None;
        }
        // Replies come in turn: the server is done with what was sent before.
        if after > self.alive.settled.load(Ordering::Relaxed) {
            self.alive.settled.fetch_max(after, Ordering::AcqRel);
        }
    }

    /// The calls of the tasks that share it.
    pub(super) fn lane(&self) -> &Lane {
        &self.alive.lane
    }

    /// How many writes have been given up so far.
    pub(super) fn given_up(&self) -> u64 {
        self.alive.given_up.load(Ordering::Acquire)
    }

    /// How many calls are under way on it, with that of who asks.
    pub(super) fn calls(self: &Arc<Self>) -> usize {
        Arc::strong_count(self).saturating_sub(HOLDERS)
    }

    /// Sends what was added to the lane, if the way is free. Otherwise, or if something of it is left, the driver goes on.
    pub(super) fn send(&self) -> bool {
        let wire = self.alive.wire.upgrade();
        wire.is_some_and(|wire| wire.send(&self.alive))
    }

    /// The parts that every backend has.
    pub(super) fn common(&self) -> &Arc<Common> {
        &self.alive.common
    }

    /// A write that was sent is not waited for any more.
    pub(super) fn give_up(&self) {
        // In one order with the end of the connection: either this sees it, or `end` sees the write.
        let alive = &self.alive;
        alive.given_up.fetch_add(1, Ordering::SeqCst);
        if !alive.alive.load(Ordering::SeqCst) {
            alive.doubt();
        }
    }

    /// Asks on a connection that is not used any more whether the server is done with what was given up on it. If it
    /// answers, then others need not lose their connection.
    pub(super) fn ask_whether_settled(self: &Arc<Self>, patience: Duration) {
        let Some(settled) = self.alive.doubt() else {
            return;
        };
        let asked = Arc::clone(self);
        let runtime = self.alive.common.runtime().clone();
        self.alive.common.runtime().spawn(async move {
            let mut connection = asked.connection();
            let ping = redis::cmd("PING");
            let asking = connection.send_packed_command(&ping);
            if let Some(Ok(_)) = runtime.timeout(patience, || asking).await {
                settled.store(true, Ordering::Release);
            }
        });
    }

    /// A call waited so long without a reply. Returns how many did so in a row, and for how long together.
    pub(super) fn waited(&self, time: Duration, now: Instant) -> (u32, Duration) {
        let mut since = self.in_vain_since.lock();
        let since = *since.get_or_insert(now.checked_sub(time).unwrap_or(now));
        let calls = self.in_vain.fetch_add(1, Ordering::Relaxed) + 1;
        (calls, now.saturating_duration_since(since))
    }

    /// Whether a call that begins now can use it. On a runtime that stood still, the driver has not seen yet that the
    /// server closed the connection. So the kernel is asked, if the connection was idle for a while: that is a system
    /// call. If there is something that the driver has not read, the answer is no as well, until it has
    /// [caught up](Driven::catch_up).
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        if !self.is_alive() || !self.is_current() || self.partings != self.alive.common.partings() {
            return false;
        }
        let millis = now.saturating_duration_since(self.made).as_millis() as u64;
        let last = self.used.load(Ordering::Relaxed);
        let idle = Duration::from_millis(millis.saturating_sub(last));
        let seen = match idle < LAIN_IDLE {
            true => Seen::Nothing,
            false => self.alive.look(),
        };
        if seen != Seen::Unread && last != millis {
            self.used.store(millis, Ordering::Relaxed);
        }
        if millis >= self.expires.load(Ordering::Relaxed) {
            self.leave();
            return false;
        }
        match seen {
            Seen::Closed => self.leave(),
            _ if idle >= LONG_IDLE => self.doubtful.store(true, Ordering::Relaxed),
            _ => {}
        }
        seen == Seen::Nothing
    }

    /// Lets the driver read what is there: it may be a message, or the last one before the end (over TLS, the end itself
    /// is one). What it has not read after a moment is not waited for.
    pub(super) async fn catch_up(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.made).as_millis() as u64;
        let last = self.used.load(Ordering::Relaxed);
        if Duration::from_millis(millis.saturating_sub(last)) < LAIN_IDLE {
            return;
        }
        for turn in 0..CATCH_UP {
            match self.alive.look() {
                Seen::Closed => return,
                Seen::Nothing => break,
                Seen::Unread if turn < 4 => tokio::task::yield_now().await,
                Seen::Unread => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        if Duration::from_millis(millis.saturating_sub(last)) >= LONG_IDLE {
            self.doubtful.store(true, Ordering::Relaxed);
        }
        self.used.store(millis, Ordering::Relaxed);
    }

    /// Ends it for later calls. No call has failed because of it.
    pub(super) fn leave(&self) {
        self.alive.end(&LinkEvent::Dropped);
    }

    /// Notes that the server has these credentials from the connection.
    pub(super) fn note_expiry(&self, held: &Held) {
        let millis = held.end().map_or(u64::MAX, |end| {
            end.saturating_duration_since(self.made).as_millis() as u64
        });
        self.expires.store(millis, Ordering::Relaxed);
    }

    #[cfg(all(test, feature = "blocking"))]
    pub(super) fn is_good_for(&self, clock: &crate::runtime::moved::Clock, time: Duration) -> bool {
        let then = crate::runtime::Runtime::Moved(clock.clone()).now() + time;
        let millis = then.saturating_duration_since(self.made).as_millis() as u64;
        millis < self.expires.load(Ordering::Relaxed)
    }

    /// Whether it must answer before a call is trusted to it.
    #[inline]
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Relaxed)
    }

    /// Waits until it has answered: those who come together ask once. Otherwise it is not used again.
    pub(super) async fn answers(&self, patience: Duration) -> bool {
        let ask = async || {
            let _turn = self.proving.lock().await;
            if !self.is_alive() || !self.is_doubtful() {
                return self.is_alive();
            }
            let call = self.begin();
            let question = self.met.question();
            let answer = call.connection().send_packed_command(&question).await;
            let Some(answer) = answer.ok().filter(|_| self.is_alive()) else {
                return false;
            };
            call.answered();
            self.met.is_confirmed_by(&answer)
        };
        let runtime = self.alive.common.runtime();
        let answered = runtime.timeout(patience, ask).await == Some(true);
        if !answered {
            self.leave();
        }
        answered
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.alive.load(Ordering::Acquire)
    }

    /// Marks it as lost: it is not used again.
    pub(super) fn lose(&self) {
        self.alive.lose();
    }
}

/// Something that is asked through redis-rs, and changes nothing that anybody reads.
pub(super) struct Call<'d> {
    connected: &'d Driven,
    /// How many writes had been given up on the connection when it began.
    after: u64,
}

impl Call<'_> {
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connected.connection.clone()
    }

    /// It got its reply.
    pub(super) fn answered(self) {
        self.connected.note_answer(self.after);
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // Closed on purpose, so no loss is reported.
        self.alive.alive.store(false, Ordering::Release);
        self.alive.end_carrier();
        self.alive.view.lock().take();
        self.alive.doubt();
        if let Some(renewer) = &self.renewer {
            renewer.abort();
        }
        self.driver.abort();
    }
}

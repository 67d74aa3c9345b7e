//! The connection on which a server tells of every changed key of a cache, for blocking callers: they read over many
//! sockets, and none of these is read while nobody calls.
//!
//! 1. One thread has the connection, while the cache is used. It connects when a caller first wants a socket, and again
//!    whenever the connection is lost, for ever, after a pause.
//! 2. The news and what is read come over different connections, so either may be first. Whoever keeps a copy therefore
//!    marks it before it is read: news that come between are not missed.
//! 3. The connection leads to where the place leads, and ends when that is elsewhere. A pool whose sockets lead to another server than this connection carries nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::RedisResult;

use super::carrier::{self, Beat, Carrier};
use super::led::connect_until;
use super::socket::Socket;
use super::target::{Protocol, Target, Tracking};
use super::{Common, LinkEvent, result_of};
use crate::coarse;
use crate::error::{Error, ErrorKind, Result};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(2);

/// The pauses before connecting again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A server that does not tell of changes is asked again after this time: another may be in its place.
const REFUSED: Duration = Duration::from_secs(30);

/// How long the thread waits at a time, before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// The thread, if it runs.
#[derive(Debug, Default)]
pub(super) struct Broadcast {
    running: Mutex<Option<Arc<AtomicBool>>>,
}

impl Broadcast {
    /// Starts the thread, if changes are to be told and it does not run.
    pub(super) fn ensure(&self, target: &Target, common: &Arc<Common>) {
        let Some(tracking) = &target.tracking else {
            return;
        };
        let mut running = self.running.lock();
        if running.is_some() {
            return;
        }
        if target.protocol == Some(Protocol::Resp2) {
            common.warn_of_no_tracking(None);
            common.carriers().put(None, Carrier::silent());
            *running = Some(Arc::default());
            return;
        }
        let stopped = Arc::<AtomicBool>::default();
        let task = Task {
            target: target.for_messages(),
            tracking: tracking.clone(),
            common: Arc::clone(common),
            stopped: Arc::clone(&stopped),
        };
        let thread = thread::Builder::new().name("nearcache-near".to_owned());
        match thread.spawn(move || task.run()) {
            Ok(_) => *running = Some(stopped),
            // The next call tries again.
            Err(error) => tracing::warn!(%error, "could not start the thread of the near tier"),
        }
    }

    /// Ends the thread. The next call starts another.
    pub(super) fn stop(&self) {
        if let Some(stopped) = self.running.lock().take() {
            stopped.store(true, Ordering::SeqCst);
        }
    }

    /// In the child of a fork the thread does not run.
    pub(super) fn abandon(&self) {
        *self.running.lock() = None;
    }

    /// A socket of the pool leads to the server of this `run_id` (invariant 3).
    pub(super) fn check(&self, common: &Common, run_id: Option<&str>) {
        if let Some(carrier) = common.carriers().current()
            && carrier.tells()
            && !carrier.carrier().is_of(run_id)
        {
            carrier.carrier().end();
        }
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread needs.
struct Task {
    target: Target,
    tracking: Tracking,
    common: Arc<Common>,
    stopped: Arc<AtomicBool>,
}

impl Task {
    fn run(self) {
        let mut pause = PAUSES.0;
        while !self.is_stopped() {
            match self.subscribe() {
                Ok((socket, carrier, beat)) => {
                    pause = PAUSES.0;
                    self.common.carriers().put(None, Arc::clone(&carrier));
                    let ended = self.listen(socket, &carrier, beat);
                    carrier.end();
                    if let Err(error) = ended {
                        tracing::debug!(host = %self.common.host(), %error, "the connection of the near tier ended");
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::Server | ErrorKind::Denied) => {
                    self.common.warn_of_no_tracking(Some(&error));
                    if !self.is_stopped() {
                        self.common.carriers().put(None, Carrier::silent());
                    }
                    self.wait(REFUSED);
                }
                Err(error) => {
                    tracing::debug!(host = %self.common.host(), %error, "the near tier cannot connect");
                }
            }
            self.wait(pause.mul_f64(0.5 + fastrand::f64() * 0.5));
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_stopped() && Instant::now() < until {
            thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
    }

    fn subscribe(&self) -> Result<(Socket, Arc<Carrier>, Beat)> {
        let deadline = Instant::now() + CONNECT;
        let mut socket = connect_until(&self.target, &self.common, deadline)?;
        socket.keep_pushes();
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST");
        if !self.tracking.prefix.is_empty() {
            track.arg("PREFIX").arg(&self.tracking.prefix);
        }
        let mut packed = track.get_packed_command();
        let mut count = 1;
        if self.tracking.of_cluster {
            packed.extend(Beat::command(&self.tracking).get_packed_command());
            count += 1;
        }
        let (asked, now) = (coarse::now(), Instant::now());
        let replies = socket.exchange(&packed, 0, count, now, now + CONNECT);
        let mut replies = replies.map_err(Error::from_redis)?.into_iter();
        result_of(replies.next().unwrap_or(redis::Value::Nil))?;
        let run_id = socket.met.run_id.clone();
        let carrier = Carrier::tracking(asked, &self.tracking, run_id);
        if let Some(led) = &socket.led {
            carrier.set_led(led.clone());
        }
        let beat = Beat::new(&self.tracking, replies.next().as_ref());
        Ok((socket, carrier, beat))
    }

    /// Passes on what the server tells, until the connection or the carrier ends.
    fn listen(&self, mut socket: Socket, carrier: &Carrier, mut beat: Beat) -> RedisResult<()> {
        let ask = Beat::command(&self.tracking).get_packed_command();
        let mut due = Instant::now() + self.tracking.every;
        while !self.is_stopped() && !carrier.has_ended() {
            let now = Instant::now();
            if now >= due {
                let sent = coarse::now();
                let replies = socket.exchange(&ask, 0, 1, now, now + 2 * self.tracking.every)?;
                // What came before the answer counts before it.
                while let Some(push) = socket.kept_push() {
                    carrier::deliver(&self.common, push);
                }
                let reply = replies.first().unwrap_or(&redis::Value::Nil);
                if beat.answered(carrier, sent, reply) {
                    self.common.tell(&LinkEvent::Moved);
                }
                due = now + self.tracking.every;
            }
            let until = due.min(Instant::now() + LOOK);
            if let Some(push) = socket.next_push(until)? {
                carrier::deliver(&self.common, push);
            }
        }
        Ok(())
    }
}

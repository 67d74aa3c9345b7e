//! What carries the news of changed keys to copies in this process: a connection on which the server tracks what was
//! read, or the events of an embedded store.
//!
//! A copy is right for as long as news of it would come. So whoever keeps one notes its carrier *before* the value is
//! read, and asks it on each use whether it still carries.
//!
//! 1. A carrier begins to carry before anyone can read over its connection, and it ends with its connection, for good.
//!    A new connection has a new carrier.
//! 2. It carries only while it is heard: until twice the time between two `PING`s has passed since the last one was sent
//!    that was answered. News come before the answer to a later command, so all of that time is covered. One that was
//!    silent, and is heard again, has lost nothing.
//! 3. It carries for a server that is still the one to ask. One that a place has turned away from carries nothing, and
//!    one that has lost slots of a Cluster begins anew: what was noted before that has ended. A node of a Cluster is
//!    asked for what it knows of the Cluster's configuration, in place of a `PING`: a primary that is cut off from the
//!    others, or has been replaced, answers, but is told of nothing.
//! 4. What this process itself writes is no news to a server that was asked for `NOLOOP`; whoever keeps copies is told by
//!    `resilience`. The writes of a connection are carried out in the order in which they were sent, before what is read
//!    after them; and those of a connection that was lost are those of another client, so the news of them come.

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, Value};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::runtime::{self, Handle};
use tokio::sync::Notify;

use super::Common;
use super::events::LinkEvent;
use super::led::Led;
use super::target::Tracking;
use crate::coarse;

/// See the module.
#[derive(Debug)]
pub(super) struct Carrier {
    /// Until when, by the coarse clock, it is taken to carry; 0 after its end.
    until: AtomicU64,
    ended: AtomicBool,
    /// How often it has begun anew.
    turns: AtomicU64,
    /// Where the place led to when the connection was made, if it may lead elsewhere.
    led: OnceLock<Led>,
    /// Whether the server tells of changes at all.
    tells: bool,
    /// The server's `run_id`.
    #[cfg_attr(
        not(feature = "blocking"),
        allow(dead_code, reason = "of two connections")
    )]
    run_id: Option<String>,
    /// Told when it ends.
    gone: Notify,
}

impl Carrier {
    fn new(until: u64, tells: bool, run_id: Option<String>) -> Arc<Self> {
        Arc::new(Carrier {
            until: AtomicU64::new(until),
            ended: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            led: OnceLock::new(),
            tells,
            run_id,
            gone: Notify::new(),
        })
    }

    /// The events of a store in this process, which are told before a command returns.
    #[cfg(any(test, feature = "embedded"))]
    pub(super) fn always() -> Arc<Self> {
        Self::new(u64::MAX, true, None)
    }

    /// A connection whose server tells nothing: only a time bounds how old a copy is.
    pub(super) fn silent() -> Arc<Self> {
        Self::new(u64::MAX, false, None)
    }

    /// A connection on which tracking was asked for at this time, and is on.
    pub(super) fn tracking(asked: u64, tracking: &Tracking, run_id: Option<String>) -> Arc<Self> {
        Self::new(asked + 2 * tracking.millis(), true, run_id)
    }

    /// Whether it carries now, by the coarse clock.
    #[inline]
    fn carries(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Acquire)
    }

    /// Its connection was made to where a place led then.
    #[cfg(any(feature = "sentinel", feature = "blocking", test))]
    pub(super) fn set_led(&self, led: Led) {
        let _ = self.led.set(led);
    }

    fn is_current(&self) -> bool {
        self.led.get().is_none_or(Led::is_current)
    }

    /// Notes it, before a read.
    fn note(self: &Arc<Self>) -> Carried {
        Carried {
            carrier: Arc::clone(self),
            turn: self.turns.load(Ordering::SeqCst),
        }
    }

    /// It begins anew: what was noted before does not carry any more.
    fn turn(&self) {
        self.turns.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Ends it for good.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.until.store(0, Ordering::SeqCst);
        self.gone.notify_one();
    }

    /// The server says that it does not know what the others do: it carries nothing until it is heard again.
    fn is_apart(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// A `PING` that was sent at this time was answered.
    fn heard(&self, sent: u64, tracking: &Tracking) {
        self.until
            .fetch_max(sent + 2 * tracking.millis(), Ordering::SeqCst);
        // It may have ended meanwhile.
        if self.has_ended() {
            self.until.store(0, Ordering::SeqCst);
        }
    }

    #[cfg(feature = "blocking")]
    pub(super) fn is_of(&self, run_id: Option<&str>) -> bool {
        self.run_id.as_deref() == run_id
    }
}

/// A carrier, as it was noted before a read.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    carrier: Arc<Carrier>,
    turn: u64,
}

impl Carried {
    /// Whether it has carried since, and does now, by the coarse clock.
    #[inline]
    pub(crate) fn carries(&self, now: u64) -> bool {
        self.carrier.carries(now) && self.carrier.turns.load(Ordering::Acquire) == self.turn
    }

    /// Whether the server tells of changes. If not, a copy is right only for a bounded time.
    pub(crate) fn tells(&self) -> bool {
        self.carrier.tells
    }

    /// Whether the place still leads there.
    pub(crate) fn is_current(&self) -> bool {
        self.carrier.is_current()
    }

    /// Whether both are the same.
    pub(crate) fn is(&self, other: &Carried) -> bool {
        Arc::ptr_eq(&self.carrier, &other.carrier) && self.turn == other.turn
    }

    #[cfg(feature = "blocking")]
    pub(super) fn carrier(&self) -> &Arc<Carrier> {
        &self.carrier
    }
}

/// What a server is asked for a sign of life.
#[derive(Clone, Debug)]
pub(super) struct Beat {
    tracking: Tracking,
    /// The epoch of the Cluster's configuration, as the node knew it last.
    epoch: Option<u64>,
}

impl Beat {
    /// `known`: what the node has answered to [`Beat::command`] when the connection was made.
    pub(super) fn new(tracking: &Tracking, known: Option<&Value>) -> Self {
        Beat {
            tracking: tracking.clone(),
            epoch: known.and_then(|known| configuration(known)?.1),
        }
    }

    /// What is asked.
    pub(super) fn command(tracking: &Tracking) -> Cmd {
        if tracking.of_cluster {
            let mut info = redis::cmd("CLUSTER");
            info.arg("INFO");
            info
        } else {
            redis::cmd("PING")
        }
    }

    /// Notes what was answered to what was sent at this time. Returns whether the Cluster has another configuration
    /// than before, which is the node's first word of it.
    pub(super) fn answered(&mut self, carrier: &Carrier, sent: u64, reply: &Value) -> bool {
        // A node that does not say, because this user may not ask, has given a sign of life.
        let known = configuration(reply).filter(|_| self.tracking.of_cluster);
        let Some((serves, epoch)) = known else {
            carrier.heard(sent, &self.tracking);
            return false;
        };
        let other = self.epoch.is_some() && epoch != self.epoch;
        if other {
            // First: it is not heard with what was noted before.
            carrier.turn();
        }
        self.epoch = epoch.or(self.epoch);
        match serves {
            true => carrier.heard(sent, &self.tracking),
            false => carrier.is_apart(),
        }
        other
    }
}

/// What a reply to `CLUSTER INFO` says: whether the node serves, and the configuration's epoch; `None` if it is none.
fn configuration(reply: &Value) -> Option<(bool, Option<u64>)> {
    let text = match reply {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?,
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text,
        _ => return None,
    };
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let state = field("cluster_state")?;
    let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.trim().parse().ok());
    Some((state.trim() == "ok", epoch))
}

/// The carriers of a backend: one for each runtime that has a connection, or one for all.
#[derive(Debug, Default)]
pub(crate) struct Carriers(Mutex<Vec<(Option<runtime::Id>, Arc<Carrier>)>>);

impl Carriers {
    /// The carrier of what this caller would read now.
    pub(crate) fn current(&self) -> Option<Carried> {
        let all = self.0.lock();
        let (first, _) = all.first()?;
        let of = match first {
            None => None,
            Some(_) => Some(Handle::try_current().ok()?.id()),
        };
        let found = all.iter().rfind(|(whose, _)| *whose == of);
        found.map(|(_, carrier)| carrier.note())
    }

    /// A carrier in place of the one before. `of`: the runtime that it belongs to, if they have one each.
    pub(super) fn put(&self, of: Option<runtime::Id>, carrier: Arc<Carrier>) {
        let mut all = self.0.lock();
        all.retain(|(whose, old)| {
            if *whose == of {
                old.end();
            }
            !old.has_ended()
        });
        // The place may have turned before it was known here.
        if !carrier.is_current() {
            carrier.end();
        }
        all.push((of, carrier));
    }

    /// The place leads elsewhere: ends those of the connections to where it led before.
    pub(super) fn follow(&self) {
        for (_, carrier) in &*self.0.lock() {
            if !carrier.is_current() {
                carrier.end();
            }
        }
    }

    /// The server does not answer for all of its keys any more: all begin anew.
    #[cfg_attr(not(feature = "cluster"), allow(dead_code))]
    pub(crate) fn turn(&self) {
        for (_, carrier) in &*self.0.lock() {
            carrier.turn();
        }
    }

    /// Ends them all: the connections are closed.
    pub(super) fn end(&self) {
        for (_, carrier) in self.0.lock().drain(..) {
            carrier.end();
        }
    }

    /// Ends them all, in the child of a process that may go on using them: nobody is woken.
    pub(super) fn abandon(&self) {
        for (_, carrier) in self.0.lock().drain(..) {
            carrier.ended.store(true, Ordering::SeqCst);
            carrier.until.store(0, Ordering::SeqCst);
        }
    }

    /// Whether one of them carries now; and if so, whether its server tells of changes.
    pub(crate) fn state(&self) -> Option<bool> {
        let (all, now) = (self.0.lock(), coarse::now());
        let carrying = all.iter().filter(|(_, carrier)| carrier.carries(now));
        carrying.map(|(_, carrier)| carrier.tells).max()
    }
}

/// Tells the listeners what a server says on a connection that it tracks. Returns whether it was news of that kind.
pub(super) fn deliver(common: &Common, push: PushInfo) -> bool {
    if push.kind != PushKind::Invalidate {
        return false;
    }
    let Some(what) = push.data.into_iter().next() else {
        return false;
    };
    match what {
        Value::Array(keys) => {
            let keys = keys.into_iter().filter_map(|key| match key {
                Value::BulkString(key) => Some(key),
                Value::SimpleString(key) => Some(key.into_bytes()),
                _ => None,
            });
            let keys = keys.collect();
            common.tell(&LinkEvent::Invalidated { keys });
        }
        // All keys are gone. (And what cannot be read is taken for that.)
        _ => common.tell(&LinkEvent::Flushed),
    }
    true
}

/// Asks for a sign of life from time to time, until the carrier ends.
pub(super) async fn listen_for(
    carrier: Arc<Carrier>,
    mut connection: MultiplexedConnection,
    common: Arc<Common>,
    mut beat: Beat,
) {
    let every = beat.tracking.every;
    let ask = Beat::command(&beat.tracking);
    loop {
        let runtime = common.runtime();
        runtime.timeout(every, || carrier.gone.notified()).await;
        if carrier.has_ended() {
            return;
        }
        let sent = coarse::now();
        let asking = connection.send_packed_command(&ask);
        match runtime.timeout(2 * every, || asking).await {
            // An error is an answer, too.
            Some(Ok(reply)) if beat.answered(&carrier, sent, &reply) => {
                common.tell(&LinkEvent::Moved);
            }
            Some(Err(error)) if error.is_unrecoverable_error() => return carrier.end(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn tracking() -> Tracking {
        Tracking {
            prefix: Vec::new(),
            every: Duration::from_secs(1),
            of_cluster: false,
        }
    }

    /// What a node of a Cluster says of itself.
    fn info(state: &str, epoch: u64) -> Value {
        let text = format!(
            "cluster_state:{state}\r\ncluster_slots_ok:16384\r\ncluster_current_epoch:{epoch}\r\n"
        );
        Value::BulkString(text.into_bytes())
    }

    #[test]
    fn invariant_3_a_node_that_is_apart_from_the_others_carries_nothing() {
        let tracking = Tracking {
            of_cluster: true,
            ..tracking()
        };
        let carrier = Carrier::tracking(5_000, &tracking, None);
        let mut beat = Beat::new(&tracking, Some(&info("ok", 3)));
        let noted = carrier.note();
        assert!(!beat.answered(&carrier, 6_000, &info("ok", 3)));
        assert!(noted.carries(7_999));
        assert!(!beat.answered(&carrier, 7_000, &info("fail", 3)));
        assert!(!noted.carries(7_000));
        assert!(!beat.answered(&carrier, 8_000, &info("ok", 3)));
        assert!(noted.carries(8_000));
        // The others have made another configuration meanwhile.
        assert!(beat.answered(&carrier, 9_000, &info("ok", 4)));
        assert!(!noted.carries(9_000) && carrier.note().carries(9_000));
        // One that may not be asked has answered.
        assert!(!beat.answered(&carrier, 10_000, &Value::Nil));
        assert!(carrier.note().carries(11_999));
    }

    #[test]
    fn invariant_3_what_a_place_has_turned_away_from_carries_nothing() {
        let way = super::super::led::Way::new();
        let carriers = Carriers::default();
        let (before, after) = (Carrier::always(), Carrier::always());
        before.set_led(way.led());
        carriers.put(None, Arc::clone(&before));
        way.turn();
        after.set_led(way.led());
        let late = carriers.current().unwrap();
        assert!(late.carries(1));
        carriers.follow();
        assert!(!late.carries(1) && before.has_ended());
        carriers.put(None, after);
        carriers.follow();
        let noted = carriers.current().unwrap();
        assert!(noted.carries(1));
        way.turn();
        // Its connection was made before that, and is known only now.
        carriers.put(None, Arc::clone(&before));
        carriers.turn();
        assert!(!noted.carries(1) && !carriers.current().unwrap().carries(1));
    }

    #[test]
    fn invariant_2_it_carries_for_two_beats_after_a_ping_that_was_answered() {
        let carrier = Carrier::tracking(5_000, &tracking(), None);
        assert!(carrier.carries(6_999) && !carrier.carries(7_000));
        carrier.heard(6_000, &tracking());
        assert!(carrier.carries(7_999) && !carrier.carries(8_000));
        // The answer to an earlier one comes late: it says nothing new.
        carrier.heard(5_500, &tracking());
        assert!(carrier.carries(7_999));
    }

    #[test]
    fn invariant_1_one_that_has_ended_is_never_heard_again() {
        let carrier = Carrier::tracking(5_000, &tracking(), None);
        carrier.end();
        assert!(!carrier.carries(5_000));
        carrier.heard(6_000, &tracking());
        assert!(!carrier.carries(6_000));
    }

    #[test]
    fn a_new_one_takes_the_place_of_the_one_before() {
        let carriers = Carriers::default();
        assert!(carriers.current().is_none() && carriers.state().is_none());
        let (first, second) = (Carrier::always(), Carrier::silent());
        carriers.put(None, Arc::clone(&first));
        assert_eq!(carriers.state(), Some(true));
        carriers.put(None, Arc::clone(&second));
        assert!(first.has_ended());
        assert!(carriers.current().unwrap().is(&second.note()));
        assert_eq!(carriers.state(), Some(false));
        carriers.end();
        assert!(second.has_ended() && carriers.current().is_none());
    }
}

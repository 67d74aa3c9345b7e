//! What a connection and the task that drives it know of each other: whether it can still be used, and what was given up
//! on it.
//!
//! The loss of the connection is reported once, whatever the cause: the connection broke, the driver's runtime ended, or a
//! caller got no reply.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use socket2::Socket;

use super::carrier::Carrier;
use super::doubts::Settled;
use super::greeting::Met;
use super::lane::{Direct, Lane};
use super::{Common, LinkEvent};

/// The state that callers and driver share.
#[derive(Debug)]
pub(super) struct Alive {
    /// Whether the connection can still be used.
    pub(super) alive: AtomicBool,
    /// The driver's socket once more, to look at.
    pub(super) view: Mutex<Option<Socket>>,
    /// How many writes were given up.
    pub(super) given_up: AtomicU64,
    /// With how many of them the server is done.
    pub(super) settled: AtomicU64,
    pub(super) met: OnceLock<Met>,
    pub(super) carrier: OnceLock<Arc<Carrier>>,
    pub(super) common: Arc<Common>,
    /// The calls that are on their way, and the socket that they leave by, as long as there is a driver.
    pub(super) lane: Lane,
    pub(super) wire: Weak<dyn Direct>,
}

impl Alive {
    /// The epoch in which calls can be sent on it. What must be closed first, each call closes within its own limit.
    pub(super) fn epoch(&self) -> Option<u64> {
        let usable = self.alive.load(Ordering::Acquire) && !self.common.doubts().any();
        usable.then(|| self.common.epoch().current())
    }

    /// Reports the loss, once.
    pub(super) fn lose(&self) {
        self.end(&LinkEvent::Lost);
    }

    pub(super) fn end(&self, event: &LinkEvent) {
        if self.alive.swap(false, Ordering::SeqCst) {
            self.end_carrier();
            self.view.lock().take();
            self.doubt();
            self.common.tell(event);
        }
    }

    /// News that still come are of no use: what is read over another connection is not told here.
    pub(super) fn end_carrier(&self) {
        if let Some(carrier) = self.carrier.get() {
            carrier.end();
        }
    }

    /// The connection is not used for new calls any more: see [`doubts`](super::doubts).
    pub(super) fn doubt(&self) -> Option<Settled> {
        if self.given_up.load(Ordering::SeqCst) <= self.settled.load(Ordering::Acquire) {
            return None;
        }
        self.common.doubts().add(self.met.get()?)
    }

    /// What the kernel knows of the connection.
    pub(super) fn look(&self) -> Seen {
        // The socket does not block, because tokio's does not.
        match self.view.lock().as_ref() {
            Some(socket) => match socket.peek(&mut [MaybeUninit::uninit()]) {
                Ok(0) => Seen::Closed,
                Ok(_) => Seen::Unread,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Seen::Nothing,
                Err(_) => Seen::Closed,
            },
            None => Seen::Nothing,
        }
    }
}

/// What the kernel knows of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing is there to read, and the server has not closed it.
    Nothing,
    /// Something that the driver has not read yet. The server may have closed it after that.
    Unread,
    Closed,
}

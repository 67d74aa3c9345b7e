//! Where a place leads to. That of most places never changes; that of a primary behind Sentinels does, in a failover.
//!
//! 1. A connection that a place led to before it turned is not used for new calls. Those that are running on it stay.
//! 2. A connect goes to where the place leads at that moment.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
#[cfg(feature = "blocking")]
use std::time::Instant;

use redis::RedisError;
use tokio::sync::watch;

use super::Common;
use super::driven::Driven;
use super::pushes::Pushes;
#[cfg(feature = "blocking")]
use super::socket::Socket;
use super::target::Target;
use crate::error::Result;

/// How often a place has turned to another address.
#[derive(Debug)]
pub(super) struct Way {
    turns: AtomicU64,
    tell: watch::Sender<u64>,
}

/// To which of a place's addresses a connection was made.
#[derive(Clone, Debug)]
pub(super) struct Led {
    way: Arc<Way>,
    at: u64,
}

#[cfg_attr(not(feature = "sentinel"), allow(dead_code))]
impl Way {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Way {
            turns: AtomicU64::new(0),
            tell: watch::Sender::new(0),
        })
    }

    /// From now on it leads to another address.
    pub(super) fn turn(&self) {
        let turns = self.turns.fetch_add(1, Ordering::AcqRel) + 1;
        self.tell.send_if_modified(|told| {
            let newer = turns > *told;
            *told = (*told).max(turns);
            newer
        });
    }

    /// For a connection to where it leads now.
    pub(super) fn led(self: &Arc<Self>) -> Led {
        Led {
            way: Arc::clone(self),
            at: self.turns.load(Ordering::Acquire),
        }
    }
}

impl Led {
    /// Whether the place still leads there.
    pub(super) fn is_current(&self) -> bool {
        self.way.turns.load(Ordering::Acquire) == self.at
    }

    /// Waits until it leads elsewhere.
    pub(super) async fn turned(&self) {
        let mut told = self.way.tell.subscribe();
        if told.wait_for(|turns| *turns != self.at).await.is_err() {
            // The place is gone, and with it whoever would notice.
            std::future::pending::<()>().await;
        }
    }
}

/// The error of a connection that somebody has for himself.
pub(super) fn turned_away() -> RedisError {
    let why = "the primary has moved to another server, so this connection ends: open another one";
    io::Error::new(io::ErrorKind::ConnectionReset, why).into()
}

/// Connects to where a place leads, for async callers. `limit` is how long somebody waits for it.
pub(super) async fn connect(
    target: &Target,
    pushes: Pushes,
    common: &Arc<Common>,
    limit: Duration,
) -> Result<Driven> {
    #[cfg(feature = "sentinel")]
    if let Some(sentinels) = common.sentinels() {
        let open = |target: Target| -> super::BoxFuture<'_, _> {
            Box::pin(async move {
                let connected = Driven::open(&target, pushes, common).await?;
                let met = connected.met.clone();
                Ok((connected, met))
            })
        };
        let (mut connected, led) = Box::pin(sentinels.lead(target, limit, open)).await?;
        connected.set_led(led);
        return Ok(connected);
    }
    let _ = limit;
    Driven::open(target, pushes, common).await
}

/// The same for blocking callers.
#[cfg(feature = "blocking")]
pub(super) fn connect_until(target: &Target, common: &Common, deadline: Instant) -> Result<Socket> {
    #[cfg(feature = "sentinel")]
    if let Some(sentinels) = common.sentinels() {
        let open = |target: Target| -> super::BoxFuture<'_, _> {
            let opened = Socket::open(&target, deadline, common.runtime()).map(|socket| {
                let met = socket.met.clone();
                (socket, met)
            });
            Box::pin(std::future::ready(opened))
        };
        let limit = deadline.saturating_duration_since(Instant::now());
        let leading = sentinels.lead(target, limit, open);
        let (mut socket, led) = crate::runtime::block_on(leading)?;
        socket.led = Some(led);
        return Ok(socket);
    }
    Socket::open(target, deadline, common.runtime())
}

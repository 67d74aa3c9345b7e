//! Listens to a Sentinel, to learn at once that the primary has moved.
//!
//! 1. There is one watch for a backend, as long as a cache uses it: a task, or a thread where callers block. (Without
//!    it a thread that finds an idle connection would write to an old primary that is alive again.)
//! 2. It subscribes to `+switch-master`, and asks every [`EVERY`] besides: so a Sentinel that has gone silent is noticed,
//!    and what it could not announce is found. One that speaks only RESP2 is only asked.
//! 3. It ends with the cache, within [`SLICE`] where callers block.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{PushKind, Value};
use tokio::sync::watch::Receiver;

use super::{Sentinels, ask};
use crate::connect::target::Address;
use crate::connect::{Alone, Protocol};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{Runtime, first};

/// How often the Sentinel is asked.
const EVERY: Duration = Duration::from_secs(1);

/// How long a blocking watch listens before it looks whether it is to end.
const SLICE: Duration = Duration::from_millis(200);

/// How long a Sentinel may take to answer.
const LIMIT: Duration = Duration::from_secs(1);

/// The pauses between two Sentinels: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The watch that goes on, if there is one.
#[derive(Debug, Default)]
pub(super) struct Watching {
    /// Held by the task. A task that is dropped with its runtime drops it as well.
    alive: Weak<()>,
    /// The process: a fork has no threads of its parent's.
    process: u32,
    /// How often watches had been told to end when it began.
    stops: u64,
}

/// Why listening ended.
enum Ended {
    /// The cache does not use it any more.
    Stopped,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Ended::Failed(error)
    }
}

impl Sentinels {
    /// Starts to watch, unless that goes on already.
    pub(super) fn watch(self: &Arc<Self>) {
        let mut watching = self.watching.lock();
        let process = std::process::id();
        let stop = self.stop.subscribe();
        let stops = *stop.borrow();
        let alive = watching.process == process
            && watching.stops == stops
            && watching.alive.strong_count() > 0;
        if alive || !self.state.lock().used {
            return;
        }
        let alive = Arc::new(());
        *watching = Watching {
            alive: Arc::downgrade(&alive),
            process,
            stops,
        };
        drop(watching);
        let watch = Watch {
            sentinels: Arc::downgrade(self),
            stop,
            runtime: self.runtime().clone(),
            _alive: alive,
        };
        if let Err(error) = self
            .runtime()
            .try_detach_as("nearcache-sentinel", watch.run())
        {
            tracing::debug!(%error, "the Sentinels are not watched");
        }
    }
}

struct Watch {
    sentinels: Weak<Sentinels>,
    stop: Receiver<u64>,
    runtime: Runtime,
    _alive: Arc<()>,
}

impl Watch {
    async fn run(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let Some(sentinels) = self.sentinels.upgrade() else {
                return;
            };
            let Some(address) = sentinels.order().into_iter().next() else {
                return;
            };
            drop(sentinels);
            let mut heard = false;
            match self.listen(&address, &mut heard).await {
                Ended::Stopped => return,
                Ended::Failed(error) => {
                    tracing::debug!(sentinel = %address, %error, "a Sentinel is not listened to any more");
                }
            }
            if let Some(sentinels) = self.sentinels.upgrade() {
                sentinels.distrust(&address);
            }
            if heard {
                pause = PAUSES.0;
            }
            let jittered = pause.mul_f64(0.5 + fastrand::f64() * 0.5);
            if self.sleep(jittered).await.is_err() {
                return;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Listens to one Sentinel. `heard`: whether it has answered.
    async fn listen(&mut self, address: &Address, heard: &mut bool) -> Ended {
        match self.try_listen(address, heard).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn try_listen(
        &mut self,
        address: &Address,
        heard: &mut bool,
    ) -> Result<std::convert::Infallible, Ended> {
        let (mut connection, subscribed) = self.connect(address).await?;
        let mut asked = None;
        loop {
            let now = self.runtime.now();
            if asked.is_none_or(|at| now.saturating_duration_since(at) >= EVERY) {
                self.ask(&mut connection, address).await?;
                *heard = true;
                asked = Some(now);
            }
            let time = if connection.is_blocking() {
                SLICE
            } else {
                EVERY
            };
            if !subscribed {
                self.sleep(time).await?;
                continue;
            }
            let runtime = self.runtime.clone();
            let next = first(connection.next_push(&runtime, time), self.stop.changed());
            let push = next.await.map_err(|_| Ended::Stopped)??;
            self.go_on()?;
            let Some(push) = push.filter(|push| push.kind == PushKind::Message) else {
                continue;
            };
            let Some(sentinels) = self.sentinels.upgrade() else {
                return Err(Ended::Stopped);
            };
            if let Some(Value::BulkString(message)) = push.data.last()
                && let Some(primary) = ask::switched(message, &sentinels.master)
            {
                if !sentinels.replica {
                    sentinels.note(address, &primary, None);
                }
                // It tells the epoch, and the replicas.
                asked = None;
            }
        }
    }

    /// Connects, and subscribes if the Sentinel can.
    async fn connect(&mut self, address: &Address) -> Result<(Alone, bool), Ended> {
        let sentinels = self.sentinels.upgrade().ok_or(Ended::Stopped)?;
        let connecting = async {
            let subscribing = async {
                let protocol = Some(Protocol::Resp3);
                let mut connection = sentinels.connect(address, protocol, LIMIT).await?;
                let mut subscribe = redis::cmd("SUBSCRIBE");
                connection.request(subscribe.arg("+switch-master")).await?;
                Ok(connection)
            };
            match subscribing.await {
                Ok(connection) => Ok((connection, true)),
                // It is too old for it, or does not permit it.
                Err(error) if can_be_asked(&error) => {
                    Ok((sentinels.connect(address, None, LIMIT).await?, false))
                }
                Err(error) => Err(error),
            }
        };
        let connected = first(connecting, self.stop.changed()).await;
        drop(sentinels);
        self.go_on()?;
        Ok(connected.map_err(|_| Ended::Stopped)??)
    }

    /// Asks where the primary is.
    async fn ask(&mut self, connection: &mut Alone, address: &Address) -> Result<(), Ended> {
        let sentinels = self.sentinels.upgrade().ok_or(Ended::Stopped)?;
        let asking = ask::whereabouts(connection, &sentinels.master, address, sentinels.replica);
        let answer = first(asking, self.stop.changed()).await;
        let answer = answer.map_err(|_| Ended::Stopped)??;
        if sentinels.is_behind(answer.epoch) {
            let why = "its configuration is older than that of another Sentinel";
            return Err(Error::new(ErrorKind::Unavailable, why).into());
        }
        if let Ok(server) = sentinels.take(&answer) {
            sentinels.note(address, &server, answer.epoch);
        }
        Ok(())
    }

    /// # Errors
    /// If it is to end.
    async fn sleep(&mut self, time: Duration) -> Result<(), Ended> {
        let runtime = self.runtime.clone();
        match first(runtime.sleep(time), self.stop.changed()).await {
            Ok(()) => self.go_on(),
            Err(_) => Err(Ended::Stopped),
        }
    }

    fn go_on(&self) -> Result<(), Ended> {
        match self.stop.has_changed() {
            Ok(false) => Ok(()),
            _ => Err(Ended::Stopped),
        }
    }
}

/// Whether a Sentinel that does not take a subscription may still be asked.
fn can_be_asked(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Server | ErrorKind::Denied)
}

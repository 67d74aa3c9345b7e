//! The task that drives a connection: it writes what the calls of its [`Lane`](super::lane::Lane) and redis-rs have to
//! send, and hands out what comes.
//!
//! 1. It ends with the connection, and everything that still waits for a reply ends with it.
//! 2. Commands of tasks that are ready together are sent in one write. A single call is not delayed: its caller sends it.
//!
//!    Otherwise every command would be a system call, a packet and a wake-up of the server, because `TCP_NODELAY` is set
//!    (so that the network does not delay single commands).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::BoxFuture;
use super::alive::Alive;
use super::lane::Wire;
use crate::error::{Error, ErrorKind};

/// The driver of a connection over a socket `S`, of which redis-rs drives its part, `D`.
pub(super) struct Driver<D, S> {
    client: Pin<Box<D>>,
    wire: Arc<Mutex<Wire<S>>>,
    alive: Arc<Alive>,
    /// Whether it waits for a turn of the scheduler, so that other tasks can add their commands.
    gathering: bool,
    /// When the first limit of a call ends, or earlier, and what wakes it then.
    alarm: Option<(Instant, BoxFuture<'static, ()>)>,
}

impl<D, S> Driver<D, S>
where
    D: Future<Output = ()>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(wire: Arc<Mutex<Wire<S>>>, client: Pin<Box<D>>, alive: &Arc<Alive>) -> Self {
        wire.lock().drive();
        Driver {
            client,
            wire,
            alive: Arc::clone(alive),
            gathering: false,
            alarm: None,
        }
    }

    /// Ends the calls whose limit has passed, and is woken when the next one does.
    fn watch(&mut self, mut earliest: Option<Instant>, context: &mut Context<'_>) {
        loop {
            let Some(end) = earliest else {
                self.alarm = None;
                return;
            };
            let runtime = self.alive.common.runtime();
            let armed = self.alarm.take().filter(|(at, _)| *at <= end);
            let (at, mut alarm) = armed.unwrap_or_else(|| {
                let (runtime, left) = (
                    runtime.clone(),
                    end.saturating_duration_since(runtime.now()),
                );
                (end, Box::pin(async move { runtime.sleep(left).await }))
            });
            if alarm.as_mut().poll(context).is_pending() {
                self.alarm = Some((at, alarm));
                return;
            }
            earliest = self.alive.lane.expire(runtime.now());
        }
    }

    /// Sends, reads, and hands out what came. Whether the connection has ended.
    fn turn(&mut self, context: &mut Context<'_>) -> bool {
        let (lane, common) = (&self.alive.lane, &self.alive.common);
        let earliest = lane.drive(context.waker());
        self.wire.lock().take(&self.alive);
        // It adds what it has to send.
        let mut ended = self.client.as_mut().poll(context).is_ready();
        let mut wire = self.wire.lock();
        wire.write(context);
        wire.read(context);
        if wire.is_for_client() && !ended {
            drop(wire);
            ended = self.client.as_mut().poll(context).is_ready();
            wire = self.wire.lock();
            if wire.is_unwritten() {
                wire.write(context);
            }
        }
        match wire.arrived() {
            Some(arrived) if arrived.is_empty() => {}
            Some(arrived) => {
                // Before anyone learns of it, and makes another call.
                if arrived.settle(common) {
                    common.part();
                }
                lane.hand_out(arrived);
            }
            // redis-rs has used up its share of this turn.
            None => context.waker().wake_by_ref(),
        }
        if ended {
            wire.end();
        }
        ended |= wire.is_ended();
        drop(wire);
        if !ended {
            self.watch(earliest, context);
        }
        ended
    }
}

impl<D, S> Future for Driver<D, S>
where
    D: Future<Output = ()>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Without calls that gather there is no delay: replies are read at once.
        this.gathering = !this.gathering && this.alive.lane.gathers();
        if this.gathering {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match this.turn(context) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// It may also be dropped with its runtime.
impl<D, S> Drop for Driver<D, S> {
    fn drop(&mut self) {
        self.alive.lose();
        let error = match self.wire.lock().take_error() {
            Some(error) => Error::from_redis(error),
            None => Error::new(
                ErrorKind::Connect,
                "the runtime shut down while the call was under way",
            ),
        };
        self.alive.lane.end(&error);
    }
}

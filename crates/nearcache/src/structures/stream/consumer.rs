//! A consumer of a group: deliveries as they come, and what becomes of each.

pub(crate) mod scripts;
mod work;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;

use self::work::{Came, Work};
use super::group::Group;
use super::id::EntryId;
use super::plain;
use crate::cache::operation::{Async, Pending};
use crate::client::reply;
use crate::connect::BoxFuture;
use crate::error::Result;
use crate::hooks::CallKeys;
use crate::script::Input;
use crate::structures::member::Member;
use crate::structures::replies::sum;
use crate::ttl::IntoTtl;

/// The deliveries that a consumer asked for again, and has not got yet.
type Again = Arc<Mutex<Vec<EntryId>>>;

/// A consumer of a group: see [`Group::consumer`]. For an async caller it is a [`Stream`](futures_core::Stream) (or use
/// [`next`](Consumer::next), which needs no other crate), for a blocking caller an [`Iterator`] with `next_timeout`.
///
/// It reads on a connection of its own, and makes it anew if it is lost, with what was on its way then: nothing is lost,
/// and while Redis is away nothing comes. It goes on until the cache is closed, or it is dropped. What has to be told, such
/// as a user who may not read the stream, is an item that is an error; it goes on after it, and tries again after a second.
///
/// Options are given before the first delivery.
#[must_use = "nothing is delivered until it is asked for the next one"]
pub struct Consumer<T, M = Async> {
    state: State<T, M>,
    #[cfg(feature = "blocking")]
    runtime: crate::runtime::Runtime,
}

/// The work, and what came of its last step.
type Worked<T, M> = (Box<Work<T, M>>, Came<T, M>);

enum State<T, M> {
    Idle(Box<Work<T, M>>),
    Waiting(BoxFuture<'static, Worked<T, M>>),
    Ended,
}

impl<T: Member, M: 'static> Consumer<T, M> {
    pub(super) fn new(group: Group<T, M>, name: &[u8]) -> Self {
        Consumer {
            #[cfg(feature = "blocking")]
            runtime: group.handle.client().runtime().clone(),
            state: State::Idle(Box::new(Work::new(group, name))),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Work<T, M>)) -> Self {
        if let State::Idle(work) = &mut self.state {
            change(work);
        }
        self
    }

    /// How many entries are read at once: 1 to 10,000; by default 10. They are this consumer's from then on, so with more,
    /// others wait for what is not worked on yet.
    pub fn batch(self, entries: u32) -> Self {
        self.with(|work| work.batch = entries.clamp(1, 10_000))
    }

    /// Takes over what any consumer of the group has had for so long without an `ack`, because it died, say (`XAUTOCLAIM`).
    /// It looks when it begins, and then at half that interval. Choose a time that is longer than the work takes. Without
    /// it, what a dead consumer had waits until one of its name comes back.
    pub fn claim_idle(self, time: impl IntoTtl) -> Self {
        let time = time.into_ttl();
        self.with(|work| match time {
            Ok(time) => work.claim = Some(time),
            Err(error) => work.invalid = Some(error),
        })
    }

    fn work(work: Box<Work<T, M>>, deadline: Option<Instant>) -> BoxFuture<'static, Worked<T, M>> {
        Box::pin(async move {
            let mut work = work;
            let came = work.next(deadline).await;
            (work, came)
        })
    }
}

/// `Unpin` is safe: only the boxed future needs pinning, and its box does that.
impl<T, M> Unpin for Consumer<T, M> {}

impl<T: Member> Consumer<T> {
    /// The next delivery; `None` once the cache is closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Delivery<T>>> {
        use futures_core::Stream;
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl<T: Member> futures_core::Stream for Consumer<T> {
    type Item = Result<Delivery<T>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(work) => self.state = State::Waiting(Self::work(work, None)),
                State::Waiting(mut waiting) => {
                    let Poll::Ready((work, came)) = waiting.as_mut().poll(context) else {
                        self.state = State::Waiting(waiting);
                        return Poll::Pending;
                    };
                    match came {
                        Came::Delivery(delivery) => {
                            self.state = State::Idle(work);
                            return Poll::Ready(Some(Ok(*delivery)));
                        }
                        Came::Failed(error) => {
                            self.state = State::Idle(work);
                            return Poll::Ready(Some(Err(error)));
                        }
                        Came::Nothing => self.state = State::Idle(work),
                        Came::Closed => return Poll::Ready(None),
                    }
                }
            }
        }
    }
}

#[cfg(feature = "blocking")]
impl<T: Member> Consumer<T, crate::cache::operation::Blocking> {
    /// The next delivery, if it comes within the timeout: `None` if none does, or the cache is closed.
    pub fn next_timeout(
        &mut self,
        timeout: std::time::Duration,
    ) -> Option<Result<Delivery<T, crate::cache::operation::Blocking>>> {
        // What is too far away to be a time is no limit.
        let deadline = self.runtime.now().checked_add(timeout);
        self.wait(deadline)
    }

    fn wait(
        &mut self,
        deadline: Option<Instant>,
    ) -> Option<Result<Delivery<T, crate::cache::operation::Blocking>>> {
        let State::Idle(work) = std::mem::replace(&mut self.state, State::Ended) else {
            return None;
        };
        let (work, came) = crate::runtime::block_on(Self::work(work, deadline));
        if !matches!(came, Came::Closed) {
            self.state = State::Idle(work);
        }
        match came {
            Came::Delivery(delivery) => Some(Ok(*delivery)),
            Came::Failed(error) => Some(Err(error)),
            Came::Nothing | Came::Closed => None,
        }
    }
}

/// Waits for each delivery, until the cache is closed.
#[cfg(feature = "blocking")]
impl<T: Member> Iterator for Consumer<T, crate::cache::operation::Blocking> {
    type Item = Result<Delivery<T, crate::cache::operation::Blocking>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.wait(None)
    }
}

impl<T, M> fmt::Debug for Consumer<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

/// An entry that was delivered to a consumer. It is the consumer's until [`ack`](Delivery::ack) says that it is done.
pub struct Delivery<T, M = Async> {
    id: EntryId,
    attempts: u64,
    value: Result<T>,
    group: Group<T, M>,
    consumer: Arc<[u8]>,
    again: Again,
}

impl<T: Member, M: 'static> Delivery<T, M> {
    /// The entry's id.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// How often it was delivered: 1 the first time.
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// What the entry holds.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if it is no `T`. It would be no `T` the next time either: acknowledge it
    /// once it is noted.
    pub fn value(&self) -> Result<&T> {
        self.value.as_ref().map_err(Clone::clone)
    }

    /// The same, without the delivery: acknowledge its id later ([`Group::ack`]), or before.
    ///
    /// # Errors
    /// Those of [`value`](Delivery::value).
    pub fn into_value(self) -> Result<T> {
        self.value
    }

    /// It is done, and is not delivered again. Returns whether it was pending: not if another consumer has done it
    /// meanwhile (`XACK`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn ack(&self) -> Pending<'static, bool, M> {
        let command = self.group.handle.command("XACK").map(|mut command| {
            command.arg(&*self.group.name).arg(self.id.to_string());
            vec![command]
        });
        let counted = sum("XACK");
        plain(
            self.group
                .handle
                .write("stream.ack", command, |replies| Ok(counted(replies)? > 0)),
        )
    }

    /// It is to be delivered again, at once: to this consumer when it is asked for its next delivery, or before that to
    /// another one of the group that looks for idle deliveries ([`claim_idle`](Consumer::claim_idle)). Returns whether it
    /// was still this consumer's (`XCLAIM`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn retry(&self) -> Pending<'static, bool, M> {
        let (core, key) = (
            self.group.handle.core().clone(),
            self.group.handle.key().clone(),
        );
        let (again, id) = (Arc::clone(&self.again), self.id);
        let (group, consumer) = (self.group.name.clone(), Arc::clone(&self.consumer));
        Pending::new(async move {
            core.perform(
                "stream.retry",
                CallKeys::One(key.as_bytes()),
                async |core| {
                    let client = core.client();
                    let key = client.stored(key.as_bytes())?;
                    let mut input = Input::default();
                    input.key(key.as_bytes());
                    input
                        .arg(&group)
                        .arg(&consumer)
                        .arg(id.to_string().as_bytes());
                    input.arg(scripts::LONG_AGO.to_string().as_bytes());
                    let given_back = client.run(&scripts::RETRY, &input).await;
                    let given_back = given_back.and_then(|reply| reply::flag("XCLAIM", &reply));
                    let given_back = given_back.map_err(|error| error.for_key(&key))?;
                    if given_back {
                        again.lock().push(id);
                    }
                    Ok(given_back)
                },
            )
            .await
        })
    }
}

impl<T, M> fmt::Debug for Delivery<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

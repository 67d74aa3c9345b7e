//! Listening to a topic, or to many: a stream for an async caller, an iterator for a blocking one.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_core::Stream;
use redis::PushKind;

use super::link::{Came, Link, Wanted};
use crate::cache::operation::{Async, Marked, Pending};
use crate::connect::BoxFuture;
use crate::error::Result;
use crate::hooks::CallKeys;
use crate::keyspace::{Key, Keyspace};
use crate::read_through::ReadThrough;

/// What a subscriber hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<T> {
    /// A message.
    Message(T),
    /// The connection was lost, or the subscriber was too slow for it, and the subscription has been renewed: what was
    /// published meanwhile is missing. What is published from now on is heard, so this is the moment to read anew
    /// whatever the messages are about.
    Gap,
}

/// A message with the name of its topic: see [`CacheOf::topics`](crate::CacheOf::topics).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Named<T> {
    /// The topic, without the prefix.
    pub topic: Key,
    /// The message.
    pub message: T,
}

/// Makes what a subscriber gets of a topic's name and a message.
type Parse<T> = fn(&[u8], Vec<u8>) -> Result<T>;

/// Listens to one topic.
pub(super) fn to_one<T: 'static, M: 'static>(
    core: &ReadThrough,
    name: &[u8],
    sharded: bool,
    parse: Parse<T>,
) -> Pending<'static, Subscription<T, M>, M> {
    let wanted = core.client().stored(name).map(|stored| {
        let (verb, kind) = match sharded {
            true => ("SSUBSCRIBE", PushKind::SMessage),
            false => ("SUBSCRIBE", PushKind::Message),
        };
        let mut command = redis::cmd(verb);
        command.arg(&stored);
        Wanted {
            command,
            kind,
            slot_of: sharded.then_some(stored),
        }
    });
    listen(core, name, wanted, parse)
}

/// Listens to all that match a pattern.
pub(super) fn to_many<T: 'static, M: 'static>(
    core: &ReadThrough,
    pattern: &[u8],
    parse: Parse<T>,
) -> Pending<'static, Subscription<T, M>, M> {
    let mut command = redis::cmd("PSUBSCRIBE");
    command.arg(core.client().keyspace().pattern(pattern));
    let wanted = Wanted {
        command,
        kind: PushKind::PMessage,
        slot_of: None,
    };
    listen(core, pattern, Ok(wanted), parse)
}

fn listen<T: 'static, M: 'static>(
    core: &ReadThrough,
    name: &[u8],
    wanted: Result<Wanted>,
    parse: Parse<T>,
) -> Pending<'static, Subscription<T, M>, M> {
    let (core, name) = (core.clone(), name.to_vec());
    Pending::new(async move {
        let wanted = wanted?;
        let link = core
            .perform("topic.subscribe", CallKeys::One(&name), async |core| {
                let client = core.client();
                let opened = Link::open(client, wanted).await;
                opened.map_err(|error| {
                    let error = error.on_host(client.host());
                    error.named(&name, client.keyspace().redacts())
                })
            })
            .await?;
        Ok(Subscription {
            keyspace: core.client().keyspace().clone(),
            #[cfg(feature = "blocking")]
            runtime: core.client().runtime().clone(),
            name,
            state: State::Idle(Box::new(link)),
            parse,
            mode: PhantomData,
        })
    })
}

/// Messages as they come. For an async caller it is a [`Stream`](futures_core::Stream) (or use
/// [`next`](Subscription::next), which needs no other crate), for a blocking caller an [`Iterator`] with `next_timeout`.
///
/// It goes on until the cache is closed, or it is dropped. If the connection is lost, the subscription is renewed as soon
/// as Redis is back, within about a second, and a [`Heard::Gap`] says so: while Redis is away there is nothing to hear. A
/// message that is no `T` is an error ([`ErrorKind::Codec`](crate::ErrorKind::Codec)), and so is what keeps the
/// subscription from being renewed, such as a user who may not any more; both are one item each, and it goes on.
///
/// A subscriber that does not read is no burden without end: up to 100,000 messages, of 32 MiB together, are kept for it
/// in this process (for a blocking caller, what the operating system and Redis buffer). With one more the connection ends,
/// and it hears what was kept, and then of the gap; of the embedded store it hears of the gap only.
pub struct Subscription<T, M = Async> {
    keyspace: Keyspace,
    #[cfg(feature = "blocking")]
    runtime: crate::runtime::Runtime,
    name: Vec<u8>,
    state: State,
    parse: Parse<T>,
    mode: Marked<M>,
}

enum State {
    Idle(Box<Link>),
    Listening(BoxFuture<'static, (Box<Link>, Came)>),
    Ended,
}

impl<T, M> Subscription<T, M> {
    fn listen(link: Box<Link>, deadline: Option<Instant>) -> BoxFuture<'static, (Box<Link>, Came)> {
        Box::pin(async move {
            let mut link = link;
            let came = link.next(deadline).await;
            (link, came)
        })
    }

    /// What the subscriber is told of what came; `None` if it is nothing to him.
    fn item(&self, came: Came) -> Option<Result<Heard<T>>> {
        let redact = self.keyspace.redacts();
        Some(match came {
            Came::Message(channel, message) => {
                // A topic of nearcache's own is nobody else's.
                let topic = self.keyspace.user(&channel)?;
                let parsed = (self.parse)(topic, message);
                parsed
                    .map(Heard::Message)
                    .map_err(|error| error.named(topic, redact))
            }
            Came::Gap => Ok(Heard::Gap),
            Came::Failed(error) => Err(error.named(&self.name, redact)),
            Came::Nothing | Came::Closed => return None,
        })
    }
}

impl<T> Subscription<T> {
    /// What is heard next; `None` once the cache is closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Heard<T>>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

/// `Unpin` is safe: only the boxed future needs pinning, and its box does that.
impl<T, M> Unpin for Subscription<T, M> {}

impl<T> Stream for Subscription<T> {
    type Item = Result<Heard<T>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(link) => self.state = State::Listening(Self::listen(link, None)),
                State::Listening(mut listening) => {
                    let polled = listening.as_mut().poll(context);
                    let Poll::Ready((link, came)) = polled else {
                        self.state = State::Listening(listening);
                        return Poll::Pending;
                    };
                    if !matches!(came, Came::Closed) {
                        self.state = State::Idle(link);
                    }
                    if let Some(item) = self.item(came) {
                        return Poll::Ready(Some(item));
                    }
                }
            }
        }
    }
}

#[cfg(feature = "blocking")]
impl<T> Subscription<T, crate::cache::operation::Blocking> {
    /// What is heard next, if it comes within the timeout: `None` if nothing does, or the cache is closed.
    ///
    /// ```
    /// # fn example() -> nearcache::Result<()> {
    /// use std::time::Duration;
    /// use nearcache::structures::Heard;
    ///
    /// let cache = nearcache::blocking::Cache::open("memory://")?;
    /// let news = cache.topic::<String>("news");
    /// let mut listener = news.subscribe().run()?;
    /// news.publish("it rains").run()?;
    /// let heard = listener.next_timeout(Duration::from_secs(1)).unwrap()?;
    /// assert_eq!(heard, Heard::Message("it rains".to_owned()));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(async { example() });
    /// ```
    pub fn next_timeout(&mut self, timeout: std::time::Duration) -> Option<Result<Heard<T>>> {
        // What is too far away to be a time is no limit.
        let deadline = self.runtime.now().checked_add(timeout);
        self.wait(deadline)
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Option<Result<Heard<T>>> {
        loop {
            let State::Idle(link) = std::mem::replace(&mut self.state, State::Ended) else {
                return None;
            };
            let (link, came) = crate::runtime::block_on(Self::listen(link, deadline));
            if matches!(came, Came::Closed) {
                return None;
            }
            self.state = State::Idle(link);
            if matches!(came, Came::Nothing) {
                return None;
            }
            if let Some(item) = self.item(came) {
                return Some(item);
            }
        }
    }
}

/// Waits for each message, until the cache is closed.
#[cfg(feature = "blocking")]
impl<T> Iterator for Subscription<T, crate::cache::operation::Blocking> {
    type Item = Result<Heard<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.wait(None)
    }
}

impl<T, M> fmt::Debug for Subscription<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = crate::keyspace::in_message(&self.name, self.keyspace.redacts());
        f.debug_tuple("Subscription").field(&name).finish()
    }
}

//! Topics: messages that go to everyone who listens now, and are kept for nobody.

mod link;
mod subscription;

use std::fmt;
use std::marker::PhantomData;

pub use self::subscription::{Heard, Named, Subscription};
use super::handle::Handle;
use super::member::{Element, Member, element};
use crate::cache::CacheOf;
use crate::cache::operation::{Async, Marked, Pending};
use crate::client::reply;
use crate::hooks::CallKeys;
use crate::keyspace::Key;
use crate::read_through::ReadThrough;

impl<M> CacheOf<M> {
    /// The topic of this name: what is published there goes to all who listen at that moment (`PUBLISH`, `SUBSCRIBE`).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::structures::Heard;
    ///
    /// let news = cache.topic::<String>("news");
    /// let mut listener = news.subscribe().await?;
    /// assert_eq!(news.publish("it rains").await?, 1); // one heard it
    ///
    /// match listener.next().await.unwrap()? {
    ///     Heard::Message(text) => assert_eq!(text, "it rains"),
    ///     Heard::Gap => {} // messages may have been missed: the connection was lost meanwhile
    /// }
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn topic<T: Member>(&self, name: impl AsRef<[u8]>) -> Topic<T, M> {
        Topic {
            handle: Handle::new(self, name),
            sharded: false,
            message: PhantomData,
        }
    }

    /// All topics whose names match a glob pattern (`*`, `?`, `[a-c]`; `\` before one of these means the character
    /// itself), those that begin later too. Each message comes with the name of its topic. It cannot leave the cache's
    /// prefix.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::structures::Heard;
    ///
    /// let mut listener = cache.topics::<u32>("scores.*").subscribe().await?;
    /// cache.topic::<u32>("scores.chess").publish(&7).await?;
    /// match listener.next().await.unwrap()? {
    ///     Heard::Message(heard) => {
    ///         assert_eq!(heard.topic, "scores.chess");
    ///         assert_eq!(heard.message, 7);
    ///     }
    ///     Heard::Gap => {}
    /// }
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn topics<T: Member>(&self, pattern: impl AsRef<[u8]>) -> Topics<T, M> {
        Topics {
            core: self.core().clone(),
            pattern: pattern.as_ref().to_vec(),
            message: PhantomData,
            mode: PhantomData,
        }
    }
}

/// A topic: see [`CacheOf::topic`].
///
/// The prefix applies to the names of topics as to keys; a topic and a key of the same name have nothing to do with each
/// other. Messages have the canonical form of elements (see [`Member`]), so other programs read and write them. They are
/// for all databases of the server, and Redis keeps none: for messages that must not be lost use a
/// [`stream`](CacheOf::stream).
pub struct Topic<T, M = Async> {
    handle: Handle<M>,
    sharded: bool,
    message: PhantomData<fn() -> T>,
}

impl<T: Member, M: 'static> Topic<T, M> {
    /// Its name, without the prefix.
    pub fn name(&self) -> &Key {
        self.handle.key()
    }

    /// The same topic by sharded publish and subscribe (`SPUBLISH`, `SSUBSCRIBE`; Redis 7 or later): in a Cluster its
    /// messages stay with the nodes that serve its slot, where those of other topics go to every node. It is another
    /// topic than the one of this name without `sharded`, and [`topics`](CacheOf::topics) does not hear it. When the
    /// slot moves to another node, the subscription follows, and tells of a [gap](Heard::Gap).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let moves = cache.topic::<String>("game:7:moves").sharded();
    /// let mut listener = moves.subscribe().await?;
    /// assert_eq!(moves.publish("e4").await?, 1);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn sharded(self) -> Self {
        Topic {
            sharded: true,
            ..self
        }
    }

    /// Sends a message. Returns how many subscribers heard it (`PUBLISH`): on this server, and in a Cluster only on the
    /// node that was asked. 0 is no error.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a message that has no form in JSON, and those of every call (see
    /// [`CacheOf`]). After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) it may or may not have been sent.
    pub fn publish(&self, message: impl Element<T>) -> Pending<'static, u64, M> {
        let message = element(&message);
        let (core, name) = (self.handle.core().clone(), self.handle.key().clone());
        let verb = if self.sharded { "SPUBLISH" } else { "PUBLISH" };
        Pending::new(async move {
            let message = message?;
            core.perform(
                "topic.publish",
                CallKeys::One(name.as_bytes()),
                async |core| {
                    let client = core.client();
                    let name = client.stored(name.as_bytes())?;
                    let mut command = redis::cmd(verb);
                    command.arg(&name).arg(&message);
                    let heard = client.request_for(&name, &command).await?;
                    reply::count(verb, &heard)
                },
            )
            .await
        })
    }

    /// Listens from now on. The subscription has a connection of its own.
    ///
    /// When it is carried out, the server has confirmed it: what is published after that is heard.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) if this user may not listen to the topic;
    /// [`ErrorKind::Server`](crate::ErrorKind::Server) from a server before Redis 6, because a subscription needs RESP3 (also
    /// with `protocol=2`); and those of every call (see [`CacheOf`]).
    pub fn subscribe(&self) -> Pending<'static, Subscription<T, M>, M> {
        subscription::to_one(
            self.handle.core(),
            self.handle.key().as_bytes(),
            self.sharded,
            |_, message| T::from_member(message),
        )
    }
}

impl<T, M> Clone for Topic<T, M> {
    fn clone(&self) -> Self {
        Topic {
            handle: self.handle.clone(),
            sharded: self.sharded,
            message: PhantomData,
        }
    }
}

impl<T, M> fmt::Debug for Topic<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.handle).finish()
    }
}

/// The topics that match a pattern: see [`CacheOf::topics`].
pub struct Topics<T, M = Async> {
    core: ReadThrough,
    pattern: Vec<u8>,
    message: PhantomData<fn() -> T>,
    mode: Marked<M>,
}

impl<T: Member, M: 'static> Topics<T, M> {
    /// Listens to all of them from now on (`PSUBSCRIBE`). Each message comes with the name of its topic. Otherwise like
    /// [`Topic::subscribe`].
    ///
    /// # Errors
    /// Those of [`Topic::subscribe`].
    pub fn subscribe(&self) -> Pending<'static, Subscription<Named<T>, M>, M> {
        subscription::to_many(&self.core, &self.pattern, |topic, message| {
            Ok(Named {
                topic: Key::from(topic),
                message: T::from_member(message)?,
            })
        })
    }
}

impl<T, M> Clone for Topics<T, M> {
    fn clone(&self) -> Self {
        Topics {
            core: self.core.clone(),
            pattern: self.pattern.clone(),
            message: PhantomData,
            mode: PhantomData,
        }
    }
}

impl<T, M> fmt::Debug for Topics<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redact = self.core.client().keyspace().redacts();
        let shown = crate::keyspace::in_message(&self.pattern, redact);
        f.debug_tuple("Topics").field(&shown).finish()
    }
}

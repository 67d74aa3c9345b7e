//! Streams: entries in the order in which they came, kept until they are trimmed, and groups of consumers that share
//! them out.

mod append;
mod consumer;
mod entry;
mod group;
mod id;
mod read;

use std::borrow::Borrow;
use std::fmt;
use std::ops::RangeBounds;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::append::{Append, Trim};
pub(super) use self::consumer::scripts::RETRY;
pub use self::consumer::{Consumer, Delivery};
pub use self::entry::Entry;
use self::entry::Form;
pub use self::group::{Group, PendingEntries, PendingEntry, PendingSummary};
pub use self::id::EntryId;
pub use self::read::{ReadStream, StreamRange};
use super::handle::{Handle, sealed};
use super::member::Member;
use super::replies::sum;
use super::write::Write;
use crate::cache::CacheOf;
use crate::cache::operation::{Async, Pending};
use crate::client::{Client, reply};
use crate::error::Result;
use crate::keyspace::{Key, StoredKey};

impl<M> CacheOf<M> {
    /// The stream at this key: a log of entries, each with an id that grows.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct Order {
    ///     customer: String,
    ///     total: u32,
    /// }
    ///
    /// let orders = cache.stream::<Order>("orders");
    /// let order = Order { customer: "ada".into(), total: 30 };
    /// orders.append(&order).cap(10_000).approx().await?; // XADD orders MAXLEN ~ 10000 * value {"customer":"ada","total":30}
    ///
    /// let last = orders.last(1).await?;
    /// assert_eq!(last[0].value, order);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn stream<T: Member>(&self, key: impl AsRef<[u8]>) -> Stream<T, M> {
        Stream {
            handle: Handle::new(self, key),
            form: Form::value(),
        }
    }
}

/// A stream: see [`CacheOf::stream`].
///
/// # What an entry holds
/// One field, `value`, with the element in its canonical form (see [`Member`]). So an element may be anything: a text, a
/// number, an enum, a struct with structs inside. After [`by_fields`](Stream::by_fields) an entry has a field for each of
/// a struct's, as other programs write them.
///
/// # Consumers
/// [`read`](Stream::read) gives every reader every entry. A [`group`](Stream::group) shares the entries out among its
/// consumers, each to one of them, and remembers which are not done yet.
pub struct Stream<T, M = Async> {
    handle: Handle<M>,
    form: Form<T>,
}

impl<T: Member, M> Stream<T, M> {
    /// The same stream, with a field in each entry for each field of `T`, a struct or a map: as
    /// [`Hash::store`](super::Hash::store) writes it.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct Order {
    ///     customer: String,
    ///     total: u32,
    /// }
    ///
    /// let orders = cache.stream::<Order>("orders").by_fields();
    /// let order = Order { customer: "ada".into(), total: 30 };
    /// orders.append(&order).await?; // XADD orders * customer ada total 30
    /// assert_eq!(orders.range(..).await?[0].value, order);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    #[must_use]
    pub fn by_fields(self) -> Self
    where
        T: Serialize + DeserializeOwned,
    {
        Stream {
            handle: self.handle,
            form: Form::fields(),
        }
    }

    /// Its key, without the prefix.
    pub fn key(&self) -> &Key {
        self.handle.key()
    }

    /// Appends an entry and returns its id (`XADD`).
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for an element that has no form in JSON, or, after
    /// [`by_fields`](Stream::by_fields), is no struct or has no fields; [`ErrorKind::Server`](crate::ErrorKind::Server) for
    /// an id that is not above the last one; and those of every verb of a structure (see
    /// [`structures`](crate::structures)).
    pub fn append(&self, element: impl Borrow<T>) -> Append<M> {
        Append::new(&self.handle, (self.form.write)(element.borrow()))
    }

    /// The entries with ids in this range, the oldest first (`XRANGE`): `range(..)` are all.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::structures::EntryId;
    ///
    /// let log = cache.stream::<String>("log");
    /// for (millis, text) in [(1_000, "a"), (2_000, "b"), (3_000, "c")] {
    ///     log.append(text.to_owned()).id(EntryId::new(millis, 0)).await?;
    /// }
    /// let since = log.range(EntryId::new(2_000, 0)..).limit(10).await?;
    /// assert_eq!(since.len(), 2);
    /// let newest = log.range(..).rev().limit(1).await?;
    /// assert_eq!(newest[0].value, "c");
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if an entry holds no `T`: it is named by its id. And those of every
    /// verb of a structure (see [`structures`](crate::structures)).
    pub fn range(&self, ids: impl RangeBounds<EntryId>) -> StreamRange<T, M> {
        StreamRange::new(&self.handle, self.form, ids)
    }

    /// The last entries, so many, the newest first (`XREVRANGE`).
    ///
    /// # Errors
    /// Those of [`range`](Stream::range).
    pub fn last(&self, entries: u64) -> StreamRange<T, M> {
        self.range(..).rev().limit(entries)
    }

    /// How many entries there are (`XLEN`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn len(&self) -> Pending<'static, u64, M> {
        self.handle
            .read("stream.len", self.handle.command("XLEN"), |value| {
                reply::count("XLEN", &value)
            })
    }

    /// Reads entries, the oldest first (`XREAD`): from the beginning, after an id, or only those that are appended from
    /// now on; and waits for them, if told.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let log = cache.stream::<String>("log");
    /// let first = log.append("a".to_owned()).await?;
    /// log.append("b".to_owned()).await?;
    /// let after = log.read().since(first).await?;
    /// assert_eq!(after[0].value, "b");
    ///
    /// // Waits for an entry, and none comes.
    /// assert!(log.read().new().wait("10ms").await?.is_empty());
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`range`](Stream::range).
    pub fn read(&self) -> ReadStream<T, M> {
        ReadStream::at(&self.handle, self.form)
    }

    /// Removes the oldest entries until so many are left, and returns how many were removed (`XTRIM MAXLEN`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn trim(&self, entries: u64) -> Trim<M> {
        Trim::new(&self.handle, "MAXLEN", entries.to_string())
    }

    /// Removes the entries with ids below this one, and returns how many were removed (`XTRIM MINID`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn trim_before(&self, id: impl Into<EntryId>) -> Trim<M> {
        Trim::new(&self.handle, "MINID", id.into().to_string())
    }

    /// Removes entries by their ids, and returns how many were there (`XDEL`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove(&self, ids: impl IntoIterator<Item = EntryId>) -> Write<u64, M> {
        let ids: Vec<_> = ids
            .into_iter()
            .map(|id| id.to_string().into_bytes())
            .collect();
        let commands = self.handle.in_parts("XDEL", &ids);
        self.handle.write("stream.remove", commands, sum("XDEL"))
    }

    /// A group of consumers, who share the entries out among them.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let orders = cache.stream::<String>("orders");
    /// orders.append("30 apples".to_owned()).await?;
    ///
    /// let billing = orders.group("billing");
    /// let mut worker = billing.consumer("w1").claim_idle("1m");
    /// let delivery = worker.next().await.unwrap()?;
    /// assert_eq!(delivery.value()?, "30 apples");
    /// delivery.ack().await?; // done: it is not delivered again
    /// assert_eq!(billing.pending().await?.count, 0);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn group(&self, name: impl AsRef<[u8]>) -> Group<T, M> {
        Group::new(&self.handle, self.form, name.as_ref())
    }
}

/// A write that is no place for a TTL.
fn plain<T: Send + 'static, M: 'static>(write: Write<T, M>) -> Pending<'static, T, M> {
    let started = write.start();
    Pending::new(started)
}

impl<T, M> Clone for Stream<T, M> {
    fn clone(&self) -> Self {
        Stream {
            handle: self.handle.clone(),
            form: self.form,
        }
    }
}

impl<T, M> fmt::Debug for Stream<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stream").field(&self.handle).finish()
    }
}

#[allow(private_interfaces, reason = "it cannot be named outside this crate")]
impl<T, M> sealed::AsKey for Stream<T, M> {
    fn stored_for(&self, client: &Client) -> Result<StoredKey> {
        self.handle.stored_for(client)
    }
}

//! Sets: elements, each once, in no order.

use std::fmt;
use std::marker::PhantomData;

use redis::Value;

use super::algebra::{Count, named};
use super::handle::{AsKey, Handle, handle};
use super::member::{Element, Member, element, elements};
use super::replies::{first, flag, list, member, members, sum};
use super::scan::Scan;
use super::write::Write;
use crate::cache::CacheOf;
use crate::cache::operation::{Async, CacheFuture, Pending, operation};
use crate::client::reply;
use crate::error::{Error, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;

impl<M> CacheOf<M> {
    /// The set at this key: elements, each once, in no order.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let online = cache.set_of::<u64>("online");
    /// assert!(online.insert(7).await?); // SADD online 7
    /// assert!(!online.insert(7).await?);
    /// assert!(online.contains(7).await?);
    /// assert_eq!(online.len().await?, 1);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn set_of<T: Member>(&self, key: impl AsRef<[u8]>) -> SetOf<T, M> {
        SetOf::at(self, key)
    }
}

/// A set: see [`CacheOf::set_of`].
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// # let cache = nearcache::Cache::open("memory://")?;
/// let ada = cache.set_of::<String>("{likes}:ada");
/// let bob = cache.set_of::<String>("{likes}:bob");
/// ada.insert_many(["tea", "cats"]).await?;
/// bob.insert_many(["tea", "dogs"]).await?;
///
/// assert_eq!(ada.intersection([&bob]).await?, ["tea"]);
/// assert_eq!(ada.union_len([&bob]).await?, 3);
/// ada.difference([&bob]).into("{likes}:only-ada").ttl("1h").await?;
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
///
/// A write of more than 1,000 elements is sent in parts of 1,000: each part is atomic, all of them together are not. In a
/// Redis Cluster, the keys of a verb with several must be in one slot: name them with a hash tag, as above.
pub struct SetOf<T, M = Async> {
    handle: Handle<M>,
    element: PhantomData<fn() -> T>,
}

handle!(SetOf<T>);

impl<T: Member, M> SetOf<T, M> {
    /// Adds an element. Returns whether it is new (`SADD`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn insert(&self, item: impl Element<T>) -> Write<bool, M> {
        let items = elements([item]);
        let commands = items.and_then(|items| self.handle.in_parts("SADD", &items));
        self.handle.write("set_of.insert", commands, flag("SADD"))
    }

    /// Adds elements. Returns how many of them are new (`SADD`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn insert_many(&self, items: impl IntoIterator<Item: Element<T>>) -> Write<u64, M> {
        let items = elements(items);
        let commands = items.and_then(|items| self.handle.in_parts("SADD", &items));
        self.handle
            .write("set_of.insert_many", commands, sum("SADD"))
    }

    /// Removes an element. Returns whether it was there (`SREM`). A set without elements is gone, and its TTL too.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove(&self, item: impl Element<T>) -> Write<bool, M> {
        let items = elements([item]);
        let commands = items.and_then(|items| self.handle.in_parts("SREM", &items));
        self.handle.write("set_of.remove", commands, flag("SREM"))
    }

    /// Removes elements. Returns how many were there (`SREM`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove_many(&self, items: impl IntoIterator<Item: Element<T>>) -> Write<u64, M> {
        let items = elements(items);
        let commands = items.and_then(|items| self.handle.in_parts("SREM", &items));
        self.handle
            .write("set_of.remove_many", commands, sum("SREM"))
    }

    /// Whether it has this element (`SISMEMBER`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn contains(&self, item: impl Element<T>) -> Pending<'static, bool, M> {
        let command = || {
            let mut command = self.handle.command("SISMEMBER")?;
            command.arg(element(&item)?);
            Ok(command)
        };
        let parse = |value| reply::flag("SISMEMBER", &value);
        self.handle.read("set_of.contains", command(), parse)
    }

    /// Which of these elements it has, in their order (`SMISMEMBER`). More than 1,000 are asked for in parts.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn contains_many(
        &self,
        items: impl IntoIterator<Item: Element<T>>,
    ) -> Pending<'static, Vec<bool>, M> {
        let items = elements(items);
        let commands = items.and_then(|items| self.handle.in_parts("SMISMEMBER", &items));
        self.handle
            .reads("set_of.contains_many", commands, |replies| {
                let mut found = Vec::new();
                for part in replies {
                    for one in list("SMISMEMBER", part)? {
                        found.push(reply::flag("SMISMEMBER", &one)?);
                    }
                }
                Ok(found)
            })
    }

    /// How many elements it has (`SCARD`); 0 if it is missing.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn len(&self) -> Pending<'static, u64, M> {
        let command = self.handle.command("SCARD");
        let parse = |value| reply::count("SCARD", &value);
        self.handle.read("set_of.len", command, parse)
    }

    /// Its elements, page by page (`SSCAN`), as a lazy stream or iterator.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let online = cache.set_of::<u64>("online");
    /// online.insert_many(1..=1_000).await?;
    /// let (mut sum, mut members) = (0, online.members());
    /// while let Some(user) = members.next().await {
    ///     sum += user?;
    /// }
    /// assert_eq!(sum, 500_500);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn members(&self) -> Scan<T, M> {
        Scan::new(&self.handle, "set_of.members", "SSCAN", |value| {
            let found = list("SSCAN", value)?.into_iter();
            found
                .map(|item| match item {
                    Value::BulkString(bytes) => Ok((bytes.clone(), T::from_member(bytes)?)),
                    other => Err(Error::unexpected("SSCAN", &other)),
                })
                .collect()
        })
    }

    /// All elements at once (`SMEMBERS`). A large set occupies the server: [`members`](SetOf::members) reads it page by
    /// page.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for an element that is no `T`, and those of every verb of a structure
    /// (see [`structures`](crate::structures)).
    pub fn all(&self) -> Pending<'static, Vec<T>, M> {
        let command = self.handle.command("SMEMBERS");
        let parse = |value| members("SMEMBERS", value);
        self.handle.read("set_of.all", command, parse)
    }

    /// Takes an element at random (`SPOP`); `None` if the set is empty.
    ///
    /// # Errors
    /// Those of [`all`](SetOf::all); an element that is no `T` is taken all the same.
    pub fn pop(&self) -> Write<Option<T>, M> {
        let command = self.handle.command("SPOP").map(|command| vec![command]);
        let parse = |replies| member("SPOP", first(replies));
        self.handle.write("set_of.pop", command, parse)
    }

    /// Takes up to so many elements at random (`SPOP`).
    ///
    /// # Errors
    /// Those of [`pop`](SetOf::pop).
    pub fn pop_many(&self, count: u32) -> Write<Vec<T>, M> {
        let command = self.handle.command("SPOP").map(|mut command| {
            command.arg(count);
            vec![command]
        });
        let parse = |replies| members("SPOP", first(replies));
        self.handle.write("set_of.pop_many", command, parse)
    }

    /// An element at random, which stays (`SRANDMEMBER`).
    ///
    /// # Errors
    /// Those of [`all`](SetOf::all).
    pub fn sample(&self) -> Pending<'static, Option<T>, M> {
        let command = self.handle.command("SRANDMEMBER");
        let parse = |value| member("SRANDMEMBER", value);
        self.handle.read("set_of.sample", command, parse)
    }

    /// Up to so many different elements at random, which stay (`SRANDMEMBER`).
    ///
    /// # Errors
    /// Those of [`all`](SetOf::all).
    pub fn sample_many(&self, count: u32) -> Pending<'static, Vec<T>, M> {
        let command = self.handle.command("SRANDMEMBER").map(|mut command| {
            command.arg(count);
            command
        });
        let parse = |value| members("SRANDMEMBER", value);
        self.handle.read("set_of.sample_many", command, parse)
    }

    /// Moves an element to another set in one step (`SMOVE`). Returns whether it was here.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn move_to(&self, other: impl AsKey, item: impl Element<T>) -> Pending<'static, bool, M> {
        let item = element(&item);
        let command = |from: &StoredKey, to: &StoredKey| {
            let mut command = redis::cmd("SMOVE");
            command.arg(from).arg(to).arg(item?);
            Ok(command)
        };
        let other = self.handle.other(&other);
        let parse = |value| reply::flag("SMOVE", &value);
        self.handle
            .write_both("set_of.move_to", command, other, parse)
    }

    /// The elements of this set and of others (`SUNION`). A missing set is empty.
    ///
    /// # Errors
    /// Those of [`all`](SetOf::all).
    pub fn union(&self, others: impl IntoIterator<Item: AsKey>) -> Combine<T, M> {
        self.combined("set_of.union", "SUNION", others)
    }

    /// The elements that all of these sets have (`SINTER`). A missing set is empty.
    ///
    /// # Errors
    /// Those of [`all`](SetOf::all).
    pub fn intersection(&self, others: impl IntoIterator<Item: AsKey>) -> Combine<T, M> {
        self.combined("set_of.intersection", "SINTER", others)
    }

    /// The elements of this set that none of the others has (`SDIFF`). A missing set is empty.
    ///
    /// # Errors
    /// Those of [`all`](SetOf::all).
    pub fn difference(&self, others: impl IntoIterator<Item: AsKey>) -> Combine<T, M> {
        self.combined("set_of.difference", "SDIFF", others)
    }

    fn combined(
        &self,
        verb: &'static str,
        command: &'static str,
        others: impl IntoIterator<Item: AsKey>,
    ) -> Combine<T, M> {
        Combine {
            keys: self.handle.with_others(others),
            handle: self.handle.clone(),
            verb,
            command,
            element: PhantomData,
        }
    }

    /// How many elements a [`union`](SetOf::union) has, without reading them: counted by a script.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn union_len(&self, others: impl IntoIterator<Item: AsKey>) -> Count<M> {
        let keys = self.handle.with_others(others);
        Count::new(&self.handle, "set_of.union_len", "SUNION", keys)
    }

    /// How many elements an [`intersection`](SetOf::intersection) has, without reading them (`SINTERCARD`; by a script,
    /// if the server is older than Redis 7).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn intersection_len(&self, others: impl IntoIterator<Item: AsKey>) -> Count<M> {
        let keys = self.handle.with_others(others);
        Count::new(&self.handle, "set_of.intersection_len", "SINTER", keys)
    }

    /// How many elements a [`difference`](SetOf::difference) has, without reading them: counted by a script.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn difference_len(&self, others: impl IntoIterator<Item: AsKey>) -> Count<M> {
        let keys = self.handle.with_others(others);
        Count::new(&self.handle, "set_of.difference_len", "SDIFF", keys)
    }
}

/// A pending union, intersection or difference of sets.
#[must_use = "nothing is read until it is carried out, by `.await` or `.run()`"]
pub struct Combine<T, M = Async> {
    handle: Handle<M>,
    verb: &'static str,
    command: &'static str,
    keys: Result<Vec<StoredKey>>,
    element: PhantomData<fn() -> T>,
}

impl<T: Member, M> Combine<T, M> {
    /// Stores the elements at a key, in place of returning them, and returns how many there are (`SUNIONSTORE`,
    /// `SINTERSTORE`, `SDIFFSTORE`). Whatever the key held is replaced, a value of another type too; if there are no
    /// elements, it is deleted. Counts as an invalidation of that key.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn into(self, destination: impl AsKey) -> Write<u64, M> {
        let destination = self.handle.other(&destination);
        let mut command = redis::cmd(&format!("{}STORE", self.command));
        let keys = self.keys.and_then(|keys| {
            command.arg(destination.as_ref().map_err(Error::clone)?);
            for key in &keys {
                command.arg(key);
            }
            Ok(keys)
        });
        let (keys, commands) = match keys {
            Ok(keys) => (keys, Ok(vec![command])),
            Err(error) => (Vec::new(), Err(error)),
        };
        let parse = |replies| reply::count("SSTORE", &first(replies));
        Write::at(&self.handle, destination, self.verb, commands, parse).reading(keys)
    }

    fn start(self) -> CacheFuture<'static, Vec<T>> {
        let core = self.handle.core().clone();
        CacheFuture::asking(async move {
            let keys = self.keys?;
            core.perform(self.verb, CallKeys::Stored(&keys), async |core| {
                let mut command = redis::cmd(self.command);
                for key in &keys {
                    command.arg(key);
                }
                let reply = core.client().request(&command).await;
                reply
                    .and_then(|reply| members(self.command, reply))
                    .map_err(|error| named(error, &keys))
            })
            .await
        })
    }
}

operation!(Combine<T: Member> -> Vec<T>);

impl<T, M> fmt::Debug for Combine<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combine")
            .field("command", &self.command)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

//! HyperLogLogs: how many different things there were, in 12 KiB, however many.

use super::handle::{AsKey, Handle, handle};
use super::replies::first;
use super::write::Write;
use crate::cache::CacheOf;
use crate::cache::operation::{Async, Pending};
use crate::client::reply;
use crate::error::Result;
use crate::hooks::CallKeys;

impl<M> CacheOf<M> {
    /// The number of different elements at this key: visitors, words, addresses. (A HyperLogLog.)
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let visitors = cache.uniques("visitors:today");
    /// visitors.add("ada").await?; // PFADD visitors:today ada
    /// visitors.add_many(["ada", "bob"]).ttl("2d").await?;
    /// assert_eq!(visitors.len().await?, 2);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn uniques(&self, key: impl AsRef<[u8]>) -> Uniques<M> {
        Uniques::at(self, key)
    }
}

/// A HyperLogLog: see [`CacheOf::uniques`].
///
/// It takes 12 KiB at most, and far less for few elements, and does not know its elements, only how many there are: with
/// a standard error of 0.81 %. (<https://redis.io/docs/latest/develop/data-types/probabilistic/hyperloglogs/>) To forget
/// them all, delete the key.
///
/// Elements have one canonical form, as in the other structures: see [`Member`](super::Member).
pub struct Uniques<M = Async> {
    handle: Handle<M>,
}

handle!(Uniques);

impl<M> Uniques<M> {
    /// Counts an element. Returns whether the number may have changed: `false` if it surely was there before (`PFADD`).
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) also for a string that is no HyperLogLog, and those of every
    /// verb of a structure (see [`structures`](crate::structures)).
    pub fn add<T: super::AsMember>(&self, element: T) -> Write<bool, M> {
        let command = || {
            let mut command = self.handle.command("PFADD")?;
            command.arg(super::member::encoded(&element)?);
            Ok(vec![command])
        };
        self.handle.write("uniques.add", command(), |replies| {
            reply::flag("PFADD", &first(replies))
        })
    }

    /// Counts many elements. Returns whether the number may have changed. More than 1,000 are sent in parts.
    ///
    /// # Errors
    /// Those of [`add`](Uniques::add).
    pub fn add_many<T: super::AsMember>(
        &self,
        elements: impl IntoIterator<Item = T>,
    ) -> Write<bool, M> {
        let all = elements.into_iter();
        let all: Result<Vec<_>> = all.map(|each| super::member::encoded(&each)).collect();
        let commands = all.and_then(|all| self.handle.in_parts("PFADD", &all));
        self.handle.write("uniques.add_many", commands, |replies| {
            let mut changed = false;
            for reply in &replies {
                changed |= reply::flag("PFADD", reply)?;
            }
            Ok(changed)
        })
    }

    /// How many different elements were counted, ± 0.81 % (`PFCOUNT`); 0 if the key is missing.
    ///
    /// # Errors
    /// Those of [`add`](Uniques::add).
    pub fn len(&self) -> Pending<'static, u64, M> {
        self.len_of(std::iter::empty::<&str>())
    }

    /// How many different elements were counted here and in the others, together. An element that is in several counts
    /// once. All keys must be on one server.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let (monday, tuesday) = (cache.uniques("monday"), cache.uniques("tuesday"));
    /// monday.add_many(["ada", "bob"]).await?;
    /// tuesday.add_many(["bob", "cleo"]).await?;
    /// assert_eq!(monday.len_of([&tuesday]).await?, 3);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`add`](Uniques::add).
    pub fn len_of(&self, others: impl IntoIterator<Item: AsKey>) -> Pending<'static, u64, M> {
        let keys = self.handle.with_others(others);
        let core = self.handle.core().clone();
        Pending::new(async move {
            let keys = keys?;
            core.perform("uniques.len", CallKeys::Stored(&keys), async |core| {
                let command = crate::client::batch::keyed("PFCOUNT", &keys);
                let counted = core.client().request(&command).await;
                let counted = counted.and_then(|reply| reply::count("PFCOUNT", &reply));
                counted.map_err(|error| match keys.first() {
                    Some(key) => error.for_key(key),
                    None => error,
                })
            })
            .await
        })
    }

    /// Counts here what the others have counted, too (`PFMERGE`). They stay as they are. All keys must be on one server.
    ///
    /// # Errors
    /// Those of [`add`](Uniques::add).
    pub fn merge(&self, others: impl IntoIterator<Item: AsKey>) -> Write<(), M> {
        let others: Result<Vec<_>> = others
            .into_iter()
            .map(|other| self.handle.other(&other))
            .collect();
        let (command, reads) = match others {
            Ok(others) => {
                let command = self.handle.command("PFMERGE").map(|mut command| {
                    for other in &others {
                        command.arg(other);
                    }
                    vec![command]
                });
                (command, others)
            }
            Err(error) => (Err(error), Vec::new()),
        };
        self.handle
            .write("uniques.merge", command, |_| Ok(()))
            .reading(reads)
    }
}

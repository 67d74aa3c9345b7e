//! Hashes: the fields of one thing, each with its value.

use std::fmt;

use super::handle::Handle;
use super::member::{AsMember, Member, encoded};
use super::write::Write;
use crate::cache::CacheOf;
use crate::cache::operation::{Async, Pending};
use crate::client::reply;

impl<M> CacheOf<M> {
    /// The hash at this key: fields with values, such as the columns of a row.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let user = cache.hash("user:123");
    /// user.set("name", "John").await?; // HSET user:123 name John
    /// user.set("age", &30).ttl("1h").await?;
    /// assert_eq!(user.get("age").await?, Some(30));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn hash(&self, key: impl AsRef<[u8]>) -> Hash<M> {
        Hash {
            handle: Handle::new(self, key),
        }
    }
}

/// A hash: see [`CacheOf::hash`].
pub struct Hash<M = Async> {
    handle: Handle<M>,
}

impl<M> Hash<M> {
    /// Sets a field. Returns whether it is new (`HSET`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn set<F, V>(&self, field: &F, value: &V) -> Write<bool, M>
    where
        F: AsMember + ?Sized,
        V: AsMember + ?Sized,
    {
        let command = || {
            let mut command = self.handle.command("HSET")?;
            command.arg(encoded(field)?).arg(encoded(value)?);
            Ok(vec![command])
        };
        self.handle.write("hash.set", command(), |replies| {
            let mut replies = replies.iter();
            Ok(replies.try_fold(0, |sum, one| {
                Ok::<_, crate::Error>(sum + reply::integer("HSET", one)?)
            })? > 0)
        })
    }

    /// The value of a field (`HGET`); `None` if the hash or the field is missing.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a value that is no `T`, and those of every verb of a
    /// structure (see [`structures`](crate::structures)).
    pub fn get<T: Member>(
        &self,
        field: &(impl AsMember + ?Sized),
    ) -> Pending<'static, Option<T>, M> {
        let command = || {
            let mut command = self.handle.command("HGET")?;
            command.arg(encoded(field)?);
            Ok(command)
        };
        self.handle.read("hash.get", command(), |value| {
            reply::bytes("HGET", value)?.map(T::from_member).transpose()
        })
    }
}

impl<M> Clone for Hash<M> {
    fn clone(&self) -> Self {
        Hash {
            handle: self.handle.clone(),
        }
    }
}

impl<M> fmt::Debug for Hash<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hash").field(&self.handle).finish()
    }
}

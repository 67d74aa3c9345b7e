//! Hashes: the fields of one thing, each with its value.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash as Hashed;

use redis::{Cmd, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fields;
use super::handle::{Handle, handle};
use super::member::{AsMember, Member, encoded};
use super::replies::{first, flag, list, member, members, pairs, some_float, sum};
use super::scan::Scan;
use super::write::{Step, Timing, Write, timed};
use crate::cache::CacheOf;
use crate::cache::operation::{Async, CacheFuture, Pending, operation};
use crate::client::batch::parts;
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::ttl::{IntoTtl, Remaining, Ttl};

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
        Hash::at(self, key)
    }
}

/// A hash: see [`CacheOf::hash`].
///
/// Each field has a type of its own. A whole hash is written from a struct, and read into one:
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// # let cache = nearcache::Cache::open("memory://")?;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct User {
///     name: String,
///     age: u8,
///     nick: Option<String>,
/// }
///
/// let user = cache.hash("user:123");
/// let john = User { name: "John".into(), age: 30, nick: None };
/// user.store(&john).ttl("1h").await?; // HSET user:123 age 30 name John
/// user.set("nick", "Johnny").await?;
/// assert_eq!(user.incr("age").await?, 31);
///
/// let read: Option<User> = user.load().await?;
/// assert_eq!(read.unwrap().nick.as_deref(), Some("Johnny"));
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
///
/// A write of more than 1,000 fields is sent in parts of 1,000: each part is atomic, all of them together are not. (A
/// [`store`](Hash::store) is, always.)
pub struct Hash<M = Async> {
    handle: Handle<M>,
}

handle!(Hash);

/// A field and its value.
type Pair = (Vec<u8>, Vec<u8>);

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
        let pair = || Ok(vec![(encoded(field)?, encoded(value)?)]);
        let commands = pair().and_then(|pairs| self.all_set(&pairs));
        self.handle.write("hash.set", commands, flag("HSET"))
    }

    /// Sets fields. Returns how many of them are new (`HSET`).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let stock = cache.hash("stock");
    /// assert_eq!(stock.set_many([("apples", 3), ("pears", 5)]).ttl_if_new("1d").await?, 2);
    /// let found: Vec<Option<u32>> = stock.get_many(["pears", "plums"]).await?;
    /// assert_eq!(found, [Some(5), None]);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn set_many<F: AsMember, V: AsMember>(
        &self,
        fields: impl IntoIterator<Item = (F, V)>,
    ) -> Write<u64, M> {
        let pairs = fields
            .into_iter()
            .map(|(field, value)| Ok((encoded(&field)?, encoded(&value)?)));
        let pairs: Result<Vec<Pair>> = pairs.collect();
        let commands = pairs.and_then(|pairs| self.all_set(&pairs));
        self.handle.write("hash.set_many", commands, sum("HSET"))
    }

    fn all_set(&self, pairs: &[Pair]) -> Result<Vec<Cmd>> {
        parts(pairs, |(field, value)| field.len() + value.len())
            .map(|part| {
                let mut command = self.handle.command("HSET")?;
                for (field, value) in part {
                    command.arg(&**field).arg(&**value);
                }
                Ok(command)
            })
            .collect()
    }

    /// Sets a field if the hash has none of this name. Returns whether it was set (`HSETNX`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn set_if_absent<F, V>(&self, field: &F, value: &V) -> Write<bool, M>
    where
        F: AsMember + ?Sized,
        V: AsMember + ?Sized,
    {
        let command = || {
            let mut command = self.handle.command("HSETNX")?;
            command.arg(encoded(field)?).arg(encoded(value)?);
            Ok(vec![command])
        };
        let verb = "hash.set_if_absent";
        self.handle.write(verb, command(), flag("HSETNX"))
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
        let command = self.one_field("HGET", field);
        let parse = |value| member("HGET", value);
        self.handle.read("hash.get", command, parse)
    }

    /// The values of fields, in their order (`HMGET`); `None` for each that is missing. More than 1,000 are read in
    /// parts.
    ///
    /// # Errors
    /// Those of [`get`](Hash::get).
    pub fn get_many<T: Member>(
        &self,
        fields: impl IntoIterator<Item: AsMember>,
    ) -> Pending<'static, Vec<Option<T>>, M> {
        let commands = self.with_fields("HMGET", fields);
        self.handle.reads("hash.get_many", commands, |replies| {
            let mut found = Vec::new();
            for part in replies {
                for value in list("HMGET", part)? {
                    found.push(member("HMGET", value)?);
                }
            }
            Ok(found)
        })
    }

    /// All fields and their values (`HGETALL`), if they are of one type. (Of several: [`load`](Hash::load).) Empty if the
    /// hash is missing. A large hash occupies the server: [`scan`](Hash::scan) reads it page by page.
    ///
    /// # Errors
    /// Those of [`get`](Hash::get).
    pub fn all<F: Member + Eq + Hashed, V: Member>(&self) -> Pending<'static, HashMap<F, V>, M> {
        let command = self.handle.command("HGETALL");
        self.handle.read("hash.all", command, |value| {
            let found = typed("HGETALL", value)?.into_iter();
            Ok(found.map(|(_, pair)| pair).collect())
        })
    }

    /// The names of all fields (`HKEYS`).
    ///
    /// # Errors
    /// Those of [`get`](Hash::get).
    pub fn keys<F: Member>(&self) -> Pending<'static, Vec<F>, M> {
        let command = self.handle.command("HKEYS");
        let parse = |value| members("HKEYS", value);
        self.handle.read("hash.keys", command, parse)
    }

    /// The values of all fields (`HVALS`).
    ///
    /// # Errors
    /// Those of [`get`](Hash::get).
    pub fn values<V: Member>(&self) -> Pending<'static, Vec<V>, M> {
        let command = self.handle.command("HVALS");
        let parse = |value| members("HVALS", value);
        self.handle.read("hash.values", command, parse)
    }

    /// All fields and their values, page by page (`HSCAN`), as a lazy stream or iterator.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let stock = cache.hash("stock");
    /// stock.set_many([("apples", 3), ("pears", 5)]).await?;
    /// let mut fields = stock.scan::<String, u32>().matching("a*");
    /// while let Some(pair) = fields.next().await {
    ///     assert_eq!(pair?, ("apples".to_owned(), 3));
    /// }
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn scan<F: Member, V: Member>(&self) -> Scan<(F, V), M> {
        let parse = |value| typed("HSCAN", value);
        Scan::new(&self.handle, "hash.scan", "HSCAN", parse)
    }

    /// How many fields it has (`HLEN`); 0 if it is missing.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn len(&self) -> Pending<'static, u64, M> {
        let command = self.handle.command("HLEN");
        let parse = |value| reply::count("HLEN", &value);
        self.handle.read("hash.len", command, parse)
    }

    /// Whether it has this field (`HEXISTS`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn contains(&self, field: &(impl AsMember + ?Sized)) -> Pending<'static, bool, M> {
        let command = self.one_field("HEXISTS", field);
        let parse = |value| reply::flag("HEXISTS", &value);
        self.handle.read("hash.contains", command, parse)
    }

    /// Removes a field. Returns whether it was there (`HDEL`). A hash without fields is gone, and its TTL too.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove(&self, field: &(impl AsMember + ?Sized)) -> Write<bool, M> {
        let command = self.one_field("HDEL", field).map(|command| vec![command]);
        self.handle.write("hash.remove", command, flag("HDEL"))
    }

    /// Removes fields. Returns how many were there (`HDEL`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove_many(&self, fields: impl IntoIterator<Item: AsMember>) -> Write<u64, M> {
        let commands = self.with_fields("HDEL", fields);
        self.handle.write("hash.remove_many", commands, sum("HDEL"))
    }

    /// Adds 1, or the amount given by `.by(..)`, to a field, and returns the new value (`HINCRBY`). A missing field starts
    /// at 0. Atomic.
    ///
    /// # Errors
    /// [`ErrorKind::NotInteger`](crate::ErrorKind::NotInteger) and [`ErrorKind::Overflow`](crate::ErrorKind::Overflow),
    /// which leave the field unchanged, and those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn incr(&self, field: &(impl AsMember + ?Sized)) -> IncrField<M> {
        IncrField {
            command: self.one_field("HINCRBY", field),
            handle: self.handle.clone(),
            by: 1,
            time: None,
        }
    }

    /// Adds a number with a point to a field, and returns the new value (`HINCRBYFLOAT`). A missing field starts at 0.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for NaN; [`ErrorKind::Server`](crate::ErrorKind::Server) if the
    /// field is no number, or the sum would be infinite; and those of every verb of a structure (see
    /// [`structures`](crate::structures)).
    pub fn incr_float(&self, field: &(impl AsMember + ?Sized), by: f64) -> Write<f64, M> {
        let command = || {
            let mut command = self.one_field("HINCRBYFLOAT", field)?;
            command.arg(super::range::score(by)?);
            Ok(vec![command])
        };
        self.handle.write("hash.incr_float", command(), |replies| {
            some_float("HINCRBYFLOAT", &first(replies))
        })
    }

    /// The whole hash as a struct, a field for each; `None` if the hash is missing.
    ///
    /// Each value is parsed by the type of its field (see [`Member`]); nested structs, lists and maps are JSON. A missing
    /// field of type `Option` is `None`, and one with `#[serde(default)]` its default. Fields that the struct does not
    /// have are ignored, and `#[serde(rename)]` works. A map (`HashMap<String, u32>`) is read as well. In a part that is
    /// `#[serde(flatten)]`, serde does not say the types of the fields: there a text such as `5` is a number.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec), which names the field, if one is missing that has no default, or is
    /// not of its type; and those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn load<T: DeserializeOwned + Send + 'static>(&self) -> Pending<'static, Option<T>, M> {
        let command = self.handle.command("HGETALL");
        self.handle.read("hash.load", command, |value| {
            let found = pairs("HGETALL", value)?
                .into_iter()
                .map(|(field, value)| match value {
                    Value::BulkString(value) => Ok((field, value)),
                    other => Err(Error::unexpected("HGETALL", &other)),
                });
            let found: Vec<Pair> = found.collect::<Result<_>>()?;
            if found.is_empty() {
                return Ok(None);
            }
            fields::read(&found).map(Some)
        })
    }

    /// Replaces the whole hash by a struct, a field for each, in one step. Whatever the key held is replaced, a value of
    /// another type too. A field that is `None` is not stored; if nothing is left, the key is deleted. Without `.ttl(..)`
    /// the hash has none.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for what is neither a struct nor a map, or has no form in JSON; and
    /// those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn store<T: Serialize + ?Sized>(&self, value: &T) -> Write<(), M> {
        let step = || {
            let stored = fields::write(value)?;
            let step = Step::from(self.handle.command("DEL")?);
            if stored.is_empty() {
                return Ok(vec![step]);
            }
            let mut command = self.handle.command("HSET")?;
            for (field, value) in stored {
                command.arg(field).arg(value);
            }
            Ok(vec![step.then(command)])
        };
        self.handle.write("hash.store", step(), |_| Ok(()))
    }

    /// How long a field lives from now on (`HPEXPIRE`): Redis 7.4 and later, Valkey 9. Returns whether the field was there.
    /// Writing the field again takes its time away.
    ///
    /// # Errors
    /// [`ErrorKind::Server`](crate::ErrorKind::Server) if the server is older, which the embedded store is too; and those of every
    /// verb of a structure (see [`structures`](crate::structures)).
    pub fn expire_field(
        &self,
        field: &(impl AsMember + ?Sized),
        ttl: impl IntoTtl,
    ) -> Pending<'static, bool, M> {
        let ttl = ttl.into_ttl().map(Ttl::as_millis);
        let command = ttl.and_then(|ttl| {
            let mut command = self.handle.command("HPEXPIRE")?;
            command.arg(ttl);
            one_of_fields(command, field)
        });
        // 1: set; 2: the time is in the past; 0: a condition; -2: no such field.
        self.of_field("hash.expire_field", "HPEXPIRE", command, |code| {
            matches!(code, 1 | 2)
        })
    }

    /// Takes a field's time away (`HPERSIST`): Redis 7.4 and later, Valkey 9. Returns whether it had one.
    ///
    /// # Errors
    /// Those of [`expire_field`](Hash::expire_field).
    pub fn persist_field(&self, field: &(impl AsMember + ?Sized)) -> Pending<'static, bool, M> {
        let command = self.handle.command("HPERSIST");
        let command = command.and_then(|command| one_of_fields(command, field));
        self.of_field("hash.persist_field", "HPERSIST", command, |code| code == 1)
    }

    /// How long a field still lives (`HPTTL`): Redis 7.4 and later, Valkey 9.
    ///
    /// # Errors
    /// Those of [`expire_field`](Hash::expire_field).
    pub fn field_ttl(&self, field: &(impl AsMember + ?Sized)) -> Pending<'static, Remaining, M> {
        let command = self.handle.command("HPTTL");
        let command = command.and_then(|command| one_of_fields(command, field));
        self.of_field("hash.field_ttl", "HPTTL", command, |left| match left {
            -1 => Remaining::Forever,
            0.. => Remaining::In(std::time::Duration::from_millis(left.unsigned_abs())),
            _ => Remaining::Missing,
        })
    }

    /// A field at random (`HRANDFIELD`); `None` if the hash is missing.
    ///
    /// # Errors
    /// Those of [`get`](Hash::get).
    pub fn random<F: Member>(&self) -> Pending<'static, Option<F>, M> {
        let command = self.handle.command("HRANDFIELD");
        let parse = |value| member("HRANDFIELD", value);
        self.handle.read("hash.random", command, parse)
    }

    /// Up to so many different fields at random, with their values (`HRANDFIELD`).
    ///
    /// # Errors
    /// Those of [`get`](Hash::get).
    pub fn random_many<F: Member, V: Member>(
        &self,
        count: u32,
    ) -> Pending<'static, Vec<(F, V)>, M> {
        let command = self.handle.command("HRANDFIELD").map(|mut command| {
            command.arg(count).arg("WITHVALUES");
            command
        });
        self.handle.read("hash.random_many", command, |value| {
            let found = typed("HRANDFIELD", value)?.into_iter();
            Ok(found.map(|(_, pair)| pair).collect())
        })
    }

    /// A verb about the time of a field, which changes no value: so no load need be fenced.
    fn of_field<T: Send + 'static>(
        &self,
        verb: &'static str,
        name: &'static str,
        command: Result<Cmd>,
        meaning: fn(i64) -> T,
    ) -> Pending<'static, T, M> {
        let asked = self.handle.read(verb, command, move |value| {
            let codes = list(name, value)?;
            // A missing hash is nil on some servers.
            let code = codes
                .first()
                .map_or(Ok(-2), |code| reply::integer(name, code));
            Ok(meaning(code?))
        });
        let asked = asked.start();
        Pending::new(async move {
            asked.await.map_err(|error| {
                if !error.detail().contains("unknown command") {
                    return error;
                }
                let why = format!(
                    "fields of a hash have times of their own since Redis 7.4 and Valkey 9; this server has no {name}; \
                     give the whole hash a TTL"
                );
                Error::new(ErrorKind::Server, why)
            })
        })
    }

    fn one_field(&self, name: &str, field: &(impl AsMember + ?Sized)) -> Result<Cmd> {
        let mut command = self.handle.command(name)?;
        command.arg(encoded(field)?);
        Ok(command)
    }

    fn with_fields(
        &self,
        name: &str,
        fields: impl IntoIterator<Item: AsMember>,
    ) -> Result<Vec<Cmd>> {
        let fields = fields.into_iter().map(|field| encoded(&field));
        self.handle
            .in_parts(name, &fields.collect::<Result<Vec<_>>>()?)
    }
}

fn one_of_fields(mut command: Cmd, field: &(impl AsMember + ?Sized)) -> Result<Cmd> {
    command.arg("FIELDS").arg(1).arg(encoded(field)?);
    Ok(command)
}

/// A field and its value, with the field's bytes.
type Found<F, V> = (Vec<u8>, (F, V));

/// Fields and values.
fn typed<F: Member, V: Member>(command: &str, value: Value) -> Result<Vec<Found<F, V>>> {
    let found = pairs(command, value)?.into_iter();
    found
        .map(|(field, value)| match value {
            Value::BulkString(value) => Ok((
                field.clone(),
                (F::from_member(field)?, V::from_member(value)?),
            )),
            other => Err(Error::unexpected(command, &other)),
        })
        .collect()
}

/// A pending [`incr`](Hash::incr) of a field.
#[must_use = "nothing is counted until it is carried out, by `.await` or `.run()`"]
pub struct IncrField<M = Async> {
    handle: Handle<M>,
    command: Result<Cmd>,
    by: i64,
    time: Timing,
}

impl<M> IncrField<M> {
    /// The amount, instead of 1. A negative one is subtracted.
    pub fn by(mut self, amount: i64) -> Self {
        self.by = amount;
        self
    }

    fn start(self) -> CacheFuture<'static, i64> {
        let command = self.command.map(|mut command| {
            command.arg(self.by);
            vec![command]
        });
        // With a TTL it comes as text.
        let parse = |replies| match first(replies) {
            Value::BulkString(text) => exact("HINCRBY", &text),
            reply => reply::integer("HINCRBY", &reply),
        };
        let write = self.handle.write("hash.incr", command, parse);
        write.with_time(self.time).start()
    }
}

/// A number that a script returned as text.
fn exact(command: &str, text: &[u8]) -> Result<i64> {
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::unexpected(command, &Value::BulkString(text.to_vec())))
}

timed!(IncrField);
operation!(IncrField<> -> i64);

impl<M> fmt::Debug for IncrField<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncrField")
            .field("key", &self.handle)
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

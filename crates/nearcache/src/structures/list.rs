//! Lists: elements in the order of their arrival.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use redis::{Cmd, Value};

use super::handle::{AsKey, Handle, handle};
use super::member::{Element, Member, element, elements};
use super::range::positions;
use super::replies::{first, list, member, members};
use super::waiting::seconds;
use super::write::{Step, Timing, Write, timed};
use crate::cache::CacheOf;
use crate::cache::operation::{Async, CacheFuture, Pending, operation};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::StoredKey;
use crate::ttl::IntoTtl;

impl<M> CacheOf<M> {
    /// The list at this key: elements in order, added and taken at both ends.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let recent = cache.list::<String>("recent");
    /// recent.push_front("home").await?; // LPUSH recent home
    /// recent.push_front("prices").cap(100).await?;
    /// assert_eq!(recent.range(..10).await?, ["prices", "home"]);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn list<T: Member>(&self, key: impl AsRef<[u8]>) -> List<T, M> {
        List::at(self, key)
    }
}

/// A list: see [`CacheOf::list`].
///
/// A position counts from 0 at the front; a negative one from the end: -1 is the last element. Ranges are Rust ranges of
/// positions: `..10` are the first ten, `-10..` the last ten, `..-1` all but the last.
///
/// As a queue: [`push_back`](List::push_back) at one end, and [`pop_front`](List::pop_front) at the other, which may
/// wait. An element that was popped is gone, whatever becomes of its worker; [`move_to`](List::move_to) keeps it in a
/// second list until it is done.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// # let cache = nearcache::Cache::open("memory://")?;
/// let jobs = cache.list::<u64>("jobs");
/// jobs.push_back_many([1, 2]).await?;
///
/// let doing = cache.list::<u64>("doing");
/// while let Some(job) = jobs.move_to(&doing).await? {
///     // do it, and then:
///     doing.remove(job).await?;
/// }
/// assert_eq!(jobs.pop_front().wait("10ms").await?, None);
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
///
/// A write of more than 1,000 elements is sent in parts of 1,000: each part is atomic, all of them together are not.
pub struct List<T, M = Async> {
    handle: Handle<M>,
    element: PhantomData<fn() -> T>,
}

handle!(List<T>);

impl<T: Member, M> List<T, M> {
    /// Adds an element at the front, and returns the new length (`LPUSH`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn push_front(&self, item: impl Element<T>) -> Push<M> {
        self.push("list.push_front", true, elements([item]))
    }

    /// Adds an element at the end, and returns the new length (`RPUSH`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn push_back(&self, item: impl Element<T>) -> Push<M> {
        self.push("list.push_back", false, elements([item]))
    }

    /// Adds elements at the front, one after the other, so that the last one becomes the first; and returns the new length
    /// (`LPUSH`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn push_front_many(&self, items: impl IntoIterator<Item: Element<T>>) -> Push<M> {
        self.push("list.push_front_many", true, elements(items))
    }

    /// Adds elements at the end, in their order, and returns the new length (`RPUSH`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn push_back_many(&self, items: impl IntoIterator<Item: Element<T>>) -> Push<M> {
        self.push("list.push_back_many", false, elements(items))
    }

    fn push(&self, verb: &'static str, front: bool, items: Result<Vec<Vec<u8>>>) -> Push<M> {
        Push {
            handle: self.handle.clone(),
            verb,
            front,
            items,
            cap: None,
            only_if_present: false,
            time: None,
        }
    }

    /// Takes the first element (`LPOP`); `None` if the list is empty, which is to say that it does not exist.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let jobs = cache.list::<u64>("jobs");
    /// jobs.push_back_many(1..=5).await?;
    /// assert_eq!(jobs.pop_front().await?, Some(1));
    /// assert_eq!(jobs.pop_back().count(2).await?, [5, 4]);
    /// assert_eq!(jobs.pop_front().wait("5s").await?, Some(2));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for an element that is no `T`: it is taken all the same. And those of
    /// every verb of a structure (see [`structures`](crate::structures)).
    pub fn pop_front(&self) -> Pop<T, M> {
        self.pop(true)
    }

    /// Takes the last element (`RPOP`).
    ///
    /// # Errors
    /// Those of [`pop_front`](List::pop_front).
    pub fn pop_back(&self) -> Pop<T, M> {
        self.pop(false)
    }

    fn pop(&self, front: bool) -> Pop<T, M> {
        Pop {
            handle: self.handle.clone(),
            front,
            element: PhantomData,
        }
    }

    /// The elements of a range (`LRANGE`).
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for an element that is no `T`, and those of every verb of a structure
    /// (see [`structures`](crate::structures)).
    pub fn range(&self, range: impl RangeBounds<i64>) -> Pending<'static, Vec<T>, M> {
        let command = self.ranged("LRANGE", range);
        let parse = |value| members("LRANGE", value);
        self.handle.read("list.range", command, parse)
    }

    /// How many elements it has (`LLEN`); 0 if it is missing.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn len(&self) -> Pending<'static, u64, M> {
        let command = self.handle.command("LLEN");
        let parse = |value| reply::count("LLEN", &value);
        self.handle.read("list.len", command, parse)
    }

    /// Keeps only the elements of a range (`LTRIM`). If it holds none, the list is gone.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn trim(&self, range: impl RangeBounds<i64>) -> Write<(), M> {
        let command = self.ranged("LTRIM", range).map(|command| vec![command]);
        self.handle.write("list.trim", command, |_| Ok(()))
    }

    fn ranged(&self, name: &str, range: impl RangeBounds<i64>) -> Result<Cmd> {
        let (first, last) = positions(range);
        let mut command = self.handle.command(name)?;
        command.arg(first).arg(last);
        Ok(command)
    }

    /// The element at a position (`LINDEX`); `None` if there is none.
    ///
    /// # Errors
    /// Those of [`range`](List::range).
    pub fn get(&self, position: i64) -> Pending<'static, Option<T>, M> {
        let command = self.handle.command("LINDEX").map(|mut command| {
            command.arg(position);
            command
        });
        let parse = |value| member("LINDEX", value);
        self.handle.read("list.get", command, parse)
    }

    /// Replaces the element at a position (`LSET`).
    ///
    /// # Errors
    /// [`ErrorKind::Server`](crate::ErrorKind::Server) if there is none, and those of every verb of a structure (see
    /// [`structures`](crate::structures)).
    pub fn set(&self, position: i64, item: impl Element<T>) -> Write<(), M> {
        let command = || {
            let mut command = self.handle.command("LSET")?;
            command.arg(position).arg(element(&item)?);
            Ok(vec![command])
        };
        self.handle.write("list.set", command(), |_| Ok(()))
    }

    /// Removes the elements that equal this one, and returns how many there were (`LREM`): all of them, or as many as
    /// `.first(n)` or `.last(n)` say.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let list = cache.list::<String>("list");
    /// list.push_back_many(["a", "b", "a", "c", "a"]).await?;
    /// assert_eq!(list.remove("a").last(1).await?, 1);
    /// assert_eq!(list.range(..).await?, ["a", "b", "a", "c"]);
    /// assert_eq!(list.remove("a").await?, 2);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove(&self, item: impl Element<T>) -> Remove<M> {
        Remove {
            handle: self.handle.clone(),
            item: element(&item),
            count: 0,
            time: None,
        }
    }

    /// Inserts an element before the first one that equals `pivot`, and returns the new length (`LINSERT`); `None` if
    /// there is no such element.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn insert_before(
        &self,
        pivot: impl Element<T>,
        item: impl Element<T>,
    ) -> Write<Option<u64>, M> {
        let (pivot, item) = (element(&pivot), element(&item));
        self.insert("list.insert_before", "BEFORE", pivot, item)
    }

    /// Inserts an element after the first one that equals `pivot`, and returns the new length (`LINSERT`); `None` if there
    /// is no such element.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn insert_after(
        &self,
        pivot: impl Element<T>,
        item: impl Element<T>,
    ) -> Write<Option<u64>, M> {
        let (pivot, item) = (element(&pivot), element(&item));
        self.insert("list.insert_after", "AFTER", pivot, item)
    }

    fn insert(
        &self,
        verb: &'static str,
        place: &str,
        pivot: Result<Vec<u8>>,
        item: Result<Vec<u8>>,
    ) -> Write<Option<u64>, M> {
        let command = || {
            let mut command = self.handle.command("LINSERT")?;
            command.arg(place).arg(pivot?).arg(item?);
            Ok(vec![command])
        };
        self.handle.write(verb, command(), |replies| {
            let length = reply::integer("LINSERT", &first(replies))?;
            // 0: no list; -1: no such element.
            Ok(u64::try_from(length).ok().filter(|length| *length > 0))
        })
    }

    /// The position of the first element that equals this one (`LPOS`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn position(&self, item: impl Element<T>) -> Pending<'static, Option<u64>, M> {
        let command = || {
            let mut command = self.handle.command("LPOS")?;
            command.arg(element(&item)?);
            Ok(command)
        };
        self.handle
            .read("list.position", command(), |value| match value {
                Value::Nil => Ok(None),
                at => reply::count("LPOS", &at).map(Some),
            })
    }

    /// The positions of all elements that equal this one (`LPOS`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn positions(&self, item: impl Element<T>) -> Pending<'static, Vec<u64>, M> {
        let command = || {
            let mut command = self.handle.command("LPOS")?;
            command.arg(element(&item)?).arg("COUNT").arg(0);
            Ok(command)
        };
        self.handle.read("list.positions", command(), |value| {
            let found = list("LPOS", value)?;
            found.iter().map(|at| reply::count("LPOS", at)).collect()
        })
    }

    /// Takes the first element, adds it at the end of another list, and returns it (`LMOVE`): in one step, so that it is
    /// always in one of them. `None` if this list is empty. The other may be this list: then it turns.
    ///
    /// In a Redis Cluster both keys must be in one slot: name them with a hash tag (`{jobs}:waiting`, `{jobs}:doing`).
    ///
    /// # Errors
    /// Those of [`pop_front`](List::pop_front); an element that is no `T` is moved all the same.
    pub fn move_to(&self, other: impl AsKey) -> Move<T, M> {
        Move {
            other: self.handle.other(&other),
            handle: self.handle.clone(),
            from_back: false,
            to_front: false,
            element: PhantomData,
        }
    }
}

/// A pending push to a [`List`]. Returns the new length.
#[must_use = "nothing is added until it is carried out, by `.await` or `.run()`"]
pub struct Push<M = Async> {
    handle: Handle<M>,
    verb: &'static str,
    front: bool,
    items: Result<Vec<Vec<u8>>>,
    cap: Option<u32>,
    only_if_present: bool,
    time: Timing,
}

impl<M> Push<M> {
    /// Keeps at most so many elements: those at the other end go, in the same step (`LTRIM`). At least 1.
    pub fn cap(mut self, elements: u32) -> Self {
        self.cap = Some(elements);
        self
    }

    /// Only if the list is there (`LPUSHX`, `RPUSHX`). Otherwise the length is 0.
    pub fn only_if_present(mut self) -> Self {
        self.only_if_present = true;
        self
    }

    fn steps(&self) -> Result<Vec<Step>> {
        let items = self.items.clone()?;
        if self.cap == Some(0) {
            let why = "a list is capped at one element or more; `delete` the key to have none";
            return Err(Error::new(ErrorKind::InvalidConfig, why));
        }
        let name = match (self.front, self.only_if_present) {
            (true, false) => "LPUSH",
            (true, true) => "LPUSHX",
            (false, false) => "RPUSH",
            (false, true) => "RPUSHX",
        };
        let pushes = self.handle.in_parts(name, &items)?.into_iter();
        pushes
            .map(|push| {
                let step = Step::from(push);
                let Some(cap) = self.cap.map(i64::from) else {
                    return Ok(step);
                };
                let (first, last) = if self.front { (0, cap - 1) } else { (-cap, -1) };
                let mut trim = self.handle.command("LTRIM")?;
                trim.arg(first).arg(last);
                Ok(step.then(trim))
            })
            .collect()
    }

    fn start(self) -> CacheFuture<'static, u64> {
        let (steps, cap) = (self.steps(), self.cap);
        let parse = move |replies: Vec<Value>| {
            let length = replies
                .last()
                .map_or(Ok(0), |last| reply::count("PUSH", last))?;
            Ok(cap.map_or(length, |cap| length.min(cap.into())))
        };
        let write = self.handle.write(self.verb, steps, parse);
        write.with_time(self.time).start()
    }
}

timed!(Push);
operation!(Push<> -> u64);

impl<M> fmt::Debug for Push<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("key", &self.handle)
            .field("cap", &self.cap)
            .finish_non_exhaustive()
    }
}

/// A pending pop of a [`List`].
#[must_use = "nothing is taken until it is carried out, by `.await` or `.run()`"]
pub struct Pop<T, M = Async> {
    handle: Handle<M>,
    front: bool,
    element: PhantomData<fn() -> T>,
}

impl<T: Member, M> Pop<T, M> {
    fn verb(&self) -> &'static str {
        if self.front {
            "list.pop_front"
        } else {
            "list.pop_back"
        }
    }

    fn command(&self) -> Result<Cmd> {
        self.handle
            .command(if self.front { "LPOP" } else { "RPOP" })
    }

    /// Takes up to so many.
    ///
    /// # Errors
    /// Those of [`pop_front`](List::pop_front).
    pub fn count(self, elements: u32) -> Write<Vec<T>, M> {
        let command = self.command().map(|mut command| {
            command.arg(elements);
            vec![command]
        });
        let parse = |replies| members("LPOP", first(replies));
        self.handle.write(self.verb(), command, parse)
    }

    /// Waits up to this time for an element, if there is none (`BLPOP`, `BRPOP`). Callers that wait are served in the
    /// order of their coming. The call may take the time and the timeout of the cache. It waits on a connection that it
    /// opens, which costs a few round trips.
    ///
    /// Dropping the future loses no element: one that had already been taken for it is put back where it was, in the
    /// background. (A process that ends meanwhile loses it. Where that matters use [`move_to`](List::move_to).)
    ///
    /// # Errors
    /// Those of [`pop_front`](List::pop_front), and [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) for a time
    /// that is none.
    pub fn wait(self, time: impl IntoTtl) -> Pending<'static, Option<T>, M> {
        let name = if self.front { "BLPOP" } else { "BRPOP" };
        let command = seconds(time).and_then(|time| {
            let mut command = self.handle.command(name)?;
            command.arg(time);
            Ok(command)
        });
        let put_back = if self.front {
            |reply: &Value, asked: &Cmd| back("LPUSH", reply, asked)
        } else {
            |reply: &Value, asked: &Cmd| back("RPUSH", reply, asked)
        };
        self.handle.wait(self.verb(), command, put_back, |value| {
            // The key, and the element.
            member("BLPOP", list("BLPOP", value)?.pop().unwrap_or(Value::Nil))
        })
    }

    fn start(self) -> CacheFuture<'static, Option<T>> {
        let command = self.command().map(|command| vec![command]);
        let parse = |replies| member("LPOP", first(replies));
        self.handle.write(self.verb(), command, parse).start()
    }
}

/// What puts an element back.
fn back(name: &str, reply: &Value, _: &Cmd) -> Option<Cmd> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let [Value::BulkString(key), Value::BulkString(item)] = &parts[..] else {
        return None;
    };
    let mut command = redis::cmd(name);
    command.arg(&**key).arg(&**item);
    Some(command)
}

operation!(Pop<T: Member> -> Option<T>);

impl<T, M> fmt::Debug for Pop<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop")
            .field("key", &self.handle)
            .field("front", &self.front)
            .finish_non_exhaustive()
    }
}

/// A pending removal from a [`List`]. Returns how many elements were removed.
#[must_use = "nothing is removed until it is carried out, by `.await` or `.run()`"]
pub struct Remove<M = Async> {
    handle: Handle<M>,
    item: Result<Vec<u8>>,
    /// As `LREM` has it: 0 is all.
    count: i64,
    time: Timing,
}

impl<M> Remove<M> {
    /// At most so many, from the front on.
    pub fn first(mut self, elements: u32) -> Self {
        self.count = elements.into();
        if elements == 0 {
            self.item = Err(none_to_remove());
        }
        self
    }

    /// At most so many, from the end on.
    pub fn last(mut self, elements: u32) -> Self {
        self.count = -i64::from(elements);
        if elements == 0 {
            self.item = Err(none_to_remove());
        }
        self
    }

    fn start(self) -> CacheFuture<'static, u64> {
        let command = || {
            let mut command = self.handle.command("LREM")?;
            command.arg(self.count).arg(self.item?);
            Ok(vec![command])
        };
        let parse = |replies| reply::count("LREM", &first(replies));
        let write = self.handle.write("list.remove", command(), parse);
        write.with_time(self.time).start()
    }
}

/// To Redis, 0 means all.
fn none_to_remove() -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        "remove one element or more; leave `first` and `last` out to remove all",
    )
}

timed!(Remove);
operation!(Remove<> -> u64);

impl<M> fmt::Debug for Remove<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remove")
            .field("key", &self.handle)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// A pending [`move_to`](List::move_to). Returns the element.
#[must_use = "nothing is moved until it is carried out, by `.await` or `.run()`"]
pub struct Move<T, M = Async> {
    handle: Handle<M>,
    other: Result<StoredKey>,
    from_back: bool,
    to_front: bool,
    element: PhantomData<fn() -> T>,
}

impl<T: Member, M> Move<T, M> {
    /// Takes the last element, not the first.
    pub fn from_back(mut self) -> Self {
        self.from_back = true;
        self
    }

    /// Adds it at the front of the other list, not at its end.
    pub fn to_front(mut self) -> Self {
        self.to_front = true;
        self
    }

    fn ends(&self) -> [&'static str; 2] {
        [
            if self.from_back { "RIGHT" } else { "LEFT" },
            if self.to_front { "LEFT" } else { "RIGHT" },
        ]
    }

    /// Waits up to this time for an element, if there is none (`BLMOVE`). It waits as [`Pop::wait`] does. If the future
    /// is dropped, the element may have been moved.
    ///
    /// # Errors
    /// Those of [`Pop::wait`].
    pub fn wait(self, time: impl IntoTtl) -> Pending<'static, Option<T>, M> {
        let ends = self.ends();
        let command = seconds(time).and_then(|time| {
            let mut command = self.handle.command("BLMOVE")?;
            command.arg(self.other?).arg(&ends).arg(time);
            Ok(command)
        });
        // Redis has a plain nil for it, and some a list of nothing.
        self.handle.wait(
            "list.move_to",
            command,
            |_, _| None,
            |value| match value {
                Value::Array(_) => Ok(None),
                value => member("BLMOVE", value),
            },
        )
    }

    fn start(self) -> CacheFuture<'static, Option<T>> {
        let ends = self.ends();
        let command = move |from: &StoredKey, to: &StoredKey| {
            let mut command = redis::cmd("LMOVE");
            command.arg(from).arg(to).arg(&ends);
            Ok(command)
        };
        let parse = |value| member("LMOVE", value);
        self.handle
            .write_both("list.move_to", command, self.other, parse)
            .start()
    }
}

operation!(Move<T: Member> -> Option<T>);

impl<T, M> fmt::Debug for Move<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Move")
            .field("key", &self.handle)
            .field("from_back", &self.from_back)
            .field("to_front", &self.to_front)
            .finish_non_exhaustive()
    }
}

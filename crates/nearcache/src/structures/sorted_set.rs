//! Sorted sets: elements, each once, with a score, in the order of the scores.
//!
//! `insert`, `select` (ranges), `pop` and `combine` (union, intersection, difference) have the operations.

mod combine;
mod insert;
mod pop;
mod select;

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use redis::{Cmd, Value};

pub use combine::{Aggregate, CombineSorted};
pub use insert::Insert;
pub use pop::PopScored;
pub use select::{Range, WithScores};

use super::algebra::Count;
use super::handle::{AsKey, Handle, handle};
use super::member::{AsMember, Element, Member, element, elements};
use super::range::{members as lex_bounds, positions, score, scores};
use super::replies::{first, flag, float, list, member, scored, some_float, sum};
use super::scan::Scan;
use super::write::Write;
use crate::cache::CacheOf;
use crate::cache::operation::{Async, CacheFuture, Pending, operation};
use crate::client::reply;
use crate::error::Result;

impl<M> CacheOf<M> {
    /// The sorted set at this key: elements with scores, such as the players of a game.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let board = cache.sorted_set::<String>("board");
    /// board.insert("ada", 7).await?; // ZADD board 7 ada
    /// board.insert_many([("bob", 9.0), ("eve", 4.0)]).await?;
    /// assert_eq!(board.range(..2).rev().await?, ["bob", "ada"]);
    /// assert_eq!(board.rank("ada").rev().await?, Some(1));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn sorted_set<T: Member>(&self, key: impl AsRef<[u8]>) -> SortedSet<T, M> {
        SortedSet::at(self, key)
    }
}

/// A sorted set: see [`CacheOf::sorted_set`].
///
/// The order is that of the scores, the lowest first; elements with the same score are in the order of their bytes. A score
/// is an `f64`, so integers are exact up to 2⁵³; infinities are scores, NaN is an error. A rank counts from 0; a
/// negative one from the end: -1 is the last element. Ranges are Rust ranges:
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// # let cache = nearcache::Cache::open("memory://")?;
/// let prices = cache.sorted_set::<String>("prices");
/// prices.insert_many([("pen", 1.5), ("book", 12.0), ("lamp", 30.0)]).await?;
///
/// assert_eq!(prices.range(..1).await?, ["pen"]);
/// assert_eq!(prices.by_score(..20.0).rev().limit(1).await?, ["book"]);
/// assert_eq!(prices.by_score(10.0..=30.0).with_scores().await?.len(), 2);
/// assert_eq!(prices.count(..10.0).await?, 1);
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
///
/// A write of more than 1,000 elements is sent in parts of 1,000: each part is atomic, all of them together are not. In a
/// Redis Cluster, the keys of a verb with several must be in one slot: name them with a hash tag (`{game}:today`).
pub struct SortedSet<T, M = Async> {
    handle: Handle<M>,
    element: PhantomData<fn() -> T>,
}

handle!(SortedSet<T>);

impl<T: Member, M> SortedSet<T, M> {
    /// Adds an element, or gives it another score (`ZADD`). Returns whether that changed something.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let best = cache.sorted_set::<String>("best");
    /// assert!(best.insert("ada", 7).only_if_greater().ttl_if_new("1w").await?);
    /// assert!(!best.insert("ada", 5).only_if_greater().await?);
    /// assert_eq!(best.score("ada").await?, Some(7.0));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for NaN, and those of every verb of a structure (see
    /// [`structures`](crate::structures)).
    pub fn insert(&self, item: impl Element<T>, score: impl Into<f64>) -> Insert<bool, M> {
        let pairs = insert::pairs([(item, score.into())]);
        Insert::new(&self.handle, "sorted_set.insert", pairs, |replies| {
            flag("ZADD")(replies)
        })
    }

    /// Adds elements, or gives them other scores (`ZADD`). Returns how many that changed.
    ///
    /// # Errors
    /// Those of [`insert`](SortedSet::insert).
    pub fn insert_many(
        &self,
        items: impl IntoIterator<Item = (impl Element<T>, f64)>,
    ) -> Insert<u64, M> {
        let pairs = insert::pairs(items);
        Insert::new(&self.handle, "sorted_set.insert_many", pairs, |replies| {
            sum("ZADD")(replies)
        })
    }

    /// Adds to the score of an element, and returns the new score (`ZINCRBY`). A missing element starts at 0.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for NaN; [`ErrorKind::Server`](crate::ErrorKind::Server) if the sum is
    /// none (of two infinities); and those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn incr(&self, item: impl Element<T>, by: impl Into<f64>) -> Write<f64, M> {
        let command = || {
            let mut command = self.handle.command("ZINCRBY")?;
            command.arg(score(by.into())?).arg(element(&item)?);
            Ok(vec![command])
        };
        self.handle.write("sorted_set.incr", command(), |replies| {
            some_float("ZINCRBY", &first(replies))
        })
    }

    /// The score of an element (`ZSCORE`); `None` if it is missing.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn score(&self, item: impl Element<T>) -> Pending<'static, Option<f64>, M> {
        let command = || {
            let mut command = self.handle.command("ZSCORE")?;
            command.arg(element(&item)?);
            Ok(command)
        };
        let parse = |value| float("ZSCORE", &value);
        self.handle.read("sorted_set.score", command(), parse)
    }

    /// The scores of elements, in their order (`ZMSCORE`). More than 1,000 are asked for in parts.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn scores(
        &self,
        items: impl IntoIterator<Item: Element<T>>,
    ) -> Pending<'static, Vec<Option<f64>>, M> {
        let items = elements(items);
        let commands = items.and_then(|items| self.handle.in_parts("ZMSCORE", &items));
        self.handle.reads("sorted_set.scores", commands, |replies| {
            let mut found = Vec::new();
            for part in replies {
                for one in list("ZMSCORE", part)? {
                    found.push(float("ZMSCORE", &one)?);
                }
            }
            Ok(found)
        })
    }

    /// How many elements come before this one (`ZRANK`), or after it, with `.rev()` (`ZREVRANK`); `None` if it is
    /// missing.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn rank(&self, item: impl Element<T>) -> Rank<M> {
        Rank {
            handle: self.handle.clone(),
            item: element(&item),
            rev: false,
        }
    }

    /// The elements of a range of ranks, the lowest score first (`ZRANGE`), or the highest, with `.rev()`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for an element that is no `T`, and those of every verb of a structure
    /// (see [`structures`](crate::structures)).
    pub fn range(&self, range: impl RangeBounds<i64>) -> Range<T, M> {
        let (first, last) = positions(range);
        let bounds = Ok((first.to_string().into(), last.to_string().into()));
        Range::new(&self.handle, "sorted_set.range", select::By::Rank, bounds)
    }

    /// The elements of a range of scores (`ZRANGE BYSCORE`): `1.0..2.0`, `..=9.5`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a bound that is NaN, and those of [`range`](SortedSet::range).
    pub fn by_score(&self, range: impl RangeBounds<f64>) -> Range<T, M> {
        let bounds = scores(range).map(|(low, high)| (low.into(), high.into()));
        Range::new(
            &self.handle,
            "sorted_set.by_score",
            select::By::Score,
            bounds,
        )
    }

    /// The elements of a range by their bytes (`ZRANGE BYLEX`), if all have the same score; otherwise Redis does not say
    /// which it returns. `"a".."b"` are those that begin with an `a`. (Of all: `by_lex::<&str>(..)`.)
    ///
    /// # Errors
    /// Those of [`range`](SortedSet::range).
    pub fn by_lex<Q: AsMember>(&self, range: impl RangeBounds<Q>) -> Range<T, M> {
        let bounds = lex_bounds(range);
        Range::new(&self.handle, "sorted_set.by_lex", select::By::Lex, bounds)
    }

    /// How many elements have a score in this range (`ZCOUNT`).
    ///
    /// # Errors
    /// Those of [`by_score`](SortedSet::by_score).
    pub fn count(&self, range: impl RangeBounds<f64>) -> Pending<'static, u64, M> {
        let command = self.bounded("ZCOUNT", scores(range));
        let parse = |value| reply::count("ZCOUNT", &value);
        self.handle.read("sorted_set.count", command, parse)
    }

    /// How many elements a range by bytes has (`ZLEXCOUNT`): see [`by_lex`](SortedSet::by_lex).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn count_lex<Q: AsMember>(&self, range: impl RangeBounds<Q>) -> Pending<'static, u64, M> {
        let command = self.bounded("ZLEXCOUNT", lex_bounds(range));
        let parse = |value| reply::count("ZLEXCOUNT", &value);
        self.handle.read("sorted_set.count_lex", command, parse)
    }

    /// How many elements it has (`ZCARD`); 0 if it is missing.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn len(&self) -> Pending<'static, u64, M> {
        let command = self.handle.command("ZCARD");
        let parse = |value| reply::count("ZCARD", &value);
        self.handle.read("sorted_set.len", command, parse)
    }

    /// Takes the element with the lowest score (`ZPOPMIN`).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let due = cache.sorted_set::<String>("due");
    /// due.insert_many([("tea", 3.0), ("call", 1.0), ("mail", 2.0)]).await?;
    /// assert_eq!(due.pop_min().await?, Some(("call".to_owned(), 1.0)));
    /// assert_eq!(due.pop_max().count(5).await?.len(), 2);
    /// assert_eq!(due.pop_min().wait("10ms").await?, None);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for an element that is no `T`: it is taken all the same. And those of
    /// every verb of a structure (see [`structures`](crate::structures)).
    pub fn pop_min(&self) -> PopScored<T, M> {
        PopScored::new(&self.handle, false)
    }

    /// Takes the element with the highest score (`ZPOPMAX`).
    ///
    /// # Errors
    /// Those of [`pop_min`](SortedSet::pop_min).
    pub fn pop_max(&self) -> PopScored<T, M> {
        PopScored::new(&self.handle, true)
    }

    /// Removes an element. Returns whether it was there (`ZREM`). A sorted set without elements is gone, and its TTL too.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove(&self, item: impl Element<T>) -> Write<bool, M> {
        let items = elements([item]);
        let commands = items.and_then(|items| self.handle.in_parts("ZREM", &items));
        self.handle
            .write("sorted_set.remove", commands, flag("ZREM"))
    }

    /// Removes elements. Returns how many were there (`ZREM`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove_many(&self, items: impl IntoIterator<Item: Element<T>>) -> Write<u64, M> {
        let items = elements(items);
        let commands = items.and_then(|items| self.handle.in_parts("ZREM", &items));
        self.handle
            .write("sorted_set.remove_many", commands, sum("ZREM"))
    }

    /// Removes a range of ranks. Returns how many elements it had (`ZREMRANGEBYRANK`). `..-100` keeps the 100 highest.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove_by_rank(&self, range: impl RangeBounds<i64>) -> Write<u64, M> {
        let command = self.bounded("ZREMRANGEBYRANK", Ok(positions(range)));
        let command = command.map(|command| vec![command]);
        let parse = sum("ZREMRANGEBYRANK");
        self.handle
            .write("sorted_set.remove_by_rank", command, parse)
    }

    /// Removes a range of scores. Returns how many elements it had (`ZREMRANGEBYSCORE`).
    ///
    /// # Errors
    /// Those of [`by_score`](SortedSet::by_score).
    pub fn remove_by_score(&self, range: impl RangeBounds<f64>) -> Write<u64, M> {
        let command = self.bounded("ZREMRANGEBYSCORE", scores(range));
        let command = command.map(|command| vec![command]);
        let parse = sum("ZREMRANGEBYSCORE");
        self.handle
            .write("sorted_set.remove_by_score", command, parse)
    }

    /// Removes a range by bytes. Returns how many elements it had (`ZREMRANGEBYLEX`): see
    /// [`by_lex`](SortedSet::by_lex).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove_by_lex<Q: AsMember>(&self, range: impl RangeBounds<Q>) -> Write<u64, M> {
        let command = self.bounded("ZREMRANGEBYLEX", lex_bounds(range));
        let command = command.map(|command| vec![command]);
        let parse = sum("ZREMRANGEBYLEX");
        self.handle
            .write("sorted_set.remove_by_lex", command, parse)
    }

    fn bounded<B: redis::ToRedisArgs>(&self, name: &str, bounds: Result<(B, B)>) -> Result<Cmd> {
        let (low, high) = bounds?;
        let mut command = self.handle.command(name)?;
        command.arg(low).arg(high);
        Ok(command)
    }

    /// All elements with their scores, page by page (`ZSCAN`), as a lazy stream or iterator. They are in no order.
    pub fn scan(&self) -> Scan<(T, f64), M> {
        Scan::new(&self.handle, "sorted_set.scan", "ZSCAN", |value| {
            let found = super::replies::pairs("ZSCAN", value)?.into_iter();
            found
                .map(|(bytes, score)| {
                    let score = some_float("ZSCAN", &score)?;
                    Ok((bytes.clone(), (T::from_member(bytes)?, score)))
                })
                .collect()
        })
    }

    /// An element at random (`ZRANDMEMBER`).
    ///
    /// # Errors
    /// Those of [`range`](SortedSet::range).
    pub fn random(&self) -> Pending<'static, Option<T>, M> {
        let command = self.handle.command("ZRANDMEMBER");
        let parse = |value| member("ZRANDMEMBER", value);
        self.handle.read("sorted_set.random", command, parse)
    }

    /// Up to so many different elements at random, with their scores (`ZRANDMEMBER`).
    ///
    /// # Errors
    /// Those of [`range`](SortedSet::range).
    pub fn random_many(&self, count: u32) -> Pending<'static, Vec<(T, f64)>, M> {
        let command = self.handle.command("ZRANDMEMBER").map(|mut command| {
            command.arg(count).arg("WITHSCORES");
            command
        });
        let parse = |value| scored("ZRANDMEMBER", value);
        self.handle.read("sorted_set.random_many", command, parse)
    }

    /// The elements of this sorted set and of others, with the sums of their scores (`ZUNION`). The others may be sets,
    /// whose elements have the score 1. A missing one is empty.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let monday = cache.sorted_set::<String>("{hits}:mon");
    /// let tuesday = cache.sorted_set::<String>("{hits}:tue");
    /// monday.insert_many([("home", 3.0), ("help", 1.0)]).await?;
    /// tuesday.insert("home", 4).await?;
    ///
    /// let both = monday.union([&tuesday]).with_scores().await?;
    /// assert_eq!(both[1], ("home".to_owned(), 7.0));
    /// monday.union([&tuesday]).weights([1.0, 2.0]).into("{hits}:weighted").await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`range`](SortedSet::range).
    pub fn union(&self, others: impl IntoIterator<Item: AsKey>) -> CombineSorted<T, M> {
        let keys = self.handle.with_others(others);
        CombineSorted::new(&self.handle, "sorted_set.union", "ZUNION", keys)
    }

    /// The elements that all of these have, with the sums of their scores (`ZINTER`): see [`union`](SortedSet::union).
    ///
    /// # Errors
    /// Those of [`range`](SortedSet::range).
    pub fn intersection(&self, others: impl IntoIterator<Item: AsKey>) -> CombineSorted<T, M> {
        let keys = self.handle.with_others(others);
        CombineSorted::new(&self.handle, "sorted_set.intersection", "ZINTER", keys)
    }

    /// The elements of this sorted set that none of the others has, with their scores (`ZDIFF`): see
    /// [`union`](SortedSet::union).
    ///
    /// # Errors
    /// Those of [`range`](SortedSet::range).
    pub fn difference(&self, others: impl IntoIterator<Item: AsKey>) -> CombineSorted<T, M> {
        let keys = self.handle.with_others(others);
        CombineSorted::new(&self.handle, "sorted_set.difference", "ZDIFF", keys)
    }

    /// How many elements an [`intersection`](SortedSet::intersection) has, without reading them (`ZINTERCARD`; by a script,
    /// if the server is older than Redis 7).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn intersection_len(&self, others: impl IntoIterator<Item: AsKey>) -> Count<M> {
        let keys = self.handle.with_others(others);
        Count::new(&self.handle, "sorted_set.intersection_len", "ZINTER", keys)
    }
}

/// A pending [`rank`](SortedSet::rank).
#[must_use = "nothing is read until it is carried out, by `.await` or `.run()`"]
pub struct Rank<M = Async> {
    handle: Handle<M>,
    item: Result<Vec<u8>>,
    rev: bool,
}

impl<M> Rank<M> {
    /// Counts from the highest score.
    pub fn rev(mut self) -> Self {
        self.rev = true;
        self
    }

    fn start(self) -> CacheFuture<'static, Option<u64>> {
        let name = if self.rev { "ZREVRANK" } else { "ZRANK" };
        let command = || {
            let mut command = self.handle.command(name)?;
            command.arg(self.item?);
            Ok(command)
        };
        let parse = |value| match value {
            Value::Nil => Ok(None),
            rank => reply::count("ZRANK", &rank).map(Some),
        };
        self.handle
            .read("sorted_set.rank", command(), parse)
            .start()
    }
}

operation!(Rank<> -> Option<u64>);

impl<M> fmt::Debug for Rank<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rank")
            .field("key", &self.handle)
            .field("rev", &self.rev)
            .finish_non_exhaustive()
    }
}

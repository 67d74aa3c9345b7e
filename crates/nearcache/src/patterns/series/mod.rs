//! Series: what happened when, counted in buckets of time that expire by themselves.
//!
//! `scripts` has the two steps: counting in the current bucket, and reading the last ones; `buckets` says which one that is.

#![allow(
    clippy::needless_pass_by_value,
    reason = "an element is given as it is: `count(7, 1)`, `add_unique(\"ada\")`"
)]

mod buckets;
pub(super) mod scripts;
#[cfg(all(test, feature = "embedded"))]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Value;

use self::buckets::{Buckets, Clock};
use crate::cache::CacheOf;
use crate::cache::operation::{Async, Marked, Pending};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::Key;
use crate::read_through::ReadThrough;
use crate::script::{Input, Script};
use crate::structures::{AsMember, Member, encoded};
use crate::ttl::{IntoTtl, Ttl};

impl<M> CacheOf<M> {
    /// A series: how often something happened, how many different ones there were, and which most often, per minute or
    /// whatever time, for so long as it is kept.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let views = cache.series("views").per("1m").keep("2d");
    /// views.add(1).await?; // a page was viewed
    /// views.add_unique("ada").await?; // by this visitor
    /// views.count("/products", 1).await?; // and this page
    ///
    /// let per_minute = views.last("1h").await?; // sixty times, each with its count
    /// assert_eq!(per_minute.len(), 60);
    /// assert_eq!(views.total("1h").await?, 1);
    /// assert_eq!(views.unique("1h").await?, 1);
    /// assert_eq!(views.top::<String>(10, "1h").await?, [("/products".to_owned(), 1)]);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn series(&self, name: impl AsRef<[u8]>) -> Series<M> {
        Series {
            core: self.core().clone(),
            name: Key::from(name.as_ref()),
            per: Ttl::from_secs(60),
            keep: Ttl::from_secs(86_400),
            clock: Clock::default(),
            mode: PhantomData,
        }
    }
}

/// A series: see [`CacheOf::series`].
///
/// Time is divided into buckets, of a minute each unless [`per`](Series::per) says otherwise, aligned to 1970-01-01 UTC;
/// the server's clock decides. A bucket is kept for a day after it has ended, or for as long as [`keep`](Series::keep)
/// says, and then expires by itself. Buckets with another length are another series, even under the same name.
///
/// Counts, unique elements and counted items are independent of each other. Each call is one round trip, and atomic. (If
/// the clocks of this machine and of the server differ by more than a bucket, a handle's first call takes two; so keep the
/// handle, or its clones.)
///
/// # What it keeps
/// For each bucket in which something happened, and each of the three: a counter of some 100 bytes; a HyperLogLog of up to
/// 12 KiB; a sorted set with an entry for each different item. They are ordinary keys, hidden from
/// [`keys`](CacheOf::keys), and spared by [`clear`](CacheOf::clear). A server that evicts may evict them: then there are
/// zeros.
///
/// # While Redis is away
/// As for every call: see [`CacheOf`]. What is not counted is lost; after [`ErrorKind::Timeout`] it may or may not have
/// been counted.
pub struct Series<M = Async> {
    core: ReadThrough,
    name: Key,
    per: Result<Ttl>,
    keep: Result<Ttl>,
    clock: Clock,
    mode: Marked<M>,
}

/// The most buckets that are read at once.
const MOST: u64 = 5_000;

impl<M> Series<M> {
    /// How long a bucket is; by default a minute.
    #[must_use]
    pub fn per(mut self, time: impl IntoTtl) -> Self {
        self.per = time.into_ttl();
        self
    }

    /// How long a bucket is kept after it has ended; by default a day. It must be as long as a bucket at least. What is
    /// kept already keeps its time.
    #[must_use]
    pub fn keep(mut self, time: impl IntoTtl) -> Self {
        self.keep = time.into_ttl();
        self
    }

    /// Counts so many. Returns the count of the current bucket.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`] and [`ErrorKind::InvalidConfig`] for the times of the series; [`ErrorKind::Overflow`] if the
    /// bucket would have more than 2⁶³ − 1, and those of every call (see [`CacheOf`]).
    pub fn add(&self, n: u64) -> Pending<'static, u64, M> {
        let args = i64::try_from(n)
            .map(|n| vec![n.to_string().into_bytes()])
            .map_err(|_| {
                Error::new(
                    ErrorKind::Overflow,
                    format!("{n} is more than a counter has"),
                )
            });
        self.write("series.add", "count", "INCRBY", args, |count| {
            let counts = counts_of(Value::Array(vec![count]))?;
            Ok(counts.into_iter().sum())
        })
    }

    /// How often it was counted in each of the last buckets, the oldest first: each with the time at which it begins.
    /// Buckets without data are 0. The current bucket is the last one, and not over yet: `last("1h")` are the sixty last
    /// minutes, this one included. A time between is rounded up to whole buckets.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for a time that is longer than the series is kept, or of more than 5,000 buckets, and
    /// those of [`add`](Series::add).
    pub fn last(&self, time: impl IntoTtl) -> Pending<'static, Vec<(SystemTime, u64)>, M> {
        self.read(
            "series.last",
            "count",
            "MGET",
            time,
            0,
            |buckets, now, counts| {
                let counts = counts_of(counts)?;
                let first = buckets.at(now) + 1 - counts.len() as i64;
                let starts = (first..).map(|bucket| {
                    let start = buckets.start(bucket).max(0).unsigned_abs();
                    UNIX_EPOCH + Duration::from_millis(start)
                });
                Ok(starts.zip(counts).collect())
            },
        )
    }

    /// How often it was counted in the last buckets together: see [`last`](Series::last).
    ///
    /// # Errors
    /// Those of [`last`](Series::last).
    pub fn total(&self, time: impl IntoTtl) -> Pending<'static, u64, M> {
        self.read("series.total", "count", "MGET", time, 0, |_, _, counts| {
            let counts = counts_of(counts)?.into_iter();
            Ok(counts.fold(0, u64::saturating_add))
        })
    }

    /// Counts an element, once however often it comes: a visitor, an address. Returns whether the number of the current bucket
    /// may have changed.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] for an element that has no form in JSON, and those of [`add`](Series::add).
    pub fn add_unique(&self, element: impl AsMember) -> Pending<'static, bool, M> {
        let args = encoded(&element).map(|element| vec![element]);
        self.write("series.add_unique", "unique", "PFADD", args, |reply| {
            reply::flag("PFADD", &reply)
        })
    }

    /// How many different elements there were in the last buckets together, ± 0.81 %: see [`last`](Series::last) for the
    /// buckets, and [`Uniques`](crate::structures::Uniques) for the number.
    ///
    /// # Errors
    /// Those of [`last`](Series::last).
    pub fn unique(&self, time: impl IntoTtl) -> Pending<'static, u64, M> {
        self.read(
            "series.unique",
            "unique",
            "PFCOUNT",
            time,
            0,
            |_, _, count| reply::count("PFCOUNT", &count),
        )
    }

    /// Counts an item so often: a page, a product, a word. Returns its count in the current bucket. Exact up to 2⁵³.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] for an item that has no form in JSON, and those of [`add`](Series::add).
    pub fn count(&self, item: impl AsMember, n: u64) -> Pending<'static, u64, M> {
        let args = encoded(&item).map(|item| vec![n.to_string().into_bytes(), item]);
        self.write("series.count", "items", "ZINCRBY", args, |reply| {
            let count = float(&reply).ok_or_else(|| Error::unexpected("ZINCRBY", &reply))?;
            Ok(count as u64)
        })
    }

    /// The items that were counted most in the last buckets together, so many, with their counts, the highest first. Items with
    /// the same count are ordered by their bytes, from the highest. See [`last`](Series::last) for the buckets.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if an item is no `T`, and those of [`last`](Series::last).
    pub fn top<T: Member>(
        &self,
        items: u32,
        time: impl IntoTtl,
    ) -> Pending<'static, Vec<(T, u64)>, M> {
        self.read("series.top", "items", "ZUNION", time, items, |_, _, top| {
            let Value::Array(top) = top else {
                return Err(Error::unexpected("ZUNION", &top));
            };
            let mut top = top.into_iter();
            let mut found = Vec::new();
            while let (Some(item), Some(count)) = (top.next(), top.next()) {
                match (item, float(&count)) {
                    (Value::BulkString(item), Some(count)) => {
                        found.push((T::from_member(item)?, count as u64));
                    }
                    (other, _) => return Err(Error::unexpected("ZUNION", &other)),
                }
            }
            Ok(found)
        })
    }

    /// The times of the series: how long a bucket is, and how long it is kept.
    fn times(&self) -> Result<(Ttl, Ttl)> {
        let (per, keep) = (self.per.clone()?, self.keep.clone()?);
        if keep < per {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("a series keeps its buckets for {keep}, and each of them is longer: {per}"),
            ));
        }
        Ok((per, keep))
    }

    fn asking<T: Send + 'static>(
        &self,
        verb: &'static str,
        script: &'static Script,
        what: &'static str,
        before: u64,
        args: Result<(Ttl, Vec<Vec<u8>>)>,
        parse: impl FnOnce(Buckets, i64, Value) -> Result<T> + Send + 'static,
    ) -> Pending<'static, T, M> {
        let (core, name, clock) = (self.core.clone(), self.name.clone(), self.clock.clone());
        Pending::new(async move {
            let (per, args) = args?;
            core.perform(verb, CallKeys::One(name.as_bytes()), async |core| {
                let client = core.client();
                let buckets = Buckets(per.as_millis());
                let input = |first: i64, last: i64| {
                    let first = first - before.cast_signed();
                    let mut input = Input::default();
                    for bucket in first..=last {
                        let part = format!("{what}:{}:{bucket}", buckets.0);
                        let key = client
                            .keyspace()
                            .helper("series", &[name.as_bytes()], &part)?;
                        input.key(key.as_bytes());
                    }
                    input.arg(first.to_string().as_bytes());
                    input.arg(buckets.0.to_string().as_bytes());
                    for arg in &args {
                        input.arg(arg);
                    }
                    Ok(input)
                };
                let replied = clock.run(client, script, buckets, input).await;
                replied
                    .and_then(|(now, replies)| {
                        let reply = replies.into_iter().next().unwrap_or(Value::Nil);
                        parse(buckets, now, reply)
                    })
                    .map_err(|error| error.named(name.as_bytes(), client.keyspace().redacts()))
            })
            .await
        })
    }

    fn write<T: Send + 'static>(
        &self,
        verb: &'static str,
        what: &'static str,
        command: &'static str,
        args: Result<Vec<Vec<u8>>>,
        parse: impl FnOnce(Value) -> Result<T> + Send + 'static,
    ) -> Pending<'static, T, M> {
        let args = self.times().and_then(|(per, keep)| {
            let life = per.as_millis() + keep.as_millis();
            let mut all = vec![life.to_string().into_bytes(), command.into()];
            all.extend(args?);
            Ok((per, all))
        });
        self.asking(verb, &scripts::COUNT, what, 0, args, |_, _, reply| {
            parse(reply)
        })
    }

    fn read<T: Send + 'static>(
        &self,
        verb: &'static str,
        what: &'static str,
        command: &'static str,
        time: impl IntoTtl,
        limit: u32,
        parse: impl FnOnce(Buckets, i64, Value) -> Result<T> + Send + 'static,
    ) -> Pending<'static, T, M> {
        let wanted = self.times().and_then(|(per, keep)| {
            let time = time.into_ttl()?;
            if time > keep {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("the series is kept for {keep}, and {time} were asked for: say `.keep(..)`"),
                ));
            }
            let wanted = time.as_millis().div_ceil(per.as_millis());
            if wanted > MOST {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!(
                        "{time} are {wanted} buckets of {per}, and {MOST} are read at once: count in longer ones as well"
                    ),
                ));
            }
            Ok((per, wanted))
        });
        let before = wanted.as_ref().map_or(0, |(_, wanted)| wanted - 1);
        let args = wanted.map(|(per, wanted)| {
            let args = [wanted.to_string(), command.into(), limit.to_string()];
            (per, args.map(String::into_bytes).into())
        });
        self.asking(verb, &scripts::READ, what, before, args, parse)
    }
}

/// The counts of buckets.
fn counts_of(value: Value) -> Result<Vec<u64>> {
    let Value::Array(counts) = value else {
        return Err(Error::unexpected("MGET", &value));
    };
    let count = |count: Value| match &count {
        Value::Nil => Ok(0),
        Value::BulkString(text) => {
            let parsed = std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok());
            parsed.ok_or_else(|| Error::unexpected("MGET", &count))
        }
        other => Err(Error::unexpected("MGET", other)),
    };
    counts.into_iter().map(count).collect()
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

impl<M> Clone for Series<M> {
    fn clone(&self) -> Self {
        Series {
            core: self.core.clone(),
            name: self.name.clone(),
            per: self.per.clone(),
            keep: self.keep.clone(),
            clock: self.clock.clone(),
            mode: PhantomData,
        }
    }
}

impl<M> fmt::Debug for Series<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redact = self.core.client().keyspace().redacts();
        f.debug_struct("Series")
            .field(
                "name",
                &crate::keyspace::in_message(self.name.as_bytes(), redact),
            )
            .field("per", &self.per)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

//! Bitmaps: a bit for each number, such as who was seen on a day.

mod combine;
mod fields;
pub(super) mod scripts;

use std::ops::{Bound, RangeBounds};

use redis::Value;

pub use self::combine::{BitCombine, BitCombineInto};
pub use self::fields::{BitField, BitFields};
use super::handle::{AsKey, Handle, handle};
use super::range::positions;
use super::replies::{first, list};
use super::write::Write;
use crate::cache::CacheOf;
use crate::cache::operation::{Async, Pending};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::script::Input;

impl<M> CacheOf<M> {
    /// The bitmap at this key: a bit for each offset, all 0 to begin with.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let seen = cache.bits("seen:2026-11-26");
    /// seen.set(7, true).ttl("30d").await?; // user 7 was here: SETBIT seen:2026-11-26 7 1
    /// assert!(seen.get(7).await?);
    /// assert_eq!(seen.count(..).await?, 1);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn bits(&self, key: impl AsRef<[u8]>) -> Bits<M> {
        Bits::at(self, key)
    }
}

/// A bitmap: see [`CacheOf::bits`].
///
/// It is a string in Redis: bit 0 is the highest bit of its first byte. It takes as many bytes as its highest bit needs:
/// bit 4,294,967,295, the last one, makes it 512 MiB long, so number from 0 without gaps. A `get` of the cache would take
/// these bytes for a value; use other keys for values.
pub struct Bits<M = Async> {
    handle: Handle<M>,
}

handle!(Bits);

/// The last bit of a string of 512 MiB.
const LAST: u64 = u32::MAX as u64;

fn checked(offset: u64) -> Result<u64> {
    if offset <= LAST {
        return Ok(offset);
    }
    Err(Error::new(
        ErrorKind::InvalidConfig,
        format!("bit {offset} is too far: the last bit of a bitmap is {LAST}"),
    ))
}

impl<M> Bits<M> {
    /// Sets a bit to 1 (`true`) or 0. Returns what it was (`SETBIT`). The bitmap grows as needed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for an offset above 4,294,967,295, and those of
    /// every verb of a structure (see [`structures`](crate::structures)).
    pub fn set(&self, offset: u64, bit: bool) -> Write<bool, M> {
        let command = || {
            let mut command = self.handle.command("SETBIT")?;
            command.arg(checked(offset)?).arg(u8::from(bit));
            Ok(vec![command])
        };
        self.handle.write("bits.set", command(), |replies| {
            reply::flag("SETBIT", &first(replies))
        })
    }

    /// Sets many bits to 1 or 0. Returns how many of them changed (`BITFIELD`). More than 1,000 are sent in parts of 1,000:
    /// each part is atomic, all of them together are not.
    ///
    /// # Errors
    /// Those of [`set`](Bits::set).
    pub fn set_many(&self, offsets: impl IntoIterator<Item = u64>, bit: bool) -> Write<u64, M> {
        // BITFIELD says what each bit was. A bit that is named twice changes once.
        let command = || {
            let offsets: Result<Vec<u64>> = offsets.into_iter().map(checked).collect();
            let offsets = offsets?;
            let parts = offsets.chunks(1_000).map(|part| {
                let mut command = self.handle.command("BITFIELD")?;
                for offset in part {
                    command.arg("SET").arg("u1").arg(offset).arg(u8::from(bit));
                }
                Ok(command)
            });
            parts.collect::<Result<Vec<_>>>()
        };
        self.handle
            .write("bits.set_many", command(), move |replies| {
                let mut changed = 0;
                for part in replies {
                    let was = list("BITFIELD", part)?;
                    let other = was.iter().filter(|was| **was != Value::Int(i64::from(bit)));
                    changed += other.count() as u64;
                }
                Ok(changed)
            })
    }

    /// Whether a bit is 1 (`GETBIT`). What was never set is 0.
    ///
    /// # Errors
    /// Those of [`set`](Bits::set).
    pub fn get(&self, offset: u64) -> Pending<'static, bool, M> {
        let command = || {
            let mut command = self.handle.command("GETBIT")?;
            command.arg(checked(offset)?);
            Ok(command)
        };
        self.handle
            .read("bits.get", command(), |value| reply::flag("GETBIT", &value))
    }

    /// How many bits of a range are 1 (`BITCOUNT`): `count(..)` of all, `count(0..1_000)` of the first thousand. Negative
    /// offsets count from the end: -1 is the last bit.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let seen = cache.bits("seen");
    /// seen.set_many([3, 7, 12, 100], true).await?;
    /// assert_eq!(seen.count(..).await?, 4);
    /// assert_eq!(seen.count(4..=12).await?, 2);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn count(&self, range: impl RangeBounds<i64>) -> Pending<'static, u64, M> {
        let whole = matches!(
            (range.start_bound(), range.end_bound()),
            (Bound::Unbounded, Bound::Unbounded)
        );
        if whole {
            return self.count_bytes(..);
        }
        let (core, key) = (self.handle.core().clone(), self.handle.key().clone());
        let positions = positions(range);
        Pending::new(async move {
            core.perform("bits.count", CallKeys::One(key.as_bytes()), async |core| {
                let key = core.client().stored(key.as_bytes())?;
                let (from, to) = positions;
                let mut input = Input::default();
                input.key(key.as_bytes());
                for each in [from, to] {
                    input.arg(each.to_string().as_bytes());
                }
                let counted = core.client().run(&scripts::COUNT, &input).await;
                counted
                    .and_then(|reply| reply::count("BITCOUNT", &reply))
                    .map_err(|error| error.for_key(&key))
            })
            .await
        })
    }

    /// The same, with a range of bytes, each of eight bits.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn count_bytes(&self, range: impl RangeBounds<i64>) -> Pending<'static, u64, M> {
        let command = || {
            let mut command = self.handle.command("BITCOUNT")?;
            let (from, to) = positions(range);
            if (from, to) != (0, -1) {
                command.arg(from).arg(to);
            }
            Ok(command)
        };
        self.handle.read("bits.count", command(), |value| {
            reply::count("BITCOUNT", &value)
        })
    }

    /// The offset of the first bit that is 1 (`true`) or 0 (`BITPOS`). `None` if no bit is 1; a first 0 there always is,
    /// after the last byte if need be.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn first(&self, bit: bool) -> Pending<'static, Option<u64>, M> {
        self.position(bit, Ok(Vec::new()))
    }

    /// The same, within a range of bytes, each of eight bits; the offset counts from the bitmap's beginning. `None` if
    /// there is none in the range.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let seats = cache.bits("seats");
    /// seats.set_many([0, 1, 2, 20], true).await?;
    /// assert_eq!(seats.first(false).await?, Some(3));
    /// assert_eq!(seats.first_in_bytes(true, 1..).await?, Some(20));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn first_in_bytes(
        &self,
        bit: bool,
        range: impl RangeBounds<i64>,
    ) -> Pending<'static, Option<u64>, M> {
        let (from, to) = positions(range);
        self.position(bit, Ok(vec![from, to]))
    }

    fn position(&self, bit: bool, range: Result<Vec<i64>>) -> Pending<'static, Option<u64>, M> {
        let command = || {
            let mut command = self.handle.command("BITPOS")?;
            command.arg(u8::from(bit)).arg(range?);
            Ok(command)
        };
        self.handle.read("bits.first", command(), |value| {
            Ok(u64::try_from(reply::integer("BITPOS", &value)?).ok())
        })
    }

    /// How many bytes it has (`STRLEN`): an eighth of its bits.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn len(&self) -> Pending<'static, u64, M> {
        self.handle
            .read("bits.len", self.handle.command("STRLEN"), |value| {
                reply::count("STRLEN", &value)
            })
    }

    /// The bits that are 1 here and in all of the others: `.into(..)` stores them (`BITOP AND`).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let (monday, tuesday) = (cache.bits("seen:mon"), cache.bits("seen:tue"));
    /// monday.set_many([1, 2, 3], true).await?;
    /// tuesday.set_many([2, 3, 4], true).await?;
    ///
    /// let both = cache.bits("seen:both");
    /// monday.and([&tuesday]).into(&both).ttl("1h").await?;
    /// assert_eq!(both.count(..).await?, 2);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn and(&self, others: impl IntoIterator<Item: AsKey>) -> BitCombine<M> {
        BitCombine::new(&self.handle, "AND", self.handle.with_others(others))
    }

    /// The bits that are 1 here or in one of the others (`BITOP OR`); otherwise like [`and`](Bits::and).
    pub fn or(&self, others: impl IntoIterator<Item: AsKey>) -> BitCombine<M> {
        BitCombine::new(&self.handle, "OR", self.handle.with_others(others))
    }

    /// The bits that are 1 in an odd number of them (`BITOP XOR`); otherwise like [`and`](Bits::and).
    pub fn xor(&self, others: impl IntoIterator<Item: AsKey>) -> BitCombine<M> {
        BitCombine::new(&self.handle, "XOR", self.handle.with_others(others))
    }

    /// The bits that are 0 here, up to the end of the last byte (`BITOP NOT`); otherwise like [`and`](Bits::and).
    pub fn not(&self) -> BitCombine<M> {
        let only = self.handle.with_others(std::iter::empty::<&str>());
        BitCombine::new(&self.handle, "NOT", only)
    }

    /// Several numbers in one bitmap, each of a few bits: read and written together, in one step (`BITFIELD`).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::structures::BitField;
    ///
    /// let player = cache.bits("player:7");
    /// let (level, gold) = (BitField::u(8).at(0), BitField::u(16).at(8));
    /// let replies = player.fields().set(level, 3).incr(gold, 500).await?;
    /// assert_eq!(replies, [Some(0), Some(500)]); // what the level was, what the gold is now
    ///
    /// // What would not fit stays at the largest value, or fails.
    /// assert_eq!(player.fields().saturate().incr(level, 1_000).await?, [Some(255)]);
    /// assert_eq!(player.fields().fail().incr(level, 1).get(gold).await?, [None, Some(500)]);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn fields(&self) -> BitFields<M> {
        BitFields::new(&self.handle)
    }
}

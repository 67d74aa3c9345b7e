//! The data structures of Redis as handles: hashes, lists, sets, sorted sets, bitmaps, HyperLogLogs, geo indexes,
//! streams and topics.
//!
//! A handle is opened on a cache with a key, and typed by its elements. It owns a clone of the cache, so it can be
//! kept, cloned, and moved to a task or thread. Opening one asks nothing of the server.
//!
//! ```
//! # async fn example() -> nearcache::Result<()> {
//! # let cache = nearcache::Cache::open("memory://")?;
//! let user = cache.hash("user:123");
//! user.set("name", "John").await?;
//! assert_eq!(user.get::<String>("name").await?.as_deref(), Some("John"));
//! # Ok(())
//! # }
//! # nearcache::__example(example());
//! ```
//!
//! # Elements
//! Members and fields are stored so that other programs read them: see [`Member`]. No envelope, no compression.
//!
//! # Keys
//! [`keys`](crate::CacheOf::keys), [`delete`](crate::CacheOf::delete), [`ttl`](crate::CacheOf::ttl),
//! [`expire`](crate::CacheOf::expire) and the others see a structure as they see a string. A verb on a key of another
//! type fails with [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) and changes nothing. A write to a structure
//! fences the loads of its key, as every write does.
//!
//! # While Redis is away
//! As for every call: see [`CacheOf`](crate::CacheOf). There is no fallback for a structure; the error says what
//! happened. After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) a write may or may not have been carried out.

#![allow(
    clippy::needless_pass_by_value,
    reason = "an element is given as it is: `insert(7)`, `insert(\"ada\")`, `insert(&event)`"
)]

mod algebra;
mod bits;
mod fields;
mod geo;
mod handle;
mod hash;
mod list;
mod member;
mod range;
mod replies;
mod scan;
mod set;
mod sorted_set;
mod stream;
mod topic;
mod uniques;
mod waiting;
mod write;

pub use algebra::Count;
pub use bits::{BitCombine, BitCombineInto, BitField, BitFields, Bits};
pub use geo::{Distance, Ft, Geo, GeoAdd, GeoFound, GeoSearch, Km, M, Mi, Point};
pub use handle::AsKey;
pub(crate) use handle::stored_key;
pub use hash::{Hash, IncrField};
pub use list::{List, Move, Pop, Push, Remove};
pub(crate) use member::element;
pub use member::{AsMember, Element, Member};
pub(crate) use range::score as score_text;
#[cfg(feature = "embedded")]
pub(crate) use replies::float;
pub(crate) use replies::{scored, some_float};
pub use scan::Scan;
pub use set::{Combine, SetOf};
pub use sorted_set::{
    Aggregate, CombineSorted, Insert, PopScored, Range, Rank, SortedSet, WithScores,
};
pub use stream::{
    Append, Consumer, Delivery, Entry, EntryId, Group, PendingEntries, PendingEntry,
    PendingSummary, ReadStream, Stream, StreamRange, Trim,
};
pub use topic::{Heard, Named, Subscription, Topic, Topics};
pub use uniques::Uniques;
pub use write::Write;

pub(crate) use member::encoded;

use crate::script::Script;

/// The scripts of all structures, for a store without Lua.
#[cfg_attr(not(feature = "serve"), allow(dead_code))]
pub(crate) const SCRIPTS: &[&Script] = &[
    &write::TIMED,
    &algebra::COUNT,
    &bits::scripts::COUNT,
    &bits::scripts::COMBINE,
    &stream::RETRY,
];

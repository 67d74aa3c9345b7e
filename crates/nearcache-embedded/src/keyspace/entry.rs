//! What a key holds: its value, its deadline, and when and how often it is used.

use std::num::NonZeroI64;

use super::access::Access;
use super::bytes::Bytes;
use super::hash::Hash;
use super::key::Key;
use super::list::List;
use super::set::Set;
use super::size::block;
use super::sorted_set::SortedSet;
use super::stream::Stream;

/// A value. A new data type is a variant here, a [`Structure`], and a file of commands.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    String(Bytes),
    /// Boxed, as most others are, because the rarer types must not widen every entry.
    List(Box<List>),
    Hash(Box<Hash>),
    /// Not boxed: it is two words.
    Set(Set),
    SortedSet(Box<SortedSet>),
    Stream(Box<Stream>),
}

/// A value that has elements: everything but a string.
pub(crate) trait Structure: Default {
    /// Whether it stays when its last element is gone.
    const STAYS_EMPTY: bool = false;

    fn of(data: &Data) -> Option<&Self>;
    fn of_mut(data: &mut Data) -> Option<&mut Self>;
    fn into_data(self) -> Data;
    fn is_empty(&self) -> bool;
}

/// Declares what `Data` does for each structure: its type's name is what `TYPE` and `SCAN … TYPE` use.
macro_rules! structures {
    ($($variant:ident: $type:ty, $name:literal $(, $stays:ident)?;)*) => {
        impl Data {
            /// The name that `TYPE` gives, and that `SCAN … TYPE` filters by.
            pub(crate) fn type_name(&self) -> &'static str {
                match self {
                    Data::String(_) => "string",
                    $(Data::$variant(_) => $name,)*
                }
            }

            /// How much memory it takes on the heap.
            #[inline]
            pub(super) fn heap(&self) -> usize {
                match self {
                    Data::String(bytes) => bytes.heap(),
                    $(Data::$variant(value) => value.bytes(),)*
                }
            }
        }

        $(impl Structure for $type {
            $(const STAYS_EMPTY: bool = { let $stays = true; $stays };)?

            fn of(data: &Data) -> Option<&Self> {
                match data {
                    Data::$variant(value) => Some(value),
                    _ => None,
                }
            }

            fn of_mut(data: &mut Data) -> Option<&mut Self> {
                match data {
                    Data::$variant(value) => Some(value),
                    _ => None,
                }
            }

            fn into_data(self) -> Data {
                Data::$variant(self.into())
            }

            fn is_empty(&self) -> bool {
                self.len() == 0
            }
        })*
    };
}

structures! {
    List: List, "list";
    Hash: Hash, "hash";
    Set: Set, "set";
    SortedSet: SortedSet, "zset";
    Stream: Stream, "stream", stays;
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        Data::String(bytes.into())
    }
}

/// A new value for a key: bytes that will be copied, or a finished value.
pub(crate) enum Given<'g> {
    Bytes(&'g [u8]),
    Data(Data),
}

impl Given<'_> {
    #[inline]
    pub(crate) fn into_data(self) -> Data {
        match self {
            Given::Bytes(bytes) => bytes.into(),
            Given::Data(data) => data,
        }
    }

    /// Replaces another value, and reuses its memory where that fits.
    #[inline]
    pub(crate) fn replace(self, data: &mut Data) {
        match (self, data) {
            (Given::Bytes(bytes), Data::String(old)) => old.set(bytes),
            (given, data) => *data = given.into_data(),
        }
    }
}

impl<'g> From<&'g [u8]> for Given<'g> {
    fn from(bytes: &'g [u8]) -> Self {
        Given::Bytes(bytes)
    }
}

impl From<Data> for Given<'_> {
    fn from(data: Data) -> Self {
        Given::Data(data)
    }
}

/// A unix time in milliseconds. Never zero, so that an `Option` of it costs nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Deadline(NonZeroI64);

impl Deadline {
    pub(crate) fn at(unix_ms: i64) -> Self {
        // Zero is replaced, because `NonZeroI64` has no zero; both are in the past.
        Deadline(NonZeroI64::new(unix_ms).unwrap_or(NonZeroI64::MIN))
    }

    pub(crate) fn unix_ms(self) -> i64 {
        self.0.get()
    }
}

/// A key with its value, its deadline, and its uses.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) data: Data,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) access: Access,
}

impl Entry {
    /// How much memory it takes, boxed, without its slot in the table.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        block(size_of::<Entry>()) + self.key.heap() + self.data.heap()
    }

    #[inline]
    pub(crate) fn is_over(&self, now_ms: i64) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline.unix_ms() <= now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_key_value_deadline_and_last_use_and_nothing_else() {
        assert_eq!(size_of::<Entry>(), 32 + 24 + 8 + 8);
        // A key of 15 bytes in place would not make it smaller.
        assert_eq!(block(size_of::<Entry>()), block(16 + 24 + 24 + 8));
    }
}

//! What a key holds: the value of one of the data types, and when it ends.

use std::collections::VecDeque;
use std::num::NonZeroI64;

use super::bytes::Bytes;

/// A value. A new data type is a variant here, a name in [`Data::type_name`], and a file of commands.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    String(Bytes),
    #[expect(
        clippy::box_collection,
        reason = "the rarer types must not widen every entry"
    )]
    List(Box<VecDeque<Bytes>>),
}

impl Data {
    /// The name that `TYPE` gives, and that `SCAN … TYPE` filters by.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Data::String(_) => "string",
            Data::List(_) => "list",
        }
    }
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        Data::String(bytes.into())
    }
}

/// A unix time in milliseconds. Never zero, so that an `Option` of it costs nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Deadline(NonZeroI64);

impl Deadline {
    pub(crate) fn at(unix_ms: i64) -> Self {
        // Zero is as long ago as one millisecond later is.
        Deadline(NonZeroI64::new(unix_ms).unwrap_or(NonZeroI64::MIN))
    }

    pub(crate) fn unix_ms(self) -> i64 {
        self.0.get()
    }
}

/// A key with its value and its deadline.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Bytes,
    pub(crate) data: Data,
    pub(crate) deadline: Option<Deadline>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_key_value_and_deadline_and_nothing_else() {
        assert_eq!(size_of::<Entry>(), 24 + 24 + 8);
    }
}

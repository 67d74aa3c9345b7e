//! Batches: commands for many keys, split at a maximum size, so that no call occupies the connection or the server for
//! long: other callers' commands go between the parts. The timeout applies to each part.

use redis::Cmd;

use crate::keyspace::{LEASE_EXTRA, StoredKey};

/// The maximum number of keys in one part.
const KEYS: usize = 1_000;

/// The maximum size of the keys and values in one part, unless one entry alone is larger.
const BYTES: usize = 4 * 1024 * 1024;

/// `UNLINK` of the leases of keys.
pub(crate) fn unlink_leases<'k>(keys: impl IntoIterator<Item = &'k StoredKey>) -> Cmd {
    let (mut keys, verb) = (keys.into_iter().peekable(), "UNLINK");
    // Allocated once, if the keys are about as long as the first.
    let count = keys.size_hint().0;
    let each = keys
        .peek()
        .map_or(0, |key| key.as_bytes().len() + LEASE_EXTRA);
    let mut command = Cmd::with_capacity(1 + count, verb.len() + count * each);
    command.arg(verb);
    for key in keys {
        command.arg(&*key.lease());
    }
    command
}

/// A command with many keys.
pub(crate) fn keyed(verb: &str, keys: &[StoredKey]) -> Cmd {
    let bytes = keys.iter().map(|key| key.as_bytes().len()).sum::<usize>();
    let mut command = Cmd::with_capacity(1 + keys.len(), verb.len() + bytes);
    command.arg(verb);
    for key in keys {
        command.arg(key);
    }
    command
}

/// Splits a batch at [`KEYS`] and [`BYTES`].
pub(crate) fn parts<T>(items: &[T], size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = rest.iter().take(KEYS).take_while(|item| {
            bytes += size(item);
            bytes <= BYTES
        });
        let (part, after) = rest.split_at(fit.count().max(1).min(rest.len()));
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_is_split_by_number_and_by_size() {
        let sizes = |items: &[usize]| {
            parts(items, |size| *size)
                .map(<[usize]>::len)
                .collect::<Vec<_>>()
        };
        assert!(sizes(&[]).is_empty());
        assert_eq!(sizes(&[1; 2_500]), [1_000, 1_000, 500]);
        assert_eq!(
            sizes(&[BYTES, 1, BYTES + 1, BYTES / 2, BYTES / 2, 1]),
            [1, 1, 1, 2, 1]
        );
    }

    proptest! {
        #[test]
        fn splitting_loses_nothing(items in prop::collection::vec(0..2 * BYTES, 0..50)) {
            let joined: Vec<usize> = parts(&items, |size| *size).flatten().copied().collect();
            prop_assert_eq!(joined, items);
        }
    }
}

//! Sets of several calls that share a `MULTI`, with one `UNLINK` of all their leases.
//!
//! 1. Each set has the effect and the reply that it would have had by itself: no `SET` names a lease, so the `UNLINK`s can
//!    stand together at the end.
//! 2. Where the whole is refused, nothing was carried out. Then each is sent by itself: one of them may be the reason.

use redis::Value;

use super::super::packed::{line, write_word, write_words};
use super::super::{Common, inside};
use super::{Due, Outcome};
use crate::error::Error;
use crate::keyspace::is_named_like_a_lease;

/// How many sets share a `MULTI` at most.
pub(super) const MOST: usize = 128;

/// After how many bytes it is full.
pub(super) const MOST_BYTES: usize = 64 << 10;

/// What is larger leaves by itself: it gains nothing.
const LARGE: usize = 8 << 10;

/// A set as a cache sends it: `MULTI`, `SET` of a key, `UNLINK` of its lease, `EXEC`. Given as the words of its commands,
/// and where each of them ends. Returns the words of the `SET`, and the lease.
#[inline]
pub(in super::super) fn fenced_set<'w, 'b>(
    words: &'w [&'b [u8]],
    ends: &[usize],
) -> Option<(&'w [&'b [u8]], &'b [u8])> {
    let [end, _] = ends else { return None };
    let (set, unlink) = words.split_at_checked(*end)?;
    match (set, unlink) {
        ([b"SET", key, value, ..], [b"UNLINK", lease])
            if value.len() <= LARGE
                && !is_named_like_a_lease(key)
                && is_named_like_a_lease(lease) =>
        {
            Some((set, *lease))
        }
        _ => None,
    }
}

/// Sets that leave together, and the leases that are unlinked in the same step.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// The slot of all of them, on a node of a Cluster.
    slot: Option<u16>,
    sets: Vec<u8>,
    leases: Vec<u8>,
    places: Vec<u32>,
}

impl Sets {
    /// Begins anew, in the same memory.
    pub(super) fn begin(&mut self, slot: Option<u16>) {
        self.slot = slot;
        self.sets.clear();
        self.leases.clear();
        self.places.clear();
    }

    /// Whether a set of this slot may join.
    pub(super) fn takes(&self, slot: Option<u16>) -> bool {
        self.slot == slot && self.places.len() < MOST && self.sets.len() < MOST_BYTES
    }

    pub(super) fn add(&mut self, place: u32, set: &[&[u8]], lease: &[u8]) {
        self.places.push(place);
        write_words(&mut self.sets, set);
        write_word(&mut self.leases, lease);
    }

    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }

    /// Writes the whole, and says what is due for it.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) -> Due {
        out.reserve(self.sets.len() + self.leases.len() + 80);
        write_words(out, &[b"MULTI"]);
        out.extend_from_slice(&self.sets);
        line(out, b'*', self.places.len() + 1);
        write_word(out, b"UNLINK");
        out.extend_from_slice(&self.leases);
        write_words(out, &[b"EXEC"]);
        Due::Sets {
            // MULTI, the sets, UNLINK, EXEC.
            left: self.places.len() as u32 + 3,
            places: std::mem::take(&mut self.places),
        }
    }
}

/// The outcomes of sets that shared a `MULTI`.
pub(super) fn outcomes(
    common: &Common,
    places: &[u32],
    replies: Vec<Value>,
    outcomes: &mut Vec<(u32, Outcome)>,
) {
    let aborted = matches!(
        (replies.first(), replies.last()),
        (Some(Value::Okay), Some(Value::ServerError(error))) if error.code() != "NOPERM"
    );
    if aborted && places.len() > 1 {
        outcomes.extend(places.iter().map(|place| (*place, Outcome::Refused)));
        return;
    }
    let error = match inside(common, replies) {
        Ok(mut each) if each.len() == places.len() + 1 => {
            let unlinked = each.pop().unwrap_or(Value::Nil);
            let both = |set| Outcome::Replies(vec![set, unlinked.clone()]);
            outcomes.extend(places.iter().copied().zip(each.into_iter().map(both)));
            return;
        }
        Ok(other) => Error::unexpected("EXEC", &Value::Array(other)),
        Err(error) => error,
    };
    let failed = |place: &u32| (*place, Outcome::Failed(error.clone()));
    outcomes.extend(places.iter().map(failed));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease_of(set: &str, unlink: &str) -> Option<String> {
        let words: Vec<&[u8]> = set
            .split(' ')
            .chain(unlink.split(' '))
            .map(str::as_bytes)
            .collect();
        let ends = [set.split(' ').count(), words.len()];
        let (_, lease) = fenced_set(&words, &ends)?;
        Some(String::from_utf8_lossy(lease).into_owned())
    }

    #[test]
    fn only_a_set_with_its_lease_is_a_fenced_set() {
        let unlink = "UNLINK {k}#nearcache:lease";
        for set in ["SET k v", "SET k v PX 5", "SET #k v"] {
            assert_eq!(
                lease_of(set, unlink).as_deref(),
                Some("{k}#nearcache:lease"),
                "{set}"
            );
        }
        let large = format!("SET k {}", "v".repeat(LARGE + 1));
        for (set, unlink) in [
            ("SET k v", "UNLINK k"),
            // To put the UNLINKs at the end would not be the same.
            ("SET {k}#nearcache:lease v", unlink),
            ("SET k v", "UNLINK {k}#nearcache:lease b"),
            ("GETDEL k", unlink),
            (&large, unlink),
        ] {
            assert_eq!(lease_of(set, unlink), None, "{set} {unlink}");
        }
        let words: [&[u8]; 3] = [b"SET", b"k", b"v"];
        assert_eq!(fenced_set(&words, &[3]), None);
    }
}

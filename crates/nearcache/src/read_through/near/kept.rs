//! One entry of the near tier.

use std::any::TypeId;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use smallvec::SmallVec;

use super::super::entry::Entry;
use super::cells::Pointer;
use super::shape::{Decoded, Shape};
use crate::codec::{Codec, Decode, Stored};
use crate::connect::Carried;

/// An entry, until when it is a hit, and what ends that earlier.
///
/// What every hit looks at comes first, and close together: where there are many entries, a hit costs as much as it
/// fetches lines from memory.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Kept {
    /// By the tier's clock. 0: it never is a hit.
    pub(super) until: u64,
    pub(super) state: State,
    pub(super) decoded: OnceLock<Decoded>,
    /// What the news come by, of the key and of the versions of its tags.
    pub(super) carried: SmallVec<[Carried; 1]>,
    pub(super) tags: SmallVec<[Pointer; 1]>,
    pub(super) entry: Entry,
}

/// Whether an entry is a hit as far as its key is concerned.
#[derive(Debug, Default)]
pub(super) struct State(AtomicU8);

const UNCONFIRMED: u8 = 0;
const CONFIRMED: u8 = 1;
const REVOKED: u8 = 2;

impl State {
    /// It is in its place, and its mark held after that.
    pub(super) fn confirm(&self) {
        let _ = self
            .0
            .compare_exchange(UNCONFIRMED, CONFIRMED, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Its key was changed.
    pub(super) fn revoke(&self) {
        self.0.store(REVOKED, Ordering::SeqCst);
    }

    #[inline]
    fn is_confirmed(&self) -> bool {
        self.0.load(Ordering::Acquire) == CONFIRMED
    }
}

impl Kept {
    /// Whether it is an answer at this time.
    #[inline]
    pub(super) fn is_hit(&self, now: u64) -> bool {
        now < self.until
            && self.state.is_confirmed()
            && self.carried.iter().all(|carried| carried.carries(now))
            && self.tags.iter().all(Pointer::holds)
    }

    /// Whether it is an answer while Redis is away.
    pub(super) fn is_last(&self) -> bool {
        self.tags.iter().all(Pointer::is_valid)
    }

    /// The value, as this caller takes it; `None` if it cannot be read as the caller's type.
    #[inline]
    pub(super) fn value<R: Decode>(&self, shape: Shape<R>, codec: &Codec) -> Option<Stored<R>> {
        match self.decoded.get() {
            Some(Decoded::Value(value)) => {
                if let Some(value) = (shape.take)(value) {
                    return Some(Stored::Value(value));
                }
            }
            Some(Decoded::Nothing(of)) if *of == TypeId::of::<R>() => return Some(Stored::Nothing),
            _ => {}
        }
        self.decode(shape, codec)
    }

    /// The value, if it was decoded already, for a caller who shares it.
    #[inline]
    pub(super) fn shared<R>(&self, shape: Shape<R>) -> Option<R> {
        match self.decoded.get() {
            Some(Decoded::Value(value)) => (shape.take)(value),
            _ => None,
        }
    }

    /// The first time, and for those who ask for another type than the first did.
    #[cold]
    fn decode<R: Decode>(&self, shape: Shape<R>, codec: &Codec) -> Option<Stored<R>> {
        let stored = self.copy().decode::<R>(codec).ok()?;
        let _ = self.decoded.set(match &stored {
            Stored::Value(value) => Decoded::Value((shape.give)(value)),
            Stored::Nothing => Decoded::Nothing(TypeId::of::<R>()),
        });
        Some(stored)
    }

    pub(super) fn copy(&self) -> Entry {
        Entry::new(self.entry.bytes().to_vec())
    }
}

//! A value for each of a few groups of threads, so that counting threads do not compete for a cache line. The total is
//! the sum over all values.
//!
//! The first threads have a value each, for as long as they live: what such a thread alone changes, it changes without a
//! locked instruction, which takes as long as twenty others. All further threads share the last value.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of values.
const STRIPES: usize = 16;

/// The value that threads share.
const SHARED: usize = STRIPES - 1;

/// The value of a thread that has not asked for one yet.
const UNKNOWN: usize = usize::MAX;

/// Two cache lines apart, because processors fetch two at a time.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Debug, Default)]
pub(crate) struct Striped<T>([Apart<T>; STRIPES]);

/// Which values have a thread, as bits.
static TAKEN: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static LEASE: Lease = const { Lease(Cell::new(SHARED)) };
}

/// Gives a thread's value back when the thread ends.
struct Lease(Cell<usize>);

impl Drop for Lease {
    fn drop(&mut self) {
        let mine = self.0.get();
        if mine != SHARED {
            let _ = MINE.try_with(|known| known.set(SHARED));
            // Whoever takes it next sees all that was added to it.
            TAKEN.fetch_and(!(1 << mine), Ordering::Release);
        }
    }
}

/// The index of this thread's value.
#[inline]
fn mine() -> usize {
    // A thread that is ending has no thread-local storage any more.
    let known = MINE.try_with(Cell::get).unwrap_or(SHARED);
    if known == UNKNOWN { take() } else { known }
}

#[cold]
fn take() -> usize {
    let free = |taken: u32| taken.trailing_ones() as usize;
    let took = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
        (free(taken) < SHARED).then(|| taken | 1 << free(taken))
    });
    let mine = took.map_or(SHARED, free);
    let leased = LEASE.try_with(|lease| lease.0.set(mine));
    if leased.is_err() && mine != SHARED {
        TAKEN.fetch_and(!(1 << mine), Ordering::Release);
        return SHARED;
    }
    let _ = MINE.try_with(|known| known.set(mine));
    mine
}

impl<T> Striped<T> {
    /// This thread's value, which others may share.
    #[inline]
    pub(crate) fn mine(&self) -> &T {
        &self.0[mine()].0
    }

    /// This thread's value, if no other thread changes it for as long as this one lives.
    #[inline]
    pub(crate) fn alone(&self) -> Option<&T> {
        let mine = mine();
        (mine != SHARED).then(|| &self.0[mine].0)
    }

    /// The values of all threads.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|stripe| &stripe.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Threads that come and go, more than there are values: each value has one thread at a time, or is shared.
    #[test]
    fn nothing_that_threads_count_is_lost() {
        let striped = Striped::<AtomicUsize>::default();
        let count = || match striped.alone() {
            Some(mine) => mine.store(mine.load(Ordering::Relaxed) + 1, Ordering::Relaxed),
            None => {
                striped.mine().fetch_add(1, Ordering::Relaxed);
            }
        };
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(|| (0..1_000).for_each(|_| count()));
                }
            });
        }
        let sum: usize = striped
            .all()
            .map(|stripe| stripe.load(Ordering::Relaxed))
            .sum();
        assert_eq!(sum, 60_000);
    }
}

//! A value for each of a few groups of threads, so that counting threads do not compete for a cache line. The total is
//! the sum over all values.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of values. With more threads than this, some share a value.
const STRIPES: usize = 8;

/// Two cache lines apart, because processors fetch two at a time.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Debug, Default)]
pub(crate) struct Striped<T>([Apart<T>; STRIPES]);

impl<T> Striped<T> {
    /// This thread's value.
    pub(crate) fn mine(&self) -> &T {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        // A thread that is ending has no thread-local storage any more, so it takes any value.
        let mine = MINE.try_with(|mine| {
            if mine.get() == usize::MAX {
                mine.set(THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES);
            }
            mine.get()
        });
        &self.0[mine.unwrap_or(0)].0
    }

    /// The values of all threads.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|stripe| &stripe.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_threads_count_is_lost() {
        let striped = Striped::<AtomicUsize>::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        striped.mine().fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let sum: usize = striped
            .all()
            .map(|stripe| stripe.load(Ordering::Relaxed))
            .sum();
        assert_eq!(sum, 20_000);
    }
}

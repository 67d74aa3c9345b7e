//! Frames that are kept back until a test releases them, and the two ways in which a test waits: it blocks its
//! thread, or awaits a future. [`pump`](super::pump) does the holding.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use super::Shared;
use super::fault::{Direction, Frames};
use super::pump::Item;

/// Frames that [`Proxy::hold`](super::Proxy::hold) keeps back. Dropping it releases them.
#[derive(Debug)]
#[must_use = "dropped, it lets the frames go"]
pub struct Hold {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
}

/// A hold that applies.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: u64,
    pub(super) frames: Frames,
    /// The frames that were released one by one.
    pub(super) passed: HashSet<u64>,
}

impl Hold {
    /// How many of the frames the proxy keeps back now.
    pub fn held(&self) -> usize {
        self.shared.lock().held(self.id)
    }

    /// Waits until at least `count` of the frames are kept back.
    ///
    /// # Panics
    /// If they are not within a minute.
    #[track_caller]
    pub fn wait_until_held(&self, count: usize) {
        expect(self.shared.wait_until_held(self.id, count));
    }

    /// [`Hold::wait_until_held`] for a test that must not block its thread.
    ///
    /// # Panics
    /// When awaited, like [`Hold::wait_until_held`].
    pub fn until_held(&self, count: usize) -> impl Future<Output = ()> + Send + 'static {
        let id = self.id;
        in_a_thread(&self.shared, move |shared| {
            shared.wait_until_held(id, count)
        })
    }

    /// Releases the first `count` of the frames held now, in the order in which they arrived, and goes on holding.
    pub fn pass(&self, count: usize) {
        let mut state = self.shared.lock();
        let mut held: Vec<_> = state.held_ids(self.id).collect();
        held.sort_unstable();
        if let Some(hold) = state.holds.iter_mut().find(|hold| hold.id == self.id) {
            hold.passed.extend(held.into_iter().take(count));
        }
        self.shared.look_up(&mut state);
    }

    /// Releases all frames, and holds no more.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.holds.retain(|hold| hold.id != self.id);
        self.shared.look_up(&mut state);
    }
}

impl Held {
    pub(super) fn keeps(&self, item: &Item, direction: Direction) -> bool {
        item.is_one_of(direction, &self.frames) && !self.passed.contains(&item.id)
    }
}

#[track_caller]
pub(super) fn expect(result: Result<(), String>) {
    if let Err(why) = result {
        panic!("{why}");
    }
}

/// Runs something that blocks as a future, for any runtime. It starts at once.
pub(super) fn in_a_thread(
    shared: &Arc<Shared>,
    wait: impl FnOnce(&Shared) -> Result<(), String> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    #[derive(Default)]
    struct Ending {
        result: Option<Result<(), String>>,
        waker: Option<Waker>,
    }
    let ending: Arc<Mutex<Ending>> = Arc::default();
    let ends = Arc::clone(&ending);
    let waits = Arc::clone(shared);
    let thread = thread::spawn(move || {
        let result = wait(&waits);
        let mut ending = ends.lock().unwrap_or_else(PoisonError::into_inner);
        ending.result = Some(result);
        if let Some(waker) = ending.waker.take() {
            waker.wake();
        }
    });
    shared.lock().threads.push(thread);
    std::future::poll_fn(move |context| {
        let mut ending = ending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = ending.result.take() {
            expect(result);
            return Poll::Ready(());
        }
        ending.waker = Some(context.waker().clone());
        Poll::Pending
    })
}

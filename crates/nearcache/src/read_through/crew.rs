//! The threads that load in the background for blocking callers: refreshes, and loads that their caller may stop
//! waiting for.
//!
//! 1. There are at most [`THREADS`] for each cache, whatever is asked of it. What they cannot do at once waits in a queue
//!    of at most [`QUEUE`] loads; more are given up. Nobody is worse off: the callers have a value.
//! 2. A key's refresh is in the queue once.
//! 3. Threads start when they are needed, and end when there was nothing to do for a while.
//! 4. A child process starts anew: it has none of its parent's threads.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::lead::Batch;

const THREADS: usize = 16;

const QUEUE: usize = 1_024;

/// How long a thread waits for something to do before it ends.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The process that the threads are of.
    process: u32,
    threads: usize,
    idle: usize,
    queue: VecDeque<Job>,
    /// The keys of the refreshes in the queue.
    keys: HashSet<Box<[u8]>>,
}

struct Job {
    keys: Vec<Box<[u8]>>,
    run: Run,
}

type Run = Box<dyn FnOnce() + Send>;

impl Crew {
    /// Notes the keys of a refresh that is about to be queued, and removes those from it that are in the queue already,
    /// or are being loaded.
    pub(super) fn note(&self, batch: &mut Batch) -> Vec<Box<[u8]>> {
        let mut state = self.state.lock();
        state.begin_anew_after_a_fork();
        let mut keys = Vec::new();
        let flights = Arc::clone(&batch.cache.flights);
        batch.leads.retain(|lead| {
            let key: Box<[u8]> = lead.key.as_bytes().into();
            let is_new = !flights.has(&key) && state.keys.insert(key.clone());
            if is_new {
                keys.push(key);
            }
            is_new
        });
        keys
    }

    /// Runs something on one of the threads, once one is free. If the queue is full, it is dropped.
    pub(super) fn push(self: &Arc<Self>, keys: Vec<Box<[u8]>>, run: Run) {
        let mut state = self.state.lock();
        state.begin_anew_after_a_fork();
        if state.queue.len() >= QUEUE {
            state.forget(&keys);
            drop(state);
            return;
        }
        state.queue.push_back(Job { keys, run });
        if state.idle >= state.queue.len() || state.threads >= THREADS {
            drop(state);
            self.changed.notify_one();
            return;
        }
        let crew = Arc::clone(self);
        let thread = std::thread::Builder::new().name("nearcache-load".to_owned());
        match thread.spawn(move || crew.work()) {
            Ok(_) => state.threads += 1,
            Err(error) => {
                tracing::warn!(%error, "could not start a thread for a load in the background");
                if state.threads == 0 {
                    let given_up = state.take();
                    drop(state);
                    drop(given_up);
                }
            }
        }
    }

    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            while let Some(job) = state.take() {
                drop(state);
                // A loader's panic is caught where it is called. This is for what a caller's types do besides.
                if catch_unwind(AssertUnwindSafe(job.run)).is_err() {
                    tracing::error!("a load in the background panicked");
                }
                state = self.state.lock();
            }
            state.idle += 1;
            let waited = self.changed.wait_for(&mut state, LINGER);
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

impl State {
    fn take(&mut self) -> Option<Job> {
        let job = self.queue.pop_front()?;
        self.forget(&job.keys);
        Some(job)
    }

    fn forget(&mut self, keys: &[Box<[u8]>]) {
        for key in keys {
            self.keys.remove(key);
        }
    }

    fn begin_anew_after_a_fork(&mut self) {
        let process = std::process::id();
        if self.process != process {
            // What the parent has queued is the parent's to do. Dropping it here could touch its connections.
            std::mem::forget(std::mem::take(&mut self.queue));
            *self = State {
                process,
                ..State::default()
            };
        }
    }
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        write!(f, "Crew({}, queued {})", state.threads, state.queue.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn threads_and_queue_are_bounded_and_threads_end() {
        let crew = Arc::<Crew>::default();
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..3_000 {
            let (held, ran) = (Arc::clone(&held), Arc::clone(&ran));
            crew.push(
                Vec::new(),
                Box::new(move || {
                    let _ = held.lock().recv();
                    ran.fetch_add(1, Ordering::SeqCst);
                }),
            );
        }
        {
            let state = crew.state.lock();
            assert_eq!(state.threads, THREADS);
            assert!(state.queue.len() <= QUEUE);
        }
        drop(release);
        while crew.state.lock().threads > 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let ran = ran.load(Ordering::SeqCst);
        assert!((QUEUE..=QUEUE + THREADS).contains(&ran), "{ran}");
        crew.push(Vec::new(), Box::new(|| panic!("as tests do")));
        let (tell, told) = mpsc::channel();
        crew.push(Vec::new(), Box::new(move || tell.send(7).unwrap()));
        assert_eq!(told.recv(), Ok(7));
    }
}

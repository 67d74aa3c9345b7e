//! What is done again and again in the background, as long as somebody holds something: a lock is renewed, the jobs of
//! a worker are kept.
//!
//! 1. For an async cache a chore is a task of the runtime on which it began.
//! 2. For a blocking cache all chores of the process share a few threads, [`THREADS`] at most. They start when they
//!    are needed, and end when there was nothing to do for a while. A chore that hangs holds up only its own thread.
//! 3. A chore that was dropped does not begin once more. One that is running ends by itself.
//! 4. A child process starts anew: it has none of its parent's threads, and does none of its parent's chores.

use std::sync::Arc;
use std::time::Duration;

use crate::connect::BoxFuture;
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// Something that is done again and again.
pub(super) trait Chore: Send + Sync + 'static {
    /// Does it once. Returns after what time it is to be done again; `None`: not any more.
    fn tend(&self) -> BoxFuture<'_, Option<Duration>>;
}

/// A chore that goes on until this is dropped.
#[derive(Debug)]
pub(super) struct Tended(Kind);

#[derive(Debug)]
enum Kind {
    Task(tokio::task::AbortHandle),
    #[cfg(feature = "blocking")]
    Thread {
        _kept: threads::Kept,
    },
}

/// Begins a chore, which is done for the first time after this time.
///
/// # Errors
/// `InvalidConfig` if an async caller has no runtime.
pub(super) fn begin(runtime: &Runtime, first: Duration, chore: Arc<dyn Chore>) -> Result<Tended> {
    #[cfg(feature = "blocking")]
    if matches!(runtime, Runtime::Threads) {
        let kept = threads::keep(first, chore);
        return Ok(Tended(Kind::Thread { _kept: kept }));
    }
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(Error::no_runtime());
    }
    let clock = runtime.clone();
    let task = runtime.spawn(async move {
        let mut pause = first;
        loop {
            clock.sleep(pause).await;
            match chore.tend().await {
                Some(again) => pause = again,
                None => return,
            }
        }
    });
    Ok(Tended(Kind::Task(task)))
}

impl Drop for Tended {
    fn drop(&mut self) {
        match &self.0 {
            Kind::Task(task) => task.abort(),
            #[cfg(feature = "blocking")]
            Kind::Thread { .. } => {}
        }
    }
}

#[cfg(feature = "blocking")]
mod threads {
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use parking_lot::{Condvar, Mutex};

    use super::Chore;
    use crate::runtime::block_on;

    /// How many threads there are at most.
    const THREADS: usize = 8;

    /// How long a thread waits for something to do before it ends.
    const LINGER: Duration = Duration::from_secs(1);

    struct Crew {
        state: Mutex<State>,
        changed: Condvar,
    }

    struct State {
        /// The process that the threads are of.
        process: u32,
        threads: usize,
        /// How many of them wait.
        idle: usize,
        next: u64,
        due: BTreeMap<(Instant, u64), Arc<dyn Chore>>,
        /// When each chore is due; `None` while it is done.
        chores: Option<HashMap<u64, Option<Instant>>>,
    }

    static CREW: Crew = Crew {
        state: Mutex::new(State {
            process: 0,
            threads: 0,
            idle: 0,
            next: 0,
            due: BTreeMap::new(),
            chores: None,
        }),
        changed: Condvar::new(),
    };

    /// A chore of the threads, until it is dropped.
    #[derive(Debug)]
    pub(super) struct Kept {
        process: u32,
        number: u64,
    }

    pub(super) fn keep(first: Duration, chore: Arc<dyn Chore>) -> Kept {
        let mut state = CREW.state.lock();
        state.begin_anew_after_a_fork();
        let number = state.next;
        state.next += 1;
        state.plan(number, Instant::now() + first, chore);
        state.man();
        let process = state.process;
        drop(state);
        CREW.changed.notify_all();
        Kept { process, number }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            let mut state = CREW.state.lock();
            if state.process != self.process {
                return;
            }
            let number = self.number;
            let at = state.chores.get_or_insert_default().remove(&number);
            let chore = at.flatten().and_then(|at| state.due.remove(&(at, number)));
            drop(state);
            // Its own drop may do more, which is not for here.
            drop(chore);
        }
    }

    impl State {
        fn plan(&mut self, number: u64, at: Instant, chore: Arc<dyn Chore>) {
            self.due.insert((at, number), chore);
            self.chores.get_or_insert_default().insert(number, Some(at));
        }

        fn is_due(&self) -> bool {
            let first = self.due.first_key_value();
            first.is_some_and(|((at, _), _)| *at <= Instant::now())
        }

        /// Sees to it that somebody waits for what is due next, if there may be another thread.
        fn man(&mut self) {
            if self.idle > 0 || self.threads >= THREADS || self.due.is_empty() {
                return;
            }
            let thread = std::thread::Builder::new().name("nearcache-upkeep".to_owned());
            match thread.spawn(run) {
                Ok(_) => self.threads += 1,
                Err(error) => {
                    tracing::warn!(%error, "could not start the thread that renews locks and jobs: they may end early");
                }
            }
        }

        fn begin_anew_after_a_fork(&mut self) {
            let process = std::process::id();
            if self.process != process {
                // The parent's chores are the parent's to do. Dropping them here could touch its connections.
                std::mem::forget(std::mem::take(&mut self.due));
                self.chores = None;
                (self.process, self.threads, self.idle) = (process, 0, 0);
            }
        }
    }

    fn run() {
        let mut state = CREW.state.lock();
        loop {
            let now = Instant::now();
            let first = state.due.first_key_value().map(|(key, _)| *key);
            let Some((at, number)) = first.filter(|(at, _)| *at <= now) else {
                // One waits for what is due next; what others there are wait for more, and end.
                let until = match first {
                    Some((at, _)) if state.idle == 0 => at,
                    Some((at, _)) => at.min(now + LINGER),
                    None => now + LINGER,
                };
                state.idle += 1;
                let waited = CREW.changed.wait_until(&mut state, until);
                state.idle -= 1;
                let is_spare = state.due.is_empty() || state.idle > 0;
                if waited.timed_out() && is_spare && !state.is_due() {
                    state.threads -= 1;
                    return;
                }
                continue;
            };
            let Some(chore) = state.due.remove(&(at, number)) else {
                continue;
            };
            state.chores.get_or_insert_default().insert(number, None);
            state.man();
            drop(state);
            let again = block_on(chore.tend());
            state = CREW.state.lock();
            let is_kept = state.chores.get_or_insert_default().contains_key(&number);
            match again.filter(|_| is_kept) {
                Some(pause) => {
                    state.plan(number, Instant::now() + pause, chore);
                    CREW.changed.notify_all();
                }
                None => {
                    state.chores.get_or_insert_default().remove(&number);
                    drop(state);
                    drop(chore);
                    state = CREW.state.lock();
                }
            }
        }
    }
}

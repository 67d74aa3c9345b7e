//! One thread that renews the leases of loads that run on their callers' threads.
//!
//! It starts with the first such load, sleeps until half of a lease has passed (most loads end before that), and ends
//! when there has been no load for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::held::Renewal;
use crate::runtime::block_on;

/// How long the thread waits for another load before it ends.
const LINGER: Duration = Duration::from_secs(1);

struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The process that the thread is of. A child process has no thread of its parent's.
    process: u32,
    running: bool,
    next: u64,
    due: BTreeMap<(Instant, u64), Arc<Renewal>>,
}

static KEEPER: Keeper = Keeper {
    state: Mutex::new(State {
        process: 0,
        running: false,
        next: 0,
        due: BTreeMap::new(),
    }),
    changed: Condvar::new(),
};

/// Keeps leases renewed until it is dropped.
pub(super) struct Kept {
    number: u64,
    /// The time of the first renewal: its key in `due` until then.
    first: Instant,
}

pub(super) fn keep(renewal: Renewal) -> Kept {
    let renewal = Arc::new(renewal);
    let first = Instant::now() + renewal.period();
    let mut state = KEEPER.state.lock();
    let process = std::process::id();
    if std::mem::replace(&mut state.process, process) != process {
        state.running = false;
        // The parent's renewals are the parent's to send. Dropping them here could touch its connections.
        std::mem::forget(std::mem::take(&mut state.due));
    }
    let number = state.next;
    state.next += 1;
    let is_next = state
        .due
        .first_key_value()
        .is_none_or(|((at, _), _)| first < *at);
    state.due.insert((first, number), renewal);
    if !state.running {
        let thread = std::thread::Builder::new().name("nearcache-lease".to_owned());
        state.running = match thread.spawn(run) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "could not start the thread that renews leases: a load that takes longer than its lease may run twice");
                false
            }
        };
    } else if is_next {
        KEEPER.changed.notify_one();
    }
    Kept { number, first }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = KEEPER.state.lock();
        if state.due.remove(&(self.first, self.number)).is_none() {
            // It was renewed meanwhile, so its key has another time.
            state.due.retain(|(_, number), _| *number != self.number);
        }
    }
}

fn run() {
    let mut state = KEEPER.state.lock();
    loop {
        let Some((&(at, number), _)) = state.due.first_key_value() else {
            let waited = KEEPER.changed.wait_for(&mut state, LINGER);
            if waited.timed_out() && state.due.is_empty() {
                state.running = false;
                return;
            }
            continue;
        };
        if Instant::now() < at {
            KEEPER.changed.wait_until(&mut state, at);
            continue;
        }
        let Some(renewal) = state.due.remove(&(at, number)) else {
            continue;
        };
        // It stays in `due` while it is renewed, so that `Kept` can remove it if the load ends meanwhile.
        let again = Instant::now() + renewal.period();
        state.due.insert((again, number), Arc::clone(&renewal));
        drop(state);
        let ours = block_on(renewal.renew());
        state = KEEPER.state.lock();
        if !ours {
            state.due.remove(&(again, number));
        }
    }
}

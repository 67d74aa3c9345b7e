//! The limits of this process, for the time when Redis is away.
//!
//! 1. They are the process's: all caches of one server and prefix share them, however many limiters were opened.
//! 2. Their memory is bounded: [`MAX_WEIGHT`] ids, or entries of their logs. Beyond that, ids that are idle are
//!    forgotten, and then those that are the next to be.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::algorithm::Algorithm;
use super::decision::Answer;
use super::gcra::{self, Tat};
use super::sliding::{self, Log};
use super::window::{self, Count};

/// How many ids, and entries of logs, are kept. An id takes some 200 bytes, an entry 24.
const MAX_WEIGHT: usize = 100_000;

/// The limits of this process.
static LIMITS: Mutex<Option<Limits>> = Mutex::new(None);

/// Checks a limit of this process. `place` says which server and database the key is of. Times are in Unix
/// microseconds.
pub(super) fn check(
    place: (&str, u32),
    key: &[u8],
    algorithm: Algorithm,
    now: u64,
    cost: u64,
    takes: bool,
) -> Answer {
    let mut limits = LIMITS.lock();
    limits
        .get_or_insert_default()
        .check(&name(place, key), algorithm, now, cost, takes)
}

/// Forgets what an id has taken.
pub(super) fn forget(place: (&str, u32), key: &[u8]) {
    if let Some(limits) = &mut *LIMITS.lock() {
        limits.forget(&name(place, key));
    }
}

fn name((host, db): (&str, u32), key: &[u8]) -> Vec<u8> {
    [host.as_bytes(), b" ", &db.to_be_bytes(), key].concat()
}

/// What ids have taken.
#[derive(Debug, Default)]
pub(super) struct Limits {
    held: HashMap<Vec<u8>, Held>,
    /// The sum of all weights.
    weight: usize,
}

#[derive(Debug)]
struct Held {
    state: State,
    /// From when on it can be forgotten.
    idle_from: u64,
}

#[derive(Debug)]
enum State {
    Gcra(Tat),
    Count(Count),
    Log(Log),
}

impl Held {
    fn weight(&self) -> usize {
        match &self.state {
            State::Log(log) => 1 + log.len(),
            State::Gcra(_) | State::Count(_) => 1,
        }
    }
}

impl Limits {
    pub(super) fn check(
        &mut self,
        name: &[u8],
        algorithm: Algorithm,
        now: u64,
        cost: u64,
        takes: bool,
    ) -> Answer {
        let mut held = self.held.get_mut(name);
        let before = held.as_ref().map_or(0, |held| held.weight());
        let (answer, changed) = match algorithm {
            Algorithm::Gcra(bucket) => {
                let tat = match &held {
                    Some(Held {
                        state: State::Gcra(tat),
                        ..
                    }) => Some(*tat),
                    _ => None,
                };
                let (answer, tat) = gcra::step(tat, now, bucket, cost, takes);
                (answer, tat.map(State::Gcra))
            }
            Algorithm::FixedWindow(window) => {
                let count = match &held {
                    Some(Held {
                        state: State::Count(count),
                        ..
                    }) => Some(*count),
                    _ => None,
                };
                let (answer, count) = window::step(count, now, window, cost, takes);
                (answer, count.map(State::Count))
            }
            Algorithm::SlidingWindow(window) => {
                let mut log = match &mut held {
                    Some(Held {
                        state: State::Log(log),
                        ..
                    }) => std::mem::take(log),
                    _ => Log::new(),
                };
                let answer = sliding::step(&mut log, now, window, cost, takes);
                (answer, Some(State::Log(log)))
            }
        };
        if let Some(state) = changed {
            let new = Held {
                state,
                idle_from: now.saturating_add(answer.reset_after),
            };
            self.weight = (self.weight + new.weight()).saturating_sub(before);
            match held {
                Some(held) => *held = new,
                None => {
                    self.held.insert(name.to_vec(), new);
                }
            }
            if self.weight > MAX_WEIGHT {
                self.make_room(now);
            }
        }
        answer
    }

    fn forget(&mut self, name: &[u8]) {
        if let Some(held) = self.held.remove(name) {
            self.weight = self.weight.saturating_sub(held.weight());
        }
    }

    /// Forgets what is idle. If that is less than an eighth, also what is idle next.
    fn make_room(&mut self, now: u64) {
        let wanted = MAX_WEIGHT / 8 * 7;
        self.held.retain(|_, held| held.idle_from > now);
        self.weight = self.held.values().map(Held::weight).sum();
        if self.weight <= wanted {
            return;
        }
        let mut next: Vec<(u64, Vec<u8>)> = self
            .held
            .iter()
            .map(|(name, held)| (held.idle_from, name.clone()))
            .collect();
        next.sort_unstable();
        for (_, name) in next {
            if self.weight <= wanted {
                return;
            }
            self.forget(&name);
        }
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::super::algorithm::Kind;
    use super::super::quota::Quota;
    use super::*;

    #[test]
    fn memory_is_bounded_and_what_is_idle_goes_first() {
        for kind in Kind::ALL {
            let algorithm = kind.with(&Quota::per_minute(10)).unwrap();
            let long = kind.with(&Quota::per_day(2)).unwrap();
            let mut limits = Limits::default();
            let now = 1_800_000_000_000_000;
            assert!(limits.check(b"long", long, now, 2, true).allowed);
            for id in 0..MAX_WEIGHT + 10_000 {
                let _ = limits.check(format!("id{id}").as_bytes(), algorithm, now, 1, true);
                assert!(limits.weight() <= MAX_WEIGHT, "{kind:?}");
            }
            let sum: usize = limits.held.values().map(Held::weight).sum();
            assert_eq!(limits.weight(), sum);
            assert!(sum > MAX_WEIGHT / 2, "not everything is forgotten");
            assert!(
                !limits.check(b"long", long, now, 1, true).allowed,
                "{kind:?}: it is idle long after the others"
            );
        }
    }

    #[test]
    fn a_log_counts_with_its_entries() {
        let algorithm = Kind::SlidingWindow.with(&Quota::per_second(1_000)).unwrap();
        let mut limits = Limits::default();
        for at in 0..3_000 {
            let _ = limits.check(b"a", algorithm, 1_800_000_000_000_000 + at * 500, 1, true);
        }
        assert_eq!(limits.weight(), 1_001);
        limits.forget(b"a");
        assert_eq!(limits.weight(), 0);
    }
}

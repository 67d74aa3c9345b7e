//! What the clients of the port have done: calls and time of each command, errors, bytes.
//!
//! Commands of connections within the process are not counted, so that they stay as cheap as they are.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::command::{Command, SLOTS, slot};

/// The numbers of a command.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: AtomicU64,
    nanos: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    times: [AtomicU64; BUCKETS],
}

/// How many classes of durations are told apart: each goes up to twice as long as the one before it, the first to
/// 1024 ns, the last to minutes.
const BUCKETS: usize = 28;

/// Up to how many microseconds the first classes go, as `LATENCY HISTOGRAM` names them.
const MICROS: [i64; BUCKETS] = [
    1,
    2,
    4,
    8,
    16,
    33,
    66,
    132,
    264,
    528,
    1056,
    2113,
    4227,
    8454,
    16_909,
    33_816,
    67_633,
    135_266,
    270_532,
    541_065,
    1_082_130,
    2_164_260,
    4_328_521,
    8_657_043,
    17_314_086,
    34_628_173,
    69_256_347,
    138_512_695,
];

/// A copy of the numbers of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) calls: u64,
    pub(crate) micros: u64,
    pub(crate) rejected: u64,
    pub(crate) failed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// By the slots of the table of commands; made for the first client.
    commands: OnceLock<Box<[Calls]>>,
    errors: Mutex<BTreeMap<String, u64>>,
    pub(crate) total_errors: AtomicU64,
    pub(crate) total_commands: AtomicU64,
    /// How many there were in the last second, and until then.
    pub(crate) last_second: AtomicU64,
    until: AtomicU64,
    /// How many commands have changed something.
    pub(crate) changes: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    /// The most memory that the keys took when somebody asked.
    pub(crate) peak: AtomicU64,
}

impl Stats {
    fn of(&self, command: &Command) -> Option<&Calls> {
        let commands = self
            .commands
            .get_or_init(|| (0..SLOTS).map(|_| Calls::default()).collect());
        commands.get(slot(command.name)?)
    }

    /// Counts a call.
    #[inline]
    pub(crate) fn call(&self, command: &Command, took: Duration, failed: bool, waits: bool) {
        self.total_commands.fetch_add(1, Ordering::Relaxed);
        let Some(calls) = self.of(command) else {
            return;
        };
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        calls.calls.fetch_add(1, Ordering::Relaxed);
        calls.nanos.fetch_add(nanos, Ordering::Relaxed);
        if !waits {
            calls.time(nanos);
        }
        if failed {
            calls.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the end of a call that has waited.
    pub(crate) fn end(&self, command: &Command, took: Duration, failed: bool) {
        if let Some(calls) = self.of(command) {
            calls.time(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            if failed {
                calls.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a command that did not run.
    pub(crate) fn reject(&self, command: &Command) {
        if let Some(calls) = self.of(command) {
            calls.rejected.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A second has passed.
    pub(crate) fn tick(&self) {
        let total = self.total_commands.load(Ordering::Relaxed);
        let until = self.until.swap(total, Ordering::Relaxed);
        self.last_second
            .store(total.saturating_sub(until), Ordering::Relaxed);
    }

    /// Counts an error, by its code.
    #[cold]
    pub(crate) fn error(&self, text: &str) {
        /// A client must not be able to make this grow.
        const MOST: usize = 128;
        self.total_errors.fetch_add(1, Ordering::Relaxed);
        let code = text.split(' ').next().unwrap_or_default();
        let code = if code.len() > 31 { "ERR" } else { code };
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < MOST {
            errors.insert(code.to_owned(), 1);
        }
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// The numbers of a command; `None` if it was not called since the last reset.
    pub(crate) fn counted(&self, command: &Command) -> Option<Counted> {
        let calls = self.commands.get()?.get(slot(command.name)?)?;
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let counted = Counted {
            calls: load(&calls.calls),
            micros: load(&calls.nanos) / 1000,
            rejected: load(&calls.rejected),
            failed: load(&calls.failed),
        };
        let any = counted.calls + counted.rejected + counted.failed > 0;
        any.then_some(counted)
    }

    /// Up to how many microseconds how many of a command's calls took; only the steps at which there are more.
    pub(crate) fn histogram(&self, command: &Command) -> Vec<(i64, u64)> {
        let Some(calls) = self
            .commands
            .get()
            .and_then(|commands| commands.get(slot(command.name)?))
        else {
            return Vec::new();
        };
        let mut sum = 0;
        let mut steps = Vec::new();
        for (micros, count) in MICROS.iter().zip(&calls.times) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                sum += count;
                steps.push((*micros, sum));
            }
        }
        steps
    }

    pub(crate) fn reset(&self) {
        for calls in self.commands.get().into_iter().flat_map(|all| all.iter()) {
            let numbers = [&calls.calls, &calls.nanos, &calls.rejected, &calls.failed];
            for number in numbers.into_iter().chain(&calls.times) {
                number.store(0, Ordering::Relaxed);
            }
        }
        self.errors.lock().clear();
        for number in [
            &self.total_errors,
            &self.total_commands,
            &self.bytes_in,
            &self.bytes_out,
            &self.reads,
            &self.writes,
        ] {
            number.store(0, Ordering::Relaxed);
        }
    }
}

impl Calls {
    #[inline]
    fn time(&self, nanos: u64) {
        let bucket = (nanos.max(1) - 1).checked_ilog2().map_or(0, |log| log + 1);
        let bucket = (bucket as usize).saturating_sub(10).min(BUCKETS - 1);
        self.times[bucket].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_classes() {
        let stats = Stats::default();
        let get = crate::command::find(b"GET").unwrap();
        assert!(stats.counted(get).is_none());
        for nanos in [0, 1, 1024, 1025, 2048, 2049, u64::MAX] {
            stats.call(get, Duration::from_nanos(nanos), false, false);
        }
        assert_eq!(
            stats.histogram(get),
            [(1, 3), (2, 5), (4, 6), (138_512_695, 7)]
        );
        stats.reset();
        assert!(stats.counted(get).is_none());
        assert!(stats.histogram(get).is_empty());
    }

    #[test]
    fn clients_cannot_make_up_many_codes() {
        let stats = Stats::default();
        for n in 0..1000 {
            stats.error(&format!("CODE{n} text"));
        }
        assert_eq!(stats.errors().len(), 128);
        assert_eq!(stats.total_errors.load(Ordering::Relaxed), 1000);
    }
}

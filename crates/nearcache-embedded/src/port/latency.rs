//! The latency monitor: by event, when something took long, and how long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// How many samples of an event are kept.
const MOST: usize = 160;

#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// What takes at least this long is an event, in milliseconds; 0 means that nothing is.
    pub(crate) threshold: AtomicU64,
    events: Mutex<BTreeMap<&'static str, Event>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    /// The time in unix seconds, and the longest duration within that second in milliseconds.
    pub(crate) samples: VecDeque<(i64, u64)>,
    /// The longest ever.
    pub(crate) longest: u64,
}

impl Latency {
    /// Whether what took so long is an event.
    #[inline]
    pub(crate) fn is_event(&self, millis: u64) -> bool {
        let threshold = self.threshold.load(Ordering::Relaxed);
        threshold > 0 && millis >= threshold
    }

    /// Notes how long something took. `now` is in unix milliseconds.
    #[cold]
    pub(crate) fn note(&self, event: &'static str, millis: u64, now: i64) {
        let second = now / 1000;
        let mut events = self.events.lock();
        let event = events.entry(event).or_default();
        event.longest = event.longest.max(millis);
        match event.samples.back_mut() {
            Some((last, longest)) if *last == second => *longest = millis.max(*longest),
            _ => {
                if event.samples.len() == MOST {
                    event.samples.pop_front();
                }
                event.samples.push_back((second, millis));
            }
        }
    }

    pub(crate) fn events(&self) -> BTreeMap<&'static str, Event> {
        self.events.lock().clone()
    }

    pub(crate) fn event(&self, name: &[u8]) -> Option<Event> {
        let name = std::str::from_utf8(name).ok()?;
        self.events.lock().get(name).cloned()
    }

    /// Forgets an event, or all. Returns how many.
    pub(crate) fn reset(&self, name: Option<&[u8]>) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|event, _| name.is_some_and(|name| event.as_bytes() != name));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_each_second_is_kept() {
        let latency = Latency::default();
        assert!(!latency.is_event(500));
        latency.threshold.store(100, Ordering::Relaxed);
        for (millis, now) in [
            (99, 1000),
            (100, 1000),
            (300, 1999),
            (200, 1999),
            (150, 2000),
        ] {
            if latency.is_event(millis) {
                latency.note("command", millis, now);
            }
        }
        let event = latency.event(b"command").unwrap();
        assert_eq!(event.samples, [(1, 300), (2, 150)]);
        assert_eq!(event.longest, 300);
        assert_eq!(latency.reset(Some(b"other")), 0);
        assert_eq!(latency.reset(None), 1);
    }
}

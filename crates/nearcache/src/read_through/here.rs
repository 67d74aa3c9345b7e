//! A read and a write of one key in a store in this process, the short way: without a future, and without what only a
//! server needs. What is not as usual (hooks, values that are kept near, tags, an error, an entry that cannot be read) goes
//! the long way, as everywhere else.

use redis::Value;

use super::ReadThrough;
use super::entry::{Entry, Judgement, Versions};
use super::read::Lookup;
use crate::codec::{Decode, Stored};
use crate::keyspace::StoredKey;

impl ReadThrough {
    /// Whether the place is a store in this process, nobody watches the calls, and nothing is kept near.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.client.guarded().is_here() && self.near.is_none() && !self.client.has_hooks()
    }

    /// [`look_up`](ReadThrough::look_up), the short way. `None`: go the long way.
    ///
    /// model: Action::Get
    #[inline]
    pub(crate) fn look_up_here<T: Decode>(&self, key: &StoredKey) -> Option<Lookup<T>> {
        if !self.is_short() {
            return None;
        }
        let found = match self.client.words_here(&[b"GET", key.as_bytes()])? {
            Value::BulkString(bytes) => Some(Entry::new(bytes)),
            Value::Nil => None,
            _ => return None,
        };
        let client = &self.client;
        let Some(mut entry) = found else {
            client.count(|counters| [(&counters.misses, 1)]);
            return Some(Lookup::Miss);
        };
        if entry.has_envelope() && !self.is_fresh(&entry) {
            return None;
        }
        let bytes = entry.bytes().len() as u64;
        Some(match entry.decode::<T>(client.codec()).ok()? {
            Stored::Value(value) => {
                client.count(|counters| [(&counters.hits, 1), (&counters.bytes_in, bytes)]);
                Lookup::Hit(value)
            }
            Stored::Nothing => {
                client.count(|counters| [(&counters.nothings, 1), (&counters.bytes_in, bytes)]);
                Lookup::Nothing
            }
        })
    }

    /// Whether an entry with an envelope is fresh, as far as that is known without asking for the versions of tags.
    fn is_fresh(&self, entry: &Entry) -> bool {
        let judge = || entry.judge(&Versions::default(), self.client.unix_millis());
        entry.tags().next().is_none() && judge() == Judgement::Fresh
    }

    /// Stores an entry, with this TTL in milliseconds, and ends a running load of its key, both in one step: what `set`
    /// does, the short way, if the way [is short](ReadThrough::is_short). `None`: nothing was stored; go the long way.
    ///
    /// model: Action::Set
    #[inline]
    pub(crate) fn store_here(
        &self,
        key: &StoredKey,
        entry: &[u8],
        ttl: Option<&[u8]>,
    ) -> Option<()> {
        let (name, lease) = (key.as_bytes(), key.lease());
        let replies = match ttl {
            Some(ttl) => {
                let words: [&[u8]; 7] = [b"SET", name, entry, b"PX", ttl, b"UNLINK", &lease];
                self.client.steps_here(&words, &[5, 7])
            }
            None => {
                let words: [&[u8]; 5] = [b"SET", name, entry, b"UNLINK", &lease];
                self.client.steps_here(&words, &[3, 5])
            }
        };
        let [Value::Okay, Value::Int(_)] = replies?[..] else {
            return None;
        };
        if self.flights.any() {
            self.flights.detach(name);
        }
        let bytes = entry.len() as u64;
        self.client.count(|counters| {
            [
                (&counters.invalidations, 1),
                (&counters.writes, 1),
                (&counters.bytes_out, bytes),
            ]
        });
        Some(())
    }
}

#[cfg(all(test, feature = "embedded", feature = "blocking"))]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use crate::{Error, Raw, Stats, blocking::Cache, hooks::Hook};

    /// A cache that somebody watches goes the long way.
    struct Watching;

    impl Hook for Watching {}

    #[derive(Clone, Debug)]
    enum Step {
        Set(Option<u32>),
        SetFor(u32),
        SetTagged(u32),
        SetDamaged,
        SetList,
        Add(u32),
        Remember(u32),
        Get,
        GetText,
        LookUp,
        Delete,
        InvalidateTag,
        MarkStale,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<Option<u32>>().prop_map(Step::Set),
            any::<u32>().prop_map(Step::SetFor),
            any::<u32>().prop_map(Step::SetTagged),
            Just(Step::SetDamaged),
            Just(Step::SetList),
            any::<u32>().prop_map(Step::Add),
            any::<u32>().prop_map(Step::Remember),
            Just(Step::Get),
            Just(Step::Get),
            Just(Step::GetText),
            Just(Step::LookUp),
            Just(Step::Delete),
            Just(Step::InvalidateTag),
            Just(Step::MarkStale),
        ]
    }

    fn said(outcome: Result<impl Debug, Error>) -> String {
        outcome.map_or_else(|error| format!("{error:?}"), |value| format!("{value:?}"))
    }

    fn run(cache: &Cache, key: &str, step: &Step) -> String {
        match step {
            Step::Set(value) => said(cache.set(key, value).run()),
            Step::SetFor(value) => said(cache.set(key, value).ttl("1h").run()),
            Step::SetTagged(value) => said(cache.set(key, value).tags(["tag"]).run()),
            Step::SetDamaged => said(cache.set(key, Raw(b"{\xff")).run()),
            Step::SetList => {
                let mut raw = cache.shared_connection();
                redis::pipe()
                    .cmd("DEL")
                    .arg(key)
                    .cmd("RPUSH")
                    .arg(key)
                    .arg(1)
                    .exec(&mut raw)
                    .map_or_else(|error| error.to_string(), |()| String::new())
            }
            Step::Add(value) => said(cache.add(key, value).run()),
            Step::Remember(value) => {
                let load = || Ok::<_, Error>(*value);
                let remembered = cache.remember(key, load).ttl("1h").stale_if_error("1h");
                said(remembered.run())
            }
            Step::Get => said(cache.get::<u32>(key).run()),
            Step::GetText => said(cache.get::<String>(key).run()),
            Step::LookUp => said(cache.lookup::<u32>(key).run()),
            Step::Delete => said(cache.delete(key).run()),
            Step::InvalidateTag => said(cache.invalidate_tag("tag").run()),
            Step::MarkStale => said(cache.mark_stale(key).run()),
        }
    }

    fn counted(cache: &Cache) -> Stats {
        Stats {
            load_micros: 0,
            ..cache.stats()
        }
    }

    proptest! {
        #[test]
        fn both_ways_answer_store_and_count_the_same(steps in prop::collection::vec(("[ab]", step()), 0..40)) {
            let short = Cache::open("memory://").unwrap();
            let long = Cache::builder("memory://").hook(Watching).build().unwrap();
            prop_assert!(short.core().is_short() && !long.core().is_short());
            for (key, step) in &steps {
                prop_assert_eq!(run(&short, key, step), run(&long, key, step), "{:?}", step);
            }
            prop_assert_eq!(counted(&short), counted(&long));
        }
    }
}

//! Whether there is an entry: every verb gives the same answer, whatever state the entry is in. This is the table of
//! `docs/protocols.md`, on every place.

use std::time::{Duration, SystemTime};

use nearcache::{Loaded, Lookup, Remaining};
use nearcache_testkit::random_prefix;

use crate::target::{Face, Options, Target, keys_matching, raw};

near_suite! {
    every_verb_goes_by_the_same_answer,
    what_is_not_there_is_not_revived,
    what_an_add_replaces_is_only_what_is_not_there,
    a_kept_value_says_how_long_it_has_been_stale,
    a_loader_says_how_long_its_value_is_kept,
    a_ttl_is_the_time_until_the_value_is_stale,
    a_new_ttl_moves_the_stale_window_along,
    a_new_ttl_lets_the_tags_live_as_long,
    a_long_envelope_is_judged_whole,
    a_read_extends_what_is_there,
    many_reads_extend_each_its_own,
    callers_that_extend_together_all_do,
    one_of_many_that_add_over_a_dead_entry_adds,
    all_that_count_from_a_dead_entry_are_counted,
}

/// An entry in some state, with an hour to live.
#[derive(Clone, Copy, Debug)]
enum State {
    Absent,
    Fresh,
    /// In an envelope, with a stale window.
    FreshWithWindow,
    /// In an envelope, with tags.
    FreshWithTags,
    Stale,
    /// A tag was invalidated.
    Dead,
    /// Its tag was invalidated, and its TTL has ended.
    DeadAndStale,
    /// Its envelope is cut short.
    Damaged,
    Nothing,
    NothingWithTags,
    /// Another version of nearcache wrote it.
    OtherVersion,
    /// Another program wrote it.
    OtherProgram,
}

use State::*;

const STATES: [State; 12] = [
    Absent,
    Fresh,
    FreshWithWindow,
    FreshWithTags,
    Stale,
    Dead,
    DeadAndStale,
    Damaged,
    Nothing,
    NothingWithTags,
    OtherVersion,
    OtherProgram,
];

impl State {
    fn is_there(self) -> bool {
        !matches!(self, Absent | Stale | Dead | DeadAndStale | Damaged)
    }

    fn is_value(self) -> bool {
        matches!(self, Fresh | FreshWithWindow | FreshWithTags)
    }

    fn is_nothing(self) -> bool {
        matches!(self, Nothing | NothingWithTags)
    }
}

struct Scene {
    cache: Face,
    prefix: String,
}

fn scene(target: Target) -> Scene {
    let prefix = random_prefix();
    Scene {
        cache: target.cache_at(&target.url(&prefix), &prefix),
        prefix,
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}

const HOUR: Duration = Duration::from_secs(3_600);

/// An entry that becomes stale at this time, as `remember` writes it.
fn soft(at: SystemTime, body: &[u8]) -> Vec<u8> {
    [b"\xC1NC\x01\x01", &millis(at).to_be_bytes()[..], body].concat()
}

impl Scene {
    fn stored(&self, key: &str) -> Vec<u8> {
        format!("{}:{key}", self.prefix).into_bytes()
    }

    /// Writes bytes as they are, for so many milliseconds.
    async fn write(&self, key: &str, bytes: &[u8], millis: &str) {
        let key = self.stored(key);
        raw(
            &self.cache,
            &[b"SET", &key, bytes, b"PX", millis.as_bytes()],
        )
        .await;
    }

    async fn bytes(&self, key: &str) -> redis::Value {
        raw(&self.cache, &[b"GET", &self.stored(key)]).await
    }

    async fn millis_left(&self, stored: &[u8]) -> i64 {
        match raw(&self.cache, &[b"PTTL", stored]).await {
            redis::Value::Int(left) => left,
            other => panic!("{other:?}"),
        }
    }

    async fn prepare(&self, key: &str, state: State) {
        let cache = &self.cache;
        call!(cache.delete(key)).unwrap();
        match state {
            Absent => {}
            Fresh => call!(cache.set(key, &5).ttl(HOUR)).unwrap(),
            FreshWithWindow => {
                let entry = soft(SystemTime::now() + HOUR, b"5");
                self.write(key, &entry, "90000000").await;
            }
            FreshWithTags => call!(cache.set(key, &5).ttl(HOUR).tags(["alive"])).unwrap(),
            Stale => {
                let entry = soft(SystemTime::now() - HOUR, b"5");
                self.write(key, &entry, "3600000").await;
            }
            Dead => {
                call!(cache.set(key, &5).ttl(HOUR).tags(["dead"])).unwrap();
                call!(cache.invalidate_tag("dead")).unwrap();
            }
            DeadAndStale => {
                let past = millis(SystemTime::now() - HOUR).to_be_bytes();
                let tags = b"\x01\x00\x04deadversion, 16 byte5";
                let entry = [b"\xC1NC\x01\x05", &past[..], tags].concat();
                self.write(key, &entry, "3600000").await;
            }
            Damaged => self.write(key, b"\xC1NC\x01\x01\x00", "3600000").await,
            Nothing => call!(cache.set(key, &None::<i32>).ttl(HOUR)).unwrap(),
            NothingWithTags => {
                call!(cache.set(key, &None::<i32>).ttl(HOUR).tags(["alive"])).unwrap();
            }
            OtherVersion => self.write(key, b"\xC1NC\x07\xFFwhatever", "3600000").await,
            OtherProgram => self.write(key, b"hello", "3600000").await,
        }
    }
}

fn is_about(left: Remaining, hours: u64) -> bool {
    matches!(left, Remaining::In(left) if left.as_secs().abs_diff(hours * 3_600) < 60)
}

async fn every_verb_goes_by_the_same_answer(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    for state in STATES {
        let there = state.is_there();
        let value = state.is_value().then_some(5);
        let prepare = async || scene.prepare("k", state).await;
        let left = async || call!(cache.ttl("k")).unwrap();

        // What reads.
        for extends in [false, true] {
            prepare().await;
            let found = if extends {
                call!(cache.get::<i32>("k").extend("2h"))
            } else {
                call!(cache.get::<i32>("k"))
            };
            assert_eq!(found.unwrap(), value, "get: {state:?}");
            prepare().await;
            let found = if extends {
                call!(cache.lookup::<i32>("k").extend("2h"))
            } else {
                call!(cache.lookup::<i32>("k"))
            };
            let expected = match value {
                Some(value) => Lookup::Hit(value),
                None if state.is_nothing() => Lookup::Nothing,
                None => Lookup::Miss,
            };
            assert_eq!(found.unwrap(), expected, "lookup: {state:?}");
            prepare().await;
            let found = if extends {
                call!(cache.get_many::<i32>(["k"]).extend("2h"))
            } else {
                call!(cache.get_many::<i32>(["k"]))
            };
            assert_eq!(found.unwrap(), [value], "get_many: {state:?}");
            if there {
                let hours = if extends { 2 } else { 1 };
                assert!(is_about(left().await, hours), "extend: {state:?}");
            } else {
                assert_eq!(left().await, Remaining::Missing, "extend: {state:?}");
            }
        }
        prepare().await;
        assert_eq!(call!(cache.contains("k")).unwrap(), there, "{state:?}");
        if there {
            assert!(is_about(left().await, 1), "ttl: {state:?}");
        } else {
            assert_eq!(left().await, Remaining::Missing, "ttl: {state:?}");
        }
        let listed = keys_matching(cache, b"k").await;
        assert_eq!(listed.len(), usize::from(there), "keys: {state:?}");

        // What gives another TTL.
        for verb in ["touch", "expire", "expire_at"] {
            prepare().await;
            let done = match verb {
                "touch" => call!(cache.touch("k").ttl("2h")),
                "expire" => call!(cache.expire("k", "2h")),
                _ => call!(cache.expire_at("k", SystemTime::now() + 2 * HOUR)),
            };
            assert_eq!(done.unwrap(), there, "{verb}: {state:?}");
            if there {
                assert!(is_about(left().await, 2), "{verb}: {state:?}");
            } else {
                assert_eq!(left().await, Remaining::Missing, "{verb}: {state:?}");
            }
        }
        prepare().await;
        assert_eq!(call!(cache.touch("k")).unwrap(), there, "touch: {state:?}");
        assert_eq!(call!(cache.persist("k")).unwrap(), there, "{state:?}");
        let expected = if there {
            Remaining::Forever
        } else {
            Remaining::Missing
        };
        assert_eq!(left().await, expected, "persist: {state:?}");
        assert!(!call!(cache.persist("k")).unwrap(), "persist: {state:?}");

        // What writes under a condition.
        prepare().await;
        let before = scene.bytes("k").await;
        assert_eq!(call!(cache.add("k", &6)).unwrap(), !there, "{state:?}");
        if there {
            assert_eq!(scene.bytes("k").await, before, "add: {state:?}");
        } else {
            assert_eq!(call!(cache.get::<i32>("k")).unwrap(), Some(6), "{state:?}");
        }
        prepare().await;
        assert_eq!(call!(cache.replace("k", &6)).unwrap(), there, "{state:?}");
        let expected = there.then_some(6);
        assert_eq!(call!(cache.get::<i32>("k")).unwrap(), expected, "{state:?}");
        prepare().await;
        call!(cache.set("k", &6).keep_ttl()).unwrap();
        assert_eq!(call!(cache.get::<i32>("k")).unwrap(), Some(6), "{state:?}");
        if there {
            assert!(is_about(left().await, 1), "keep_ttl: {state:?}");
        } else {
            assert_eq!(left().await, Remaining::Forever, "keep_ttl: {state:?}");
        }

        // What counts: a plain integer is a counter.
        prepare().await;
        let counted = call!(cache.incr("k").by(2));
        match state {
            Fresh => assert_eq!(counted.unwrap(), 7),
            _ if there => {
                let kind = counted.unwrap_err().kind();
                assert_eq!(kind, nearcache::ErrorKind::NotInteger, "{state:?}");
            }
            _ => assert_eq!(counted.unwrap(), 2, "incr: {state:?}"),
        }
        prepare().await;
        let counted = call!(cache.decr("k").ttl("2h"));
        if !there {
            assert_eq!(counted.unwrap(), -1, "decr: {state:?}");
            assert!(is_about(left().await, 2), "decr: {state:?}");
        }
        prepare().await;
        let counter = call!(cache.counter("k"));
        match state {
            Fresh => assert_eq!(counter.unwrap(), Some(5)),
            _ if there => assert!(counter.is_err(), "counter: {state:?}"),
            _ => assert_eq!(counter.unwrap(), None, "counter: {state:?}"),
        }

        // What takes away.
        prepare().await;
        assert_eq!(call!(cache.take::<i32>("k")).unwrap(), value, "{state:?}");
        assert_eq!(scene.bytes("k").await, redis::Value::Nil, "take: {state:?}");
        prepare().await;
        call!(cache.expire_at("k", SystemTime::now() - HOUR)).unwrap();
        assert_eq!(left().await, Remaining::Missing, "expire_at: {state:?}");
    }
}

/// A login check by `touch` lets nobody in who was logged out.
async fn what_is_not_there_is_not_revived(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    for state in [Stale, Dead, DeadAndStale] {
        scene.prepare("k", state).await;
        let before = scene.bytes("k").await;
        let stored = scene.stored("k");
        call!(cache.touch("k").ttl("1d")).unwrap();
        call!(cache.expire("k", "1d")).unwrap();
        call!(cache.persist("k")).unwrap();
        assert_eq!(scene.bytes("k").await, before, "{state:?}");
        let left = scene.millis_left(&stored).await;
        assert!((1..=3_600_000).contains(&left), "{state:?}: {left}");
        call!(cache.get::<i32>("k").extend("1d")).unwrap();
        call!(cache.get_many::<i32>(["k"]).extend("1d")).unwrap();
        assert!(scene.millis_left(&stored).await <= 3_600_000, "{state:?}");
    }
}

/// What this version cannot read stays as it is, byte for byte, until it is written over or deleted by name.
async fn what_an_add_replaces_is_only_what_is_not_there(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    for state in [OtherVersion, OtherProgram, Nothing] {
        scene.prepare("k", state).await;
        let before = scene.bytes("k").await;
        call!(cache.add("k", &1).tags(["t"])).unwrap();
        call!(cache.incr("k")).unwrap_err();
        call!(cache.touch("k").ttl("1d")).unwrap();
        call!(cache.persist("k")).unwrap();
        call!(cache.get::<u32>("k").extend("1d")).unwrap();
        assert_eq!(scene.bytes("k").await, before, "{state:?}");
    }
    // Another Redis type is there, too, and no verb that asks is an error.
    raw(cache, &[b"LPUSH", &scene.stored("list"), b"x"]).await;
    assert!(call!(cache.contains("list")).unwrap());
    assert_eq!(call!(cache.ttl("list")).unwrap(), Remaining::Forever);
    assert!(call!(cache.expire("list", "1h")).unwrap());
    assert!(call!(cache.persist("list")).unwrap());
    assert!(!call!(cache.add("list", &1)).unwrap());
    assert_eq!(keys_matching(cache, b"list").await.len(), 1);
    assert_eq!(
        call!(cache.get_many::<u8>(["list", "k"]).extend("1h")).unwrap(),
        [None, None]
    );
}

async fn a_kept_value_says_how_long_it_has_been_stale(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    for state in STATES {
        scene.prepare("k", state).await;
        let kept = call!(cache.get_kept::<i32>("k")).unwrap();
        let found = kept.map(|kept| (kept.value, kept.stale_for));
        match state {
            Fresh | FreshWithWindow | FreshWithTags => assert_eq!(found, Some((5, None))),
            Stale => {
                let (value, since) = found.unwrap();
                assert_eq!(value, 5);
                assert!(since.unwrap() >= HOUR, "{since:?}");
            }
            _ => assert_eq!(found, None, "{state:?}"),
        }
    }
    scene.prepare("k", FreshWithTags).await;
    call!(cache.mark_tag_stale("alive")).unwrap();
    let kept = call!(cache.get_kept::<i32>("k")).unwrap().unwrap();
    assert_eq!((kept.value, kept.stale_for), (5, Some(Duration::ZERO)));
}

async fn a_loader_says_how_long_its_value_is_kept(target: Target) {
    let options = Options {
        prefix: &random_prefix(),
        ttl_jitter: 1.0,
        ..Options::default()
    };
    let cache = target.build(&target.url("kept"), options).unwrap();
    let kept = Loaded::new(5).ttl(HOUR).stale_for("1d").exact();
    let value = match &cache {
        Face::Async(cache) => cache.remember_with("k", async move || kept).await,
        Face::Blocking(cache) => cache.remember_with("k", move || kept).run(),
    };
    assert_eq!(value.unwrap(), 5);
    // The TTL is as long as was said, whatever the jitter, and the value stays for a day after it.
    assert!(is_about(call!(cache.ttl("k")).unwrap(), 1));
    call!(cache.mark_stale("k")).unwrap();
    let kept = call!(cache.get_kept::<i32>("k")).unwrap().unwrap();
    assert!(kept.stale_for.is_some());
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), None);
    let wrong = Loaded::new(5).ttl(HOUR).stale_for("0s");
    let value = match &cache {
        Face::Async(cache) => cache.remember_with("k", async move || wrong).await,
        Face::Blocking(cache) => cache.remember_with("k", move || wrong).run(),
    };
    // It cannot be stored, and is the answer all the same.
    assert_eq!(value.unwrap(), 5);
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), None);
}

async fn a_ttl_is_the_time_until_the_value_is_stale(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    let entry = soft(SystemTime::now() + HOUR, b"5");
    scene.write("k", &entry, "90000000").await;
    assert!(is_about(call!(cache.ttl("k")).unwrap(), 1));
    // What keeps the TTL keeps this time, not the window behind it.
    call!(cache.set("k", &6).keep_ttl()).unwrap();
    assert!(is_about(call!(cache.ttl("k")).unwrap(), 1));
    assert!(scene.millis_left(&scene.stored("k")).await <= 3_600_000);
    // A time that is further ahead than any TTL.
    let far = [&b"\xC1NC\x01\x01\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"[..], b"5"].concat();
    let key = scene.stored("k");
    raw(cache, &[b"SET", &key, &far]).await;
    assert!(call!(cache.ttl("k")).unwrap().duration().is_some());
    call!(cache.set("k", &6).keep_ttl()).unwrap();
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(6));
    raw(cache, &[b"SET", &key, &far]).await;
    assert!(call!(cache.touch("k").ttl("1h")).unwrap());
    assert!(is_about(call!(cache.ttl("k")).unwrap(), 1));
    // A value that Redis keeps for a shorter time is gone by then.
    scene.write("k", &entry, "60000").await;
    let left = call!(cache.ttl("k")).unwrap().duration().unwrap();
    assert!(left.as_secs() <= 60, "{left:?}");
}

async fn a_new_ttl_moves_the_stale_window_along(target: Target) {
    let scene = scene(target);
    let (cache, stored) = (&scene.cache, scene.stored("k"));
    for verb in ["touch", "expire", "expire_at", "get"] {
        scene.prepare("k", FreshWithWindow).await;
        match verb {
            "touch" => assert!(call!(cache.touch("k").ttl("2h")).unwrap()),
            "expire" => assert!(call!(cache.expire("k", "2h")).unwrap()),
            "expire_at" => {
                assert!(call!(cache.expire_at("k", SystemTime::now() + 2 * HOUR)).unwrap());
            }
            _ => drop(call!(cache.get::<i32>("k").extend("2h")).unwrap()),
        }
        // An hour became two; the day behind it stays a day.
        let left = scene.millis_left(&stored).await;
        assert!(left.abs_diff(26 * 3_600_000) < 60_000, "{verb}: {left}");
        let redis::Value::BulkString(entry) = scene.bytes("k").await else {
            panic!("no entry");
        };
        let soft = u64::from_be_bytes(entry[5..13].try_into().unwrap());
        let expected = millis(SystemTime::now() + 2 * HOUR);
        assert!(soft.abs_diff(expected) < 60_000, "{verb}");
        assert_eq!(entry[13..], b"5"[..], "{verb}");
    }
    // For ever is for ever: it does not become stale either.
    assert!(call!(cache.persist("k")).unwrap());
    assert_eq!(scene.millis_left(&stored).await, -1);
    assert_eq!(call!(cache.ttl("k")).unwrap(), Remaining::Forever);
    assert_eq!(call!(cache.get::<i32>("k")).unwrap(), Some(5));
    call!(cache.expire("k", "1h")).unwrap();
    assert!(is_about(call!(cache.ttl("k")).unwrap(), 1));
}

async fn a_new_ttl_lets_the_tags_live_as_long(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    let tags = ["#nearcache:tag:t", "#nearcache:tag:u"].map(|tag| scene.stored(tag));
    let week = 7 * 24 * 3_600_000;
    for verb in ["touch", "expire", "expire_at", "get", "lookup", "get_many"] {
        call!(cache.invalidate_tags(["t", "u"])).unwrap();
        call!(cache.set("k", &5).ttl("30m").tags(["t", "u"])).unwrap();
        match verb {
            "touch" => assert!(call!(cache.touch("k").ttl("1w")).unwrap()),
            "expire" => assert!(call!(cache.expire("k", "1w")).unwrap()),
            "expire_at" => {
                assert!(call!(cache.expire_at("k", SystemTime::now() + 168 * HOUR)).unwrap());
            }
            "get" => drop(call!(cache.get::<u8>("k").extend("1w")).unwrap()),
            "lookup" => drop(call!(cache.lookup::<u8>("k").extend("1w")).unwrap()),
            _ => drop(call!(cache.get_many::<u8>(["k", "x"]).extend("1w")).unwrap()),
        }
        for tag in &tags {
            let left = scene.millis_left(tag).await;
            assert!(left > week - 60_000, "{verb}: {left}");
        }
        // Never shorter.
        call!(cache.touch("k").ttl("1m")).unwrap();
        assert!(scene.millis_left(&tags[0]).await > week - 60_000, "{verb}");
    }
    assert!(call!(cache.persist("k")).unwrap());
    for tag in &tags {
        assert_eq!(scene.millis_left(tag).await, -1);
    }
    call!(cache.set("k", &5).ttl("30m").tags(["v"])).unwrap();
    call!(cache.set("k", &6).tags(["v"]).keep_ttl()).unwrap();
    assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(6));
    assert!(call!(cache.ttl("k")).unwrap().duration().is_some());
    // And the tag ends it at once, however long it was to live.
    call!(cache.invalidate_tag("v")).unwrap();
    assert!(!call!(cache.touch("k").ttl("1w")).unwrap());
    assert_eq!(call!(cache.get::<u8>("k").extend("1w")).unwrap(), None);
}

async fn a_long_envelope_is_judged_whole(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    let many: Vec<String> = (0..60)
        .map(|n| format!("a tag of some length {n}"))
        .collect();
    for alive in [true, false] {
        call!(cache.set("k", &5).ttl("1h").tags(&many)).unwrap();
        if !alive {
            call!(cache.invalidate_tag(&many[59])).unwrap();
        }
        assert_eq!(call!(cache.contains("k")).unwrap(), alive);
        assert_eq!(call!(cache.ttl("k")).unwrap() != Remaining::Missing, alive);
        assert_eq!(call!(cache.touch("k").ttl("2h")).unwrap(), alive);
        assert_eq!(keys_matching(cache, b"k").await.len(), usize::from(alive));
        assert_eq!(call!(cache.replace("k", &6).tags(&many)).unwrap(), alive);
        assert_eq!(call!(cache.add("k", &7)).unwrap(), !alive);
    }
}

async fn a_read_extends_what_is_there(target: Target) {
    let cache = target.cache();
    call!(cache.set("k", "alice").ttl("1m")).unwrap();
    let read = call!(cache.get::<String>("k").extend("2h")).unwrap();
    assert_eq!(read.as_deref(), Some("alice"));
    assert!(is_about(call!(cache.ttl("k")).unwrap(), 2));
    assert_eq!(call!(cache.get::<String>("x").extend("2h")).unwrap(), None);
    assert_eq!(call!(cache.ttl("x")).unwrap(), Remaining::Missing);
    // What lives for ever gets an end.
    call!(cache.set("k", "bob")).unwrap();
    call!(cache.get::<String>("k").extend("2h")).unwrap();
    assert!(is_about(call!(cache.ttl("k")).unwrap(), 2));
    for error in [
        call!(cache.get::<u8>("k").extend(0)).unwrap_err(),
        call!(cache.lookup::<u8>("k").extend("soon")).unwrap_err(),
        call!(cache.get_many::<u8>(["k"]).extend(-1)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), nearcache::ErrorKind::InvalidTtl);
    }
}

async fn many_reads_extend_each_its_own(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    let keys: Vec<String> = STATES.iter().map(|state| format!("{state:?}")).collect();
    // The tag that is to be dead is invalidated first.
    scene.prepare(&format!("{Dead:?}"), Dead).await;
    for (key, state) in keys.iter().zip(STATES) {
        scene.prepare(key, state).await;
    }
    let found = call!(cache.get_many::<i32>(&keys).extend("2h")).unwrap();
    for ((key, state), found) in keys.iter().zip(STATES).zip(found) {
        assert_eq!(found, state.is_value().then_some(5), "{key}");
        let left = call!(cache.ttl(key)).unwrap();
        assert_eq!(is_about(left, 2), state.is_there(), "{key}: {left:?}");
    }
}

/// Runs a call so many times at once, and returns its answers.
macro_rules! together {
    ($face:ident, $count:expr, |$cache:ident, $number:ident| $call:expr) => {
        match &$face {
            Face::Async(cache) => {
                let tasks: Vec<_> = (0..$count)
                    .map(|$number| {
                        let $cache = cache.clone();
                        tokio::spawn(async move { $call.await })
                    })
                    .collect();
                let mut answers = Vec::new();
                for task in tasks {
                    answers.push(task.await.unwrap().unwrap());
                }
                answers
            }
            Face::Blocking(cache) => std::thread::scope(|scope| {
                let threads: Vec<_> = (0..$count)
                    .map(|$number| {
                        let $cache = cache.clone();
                        scope.spawn(move || $call.run())
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap().unwrap())
                    .collect()
            }),
        }
    };
}

async fn callers_that_extend_together_all_do(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    for state in [Fresh, FreshWithWindow, FreshWithTags] {
        scene.prepare("k", state).await;
        let done: Vec<bool> = together!(cache, 20_u64, |cache, number| cache
            .expire("k", Duration::from_secs(7_200 + number)));
        assert_eq!(done, [true; 20], "{state:?}");
        assert!(is_about(call!(cache.ttl("k")).unwrap(), 2), "{state:?}");
        assert_eq!(call!(cache.get::<u8>("k")).unwrap(), Some(5), "{state:?}");
    }
}

async fn one_of_many_that_add_over_a_dead_entry_adds(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    for state in [Absent, Stale, Dead, Damaged] {
        scene.prepare("k", state).await;
        let added: Vec<bool> = together!(cache, 20_u64, |cache, _number| cache.add("k", &1));
        let added = added.into_iter().filter(|added| *added).count();
        assert_eq!(added, 1, "{state:?}");
    }
}

async fn all_that_count_from_a_dead_entry_are_counted(target: Target) {
    let scene = scene(target);
    let cache = &scene.cache;
    for state in [Absent, Stale, Dead, Damaged] {
        scene.prepare("k", state).await;
        let mut counted: Vec<i64> = together!(cache, 20_u64, |cache, _number| cache.incr("k"));
        counted.sort_unstable();
        assert_eq!(counted, (1..=20).collect::<Vec<i64>>(), "{state:?}");
    }
}

//! Keys: with a prefix, as a lease, in patterns, in telemetry, and made of the arguments of a call.
//!
//! 1. A user gets back the key that was stored, and never sees nearcache's own keys.
//! 2. A lease is in its key's slot, under its prefix, and no user key can name it.
//! 3. A pattern matches exactly what it would match without the prefix, and nothing outside the prefix.
//! 4. Different argument values never share a key.
//! 5. The number of key groups is limited, and so is their length.

use std::collections::{BTreeMap, HashSet};

use arbitrary::{Result, Unstructured};
use nearcache_embedded::{Connection, Store};
use redis::{Value, cmd};
use serde::Serialize;

use super::{some, text};
use crate::__decorator::ArgumentKey;
use crate::hooks::KeyGroups;
use crate::keyspace::Keyspace;
use crate::slot;

/// Keys, a prefix and a pattern.
pub fn keys(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let _ = match data.int_in_range(0..=3u8) {
        Ok(0) => of_arguments(&mut data),
        Ok(1) => in_groups(&mut data),
        _ => in_a_keyspace(&mut data),
    };
}

fn in_a_keyspace(data: &mut Unstructured<'_>) -> Result<()> {
    let (prefix, separator) = (text(data, 12)?, text(data, 3)?);
    let Ok(space) = Keyspace::new(&prefix, &separator) else {
        return Ok(());
    };
    let whole = if prefix.is_empty() {
        String::new()
    } else {
        prefix + &separator
    };
    let (one, other) = (some(data, 24)?, some(data, 24)?);
    let pattern = some(data, 24)?;
    for tag in [one, other] {
        let Ok(version) = space.tag(tag) else {
            continue;
        };
        assert_eq!(space.user(&version), None, "promise 1");
        assert!(space.is_tag_or_index(&version) && version.starts_with(whole.as_bytes()));
    }
    for own in [space.tag_epoch(), space.index()] {
        assert!(space.is_tag_or_index(&own) && space.user(&own).is_none());
    }
    // The same keys with the prefix, and without it.
    let (there, alone) = (store(), store());
    set(&there, other);
    for key in [one, other] {
        let Ok(stored) = space.stored(key) else {
            continue;
        };
        assert_eq!(stored.as_bytes(), [whole.as_bytes(), key].concat());
        assert_eq!(space.user(stored.as_bytes()), Some(key), "promise 1");
        assert_eq!(stored.user(), key);
        let lease = stored.lease().to_vec();
        assert_eq!(
            slot::slot(&lease),
            slot::slot(stored.as_bytes()),
            "promise 2"
        );
        assert!(lease.starts_with(whole.as_bytes()) && space.user(&lease).is_none());
        assert!(space.is_lease(&lease) && !space.is_lease(stored.as_bytes()));
        assert!(space.stored(&lease[whole.len()..]).is_err(), "promise 2");
        set(&there, stored.as_bytes());
        set(&there, &lease);
        set(&alone, key);
        let leases = listed(&there, &space.leases());
        assert!(leases.contains(&lease) && leases.iter().all(|key| space.is_lease(key)));
    }
    let reached: HashSet<Vec<u8>> = listed(&there, &space.pattern(pattern))
        .into_iter()
        .collect();
    assert!(
        reached.iter().all(|key| key.starts_with(whole.as_bytes())),
        "promise 3"
    );
    for key in [one, other] {
        if let Ok(stored) = space.stored(key) {
            let matches = listed(&alone, pattern).iter().any(|other| other == key);
            assert_eq!(reached.contains(stored.as_bytes()), matches, "promise 3");
        }
    }
    Ok(())
}

fn store() -> Connection {
    Store::builder().shards(1).build().connect()
}

fn set(connection: &Connection, key: &[u8]) {
    connection.call(cmd("SET").arg(key).arg(1));
}

fn listed(connection: &Connection, pattern: &[u8]) -> Vec<Vec<u8>> {
    let reply = connection.call(cmd("KEYS").arg(pattern));
    let Value::Array(keys) = reply else {
        panic!("{reply:?}");
    };
    let bytes = |key| match key {
        Value::BulkString(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    keys.into_iter().map(bytes).collect()
}

fn in_groups(data: &mut Unstructured<'_>) -> Result<()> {
    let patterns: Vec<String> = (0..data.int_in_range(0..=4)?)
        .map(|_| text(data, 8))
        .collect::<Result<_>>()?;
    let (of, automatic) = (KeyGroups::of(patterns.clone()), KeyGroups::automatic());
    let mut seen = HashSet::new();
    while !data.is_empty() {
        let key = some(data, 200)?;
        let group = of.group(key).expect("a group");
        assert!(patterns.iter().any(|pattern| **pattern == *group) || &*group == "other");
        let group = automatic.group(key).expect("a group");
        assert!(group.len() <= 5 * 24 + 2, "promise 5");
        seen.insert(group);
    }
    assert!(seen.len() <= 101, "promise 5");
    Ok(())
}

/// Arguments of every kind that is written in its own way.
#[derive(Debug, PartialEq, Serialize)]
struct Arguments {
    text: String,
    letter: char,
    maybe: Option<Option<u8>>,
    list: Vec<String>,
    pairs: BTreeMap<String, i16>,
    either: Either,
    yes: bool,
}

#[derive(Debug, PartialEq, Serialize)]
enum Either {
    Neither,
    One(String),
    Both(String, String),
    Named { one: i64, other: Vec<u8> },
}

fn of_arguments(data: &mut Unstructured<'_>) -> Result<()> {
    // The two are similar, so that a single difference must tell them apart.
    let mut one = arguments(data)?;
    let mut other = arguments(data)?;
    for part in 0..7u8 {
        if data.ratio(3, 4)? {
            match part {
                0 => other.text.clone_from(&one.text),
                1 => other.letter = one.letter,
                2 => other.maybe = one.maybe,
                3 => other.list.clone_from(&one.list),
                4 => other.pairs.clone_from(&one.pairs),
                5 => std::mem::swap(&mut other.text, &mut one.text),
                _ => other.yes = one.yes,
            }
        }
    }
    let key = |of: &Arguments| {
        let Arguments {
            text,
            letter,
            maybe,
            list,
            pairs,
            either,
            yes,
        } = of;
        // As separate arguments, and as one.
        let apart = ArgumentKey::of::<Arguments>()
            .argument(text)
            .argument(letter)
            .argument(maybe)
            .argument(list)
            .argument(pairs)
            .argument(either)
            .argument(yes)
            .finish();
        let whole = ArgumentKey::of_method::<Either>("f")
            .argument_of_any(of)
            .finish();
        [apart, whole].map(|key| key.expect("a key"))
    };
    let space = Keyspace::new("app", ":").expect("a prefix");
    for key in key(&one).iter().chain(&key(&other)) {
        assert!(space.stored(key.as_ref()).is_ok(), "promise 1: {key:?}");
    }
    for (one_key, other_key) in key(&one).iter().zip(&key(&other)) {
        assert_eq!(
            one_key == other_key,
            one == other,
            "promise 4: {one:?} {other:?}"
        );
    }
    Ok(())
}

fn arguments(data: &mut Unstructured<'_>) -> Result<Arguments> {
    Ok(Arguments {
        text: text(data, 20)?,
        letter: data.arbitrary()?,
        maybe: data.arbitrary()?,
        list: (0..data.int_in_range(0..=3)?)
            .map(|_| text(data, 6))
            .collect::<Result<_>>()?,
        pairs: (0..data.int_in_range(0..=3)?)
            .map(|_| Ok((text(data, 6)?, data.arbitrary()?)))
            .collect::<Result<_>>()?,
        either: match data.int_in_range(0..=3)? {
            0 => Either::Neither,
            1 => Either::One(text(data, 6)?),
            2 => Either::Both(text(data, 6)?, text(data, 6)?),
            _ => Either::Named {
                one: data.arbitrary()?,
                other: some(data, 6)?.to_vec(),
            },
        },
        yes: data.arbitrary()?,
    })
}

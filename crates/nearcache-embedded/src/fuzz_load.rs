//! A log of any bytes.
//!
//! 1. Loading never panics, whatever the bytes; what makes no sense is an error.
//! 2. What was loaded, written as commands and loaded again, is the same.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};

use super::{check, command};
use crate::keyspace::entry::Entry;
use crate::persist::record::write_command;
use crate::persist::{load_bytes, write_entry};
use crate::waiting::Patience;
use crate::{Clock, Store};

const MOST_COMMANDS: usize = 100;

/// Loads the bytes, or commands that they describe, with some of their bytes changed.
pub fn load(data: &[u8]) {
    let store = store();
    if load_bytes(&store.shared, data).is_ok() {
        check_again(&store);
    }
    // Data that ends early ends the commands.
    let _ = described(&mut Unstructured::new(data));
}

fn store() -> Store {
    Store::builder().clock(Clock::manual()).shards(2).build()
}

fn described(data: &mut Unstructured<'_>) -> Result<()> {
    let mut log = Vec::new();
    let damage = data.int_in_range(0..=3u8)?;
    let places: Vec<(u16, u8)> = (0..damage)
        .map(|_| data.arbitrary())
        .collect::<Result<_>>()?;
    let mut connection = store().connect();
    for _ in 0..MOST_COMMANDS {
        if data.is_empty() {
            break;
        }
        let args = command(data)?;
        let slices: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        // Mostly commands that succeed, so that much is loaded.
        let reply = connection.begin(&slices, Patience::Never).reply();
        if reply.is_ok() || data.ratio(1, 16)? {
            write_command(&mut log, slices.into_iter());
        }
    }
    for (place, byte) in places {
        let place = usize::from(place) % log.len().max(1);
        if let Some(at) = log.get_mut(place) {
            *at = byte;
        }
    }
    let store = store();
    let _ = load_bytes(&store.shared, &log);
    check_again(&store);
    Ok(())
}

fn check_again(store: &Store) {
    check(store);
    let entries = entries(store);
    let again = self::store();
    let log: Vec<u8> = entries.values().flatten().copied().collect();
    let loaded = load_bytes(&again.shared, &log);
    assert!(loaded.is_ok(), "{loaded:?}: {}", log.escape_ascii());
    let found = self::entries(&again);
    assert!(
        entries.keys().eq(found.keys()),
        "{:?} {:?}",
        entries.keys(),
        found.keys()
    );
    for ((_, key), bytes) in &entries {
        let len = found.values().map(Vec::len).sum::<usize>();
        assert_eq!(
            len,
            log.len(),
            "{}: {}",
            key.escape_ascii(),
            bytes.escape_ascii()
        );
    }
}

/// Every entry as commands.
fn entries(store: &Store) -> BTreeMap<(u32, Vec<u8>), Vec<u8>> {
    let mut entries = BTreeMap::new();
    let mut add = |db: u32, entry: &Entry| {
        let mut bytes = Vec::new();
        write_entry(&mut bytes, &mut None, db, entry);
        entries.insert((db, entry.key.to_vec()), bytes);
    };
    for index in 0..store.shared.keyspace.shards() {
        let shard = store.shared.keyspace.read(index);
        for (db, table) in shard.tables() {
            table.iter().for_each(|entry| add(db, entry));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_fuzzer_found_holds() {
        nearcache_testkit::corpus("log").for_each(|bytes| super::load(&bytes));
    }

    /// `NEARCACHE_RANDOM_LOGS=20000` runs more; 300 by default.
    #[test]
    fn random_logs_hold() {
        let count = std::env::var("NEARCACHE_RANDOM_LOGS");
        let count = count.map_or(300, |count| count.parse().unwrap());
        let mut state = 1u64;
        for number in 0..count {
            let bytes: Vec<u8> = (0..number % 600 * 5)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                })
                .collect();
            super::load(&bytes);
        }
    }
}

//! What the keys take is what the process grows by. Each measurement is a process of its own, as memory
//! that was freed once is there for the next one.

#![cfg(target_os = "linux")]

use std::process::Command;

use nearcache_embedded::{Connection, Policy, Store};
use redis::{Value, cmd};

/// Which measurement this process is there for.
const MEASURE: &str = "NEARCACHE_MEASURE";

/// What the process has in memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split(' ').nth(1).unwrap();
    pages.parse::<usize>().unwrap() * 4096
}

fn set(con: &Connection, key: u64, value: &[u8]) {
    assert_eq!(con.call(cmd("SET").arg(key).arg(value)), Value::Okay);
}

/// Runs one of the tests below in a process of its own.
fn measure(test: &str, what: &str) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(MEASURE, what)
        .output()
        .unwrap();
    let text = [child.stdout, child.stderr].concat();
    assert!(
        child.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&text)
    );
}

/// The number that this process is to measure something with. Without one, it was started by hand.
fn measured() -> Option<usize> {
    std::env::var(MEASURE).ok()?.parse().ok()
}

#[test]
fn the_count_is_within_15_percent_of_what_the_process_grows_by() {
    for len in [8, 30, 100, 300, 1_000, 4_096, 20_480] {
        measure("one_size", &len.to_string());
    }
}

#[test]
#[ignore = "measures its own process: run by the test above"]
fn one_size() {
    let Some(len) = measured() else { return };
    let store = Store::new();
    let con = store.connect();
    let value = vec![b'v'; len];
    set(&con, 0, &value);
    let before = (store.used_memory(), resident());
    for key in 0..32_000_000 / (len as u64 + 100) {
        set(&con, key, &value);
    }
    let counted = store.used_memory() - before.0;
    let grown = resident() - before.1;
    let ratio = counted as f64 / grown as f64;
    assert!(
        (0.85..=1.15).contains(&ratio),
        "{len} bytes: counted {counted}, grown by {grown}"
    );
}

/// Writes values of 8 bytes to 20 KiB, and returns by how much the process grew at most.
fn churn(max_memory: usize, writes: u64) -> usize {
    let store = Store::builder()
        .max_memory(max_memory)
        .policy(Policy::AllKeysLfu)
        .build();
    let con = store.connect();
    let value = vec![b'v'; 20 << 10];
    set(&con, 0, &value);
    let (before, mut most, mut seed) = (resident(), 0, 1u64);
    for write in 0..writes {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let step = 8usize << ((seed >> 40) % 12);
        let len = (step + (seed >> 20) as usize % step).min(value.len());
        set(&con, seed % 5_000_000, &value[..len]);
        if write % 1_000 == 0 {
            assert!(store.used_memory() <= max_memory);
            most = most.max(resident().saturating_sub(before));
        }
    }
    most
}

#[test]
fn mixed_sizes_that_come_and_go_stay_within_bounds() {
    measure("hundred_thousand_writes", "");
}

#[test]
#[ignore = "measures its own process: run by the test above"]
fn hundred_thousand_writes() {
    const MAX: usize = 32 << 20;
    let most = churn(MAX, 100_000);
    // So small a heap is lost in more than 5 %: all of a test's own memory counts here.
    assert!(most <= MAX * 5 / 4, "{most}");
}

#[test]
#[ignore = "takes minutes: cargo test --release --test growth -- --ignored ten_million_writes"]
fn ten_million_writes_stay_within_5_percent_of_the_bound() {
    const MAX: usize = 256 << 20;
    let most = churn(MAX, 10_000_000);
    assert!(most <= MAX / 100 * 105, "{most}");
}

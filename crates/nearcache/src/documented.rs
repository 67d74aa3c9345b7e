//! The figures that the guides and the README state, next to the code that has them: a figure that changes in one place
//! and not in the other fails here, and is named.

/// A text of the repository, by its path from the crate.
macro_rules! texts {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../", $path)))),*]
    };
}

const TEXTS: &[(&str, &str)] = texts![
    "../../README.md",
    "../../docs/cachelib.md",
    "../../docs/component.md",
    "../../docs/decorator.md",
    "../../docs/failure.md",
    "../../docs/formats.md",
    "../../docs/observability.md",
    "../../docs/protocols.md",
    "../../docs/wire-format.md",
    "src/cache/builder.rs",
    "src/cache/options.rs",
    "src/cache/tags.rs",
    "src/client/batch.rs",
    "src/codec/compression.rs",
    "src/codec/envelope.rs",
    "src/compat/component/bounded.rs",
    "src/compat/component/life.rs",
    "src/compat/component/mod.rs",
    "src/compat/component/resolve.rs",
    "src/compat/registry/mod.rs",
    "src/compat/simple/integer.rs",
    "src/compat/simple/many.rs",
    "src/compat/simple/mod.rs",
    "src/compat/simple/pickle/mod.rs",
    "src/compat/simple/serializer.rs",
    "src/compat/simple/timeout.rs",
    "src/compat/registry/redis.rs",
    "src/connect/dial.rs",
    "src/connect/embedded.rs",
    "src/connect/mod.rs",
    "src/connect/vain.rs",
    "src/connect/common.rs",
    "src/connect/pace.rs",
    "src/connect/target.rs",
    "src/hooks/groups.rs",
    "src/hooks/mod.rs",
    "src/hooks/spans.rs",
    "src/keyspace.rs",
    "src/read_through/near/mod.rs",
    "src/read_through/lead.rs",
    "src/resilience/breaker.rs",
    "src/resilience/fallback.rs",
    "src/resilience/outbox.rs",
    "src/resilience/outbox/ring.rs",
    "src/url/mod.rs",
];

/// What is said, where, and what makes it true, where.
const SAID: &[(&str, &str, &str, &str)] = &[
    // Calls, and the breaker.
    (
        "failure.md",
        "at most its timeout on Redis**: 500 ms unless",
        "builder.rs",
        "TIMEOUT: Duration = Duration::from_millis(500)",
    ),
    (
        "protocols.md",
        "`timeout` (500 ms) for each round trip",
        "builder.rs",
        "TIMEOUT: Duration = Duration::from_millis(500)",
    ),
    (
        "README.md",
        "1 ms to 1 h | `500ms`",
        "builder.rs",
        "TIMEOUT: Duration = Duration::from_millis(500)",
    ),
    (
        "failure.md",
        "the next one begins after 250 ms",
        "dial.rs",
        "STAGGER: Duration = Duration::from_millis(250)",
    ),
    (
        "failure.md",
        "After five failures in a row the circuit breaker opens",
        "breaker.rs",
        "RUN: u32 = 5",
    ),
    (
        "failure.md",
        "the first after 0.1 s, later ones after up to 2 s",
        "breaker.rs",
        "SHORTEST: Duration = Duration::from_millis(100)",
    ),
    (
        "failure.md",
        "within those 2 s after Redis is back",
        "breaker.rs",
        "LONGEST: Duration = Duration::from_secs(2)",
    ),
    (
        "failure.md",
        "every 15 seconds while it lasts",
        "breaker.rs",
        "LOG_EVERY: Duration = Duration::from_secs(15)",
    ),
    (
        "observability.md",
        "Redis is still away (every 15 s)",
        "breaker.rs",
        "LOG_EVERY: Duration = Duration::from_secs(15)",
    ),
    (
        "failure.md",
        "20 failed connects in a row there is one try every 0.1 to 0.2 s",
        "pace.rs",
        "BURST: u32 = 20",
    ),
    (
        "failure.md",
        "20 failed connects in a row there is one try every 0.1 to 0.2 s",
        "pace.rs",
        "PAUSE: Duration = Duration::from_millis(200)",
    ),
    (
        "failure.md",
        "of 100 ms or more, or for three shorter ones in a row",
        "vain.rs",
        "SILENT: Duration = Duration::from_millis(100)",
    ),
    (
        "failure.md",
        "of 100 ms or more, or for three shorter ones in a row",
        "vain.rs",
        "SHORT_CALLS: u32 = 3",
    ),
    (
        "failure.md",
        "if it was idle for 100 ms or more",
        "connect/mod.rs",
        "LAIN_IDLE: Duration = Duration::from_millis(100)",
    ),
    (
        "failure.md",
        "This happens at most once a second",
        "common.rs",
        "LEAVE_EVERY: Duration = Duration::from_secs(1)",
    ),
    (
        "failure.md",
        "`Connect`, `Timeout`, `Unavailable`, `Auth`, `PoolExhausted` and\n`Protocol`",
        "outbox.rs",
        "ErrorKind::Connect\n            | ErrorKind::Timeout\n            | ErrorKind::Unavailable\n            | ErrorKind::Auth\n            | ErrorKind::PoolExhausted\n            | ErrorKind::Protocol",
    ),
    (
        "README.md",
        "the defaults are port 6379 and database 0",
        "target.rs",
        "PORT: u16 = 6379",
    ),
    (
        "builder.rs",
        "1 to 1,024. Default: 16",
        "target.rs",
        "POOL_SIZE: usize = 16",
    ),
    (
        "builder.rs",
        "1 to 1,024. Default: 16",
        "url/mod.rs",
        "MAX_POOL_SIZE: usize = 1_024",
    ),
    // Loads.
    (
        "protocols.md",
        "which expires by itself (10 s;",
        "builder.rs",
        "LEASE: Duration = Duration::from_secs(10)",
    ),
    (
        "wire-format.md",
        "string; 10 s, renewed while the load runs",
        "builder.rs",
        "LEASE: Duration = Duration::from_secs(10)",
    ),
    (
        "options.rs",
        "Default: the cache's lease\n        /// (10 s)",
        "builder.rs",
        "LEASE: Duration = Duration::from_secs(10)",
    ),
    (
        "protocols.md",
        "they ask again after 5 ms at first,\n  and after 20 ms at most",
        "lead.rs",
        "(Duration::from_millis(5), Duration::from_millis(20))",
    ),
    (
        "protocols.md",
        "a pause of at most 20 ms",
        "lead.rs",
        "(Duration::from_millis(5), Duration::from_millis(20))",
    ),
    (
        "protocols.md",
        "Batches are split at 1,000 keys or 4 MiB (at 500 tags)",
        "batch.rs",
        "KEYS: usize = 1_000",
    ),
    (
        "protocols.md",
        "Batches are split at 1,000 keys or 4 MiB (at 500 tags)",
        "batch.rs",
        "BYTES: usize = 4 * 1024 * 1024",
    ),
    (
        "protocols.md",
        "Batches are split at 1,000 keys or 4 MiB (at 500 tags)",
        "cache/tags.rs",
        "PART: usize = 500",
    ),
    (
        "options.rs",
        "64 tags, of 1 byte to 1 KiB each",
        "envelope.rs",
        "MAX_TAGS: usize = 64",
    ),
    (
        "options.rs",
        "64 tags, of 1 byte to 1 KiB each",
        "keyspace.rs",
        "MAX_TAG: usize = 1_024",
    ),
    (
        "decorator.md",
        "A key has 1 byte to 64 KiB",
        "keyspace.rs",
        "MAX_KEY: usize = 64 * 1024",
    ),
    // What is kept in memory.
    (
        "failure.md",
        "at most 10,000 values, of 64 MiB in total",
        "near/mod.rs",
        "ENTRIES: usize = 10_000",
    ),
    (
        "failure.md",
        "at most 10,000 values, of 64 MiB in total",
        "near/mod.rs",
        "BYTES: u64 = 64 * 1024 * 1024",
    ),
    (
        "fallback.rs",
        "up to 10,000 values (64 MiB)",
        "near/mod.rs",
        "ENTRIES: usize = 10_000",
    ),
    (
        "failure.md",
        "Beyond 10,000 invalidations or 4 MiB of keys",
        "outbox.rs",
        "ENTRIES: usize = 10_000",
    ),
    (
        "failure.md",
        "Beyond 10,000 invalidations or 4 MiB of keys",
        "outbox.rs",
        "BYTES: usize = 4 * 1024 * 1024",
    ),
    (
        "failure.md",
        "8 bytes for each key, up to a million keys",
        "outbox.rs",
        "MARKS: usize = 1 << 20",
    ),
    (
        "protocols.md",
        "It also keeps up to 100 patterns",
        "outbox.rs",
        "SWEEPS: usize = 100",
    ),
    (
        "protocols.md",
        "the outbox tries every second",
        "outbox.rs",
        "PAUSE: Duration = Duration::from_secs(1)",
    ),
    (
        "protocols.md",
        "in the last 5 s before the loss (up to 4,096 invalidations or 4 MiB of keys)",
        "ring.rs",
        "RECENT: Duration = Duration::from_secs(5)",
    ),
    (
        "protocols.md",
        "in the last 5 s before the loss (up to 4,096 invalidations or 4 MiB of keys)",
        "ring.rs",
        "REMEMBERED: usize = 4_096",
    ),
    (
        "protocols.md",
        "in the last 5 s before the loss (up to 4,096 invalidations or 4 MiB of keys)",
        "ring.rs",
        "BYTES: usize = 4 * 1024 * 1024",
    ),
    (
        "protocols.md",
        "`memory://`, which is limited to 256 MiB by\ndefault",
        "embedded.rs",
        "MAX_MEMORY: usize = 256 << 20",
    ),
    (
        "README.md",
        "0 means no limit | 256 MiB",
        "embedded.rs",
        "MAX_MEMORY: usize = 256 << 20",
    ),
    (
        "formats.md",
        "more than 64 MiB when decompressed is a miss",
        "compression.rs",
        "MAX_UNPACKED: usize = 64 * 1024 * 1024",
    ),
    (
        "README.md",
        "applied to values of 1 KiB and more",
        "compression.rs",
        "THRESHOLD: usize = 1_024",
    ),
    // Telemetry.
    (
        "observability.md",
        "a hook panics (once a minute)",
        "hooks/mod.rs",
        "LOG_EVERY: Duration = Duration::from_secs(60)",
    ),
    (
        "observability.md",
        "target `nearcache::call`, for up to 1,000\ncalls",
        "spans.rs",
        "spans: Allowance::new(1_000)",
    ),
    (
        "groups.rs",
        "There are at most 100 groups",
        "groups.rs",
        "MAX_GROUPS: usize = 100",
    ),
    // Components.
    (
        "component/mod.rs",
        "while the breaker is open | 3 |",
        "resolve.rs",
        "(\"retries\", \"3\")",
    ),
    (
        "component/mod.rs",
        "the TTL of values, in milliseconds | 60000 |",
        "resolve.rs",
        "(\"timeout\", \"60000\")",
    ),
    (
        "component/mod.rs",
        "0 to 100000; 0 means no limit | 1000 |",
        "resolve.rs",
        "(\"max_size\", \"1000\")",
    ),
    (
        "component.md",
        "`options.max_size` (default 1000;",
        "resolve.rs",
        "(\"max_size\", \"1000\")",
    ),
    (
        "component/mod.rs",
        "0 to 100000; 0 means no limit | 1000 |",
        "bounded.rs",
        "MAX_SIZE: usize = 100_000",
    ),
    (
        "component/mod.rs",
        "in milliseconds, 1 to 3600000 | 500 |",
        "resolve.rs",
        "(\"call_timeout\", \"500\")",
    ),
    (
        "component.md",
        "after 100 ms, then 200 ms, and so on up to 3 s",
        "life.rs",
        "PAUSE: Duration = Duration::from_millis(100)",
    ),
    (
        "registry/mod.rs",
        "the number of the database | **1** |",
        "registry/redis.rs",
        "DB: u32 = 1",
    ),
    (
        "registry/mod.rs",
        "how long Redis may take for one call | 0.5 |",
        "registry/redis.rs",
        "SOCKET_TIMEOUT: Duration = Duration::from_millis(500)",
    ),
    (
        "component.md",
        "after 100 ms, then 200 ms, and so on up to 3 s",
        "life.rs",
        "LONGEST: Duration = Duration::from_secs(3)",
    ),
    (
        "cachelib.md",
        "nested deeper than 128 levels, or holds more than a million values",
        "pickle/mod.rs",
        "MAX_DEPTH: usize = 128",
    ),
    (
        "cachelib.md",
        "nested deeper than 128 levels, or holds more than a million values",
        "pickle/mod.rs",
        "MAX_VALUES: usize = 1_000_000",
    ),
    (
        "simple/serializer.rs",
        "one that is nested deeper than 128 levels, or holds more than a million values",
        "pickle/mod.rs",
        "MAX_DEPTH: usize = 128",
    ),
    (
        "cachelib.md",
        "more than 64 MiB of text and bytes",
        "pickle/mod.rs",
        "MAX_BYTES: usize = 64 * 1024 * 1024",
    ),
    (
        "cachelib.md",
        "an int, of up to 4,300 digits",
        "simple/integer.rs",
        "MAX_DIGITS: usize = 4_300",
    ),
    (
        "cachelib.md",
        "a dict, for 300 s",
        "simple/timeout.rs",
        "DEFAULT: Timeout = Timeout(300)",
    ),
    (
        "simple/mod.rs",
        "Default: 300 s.",
        "simple/timeout.rs",
        "DEFAULT: Timeout = Timeout(300)",
    ),
    (
        "cachelib.md",
        "most every 15 seconds. With `.strict()`",
        "breaker.rs",
        "LOG_EVERY: Duration = Duration::from_secs(15)",
    ),
    (
        "simple/mod.rs",
        "is logged, at most every 15 seconds",
        "breaker.rs",
        "LOG_EVERY: Duration = Duration::from_secs(15)",
    ),
    (
        "simple/many.rs",
        "Up to 1,000 keys take",
        "simple/many.rs",
        "DELETED_TOGETHER: usize = 1_000",
    ),
];

/// The text of the file whose path ends so.
fn text(path: &str) -> &'static str {
    let ends = |known: &str| known.ends_with(&format!("/{path}"));
    let mut found = TEXTS.iter().filter(|(known, _)| ends(known));
    match (found.next(), found.next()) {
        (Some((_, text)), None) => text,
        _ => panic!("{path} is not the end of one path"),
    }
}

#[test]
fn the_figures_that_the_guides_state_are_those_of_the_code() {
    let mut wrong = String::new();
    for (guide, said, source, code) in SAID {
        for (path, needle) in [(guide, said), (source, code)] {
            if !text(path).contains(needle) {
                wrong += &format!(
                    "{path} has no {needle:?} ({guide} says {said:?}; {source}: {code:?})\n"
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

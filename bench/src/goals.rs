//! The goals: what each speed, hit ratio and limit should be, a row for each, and the scenarios that measure it.
//!
//! The scenarios have the goals' numbers, next to the measurement. `--goals` runs those that are named here, and prints
//! at the end, row by row, which goals were met.

/// A row of the table.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) goal: &'static str,
    scenarios: &'static [&'static str],
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        what: "near hit: TTL checked, no allocation",
        goal: "at most 1.5 × the time of quick_cache's raw get: a speed of 0.67 ×",
        scenarios: &["near/"],
    },
    Row {
        what: "get from Redis, 1 and 8 tasks",
        goal: "0.97 × and 1 × redis-rs",
        scenarios: &["async/get/1 task", "async/get/8 tasks"],
    },
    Row {
        what: "get from Redis, 64 and 512 tasks",
        goal: "1.7 × redis-rs",
        scenarios: &["async/get/64 tasks", "async/get/512 tasks"],
    },
    Row {
        what: "the same through a proxy that adds 1 ms and 5 ms",
        goal: "p50 and p99 at most 1.05 × redis-rs",
        scenarios: &["delayed/"],
    },
    Row {
        what: "fenced set, 1, 8, 64 and 512 tasks",
        goal: "0.95 ×, 1 ×, 1.3 × and 1 × redis-rs's plain SET",
        scenarios: &["async/set/"],
    },
    Row {
        what: "get_many of 100 keys",
        goal: "1 × redis-rs's MGET, whatever the share of hits",
        scenarios: &["async/get_many/", "batches/"],
    },
    Row {
        what: "get and set of a struct, 64 tasks",
        goal: "1.6 × cached's AsyncRedisCache",
        scenarios: &["typed/get/64 tasks", "typed/set/64 tasks"],
    },
    Row {
        what: "blocking get and set, 1 and 8 threads",
        goal: "0.95 × redis-rs's Connection, one a thread",
        scenarios: &["blocking/"],
    },
    Row {
        what: "get, set and get_many on a Cluster, 1, 64 and 512 tasks",
        goal: "1 × redis-rs's cluster client",
        scenarios: &["cluster/"],
    },
    Row {
        what: "the port of the embedded store, pipelines of 1 and 16, and with appendfsync",
        goal: "1 ×, 0.8 × and 1 × redis-server",
        scenarios: &["port/"],
    },
    Row {
        what: "embedded get and set",
        goal: "at most 2.5 × and 4 × the time of Connection::execute: speeds of 0.40 × and 0.25 ×",
        scenarios: &["embedded/"],
    },
    Row {
        what: "#[cached] with a near tier, in this process",
        goal: "0.8 × the in-process macro of cached",
        scenarios: &["decorator/embedded/"],
    },
    Row {
        what: "500 callers, one key, four processes",
        goal: "1 load",
        scenarios: &["promises/stampede"],
    },
    Row {
        what: "Redis down, breaker open",
        goal: "at most 20 µs a call",
        scenarios: &["failure/breaker open"],
    },
    Row {
        what: "hit ratio of the near tier",
        goal: "at most 0.3 points below the best of quick_cache, moka and foyer",
        scenarios: &["hits/"],
    },
    Row {
        what: "memory stays within its bounds",
        goal: "the process grows by at most 32 MiB; by at most twice the near tier's bytes",
        scenarios: &["memory/"],
    },
];

impl Row {
    /// Whether this scenario measures it. What ends in `/` is a family.
    pub(crate) fn has(&self, scenario: &str) -> bool {
        self.scenarios
            .iter()
            .any(|&name| scenario == name || (name.ends_with('/') && scenario.starts_with(name)))
    }
}

/// Whether a scenario measures a goal.
pub(crate) fn has(scenario: &str) -> bool {
    ROWS.iter().any(|row| row.has(scenario))
}

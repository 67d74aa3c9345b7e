/// Why tests are skipped, and which: a name, or a pattern after a slash.
const SKIPPED: &[(&str, &[&str])] = &[
    (
        "RDB: what DUMP writes and RESTORE reads",
        &["/^(List|Hash) ziplist of various encodings"],
    ),
    (
        "DEBUG",
        &[
            "/^SRANDMEMBER histogram distribution",
            "/^Empty stream (with no lastid )?can be rewrite into AOF correctly",
            "/^Stream can be rewrite into AOF correctly after XDEL lastid",
            "/^Consumer without PEL is present in AOF after AOFRW",
        ],
    ),
    (
        "Lua",
        &[
            "/script timeout",
            "/from scripts$",
            "/^Tracking only occurs for scripts",
            "/^MONITOR can log commands issued by",
            "/^command stats for scripts",
            "/^LATENCY of expire events are correctly collected",
            "/^Test (RO |read-only |write )?scripts",
            "/^Test may-replicate commands are rejected in RO scripts",
        ],
    ),
];

//! HyperLogLogs, also corrupted ones.

use super::Family;

pub(super) const FAMILY: Family = Family {
    commands: &[
        "PFADD <key>",
        "PFADD <key> <element> <element>*",
        "PFADD <key> <element> <element>*",
        "PFADD <key> <element> <element> <element> <element> <element> <element> <element>*",
        "PFADD <key> <many>",
        "PFADD <key> <many>",
        "PFCOUNT <key>",
        "PFCOUNT <key>",
        "PFCOUNT <key> <key> <key>*",
        "PFMERGE <key>",
        "PFMERGE <key> <key> <key>*",
        "PFMERGE <key> <key> <key>*",
        "PFDEBUG <debugword> <key>",
        "PFDEBUG <debugword> <key>",
        "PFDEBUG <debugword> <key> <value>",
        "SET <key> <hll>",
        "SET <key> <hll>",
        "SETRANGE <key> <offset> <value>",
        "APPEND <key> <value>",
        "SET <key> <value>",
        "LPUSH <key> <value>",
        "CONFIG SET hll-sparse-max-bytes <sparse>",
        "DEL <key>",
        "GET <key>",
        "STRLEN <key>",
        "COPY <key> <key> REPLACE",
        "OBJECT ENCODING <key>",
    ],
    options: &[
        ("element", &["<value>", "<int>", "a", "b", "c"]),
        (
            "debugword",
            &["GETREG", "DECODE", "ENCODING", "TODENSE", "decode", "FOO"],
        ),
        ("sparse", &["0", "20", "40", "100", "3000", "-1", "x"]),
    ],
};

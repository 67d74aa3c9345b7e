//! `SORT` and `LCS`.

use super::Family;

// Elements that another key weighs by its bytes are in no certain order if it weighs them alike: so those are neither
// stored nor limited.
pub(super) const FAMILY: Family = Family {
    commands: &[
        "RPUSH <key> <sortable> <sortable>*",
        "RPUSH <key> <sortable> <sortable>*",
        "RPUSH <key> <word> <sortable>*",
        "SADD <key> <sortable> <sortable>*",
        "SADD <key> <sortable> <word>*",
        "ZADD <key> <small> <sortable>",
        "ZADD <key> <small> <sortable> <small> <sortable>",
        "ZADD <key> <small> <word>",
        "HSET <weightkey> f <sortable>",
        "HSET <weightkey> f <word>",
        "DEL <key>",
        "DEL <weightkey>",
        "SET <weightkey> <sortable>",
        "SET <weightkey> <sortable>",
        "SET <weightkey> <word>",
        "SORT <key>",
        "SORT <key> <bynumber>* <limit>* <got>*",
        "SORT <key> <bynumber>* <limit>* <got>*",
        "SORT <key> <bynumber>* <limit>* <got>* STORE <key>",
        "SORT <key> <alphabet>* <limit>* <got>*",
        "SORT <key> ALPHA <alphabet>* <limit>* <got>* STORE <key>",
        "SORT <key> BY w_* ALPHA <alphabet>* <got>*",
        "SORT <key> BY nosort <alphabet>* <got>*",
        "SORT <key> BY nosort <limit> <got>* STORE <key>",
        "SORT_RO <key> <bynumber>* <limit>* <got>*",
        "SORT_RO <key> <alphabet>* <limit>* <got>*",
        "SORT <key> <wrongsort>",
        "SORT_RO <key> STORE <key>",
        "LRANGE <key> 0 -1",
        "LCS <key> <key> <lcsopt>*",
        "LCS <text> <text> <lcsopt>*",
        "LCS <text> <text> <lcsopt>*",
        "LCS <text> <text> IDX <lcsopt>*",
        "SET <text> <letters>",
        "SET <text> <letters>",
    ],
    options: &[
        (
            "sortable",
            &[
                "1", "2", "10", "-3", "2.5", "1e3", "5", "7", "003", "inf", "-inf", " 4", "0", "-0",
            ],
        ),
        (
            "weightkey",
            &[
                "w_1", "w_2", "w_10", "w_-3", "w_5", "w_7", "w_003", "w_foo", "w_BAZ",
            ],
        ),
        (
            "bynumber",
            &["BY w_*", "DESC", "ASC", "BY *", "by w_*", "BY w_*->f"],
        ),
        ("alphabet", &["ALPHA", "DESC", "ASC", "desc"]),
        (
            "limit",
            &[
                "LIMIT <small> <small>",
                "LIMIT 0 3",
                "limit 1 2",
                "LIMIT <int> <int>",
            ],
        ),
        ("small", &["0", "1", "2", "5", "-1", "100"]),
        (
            "got",
            &[
                "GET #",
                "GET w_*",
                "get w_*",
                "GET none",
                "GET *",
                "GET w_*->f",
            ],
        ),
        (
            "wrongsort",
            &[
                "LIMIT",
                "LIMIT 1",
                "LIMIT x 1",
                "LIMIT 1 1.5",
                "STORE",
                "BY",
                "GET",
                "FOO",
                "ASC x",
            ],
        ),
        ("text", &["text1", "text2", "a"]),
        (
            "letters",
            &[
                "ohmytext",
                "mynewtext",
                "abcabcabc",
                "acbacb",
                "xxxabcxxxabc",
                "a",
                "",
            ],
        ),
        (
            "lcsopt",
            &[
                "LEN",
                "IDX",
                "WITHMATCHLEN",
                "MINMATCHLEN <small>",
                "minmatchlen 4",
                "MINMATCHLEN",
                "MINMATCHLEN x",
                "FOO",
            ],
        ),
    ],
};

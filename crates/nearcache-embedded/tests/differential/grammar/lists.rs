//! Lists.

use super::Family;

pub(super) const FAMILY: Family = Family {
    commands: &[
        "LPUSH <key> <value> <value>*",
        "RPUSH <key> <value> <value>*",
        "LLEN <key>",
        "LRANGE <key> <index> <index>",
        "LRANGE <key> <index> <index>",
    ],
    options: &[],
};

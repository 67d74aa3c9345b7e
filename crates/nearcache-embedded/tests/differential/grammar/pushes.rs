//! Pub/sub without subscribers, notifications, and tracking: what is pushed has tests of its own.

use super::Family;

pub(super) const FAMILY: Family = Family {
    commands: &[
        "PUBLISH <word> <value>",
        "SPUBLISH <word> <value>",
        "PUBSUB <pubsubopt>",
        "CONFIG SET notify-keyspace-events <events>",
        "CONFIG GET notify-keyspace-events",
        "CLIENT TRACKING ON <trackopt>*",
        "CLIENT TRACKING <onoff>",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKINGINFO",
        "CLIENT GETREDIR",
        "CLIENT CACHING <yesno>",
    ],
    options: &[
        (
            "pubsubopt",
            &[
                "CHANNELS",
                "CHANNELS *",
                "CHANNELS <word> <word>",
                "NUMSUB",
                "NUMSUB <word> <word>",
                "NUMPAT",
                "NUMPAT <word>",
                "SHARDCHANNELS",
                "SHARDCHANNELS <word> <word>",
                "SHARDNUMSUB",
                "SHARDNUMSUB <word>",
                "HELP",
                "NOPE",
            ],
        ),
        (
            "events",
            &[
                "KEA",
                "Kg$",
                "Elshzxe",
                "AKEn",
                "KEmtd",
                "g$lshzxetd",
                "KEy",
                "nope",
            ],
        ),
        (
            "trackopt",
            &[
                "BCAST",
                "BCAST PREFIX a",
                "PREFIX ab",
                "PREFIX",
                "OPTIN",
                "OPTOUT",
                "NOLOOP",
                "REDIRECT",
                "REDIRECT 0",
                "REDIRECT x",
                "REDIRECT -1",
                "REDIRECT 123456789",
                "NOPE",
            ],
        ),
        ("onoff", &["OFF", "off NOLOOP", "MAYBE", "MAYBE NOPE"]),
        ("yesno", &["YES", "NO", "MAYBE"]),
    ],
};

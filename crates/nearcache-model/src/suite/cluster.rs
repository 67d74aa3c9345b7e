//! The forms for a Cluster: V and the epoch are read by commands, of which FILL knows nothing.

use super::{ONE_LOAD, PROGRESS, TAGGED, UNTAGGED};
use crate::configuration::{Configuration, DeleteForm, Invalidation, Replica, Start, Tags};

const ALL_KINDS: &[Invalidation] = &[
    Invalidation::Tag,
    Invalidation::Delete,
    Invalidation::Set,
    Invalidation::Clear,
];

/// Tags that the caller names.
const NAMED: Configuration = Configuration {
    name: "cluster, named",
    shows: "V read before the load and beside FILL, joiners by whichever was first",
    tags: Tags::ClusterNamed,
    cancels: false,
    ..TAGGED
};

/// Tags that only the loader names.
const BROUGHT: Configuration = Configuration {
    name: "cluster, from the load",
    shows: "the epoch before the load, V after it, the epoch again",
    tags: Tags::ClusterBrought,
    cancels: false,
    ..TAGGED
};

/// One caller in each process, all four invalidations from both.
const fn all_kinds(form: Configuration) -> Configuration {
    Configuration {
        callers: [1, 1],
        kinds: ALL_KINDS,
        delete: DeleteForm::LeaseFirst,
        ..form
    }
}

const fn lost(form: Configuration) -> Configuration {
    Configuration {
        callers: [1, 1],
        losses: 1,
        ..form
    }
}

const fn failover(form: Configuration, replica: Replica) -> Configuration {
    Configuration {
        callers: [1, 1],
        replica,
        failovers: 1,
        ..form
    }
}

const fn stale(form: Configuration) -> Configuration {
    Configuration {
        starts: &[Start::Soft, Start::Dead],
        callers: [1, 1],
        writes: [1, 0],
        errors: true,
        softens: true,
        ..form
    }
}

const fn cancelled(form: Configuration) -> Configuration {
    Configuration {
        writes: [1, 0],
        cancels: true,
        ..form
    }
}

const fn foreign(form: Configuration) -> Configuration {
    Configuration {
        callers: [2, 1],
        writes: [1, 0],
        kinds: &[Invalidation::Tag, Invalidation::Delete],
        foreign: 1,
        ..form
    }
}

const fn one_load(form: Configuration) -> Configuration {
    Configuration {
        tags: form.tags,
        ..ONE_LOAD
    }
}

const fn progress(form: Configuration) -> Configuration {
    Configuration {
        tags: form.tags,
        starts: &[Start::Empty, Start::Dead],
        evicts_tag: true,
        callers: [1, 1],
        kinds: &[Invalidation::Tag],
        softens: false,
        ..PROGRESS
    }
}

/// Larger ones, of millions to tens of millions of states each.
pub(super) fn wide() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "wide, cluster, named",
            shows: "two callers in each process",
            callers: [2, 2],
            ..NAMED
        },
        Configuration {
            name: "wide, cluster, load",
            shows: "callers who join and who go away, two writes",
            cancels: true,
            ..BROUGHT
        },
        Configuration {
            name: "wide, cluster, lost",
            shows: "callers who join, connections lost",
            callers: [2, 1],
            writes: [1, 0],
            ..lost(BROUGHT)
        },
        Configuration {
            name: "wide, cluster, failover",
            shows: "a failover of the epoch's primary, and a connection lost",
            losses: 1,
            ..failover(BROUGHT, Replica::OfEpoch)
        },
    ]
}

pub(super) fn configurations() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "cluster, delete",
            shows: "UNLINK L, then UNLINK s, one of them redirected",
            delete: DeleteForm::LeaseFirst,
            redirects: 1,
            kinds: &[Invalidation::Delete],
            callers: [2, 1],
            errors: false,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "cluster, failover",
            shows: "the primary of s and L loses what it had, what returned is deleted again",
            delete: DeleteForm::LeaseFirst,
            replica: Replica::OfSlot,
            failovers: 1,
            kinds: &[Invalidation::Delete, Invalidation::Set],
            callers: [1, 1],
            errors: false,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "cluster, clear",
            shows: "the slot of s and L is moved while clear scans",
            redirects: 1,
            moves: true,
            kinds: &[Invalidation::Clear],
            callers: [1, 1],
            errors: false,
            timeouts: false,
            cancels: false,
            ..UNTAGGED
        },
        NAMED,
        Configuration {
            name: "cluster, named, all",
            shows: "all four invalidations of one value",
            ..all_kinds(NAMED)
        },
        Configuration {
            name: "cluster, named, leaves",
            shows: "callers who go away",
            ..cancelled(NAMED)
        },
        Configuration {
            name: "cluster, named, lost",
            shows: "ACQUIRE, FILL, SET NX and UNLINK carried out late or never",
            ..lost(NAMED)
        },
        Configuration {
            name: "cluster, named, failover",
            shows: "V's primary loses what it had, what returned is replayed",
            ..failover(NAMED, Replica::OfTag)
        },
        Configuration {
            name: "cluster, named, stale",
            shows: "refresh and replacement",
            ..stale(NAMED)
        },
        Configuration {
            name: "cluster, named, foreign",
            shows: "another program writes the key",
            ..foreign(NAMED)
        },
        Configuration {
            name: "cluster, named, one",
            ..one_load(NAMED)
        },
        Configuration {
            name: "cluster, named, ends",
            ..progress(NAMED)
        },
        cancelled(BROUGHT),
        Configuration {
            name: "cluster, load, all",
            shows: "all four invalidations of one value",
            ..all_kinds(BROUGHT)
        },
        Configuration {
            name: "cluster, load, lost",
            shows: "ACQUIRE, FILL, SET NX and UNLINK carried out late or never",
            ..lost(BROUGHT)
        },
        Configuration {
            name: "cluster, load, failover",
            shows: "the epoch's primary loses what it had, what returned is replayed",
            ..failover(BROUGHT, Replica::OfEpoch)
        },
        Configuration {
            name: "cluster, load, V's",
            shows: "V's primary loses what it had",
            ..failover(BROUGHT, Replica::OfTag)
        },
        Configuration {
            name: "cluster, load, stale",
            shows: "refresh and replacement",
            ..stale(BROUGHT)
        },
        Configuration {
            name: "cluster, load, foreign",
            shows: "another program writes the key",
            callers: [1, 1],
            ..foreign(BROUGHT)
        },
        Configuration {
            name: "cluster, load, one",
            ..one_load(BROUGHT)
        },
        Configuration {
            name: "cluster, load, ends",
            losses: 0,
            ..progress(BROUGHT)
        },
    ]
}

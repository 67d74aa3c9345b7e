//! `refresh`, which takes the lease from whoever has it.

use super::{ALL_STARTS, TAGGED, UNTAGGED};
use crate::configuration::{Configuration, DeleteForm, Invalidation, Start, Tags};

const REFRESH: Configuration = Configuration {
    name: "forced refresh",
    shows: "refresh beside callers who join, a delete, a set or a clear",
    callers: [2, 1],
    writes: [1, 0],
    kinds: &[Invalidation::Delete, Invalidation::Set, Invalidation::Clear],
    refreshes: [1, 0],
    delete: DeleteForm::LeaseFirst,
    cancels: false,
    errors: false,
    timeouts: false,
    ..UNTAGGED
};

const TWO: Configuration = Configuration {
    name: "two forced refreshes",
    shows: "one in each process, with a delete, a set or a clear",
    callers: [1, 1],
    refreshes: [1, 1],
    ..REFRESH
};

const TAGGED_REFRESH: Configuration = Configuration {
    name: "forced refresh, tagged",
    shows: "the same with a tag, and ACQUIRE reads V",
    tags: Tags::Scripts,
    callers: [1, 1],
    writes: [1, 0],
    kinds: &[Invalidation::Tag, Invalidation::Delete],
    refreshes: [1, 0],
    delete: DeleteForm::LeaseFirst,
    cancels: false,
    ..TAGGED
};

pub(super) fn configurations() -> Vec<Configuration> {
    vec![
        REFRESH,
        TWO,
        Configuration {
            name: "forced refresh, leaves",
            shows: "callers who go away or lose patience, loads that fail, detached flights, stale entries",
            starts: ALL_STARTS,
            callers: [1, 1],
            softens: true,
            detaches: true,
            cancels: true,
            errors: true,
            timeouts: true,
            ..REFRESH
        },
        Configuration {
            name: "forced refresh, lost",
            shows: "its ACQUIRE or FILL is carried out late or never, or sent again",
            callers: [1, 1],
            losses: 1,
            ..REFRESH
        },
        Configuration {
            name: "forced refresh, foreign",
            shows: "another program writes the key",
            starts: &[Start::Empty, Start::Soft],
            callers: [1, 1],
            foreign: 1,
            ..REFRESH
        },
        TAGGED_REFRESH,
        Configuration {
            name: "forced refresh, load",
            shows: "the same, V read after the load, an epoch before it",
            tags: Tags::Brought,
            ..TAGGED_REFRESH
        },
    ]
}

pub(super) fn wide() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "wide, two refreshes",
            shows: "two callers in a process",
            callers: [2, 1],
            ..TWO
        },
        Configuration {
            name: "wide, refresh, tagged",
            shows: "one in each process, with a tag",
            refreshes: [1, 1],
            kinds: &[Invalidation::Tag, Invalidation::Delete, Invalidation::Set],
            ..TAGGED_REFRESH
        },
    ]
}

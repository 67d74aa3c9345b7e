//! `mark_stale` and `mark_tag_stale`, with callers who take stale values and with such as take none.

use super::{ALL_STARTS, TAGGED, UNTAGGED};
use crate::configuration::{Configuration, DeleteForm, Invalidation, Start, Tags};

/// Callers who take nothing stale, not even in place of an error: to them a mark is an invalidation.
const MARKS: Configuration = Configuration {
    name: "marks",
    shows: "mark_stale, for callers who take nothing stale",
    callers: [2, 1],
    kinds: &[Invalidation::Mark],
    softens: true,
    strict: true,
    cancels: false,
    timeouts: false,
    ..UNTAGGED
};

const TAG_MARKS: Configuration = Configuration {
    name: "marks of a tag",
    shows: "mark_tag_stale, for callers who take nothing stale; ACQUIRE reads V",
    tags: Tags::Scripts,
    callers: [2, 1],
    kinds: &[Invalidation::MarkTag],
    softens: true,
    strict: true,
    cancels: false,
    ..TAGGED
};

pub(super) fn configurations() -> Vec<Configuration> {
    vec![
        MARKS,
        Configuration {
            name: "marks, stale",
            shows: "mark_stale, delete and set, for callers who take what is stale; detached flights",
            starts: ALL_STARTS,
            detaches: true,
            kinds: &[Invalidation::Mark, Invalidation::Delete, Invalidation::Set],
            strict: false,
            ..MARKS
        },
        Configuration {
            name: "marks, lost",
            shows: "ACQUIRE and FILL carried out late or never, and sent again",
            callers: [1, 1],
            losses: 1,
            errors: false,
            ..MARKS
        },
        Configuration {
            name: "marks, refresh",
            shows: "mark_stale beside a forced refresh",
            callers: [1, 1],
            writes: [1, 0],
            refreshes: [1, 1],
            ..MARKS
        },
        TAG_MARKS,
        Configuration {
            name: "marks of a tag, stale",
            shows: "the same for callers who take what is stale, with an entry that is stale or dead",
            starts: &[Start::Soft, Start::Dead],
            callers: [1, 1],
            errors: true,
            strict: false,
            ..TAG_MARKS
        },
        Configuration {
            name: "marks of a tag, all",
            shows: "both marks, delete, set and invalidate_tag of one value",
            callers: [1, 1],
            kinds: &[
                Invalidation::MarkTag,
                Invalidation::Mark,
                Invalidation::Tag,
                Invalidation::Delete,
                Invalidation::Set,
            ],
            delete: DeleteForm::LeaseFirst,
            ..TAG_MARKS
        },
        Configuration {
            name: "marks of a tag, load",
            shows: "V read after the load, an epoch before it, which a mark moves too",
            tags: Tags::Brought,
            callers: [1, 1],
            kinds: &[Invalidation::MarkTag, Invalidation::Tag],
            ..TAG_MARKS
        },
        Configuration {
            name: "marks, cluster, named",
            shows: "V read before the load and beside FILL, which a mark moves",
            tags: Tags::ClusterNamed,
            kinds: &[Invalidation::MarkTag, Invalidation::Tag],
            writes: [1, 0],
            ..TAG_MARKS
        },
        Configuration {
            name: "marks, cluster, load",
            shows: "V read after the load, and the epoch again, which a mark moves first",
            tags: Tags::ClusterBrought,
            callers: [1, 1],
            kinds: &[Invalidation::MarkTag, Invalidation::Tag],
            ..TAG_MARKS
        },
    ]
}

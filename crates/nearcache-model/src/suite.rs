//! Where the whole protocol is looked at. `experiments` has where a mechanism is missed.
//!
//! A configuration is as large as a minute or two for all of them allows. What is left out of one is in
//! another: no single run has lost connections *and* a foreign SET *and* three calls.

mod cluster;
mod mark;
mod refresh;

use crate::configuration::{CALM, Configuration, DeleteForm, Invalidation, SetForm, Start, Tags};

pub(crate) const ALL_STARTS: &[Start] = &[Start::Empty, Start::Soft, Start::Dead];

/// Everything that untagged values meet at any step: expiry, cancelled callers, lost patience, errors.
const UNTAGGED: Configuration = Configuration {
    name: "untagged",
    shows: "delete, set and clear from both processes",
    callers: [2, 2],
    writes: [1, 1],
    kinds: &[Invalidation::Delete, Invalidation::Set, Invalidation::Clear],
    evicts_entry: true,
    expires_lease: true,
    cancels: true,
    errors: true,
    timeouts: true,
    ..CALM
};

/// The same for a value with a tag.
const TAGGED: Configuration = Configuration {
    name: "tagged",
    shows: "invalidate_tag from both processes, V evicted",
    tags: Tags::Commands,
    callers: [2, 1],
    kinds: &[Invalidation::Tag],
    evicts_tag: true,
    errors: false,
    timeouts: false,
    ..UNTAGGED
};

/// The whole protocol: all properties hold in each of these.
pub fn configurations() -> Vec<Configuration> {
    let mut all = one_server();
    all.extend(refresh::configurations());
    all.extend(mark::configurations());
    all.extend(cluster::configurations());
    all
}

fn one_server() -> Vec<Configuration> {
    vec![
        UNTAGGED,
        Configuration {
            name: "detached flights",
            shows: "a local invalidation detaches the flight",
            callers: [2, 1],
            detaches: true,
            errors: false,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "two calls each",
            shows: "callers that come back",
            callers: [2, 1],
            calls: 2,
            cancels: false,
            errors: false,
            timeouts: false,
            kinds: &[Invalidation::Delete],
            ..UNTAGGED
        },
        Configuration {
            name: "lost connections",
            shows: "ACQUIRE and FILL carried out late or never, and sent again",
            callers: [2, 1],
            losses: 1,
            kinds: &[Invalidation::Delete, Invalidation::Set],
            errors: false,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "stale and corrupt",
            shows: "refresh, stale on error, replacement of what is dead",
            starts: ALL_STARTS,
            callers: [2, 1],
            writes: [1, 0],
            softens: true,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "joined refresh",
            shows: "callers join a refresh",
            starts: ALL_STARTS,
            callers: [2, 1],
            calls: 2,
            writes: [1, 0],
            kinds: &[Invalidation::Delete],
            softens: true,
            joins_refresh: true,
            cancels: false,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "foreign SET",
            shows: "another program writes the key",
            starts: ALL_STARTS,
            callers: [2, 1],
            kinds: &[Invalidation::Delete],
            writes: [1, 0],
            softens: true,
            foreign: 1,
            errors: false,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "delete in two steps",
            shows: "UNLINK L, then UNLINK s",
            delete: DeleteForm::LeaseFirst,
            callers: [2, 1],
            errors: false,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "set in two steps",
            shows: "SET, then UNLINK, while what is set outlives both",
            set: SetForm::ThenUnlink,
            keeps_new: true,
            kinds: &[Invalidation::Set],
            ..UNTAGGED
        },
        TAGGED,
        Configuration {
            name: "tagged, stale or dead",
            shows: "refresh and replacement under a tag",
            starts: &[Start::Soft, Start::Dead],
            callers: [1, 1],
            errors: true,
            softens: true,
            cancels: false,
            ..TAGGED
        },
        Configuration {
            name: "tagged, connections",
            shows: "SET V and SET V NX carried out late or never, and sent again",
            callers: [1, 1],
            losses: 1,
            cancels: false,
            ..TAGGED
        },
        Configuration {
            name: "tagged, all kinds",
            shows: "invalidate_tag, delete, set and clear of one value",
            callers: [1, 1],
            kinds: &[
                Invalidation::Tag,
                Invalidation::Delete,
                Invalidation::Set,
                Invalidation::Clear,
            ],
            cancels: false,
            ..TAGGED
        },
        Configuration {
            name: "tags by scripts",
            shows: "ACQUIRE reads V, FILL compares it, UNLINK V",
            tags: Tags::Scripts,
            starts: ALL_STARTS,
            callers: [2, 1],
            softens: true,
            writes: [1, 0],
            cancels: false,
            ..TAGGED
        },
        Configuration {
            name: "tags by scripts, all",
            shows: "the library's forms of all four invalidations, of one value",
            tags: Tags::Scripts,
            delete: DeleteForm::LeaseFirst,
            callers: [1, 1],
            kinds: &[
                Invalidation::Tag,
                Invalidation::Delete,
                Invalidation::Set,
                Invalidation::Clear,
            ],
            cancels: false,
            ..TAGGED
        },
        Configuration {
            name: "tags by scripts, lost",
            shows: "the same, with connections lost",
            tags: Tags::Scripts,
            callers: [1, 1],
            losses: 1,
            cancels: false,
            ..TAGGED
        },
        Configuration {
            name: "tags from the load",
            shows: "V read after the load, an epoch before it",
            tags: Tags::Brought,
            cancels: false,
            ..TAGGED
        },
        ONE_LOAD,
        Configuration {
            name: "one load, tagged",
            tags: Tags::Commands,
            ..ONE_LOAD
        },
        PROGRESS,
        Configuration {
            name: "progress, tagged",
            tags: Tags::Commands,
            evicts_tag: true,
            callers: [1, 1],
            kinds: &[Invalidation::Tag],
            ..PROGRESS
        },
    ]
}

/// Larger ones, of tens of millions of states each: more callers and more mishaps at once.
pub fn wide() -> Vec<Configuration> {
    let mut all = wide_on_one_server();
    all.extend(refresh::wide());
    all.extend(cluster::wide());
    all
}

fn wide_on_one_server() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "wide, untagged",
            shows: "two callers in each process, connections lost",
            losses: 1,
            errors: false,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "wide, stale",
            shows: "two writers of stale and corrupt entries",
            starts: ALL_STARTS,
            callers: [2, 1],
            softens: true,
            joins_refresh: true,
            ..UNTAGGED
        },
        Configuration {
            name: "wide, tagged, stale",
            shows: "refresh and replacement under a tag, callers who join",
            starts: &[Start::Soft, Start::Dead],
            writes: [1, 0],
            softens: true,
            cancels: false,
            ..TAGGED
        },
        Configuration {
            name: "wide, tagged",
            shows: "two callers in each process, V read by commands",
            callers: [2, 2],
            cancels: false,
            ..TAGGED
        },
        Configuration {
            name: "wide, scripts",
            shows: "two callers in each process, V read by scripts, stale entries, callers who go away",
            tags: Tags::Scripts,
            starts: ALL_STARTS,
            callers: [2, 2],
            writes: [1, 0],
            softens: true,
            joins_refresh: true,
            errors: true,
            ..TAGGED
        },
        Configuration {
            name: "wide, from the load",
            shows: "two callers in each process, an epoch, connections lost",
            tags: Tags::Brought,
            losses: 1,
            cancels: false,
            ..TAGGED
        },
    ]
}

/// No mishap and no invalidation: one load for a miss.
pub(crate) const ONE_LOAD: Configuration = Configuration {
    name: "one load",
    shows: "one load for a miss, in two processes",
    starts: ALL_STARTS,
    callers: [2, 2],
    calls: 2,
    one_load: true,
    progress: true,
    ..CALM
};

/// Nobody waits for ever: without the patience that ends all waiting.
const PROGRESS: Configuration = Configuration {
    name: "progress",
    shows: "nobody waits for ever, even if patience has no end",
    starts: ALL_STARTS,
    callers: [2, 1],
    writes: [1, 0],
    kinds: &[Invalidation::Delete],
    softens: true,
    losses: 1,
    timeouts: false,
    errors: false,
    progress: true,
    ..UNTAGGED
};

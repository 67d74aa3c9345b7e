//! What is run: the whole protocol in each configuration, and each mechanism taken out where it is missed.
//!
//! A configuration is as large as a minute or two for all of them allows. What is left out of one is in
//! another: no single run has lost connections *and* a foreign SET *and* three calls.

use crate::configuration::{CALM, Configuration, DeleteForm, Invalidation, SetForm, Start, Tags};
use crate::mechanism::Mechanism;
use crate::property::Property;

/// A mechanism taken out.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// What is taken out.
    pub without: Mechanism,
    /// Where it is missed.
    pub configuration: Configuration,
    /// What is broken then.
    pub breaks: Property,
    /// The condition, and the same without it: there the mechanism is not missed.
    pub unless: Option<(&'static str, Configuration)>,
}

const ALL_STARTS: &[Start] = &[Start::Empty, Start::Soft, Start::Dead];

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
            errors: false,
            timeouts: false,
            ..UNTAGGED
        },
        Configuration {
            name: "stale and corrupt",
            shows: "refresh, stale on error, replacement of what is dead",
            starts: ALL_STARTS,
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
            starts: ALL_STARTS,
            writes: [1, 0],
            softens: true,
            cancels: false,
            errors: true,
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
            shows: "ACQUIRE reads V, FILL compares it, SET V XX",
            tags: Tags::Scripts,
            starts: ALL_STARTS,
            callers: [2, 1],
            softens: true,
            writes: [1, 0],
            cancels: false,
            ..TAGGED
        },
        Configuration {
            name: "tags by scripts, lost",
            shows: "the same, with connections lost",
            tags: Tags::Scripts,
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

/// No mishap and no invalidation: one load for a miss.
const ONE_LOAD: Configuration = Configuration {
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

impl Experiment {
    /// What it is asked for by: its mechanism, and who sees to the tags where that is not the usual one.
    pub fn name(&self) -> String {
        match self.configuration.tags {
            Tags::None | Tags::Commands => format!("{:?}", self.without),
            tags => format!("{:?}/{tags:?}", self.without),
        }
    }
}

/// Each mechanism taken out, where it is missed.
pub fn experiments() -> Vec<Experiment> {
    use Invalidation::{Clear, Delete, Set, Tag};
    let untagged = Configuration {
        evicts_entry: true,
        expires_lease: true,
        callers: [2, 1],
        writes: [1, 1],
        kinds: &[Delete],
        ..CALM
    };
    let set = Configuration {
        kinds: &[Set],
        ..untagged
    };
    let tagged = Configuration {
        tags: Tags::Commands,
        kinds: &[Tag],
        evicts_tag: true,
        ..untagged
    };
    let foreign = Configuration {
        foreign: 1,
        writes: [0, 0],
        ..untagged
    };
    let lost = Configuration {
        losses: 1,
        ..untagged
    };
    let tagged_lost = Configuration {
        losses: 1,
        ..tagged
    };
    let scripts = Configuration {
        tags: Tags::Scripts,
        ..tagged
    };
    let brought = Configuration {
        tags: Tags::Brought,
        ..tagged
    };
    let not = |condition, configuration| Some((condition, configuration));
    let found = |without, configuration, breaks, unless| Experiment {
        without,
        configuration,
        breaks,
        unless,
    };
    vec![
        found(Mechanism::FillComparesToken, untagged, Property::Store, None),
        found(
            Mechanism::FillComparesEntry,
            foreign,
            Property::Replace,
            not("a foreign SET", Configuration { foreign: 0, ..untagged }),
        ),
        found(Mechanism::RuleTwo, untagged, Property::Answer, None),
        found(Mechanism::CommandAfterJoin, untagged, Property::Answer, None),
        found(
            Mechanism::AloneAfterJoin,
            Configuration { timeouts: true, ..untagged },
            Property::Answer,
            not("lost patience", untagged),
        ),
        found(
            Mechanism::TaggedJoinersByReread,
            tagged,
            Property::Answer,
            not("a tag", untagged),
        ),
        found(
            Mechanism::StaleForLeaderOnly,
            Configuration { errors: true, softens: true, starts: ALL_STARTS, ..untagged },
            Property::Answer,
            not("a soft expiry", Configuration { errors: true, ..untagged }),
        ),
        found(
            Mechanism::AcquireTakesSeen,
            Configuration { softens: true, ..untagged },
            Property::Refresh,
            not("an unusable entry", untagged),
        ),
        found(Mechanism::LeaseIsExclusive, ONE_LOAD, Property::OneLoad, None),
        found(
            Mechanism::TokenPerAcquire,
            lost,
            Property::Store,
            not("a lost connection", untagged),
        ),
        found(
            Mechanism::TokenPerLoad,
            Configuration { detaches: true, ..untagged },
            Property::Store,
            not("two loads in a process", untagged),
        ),
        found(
            Mechanism::RenewCompares,
            Configuration { renews: true, ..untagged },
            Property::Store,
            not("a renewal", untagged),
        ),
        found(
            Mechanism::ReleaseCompares,
            Configuration { errors: true, ..untagged },
            Property::Lease,
            not("a loader's error", untagged),
        ),
        found(Mechanism::DeleteUnlinksLease, untagged, Property::Store, None),
        found(Mechanism::DeleteLeaseFirst, untagged, Property::Store, None),
        found(
            Mechanism::SetUnlinksLease,
            set,
            Property::Store,
            not("expiry of NEW", Configuration { evicts_entry: false, ..set }),
        ),
        found(
            Mechanism::SetIsAtomic,
            set,
            Property::Store,
            not("expiry of NEW between", Configuration { keeps_new: true, ..set }),
        ),
        found(Mechanism::SetStoresFirst, set, Property::Store, None),
        found(
            Mechanism::ClearLeasesFirst,
            Configuration { kinds: &[Clear], ..untagged },
            Property::Store,
            None,
        ),
        found(
            Mechanism::TagIsRandom,
            tagged,
            Property::Store,
            not("an evicted V", Configuration { evicts_tag: false, ..tagged }),
        ),
        found(
            Mechanism::StampPerInvalidation,
            tagged_lost,
            Property::Store,
            not("a lost connection", tagged),
        ),
        found(
            Mechanism::StampPerCreation,
            tagged_lost,
            Property::Store,
            not("an evicted V", Configuration { evicts_tag: false, ..tagged_lost }),
        ),
        found(Mechanism::TagsReadBeforeLoad, tagged, Property::Store, None),
        found(Mechanism::TagsReadAgain, tagged, Property::Answer, None),
        found(Mechanism::TagsReadAgain, scripts, Property::Answer, None),
        found(
            Mechanism::FillComparesEpoch,
            brought,
            Property::Store,
            not("tags from the load", scripts),
        ),
        found(Mechanism::EpochMovesFirst, brought, Property::Store, None),
        found(
            Mechanism::MissingTagIsDead,
            tagged,
            Property::Store,
            not("an evicted V", Configuration { evicts_tag: false, ..tagged }),
        ),
        found(
            Mechanism::MissingTagIsCreated,
            tagged,
            Property::Store,
            not("an evicted V", Configuration { evicts_tag: false, ..tagged }),
        ),
    ]
}

//! Each mechanism taken out: where it is missed, and where it is not.

mod cluster;
mod mark;
mod refresh;

use crate::configuration::{CALM, Configuration, Invalidation, Tags};
use crate::mechanism::Mechanism;
use crate::property::Property;
use crate::suite::{ALL_STARTS, ONE_LOAD};

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

impl Experiment {
    /// What it is asked for by: its mechanism, and who sees to the tags where that is not the usual one.
    pub fn name(&self) -> String {
        match self.configuration.tags {
            Tags::None | Tags::Commands => format!("{:?}", self.without),
            tags => format!("{:?}/{tags:?}", self.without),
        }
    }
}

fn found(
    without: Mechanism,
    configuration: Configuration,
    breaks: Property,
    unless: Option<(&'static str, Configuration)>,
) -> Experiment {
    Experiment {
        without,
        configuration,
        breaks,
        unless,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is what an experiment's `unless` may be"
)]
fn not(
    condition: &'static str,
    configuration: Configuration,
) -> Option<(&'static str, Configuration)> {
    Some((condition, configuration))
}

/// Each mechanism taken out, where it is missed.
pub fn experiments() -> Vec<Experiment> {
    let mut all = one_server();
    all.extend(refresh::experiments());
    all.extend(mark::experiments());
    all.extend(cluster::experiments());
    all
}

fn one_server() -> Vec<Experiment> {
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
    vec![
        found(
            Mechanism::FillComparesToken,
            untagged,
            Property::Store,
            None,
        ),
        found(
            Mechanism::FillComparesEntry,
            foreign,
            Property::Replace,
            not(
                "a foreign SET",
                Configuration {
                    foreign: 0,
                    ..untagged
                },
            ),
        ),
        found(Mechanism::RuleTwo, untagged, Property::Answer, None),
        found(
            Mechanism::CommandAfterJoin,
            untagged,
            Property::Answer,
            None,
        ),
        found(
            Mechanism::AloneAfterJoin,
            Configuration {
                timeouts: true,
                ..untagged
            },
            Property::Answer,
            not("lost patience", untagged),
        ),
        found(Mechanism::FencedAfterJoin, untagged, Property::Answer, None),
        found(
            Mechanism::TaggedJoinersByReread,
            tagged,
            Property::Answer,
            not("a tag", untagged),
        ),
        found(
            Mechanism::StaleForLeaderOnly,
            Configuration {
                errors: true,
                softens: true,
                starts: ALL_STARTS,
                ..untagged
            },
            Property::Answer,
            not(
                "a soft expiry",
                Configuration {
                    errors: true,
                    ..untagged
                },
            ),
        ),
        found(
            Mechanism::AcquireTakesSeen,
            Configuration {
                softens: true,
                ..untagged
            },
            Property::Refresh,
            not("an unusable entry", untagged),
        ),
        found(
            Mechanism::LeaseIsExclusive,
            ONE_LOAD,
            Property::OneLoad,
            None,
        ),
        found(
            Mechanism::TokenPerAcquire,
            lost,
            Property::Store,
            not("a lost connection", untagged),
        ),
        found(
            Mechanism::TokenPerLoad,
            Configuration {
                detaches: true,
                ..untagged
            },
            Property::Store,
            not("two loads in a process", untagged),
        ),
        found(
            Mechanism::RenewCompares,
            Configuration {
                renews: true,
                ..untagged
            },
            Property::Store,
            not("a renewal", untagged),
        ),
        found(
            Mechanism::ReleaseCompares,
            Configuration {
                errors: true,
                ..untagged
            },
            Property::Lease,
            not("a loader's error", untagged),
        ),
        found(
            Mechanism::DeleteUnlinksLease,
            untagged,
            Property::Store,
            None,
        ),
        found(Mechanism::DeleteLeaseFirst, untagged, Property::Store, None),
        found(
            Mechanism::SetUnlinksLease,
            set,
            Property::Store,
            not(
                "expiry of NEW",
                Configuration {
                    evicts_entry: false,
                    ..set
                },
            ),
        ),
        found(
            Mechanism::SetIsAtomic,
            set,
            Property::Store,
            not(
                "expiry of NEW between",
                Configuration {
                    keeps_new: true,
                    ..set
                },
            ),
        ),
        found(Mechanism::SetStoresFirst, set, Property::Store, None),
        found(
            Mechanism::ClearLeasesFirst,
            Configuration {
                kinds: &[Clear],
                ..untagged
            },
            Property::Store,
            None,
        ),
        found(
            Mechanism::TagIsRandom,
            tagged,
            Property::Store,
            not(
                "an evicted V",
                Configuration {
                    evicts_tag: false,
                    ..tagged
                },
            ),
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
            not(
                "an evicted V",
                Configuration {
                    evicts_tag: false,
                    ..tagged_lost
                },
            ),
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
            not(
                "an evicted V",
                Configuration {
                    evicts_tag: false,
                    ..tagged
                },
            ),
        ),
        found(
            Mechanism::MissingTagIsCreated,
            tagged,
            Property::Store,
            not(
                "an evicted V",
                Configuration {
                    evicts_tag: false,
                    ..tagged
                },
            ),
        ),
    ]
}

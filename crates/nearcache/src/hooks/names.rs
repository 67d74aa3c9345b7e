//! The names of telemetry, the same for all exporters. They are documented in a table in `docs/observability.md`, and
//! a test checks that the two agree.

#![cfg_attr(not(any(feature = "metrics", feature = "otel")), allow(dead_code))]

use super::{NearTracking, Stats};
use crate::resilience::BreakerState;

/// How long calls take.
pub(crate) const CALL_DURATION: Instrument = Instrument {
    otel: "nearcache.call.duration",
    prometheus: "nearcache_call_duration_seconds",
    unit: "s",
    about: "How long calls of the cache take, loaders included",
};

/// Calls by group of keys, if key groups are set.
pub(crate) const KEY_CALLS: Instrument = Instrument {
    otel: "nearcache.key.calls",
    prometheus: "nearcache_key_calls_total",
    unit: "{call}",
    about: "Calls of the cache, by group of keys",
};

/// Calls whose caller was cancelled.
pub(crate) const ABANDONED: Instrument = Instrument {
    otel: "nearcache.abandoned",
    prometheus: "nearcache_abandoned_total",
    unit: "{call}",
    about: "Calls whose caller went away before they ended",
};

/// How long database operations take, as the semantic conventions define it.
#[cfg(feature = "otel")]
pub(crate) const DB_DURATION: Instrument = Instrument {
    otel: "db.client.operation.duration",
    prometheus: "db_client_operation_duration_seconds",
    unit: "s",
    about: "Duration of database client operations",
};

/// Bucket bounds for durations, in seconds: a call in this process takes a microsecond, a call to Redis a hundred,
/// and a load may take seconds.
pub(crate) const BUCKETS: [f64; 16] = [
    0.000_001, 0.000_01, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 5.0,
];

/// A metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instrument {
    /// Its name in OpenTelemetry.
    #[cfg_attr(not(feature = "otel"), allow(dead_code))]
    pub(crate) otel: &'static str,
    /// Its name in the `metrics` facade, and so in Prometheus.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) prometheus: &'static str,
    /// Its unit in OpenTelemetry.
    pub(crate) unit: &'static str,
    pub(crate) about: &'static str,
}

/// A metric that is one field of [`Stats`].
pub(crate) struct Counted {
    pub(crate) instrument: Instrument,
    pub(crate) value: Value,
}

/// How the value of a field is read.
pub(crate) enum Value {
    /// It only grows.
    Counter(fn(&Stats) -> u64),
    /// It goes up and down.
    Gauge(fn(&Stats) -> u64),
}

macro_rules! counted {
    ($($field:ident in $unit:literal, $about:literal;)*) => {
        &[$(Counted {
            instrument: Instrument {
                otel: concat!("nearcache.", stringify!($field)),
                prometheus: concat!("nearcache_", stringify!($field), "_total"),
                unit: $unit,
                about: $about,
            },
            value: Value::Counter(|stats| stats.$field),
        }),*, Counted {
            instrument: Instrument {
                otel: "nearcache.invalidations_waiting",
                prometheus: "nearcache_invalidations_waiting",
                unit: "{invalidation}",
                about: "Invalidations that wait for Redis to answer again",
            },
            value: Value::Gauge(|stats| stats.invalidations_waiting),
        }, Counted {
            instrument: Instrument {
                otel: "nearcache.sweeps_waiting",
                prometheus: "nearcache_sweeps_waiting",
                unit: "{sweep}",
                about: "Deletions of many keys that go on in the background",
            },
            value: Value::Gauge(|stats| stats.sweeps_waiting),
        }, Counted {
            instrument: Instrument {
                otel: "nearcache.breaker_open",
                prometheus: "nearcache_breaker_open",
                unit: "1",
                about: "1 while calls are turned away because Redis does not answer, else 0",
            },
            value: Value::Gauge(|stats| (stats.breaker == BreakerState::Open).into()),
        }, Counted {
            instrument: Instrument {
                otel: "nearcache.near_entries",
                prometheus: "nearcache_near_entries",
                unit: "{entry}",
                about: "Entries that the near tier has",
            },
            value: Value::Gauge(|stats| stats.near_entries),
        }, Counted {
            instrument: Instrument {
                otel: "nearcache.near_tracking",
                prometheus: "nearcache_near_tracking",
                unit: "1",
                about: "1 while the near tier is told of changed keys, else 0",
            },
            value: Value::Gauge(|stats| (stats.near_tracking == NearTracking::On).into()),
        }]
    };
}

/// What a cache counts, as metrics.
pub(crate) const COUNTED: &[Counted] = counted! {
    hits in "{read}", "Reads that found a value";
    nothings in "{read}", "Reads that found a cached nothing";
    misses in "{read}", "Reads that found no value, or none that was readable";
    undecodable in "{read}", "Misses that found bytes which are not what was asked for";
    stale_hits in "{read}", "Hits that were answered with a value past its TTL";
    loads in "{load}", "Loaders run";
    load_errors in "{load}", "Loads that failed";
    coalesced in "{call}", "Callers that waited for the load of another caller in this process";
    lease_waits in "{load}", "Loads that waited for the load of another process";
    fenced in "{load}", "Loads whose value was not stored, because an invalidation came between";
    not_stored in "{load}", "Loads whose value was not stored for another reason than an invalidation";
    degraded in "{call}", "Errors of Redis that a call went on without: its loader ran";
    refreshes in "{load}", "Loads in the background, for callers that had already been answered";
    invalidations in "{invalidation}", "Invalidations that Redis has acknowledged";
    invalidations_deferred in "{invalidation}", "Invalidations that Redis did not acknowledge, and that are sent again";
    writes in "{value}", "Values written";
    deletes in "{key}", "Keys deleted";
    bytes_in in "By", "Bytes of values read";
    bytes_out in "By", "Bytes of values written";
    connects in "{connection}", "Connections made";
    losses in "{connection}", "Connections that broke";
    fallbacks in "{call}", "Calls that were answered by the fallback, because Redis did not";
    breaker_openings in "{opening}", "How often the breaker has opened";
    batches in "{batch}", "Batches sent: calls of several tasks that left together";
    batched_calls in "{call}", "Calls that were sent in batches";
    near_hits in "{read}", "Hits that the near tier has answered";
    near_evictions in "{entry}", "Entries that the near tier has evicted, because it was full";
    near_invalidations in "{key}", "Keys that the near tier was told to be changed";
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all() -> Vec<Instrument> {
        let mut all = vec![CALL_DURATION, KEY_CALLS, ABANDONED];
        #[cfg(feature = "otel")]
        all.push(DB_DURATION);
        all.extend(COUNTED.iter().map(|counted| counted.instrument));
        all
    }

    #[test]
    fn the_guide_lists_every_name_with_its_meaning() {
        let guide = include_str!("../../../../docs/observability.md");
        for Instrument {
            otel,
            prometheus,
            unit,
            about,
        } in all()
        {
            let row = format!("| `{otel}` | `{prometheus}` | {unit} | {about} |");
            assert!(guide.contains(&row), "docs/observability.md lacks\n{row}");
        }
    }

    #[test]
    fn no_two_metrics_have_one_name() {
        let names: BTreeSet<_> = all().iter().map(|one| one.prometheus).collect();
        assert_eq!(names.len(), all().len());
    }
}

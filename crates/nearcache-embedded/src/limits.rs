//! The limits of a store: how much memory its keys may take, what is evicted when that is not enough, and the
//! settings for this choice.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::keyspace::access::Lfu;
use crate::mailbox::Bound;
use crate::port::settings::PortSettings;

/// What a store does when its keys exceed the memory limit: a server's `maxmemory-policy`.
///
/// As on a server, the best of a few keys picked at random is evicted: see [Memory limit](crate#memory-limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Policy {
    /// Evicts nothing: commands that would store more fail.
    #[default]
    NoEviction,
    /// Evicts the key that has not been used for the longest time.
    AllKeysLru,
    /// Evicts the key that is used least often.
    AllKeysLfu,
    /// Evicts any key.
    AllKeysRandom,
    /// Of the keys with a TTL, evicts the one that has not been used for the longest time.
    VolatileLru,
    /// Of the keys with a TTL, evicts the one that is used least often.
    VolatileLfu,
    /// Of the keys with a TTL, evicts any.
    VolatileRandom,
    /// Evicts the key that would expire next.
    VolatileTtl,
}

impl Policy {
    /// All policies, in the order in which a server lists them.
    pub const ALL: [Policy; 8] = [
        Policy::VolatileLru,
        Policy::VolatileLfu,
        Policy::VolatileRandom,
        Policy::VolatileTtl,
        Policy::AllKeysLru,
        Policy::AllKeysLfu,
        Policy::AllKeysRandom,
        Policy::NoEviction,
    ];

    /// The server's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Policy::NoEviction => "noeviction",
            Policy::AllKeysLru => "allkeys-lru",
            Policy::AllKeysLfu => "allkeys-lfu",
            Policy::AllKeysRandom => "allkeys-random",
            Policy::VolatileLru => "volatile-lru",
            Policy::VolatileLfu => "volatile-lfu",
            Policy::VolatileRandom => "volatile-random",
            Policy::VolatileTtl => "volatile-ttl",
        }
    }

    pub(crate) fn is_random(self) -> bool {
        matches!(self, Policy::AllKeysRandom | Policy::VolatileRandom)
    }

    /// Whether only keys with a TTL are evicted.
    pub(crate) fn is_volatile(self) -> bool {
        matches!(
            self,
            Policy::VolatileLru
                | Policy::VolatileLfu
                | Policy::VolatileRandom
                | Policy::VolatileTtl
        )
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not that of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownPolicy;

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Policy::ALL.map(Policy::name);
        write!(f, "a policy is one of {}", names.join(", "))
    }
}

impl std::error::Error for UnknownPolicy {}

/// Parses a policy's name, in any case.
impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let is_it = |policy: &Policy| policy.name().eq_ignore_ascii_case(name);
        Policy::ALL.into_iter().find(is_it).ok_or(UnknownPolicy)
    }
}

/// Parses a number of bytes as a server does: digits, and one of the units `b`, `k`, `kb`, `m`, `mb`, `g`, `gb` in
/// any case, where `k` is 1000 and `kb` 1024. Too large a number gives the largest possible one.
///
/// ```
/// use nearcache_embedded::parse_memory;
///
/// assert_eq!(parse_memory("64mb"), Some(64 << 20));
/// assert_eq!(parse_memory("64M"), Some(64_000_000));
/// assert_eq!(parse_memory("lots"), None);
/// ```
#[must_use]
pub fn parse_memory(text: &str) -> Option<usize> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    if digits.is_empty() {
        return None;
    }
    // Parsing digits fails only if the number is too large.
    Some(digits.parse().unwrap_or(usize::MAX).saturating_mul(unit))
}

/// The current settings: `CONFIG SET` changes them while commands run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) maxmemory: AtomicUsize,
    policy: AtomicU8,
    pub(crate) samples: AtomicU32,
    pub(crate) log_factor: AtomicU32,
    pub(crate) decay_time: AtomicU32,
    pub(crate) compact: CompactSettings,
    /// The maximum length of a string: `proto-max-bulk-len`.
    pub(crate) max_len: AtomicUsize,
    /// Up to which size a HyperLogLog is kept sparse: `hll-sparse-max-bytes`.
    pub(crate) hyperloglog_sparse: AtomicUsize,
    /// Which keyspace notifications are published: `notify-keyspace-events`.
    pub(crate) notify: AtomicU32,
    /// What takes at least so many microseconds is in the slow log; nothing if negative.
    pub(crate) slow: AtomicI64,
    pub(crate) slow_entries: AtomicUsize,
    pub(crate) port: PortSettings,
    /// How much may wait for a client that does not read.
    pub(crate) push_bound: Arc<Bound>,
    /// How many keys are remembered for the clients that track: `tracking-table-max-keys`.
    pub(crate) tracked_keys: AtomicUsize,
}

/// Up to which size structures are kept compact, as a server's settings of these names say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compact {
    pub(crate) hash_entries: usize,
    pub(crate) hash_value: usize,
    pub(crate) sorted_set_entries: usize,
    pub(crate) sorted_set_value: usize,
    pub(crate) set_integers: usize,
    /// Positive: how many elements a node of a list has at most; from -1 to -5: how many bytes, 4 KiB to 64 KiB.
    pub(crate) list_node: i64,
    pub(crate) stream_node_bytes: usize,
    pub(crate) stream_node_entries: usize,
}

/// The same, while `CONFIG SET` may change it.
#[derive(Debug)]
pub(crate) struct CompactSettings {
    pub(crate) hash_entries: AtomicI64,
    pub(crate) hash_value: AtomicI64,
    pub(crate) sorted_set_entries: AtomicI64,
    pub(crate) sorted_set_value: AtomicI64,
    pub(crate) set_integers: AtomicI64,
    pub(crate) list_node: AtomicI64,
    pub(crate) stream_node_bytes: AtomicI64,
    pub(crate) stream_node_entries: AtomicI64,
}

impl Default for CompactSettings {
    fn default() -> Self {
        CompactSettings {
            hash_entries: AtomicI64::new(512),
            hash_value: AtomicI64::new(64),
            sorted_set_entries: AtomicI64::new(128),
            sorted_set_value: AtomicI64::new(64),
            set_integers: AtomicI64::new(512),
            list_node: AtomicI64::new(-2),
            stream_node_bytes: AtomicI64::new(4096),
            stream_node_entries: AtomicI64::new(100),
        }
    }
}

impl CompactSettings {
    pub(crate) fn get(&self) -> Compact {
        let size = |at: &AtomicI64| usize::try_from(at.load(Ordering::Relaxed)).unwrap_or(0);
        Compact {
            hash_entries: size(&self.hash_entries),
            hash_value: size(&self.hash_value),
            sorted_set_entries: size(&self.sorted_set_entries),
            sorted_set_value: size(&self.sorted_set_value),
            set_integers: size(&self.set_integers),
            list_node: self.list_node.load(Ordering::Relaxed),
            stream_node_bytes: size(&self.stream_node_bytes),
            stream_node_entries: size(&self.stream_node_entries),
        }
    }
}

impl Default for Compact {
    fn default() -> Self {
        CompactSettings::default().get()
    }
}

impl Settings {
    pub(crate) fn new(maxmemory: usize, policy: Policy) -> Self {
        Settings {
            maxmemory: AtomicUsize::new(maxmemory),
            policy: AtomicU8::new(policy as u8),
            samples: AtomicU32::new(5),
            log_factor: AtomicU32::new(10),
            decay_time: AtomicU32::new(1),
            compact: CompactSettings::default(),
            max_len: AtomicUsize::new(512 << 20),
            hyperloglog_sparse: AtomicUsize::new(3000),
            notify: AtomicU32::new(0),
            slow: AtomicI64::new(10_000),
            slow_entries: AtomicUsize::new(128),
            port: PortSettings::default(),
            push_bound: Arc::default(),
            tracked_keys: AtomicUsize::new(1_000_000),
        }
    }

    #[inline]
    pub(crate) fn policy(&self) -> Policy {
        let number = self.policy.load(Ordering::Relaxed);
        let is_it = |policy: &Policy| *policy as u8 == number;
        Policy::ALL.into_iter().find(is_it).unwrap_or_default()
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        self.policy.store(policy as u8, Ordering::Relaxed);
    }

    /// How uses are counted, if the policy counts them.
    #[inline]
    pub(crate) fn lfu(&self) -> Option<Lfu> {
        let number = self.policy.load(Ordering::Relaxed);
        let counts = number == Policy::AllKeysLfu as u8 || number == Policy::VolatileLfu as u8;
        counts.then(|| Lfu {
            log_factor: self.log_factor.load(Ordering::Relaxed),
            decay_time: self.decay_time.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_read_by_its_name() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
            assert_eq!(policy.name().to_uppercase().parse(), Ok(policy));
            let settings = Settings::new(0, policy);
            assert_eq!(settings.policy(), policy);
            assert_eq!(settings.lfu().is_some(), policy.name().ends_with("lfu"));
        }
        assert_eq!("lru".parse::<Policy>(), Err(UnknownPolicy));
    }

    #[test]
    fn sizes_are_read_as_a_server_reads_them() {
        let cases = [
            ("0", Some(0)),
            ("5k", Some(5_000)),
            ("5Kb", Some(5_120)),
            ("1GB", Some(1 << 30)),
            ("3g", Some(3_000_000_000)),
            ("7b", Some(7)),
            ("99999999999999999999", Some(usize::MAX)),
            ("", None),
            ("mb", None),
            ("-1", None),
            ("1.5gb", None),
            ("1 mb", None),
            ("1tb", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_memory(text), bytes, "{text}");
        }
    }
}

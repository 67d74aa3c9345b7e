//! Keyspace notifications: which commands tell what about a key, and what of that is published.

/// A class of notifications: a letter of `notify-keyspace-events`. The numbers are those of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class(pub(crate) u32);

impl Class {
    /// `g`: commands on keys of any type.
    pub(crate) const GENERIC: Class = Class(1 << 2);
    /// `$`
    pub(crate) const STRING: Class = Class(1 << 3);
    /// `l`
    pub(crate) const LIST: Class = Class(1 << 4);
    /// `s`
    pub(crate) const SET: Class = Class(1 << 5);
    /// `h`
    pub(crate) const HASH: Class = Class(1 << 6);
    /// `z`
    pub(crate) const SORTED_SET: Class = Class(1 << 7);
    /// `x`
    pub(crate) const EXPIRED: Class = Class(1 << 8);
    /// `e`
    pub(crate) const EVICTED: Class = Class(1 << 9);
    /// `t`
    pub(crate) const STREAM: Class = Class(1 << 10);
    /// `m`
    pub(crate) const KEY_MISS: Class = Class(1 << 11);
    /// `n`
    pub(crate) const NEW: Class = Class(1 << 14);
}

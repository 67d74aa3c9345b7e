//! A slot that moves from one primary to another, in steps between which a test can look.

use super::Cluster;

/// How many keys are moved at once.
const KEYS: usize = 100;

/// How long the moving of some keys may take, in milliseconds.
const PATIENCE: &str = "30000";

/// The move of one slot. Before [`Migration::begin`] nothing has happened; between it and [`Migration::finish`] the old
/// primary answers `ASK` for keys that it does not have, and `TRYAGAIN` for some of several.
#[derive(Debug)]
#[must_use = "it does nothing by itself"]
pub struct Migration<'c> {
    cluster: &'c Cluster,
    slot: u16,
    from: usize,
    to: usize,
}

impl<'c> Migration<'c> {
    pub(super) fn new(cluster: &'c Cluster, slot: u16, to: usize) -> Migration<'c> {
        let from = cluster.primary_of(slot);
        assert_ne!(from, to, "slot {slot} is there already");
        Migration {
            cluster,
            slot,
            from,
            to,
        }
    }

    /// The primary that has the slot before.
    pub fn from(&self) -> usize {
        self.from
    }

    /// The primary that has it afterwards.
    pub fn to(&self) -> usize {
        self.to
    }

    /// From now on new keys are made at the new primary.
    pub fn begin(&self) {
        self.set_slot(self.to, &["IMPORTING", self.cluster.id(self.from)]);
        self.set_slot(self.from, &["MIGRATING", self.cluster.id(self.to)]);
    }

    /// Moves these keys. One that does not exist is nothing to move.
    pub fn keys<K: AsRef<[u8]>>(&self, keys: &[K]) {
        let port = self.cluster.node(self.to).port().to_string();
        let mut command: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0"];
        command.push(PATIENCE.as_bytes());
        if let Some(password) = &self.cluster.options.password {
            command.extend([b"AUTH", password.as_bytes()]);
        }
        command.push(b"KEYS");
        command.extend(keys.iter().map(AsRef::as_ref));
        self.cluster.tell(self.from, &command);
    }

    /// Moves up to so many keys, whichever they are, and returns how many.
    pub fn some(&self, count: usize) -> usize {
        let (slot, count) = (self.slot.to_string(), count.to_string());
        let asked = ["CLUSTER", "GETKEYSINSLOT", &slot, &count];
        let keys = self.cluster.tell(self.from, &asked).elements();
        if !keys.is_empty() {
            self.keys(&keys);
        }
        keys.len()
    }

    /// The slot is the new primary's, as all primaries are told.
    ///
    /// # Panics
    /// If the old one still has keys of it.
    pub fn finish(&self) {
        let new = self.cluster.id(self.to);
        self.set_slot(self.to, &["NODE", new]);
        self.set_slot(self.from, &["NODE", new]);
        for primary in self.cluster.primaries() {
            if primary != self.to && primary != self.from {
                self.set_slot(primary, &["NODE", new]);
            }
        }
    }

    /// The slot stays where it was. The keys that were moved are moved back.
    pub fn abort(&self) {
        self.set_slot(self.from, &["STABLE"]);
        self.set_slot(self.to, &["STABLE"]);
    }

    /// All steps, with all keys.
    pub fn whole(&self) {
        self.begin();
        while self.some(KEYS) > 0 {}
        self.finish();
    }

    fn set_slot(&self, node: usize, how: &[&str]) {
        let slot = self.slot.to_string();
        let mut command = vec!["CLUSTER", "SETSLOT", &slot];
        command.extend(how);
        self.cluster.tell(node, &command);
    }
}

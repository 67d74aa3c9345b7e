//! The stream type: [entries](entries), and [groups](group) of consumers who read them.

mod entries;
mod group;
mod id;
mod node;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::size::block;

pub(crate) use entries::{Entries, Keep, Refused, Trim, Wanted};
pub(crate) use group::{Deliveries, Group, Pending};
pub(crate) use id::Id;
pub(crate) use node::{Entry, NodeLimits};

#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) entries: Entries,
    groups: BTreeMap<Box<[u8]>, Group>,
    /// The memory of all groups and their names.
    heap: usize,
}

impl Stream {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The name that `OBJECT ENCODING` gives.
    pub(crate) fn encoding(&self) -> &'static str {
        "stream"
    }

    /// How much memory it takes, boxed.
    pub(crate) fn bytes(&self) -> usize {
        block(size_of::<Stream>())
            + self.entries.bytes()
            + self.heap
            + tree(self.groups.len(), size_of::<(Box<[u8]>, Group)>())
    }

    pub(crate) fn groups(&self) -> &BTreeMap<Box<[u8]>, Group> {
        &self.groups
    }

    pub(crate) fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Makes a group, and returns whether there was none of that name.
    pub(crate) fn create_group(
        &mut self,
        name: &[u8],
        last_id: Id,
        entries_read: Option<i64>,
    ) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        let group = Group::new(last_id, entries_read);
        self.heap += block(name.len()) + group.heap();
        self.groups.insert(name.into(), group);
        true
    }

    pub(crate) fn remove_group(&mut self, name: &[u8]) -> bool {
        let removed = self.groups.remove(name);
        if let Some(group) = &removed {
            self.heap -= block(name.len()) + group.heap();
        }
        removed.is_some()
    }

    /// Changes a group, beside the entries.
    pub(crate) fn edit_group<R>(
        &mut self,
        name: &[u8],
        edit: impl FnOnce(&mut Group, &Entries) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(name)?;
        self.heap -= group.heap();
        let result = edit(group, &self.entries);
        self.heap += group.heap();
        Some(result)
    }
}

/// About how much memory a B-tree of this many pairs takes: a leaf has room for 11, and is little more than half full
/// if they come in ascending order, as ids do.
fn tree(len: usize, pair: usize) -> usize {
    let leaf = block(11 * pair + 16);
    match len {
        0 => 0,
        1..=11 => leaf,
        len => len * leaf / 6,
    }
}

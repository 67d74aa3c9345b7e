//! How commands read and change a structure or a string: what is left empty goes, and what changes nothing counts as
//! no change.

use std::sync::atomic::Ordering;

use super::Context;
use crate::event::Record;
use crate::keyspace::bytes::Bytes;
use crate::keyspace::entry::{Data, Structure};
use crate::limits::Compact;
use crate::notify::Class;
use crate::reply::Error;

/// What a change of a structure did.
pub(crate) struct Change<R> {
    changed: bool,
    quiet: bool,
    events: [Option<(Class, &'static str)>; 2],
    result: R,
}

impl<R> Change<R> {
    /// Nothing changed.
    pub(crate) fn none(result: R) -> Self {
        Change::when(false, result)
    }

    /// Something changed.
    pub(crate) fn done(result: R) -> Self {
        Change::when(true, result)
    }

    /// Something changed if so.
    pub(crate) fn when(changed: bool, result: R) -> Self {
        Change {
            changed,
            quiet: false,
            events: [None; 2],
            result,
        }
    }

    /// The change is none for those who watch the key or wait for it: so are changes of a stream's groups.
    pub(crate) fn quietly(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The notification to publish if something changed; up to two.
    pub(crate) fn notify(mut self, class: Class, event: &'static str) -> Self {
        if let Some(free) = self.events.iter_mut().find(|event| event.is_none()) {
            *free = Some((class, event));
        }
        self
    }
}

impl Context<'_> {
    /// Up to which size structures are kept compact.
    pub(crate) fn compact(&self) -> Compact {
        self.shared.settings.compact.get()
    }

    /// The maximum length of a string.
    pub(crate) fn max_len(&self) -> usize {
        self.shared.settings.max_len.load(Ordering::Relaxed)
    }

    /// The structure at a key. It counts as a use of the key.
    #[inline]
    pub(crate) fn structure<S: Structure>(&self, key: &[u8]) -> Result<Option<&S>, Error> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => S::of(&entry.data).map(Some).ok_or(Error::WRONG_TYPE),
        }
    }

    /// Changes the structure at a key; `None` if there is none. `change` returns whether it really changed something,
    /// and a result. A structure that is left empty is removed, and that is notified as `del`; so commands notify
    /// their own event through [`Change::notify`].
    pub(crate) fn change<S: Structure, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut S) -> Change<R>,
    ) -> Result<Option<R>, Error> {
        if self.structure::<S>(key)?.is_none() {
            return Ok(None);
        }
        let db = self.session.db;
        let hash = self.hash(key);
        let mut emptied = false;
        let Some(shard) = self.shard_mut(hash) else {
            return Ok(None);
        };
        let done = shard.change(db, |table| {
            table.edit(hash, key, |entry| {
                let structure = S::of_mut(&mut entry.data)?;
                let done = change(structure);
                emptied = !S::STAYS_EMPTY && structure.is_empty();
                Some(done)
            })
        });
        let Some(done) = done.flatten() else {
            return Ok(None);
        };
        if done.changed {
            if done.quiet {
                self.has_changed_quietly(db, key);
            } else {
                self.has_changed(db, key, hash);
            }
            for (class, event) in done.events.into_iter().flatten() {
                self.notify(class, event, key);
            }
        }
        if emptied {
            self.take(key);
            self.notify(Class::GENERIC, "del", key);
        }
        Ok(Some(done.result))
    }

    /// Changes the structure at a key, which is made if there is none; but not if it would be left empty.
    pub(crate) fn change_or_make<S: Structure, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut S) -> Change<R>,
    ) -> Result<R, Error> {
        if self.structure::<S>(key)?.is_some() {
            let done = self.change(key, change)?;
            return done.ok_or(Error::WRONG_TYPE);
        }
        let mut structure = S::default();
        let done = change(&mut structure);
        if done.changed && (S::STAYS_EMPTY || !structure.is_empty()) {
            self.put(key, S::into_data(structure).into(), None);
            for (class, event) in done.events.into_iter().flatten() {
                self.notify(class, event, key);
            }
        }
        Ok(done.result)
    }

    /// Stores the result of a command at a key, in place of whatever is there; an empty one removes the key. Returns
    /// whether there is a result.
    pub(crate) fn store<S: Structure>(
        &mut self,
        key: &[u8],
        structure: S,
        class: Class,
        event: &'static str,
    ) -> bool {
        if structure.is_empty() {
            if self.take(key).is_some() {
                self.notify(Class::GENERIC, "del", key);
            }
            return false;
        }
        self.put(key, S::into_data(structure).into(), None);
        self.notify(class, event, key);
        true
    }

    /// What a change entails of which those who watch the key, or wait for it, are not told.
    pub(super) fn has_changed_quietly(&mut self, db: u32, key: &[u8]) {
        self.changed = true;
        self.note(|| Record::Changed {
            db,
            key: key.into(),
        });
    }

    /// The string at a key.
    #[inline]
    pub(crate) fn string(&self, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        match self.read(key).map(|entry| &entry.data) {
            None => Ok(None),
            Some(Data::String(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(Error::WRONG_TYPE),
        }
    }

    /// Changes the string at a key, and keeps its deadline. The string is made from an empty one if there is none; but
    /// not if nothing changed.
    pub(crate) fn change_string<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Vec<u8>) -> Change<R>,
    ) -> Result<R, Error> {
        if self.string(key)?.is_none() {
            let mut bytes = Vec::new();
            let done = change(&mut bytes);
            if done.changed {
                self.put(key, Data::String(Bytes::raw(bytes)).into(), None);
                self.notify_all(key, done.events);
            }
            return Ok(done.result);
        }
        let db = self.session.db;
        let hash = self.hash(key);
        let done = self.shard_mut(hash).and_then(|shard| {
            shard.change(db, |table| {
                table.edit(hash, key, |entry| match &mut entry.data {
                    Data::String(bytes) => Some(bytes.edit(change)),
                    _ => None,
                })
            })
        });
        let done = done.flatten().ok_or(Error::WRONG_TYPE)?;
        if done.changed {
            self.has_changed(db, key, hash);
            self.notify_all(key, done.events);
        }
        Ok(done.result)
    }

    pub(super) fn notify_all(&self, key: &[u8], events: [Option<(Class, &'static str)>; 2]) {
        for (class, event) in events.into_iter().flatten() {
            self.notify(class, event, key);
        }
    }
}

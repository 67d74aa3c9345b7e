//! The server's side: the scripts and commands, each atomic.

use crate::state::{Age, Entry, Server, Stamp, Token};

/// What ACQUIRE answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Acquired {
    /// The entry, which is not the one that was seen.
    Found(Entry),
    Mine,
    Theirs,
}

/// What FILL answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    Stored,
    Fenced,
}

/// What the scripts compare; a model may leave one out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compares {
    pub(crate) seen: bool,
    pub(crate) exclusive: bool,
    pub(crate) token: bool,
    pub(crate) entry: bool,
    pub(crate) tag: bool,
    pub(crate) epoch: bool,
    pub(crate) current: bool,
}

impl Server {
    pub(crate) fn acquire(&mut self, token: Token, seen: Option<Entry>, by: Compares) -> Acquired {
        if let Some(entry) = self.entry
            && (!by.seen || seen != Some(entry))
        {
            Acquired::Found(entry)
        } else if self.lease == Token::NONE || !by.exclusive {
            self.lease = token;
            Acquired::Mine
        } else {
            Acquired::Theirs
        }
    }

    /// ACQUIRE of a `refresh`: how `s` is, and the lease whoever has it.
    pub(crate) fn take(&mut self, token: Token) -> Option<Entry> {
        self.lease = token;
        self.entry
    }

    pub(crate) fn fill(
        &mut self,
        token: Token,
        seen: Option<Entry>,
        value: Entry,
        epoch: Stamp,
        by: Compares,
    ) -> Filled {
        let ours = self.lease == token || !by.token;
        let as_seen = self.entry == seen || !by.entry;
        let tag = self.tag == value.stamp || !by.current && self.is_marked(value.stamp);
        let unmoved = (tag || !by.tag) && (self.epoch == epoch || !by.epoch);
        if ours {
            self.lease = Token::NONE;
        }
        if ours && as_seen && unmoved {
            self.entry = Some(value);
            Filled::Stored
        } else {
            Filled::Fenced
        }
    }

    /// Compare-and-delete, or DEL.
    pub(crate) fn release(&mut self, token: Token, compares: bool) {
        if self.lease == token || !compares {
            self.lease = Token::NONE;
        }
    }

    /// SET V NX.
    pub(crate) fn create_tag(&mut self, stamp: Stamp) {
        if self.tag == Stamp::NONE {
            self.tag = stamp;
        }
    }

    /// SET V, UNLINK V, or its eviction.
    pub(crate) fn move_tag(&mut self, stamp: Stamp) {
        self.tag = stamp;
        self.stale = Stamp::NONE;
    }

    /// MARK: `s` is stale, if it is there.
    pub(crate) fn mark(&mut self) {
        if let Some(entry) = &mut self.entry
            && entry.age == Age::Fresh
        {
            entry.age = Age::Soft;
        }
    }

    /// MARK_TAG: a version in front of V, if it is there.
    pub(crate) fn mark_tag(&mut self, stamp: Stamp) {
        if self.tag != Stamp::NONE {
            self.stale = self.tag;
            self.tag = stamp;
        }
    }

    /// Whether what carries this version of V is stale.
    pub(crate) fn is_marked(&self, stamp: Stamp) -> bool {
        self.stale != Stamp::NONE && self.stale == stamp
    }

    /// SET of the epoch, NX.
    pub(crate) fn create_epoch(&mut self, stamp: Stamp) {
        if self.epoch == Stamp::NONE {
            self.epoch = stamp;
        }
    }

    /// UNLINK of the epoch.
    pub(crate) fn move_epoch(&mut self) {
        self.epoch = Stamp::NONE;
    }
}

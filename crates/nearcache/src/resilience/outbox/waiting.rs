//! What waits in the outbox: a list of invalidations, and sweeps for what the list cannot hold.

use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

use super::super::invalidation::{Goal, Invalidation, Kind};
use super::owed::{Hashes, Owed, Position, Scope, Sweep, mark};
use super::{BYTES, ENTRIES, MARKS, PART, SWEEPS};

/// The longest name in a command: a lease whose key and prefix are as long as they may be.
const LONGEST: usize = 160 * 1024;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The invalidations by name. There is more than one of a name only if it is reached by several prefixes.
    list: HashMap<Box<[u8]>, SmallVec<[Item; 1]>>,
    count: usize,
    bytes: usize,
    next: u64,
    sweeps: HashMap<Sweep, Owed>,
    hashes: Hashes,
    /// What the background is deleting at this moment.
    deleting: HashSet<u128>,
    /// How many listings wait for a page, and what has left the list since the first of them began.
    listings: usize,
    gone: HashSet<u128>,
}

/// An invalidation in the list.
#[derive(Debug)]
struct Item {
    kind: Kind,
    prefix: usize,
    /// The number of its newest request.
    number: u64,
    /// How many calls are sending it.
    claims: u32,
}

/// Invalidations with their numbers.
pub(super) type Numbered = Vec<(Invalidation, u64)>;

/// What the background does next.
#[derive(Debug)]
pub(super) enum Task {
    Send(Numbered),
    Page(Sweep, Position),
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.sweeps.is_empty()
    }

    /// How many invalidations wait.
    pub(super) fn len(&self) -> usize {
        let sweeps = self
            .sweeps
            .keys()
            .filter(|(_, scope)| *scope != Scope::Marked);
        self.count + self.marked() + sweeps.count()
    }

    pub(super) fn sweeps(&self) -> usize {
        self.sweeps.len()
    }

    fn marked(&self) -> usize {
        self.sweeps.values().map(Owed::marked).sum()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Keeps an invalidation: in the list, or else as a mark, or else as the clearing of its prefix. Returns whether
    /// it could be kept, and notes in `cleared` if it takes more than its key along.
    pub(super) fn add(&mut self, invalidation: Invalidation, cleared: &mut bool) -> bool {
        let room = self.count < ENTRIES && self.bytes + invalidation.bytes() <= BYTES;
        if room || self.holds(&invalidation) {
            self.put(invalidation);
            return true;
        }
        self.overflow(&invalidation, cleared)
    }

    fn holds(&self, invalidation: &Invalidation) -> bool {
        let items = self.list.get(&invalidation.name);
        items.is_some_and(|items| items.iter().any(|item| item.is(invalidation)))
    }

    fn put(&mut self, invalidation: Invalidation) {
        let number = self.number();
        let bytes = invalidation.bytes();
        let (kind, prefix) = (invalidation.kind, invalidation.prefix);
        let items = self.list.entry(invalidation.name).or_default();
        if let Some(item) = items
            .iter_mut()
            .find(|item| (item.kind, item.prefix) == (kind, prefix))
        {
            item.number = number;
            return;
        }
        items.push(Item {
            kind,
            prefix,
            number,
            claims: 0,
        });
        self.count += 1;
        self.bytes += bytes;
    }

    fn overflow(&mut self, invalidation: &Invalidation, cleared: &mut bool) -> bool {
        let keyspace = invalidation.keyspace();
        let lease = invalidation.kind == Kind::Lease;
        if invalidation.kind != Kind::Tag && self.marked() < MARKS {
            let mark = mark(self.hashes.of(&invalidation.name));
            let owed = self.sweeps.entry((keyspace, Scope::Marked));
            owed.or_default().mark(mark, lease);
            return true;
        }
        if lease {
            self.owe((keyspace, Scope::Leases));
            return true;
        }
        if !keyspace.has_prefix() {
            return false;
        }
        *cleared = true;
        // It covers what is marked.
        self.sweeps.remove(&(keyspace.clone(), Scope::Marked));
        self.owe((keyspace, Scope::Entries));
        true
    }

    /// Owes a sweep, or owes it once more.
    pub(super) fn owe(&mut self, sweep: Sweep) {
        let number = self.number();
        self.sweeps.entry(sweep).or_default().owe(number);
    }

    /// Owes a sweep that a caller asked for, if there is room.
    pub(super) fn owe_asked(&mut self, sweep: Sweep) -> bool {
        let room = self.sweeps.len() < SWEEPS || self.sweeps.contains_key(&sweep);
        if room {
            self.owe(sweep);
        }
        room
    }

    /// The number of a sweep that is owed.
    pub(super) fn number_of(&self, sweep: &Sweep) -> Option<u64> {
        self.sweeps.get(sweep).map(|owed| owed.number)
    }

    /// Forgets a sweep, unless it has been owed again since it had this number.
    pub(super) fn settle(&mut self, sweep: &Sweep, number: u64) {
        if self.number_of(sweep) == Some(number) {
            self.sweeps.remove(sweep);
        }
    }

    /// Begins every sweep again, because of another server.
    pub(super) fn restart(&mut self) {
        let number = self.number();
        for owed in self.sweeps.values_mut() {
            owed.restart(number);
        }
    }

    /// Every sweep that is under way goes round once more, because keys may have moved past it.
    #[cfg(feature = "cluster")]
    pub(super) fn go_round_again(&mut self) {
        for owed in self.sweeps.values_mut() {
            owed.go_round_again();
        }
    }

    /// What waits of these names, for a call that is about to send it. Each must be released.
    pub(super) fn claim(&mut self, names: &[&[u8]]) -> (Numbered, bool) {
        let (mut claimed, mut wait) = (Numbered::new(), false);
        for name in names.iter().filter(|name| name.len() <= LONGEST) {
            if !self.sweeps.is_empty() {
                self.take_over(name);
            }
            let Some(items) = self.list.get_mut(*name) else {
                continue;
            };
            for item in items {
                item.claims += 1;
                let invalidation = Invalidation {
                    kind: item.kind,
                    name: (*name).into(),
                    prefix: item.prefix,
                };
                claimed.push((invalidation, item.number));
            }
            wait |= !self.deleting.is_empty() && self.deleting.contains(&self.hashes.of(name));
        }
        (claimed, wait)
    }

    fn take_over(&mut self, name: &[u8]) {
        let hash = self.hashes.of(name);
        let taken: SmallVec<[(Kind, usize); 2]> = self
            .sweeps
            .iter_mut()
            .filter_map(|(sweep, owed)| {
                let kind = owed.take_over(sweep, name, hash)?;
                Some((kind, sweep.0.prefix_len()))
            })
            .collect();
        for (kind, prefix) in taken {
            self.put(Invalidation {
                kind,
                name: name.into(),
                prefix,
            });
        }
        self.drop_empty();
    }

    /// A sweep of marks ends with its last mark.
    fn drop_empty(&mut self) {
        self.sweeps
            .retain(|(_, scope), owed| *scope != Scope::Marked || owed.marked() > 0);
    }

    /// Ends a call's claims. What was not acknowledged waits on.
    pub(super) fn release(&mut self, claimed: &Numbered) {
        for (invalidation, _) in claimed {
            let items = self.list.get_mut(&invalidation.name);
            let mut items = items.into_iter().flatten();
            if let Some(item) = items.find(|item| item.is(invalidation)) {
                item.claims = item.claims.saturating_sub(1);
            }
        }
        // Calls that were cancelled must not make the list longer than it may be.
        while self.count > ENTRIES || self.bytes > BYTES {
            let Some(invalidation) = self.any() else {
                return;
            };
            if !self.overflow(&invalidation, &mut false) {
                return;
            }
            self.forget(&invalidation);
        }
    }

    /// Any invalidation of the list that can be kept as a mark.
    fn any(&self) -> Option<Invalidation> {
        let mut all = self.list.iter().flat_map(|(name, items)| {
            let each = items.iter().map(move |item| (name, item));
            each.filter(|(_, item)| item.kind != Kind::Tag)
        });
        all.next().map(|(name, item)| item.named(name))
    }

    /// Removes an invalidation that was acknowledged, unless there is a newer one.
    pub(super) fn remove(&mut self, invalidation: &Invalidation, number: u64) {
        let Some(items) = self.list.get(&invalidation.name) else {
            return;
        };
        let same = |item: &Item| item.is(invalidation) && item.number == number;
        if items.iter().any(same) {
            self.forget(invalidation);
            if self.listings > 0 {
                self.gone.insert(self.hashes.of(&invalidation.name));
            }
        }
    }

    fn forget(&mut self, invalidation: &Invalidation) {
        let Some(items) = self.list.get_mut(&invalidation.name) else {
            return;
        };
        items.retain(|item| !item.is(invalidation));
        self.count -= 1;
        self.bytes -= invalidation.bytes();
        if items.is_empty() {
            self.list.remove(&invalidation.name);
        }
    }

    /// Whether there is something for the background to do.
    pub(super) fn has_work(&self) -> bool {
        let mut items = self.list.values().flatten();
        !self.sweeps.is_empty() || items.any(|item| item.claims == 0)
    }

    /// What the background does next. What a call is sending is left to the call, and what is for a server that is away
    /// waits on. What is sent together is for the same servers, so that one that hangs holds up nothing of the others'.
    pub(super) fn task(&mut self, goal: impl Fn(&Invalidation) -> Option<Goal>) -> Option<Task> {
        let mut common = None;
        let free = self.list.iter().flat_map(|(name, items)| {
            let each = items.iter().map(move |item| (name, item));
            each.filter(|(_, item)| item.claims == 0)
        });
        let part: Numbered = free
            .map(|(name, item)| (item.named(name), item.number))
            .filter(|(invalidation, _)| {
                let goal = goal(invalidation);
                goal.is_some() && goal == *common.get_or_insert_with(|| goal.clone())
            })
            .take(PART)
            .collect();
        if part.is_empty() {
            // The oldest first. One that callers owe again and again must not keep back the others.
            let sweeps = self.sweeps.iter_mut();
            let oldest = sweeps.min_by_key(|(_, owed)| (owed.position.round, owed.number));
            return oldest.map(|(sweep, owed)| Task::Page(sweep.clone(), owed.next()));
        }
        self.deleting = part
            .iter()
            .map(|(one, _)| self.hashes.of(&one.name))
            .collect();
        Some(Task::Send(part))
    }

    /// Which keys of a page must be deleted; `None` if the sweep has begun again meanwhile, or is not owed any more.
    pub(super) fn doomed(
        &mut self,
        sweep: &Sweep,
        at: Position,
        found: Vec<Vec<u8>>,
    ) -> Option<Vec<Vec<u8>>> {
        let owed = self.sweeps.get(sweep).filter(|owed| owed.position == at)?;
        let doomed = owed.doomed(sweep, found, &self.hashes);
        // A lease is deleted for its entry: a call that names the entry waits.
        let entries = doomed.iter().flat_map(|name| {
            let lease = sweep.0.is_lease(name).then(|| sweep.0.entries_of(name));
            lease.into_iter().flatten().chain([&**name])
        });
        self.deleting = entries.map(|name| self.hashes.of(name)).collect();
        Some(doomed)
    }

    /// Goes on with a sweep after a page. Returns whether this was its end, and what was deleted for good.
    pub(super) fn go_on(
        &mut self,
        sweep: &Sweep,
        at: Position,
        next: Option<u64>,
        deleted: &[Vec<u8>],
    ) -> (bool, SmallVec<[Invalidation; 4]>) {
        let mut done = SmallVec::new();
        let Some(owed) = self
            .sweeps
            .get_mut(sweep)
            .filter(|owed| owed.position == at)
        else {
            return (false, done);
        };
        let ended = owed.go_on(sweep, next, deleted, &self.hashes, &mut done);
        if ended {
            self.sweeps.remove(sweep);
        }
        (ended, done)
    }

    /// Drops a sweep that the server refuses for good.
    pub(super) fn give_up(&mut self, sweep: &Sweep) {
        self.sweeps.remove(sweep);
    }

    pub(super) fn end_deleting(&mut self) {
        self.deleting = HashSet::new();
    }

    pub(super) fn begin_listing(&mut self) {
        self.listings += 1;
    }

    pub(super) fn end_listing(&mut self) {
        self.listings -= 1;
        if self.listings == 0 {
            self.gone = HashSet::new();
        }
    }

    /// Whether a key that a server has listed was invalidated before it was listed.
    pub(super) fn hides(&self, name: &[u8]) -> bool {
        let hash = self.hashes.of(name);
        self.list.contains_key(name)
            || self.gone.contains(&hash)
            || self
                .sweeps
                .iter()
                .any(|(sweep, owed)| owed.hides(sweep, name, hash))
    }
}

#[cfg(test)]
impl Waiting {
    pub(super) fn listed(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Marks it, although the list has room.
    pub(super) fn mark_for_test(&mut self, invalidation: &Invalidation) {
        assert!(self.overflow(invalidation, &mut false));
    }
}

impl Item {
    fn is(&self, invalidation: &Invalidation) -> bool {
        (self.kind, self.prefix) == (invalidation.kind, invalidation.prefix)
    }

    fn named(&self, name: &[u8]) -> Invalidation {
        Invalidation {
            kind: self.kind,
            name: name.into(),
            prefix: self.prefix,
        }
    }
}

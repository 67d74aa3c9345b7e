//! The near tier: values in this process, which take no round trip. It also has the last values that were read, for
//! [`Fallback::Stale`](crate::Fallback::Stale): there is one store of values in a process, not two.
//!
//! An entry is the bytes that Redis holds and, once it was read as a type, the value. It is a **hit** for as long as all of
//! this is so; otherwise Redis is asked, and the entry may still be a last value:
//!
//! - Its time has not ended: it never outlives the entry in Redis, nor the time at which that becomes stale, nor `near_ttl`.
//! - What carries the news of changes (`connect::carrier`) has carried without interruption since before it was read: the
//!   connection to the server that has answered. In a Cluster the versions of its tags may be at other servers, and each
//!   of these must have carried, too.
//! - No news of its key, and none of the version of one of its tags (`cells`), have come since before they were read.
//! - This process has not written, nor tried to write, its key or such a version since before they were read.
//!
//! Invariants:
//! 1. **Nothing goes near that was changed while it was read.** A read marks its key before it is sent (`marks`), and the
//!    versions of the entry's tags before these are read; what it found is kept only under marks that hold.
//! 2. **Nothing becomes a hit that is being removed.** A change spoils the marks first, and removes the entry after that. An
//!    entry is inserted unconfirmed, and confirmed when its mark has held after that: so a change that comes in between is
//!    seen by one of the two.
//! 3. **In this process, nothing older is served once an invalidation has returned**: it is told here before it is sent, and
//!    again when it is over (`resilience::keepers`). In another process, nothing older is served once the news have
//!    arrived; they come before the reply to anything that follows on the same connection.
//! 4. An invalidation by this process removes an entry also as a last value.
//! 5. Entries, marks and cells are bounded.
//!
//! `store` has the entries, `kept` is one of them, and `shape` how a caller takes its value. `fill` is for values that
//! this process has stored itself.

mod asked;
mod cells;
mod fill;
mod kept;
mod marks;
mod shape;
mod store;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use smallvec::SmallVec;

pub(crate) use self::asked::{Asked, FEWEST_BYTES, HEARTBEAT, HEARTBEATS, MOST_ENTRIES, TTLS};
use self::cells::Cells;
pub(super) use self::fill::{OwnFill, version_keys};
use self::kept::{Kept, State};
use self::marks::Mark;
use self::marks::Marks;
pub(super) use self::marks::Reading;
pub(crate) use self::shape::Shape;
pub(crate) use self::store::Limits;
use self::store::Store;
use super::entry::{Entry, Judgement};
use crate::client::Client;
use crate::coarse;
use crate::codec::{Decode, Stored};
use crate::connect::{Carried, LinkEvent};
use crate::hooks::{NearTracking, Stats};
use crate::keyspace::StoredKey;
use crate::resilience::Guarded;
use crate::resilience::keepers::{self, Keeper};

/// The bounds of the last values, where there is no near tier.
const ENTRIES: usize = 10_000;
const BYTES: u64 = 64 * 1024 * 1024;

/// How long an entry is a hit if the server does not tell of changes, unless `near_ttl` says otherwise.
const UNTOLD: Duration = Duration::from_secs(1);

/// What a cache asks of its near tier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// `None`: no near tier.
    pub(crate) limits: Option<Limits>,
    pub(crate) ttl: Option<Duration>,
    /// Whether the last values are answers while Redis is away.
    pub(crate) last: bool,
}

/// The time by which entries end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// That since this machine began: good enough for a hit, at a fraction of the cost of the exact time.
    Coarse,
    /// The time of day, likewise: a store in this process goes by it.
    Wall,
    /// That of a store in this process with a clock of its own, which a test advances.
    Store,
}

/// What was taken out of the store.
enum Taken<R> {
    Value(R),
    Entry(Arc<Kept>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Near {
    store: Store,
    marks: Marks,
    cells: Cells,
    /// Whether entries are hits at all.
    hits: bool,
    /// Whether they are answers while Redis is away.
    last: bool,
    ttl: Option<Duration>,
    /// What the cache's keys begin with. Entries are kept by what follows.
    prefix: Box<[u8]>,
    time: Time,
    /// How many keys were told to be changed.
    told: Arc<AtomicU64>,
}

impl Near {
    /// The near tier of a cache; `None` if the cache keeps nothing.
    pub(super) fn new(options: Options, client: &Client) -> Option<Arc<Self>> {
        let Options { limits, ttl, last } = options;
        let hits = limits.is_some();
        let limits = limits.or_else(|| {
            last.then_some(Limits {
                entries: Some(ENTRIES),
                bytes: Some(BYTES),
            })
        })?;
        let most = limits.entries.unwrap_or_else(|| {
            usize::try_from(limits.bytes.unwrap_or(BYTES) / 256).unwrap_or(ENTRIES)
        });
        let near = Arc::new(Near {
            store: Store::new(limits),
            marks: Marks::new(),
            cells: Cells::new(most.saturating_mul(4)),
            hits,
            last,
            ttl,
            prefix: client.keyspace().beginning().into(),
            time: match client.guarded().has_manual_clock() {
                Some(true) => Time::Store,
                Some(false) => Time::Wall,
                None => Time::Coarse,
            },
            told: Arc::default(),
        });
        // A store in this process tells of everything by itself.
        if hits && client.store_millis().is_none() {
            let keeper: Weak<dyn Keeper> = Arc::<Near>::downgrade(&near);
            keepers::register(client.host(), keeper);
        }
        Some(near)
    }

    /// Whether entries are hits.
    #[inline]
    pub(super) fn has_hits(&self) -> bool {
        self.hits
    }

    /// The time by which entries end.
    #[inline]
    fn now(&self, client: &Client) -> u64 {
        match self.time {
            Time::Coarse => coarse::now(),
            Time::Wall => coarse::unix_millis(),
            Time::Store => client.unix_millis(),
        }
    }

    /// The value of a user's key, if it is a hit and of this type. What is no key, or none that a user may have, is never
    /// kept; so it need not be checked before.
    #[inline]
    pub(super) fn look<R: Decode>(
        &self,
        key: &[u8],
        shape: Shape<R>,
        client: &Client,
    ) -> Option<Stored<R>> {
        self.look_early(key, shape, client, 0.0)
    }

    /// The same, unless it is to be loaded anew although it is fresh: see [`Entry::is_due`].
    #[inline]
    pub(super) fn look_early<R: Decode>(
        &self,
        key: &[u8],
        shape: Shape<R>,
        client: &Client,
        beta: f64,
    ) -> Option<Stored<R>> {
        if !self.hits {
            return None;
        }
        let now = self.now(client);
        let shares = shape.shares && beta <= 0.0;
        let found = self.store.look(key, |kept| {
            if !kept.is_hit(now) {
                return None;
            }
            // What is only shared is taken at once. A clone is the work of code that is not ours.
            let shared = if shares { kept.shared(shape) } else { None };
            Some(shared.map_or_else(|| Taken::Entry(Arc::clone(kept)), Taken::Value))
        })?;
        match found {
            Taken::Value(value) => Some(Stored::Value(value)),
            Taken::Entry(kept) => {
                if beta > 0.0 && kept.entry.is_due(beta, client.unix_millis()) {
                    return None;
                }
                kept.value(shape, client.codec())
            }
        }
    }

    /// Marks a key. Call it before a read is sent.
    pub(super) fn begin(&self, key: &StoredKey, client: &Client) -> Reading {
        let guarded = client.guarded();
        // In this order: what is changed after the mark is news to the carrier, or was announced.
        let routes = guarded.routes();
        let carried = match self.hits {
            true => guarded.carried(key.as_bytes()),
            false => None,
        };
        Reading {
            sent: self.now(client),
            mark: self.marks.mark(key.as_bytes()),
            untold: carried.is_none(),
            carried: carried.into_iter().collect(),
            routes,
            left: None,
            tags: Vec::new(),
        }
    }

    /// Marks a tag by its version key. Call it before its version is read.
    fn begin_tag(&self, reading: &mut Reading, version_key: Vec<u8>, client: &Client) {
        let guarded = client.guarded();
        // One server carries all of its news together.
        if self.hits && guarded.is_spread() {
            reading.carry(guarded.carried(&version_key));
        }
        let mark = self.marks.mark(&version_key);
        reading.tags.push((version_key, mark));
    }

    /// Marks the tags of an entry that was read. Call it before their versions are read.
    pub(super) fn begin_tags(&self, reading: &mut Reading, entry: &Entry, client: &Client) {
        for tag in entry.tags() {
            // A name that cannot be is a tag that does not exist: its entry is dead.
            if let Ok(key) = client.keyspace().tag(tag) {
                self.begin_tag(reading, key, client);
            }
        }
    }

    /// Keeps an entry that was read and judged. If it is dead or absent, removes the older one, which must not be
    /// returned either.
    pub(super) fn record(
        &self,
        key: &StoredKey,
        entry: Option<&Entry>,
        judgement: Judgement,
        reading: Reading,
        client: &Client,
    ) {
        match entry {
            Some(entry) if judgement != Judgement::Dead => {
                let fresh = judgement == Judgement::Fresh;
                self.keep(key, entry, fresh, reading, client);
            }
            _ => self.store.remove(key.user()),
        }
    }

    /// Keeps an entry, if its marks hold.
    fn keep(&self, key: &StoredKey, entry: &Entry, fresh: bool, reading: Reading, client: &Client) {
        // Who has answered is not known if commands went another way meanwhile.
        let told = fresh
            && !reading.untold
            && reading.routes == client.guarded().routes()
            && reading.carried.iter().all(Carried::is_current);
        let mut until = match reading.left.filter(|_| told) {
            Some(left) => {
                let tell = reading.carried.iter().all(Carried::tells);
                self.ends(reading.sent, left, entry, tell, client)
            }
            None => 0,
        };
        let mut tags = SmallVec::new();
        for (version_key, mark) in &reading.tags {
            // Found before its mark is looked at: see `cells`.
            let Some(pointer) = self.cells.point(version_key) else {
                return;
            };
            tags.push(pointer);
            if !self.marks.is_valid(*mark) {
                return;
            }
            if !self.marks.holds(*mark) {
                until = 0;
            }
        }
        if until == 0 && !self.last {
            return;
        }
        let kept = Arc::new(Kept {
            entry: Entry::new(entry.bytes().to_vec()),
            until,
            carried: reading.carried,
            tags,
            state: State::default(),
            decoded: OnceLock::new(),
        });
        self.put(key.user(), &kept, reading.mark);
    }

    /// Invariant 2.
    fn put(&self, key: &[u8], kept: &Arc<Kept>, mark: Mark) {
        self.store.insert(key, Arc::clone(kept));
        let holds = self.marks.holds(mark);
        if !self.marks.is_valid(mark) || !(holds || self.last) {
            self.store.remove_this(key, kept);
        } else if holds && kept.until > 0 {
            kept.state.confirm();
        }
    }

    /// Until when an entry is a hit, by the tier's clock, if Redis keeps it for this long; 0: it is none.
    fn ends(&self, sent: u64, left: i64, entry: &Entry, told: bool, client: &Client) -> u64 {
        let late = match self.time {
            Time::Coarse | Time::Wall => coarse::LATE,
            Time::Store => 0,
        };
        let mut until = match u64::try_from(left) {
            // It was not there any more.
            Err(_) if left != -1 => return 0,
            Err(_) => u64::MAX,
            // The clock may be late, but the entry must not be.
            Ok(left) => sent.saturating_add(left).saturating_sub(late),
        };
        if let Some(stale_at) = entry.stale_at() {
            let now = self.now(client).saturating_sub(late);
            let fresh_for = stale_at.saturating_sub(client.unix_millis());
            until = until.min(now.saturating_add(fresh_for));
        }
        let ttl = self.ttl.or_else(|| (!told).then_some(UNTOLD));
        if let Some(ttl) = ttl {
            let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            until = until.min(sent.saturating_add(ttl));
        }
        until
    }

    /// A key, or the version of a tag, was invalidated by this process.
    pub(super) fn invalidate(&self, key: &[u8]) {
        self.marks.invalidate(key);
        if let Some(key) = self.own(key) {
            self.store.remove(key);
        }
        self.cells.change(key, true);
    }

    /// Every key was invalidated.
    pub(super) fn invalidate_all(&self) {
        self.marks.invalidate_all();
        self.store.clear();
        self.cells.invalidate_all();
    }

    /// The last entry that was read of a key.
    pub(super) fn last(&self, key: &StoredKey) -> Option<Entry> {
        if !self.last {
            return None;
        }
        let kept = self.store.look(key.user(), |kept| Some(Arc::clone(kept)))?;
        kept.is_last().then(|| kept.copy())
    }

    /// What the store may have of a key: of others' keys, nothing.
    fn own<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(&*self.prefix)
    }

    /// What the server has told.
    fn hear(&self, event: &LinkEvent) {
        match event {
            LinkEvent::Invalidated { keys } => {
                self.told.fetch_add(keys.len() as u64, Ordering::Relaxed);
                for key in keys {
                    self.written(key);
                }
            }
            LinkEvent::Flushed => {
                self.told.fetch_add(1, Ordering::Relaxed);
                self.invalidate_all();
            }
            LinkEvent::Ready { .. } | LinkEvent::Lost | LinkEvent::Dropped | LinkEvent::Moved => {}
        }
    }

    /// Adds to statistics what only the tier knows.
    fn count(&self, guarded: &Guarded, stats: &mut Stats) {
        stats.near_entries = self.store.len() as u64;
        stats.near_tracking = match guarded.tracking() {
            Some(true) => NearTracking::On,
            Some(false) => NearTracking::Refused,
            None => NearTracking::Waiting,
        };
    }
}

impl Keeper for Near {
    /// What was read of it is no hit any more. It may be a last value: nobody here has invalidated it.
    fn written(&self, key: &[u8]) {
        self.marks.change(key);
        match self.own(key) {
            Some(own) if self.last => {
                if let Some(kept) = self.store.peek(own) {
                    kept.state.revoke();
                }
            }
            Some(own) => self.store.remove(own),
            None => {}
        }
        self.cells.change(key, false);
    }

    fn all_written(&self) {
        self.invalidate_all();
    }
}

/// A near tier that hears what one backend tells, until it is dropped.
pub(super) struct Hearing {
    near: Arc<Near>,
    guarded: Arc<Guarded>,
    listener: u64,
}

impl Hearing {
    pub(super) fn new(near: Arc<Near>, client: &Client) -> Arc<Self> {
        let guarded = Arc::clone(client.guarded());
        let hears = Arc::downgrade(&near);
        let listener = guarded.listen(Arc::new(move |event| {
            if let Some(near) = hears.upgrade() {
                near.hear(event);
            }
        }));
        if near.hits {
            let counts = (Arc::downgrade(&near), Arc::downgrade(&guarded));
            let (told, evictions) = (Arc::clone(&near.told), near.store.evictions());
            client.count_more(move |stats| {
                // These only grow, so they outlive the tier.
                stats.near_invalidations = told.load(Ordering::Relaxed);
                stats.near_evictions = evictions.load(Ordering::Relaxed);
                if let (Some(near), Some(guarded)) = (counts.0.upgrade(), counts.1.upgrade()) {
                    near.count(&guarded, stats);
                }
            });
        }
        Arc::new(Hearing {
            near,
            guarded,
            listener,
        })
    }

    #[inline]
    pub(super) fn near(&self) -> &Arc<Near> {
        &self.near
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.guarded.unlisten(self.listener);
    }
}

//! Going through all keys: `keys`, `delete_pattern`, `clear`. With `SCAN`, never with `KEYS`.
//!
//! A scan may give a key more than once. `keys` gives each once all the same; deleting needs no such care.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::Arc;

use redis::{Pipeline, Value};

use super::core::{Core, reply};
use super::invalidate::Poison;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::connect::BoxFuture;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::Keys as Watched;
use crate::keyspace::Key;
use crate::resilience::sweep::PAGE;
use crate::resilience::{Guarded, leaves_open};

/// Where a scan stands, through every primary.
struct Scan {
    /// Still to be gone through, the current one last.
    primaries: Vec<Arc<Guarded>>,
    cursor: u64,
    pattern: Vec<u8>,
    page: usize,
}

impl Core {
    fn scan(&self, pattern: &[u8], page: usize) -> Result<Scan> {
        Ok(Scan {
            primaries: self.enter()?.guarded().primaries().to_vec(),
            cursor: 0,
            pattern: self.keyspace.pattern(pattern),
            page,
        })
    }

    /// The next page of stored keys, or `None` at the end. A page may be empty.
    async fn page(&self, scan: &mut Scan) -> Result<Option<Vec<Vec<u8>>>> {
        let _call = self.enter()?;
        let Some(primary) = scan.primaries.last() else {
            return Ok(None);
        };
        let page = primary.page(scan.cursor, &scan.pattern, scan.page, self.limit);
        let (cursor, keys) = page.await?;
        scan.cursor = cursor;
        if cursor == 0 {
            scan.primaries.pop();
        }
        Ok(Some(keys))
    }

    /// Deletes what `pattern` matches; says how many keys of the user's that were.
    async fn sweep(&self, pattern: &[u8]) -> Result<u64> {
        let call = self.enter()?;
        self.poison_all();
        let mut unfinished = Unfinished {
            core: self,
            pattern,
            ended: false,
        };
        let outcome = call
            .guarded()
            .sweep(&self.keyspace, pattern, self.limit)
            .await;
        unfinished.ended = true;
        match outcome {
            Ok(deleted) => {
                self.counters().deletes.add(deleted);
                self.counters().invalidations.add(1);
                Ok(deleted)
            }
            Err(error) if leaves_open(&error) && self.defer_sweep(pattern) => Err(error.deferred()),
            Err(error) => Err(error),
        }
    }

    fn defer_sweep(&self, pattern: &[u8]) -> bool {
        let kept = self.guarded().defer_sweep(&self.keyspace, pattern);
        if kept {
            self.counters().invalidations_deferred.add(1);
        }
        kept
    }
}

/// A sweep under way: one whose caller goes away is taken up again by the next call.
struct Unfinished<'c> {
    core: &'c Core,
    pattern: &'c [u8],
    ended: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.core.poison_all();
        if !self.ended {
            self.core.defer_sweep(self.pattern);
        }
    }
}

pub(crate) fn delete_pattern<'c, M>(core: &'c Core, pattern: &[u8]) -> Pending<'c, u64, M> {
    let pattern = pattern.to_vec();
    Pending::new(async move {
        core.watched("delete_pattern", Watched::One(&pattern), async |core| {
            core.told(core.sweep(&pattern).await)
        })
        .await
    })
}

/// A pending `clear`.
#[must_use = "nothing is deleted until it is carried out, by `.await` or `.run()`"]
pub struct Clear<'c, M = Async> {
    core: &'c Core,
    whole_database: bool,
    mode: Marked<M>,
}

impl<'c, M> Clear<'c, M> {
    pub(crate) fn new(core: &'c Core) -> Self {
        Clear {
            core,
            whole_database: false,
            mode: PhantomData,
        }
    }

    /// Empties the whole database (`FLUSHDB`), whoever its keys belong to.
    pub fn whole_database(mut self) -> Self {
        self.whole_database = true;
        self
    }

    fn start(self) -> CacheFuture<'c, u64> {
        let Clear {
            core,
            whole_database,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            core.watched("clear", Watched::None, async |core| {
                if whole_database {
                    core.flush().await
                } else if core.keyspace.has_prefix() {
                    core.told(core.sweep(b"*").await)
                } else {
                    Err(Error::new(
                        ErrorKind::Refused,
                        "this cache has no prefix, so clearing it would delete every key of the \
                         database, other programs' too. Give it a prefix (?prefix=app), or say \
                         `.clear().whole_database()`",
                    ))
                }
            })
            .await
        })
    }
}

operation!(Clear<'c> -> u64);

impl Core {
    async fn flush(&self) -> Result<u64> {
        let mut pipeline = Pipeline::new();
        pipeline.atomic().cmd("DBSIZE").cmd("FLUSHDB");
        let mut flushed = 0;
        let call = self.enter()?;
        let _poison = Poison::all(self);
        for primary in call.guarded().primaries() {
            match &primary.pipeline(&pipeline, self.limit).await?[..] {
                [size, Value::Okay] => flushed += reply::count("DBSIZE", size)?,
                [_, Value::ServerError(error)] | [Value::ServerError(error), _] => {
                    return Err(Error::from_server(error).on_host(primary.host()));
                }
                _ => return Err(Error::unexpected("FLUSHDB", &Value::Nil)),
            }
        }
        self.counters().deletes.add(flushed);
        Ok(flushed)
    }
}

impl<M> fmt::Debug for Clear<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clear")
            .field("whole_database", &self.whole_database)
            .finish_non_exhaustive()
    }
}

/// The cache's keys, lazily: for an async caller a [`Stream`](futures_core::Stream) (and
/// [`next`](Keys::next), which needs no other crate), for a blocking one an [`Iterator`].
///
/// After an error it ends.
#[must_use = "nothing is listed until it is asked for the next key"]
pub struct Keys<'c, M = Async> {
    core: &'c Core,
    pattern: Vec<u8>,
    page: usize,
    state: State<'c>,
    /// Listed, and not yet taken.
    ready: VecDeque<Key>,
    /// Hashes of the keys that were given. Two hashes with different seeds make 128 bits: that two
    /// keys of a database share them does not happen.
    given: HashSet<u128>,
    seeds: [foldhash::quality::RandomState; 2],
    mode: Marked<M>,
}

/// A scan, and the stored keys of the page that it has just gone through.
type Paged = (Scan, Option<Vec<Vec<u8>>>);

enum State<'c> {
    NotStarted,
    Between(Scan),
    Asking(BoxFuture<'c, Result<Paged>>),
    Ended,
}

impl<'c, M> Keys<'c, M> {
    pub(crate) fn new(core: &'c Core) -> Self {
        Keys {
            core,
            pattern: b"*".to_vec(),
            page: PAGE,
            state: State::NotStarted,
            ready: VecDeque::new(),
            given: HashSet::new(),
            seeds: Default::default(),
            mode: PhantomData,
        }
    }

    /// Only the keys that this glob pattern matches (`*`, `?`, `[a-c]`; `\` before one of these means
    /// the character itself). It cannot leave the cache's prefix.
    pub fn matching(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.pattern = pattern.as_ref().to_vec();
        self
    }

    /// How many keys the server looks at for one page: 1 to 100,000, and 1,000 unless said otherwise.
    /// A larger page is fewer round trips, and holds the server longer.
    pub fn page_size(mut self, keys: usize) -> Self {
        self.page = keys.clamp(1, 100_000);
        self
    }

    /// Asks for the next page. Only from a state in which nothing is under way.
    fn ask(&mut self) {
        let core = self.core;
        let scan = match std::mem::replace(&mut self.state, State::Ended) {
            State::NotStarted => core.scan(&self.pattern, self.page),
            State::Between(scan) => Ok(scan),
            other => {
                self.state = other;
                return;
            }
        };
        self.state = State::Asking(Box::pin(async move {
            let mut scan = scan?;
            let keys = core.page(&mut scan).await?;
            Ok((scan, keys))
        }));
    }

    /// Takes in what a page brought; an error is for the caller, and is the end.
    fn receive(&mut self, page: Result<Paged>) -> Option<Error> {
        match page {
            Ok((scan, Some(keys))) => {
                self.state = State::Between(scan);
                for stored in keys {
                    let [high, low] =
                        [&self.seeds[0], &self.seeds[1]].map(|seed| seed.hash_one(&*stored));
                    let hash = u128::from(high) << 64 | u128::from(low);
                    if let Some(key) = self.core.keyspace.user(&stored)
                        && self.given.insert(hash)
                    {
                        self.ready.push_back(Key::from(key));
                    }
                }
                None
            }
            Ok((_, None)) => {
                self.state = State::Ended;
                None
            }
            Err(error) => {
                self.state = State::Ended;
                Some(error)
            }
        }
    }
}

impl Keys<'_, Async> {
    /// The next key, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Key>> {
        std::future::poll_fn(|context| {
            futures_core::Stream::poll_next(std::pin::Pin::new(self), context)
        })
        .await
    }
}

/// Nothing inside is pinned in place: the future is pinned in its box.
impl<M> Unpin for Keys<'_, M> {}

impl futures_core::Stream for Keys<'_, Async> {
    type Item = Result<Key>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Key>>> {
        use std::task::Poll;
        loop {
            if let Some(key) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(key)));
            }
            match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::NotStarted | State::Between(_) => self.ask(),
                State::Asking(question) => {
                    let page = std::task::ready!(question.as_mut().poll(context));
                    if let Some(error) = self.receive(page) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        }
    }
}

#[cfg(feature = "blocking")]
impl Iterator for Keys<'_, super::operation::Blocking> {
    type Item = Result<Key>;

    fn next(&mut self) -> Option<Result<Key>> {
        loop {
            if let Some(key) = self.ready.pop_front() {
                return Some(Ok(key));
            }
            match &mut self.state {
                State::Ended => return None,
                State::NotStarted | State::Between(_) => self.ask(),
                State::Asking(question) => {
                    let page = crate::runtime::block_on(question.as_mut());
                    if let Some(error) = self.receive(page) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

impl<M> fmt::Debug for Keys<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("pattern", &Key::from(&*self.pattern))
            .field("given", &self.given.len())
            .finish_non_exhaustive()
    }
}

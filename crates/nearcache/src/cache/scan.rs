//! Iterating over all keys: `keys`, `delete_pattern`, `clear`. They use `SCAN`, never `KEYS`, which blocks the server.
//!
//! A scan may return a key more than once. `keys` removes the duplicates; for deleting they do no harm.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::hash::BuildHasher;
use std::marker::PhantomData;

use redis::{Pipeline, Value};

use super::CacheOf;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::client::{Client, reply};
use crate::connect::BoxFuture;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::{Key, Keyspace, in_message};
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;
use crate::read_through::presence::those_there;
use crate::resilience::sweep::PAGE;
use crate::resilience::{Primary, leaves_open};

impl<M> CacheOf<M> {
    /// Deletes the keys that a glob pattern matches and returns how many. The pattern may contain `*`, `?` and `[a-c]`;
    /// `\` before one of these means the character itself. It cannot leave the cache's prefix.
    ///
    /// Scans the whole keyspace (`SCAN`), so its time grows with the size of the server's database, not with the number
    /// of matches. The timeout applies to each round trip.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set_many([("user:1", 1), ("user:2", 2), ("order:1", 3)]).await?;
    /// assert_eq!(cache.delete_pattern("user:*").await?, 2);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]). After an error, some keys may be deleted.
    pub fn delete_pattern(&self, pattern: impl AsRef<[u8]>) -> Pending<'_, u64, M> {
        let (core, pattern) = (&self.core, pattern.as_ref().to_vec());
        Pending::new(async move {
            core.invalidate("delete_pattern", CallKeys::One(&pattern), async |core| {
                sweep(core, &pattern).await
            })
            .await
        })
    }

    /// Deletes everything under the cache's prefix and returns how many keys that was. What the
    /// [helpers](crate::patterns) keep (sessions, locks, queues) stays, unless `.with_helpers()` is given.
    ///
    /// A cache without a prefix spans the whole database, including other programs' keys. So it refuses, unless
    /// `.whole_database()` is given.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) for a cache without a prefix; those of
    /// [`delete_pattern`](CacheOf::delete_pattern).
    pub fn clear(&self) -> Clear<'_, M> {
        Clear {
            core: &self.core,
            whole_database: false,
            with_helpers: false,
            mode: PhantomData,
        }
    }

    /// The cache's keys without the prefix, each once, as a lazy stream or iterator. `.matching(..)` filters them.
    ///
    /// Only entries that are there are listed, as [`contains`](CacheOf::contains) says. To know that, it reads the first
    /// three bytes of every key of a page, which is a second round trip, and the envelopes of those that have one, and
    /// the versions of their tags, which are two more.
    ///
    /// It reads the next page (`SCAN`) when it is needed, and may be dropped at any point. A key that exists during the
    /// whole scan is listed; one that is created or deleted meanwhile may be. To return each key once, it keeps a
    /// 16-byte hash of each.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.set_many([("user:1", 1), ("user:2", 2), ("order:1", 3)]).await?;
    /// let mut keys = cache.keys().matching("user:*");
    /// while let Some(key) = keys.next().await {
    ///     assert!(key?.as_str().unwrap().starts_with("user:"));
    /// }
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn keys(&self) -> Keys<'_, M> {
        Keys::new(self.core.client())
    }
}

/// The position of a scan through every primary.
struct Scan {
    /// Still to be scanned; the current one is the last. `None`: not asked for yet.
    primaries: Option<Vec<Primary>>,
    cursor: u64,
    pattern: Vec<u8>,
    page: usize,
}

impl Scan {
    fn new(client: &Client, pattern: &[u8], page: usize) -> Self {
        Scan {
            primaries: None,
            cursor: 0,
            pattern: client.keyspace().pattern(pattern),
            page,
        }
    }

    /// The next page of stored keys, or `None` at the end. A page may be empty.
    async fn next(&mut self, client: &Client) -> Result<Option<Vec<Vec<u8>>>> {
        let pass = client.enter()?;
        let primaries = match &mut self.primaries {
            Some(primaries) => primaries,
            none => none.insert(pass.guarded().primaries(client.limit()).await?),
        };
        let Some(primary) = primaries.last() else {
            return Ok(None);
        };
        let page = primary.page(self.cursor, &self.pattern, self.page, client.limit());
        let (cursor, keys) = page.await?;
        self.cursor = cursor;
        if cursor == 0 {
            primaries.pop();
        }
        Ok(Some(keys))
    }
}

/// Deletes the keys that match `pattern`. Returns how many of them were users' keys.
async fn sweep(core: &ReadThrough, pattern: &[u8]) -> Result<u64> {
    let client = core.client();
    let pass = client.enter()?;
    let mut unfinished = Unfinished {
        _poison: Poison::all(core),
        client,
        pattern,
        ended: false,
    };
    let sweeping = pass
        .guarded()
        .sweep(client.keyspace(), pattern, client.limit());
    let outcome = sweeping.await;
    unfinished.ended = true;
    match outcome {
        Ok(deleted) => {
            client.counters().deletes.add(deleted);
            client.counters().invalidations.add(1);
            Ok(deleted)
        }
        Err(error) if leaves_open(&error) && defer_sweep(client, pattern) => Err(error.deferred()),
        Err(error) => Err(error),
    }
}

/// Deletes the helpers' keys. Returns how many there were.
async fn sweep_helpers(client: &Client) -> Result<u64> {
    let mut scan = Scan::new(client, Keyspace::HELPERS, PAGE);
    let mut deleted = 0;
    while let Some(mut page) = scan.next(client).await? {
        page.retain(|key| client.keyspace().is_helpers(key));
        if !page.is_empty() {
            let reply = client.request(redis::cmd("UNLINK").arg(page)).await?;
            deleted += reply::count("UNLINK", &reply)?;
        }
    }
    Ok(deleted)
}

fn defer_sweep(client: &Client, pattern: &[u8]) -> bool {
    let kept = client.guarded().defer_sweep(client.keyspace(), pattern);
    if kept {
        client.counters().invalidations_deferred.add(1);
    }
    kept
}

/// A running sweep. If its caller is cancelled, the outbox goes on with it in the background.
struct Unfinished<'c> {
    _poison: Poison<'c>,
    client: &'c Client,
    pattern: &'c [u8],
    ended: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.ended {
            defer_sweep(self.client, self.pattern);
        }
    }
}

/// A pending `clear`.
#[must_use = "nothing is deleted until it is carried out, by `.await` or `.run()`"]
pub struct Clear<'c, M = Async> {
    core: &'c ReadThrough,
    whole_database: bool,
    with_helpers: bool,
    mode: Marked<M>,
}

impl<'c, M> Clear<'c, M> {
    /// Empties the whole database (`FLUSHDB`), including other programs' keys.
    pub fn whole_database(mut self) -> Self {
        self.whole_database = true;
        self
    }

    /// Deletes what the [helpers](crate::patterns) keep under the prefix as well: sessions end, locks are free, jobs
    /// are gone, limits and boards begin anew. Their keys count, too. Unlike entries they are not deleted later if Redis
    /// is away: the error says so.
    pub fn with_helpers(mut self) -> Self {
        self.with_helpers = true;
        self
    }

    pub(crate) fn start(self) -> CacheFuture<'c, u64> {
        let Clear {
            core,
            whole_database,
            with_helpers,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            core.invalidate("clear", CallKeys::None, async |core| {
                if whole_database {
                    flush(core).await
                } else if core.client().keyspace().has_prefix() {
                    let deleted = sweep(core, b"*").await?;
                    if with_helpers {
                        return Ok(deleted + sweep_helpers(core.client()).await?);
                    }
                    Ok(deleted)
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

async fn flush(core: &ReadThrough) -> Result<u64> {
    let client = core.client();
    let mut pipeline = Pipeline::new();
    pipeline.atomic().cmd("DBSIZE").cmd("FLUSHDB");
    let mut flushed = 0;
    let pass = client.enter()?;
    let _poison = Poison::all(core);
    for primary in pass.guarded().primaries(client.limit()).await? {
        match &primary.pipeline(&pipeline, client.limit()).await?[..] {
            [size, Value::Okay] => flushed += reply::count("DBSIZE", size)?,
            [_, Value::ServerError(error)] | [Value::ServerError(error), _] => {
                return Err(Error::from_server(error).on_host(primary.host()));
            }
            _ => return Err(Error::unexpected("FLUSHDB", &Value::Nil)),
        }
    }
    client.counters().deletes.add(flushed);
    Ok(flushed)
}

impl<M> fmt::Debug for Clear<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clear")
            .field("whole_database", &self.whole_database)
            .field("with_helpers", &self.with_helpers)
            .finish_non_exhaustive()
    }
}

/// The cache's keys, listed lazily. For an async caller it is a [`Stream`](futures_core::Stream) (or use
/// [`next`](Keys::next), which needs no other crate), for a blocking caller an [`Iterator`].
///
/// It ends after an error.
#[must_use = "nothing is listed until it is asked for the next key"]
pub struct Keys<'c, M = Async> {
    client: &'c Client,
    pattern: Vec<u8>,
    page: usize,
    state: State<'c>,
    /// Keys that were listed and not yet returned.
    ready: VecDeque<Key>,
    /// Hashes of the keys returned so far. Two hashes with different seeds make 128 bits, so in practice no two keys of
    /// a database collide.
    given: HashSet<u128>,
    seeds: [foldhash::quality::RandomState; 2],
    mode: Marked<M>,
}

/// A scan, and the stored keys of the page it has just read.
type Paged = (Scan, Option<Vec<Vec<u8>>>);

enum State<'c> {
    NotStarted,
    Between(Scan),
    Asking(BoxFuture<'c, Result<Paged>>),
    Ended,
}

impl<'c, M> Keys<'c, M> {
    fn new(client: &'c Client) -> Self {
        Keys {
            client,
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

    /// How many keys the server examines for one page: 1 to 100,000. Default: 1,000. Larger pages take fewer round
    /// trips, but each occupies the server longer.
    pub fn page_size(mut self, keys: usize) -> Self {
        self.page = keys.clamp(1, 100_000);
        self
    }

    /// Requests the next page. Does nothing while a page is being read.
    fn ask(&mut self) {
        let client = self.client;
        let scan = match std::mem::replace(&mut self.state, State::Ended) {
            State::NotStarted => Scan::new(client, &self.pattern, self.page),
            State::Between(scan) => scan,
            other => {
                self.state = other;
                return;
            }
        };
        self.state = State::Asking(Box::pin(async move {
            let mut scan = scan;
            let Some(mut keys) = scan.next(client).await? else {
                return Ok((scan, None));
            };
            keys.retain(|key| client.keyspace().user(key).is_some());
            let keys = if keys.is_empty() {
                keys
            } else {
                those_there(client, keys).await?
            };
            Ok((scan, Some(keys)))
        }));
    }

    /// Takes the keys of a page. Returns its error, if there is one, which ends the listing.
    fn receive(&mut self, page: Result<Paged>) -> Option<Error> {
        match page {
            Ok((scan, Some(keys))) => {
                self.state = State::Between(scan);
                for stored in keys {
                    let [high, low] =
                        [&self.seeds[0], &self.seeds[1]].map(|seed| seed.hash_one(&*stored));
                    let hash = u128::from(high) << 64 | u128::from(low);
                    if let Some(key) = self.client.keyspace().user(&stored)
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

/// `Unpin` is safe: only the boxed future needs pinning, and its box does that.
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
        let redact = self.client.keyspace().redacts();
        f.debug_struct("Keys")
            .field("pattern", &in_message(&self.pattern, redact))
            .field("given", &self.given.len())
            .finish_non_exhaustive()
    }
}

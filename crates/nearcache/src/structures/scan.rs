//! Reading a large structure page by page (`HSCAN`, `SSCAN`, `ZSCAN`), as a stream or an iterator.
//!
//! Redis may list an element more than once while the structure changes. Each is given once: a 16-byte hash of each is
//! kept.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use redis::{Cmd, Value};

use super::handle::Handle;
use crate::cache::operation::Async;
use crate::connect::BoxFuture;
use crate::error::{Error, Result};
use crate::hooks::CallKeys;
use crate::keyspace::Key;
use crate::read_through::ReadThrough;

/// Makes elements of a page: the bytes that tell an element from others, and the element.
type Parse<T> = fn(Value) -> Result<Vec<(Vec<u8>, T)>>;

/// The elements of a structure, each once, as a lazy stream or iterator. It reads the next page when it is needed, and
/// may be dropped at any point. The timeout applies to each page, and hooks see each page as a call.
///
/// An element that is there during the whole scan is given; one that comes or goes meanwhile may be. The order is
/// Redis's own. After an error it ends.
#[must_use = "nothing is read until it is asked for the next element"]
pub struct Scan<T, M = Async> {
    handle: Handle<M>,
    verb: &'static str,
    command: &'static str,
    pattern: Option<Vec<u8>>,
    page: usize,
    parse: Parse<T>,
    state: State<T>,
    ready: VecDeque<T>,
    given: HashSet<u128>,
    seeds: [foldhash::quality::RandomState; 2],
}

/// The cursor of the next page, and the elements of this one.
type Page<T> = (Vec<u8>, Vec<(Vec<u8>, T)>);

enum State<T> {
    /// Before the page with this cursor.
    Before(Vec<u8>),
    Asking(BoxFuture<'static, Result<Page<T>>>),
    Ended,
}

impl<T: Send + 'static, M> Scan<T, M> {
    pub(super) fn new(
        handle: &Handle<M>,
        verb: &'static str,
        command: &'static str,
        parse: Parse<T>,
    ) -> Self {
        Scan {
            handle: handle.clone(),
            verb,
            command,
            pattern: None,
            page: 100,
            parse,
            state: State::Before(b"0".to_vec()),
            ready: VecDeque::new(),
            given: HashSet::new(),
            seeds: Default::default(),
        }
    }

    /// Only the elements (of a hash: the fields) whose bytes this glob pattern matches: `*`, `?`, `[a-c]`; `\` before one
    /// of these means the character itself.
    pub fn matching(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.pattern = Some(pattern.as_ref().to_vec());
        self
    }

    /// About how many elements the server looks at for one page: 1 to 100,000. Default: 100. Larger pages take fewer
    /// round trips, but each occupies the server longer. (A small structure comes in one page.)
    pub fn page_size(mut self, elements: usize) -> Self {
        self.page = elements.clamp(1, 100_000);
        self
    }

    fn ask(&mut self, cursor: Vec<u8>) {
        let mut command = Cmd::new();
        command.arg(self.command);
        let stored = self.handle.stored().map(|key| {
            command.arg(&key).arg(cursor);
            if let Some(pattern) = &self.pattern {
                command.arg("MATCH").arg(&**pattern);
            }
            command.arg("COUNT").arg(self.page);
        });
        let (core, key) = (self.handle.core().clone(), self.handle.key().clone());
        let (verb, name, parse) = (self.verb, self.command, self.parse);
        self.state = State::Asking(Box::pin(async move {
            stored?;
            page(&core, verb, &key, &command, |reply| match reply {
                Value::Array(parts) => match <[Value; 2]>::try_from(parts) {
                    Ok([Value::BulkString(next), found]) => Ok((next, parse(found)?)),
                    _ => Err(Error::unexpected(name, &Value::Nil)),
                },
                other => Err(Error::unexpected(name, &other)),
            })
            .await
        }));
    }

    /// Takes what a page has. Returns its error, which ends the scan.
    fn receive(&mut self, page: Result<Page<T>>) -> Option<Error> {
        match page {
            Ok((next, found)) => {
                self.state = if next == b"0" {
                    State::Ended
                } else {
                    State::Before(next)
                };
                for (bytes, element) in found {
                    let [high, low] =
                        [&self.seeds[0], &self.seeds[1]].map(|seed| seed.hash_one(&*bytes));
                    if self.given.insert(u128::from(high) << 64 | u128::from(low)) {
                        self.ready.push_back(element);
                    }
                }
                None
            }
            Err(error) => {
                self.state = State::Ended;
                Some(error)
            }
        }
    }
}

async fn page<T>(
    core: &ReadThrough,
    verb: &'static str,
    key: &Key,
    command: &Cmd,
    parse: impl FnOnce(Value) -> Result<T>,
) -> Result<T> {
    core.perform(verb, CallKeys::One(key.as_bytes()), async |core| {
        let key = core.client().stored(key.as_bytes())?;
        let reply = core.client().request_for(&key, command).await?;
        parse(reply).map_err(|error| error.for_key(&key))
    })
    .await
}

impl<T: Send + 'static> Scan<T> {
    /// The next element, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// All that are left.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub async fn all<C: Default + Extend<T>>(mut self) -> Result<C> {
        let mut all = C::default();
        while let Some(element) = self.next().await {
            all.extend([element?]);
        }
        Ok(all)
    }
}

/// `Unpin` is safe: only the boxed future needs pinning, and its box does that.
impl<T, M> Unpin for Scan<T, M> {}

impl<T: Send + 'static> Stream for Scan<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        loop {
            if let Some(element) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(element)));
            }
            match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Before(cursor) => {
                    let cursor = std::mem::take(cursor);
                    self.ask(cursor);
                }
                State::Asking(question) => {
                    let page = ready!(question.as_mut().poll(context));
                    if let Some(error) = self.receive(page) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        }
    }
}

#[cfg(feature = "blocking")]
impl<T: Send + 'static> Iterator for Scan<T, crate::cache::operation::Blocking> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(element) = self.ready.pop_front() {
                return Some(Ok(element));
            }
            match &mut self.state {
                State::Ended => return None,
                State::Before(cursor) => {
                    let cursor = std::mem::take(cursor);
                    self.ask(cursor);
                }
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

impl<T, M> fmt::Debug for Scan<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("key", &self.handle)
            .field("given", &self.given.len())
            .finish_non_exhaustive()
    }
}

//! `ZRANGE`, by rank, score or bytes.

use std::fmt;
use std::marker::PhantomData;

use redis::Cmd;

use super::super::handle::{AsKey, Handle};
use super::super::member::Member;
use super::super::replies::{first, members, scored};
use super::super::write::Write;
use crate::cache::operation::{Async, CacheFuture, operation};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

/// The low and the high end.
type Bounds = (Vec<u8>, Vec<u8>);

/// A pending range of a [`SortedSet`](super::SortedSet).
#[must_use = "nothing is read until it is carried out, by `.await` or `.run()`"]
pub struct Range<T, M = Async> {
    handle: Handle<M>,
    verb: &'static str,
    by: By,
    bounds: Result<Bounds>,
    rev: bool,
    offset: u64,
    limit: Option<u64>,
    element: PhantomData<fn() -> T>,
}

impl<T, M> Range<T, M> {
    pub(super) fn new(
        handle: &Handle<M>,
        verb: &'static str,
        by: By,
        bounds: Result<Bounds>,
    ) -> Self {
        Range {
            handle: handle.clone(),
            verb,
            by,
            bounds,
            rev: false,
            offset: 0,
            limit: None,
            element: PhantomData,
        }
    }

    /// The highest first. A range of ranks counts from there, too.
    pub fn rev(mut self) -> Self {
        self.rev = true;
        self
    }

    /// At most so many. (A range of ranks says that by itself.)
    pub fn limit(mut self, elements: u64) -> Self {
        self.limit = Some(elements);
        self
    }

    /// Without so many at its beginning.
    pub fn offset(mut self, elements: u64) -> Self {
        self.offset = elements;
        self
    }

    /// The elements with their scores.
    pub fn with_scores(self) -> WithScores<T, M> {
        WithScores(self)
    }

    /// What follows the key.
    fn arguments(&self, command: &mut Cmd) -> Result<()> {
        let (low, high) = self.bounds.clone()?;
        let limited = self.limit.is_some() || self.offset > 0;
        if self.by == By::Rank && limited {
            let why = "a range of ranks has no limit and no offset; give other ranks";
            return Err(Error::new(ErrorKind::InvalidConfig, why));
        }
        // By rank, the range itself counts from the other end.
        if self.rev && self.by != By::Rank {
            command.arg(high).arg(low);
        } else {
            command.arg(low).arg(high);
        }
        match self.by {
            By::Rank => {}
            By::Score => drop(command.arg("BYSCORE")),
            By::Lex => drop(command.arg("BYLEX")),
        }
        if self.rev {
            command.arg("REV");
        }
        if limited {
            let limit = self.limit.and_then(|limit| i64::try_from(limit).ok());
            command
                .arg("LIMIT")
                .arg(self.offset.min(i64::MAX.unsigned_abs()))
                .arg(limit.unwrap_or(-1));
        }
        Ok(())
    }

    fn command(&self, with_scores: bool) -> Result<Cmd> {
        let mut command = self.handle.command("ZRANGE")?;
        self.arguments(&mut command)?;
        if with_scores {
            command.arg("WITHSCORES");
        }
        Ok(command)
    }
}

impl<T: Member, M> Range<T, M> {
    /// Stores the elements with their scores at a key, in place of returning them, and returns how many there are
    /// (`ZRANGESTORE`). Whatever the key held is replaced, a value of another type too; if there are no elements, it is
    /// deleted. Counts as an invalidation of that key.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn into(self, destination: impl AsKey) -> Write<u64, M> {
        let destination = self.handle.other(&destination);
        let asked = || {
            let mut command = redis::cmd("ZRANGESTORE");
            let source = self.handle.stored()?;
            command
                .arg(destination.as_ref().map_err(Error::clone)?)
                .arg(&source);
            self.arguments(&mut command)?;
            Ok((vec![command], vec![source]))
        };
        let (commands, reads) = match asked() {
            Ok((commands, reads)) => (Ok(commands), reads),
            Err(error) => (Err(error), Vec::new()),
        };
        let parse = |replies| reply::count("ZRANGESTORE", &first(replies));
        Write::at(&self.handle, destination, self.verb, commands, parse).reading(reads)
    }

    fn start(self) -> CacheFuture<'static, Vec<T>> {
        let parse = |value| members("ZRANGE", value);
        let command = self.command(false);
        self.handle.read(self.verb, command, parse).start()
    }
}

operation!(Range<T: Member> -> Vec<T>);

/// A pending range of a [`SortedSet`](super::SortedSet), with the scores.
#[must_use = "nothing is read until it is carried out, by `.await` or `.run()`"]
pub struct WithScores<T, M = Async>(Range<T, M>);

impl<T: Member, M> WithScores<T, M> {
    fn start(self) -> CacheFuture<'static, Vec<(T, f64)>> {
        let WithScores(range) = self;
        if range.by == By::Lex {
            let why = "Redis gives no scores with a range by bytes; all of them are the same";
            return CacheFuture::ready(Err(Error::new(ErrorKind::InvalidConfig, why)));
        }
        let parse = |value| scored("ZRANGE", value);
        let command = range.command(true);
        range.handle.read(range.verb, command, parse).start()
    }
}

operation!(WithScores<T: Member> -> Vec<(T, f64)>);

impl<T, M> fmt::Debug for Range<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range")
            .field("key", &self.handle)
            .field("by", &self.by)
            .field("rev", &self.rev)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<T, M> fmt::Debug for WithScores<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WithScores").field(&self.0).finish()
    }
}

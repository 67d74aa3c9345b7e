//! Reading a stream: a range of it, or what comes after an entry.

use std::fmt;
use std::ops::{Bound, RangeBounds};

use redis::Cmd;

use super::entry::{Entry, Form, of_one, parsed, raw};
use super::id::EntryId;
use crate::cache::operation::{Async, CacheFuture, operation};
use crate::error::{Error, ErrorKind, Result};
use crate::structures::handle::Handle;
use crate::ttl::{IntoTtl, Ttl};

/// A pending read of a range of entries.
#[must_use = "nothing is read until it is carried out, by `.await` or `.run()`"]
pub struct StreamRange<T, M = Async> {
    handle: Handle<M>,
    form: Form<T>,
    from: String,
    to: String,
    limit: Option<u64>,
    rev: bool,
}

impl<T, M> StreamRange<T, M> {
    pub(super) fn new(handle: &Handle<M>, form: Form<T>, ids: impl RangeBounds<EntryId>) -> Self {
        let bound = |bound: Bound<&EntryId>, open: &str| match bound {
            Bound::Unbounded => open.to_owned(),
            Bound::Included(id) => id.to_string(),
            Bound::Excluded(id) => format!("({id}"),
        };
        StreamRange {
            handle: handle.clone(),
            form,
            from: bound(ids.start_bound(), "-"),
            to: bound(ids.end_bound(), "+"),
            limit: None,
            rev: false,
        }
    }

    /// So many entries at most.
    pub fn limit(mut self, entries: u64) -> Self {
        self.limit = Some(entries);
        self
    }

    /// The newest first, and with a limit, the newest ones.
    pub fn rev(mut self) -> Self {
        self.rev = true;
        self
    }
}

impl<T: Send + 'static, M> StreamRange<T, M> {
    fn start(self) -> CacheFuture<'static, Vec<Entry<T>>> {
        if self.limit == Some(0) {
            return CacheFuture::ready(Ok(Vec::new()));
        }
        // Before the lowest id and after the highest one there is nothing, and Redis takes it for an error.
        let nothing =
            self.from == format!("({}", EntryId::MAX) || self.to == format!("({}", EntryId::MIN);
        if nothing {
            return CacheFuture::ready(Ok(Vec::new()));
        }
        let name = if self.rev { "XREVRANGE" } else { "XRANGE" };
        let command = self.handle.command(name).map(|mut command| {
            match self.rev {
                true => command.arg(&self.to).arg(&self.from),
                false => command.arg(&self.from).arg(&self.to),
            };
            if let Some(limit) = self.limit {
                // The largest count that Redis takes.
                command.arg("COUNT").arg(limit.min(i64::MAX.unsigned_abs()));
            }
            command
        });
        let form = self.form;
        self.handle
            .read("stream.range", command, move |value| {
                parsed(form, raw("XRANGE", value)?)
            })
            .start()
    }
}

operation!(StreamRange<T: Send> -> Vec<Entry<T>>);

impl<T, M> fmt::Debug for StreamRange<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRange")
            .field("key", &self.handle)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("limit", &self.limit)
            .field("rev", &self.rev)
            .finish_non_exhaustive()
    }
}

/// A pending read of the entries after one.
#[must_use = "nothing is read until it is carried out, by `.await` or `.run()`"]
pub struct ReadStream<T, M = Async> {
    handle: Handle<M>,
    form: Form<T>,
    /// `None`: only what is appended from now on.
    since: Option<EntryId>,
    limit: Option<u64>,
    wait: Option<Result<Ttl>>,
}

impl<T, M> ReadStream<T, M> {
    pub(super) fn at(handle: &Handle<M>, form: Form<T>) -> Self {
        ReadStream {
            handle: handle.clone(),
            form,
            since: Some(EntryId::MIN),
            limit: None,
            wait: None,
        }
    }

    /// Only entries after this one.
    pub fn since(mut self, id: impl Into<EntryId>) -> Self {
        self.since = Some(id.into());
        self
    }

    /// Only entries that are appended from now on: with [`wait`](ReadStream::wait).
    #[allow(clippy::should_implement_trait, reason = "it is about new entries")]
    pub fn new(mut self) -> Self {
        self.since = None;
        self
    }

    /// So many entries at most.
    pub fn limit(mut self, entries: u64) -> Self {
        self.limit = Some(entries);
        self
    }

    /// Waits so long for an entry, if there is none. The wait has a connection of its own, and may take the cache's timeout
    /// on top.
    pub fn wait(mut self, time: impl IntoTtl) -> Self {
        self.wait = Some(time.into_ttl());
        self
    }
}

impl<T: Send + 'static, M> ReadStream<T, M> {
    fn command(&self) -> Result<Option<Cmd>> {
        let wait = self.wait.clone().transpose()?;
        if self.limit == Some(0) {
            return Ok(None);
        }
        let mut command = redis::cmd("XREAD");
        if let Some(limit) = self.limit {
            command.arg("COUNT").arg(limit.min(i64::MAX.unsigned_abs()));
        }
        if let Some(wait) = wait {
            command.arg("BLOCK").arg(wait.as_millis());
        }
        command.arg("STREAMS").arg(self.handle.stored()?);
        match self.since {
            Some(id) => command.arg(id.to_string()),
            None if wait.is_none() => {
                let why = "nothing is appended in no time: say `.new().wait(\"5s\")`";
                return Err(Error::new(ErrorKind::InvalidConfig, why));
            }
            None => command.arg("$"),
        };
        Ok(Some(command))
    }

    fn start(self) -> CacheFuture<'static, Vec<Entry<T>>> {
        let form = self.form;
        let parse = move |value| parsed(form, of_one("XREAD", value)?);
        let waits = self.wait.is_some();
        match self.command().transpose() {
            None => CacheFuture::ready(Ok(Vec::new())),
            Some(command) if waits => {
                let wait = self.handle.wait("stream.read", command, |_, _| None, parse);
                wait.start()
            }
            Some(command) => self.handle.read("stream.read", command, parse).start(),
        }
    }
}

operation!(ReadStream<T: Send> -> Vec<Entry<T>>);

impl<T, M> fmt::Debug for ReadStream<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadStream")
            .field("key", &self.handle)
            .field("since", &self.since)
            .field("limit", &self.limit)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

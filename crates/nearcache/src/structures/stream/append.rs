//! Appending to a stream, and trimming it.

use std::fmt;

use redis::Value;

use super::entry::Fields;
use super::id::EntryId;
use crate::cache::operation::{Async, CacheFuture, operation};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::structures::handle::Handle;
use crate::structures::replies::{first, sum};
use crate::structures::write::{Timing, timed};

/// A pending `append`. Its answer is the entry's id.
#[must_use = "nothing is appended until it is carried out, by `.await` or `.run()`"]
pub struct Append<M = Async> {
    handle: Handle<M>,
    fields: Result<Fields>,
    id: Option<EntryId>,
    cap: Option<u64>,
    approx: bool,
    time: Timing,
}

impl<M> Append<M> {
    pub(super) fn new(handle: &Handle<M>, fields: Result<Fields>) -> Self {
        Append {
            handle: handle.clone(),
            fields,
            id: None,
            cap: None,
            approx: false,
            time: None,
        }
    }

    /// The entry's id, in the place of the server's time. It must be above the last one.
    pub fn id(mut self, id: impl Into<EntryId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Removes the oldest entries in the same step, so that so many are left at most.
    pub fn cap(mut self, entries: u64) -> Self {
        self.cap = Some(entries);
        self
    }

    /// With [`cap`](Append::cap): some more may be left, about a hundred. It is much cheaper for Redis.
    pub fn approx(mut self) -> Self {
        self.approx = true;
        self
    }

    fn start(self) -> CacheFuture<'static, EntryId> {
        let handle = &self.handle;
        let command = self.fields.and_then(|fields| {
            let mut command = handle.command("XADD")?;
            match self.cap {
                Some(entries) => {
                    command.arg("MAXLEN");
                    command
                        .arg(if self.approx { "~" } else { "=" })
                        .arg(entries);
                }
                None if self.approx => {
                    let why = "`.approx()` is about a cap: say `.cap(n).approx()`";
                    return Err(Error::new(ErrorKind::InvalidConfig, why));
                }
                None => {}
            }
            match self.id {
                Some(id) => command.arg(id.to_string()),
                None => command.arg("*"),
            };
            for (name, value) in fields {
                command.arg(name).arg(value);
            }
            Ok(vec![command])
        });
        let write = handle.write("stream.append", command, |replies| {
            let id = reply::bytes("XADD", first(replies))?;
            let id = id.and_then(|id| EntryId::read(&id));
            id.ok_or_else(|| Error::unexpected("XADD", &Value::Nil))
        });
        write.with_time(self.time).start()
    }
}

timed!(Append);
operation!(Append<> -> EntryId);

impl<M> fmt::Debug for Append<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("key", &self.handle)
            .field("id", &self.id)
            .field("cap", &self.cap)
            .field("ttl", &self.time)
            .finish_non_exhaustive()
    }
}

/// A pending trim. Its answer is how many entries were removed.
#[must_use = "nothing is removed until it is carried out, by `.await` or `.run()`"]
pub struct Trim<M = Async> {
    handle: Handle<M>,
    strategy: &'static str,
    threshold: String,
    approx: bool,
}

impl<M> Trim<M> {
    pub(super) fn new(handle: &Handle<M>, strategy: &'static str, threshold: String) -> Self {
        Trim {
            handle: handle.clone(),
            strategy,
            threshold,
            approx: false,
        }
    }

    /// Some entries more may be left, about a hundred. It is much cheaper for Redis.
    pub fn approx(mut self) -> Self {
        self.approx = true;
        self
    }

    fn start(self) -> CacheFuture<'static, u64> {
        let command = self.handle.command("XTRIM").map(|mut command| {
            command.arg(self.strategy);
            command.arg(if self.approx { "~" } else { "=" });
            command.arg(&self.threshold);
            vec![command]
        });
        self.handle
            .write("stream.trim", command, sum("XTRIM"))
            .start()
    }
}

operation!(Trim<> -> u64);

impl<M> fmt::Debug for Trim<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trim")
            .field("key", &self.handle)
            .field(self.strategy, &self.threshold)
            .field("approx", &self.approx)
            .finish()
    }
}

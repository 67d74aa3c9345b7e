//! A group of consumers: what it has delivered, and what of that is not done yet.

use std::fmt;
use std::time::Duration;

use redis::{Cmd, Value};

use super::consumer::Consumer;
use super::entry::Form;
use super::id::EntryId;
use super::plain;
use crate::cache::operation::{Async, CacheFuture, Pending, operation};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::structures::handle::Handle;
use crate::structures::member::Member;
use crate::structures::replies::{first, list, sum};
use crate::ttl::{IntoTtl, Ttl};

/// A group of consumers of a stream: see [`Stream::group`](super::Stream::group).
///
/// Each entry is delivered to one consumer of the group, and stays its own until it is acknowledged. Delivery is **at
/// least once**: a consumer that dies after its work and before its `ack` leaves the entry to be delivered again, so make
/// the work repeatable, or remember the ids.
///
/// A group is made when a consumer first reads, if it is not there: from the stream's beginning, or, after
/// [`from_now`](Group::from_now), with what is appended after that. [`create`](Group::create) makes it at once.
pub struct Group<T, M = Async> {
    pub(super) handle: Handle<M>,
    pub(super) form: Form<T>,
    pub(super) name: Vec<u8>,
    from_now: bool,
}

impl<T: Member, M: 'static> Group<T, M> {
    /// Makes the group, and the stream if need be. Returns whether the group is new (`XGROUP CREATE … MKSTREAM`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn create(&self) -> Pending<'static, bool, M> {
        let command = self.subcommand("CREATE").map(|mut command| {
            command.arg(if self.from_now { "$" } else { "0" });
            command.arg("MKSTREAM");
            vec![command]
        });
        let write = self
            .handle
            .write("stream.create_group", command, |_| Ok(true));
        let write = write.start();
        Pending::new(async move {
            match write.await {
                Err(error)
                    if error.kind() == ErrorKind::Server
                        && error.detail().starts_with("BUSYGROUP") =>
                {
                    Ok(false)
                }
                outcome => outcome,
            }
        })
    }

    /// Removes the group with all that it knows; the entries stay. Returns whether it was there (`XGROUP DESTROY`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)); [`ErrorKind::Server`] if there is no stream.
    pub fn destroy(&self) -> Pending<'static, bool, M> {
        let command = self.subcommand("DESTROY").map(|command| vec![command]);
        plain(
            self.handle
                .write("stream.destroy_group", command, |replies| {
                    reply::flag("XGROUP", &first(replies))
                }),
        )
    }

    /// Removes a consumer from the group, and forgets what it has not done: take that over first
    /// ([`Consumer::claim_idle`]). Returns how many entries that was (`XGROUP DELCONSUMER`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)); [`ErrorKind::Server`] if there is no such
    /// group.
    pub fn remove_consumer(&self, name: impl AsRef<[u8]>) -> Pending<'static, u64, M> {
        let command = self.subcommand("DELCONSUMER").map(|mut command| {
            command.arg(name.as_ref());
            vec![command]
        });
        plain(
            self.handle
                .write("stream.remove_consumer", command, |replies| {
                    reply::count("XGROUP", &first(replies))
                }),
        )
    }

    /// Acknowledges entries by their ids: they are done. Returns how many of them were pending (`XACK`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn ack(&self, ids: impl IntoIterator<Item = EntryId>) -> Pending<'static, u64, M> {
        plain(self.handle.write("stream.ack", self.acks(ids), sum("XACK")))
    }

    fn acks(&self, ids: impl IntoIterator<Item = EntryId>) -> Result<Vec<Cmd>> {
        let ids: Vec<EntryId> = ids.into_iter().collect();
        let parts = ids.chunks(1_000).map(|part| {
            let mut command = self.handle.command("XACK")?;
            command.arg(&*self.name);
            for id in part {
                command.arg(id.to_string());
            }
            Ok(command)
        });
        parts.collect()
    }

    /// What was delivered and is not done yet, in numbers (`XPENDING`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)); [`ErrorKind::Server`] if there is no such
    /// group.
    pub fn pending(&self) -> Pending<'static, PendingSummary, M> {
        let command = self.handle.command("XPENDING").map(|mut command| {
            command.arg(&*self.name);
            command
        });
        self.handle.read("stream.pending", command, summary)
    }

    /// The entries that were delivered and are not done yet, by their ids (`XPENDING`): up to 100, or as many as
    /// [`limit`](PendingEntries::limit) says.
    ///
    /// # Errors
    /// Those of [`pending`](Group::pending).
    pub fn pending_entries(&self) -> PendingEntries<M> {
        PendingEntries {
            handle: self.handle.clone(),
            group: self.name.clone(),
            consumer: None,
            idle: None,
            limit: 100,
        }
    }

    /// A consumer of this name: a stream of deliveries. Names tell the consumers of a group from each other, so each process
    /// (or task) has its own, and has the same one after a restart: what it had then and did not acknowledge comes first.
    pub fn consumer(&self, name: impl AsRef<[u8]>) -> Consumer<T, M> {
        Consumer::new(self.clone(), name.as_ref())
    }

    fn subcommand(&self, name: &str) -> Result<Cmd> {
        let mut command = redis::cmd("XGROUP");
        command
            .arg(name)
            .arg(self.handle.stored()?)
            .arg(&*self.name);
        Ok(command)
    }
}

impl<T, M> Group<T, M> {
    pub(super) fn new(handle: &Handle<M>, form: Form<T>, name: &[u8]) -> Self {
        Group {
            handle: handle.clone(),
            form,
            name: name.to_vec(),
            from_now: false,
        }
    }

    /// If the group has to be made, it begins with what is appended from then on.
    #[must_use]
    pub fn from_now(mut self) -> Self {
        self.from_now = true;
        self
    }

    /// If the group has to be made, it begins with the stream's first entry. That is the default.
    #[must_use]
    pub fn from_start(mut self) -> Self {
        self.from_now = false;
        self
    }
}

impl<T, M> Clone for Group<T, M> {
    fn clone(&self) -> Self {
        Group {
            handle: self.handle.clone(),
            form: self.form,
            name: self.name.clone(),
            from_now: self.from_now,
        }
    }
}

impl<T, M> fmt::Debug for Group<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("key", &self.handle)
            .field("name", &String::from_utf8_lossy(&self.name))
            .finish_non_exhaustive()
    }
}

/// What a group has delivered and is not done yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingSummary {
    /// How many entries.
    pub count: u64,
    /// The oldest of them.
    pub first: Option<EntryId>,
    /// The newest of them.
    pub last: Option<EntryId>,
    /// The consumers that have some, and how many each.
    pub consumers: Vec<(String, u64)>,
}

fn summary(value: Value) -> Result<PendingSummary> {
    let wrong = || Error::unexpected("XPENDING", &Value::Nil);
    let Ok([count, oldest, newest, each]) = <[Value; 4]>::try_from(list("XPENDING", value)?) else {
        return Err(wrong());
    };
    let id = |value| match value {
        Value::BulkString(id) => EntryId::read(&id).map(Some).ok_or_else(wrong),
        _ => Ok(None),
    };
    let mut consumers = Vec::new();
    for consumer in list("XPENDING", each)? {
        let Ok([Value::BulkString(name), Value::BulkString(count)]) =
            <[Value; 2]>::try_from(list("XPENDING", consumer)?)
        else {
            return Err(wrong());
        };
        let count = std::str::from_utf8(&count)
            .ok()
            .and_then(|count| count.parse().ok());
        consumers.push((
            String::from_utf8_lossy(&name).into_owned(),
            count.ok_or_else(wrong)?,
        ));
    }
    Ok(PendingSummary {
        count: reply::count("XPENDING", &count)?,
        first: id(oldest)?,
        last: id(newest)?,
        consumers,
    })
}

/// An entry that was delivered and is not done yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingEntry {
    /// Its id.
    pub id: EntryId,
    /// The consumer that has it.
    pub consumer: String,
    /// How long ago it was delivered.
    pub idle: Duration,
    /// How often it was delivered.
    pub attempts: u64,
}

/// A pending read of what is not done yet.
#[must_use = "nothing is read until it is carried out, by `.await` or `.run()`"]
pub struct PendingEntries<M = Async> {
    handle: Handle<M>,
    group: Vec<u8>,
    consumer: Option<Vec<u8>>,
    idle: Option<Result<Ttl>>,
    limit: u64,
}

impl<M> PendingEntries<M> {
    /// Only those of this consumer.
    pub fn of(mut self, consumer: impl AsRef<[u8]>) -> Self {
        self.consumer = Some(consumer.as_ref().to_vec());
        self
    }

    /// Only those that were delivered at least so long ago.
    pub fn idle(mut self, time: impl IntoTtl) -> Self {
        self.idle = Some(time.into_ttl());
        self
    }

    /// So many at most, instead of 100.
    pub fn limit(mut self, entries: u64) -> Self {
        self.limit = entries;
        self
    }

    fn start(self) -> CacheFuture<'static, Vec<PendingEntry>> {
        let command = || {
            let mut command = self.handle.command("XPENDING")?;
            command.arg(&*self.group);
            if let Some(idle) = self.idle.transpose()? {
                command.arg("IDLE").arg(idle.as_millis());
            }
            command.arg("-").arg("+");
            command.arg(self.limit.min(i64::MAX.unsigned_abs()));
            command.arg(self.consumer);
            Ok(command)
        };
        let command = command();
        self.handle
            .read("stream.pending_entries", command, |value| {
                list("XPENDING", value)?.into_iter().map(pending).collect()
            })
            .start()
    }
}

pub(super) fn pending(value: Value) -> Result<PendingEntry> {
    let wrong = || Error::unexpected("XPENDING", &Value::Nil);
    let parts = <[Value; 4]>::try_from(list("XPENDING", value)?);
    let Ok(
        [
            Value::BulkString(id),
            Value::BulkString(consumer),
            idle,
            attempts,
        ],
    ) = parts
    else {
        return Err(wrong());
    };
    Ok(PendingEntry {
        id: EntryId::read(&id).ok_or_else(wrong)?,
        consumer: String::from_utf8_lossy(&consumer).into_owned(),
        idle: Duration::from_millis(reply::count("XPENDING", &idle)?),
        attempts: reply::count("XPENDING", &attempts)?,
    })
}

operation!(PendingEntries<> -> Vec<PendingEntry>);

impl<M> fmt::Debug for PendingEntries<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingEntries")
            .field("key", &self.handle)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

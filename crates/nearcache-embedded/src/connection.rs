//! A connection: a client's handle to the store, and how a command goes through it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{Cmd, ProtocolVersion, RedisResult, Value};
use smallvec::SmallVec;

use crate::command::{self, Args, Command, Place};
use crate::context::Context;
use crate::keyspace::ShardSet;
use crate::persist::{self, Commit, PersistError};
use crate::pushes::Pushes;
use crate::reply::{self, Error, Reply};
use crate::session::{Queued, Session};
use crate::store::Shared;
#[cfg(feature = "aio")]
use crate::waiting::Reserved;
use crate::waiting::{Patience, Waiter};
use crate::wire;

/// A client's connection to a [`Store`](crate::Store). It implements both of redis-rs's `ConnectionLike` traits.
///
/// A clone is another handle of the same client: it has the same id, but from then on its own database, protocol,
/// name, `MULTI` and `WATCH`, so that tasks which share a client do not get into each other's transactions. Cloning
/// does not allocate. For another client, call [`connect`](crate::Store::connect) again.
pub struct Connection {
    shared: Arc<Shared>,
    session: Session,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, id: u64) -> Self {
        Connection {
            shared,
            session: Session::new(id),
        }
    }

    /// The client's id, as by `CLIENT ID`.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.session.id
    }

    /// The database that is selected.
    #[must_use]
    pub fn db(&self) -> i64 {
        self.session.db.into()
    }

    /// The protocol of the replies.
    #[must_use]
    pub fn protocol(&self) -> ProtocolVersion {
        self.session.protocol
    }

    /// Whether the store is kept [on a disk](crate#persistence), so that a reply may have to wait for it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.shared.log().is_some()
    }

    /// Selects a database.
    ///
    /// # Errors
    /// There is no database of that number.
    pub fn select(&mut self, db: i64) -> RedisResult<()> {
        self.execute(redis::cmd("SELECT").arg(db)).extract_error()?;
        Ok(())
    }

    /// Chooses the protocol, which decides the forms of replies. A connection starts with RESP2.
    pub fn set_protocol(&mut self, protocol: ProtocolVersion) {
        self.session.speak(protocol);
    }

    /// Runs a command and returns the reply. An error of the command is a reply, too: [`Value::ServerError`].
    ///
    /// A command that waits, as `BLPOP` does, parks the thread. In async code, use redis-rs's async
    /// `ConnectionLike` instead: there it waits without a thread.
    pub fn execute(&mut self, cmd: &Cmd) -> Value {
        wire::with_args(cmd, |args| self.run(args))
    }

    /// What is sent to this client beside its replies: messages of the channels that it subscribes to, and news of keys
    /// that it tracks. From now on it gets the news of keys even if it speaks RESP2, because here they cannot be
    /// mistaken for replies. All [`Pushes`] of a connection take from the same queue. A clone of the connection has
    /// pushes of its own.
    pub fn pushes(&mut self) -> Pushes {
        let mailbox = self.session.open_mailbox(&self.shared).clone();
        mailbox.is_read_here.store(true, Ordering::Relaxed);
        Pushes::new(mailbox)
    }

    /// Runs a command for one of many callers that share this connection. It runs in a session that starts with the
    /// state of this one, and ends with the reply: changes by `SELECT`, `MULTI` or `WATCH` are lost.
    ///
    /// This does the same as a [`clone`](Clone) would, but without counting handles, so threads that only read do not
    /// wait for each other. A command that would wait, as `BLPOP` does, replies nil at once instead, because others
    /// share the connection.
    pub fn call(&self, cmd: &Cmd) -> Value {
        self.begin_call(cmd).wait()
    }

    /// The same as [`call`](Connection::call), for async code: the command runs at the first poll, and if its change
    /// must be [on the disk](crate#persistence) first, the future waits for that without a thread.
    #[cfg(feature = "aio")]
    pub async fn call_async(&self, cmd: &Cmd) -> Value {
        self.begin_call(cmd).settled().await
    }

    /// The same as [`call`](Connection::call), but leaves it to the caller how to wait for the disk, if there is
    /// anything to wait for.
    ///
    /// ```
    /// let connection = nearcache_embedded::Store::new().connect();
    /// let called = connection.begin_call(redis::cmd("INCR").arg("visits"));
    /// // This store is not kept on a disk.
    /// assert_eq!(called.at_once().ok(), Some(redis::Value::Int(1)));
    /// ```
    #[inline]
    pub fn begin_call(&self, cmd: &Cmd) -> Called {
        wire::with_args(cmd, |args| self.begin_words(args))
    }

    /// [`begin_call`](Connection::begin_call) of a command that is given as its words.
    ///
    /// ```
    /// let connection = nearcache_embedded::Store::new().connect();
    /// assert_eq!(connection.begin_words(&[b"INCR", b"visits"]).wait(), redis::Value::Int(1));
    /// ```
    #[inline]
    pub fn begin_words(&self, words: &[&[u8]]) -> Called {
        let mut session = self.session.handle();
        let reply = dispatch(&self.shared, &mut session, words, Patience::Never).reply();
        let commit = session.unsettled.take();
        Called { reply, commit }
    }

    /// Runs commands in one step, as if `MULTI` and `EXEC` were around them, for one of many callers that share this
    /// connection (see [`call`](Connection::call)). Returns the replies, or the error because of which none of them
    /// ran.
    ///
    /// ```
    /// let store = nearcache_embedded::Store::new();
    /// let connection = store.connect();
    /// let mut pipeline = redis::pipe();
    /// pipeline.cmd("SET").arg("price").arg(42).cmd("DEL").arg("old price");
    /// assert_eq!(
    ///     connection.transaction(pipeline.cmd_iter()),
    ///     redis::Value::Array(vec![redis::Value::Okay, redis::Value::Int(0)])
    /// );
    /// ```
    pub fn transaction<'c>(&self, commands: impl IntoIterator<Item = &'c Cmd>) -> Value {
        self.begin_transaction(commands).wait()
    }

    /// The same as [`transaction`](Connection::transaction), for async code.
    #[cfg(feature = "aio")]
    pub async fn transaction_async<'c>(
        &self,
        commands: impl IntoIterator<Item = &'c Cmd>,
    ) -> Value {
        self.begin_transaction(commands).settled().await
    }

    /// The same as [`transaction`](Connection::transaction), but leaves it to the caller how to wait for the disk.
    pub fn begin_transaction<'c>(&self, commands: impl IntoIterator<Item = &'c Cmd>) -> Called {
        let mut words = SmallVec::<[&[u8]; 16]>::new();
        let mut ends = SmallVec::<[usize; 4]>::new();
        for command in commands {
            if let Err(error) = wire::extend(&mut words, command) {
                return Called::refused(error);
            }
            ends.push(words.len());
        }
        self.begin_transaction_of_words(&words, &ends)
    }

    /// [`begin_transaction`](Connection::begin_transaction) of commands that are given as their words: those of all
    /// commands in a row, and where each command ends.
    ///
    /// ```
    /// # use redis::Value;
    /// let connection = nearcache_embedded::Store::new().connect();
    /// let words: [&[u8]; 5] = [b"SET", b"price", b"42", b"DEL", b"old price"];
    /// let called = connection.begin_transaction_of_words(&words, &[3, 5]);
    /// assert_eq!(called.wait(), Value::Array(vec![Value::Okay, Value::Int(0)]));
    /// ```
    pub fn begin_transaction_of_words(&self, words: &[&[u8]], ends: &[usize]) -> Called {
        let mut batch = match Batch::of(words, ends) {
            Ok(batch) => batch,
            Err(error) => return Called::refused(error),
        };
        let mut session = self.session.handle();
        let reply = transact(&self.shared, &mut session, &mut batch);
        let commit = session.unsettled.take();
        Called { reply, commit }
    }

    /// Runs commands one after the other, each as by [`call`](Connection::call), but waits for the disk only once, at
    /// the end. Returns their replies. If what one of them changed did not get there, its reply is that error.
    pub fn pipeline<'c>(&self, commands: impl IntoIterator<Item = &'c Cmd>) -> Vec<Value> {
        let (replies, commit) = self.begin_all(commands);
        finish_all(replies, &commit.map_or(Ok(()), |commit| commit.wait()))
    }

    /// The same, for async code.
    #[cfg(feature = "aio")]
    pub async fn pipeline_async<'c>(
        &self,
        commands: impl IntoIterator<Item = &'c Cmd>,
    ) -> Vec<Value> {
        let (replies, commit) = self.begin_all(commands);
        finish_all(replies, &settled(commit).await)
    }

    /// The replies, whether they tell of a change that must be on the disk, and the last of these changes.
    fn begin_all<'c>(
        &self,
        commands: impl IntoIterator<Item = &'c Cmd>,
    ) -> (Vec<(Reply, bool)>, Option<Commit>) {
        let mut last = None;
        let run = |cmd: &Cmd| {
            let Called { reply, commit } = self.begin_call(cmd);
            let changed = commit.is_some();
            last = commit.or(last.take());
            (reply, changed)
        };
        let replies = commands.into_iter().map(run).collect();
        (replies, last)
    }

    /// Runs a command. One that waits parks the thread.
    pub(crate) fn run(&mut self, args: Args<'_>) -> Value {
        let (reply, commit) = self.run_unsettled(args);
        reply::value(commit.map_or(Ok(()), |commit| commit.wait()).and(reply))
    }

    /// Runs a command, and does not wait for the disk. Returns what must be on it before the reply is given out.
    pub(crate) fn run_unsettled(&mut self, args: Args<'_>) -> (Reply, Option<Commit>) {
        let begun = self.begin(args, Patience::Stays);
        (begun.reply(), self.session.unsettled.take())
    }

    /// Runs many commands without waiting for the disk; then waits once.
    pub(crate) fn restore<R>(
        &mut self,
        path: &Path,
        restore: impl FnOnce(persist::Run<'_>) -> Result<R, PersistError>,
    ) -> Result<R, PersistError> {
        let mut run = |args: Args<'_>| self.begin(args, Patience::Never).reply();
        let restored = restore(&mut run)?;
        self.session.settle().map_err(|error| {
            PersistError::io("log what is in", path)(io::Error::other(error.to_string()))
        })?;
        Ok(restored)
    }

    /// Runs a command, which may have to wait.
    pub(crate) fn begin(&mut self, args: Args<'_>, patience: Patience) -> Begun {
        dispatch(&self.shared, &mut self.session, args, patience)
    }

    /// Runs a command; if it waits, the future does.
    #[cfg(feature = "aio")]
    pub(crate) async fn run_async(&mut self, cmd: &Cmd) -> Value {
        let (reply, commit) = self.run_async_unsettled(cmd).await;
        reply::value(settled(commit).await.and(reply))
    }

    /// The same, and does not wait for the disk. Returns what must be on it before the reply is given out.
    #[cfg(feature = "aio")]
    pub(crate) async fn run_async_unsettled(&mut self, cmd: &Cmd) -> (Reply, Option<Commit>) {
        let begun = wire::with_args(cmd, |args| self.begin(args, Patience::MayGo));
        let reply = match begun {
            Begun::Waits(waiter) => Reserved::new(self.shared.clone(), waiter).await,
            begun => begun.reply(),
        };
        (reply, self.session.unsettled.take())
    }
}

/// The replies of commands, when it is known whether what they changed is on the disk.
fn finish_all(replies: Vec<(Reply, bool)>, settled: &Result<(), Error>) -> Vec<Value> {
    let finish = |(reply, changed): (Reply, bool)| match settled {
        Err(error) if changed => reply::value(Err(error.clone())),
        _ => reply::value(reply),
    };
    replies.into_iter().map(finish).collect()
}

/// Waits for the disk, without a thread.
#[cfg(feature = "aio")]
pub(crate) async fn settled(commit: Option<Commit>) -> Result<(), Error> {
    match commit {
        Some(commit) => commit.await,
        None => Ok(()),
    }
}

/// A command that was begun.
pub(crate) enum Begun {
    Done(Reply),
    /// It has written its reply into the output that was lent to it.
    Replied,
    /// It waits for its reply.
    Waits(Arc<Waiter>),
}

impl Begun {
    /// The reply; parks the thread until it is there.
    #[inline]
    pub(crate) fn reply(self) -> Reply {
        match self {
            Begun::Done(reply) => reply,
            Begun::Replied => Ok(Value::Nil),
            Begun::Waits(waiter) => waiter.park(),
        }
    }
}

#[inline]
fn dispatch(
    shared: &Arc<Shared>,
    session: &mut Session,
    args: Args<'_>,
    patience: Patience,
) -> Begun {
    let resolved = command::resolve(args);
    execute(shared, session, resolved, args, patience, None)
}

/// Runs a command that has been looked up. A port lends its output: a command with a long reply writes it there.
#[inline]
pub(crate) fn execute(
    shared: &Arc<Shared>,
    session: &mut Session,
    resolved: Result<&'static Command, Error>,
    args: Args<'_>,
    patience: Patience,
    output: Option<&mut Vec<u8>>,
) -> Begun {
    let command = match resolved {
        Ok(command) => command,
        Err(error) => {
            shared.note_refusal(session, command::named(args), &error);
            refuse(session, args);
            return Begun::Done(Err(error));
        }
    };
    if session.transaction.is_some() && !command.ends_transaction() && shared.is_out_of_memory() {
        // Even a queued command that only reads takes memory in the queue.
        session.abort();
        shared.note_refusal(session, Some(command), &Error::OUT_OF_MEMORY);
        return Begun::Done(Err(Error::OUT_OF_MEMORY));
    }
    if session.subscriptions.is_some()
        && let Some(error) = refuse_subscribed(session, command)
    {
        return Begun::Done(Err(error));
    }
    if session.transaction.is_some()
        && command.is_exclusive()
        && command.place != Place::AtOnce
        && let Some(error) = shared.refuses_writes()
    {
        session.abort();
        return Begun::Done(Err(error));
    }
    if let Some(transaction) = &mut session.transaction
        && command.place != Place::AtOnce
    {
        let args = args.iter().map(|arg| (*arg).into()).collect();
        transaction.queue.push(Queued { command, args });
        return Begun::Done(Ok(Value::SimpleString("QUEUED".to_owned())));
    }
    let begun = perform(shared, session, command, args, patience, output);
    if let Some(tracking) = &mut session.tracking
        && tracking.caching
        && session.transaction.is_none()
        && !command.name.starts_with("client|")
    {
        // It was for this command, or for this transaction.
        tracking.caching = false;
    }
    begun
}

/// A command, or a transaction, that has run for one of many callers of a [`Connection`]: its reply, and what must be on
/// [the disk](crate#persistence) before the reply may be given out.
#[derive(Debug)]
#[must_use = "what was changed may not be on the disk yet"]
pub struct Called {
    reply: Reply,
    commit: Option<Commit>,
}

impl Called {
    fn refused(error: Error) -> Self {
        Called {
            reply: Err(error),
            commit: None,
        }
    }

    /// The reply, if nothing must be waited for.
    ///
    /// # Errors
    /// The call itself, if something must: end it by [`wait`](Called::wait) or [`settled`](Called::settled).
    #[inline]
    pub fn at_once(self) -> Result<Value, Called> {
        match self.commit {
            None => Ok(reply::value(self.reply)),
            Some(_) => Err(self),
        }
    }

    /// The reply. Parks the thread while it waits.
    pub fn wait(self) -> Value {
        let settled = self.commit.map_or(Ok(()), |commit| commit.wait());
        reply::value(settled.and(self.reply))
    }

    /// The reply, for async code: it waits without a thread.
    #[cfg(feature = "aio")]
    pub async fn settled(self) -> Value {
        reply::value(settled(self.commit).await.and(self.reply))
    }
}

/// The commands of a transaction.
struct Batch<'w>(SmallVec<[Step<'w>; 4]>);

struct Step<'w> {
    command: &'static Command,
    args: Args<'w>,
    /// Its key with its hash, if it has exactly one.
    hashed: Option<(&'w [u8], u64)>,
}

impl<'w> Batch<'w> {
    fn of(words: Args<'w>, ends: &[usize]) -> Result<Self, Error> {
        let (mut batch, mut begin) = (Batch(SmallVec::new()), 0);
        for end in ends {
            let args = words.get(begin..*end).unwrap_or_default();
            let command = command::resolve(args)?;
            if command.place == Place::AtOnce {
                return Err(Error::new("ERR this command cannot be in a transaction"));
            }
            batch.0.push(Step {
                command,
                args,
                hashed: None,
            });
            begin = *end;
        }
        Ok(batch)
    }
}

/// Locks what all the commands need, and then runs them.
fn transact(shared: &Arc<Shared>, session: &mut Session, batch: &mut Batch<'_>) -> Reply {
    let (mut shards, mut exclusive, mut grows) = (ShardSet::default(), false, false);
    for step in &mut batch.0 {
        let (command, args) = (step.command, step.args);
        match command.keys_in_a_row(args) {
            Some(&[key]) => {
                let hash = shared.keyspace.hash(key);
                shards.add(shared.keyspace.shard_of(hash));
                step.hashed = Some((key, hash));
            }
            _ => shards.add_all(command.shards(&shared.keyspace, args)),
        }
        exclusive |= command.is_exclusive();
        grows |= command.grows();
    }
    let out_of_memory = exclusive && shared.is_out_of_memory();
    if grows && out_of_memory {
        return Err(Error::OUT_OF_MEMORY);
    }
    if exclusive && let Some(error) = shared.refuses_writes() {
        return Err(error);
    }
    let locked = shared.keyspace.lock(shards, exclusive);
    let mut cx = Context::new(shared, session, locked);
    cx.out_of_memory = out_of_memory;
    cx.queued = true;
    let mut replies = Vec::with_capacity(batch.0.len());
    for step in &batch.0 {
        if let Some(hashed) = step.hashed {
            cx.knows(hashed);
        }
        replies.push(reply::value(cx.run(step.command, step.args)));
        cx.end_command();
    }
    cx.finish();
    Ok(Value::Array(replies))
}

#[inline]
fn perform(
    shared: &Arc<Shared>,
    session: &mut Session,
    command: &'static Command,
    args: Args<'_>,
    patience: Patience,
    output: Option<&mut Vec<u8>>,
) -> Begun {
    let out_of_memory = command.is_exclusive() && shared.is_out_of_memory();
    if out_of_memory && let Some(error) = refuse_to_grow(session, command) {
        shared.note_refusal(session, Some(command), &error);
        return Begun::Done(Err(error));
    }
    if command.is_exclusive()
        && let Some(why) = shared.refuses_writes()
        && let Some(error) = refuse_to_write(session, command, why)
    {
        return Begun::Done(Err(error));
    }
    let locked = command.lock(&shared.keyspace, session, args);
    let mut cx = Context::new(shared, session, locked);
    cx.out_of_memory = out_of_memory;
    cx.may_wait = patience != Patience::Never;
    cx.output.set(output);
    let reply = cx.run(command, args);
    let Some(wait) = cx.waits.take() else {
        let replied = cx.replied.get();
        cx.finish();
        return if replied {
            Begun::Replied
        } else {
            Begun::Done(reply)
        };
    };
    let waiter = cx.enqueue(command, args, reply, wait, patience);
    cx.finish();
    shared.time(&waiter);
    Begun::Waits(waiter)
}

/// The error for a command that cannot run because the memory limit is reached; `None` if it may run. For an `EXEC`
/// of such commands it also ends the transaction.
#[cold]
fn refuse_to_grow(session: &mut Session, command: &Command) -> Option<Error> {
    if command.grows() {
        return Some(Error::OUT_OF_MEMORY);
    }
    if command.keys.is_queued() {
        session.transaction.take_if(|transaction| {
            transaction
                .queue
                .iter()
                .any(|queued| queued.command.grows())
        })?;
        session.watching = None;
        let why = Error::OUT_OF_MEMORY;
        return Some(Error::from(format!(
            "EXECABORT Transaction discarded because of: {why}"
        )));
    }
    None
}

/// The error for a command that a client of RESP2 must not call while it is subscribed, because the replies could not
/// be told from the messages.
#[cold]
fn refuse_subscribed(session: &mut Session, command: &Command) -> Option<Error> {
    let refused = session.is_subscribed()
        && session.protocol == ProtocolVersion::RESP2
        && !command::is_for_subscribers(command);
    refused.then(|| {
        session.abort();
        Error::from(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            command.name
        ))
    })
}

/// The error for a command that cannot run because the log cannot be written; `None` if it may run, because it changes
/// nothing, or because what it calls is checked. For an `EXEC` of such commands it also ends the transaction.
#[cold]
fn refuse_to_write(session: &mut Session, command: &Command, why: Error) -> Option<Error> {
    if command.keys.is_queued() {
        session.transaction.take_if(|transaction| {
            transaction
                .queue
                .iter()
                .any(|queued| queued.command.is_exclusive())
        })?;
        session.watching = None;
        return Some(Error::from(format!(
            "EXECABORT Transaction discarded because of: {why}"
        )));
    }
    let is_checked = ["eval", "evalsha", "watch"].contains(&command.name);
    (!is_checked).then_some(why)
}

/// A refused command makes its transaction fail. A refused `EXEC` ends the transaction.
#[cold]
pub(crate) fn refuse(session: &mut Session, args: Args<'_>) {
    session.abort();
    if args
        .first()
        .is_some_and(|name| name.eq_ignore_ascii_case(b"EXEC"))
    {
        session.transaction = None;
        session.watching = None;
    }
}

impl Clone for Connection {
    fn clone(&self) -> Self {
        Connection {
            shared: self.shared.clone(),
            session: self.session.handle(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        Shared::is_let_go(&self.shared);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.session.id)
            .field("db", &self.session.db)
            .field("protocol", &self.session.protocol)
            .field("store", &self.shared.run_id)
            .finish_non_exhaustive()
    }
}

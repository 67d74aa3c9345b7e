//! redis-rs's `ConnectionLike`, blocking and async.

use redis::{Cmd, RedisResult, ServerError, Value};

use crate::aborted::transaction_aborted;
use crate::connection::Connection;
#[cfg(feature = "aio")]
use crate::connection::settled;
use crate::persist::Commit;
use crate::reply::{self, Error, Reply};
use crate::wire::{empty_command, read_command};

impl redis::ConnectionLike for Connection {
    fn req_packed_command(&mut self, mut cmd: &[u8]) -> RedisResult<Value> {
        let args = read_command(&mut cmd)?;
        if args.is_empty() {
            return Err(empty_command());
        }
        Ok(self.run(&args))
    }

    fn req_packed_commands(
        &mut self,
        mut cmd: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let mut replies = Replies::new(offset, count);
        while !cmd.is_empty() {
            let args = read_command(&mut cmd)?;
            let (reply, commit) = self.run_unsettled(&args);
            replies.push_unsettled(reply, commit);
        }
        let settled = replies.commit().map_or(Ok(()), |commit| commit.wait());
        replies.finish(settled)
    }

    fn req_command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        self.request(cmd)
    }

    fn get_db(&self) -> i64 {
        self.db()
    }

    fn check_connection(&mut self) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        true
    }
}

/// Every future is ready at its first poll, unless its command waits, as `BLPOP` does. Dropping such a future ends the
/// wait, and takes nothing.
#[cfg(feature = "aio")]
impl redis::aio::ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> redis::RedisFuture<'a, Value> {
        Box::pin(async move {
            check(cmd)?;
            let reply = self.run_async(cmd).await;
            Ok(unless_unwanted(cmd, reply))
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> redis::RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let mut replies = Replies::new(offset, count);
            if pipeline.is_transaction() {
                replies.push(self.run(&[b"MULTI"]));
            }
            for cmd in pipeline.cmd_iter() {
                let (reply, commit) = self.run_async_unsettled(cmd).await;
                replies.push_unsettled(reply, commit);
            }
            if pipeline.is_transaction() {
                let (reply, commit) = self.run_unsettled(&[b"EXEC"]);
                replies.push_unsettled(reply, commit);
            }
            let settled = settled(replies.commit()).await;
            replies.finish(settled)
        })
    }

    fn get_db(&self) -> i64 {
        self.db()
    }
}

impl Connection {
    fn request(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        check(cmd)?;
        let reply = self.execute(cmd);
        Ok(unless_unwanted(cmd, reply))
    }
}

fn check(cmd: &Cmd) -> RedisResult<()> {
    if cmd.args_iter().len() == 0 {
        return Err(empty_command());
    }
    Ok(())
}

fn unless_unwanted(cmd: &Cmd, reply: Value) -> Value {
    if cmd.is_no_response() {
        Value::Nil
    } else {
        reply
    }
}

/// The replies to a pipeline. The first `offset` are skipped; but an error among them fails the pipeline, because
/// only transactions skip replies.
struct Replies {
    offset: usize,
    count: usize,
    seen: usize,
    kept: Vec<Value>,
    errors: Vec<(usize, ServerError)>,
    /// What must be on the disk before the replies are given out.
    commit: Option<Commit>,
    /// The replies of `kept` that tell of it.
    unsettled: Vec<usize>,
}

impl Replies {
    fn new(offset: usize, count: usize) -> Self {
        Replies {
            offset,
            count,
            seen: 0,
            kept: Vec::new(),
            errors: Vec::new(),
            commit: None,
            unsettled: Vec::new(),
        }
    }

    fn push_unsettled(&mut self, reply: Reply, commit: Option<Commit>) {
        let before = self.kept.len();
        self.push(reply::value(reply));
        if commit.is_some() {
            self.unsettled.extend(before..self.kept.len());
            // The last one is the furthest.
            self.commit = commit;
        }
    }

    fn commit(&mut self) -> Option<Commit> {
        self.commit.take()
    }

    fn push(&mut self, reply: Value) {
        if self.seen >= self.offset {
            if self.kept.len() < self.count {
                self.kept.push(reply);
            }
        } else if let Value::ServerError(error) = reply {
            // The index without the MULTI.
            self.errors.push((self.seen.saturating_sub(1), error));
        }
        self.seen += 1;
    }

    /// The replies. If what they tell did not get to the disk, they are that error.
    fn finish(mut self, settled: Result<(), Error>) -> RedisResult<Vec<Value>> {
        if let Err(error) = settled {
            for index in self.unsettled {
                self.kept[index] = reply::value(Err(error.clone()));
            }
        }
        if self.errors.is_empty() {
            return Ok(self.kept);
        }
        Err(transaction_aborted(&self.errors, self.kept.pop()))
    }
}

//! The cache and the server behind it: `ping`, `server`, `connection`, `close`.

use std::fmt;
use std::marker::PhantomData;

use redis::Value;

use super::CacheOf;
use super::operation::{Async, CacheFuture, Executor, Marked, Pending, operation};
use crate::connect::ServerInfo;
use crate::error::Error;
use crate::hooks::{CallKeys, Stats};
use crate::read_through::ReadThrough;

impl<M> CacheOf<M> {
    /// Checks that the server answers and accepts the credentials.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect), [`ErrorKind::Timeout`](crate::ErrorKind::Timeout),
    /// [`ErrorKind::Auth`](crate::ErrorKind::Auth) or [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), which
    /// say what is wrong.
    pub fn ping(&self) -> Pending<'_, (), M> {
        let core = &self.core;
        Pending::new(async move {
            core.perform("ping", CallKeys::None, async |core| {
                match core.client().request(&redis::cmd("PING")).await? {
                    Value::SimpleString(pong) if pong == "PONG" => Ok(()),
                    other => Err(Error::unexpected("PING", &other)),
                }
            })
            .await
        })
    }

    /// Kind, version and mode of the server. It is asked once, and the answer is remembered.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]), the first time.
    pub fn server(&self) -> Pending<'_, ServerInfo, M> {
        let client = self.core.client();
        Pending::new(async move {
            let pass = client.enter()?;
            pass.guarded().server(client.limit()).await
        })
    }

    /// Closes the cache and all its clones: new calls fail with [`ErrorKind::Closed`](crate::ErrorKind::Closed), and
    /// running ones are waited for. Other caches that were opened separately and share the connection are not affected;
    /// the connection is closed with the last of them. Dropping the last clone does the same, without waiting.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if calls are still running after the timeout. The cache is
    /// closed anyway.
    pub fn close(&self) -> Close<'_, M> {
        Close {
            core: &self.core,
            mode: PhantomData,
        }
    }

    /// Whether the cache is open, that is, not closed. It says nothing about the server: use [`ping`](CacheOf::ping)
    /// for that.
    pub fn is_open(&self) -> bool {
        self.core.client().is_open()
    }

    /// The statistics of this cache, its clones included.
    pub fn stats(&self) -> Stats {
        self.core.client().stats()
    }
}

impl<M: Executor> CacheOf<M> {
    /// A Redis connection for the caller alone, for commands that the cache has no method for. It does not reconnect;
    /// [`shared_connection`](CacheOf::shared_connection) does.
    ///
    /// # Errors
    /// Those of [`ping`](CacheOf::ping).
    pub fn connection(&self) -> Pending<'_, M::Connection, M> {
        let client = self.core.client();
        Pending::new(async move {
            let pass = client.enter()?;
            let raw = pass.guarded().connection(client.limit()).await?;
            Ok(M::connection(raw, i64::from(client.db()), client.limit()))
        })
    }
}

/// A pending `close`.
#[must_use = "nothing is closed until it is carried out, by `.await` or `.run()`"]
pub struct Close<'c, M = Async> {
    core: &'c ReadThrough,
    mode: Marked<M>,
}

impl<'c, M> Close<'c, M> {
    fn start(self) -> CacheFuture<'c, ()> {
        CacheFuture::asking(self.core.client().close())
    }
}

operation!(Close<'c> -> ());

impl<M> fmt::Debug for Close<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Close")
    }
}

//! The cache and the server behind it: `ping`, `server`, `connection`, `close`.

use std::fmt;
use std::marker::PhantomData;

use redis::Value;

use super::CacheOf;
use super::operation::{Async, CacheFuture, Executor, Marked, Pending, operation};
use crate::connect::ServerInfo;
use crate::error::{Error, Result};
use crate::hooks::{CallKeys, Stats};
use crate::read_through::ReadThrough;
use crate::ttl::{IntoTtl, Ttl};

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

    /// Closes the cache and all its clones. New calls fail with [`ErrorKind::Closed`](crate::ErrorKind::Closed). Running
    /// calls, loads and refreshes are waited for, and their values are stored; see [`Close::load_timeout`]. A load that
    /// takes longer gives its lease back, so that another process can load at once; its callers still get its value. A
    /// refresh of a blocking cache that still waits for a thread does not run any more.
    ///
    /// Other caches that were opened separately and share the connection are not affected; the connection is closed with
    /// the last of them. Dropping the last clone closes the cache, too, without waiting for calls. (A load under way is
    /// a clone: it ends first.)
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if loads are still running after the load timeout, or calls
    /// after the timeout. The cache is closed anyway.
    pub fn close(&self) -> Close<'_, M> {
        Close {
            core: &self.core,
            load_timeout: None,
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
    /// In a Cluster it is a connection to one of the primaries, which answers `MOVED` to a command about a key of
    /// another one: [`connection_for`](CacheOf::connection_for) is one to the node of a key, and a shared connection
    /// sends each command to the node that it is for.
    ///
    /// # Errors
    /// Those of [`ping`](CacheOf::ping).
    pub fn connection(&self) -> Pending<'_, M::Connection, M> {
        let client = self.core.client();
        Pending::new(async move {
            let pass = client.enter()?;
            let raw = pass.guarded().dedicated(None, client.limit()).await?;
            Ok(M::connection(raw, i64::from(client.db()), client.limit()))
        })
    }

    /// Like [`connection`](CacheOf::connection), to the node of a Cluster that has this key now. Elsewhere it is the same.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey), and those of [`ping`](CacheOf::ping).
    pub fn connection_for(&self, key: impl AsRef<[u8]>) -> Pending<'_, M::Connection, M> {
        let client = self.core.client();
        let key = client.stored(key.as_ref());
        Pending::new(async move {
            let (pass, key) = (client.enter()?, key?);
            let raw = pass
                .guarded()
                .dedicated(Some(key.as_bytes()), client.limit())
                .await?;
            Ok(M::connection(raw, i64::from(client.db()), client.limit()))
        })
    }
}

/// A pending `close`.
#[must_use = "nothing is closed until it is carried out, by `.await` or `.run()`"]
pub struct Close<'c, M = Async> {
    core: &'c ReadThrough,
    load_timeout: Option<Result<Ttl>>,
    mode: Marked<M>,
}

impl<'c, M> Close<'c, M> {
    /// How long to wait for loads under way. Default: the cache's lease (10 s).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache.close().load_timeout("2s").await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn load_timeout(mut self, time: impl IntoTtl) -> Self {
        self.load_timeout = Some(time.into_ttl());
        self
    }

    fn start(self) -> CacheFuture<'c, ()> {
        CacheFuture::asking(async move {
            let patience = self.load_timeout.transpose()?.map(Ttl::as_duration);
            self.core.close(patience).await
        })
    }
}

operation!(Close<'c> -> ());

impl<M> fmt::Debug for Close<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Close")
    }
}

//! The cache and the server behind it: `ping`, `server`, `connection`, `close`.

use std::fmt;
use std::marker::PhantomData;

use redis::Value;

use super::core::Core;
use super::operation::{Async, CacheFuture, Marked, Pending};
#[cfg(feature = "blocking")]
use crate::connect::BlockingConnection;
use crate::connect::{Connection, ServerInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::Keys;

pub(crate) fn ping<'c, M>(core: &'c Core) -> Pending<'c, (), M> {
    Pending::new(async move {
        core.watched("ping", Keys::None, async |core| {
            match core.request(&redis::cmd("PING")).await? {
                Value::SimpleString(pong) if pong == "PONG" => Ok(()),
                other => Err(Error::unexpected("PING", &other)),
            }
        })
        .await
    })
}

pub(crate) fn server<'c, M>(core: &'c Core) -> Pending<'c, ServerInfo, M> {
    Pending::new(async move {
        let call = core.enter()?;
        call.guarded().server(core.limit).await
    })
}

pub(crate) fn connection<'c, M>(core: &'c Core) -> Pending<'c, Connection, M> {
    Pending::new(async move {
        let call = core.enter()?;
        let raw = call.guarded().connection(core.limit).await?;
        Ok(Connection::new(raw, i64::from(core.target.db), core.limit))
    })
}

#[cfg(feature = "blocking")]
pub(crate) fn blocking_connection<'c, M>(core: &'c Core) -> Pending<'c, BlockingConnection, M> {
    Pending::new(async move {
        let call = core.enter()?;
        let raw = call.guarded().connection(core.limit).await?;
        Ok(BlockingConnection::new(
            raw,
            i64::from(core.target.db),
            core.limit,
        ))
    })
}

/// A pending `close`.
#[must_use = "nothing is closed until it is carried out, by `.await` or `.run()`"]
pub struct Close<'c, M = Async> {
    core: &'c Core,
    mode: Marked<M>,
}

impl<'c, M> Close<'c, M> {
    pub(crate) fn new(core: &'c Core) -> Self {
        Close {
            core,
            mode: PhantomData,
        }
    }
}

async fn closed(core: &Core) -> Result<()> {
    core.close();
    let drained = core.runtime().timeout(core.limit, || core.drained()).await;
    drained.ok_or_else(|| {
        let why = format!(
            "calls were still under way after {:?}; no more are let in",
            core.limit
        );
        Error::new(ErrorKind::Timeout, why).on_host(core.host())
    })
}

impl<'c> IntoFuture for Close<'c> {
    type Output = Result<()>;
    type IntoFuture = CacheFuture<'c, ()>;

    fn into_future(self) -> Self::IntoFuture {
        CacheFuture::asking(closed(self.core))
    }
}

#[cfg(feature = "blocking")]
impl Close<'_, super::operation::Blocking> {
    /// Carries the operation out on this thread.
    ///
    /// # Errors
    /// Those of the verb that made the operation.
    pub fn run(self) -> Result<()> {
        crate::runtime::block_on(closed(self.core))
    }
}

impl<M> fmt::Debug for Close<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Close")
    }
}

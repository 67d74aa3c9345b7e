//! The server behind the cache: `ping`, `server`, `connection`.

use redis::Value;

use super::core::Core;
use super::operation::Pending;
#[cfg(feature = "blocking")]
use crate::connect::BlockingConnection;
use crate::connect::{self, Connection, ServerInfo};
use crate::error::Error;

pub(crate) fn ping<'c, M>(core: &'c Core) -> Pending<'c, (), M> {
    Pending::new(async move {
        match core
            .backend()?
            .request(&redis::cmd("PING"), core.limit)
            .await?
        {
            Value::SimpleString(pong) if pong == "PONG" => Ok(()),
            other => Err(Error::unexpected("PING", &other)),
        }
    })
}

pub(crate) fn server<'c, M>(core: &'c Core) -> Pending<'c, ServerInfo, M> {
    Pending::new(async move { connect::server(&**core.backend()?, core.limit).await })
}

pub(crate) fn connection<'c, M>(core: &'c Core) -> Pending<'c, Connection, M> {
    Pending::new(async move {
        let raw = core.backend()?.connection(core.limit).await?;
        Ok(Connection::new(raw, i64::from(core.target.db), core.limit))
    })
}

#[cfg(feature = "blocking")]
pub(crate) fn blocking_connection<'c, M>(core: &'c Core) -> Pending<'c, BlockingConnection, M> {
    Pending::new(async move {
        let raw = core.backend()?.connection(core.limit).await?;
        Ok(BlockingConnection::new(
            raw,
            i64::from(core.target.db),
            core.limit,
        ))
    })
}

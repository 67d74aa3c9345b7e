//! A worker's connection of its own, on which it waits for jobs.

use std::time::Duration;

use redis::aio::ConnectionLike as _;
use redis::{Cmd, Value};

use crate::client::Client;
use crate::connect::Connection;
use crate::error::{Error, Result};
#[cfg(feature = "blocking")]
use crate::runtime::Runtime;

/// A connection that nobody else uses.
pub(super) enum Link {
    Async(Connection),
    #[cfg(feature = "blocking")]
    Blocking(crate::connect::BlockingConnection),
}

impl Link {
    /// Connects, within the client's time limit.
    ///
    /// # Errors
    /// Those of a call.
    pub(super) async fn open(client: &Client) -> Result<Self> {
        let pass = client.enter()?;
        let limit: Duration = client.limit();
        let raw = pass.guarded().dedicated(limit).await?;
        let db = i64::from(client.db());
        #[cfg(feature = "blocking")]
        if matches!(client.runtime(), Runtime::Threads) {
            let connection = crate::connect::BlockingConnection::new(raw, db, limit);
            return Ok(Link::Blocking(connection));
        }
        Ok(Link::Async(Connection::new(raw, db, limit)))
    }

    /// Sends a command that may wait. After an error the connection is not to be used any more.
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Value> {
        let reply = match self {
            Link::Async(connection) => connection.req_packed_command(command).await,
            #[cfg(feature = "blocking")]
            Link::Blocking(connection) => redis::ConnectionLike::req_command(connection, command),
        };
        match reply.map_err(Error::from_redis)? {
            Value::ServerError(error) => Err(Error::from_server(&error)),
            reply => Ok(reply),
        }
    }
}

//! Renews the credentials of a connection that many tasks share, before they expire: `AUTH` on the connection itself,
//! between the calls. A server that refuses it goes by the credentials before, and so does the connection, until they
//! end.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use redis::Value;
use tokio::task::AbortHandle;

use super::driven::Driven;
use super::supply::{Held, Supply};
use super::{Common, result_of};
use crate::error::Error;

/// How long the server may take for it.
const LIMIT: Duration = Duration::from_secs(5);

/// Starts the task for a connection. It ends with the connection.
pub(super) fn keep(
    supply: &Supply,
    held: Arc<Held>,
    connection: &Arc<OnceLock<Weak<Driven>>>,
    common: &Arc<Common>,
) -> AbortHandle {
    let (supply, connection) = (supply.clone(), Arc::clone(connection));
    let runtime = common.runtime().clone();
    let host = Arc::clone(common.host());
    let task = async move {
        let mut held = held;
        let mut pause = Duration::ZERO;
        while let Some(renewal) = held.renewal() {
            let left = renewal.saturating_duration_since(runtime.now());
            runtime.sleep(left.max(pause)).await;
            let alive = || {
                let connected = connection.get().and_then(Weak::upgrade)?;
                connected.is_alive().then_some(connected)
            };
            if alive().is_none() || held.has_expired(runtime.now()) {
                return;
            }
            let renewed = async || {
                let newer = supply.renewed(&runtime, &held).await?;
                let Some(connected) = alive() else {
                    return Ok(newer);
                };
                authenticate(&connected, &newer).await?;
                connected.note_expiry(&newer);
                Ok::<_, Error>(newer)
            };
            let outcome = renewed().await;
            match outcome {
                Ok(newer) => (held, pause) = (newer, Duration::ZERO),
                Err(error) => {
                    tracing::warn!(%host, %error, "the credentials of a connection are not renewed yet");
                    pause = held.pause(runtime.now());
                }
            }
        }
    };
    common.runtime().spawn(task)
}

async fn authenticate(connected: &Driven, held: &Held) -> Result<Value, Error> {
    let mut connection = connected.connection();
    let auth = held.auth();
    let sent = connection.send_packed_command(&auth);
    // It is sent among the calls of others, so the answer tells that the server has read it, or nothing.
    match tokio::time::timeout(LIMIT, sent).await {
        Ok(reply) => result_of(reply.map_err(Error::from_redis)?),
        Err(_) => Err(super::timed_out(LIMIT, "while renewing the credentials")),
    }
}

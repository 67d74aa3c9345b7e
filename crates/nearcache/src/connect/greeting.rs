//! What a connection asks when it is new, and what it learns of the server.
//!
//! 1. Only `HELLO` or `AUTH`, and `SELECT`, must succeed. Everything else is an extra: the cache works without it, so a
//!    server that is too old for it, or a user who may not, is no failure.
//! 2. A server of a kind that cannot be used is told by `INFO server`, before any other command is sent.

use redis::{Pipeline, Value};

use super::result_of;
use super::server::{self, ServerInfo};
use super::target::Target;
use crate::error::{Error, ErrorKind, Result};

/// What a connection has learnt of its server.
#[derive(Clone, Debug, Default)]
pub(super) struct Met {
    /// The server's `run_id`, which tells it from another server, if it sends one.
    pub(super) run_id: Option<String>,
    /// The connection's id there, to close it by.
    pub(super) id: Option<i64>,
}

/// Adds what follows `HELLO` or `AUTH`. [`read`] takes the replies.
pub(super) fn write(target: &Target, greeting: &mut Pipeline) {
    if target.db != 0 {
        greeting.cmd("SELECT").arg(target.db);
    }
    for (name, value) in [
        ("LIB-NAME", "nearcache"),
        ("LIB-VER", env!("CARGO_PKG_VERSION")),
    ] {
        greeting.cmd("CLIENT").arg("SETINFO").arg(name).arg(value);
    }
    if let Some(name) = &target.client_name {
        greeting.cmd("CLIENT").arg("SETNAME").arg(name);
    }
    greeting.cmd("INFO").arg("server");
    greeting.cmd("CLIENT").arg("ID");
}

/// Reads the replies to what [`write`] added.
///
/// # Errors
/// `InvalidConfig` for a server of a kind that cannot be used; the server's own if it refuses the database.
pub(super) fn read(target: &Target, mut replies: Vec<Value>) -> Result<Met> {
    let mut met = Met::default();
    if let Some(Value::Int(id)) = replies.pop() {
        met.id = Some(id);
    }
    match replies.pop().map(result_of) {
        Some(Ok(info)) => {
            if let Ok(info) = ServerInfo::from_info(&info) {
                usable(&info)?;
            }
            met.run_id = server::run_id(&info);
        }
        Some(Err(error)) if error.kind() == ErrorKind::Auth => return Err(error),
        Some(Err(error)) => tracing::debug!(%error, "INFO was refused"),
        None => {}
    }
    if target.client_name.is_some()
        && let Some(Err(error)) = replies.pop().map(result_of)
    {
        tracing::debug!(%error, "the connection has no name, because CLIENT SETNAME was refused");
    }
    if target.db != 0 {
        replies
            .into_iter()
            .next()
            .map_or(Ok(Value::Nil), result_of)?;
    }
    Ok(met)
}

/// Whether a server of this kind holds the keys that it is asked for.
fn usable(server: &ServerInfo) -> Result<()> {
    let why = match &*server.mode {
        "cluster" => Error::CLUSTER,
        "sentinel" => "this is a Sentinel; give the address of the primary",
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::InvalidConfig, why))
}
